"""What is written is read back, byte for byte the same each time, and a broken file is refused."""

import h5py
import numpy as np
import pytest

from aigid.core import embeddings
from aigid.core.errors import InputError
from tests.helpers.embeddings import write_embeddings


@pytest.fixture
def written(tmp_path):
    rng = np.random.default_rng(0)
    views = {name: rng.normal(size=(5, 3)).astype("float16") for name in ("clean", "jpeg65")}
    views["clean"][2] = np.nan
    key = [f"{n:064x}" for n in range(5)]
    status = ["ok", "ok", "truncated", "ok", "ok"]
    path = tmp_path / "clip" / "demo.h5"
    write_embeddings(path, views, key, status, {"backbone": {"model": "x"}, "dim": 3})
    return path, views, key, status


def test_round_trip(written):
    path, views, key, status = written
    read = embeddings.read(path)
    for name, rows in views.items():
        np.testing.assert_array_equal(read.view(name), rows)
        assert read.view(name).dtype == np.float16
    assert read.key.astype(str).tolist() == key
    assert read.status.tolist() == status
    assert read.ok.tolist() == [True, True, False, True, True]
    assert read.attributes == {"backbone": {"model": "x"}, "dim": 3}


def test_rewriting_changes_no_byte(written):
    path, views, key, status = written
    first = path.read_bytes()
    write_embeddings(path, dict(reversed(views.items())), key, status, {"dim": 3, "backbone": {"model": "x"}})
    assert path.read_bytes() == first
    assert [file.name for file in path.parent.iterdir()] == ["demo.h5"]


def test_other_readers_find_the_contract(written):
    path, views, key, _ = written
    with h5py.File(path, "r") as file:
        assert file["views/clean"].chunks is None
        np.testing.assert_array_equal(file["views/jpeg65"][:], views["jpeg65"])
        assert file["key"].dtype == "S64"
        assert file["key"][1].decode() == key[1]


def test_an_unknown_view_lists_the_known(written):
    with pytest.raises(InputError, match="no view 'blur3'; it holds clean, jpeg65"):
        embeddings.read(written[0]).view("blur3")


@pytest.mark.parametrize("share", [0, 10, 50, 99])
def test_a_half_written_file_is_refused(written, share):
    path = written[0]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * share // 100])
    with pytest.raises(InputError, match="not a whole embedding file"):
        embeddings.read(path)


def test_a_failed_write_leaves_the_old_file(written):
    path, views, key, status = written
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_embeddings(path, views, key, status, {"unwritable": object()})
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["demo.h5"]


def test_files_of_others_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        embeddings.read(tmp_path / "nothing.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["features"] = np.zeros((2, 2))
    with pytest.raises(InputError, match="schema version 0, this code reads 1"):
        embeddings.read(tmp_path / "other.h5")
    with h5py.File(tmp_path / "chunked.h5", "w") as file:
        file.attrs["schema_version"] = embeddings.SCHEMA_VERSION
        file.create_dataset("views/clean", data=np.zeros((4, 2), "float16"), chunks=(1, 2))
        file["key"] = np.zeros(4, "S64")
        file["status"] = np.full(4, b"ok")
    with pytest.raises(InputError, match="contiguous"):
        embeddings.read(tmp_path / "chunked.h5")
