"""Digests are right, are read once, and survive damage, other programs and each other."""

import hashlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aigid.core.files import cache_folder
from aigid.images import hashing
from aigid.images.hashing import hash_files


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/sha256.sqlite"


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "files").mkdir()
    paths = [tmp_path / "files" / f"{number}.png" for number in range(300)]
    for number, path in enumerate(paths):
        path.write_bytes(rng.bytes(200_000 if number == 7 else number))
    return paths


@pytest.fixture
def unread(monkeypatch):
    """Return what makes reading any file a fault."""
    return lambda: monkeypatch.setattr(hashing, "_digest", lambda path: pytest.fail(f"{path} is read"))


def truth(paths):
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def names(paths):
    return [str(path) for path in paths]


def overwrite_unseen(path):
    """Other bytes under the same size and time of modification."""
    before = path.stat()
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_cache_folder(tmp_path, monkeypatch):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("AIGID_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/aigid"


def test_a_file_is_read_once(files, unread):
    expected = truth(files)
    assert hash_files(names(files)) == expected
    unread()
    assert hash_files(names(files[::-1])) == expected[::-1]


@pytest.mark.parametrize("change", ["content", "size", "time", "name"])
def test_a_changed_file_is_read_again(files, change):
    hash_files(names(files))
    path = files[9]
    if change == "size":
        before = path.stat()
        path.write_bytes(path.read_bytes() + b"x")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif change == "content":
        overwrite_unseen(path)
    elif change == "time":
        overwrite_unseen(path)
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    else:
        files[9] = path.rename(path.with_name("other.png"))
        overwrite_unseen(files[9])
    assert hash_files(names(files)) == truth(files)


def test_what_cannot_be_read_has_no_digest(tmp_path, files):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "link")
    bad = [str(tmp_path / name) for name in ("pipe", "link", "gone", "files", "nul\0")]
    assert hash_files([*bad, str(files[3])]) == [""] * 5 + truth([files[3]])
    (tmp_path / "gone").write_bytes(b"here")
    assert hash_files(bad)[2] == hashlib.sha256(b"here").hexdigest()


@pytest.mark.parametrize("damage", ["text", "empty", "half", "header", "digests", "foreign", "folder"])
def test_a_damaged_store_does_no_harm(files, cache, damage, unread):
    expected = truth(files)
    hash_files(names(files))
    data = cache.read_bytes()
    digest = bytes.fromhex(expected[40])
    assert digest in data
    cache.unlink()
    if damage == "folder":
        cache.mkdir()
    elif damage == "foreign":
        with sqlite3.connect(cache) as store:
            store.execute("CREATE TABLE sha256 (path TEXT, precious TEXT)")
            store.execute("INSERT INTO sha256 VALUES ('a', 'b')")
    else:
        spoilt = {
            "text": b"not a database, but something that someone wrote here",
            "empty": b"",
            "half": data[: len(data) // 2],
            "header": b"\0" * 100 + data[100:],
            "digests": data.replace(digest, digest[:9] + b"?" + digest[10:]),
        }
        cache.write_bytes(spoilt[damage])
    assert hash_files(names(files)) == expected
    assert hash_files(names(files)) == expected
    if damage == "foreign":
        with sqlite3.connect(cache) as store:
            assert store.execute("SELECT * FROM sha256").fetchall() == [("a", "b")]
    elif damage != "folder":
        unread()
        assert hash_files(names(files)) == expected


def test_a_store_in_no_place(files, tmp_path, monkeypatch):
    (tmp_path / "taken").write_bytes(b"a file")
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "taken"))
    assert hash_files(names(files)) == truth(files)


def test_processes_share_the_store(files, cache):
    code = "import sys; from aigid.images.hashing import hash_files; print(*hash_files(sys.argv[1:]))"
    call = [sys.executable, "-c", code]
    parts = [files[:200], files[100:], files, files[::-1]]
    running = [
        subprocess.Popen([*call, *names(part)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2], text=True)
        for part in parts
    ]
    for part, process in zip(parts, running, strict=True):
        assert process.communicate(timeout=60)[0].split() == truth(part)
        assert process.returncode == 0
    with sqlite3.connect(cache) as store:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert store.execute("SELECT count(*) FROM sha256").fetchone() == (len(files),)


@pytest.mark.parametrize("workers", ["1", "4"])
def test_workers_change_nothing(files, workers, monkeypatch):
    monkeypatch.setenv("AIGID_WORKERS", workers)
    assert hash_files(names(files)) == truth(files)
