"""Datasets at addresses: products equal to the byte to those of the folder; and errors in one line."""

import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from aigid.cli.main import main
from aigid.core import files, manifest, paths
from aigid.core.errors import InputError
from aigid.data.audit.audit import compute_properties
from aigid.data.index import IndexSettings, build_manifest
from aigid.data.layouts import tables
from aigid.features.backbones import backbone_settings
from aigid.features.extract import extract
from aigid.images import ImageError, Status, hashing
from aigid.images.formats import read_bytes
from tests.helpers.images import noise_folder

NUM = 10
LEFT_OUT = (".hidden/1_fake/a.png", "__MACOSX/1_fake/a.png", "test/gan/1_fake/.a.png", "notes.txt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images by class, one of them broken, and files that are none."""
    root = tmp_path_factory.mktemp("images")
    noise_folder(root, NUM)
    for number in range(NUM):
        file = root / "test/gan" / ("0_real", "1_fake")[number % 2] / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        (root / f"{number:02}.png").rename(file)
    (root / "m.csv").unlink()
    (root / "test/gan/1_fake/05.png").write_bytes(b"")
    for name in LEFT_OUT:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"no image")
    return root


@pytest.fixture(params=["memory", "s3"])
def address(request, folder):
    """A copy of the folder on another filesystem."""
    if request.param == "s3":
        request.getfixturevalue("s3").create_bucket(Bucket="photos")
    return put(folder, f"{request.param}://photos/set")


def put(folder, address):
    """Copy a folder's files to an address, which is returned."""
    for path in folder.rglob("*"):
        if path.is_file():
            with fsspec.open(f"{address}/{path.relative_to(folder).as_posix()}", "wb") as out:
                out.write(path.read_bytes())
    return address


def call(*arguments, status=0):
    done = CliRunner().invoke(main, list(map(str, arguments)))
    assert done.exit_code == status, done.output
    return done


def products(root, out, monkeypatch):
    """What the commands make of a root, with a cache of its own."""
    monkeypatch.setenv("AIGID_CACHE", str(out / "cache"))
    out.mkdir()
    message = call("index", root, "--layout", "realfake", "--out", out / "m.csv").stderr
    audit = call("audit", out / "m.csv", "--root", root, "--json", status=1).stdout
    call("extract", out / "m.csv", "--root", root, "--backbone", "tiny_clip", "--out", out / "e.h5", status=1)
    traits, _ = compute_properties(manifest.read(out / "m.csv"), paths.as_path(str(root)), 100, 0)
    return (out / "m.csv").read_bytes(), (out / "e.h5").read_bytes(), json.loads(audit), traits.to_csv(), message


def test_the_same_as_the_folder(address, folder, tmp_path, monkeypatch):
    here, there = (products(root, tmp_path / name, monkeypatch) for root, name in ((folder, "a"), (address, "b")))
    assert there == here
    assert len(manifest.read(tmp_path / "b/m.csv")) == NUM


