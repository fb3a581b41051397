"""Images inside tar, zip and Parquet files: the same hashes, headers and embeddings as those of the unpacked folder."""

import io
import tarfile
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from PIL import Image
from pyarrow import parquet

from aigid.cli.main import main
from aigid.core import manifest
from aigid.features.backbones import backbone_settings
from aigid.features.extract import extract
from aigid.images import ImageError, Status, archives, is_member, tar_members
from aigid.images.decode import decode
from aigid.images.formats import read_bytes
from aigid.images.headers import read_header


def png(number):
    rng, buffer = np.random.default_rng(number), io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


NAMES = {f"test/gan/{('0_real', '1_fake')[number % 2]}/{number:02}.png": png(number) for number in range(12)}


def as_folder(root):
    for name, content in NAMES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def as_tar(root):
    for half in (0, 1):
        with tarfile.open(root / f"shard_{half}.tar", "w") as out:
            for name, content in list(NAMES.items())[half::2]:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))


def as_zip(root):
    with zipfile.ZipFile(root / "all.zip", "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in NAMES.items():
            out.writestr(name, content)


def as_parquet(root):
    for label, word in enumerate(("0_real", "1_fake")):
        cells = [{"bytes": content, "path": name} for name, content in NAMES.items() if word in name]
        (root / "test/gan" / word).mkdir(parents=True)
        parquet.write_table(pa.table({"image": cells, "n": [label] * len(cells)}), root / f"test/gan/{word}/a.parquet",
                            row_group_size=4)  # fmt: skip


def indexed(root, *more):
    done = CliRunner().invoke(main, ["index", str(root), "--layout", "realfake", "--out", str(root / "m.csv"), *more])
    assert done.exit_code == 0, done.stderr
    return manifest.read(root / "m.csv")


@pytest.mark.parametrize("pack", [as_tar, as_zip, as_parquet])
def test_the_same_as_the_unpacked_folder(pack, tmp_path):
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.mkdir()
    packed.mkdir()
    as_folder(plain)
    pack(packed)
    first, second = indexed(plain), indexed(packed, "--archives")
    assert all(is_member(path) for path in second["path"])
    columns = ["sha256", "label", "generator", "split"]
    one, other = (table[columns].sort_values("sha256").reset_index(drop=True) for table in (first, second))
    pd.testing.assert_frame_equal(one, other)
    here, there = (
        extract(table, root, backbone_settings("tiny_clip")) for table, root in ((first, plain), (second, packed))
    )
    assert there.status == ["ok"] * 12
    rows = dict(zip(here.key.tolist(), here.views["clean"].tolist(), strict=True))
    assert rows == dict(zip(there.key.tolist(), there.views["clean"].tolist(), strict=True))
    path = packed / second["path"].iloc[0]
    assert read_header(path).format == "PNG"
    assert decode(path).shape == (32, 32, 3)
    audit = CliRunner().invoke(main, ["audit", str(packed / "m.csv"), "--root", str(packed), "--json"])
    assert audit.exit_code == 0, audit.stderr


def test_archives_are_left_alone_unless_asked_for(tmp_path):
    as_folder(tmp_path)
    as_zip(tmp_path)
    assert not any(is_member(path) for path in indexed(tmp_path)["path"])
    twice = CliRunner().invoke(
        main, ["index", str(tmp_path), "--layout", "realfake", "--out", str(tmp_path / "x.csv"), "--archives"]
    )
    assert twice.exit_code == 2
    assert "also lies at" in twice.stderr
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize("kept", [0.1, 0.5, 3])
def test_a_tar_cut_short_is_one_line_and_nothing_is_written(kept, tmp_path):
    as_tar(tmp_path)
    whole = (tmp_path / "shard_1.tar").read_bytes()
    blocks = kept if isinstance(kept, int) else int(len(whole) * kept) / 512
    (tmp_path / "shard_1.tar").write_bytes(whole[: int(blocks * 512)])
    done = CliRunner().invoke(
        main, ["index", str(tmp_path), "--layout", "realfake", "--out", str(tmp_path / "m.csv"), "--archives"]
    )
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "shard_1.tar: cannot be read as an archive" in done.stderr
    assert not (tmp_path / "m.csv").exists()


def test_what_is_not_there_has_a_status(tmp_path):
    as_tar(tmp_path)
    for path, status in (
        ("shard_0.tar::nosuch.png", Status.MISSING),
        ("nosuch.tar::a.png", Status.MISSING),
    ):
        with pytest.raises(ImageError) as refused:
            read_bytes(tmp_path / path)
        assert refused.value.status == status
    (tmp_path / "text.zip").write_bytes(b"no archive")
    with pytest.raises(ImageError) as refused:
        read_bytes(tmp_path / "text.zip::a.png")
    assert refused.value.status == Status.UNREADABLE
    (tmp_path / "odd::name.png").write_bytes(b"1")
    assert read_bytes(tmp_path / "odd::name.png") == b"1"


def test_an_archive_that_changes_is_read_anew(tmp_path):
    as_zip(tmp_path)
    name = next(iter(NAMES))
    assert archives.read(tmp_path / f"all.zip::{name}") == NAMES[name]
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as out:
        out.writestr(name, b"other")
    assert archives.read(tmp_path / f"all.zip::{name}") == b"other"


def test_links_in_a_tar_are_files_or_named(tmp_path):
    """A hard link is the file that it leads to; any other link, and a device, is a row that cannot be read."""
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind, target in (
            *(("a.png", tarfile.REGTYPE, ""), ("hard.png", tarfile.LNKTYPE, "a.png")),
            *(("soft.png", tarfile.SYMTYPE, "a.png"), ("out.png", tarfile.SYMTYPE, "/etc/passwd")),
            *(
                ("none.png", tarfile.LNKTYPE, "/etc/passwd"),
                ("tty.png", tarfile.CHRTYPE, ""),
                ("d", tarfile.DIRTYPE, ""),
            ),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, target, 3 * (kind == tarfile.REGTYPE)
            archive.addfile(member, io.BytesIO(b"abc"))
    names = archives.members(tmp_path / "a.tar")
    assert names == ["a.png", "hard.png", "soft.png", "out.png", "none.png", "tty.png"]
    for number, name in enumerate(names):
        path = f"{tmp_path}/a.tar::{name}"
        if number < 2:
            assert archives.read(path) == b"abc"
        else:
            with pytest.raises(ImageError, match="is a link or a device"):
                archives.read(path)


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_headers_read_at_once_say_what_tarfile_says_of_whole_and_of_broken_tars(kind):
    draw = np.random.default_rng(0)

    def outcome(read, data):
        try:
            return list(read(io.BytesIO(data)).items())
        except (tarfile.TarError, ValueError, EOFError) as error:
            return repr(error)

    for number in range(80):
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w", format=kind) as tar:
            for _ in range(draw.integers(8)):
                info = tarfile.TarInfo("/".join(draw.choice(["a", "\u00e4", "x" * 60, "b c"], draw.integers(1, 5))))
                info.type = draw.choice([b"0", b"0", b"\0", b"5"]) or b"\0"
                info.size = 0 if info.type == b"5" else int(draw.choice([0, 1, 511, 512, 513, 3000]))
                tar.addfile(info, io.BytesIO(bytes(info.size)))
        data = bytearray(made.getvalue())
        if number % 3 == 0:
            del data[draw.integers(len(data)) :]
        if number % 3 == 1:
            data[draw.integers(len(data))] ^= int(draw.integers(1, 256))
        assert outcome(tar_members.spans, data) == outcome(tar_members._of_any, data)
    assert tar_members._of_plain(io.BytesIO(bytes(1024))) is None


@pytest.mark.parametrize("kind", [b"0", tarfile.SYMTYPE])  # of the first member: headers read at once, or by tarfile
def test_a_broken_header_ends_no_tar_without_a_word(kind):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name in "abc":
            info = tarfile.TarInfo(name)
            info.type = kind if name == "a" else b"0"
            tar.addfile(info)
    data = bytearray(made.getvalue())
    data[512] ^= 1
    with pytest.raises(ValueError, match="the header at byte 512 is broken"):
        tar_members.spans(io.BytesIO(data))


def test_of_many_archives_those_read_last_stay_indexed(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_INDEXED", 3)
    for name in "abc":
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            for member in ("1.png", "2.png"):
                tar.addfile(tarfile.TarInfo(member))
    for name in "abcab":
        assert archives.read(f"{tmp_path}/{name}.tar::2.png") == b""
        assert sum(archive.num for archive in archives._INDEXED.values()) <= 3
        assert next(reversed(archives._INDEXED))[0] == f"{tmp_path}/{name}.tar"
