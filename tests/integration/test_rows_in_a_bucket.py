"""Rows shared through a bucket: nobody computes twice what another has sent, and what is wrong there costs no row."""

import fsspec
import pytest
from click.testing import CliRunner

from aigid.cli.main import main
from aigid.core.cache import CORRUPT_SUFFIX
from aigid.core.errors import InputError
from aigid.features import row_cache
from aigid.features.backbones import backbone_settings
from aigid.features.extract import extract
from tests.helpers.images import noise_folder

NUM = 12


@pytest.fixture
def images(tmp_path):
    """A folder of images, and their manifest."""
    root = tmp_path / "images"
    root.mkdir()
    return root, noise_folder(root, NUM)


@pytest.fixture(params=["memory", "s3"])
def rows(request, monkeypatch):
    """An address for rows, which the environment names, and its filesystem."""
    if request.param == "s3":
        request.getfixturevalue("s3").create_bucket(Bucket="rows")
    filesystem = fsspec.filesystem(request.param)
    address = f"{request.param}://rows/{request.node.name.partition('[')[0]}"
    monkeypatch.setenv(row_cache.ENV_VAR, address)
    yield address, filesystem
    filesystem.rm(address, recursive=True)


def found_by(machine, images, monkeypatch, part=slice(None)):
    """What an extraction finds on a machine that has a cache of its own."""
    root, table = images
    monkeypatch.setenv("AIGID_CACHE", str(root.parent / machine))
    return extract(table[part].reset_index(drop=True), root, backbone_settings("tiny_clip"), ["clean", "jpeg65"])


def shards(filesystem, address):
    filesystem.invalidate_cache()
    return sorted(name for name in filesystem.find(address) if name.endswith(".safetensors"))


def test_what_one_machine_has_computed_no_other_computes(images, rows, monkeypatch, tmp_path):
    halves = [found_by(name, images, monkeypatch, part) for name, part in {"a": slice(8), "b": slice(4, NUM)}.items()]
    assert [half.num_computed for half in halves] == [8, 4]
    assert len(shards(rows[1], rows[0])) == 4
    result = found_by("c", images, monkeypatch)
    assert result.num_computed == 0
    result.write(tmp_path / "shared.h5")
    monkeypatch.delenv(row_cache.ENV_VAR)
    found_by("alone", images, monkeypatch).write(tmp_path / "alone.h5")
    assert (tmp_path / "shared.h5").read_bytes() == (tmp_path / "alone.h5").read_bytes()


def test_a_machine_that_has_its_rows_fetches_no_others(images, rows, monkeypatch, tmp_path):
    for name, part in {"a": slice(8), "b": slice(4, NUM)}.items():
        found_by(name, images, monkeypatch, part)
    assert found_by("a", images, monkeypatch, slice(8)).num_computed == 0
    assert [len(list((tmp_path / name).glob("embeddings/*/*.safetensors"))) for name in "ab"] == [2, 4]


def test_what_was_not_sent_is_sent_next_time(images, rows, monkeypatch):
    with monkeypatch.context() as patch:
        patch.delenv(row_cache.ENV_VAR)
        found_by("a", images, patch)
    assert found_by("a", images, monkeypatch).num_computed == 0
    assert found_by("b", images, monkeypatch).num_computed == 0


def test_a_shard_damaged_there_is_passed_over_and_one_damaged_here_fetched(images, rows, monkeypatch, caplog):
    found_by("a", images, monkeypatch)
    here = next((images[0].parent / "a/embeddings").glob("*/*.safetensors"))
    content = here.read_bytes()
    here.write_bytes(content[:-1])
    assert found_by("a", images, monkeypatch).num_computed == NUM  # set aside only now
    here.with_suffix(CORRUPT_SUFFIX).unlink()
    here.unlink(missing_ok=True)
    assert found_by("a", images, monkeypatch).num_computed == 0
    assert here.read_bytes() == content

    address, filesystem = rows
    for name in shards(filesystem, address):
        filesystem.pipe_file(name, filesystem.cat_file(name)[:-1])
    assert found_by("b", images, monkeypatch).num_computed == NUM
    assert "is damaged: passed over" in caplog.text


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://nowhere/rows", "AIGID_ROWS=s3://nowhere/rows: No such file or directory"),
        ("nosuch://a/b", "nosuch://a: ValueError Protocol not known: nosuch"),
        ("here", "AIGID_ROWS=here: want an address (s3://...); a folder that all see can be $AIGID_CACHE"),
    ],
)
def test_an_address_where_nothing_can_be_shared(address, message, images, s3, monkeypatch, tmp_path):
    monkeypatch.setenv(row_cache.ENV_VAR, address)
    call = ["extract", images[0] / "m.csv", "--root", images[0], "--backbone", "tiny_clip", "--out", tmp_path / "e.h5"]
    done = CliRunner().invoke(main, list(map(str, call)))
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].endswith(message)
    assert not (tmp_path / "e.h5").exists()


def test_a_bucket_that_one_may_not_use(images, s3, monkeypatch):
    s3.create_bucket(Bucket="secret")
    monkeypatch.setenv(row_cache.ENV_VAR, "s3://secret/rows")
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)  # from here on, keys are checked
    with pytest.raises(InputError, match="AIGID_ROWS=s3://secret/rows: Permission denied"):
        found_by("a", images, monkeypatch)


def test_rows_that_cannot_be_sent_are_kept(images, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setenv(row_cache.ENV_VAR, "memory://kept")
    with monkeypatch.context() as patch:
        patch.setattr(type(fsspec.filesystem("memory")), "pipe_file", refuse)
        with pytest.raises(InputError, match="AIGID_ROWS=memory://kept: Permission denied"):
            found_by("a", images, patch)
    assert found_by("a", images, monkeypatch).num_computed == 0


def test_without_an_address_nothing_is_shared(tmp_path):
    assert row_cache.remote_names(tmp_path) == set()
    row_cache.upload(tmp_path / "no file")