def test_a_dataset_is_found_below_an_address(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIGID_DATA", address.removesuffix("/set") + "/")
    assert str(files.dataset_root("set")) == address
    with pytest.raises(InputError, match=r"dataset 'none': no folder \w+://photos/none or data/images/none"):
        files.dataset_root("none")


def test_digests_are_kept_until_a_file_changes(address, monkeypatch):
    path = f"{address}/test/gan/0_real/00.png"
    first, read = hashing.hash_files([path]), []
    monkeypatch.setattr(hashing, "read_bytes", lambda path: read.append(path) or read_bytes(path))
    assert hashing.hash_files([path, f"{address}/none.png"]) == [*first, ""]
    assert not read
    with fsspec.open(path, "wb") as out:
        out.write(b"another")
    assert hashing.hash_files([path]) != first
    assert read == [path]


def test_what_is_missing_keeps_its_row_and_what_is_changed_too(address, tmp_path):
    call("index", address, "--layout", "realfake", "--out", tmp_path / "m.csv")
    table = manifest.read(tmp_path / "m.csv")
    paths.as_path(address).files()
    filesystem, name = fsspec.url_to_fs(address)
    filesystem.rm(f"{name}/{table['path'][0]}")
    filesystem.pipe_file(f"{name}/{table['path'][1]}", b"another")
    result = extract(table, paths.as_path(address), backbone_settings("tiny_clip"))
    assert result.status[:3] == ["missing", "changed", "ok"]


def test_a_file_that_is_too_large_is_not_read(monkeypatch):
    with fsspec.open("memory://large/a.png", "wb") as out:
        out.write(bytes(11))
    monkeypatch.setattr("aigid.images.formats.MAX_BYTES", 10)
    with pytest.raises(ImageError, match="11 bytes, limit 10") as refused:
        read_bytes("memory://large/a.png")
    assert refused.value.status == Status.TOO_MANY_BYTES


def test_a_file_takes_one_request(s3, monkeypatch):
    s3.create_bucket(Bucket="few")
    for name, content in {"a.png": b"any", "empty.png": b""}.items():
        s3.put_object(Bucket="few", Key=name, Body=content)
    filesystem, calls = fsspec.get_filesystem_class("s3"), []
    call_s3 = filesystem._call_s3

    def counted(self, method, *rest, **more):
        calls.append(method)
        return call_s3(self, method, *rest, **more)

    monkeypatch.setattr(filesystem, "_call_s3", counted)
    assert read_bytes("s3://few/a.png") == b"any"
    paths.RemotePath("s3://few/new/b.png").write_bytes(b"new")
    assert calls == ["get_object", "put_object"]
    assert read_bytes("s3://few/empty.png") == b""
    assert s3.get_object(Bucket="few", Key="new/b.png")["Body"].read() == b"new"


def pack(kind, folder, out):
    """The folder's images in one archive."""
    paths = sorted((folder / "test").rglob("[!.]*.png"))
    out.mkdir()
    if kind == "tar":
        with tarfile.open(out / "a.tar", "w") as archive:
            for path in paths:
                archive.add(path, path.relative_to(folder))
    elif kind == "zip":
        with zipfile.ZipFile(out / "a.zip", "w") as archive:
            for path in paths:
                archive.write(path, path.relative_to(folder))
    else:
        for word in ("0_real", "1_fake"):
            (out / f"test/gan/{word}").mkdir(parents=True)
            cells = [{"bytes": path.read_bytes(), "path": path.name} for path in paths if path.parent.name == word]
            parquet.write_table(pa.table({"image": cells}), out / f"test/gan/{word}/a.parquet", row_group_size=2)
    return out


@pytest.mark.parametrize("kind", ["tar", "zip", "parquet"])
def test_archives_at_an_address(kind, folder, s3, tmp_path):
    s3.create_bucket(Bucket="packed")
    packed = pack(kind, folder, tmp_path / "packed")
    settings, rows = IndexSettings(layout="realfake", archives=True), {}
    for root in (packed, paths.as_path(put(packed, f"s3://packed/{kind}"))):
        table, _ = build_manifest(root, settings, 0)
        result = extract(table, root, backbone_settings("tiny_clip"))
        rows[str(root)] = table.to_csv(), result.views["clean"].tobytes(), result.status
    here, there = rows.values()
    assert there == here
    assert here[2].count("ok") == NUM - 1


def test_a_tar_cut_short_at_an_address_is_one_line(folder, tmp_path):
    content = (pack("tar", folder, tmp_path / "packed") / "a.tar").read_bytes()
    with fsspec.open("memory://cut/a.tar", "wb") as out:
        out.write(content[:3000])
    call_refused("a.tar: cannot be read as an archive", "memory://cut", tmp_path, "--archives")


@pytest.mark.parametrize("suffix", ["csv", "parquet", "xlsx"])
def test_tables_at_an_address(suffix, folder):
    table = pd.DataFrame({"path": ["test/gan/0_real/00.png", "test/gan/1_fake/01.png"], "label": [0, 1]})
    content = io.BytesIO()
    if suffix == "xlsx":
        content = workbook([list(table.columns), *table.astype(str).to_numpy().tolist()])
        fsspec.filesystem("memory").pipe_file("/tables/t.xlsx", content)
        pd.testing.assert_frame_equal(
            tables.read(paths.as_path("memory://tables/t.xlsx")), table.astype(str).astype(object)
        )
        return
    table.to_csv(content, index=False) if suffix == "csv" else table.to_parquet(content, index=False)
    root = put(folder, f"memory://tables-{suffix}")
    fsspec.filesystem("memory").pipe_file(f"/tables-{suffix}/t.{suffix}", content.getvalue())
    result, unreadable = build_manifest(paths.as_path(root), IndexSettings(layout="csv"), 0)
    assert result["path"].tolist() == table["path"].tolist()
    assert not unreadable


def workbook(rows):
    """An .xlsx file's bytes."""
    cells = "".join(
        "<row>" + "".join(f'<c t="inlineStr"><is><t>{cell}</t></is></c>' for cell in row) + "</row>" for row in rows
    )
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    parts = {
        "xl/workbook.xml": f'<workbook xmlns:r="{office}"><sheets><sheet r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": '<Relationships><Relationship Id="r1" Target="s.xml"/></Relationships>',
        "xl/s.xml": f"<worksheet><sheetData>{cells}</sheetData></worksheet>",
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as book:
        for name, text in parts.items():
            book.writestr(name, text)
    return content.getvalue()


def call_refused(message, root, tmp_path, *more):
    """Index and extract end with one line and status 2, and write nothing."""
    (tmp_path / "in.csv").write_text("path,label,generator,split\na.png,0,real,test\n")
    out = tmp_path / "out"
    commands = [["index", root, "--layout", "realfake", "--out", out / "m.csv", *more]]
    if not more:
        commands += [
            ["extract", tmp_path / "in.csv", "--root", root, "--backbone", "tiny_clip", "--out", out / "e.h5"],
            ["audit", tmp_path / "in.csv", "--root", root],
        ]
    for arguments in commands:
        done = call(*arguments, status=2)
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
        assert not out.exists()


def test_a_bucket_that_is_not_there(s3, tmp_path):
    call_refused("s3://nowhere/set: no such folder", "s3://nowhere/set", tmp_path)
    call_refused("s3://nowhere: no such folder", "s3://nowhere", tmp_path)


def test_a_bucket_that_one_may_not_read(s3, tmp_path, monkeypatch):
    s3.create_bucket(Bucket="secret")
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)  # from here on, keys are checked
    call_refused("s3://secret/set: Permission denied", "s3://secret/set", tmp_path)
    call_refused("s3://secret: Permission denied", "s3://secret", tmp_path)


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("nosuch://a/b", "nosuch://a: ValueError Protocol not known: nosuch"),
        ("gs://a/b", "gs://a: not installed; pip install 'gcsfs'"),
        ("s3://a/b", "s3://a: not installed; pip install 'aigid[s3]'"),
        ("memory://none", "memory://none: no such folder"),
        ("ftp://127.0.0.1:1/b", "ftp://127.0.0.1:1: ConnectionRefusedError"),
        ("zip://a.zip::memory://b", "one address within another"),
    ],
)
def test_other_addresses(root, message, tmp_path, monkeypatch):
    for module in ("gcsfs", "s3fs"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    paths._connect.cache_clear()
    call_refused(message, root, tmp_path)
    paths._connect.cache_clear()


def test_storage_that_fails_stops_the_extraction(tmp_path, folder, monkeypatch):
    address = put(folder, "memory://failing")
    call("index", address, "--layout", "realfake", "--out", tmp_path / "m.csv")
    read = type(fsspec.filesystem("memory")).cat_file

    def fail(self, path, *rest, **more):
        if path.endswith("07.png"):
            raise TimeoutError("no answer\nfor long")
        return read(self, path, *rest, **more)

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", fail)
    done = call("extract", tmp_path / "m.csv", "--root", address, "--backbone", "tiny_clip", "--out", tmp_path / "e.h5",
                status=2)  # fmt: skip
    assert done.stderr.endswith("07.png: TimeoutError no answer for long\n")
    assert not (tmp_path / "e.h5").exists()


def test_a_cache_at_an_address_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("AIGID_CACHE", "s3://bucket/cache")
    done = call("index", folder, "--layout", "realfake", "--out", tmp_path / "m.csv", status=2)
    assert done.stderr.endswith("AIGID_CACHE=s3://bucket/cache: want a folder; an address may be AIGID_ROWS\n")


@pytest.mark.slow
def test_ray_reads_from_an_address_and_sends_rows_to_one(folder, s3, tmp_path):
    pytest.importorskip("ray")
    s3.create_bucket(Bucket="ray")
    address = put(folder, "s3://ray/set")
    call("index", address, "--layout", "realfake", "--out", tmp_path / "m.csv")
    for engine, root in (("local", folder), ("ray", address)):
        arguments = ["extract", tmp_path / "m.csv", "--root", root, "--backbone", "tiny_clip", "--engine", engine]
        code = "from aigid.cli.main import main; main()"
        rows = {"AIGID_ROWS": "s3://ray/rows"} if engine == "ray" else {}
        env = os.environ | rows | {"AIGID_CACHE": str(tmp_path / engine), "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-c", code, *map(str, arguments), "--out", str(tmp_path / f"{engine}.h5")]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stderr
        assert "05.png: changed" in done.stderr or "05.png: empty" in done.stderr
    assert (tmp_path / "ray.h5").read_bytes() == (tmp_path / "local.h5").read_bytes()
    sent = {Path(name).name for name in fsspec.filesystem("s3").find("ray/rows")}
    assert sent == {path.name for path in (tmp_path / "ray/embeddings").glob("*/*.safetensors")} != set()


def test_an_address_is_told_from_a_path():
    assert paths.as_path("a/s3:/b") == Path("a/s3:/b")
    assert str(paths.as_path("S3://b/c/") / "d.png") == "s3://b/c/d.png"
    assert str(paths.as_path("memory://") / "d") == "memory://d"
    assert not paths.is_remote(Path("s3://b"))
    assert paths.as_path("s3://b/c.csv").suffix == ".csv"
    assert np.all([paths.is_remote(cell) for cell in ("hf://datasets/a/b", paths.RemotePath("gs://a"))])
