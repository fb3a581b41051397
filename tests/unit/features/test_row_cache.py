"""Entries, shards and the rows that a manifest finds in them."""

import json
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigid.core import cache, manifest, parquet, tables
from aigid.core.errors import InputError
from aigid.core.shards import shard_header
from aigid.core.texts import Texts
from aigid.features import row_cache
from aigid.features.images import Digests, Images, KeyIndex, pack

METADATA = {"tower": "t", "view": {"view": "clean"}, "seed": 0}


def key(*numbers):
    return np.array([f"{n:064x}" for n in numbers], "S64")


def test_rows_are_found_in_any_order_and_twice(tmp_path):
    entry = cache.CacheEntry(tmp_path / "s")
    values = np.arange(60, dtype=np.float16).reshape(20, 3)
    entry.add(key(*range(7)), values[:7])
    numbers = [19, 3, 8, 3, 99, 0, 12]
    rows = row_cache.CachedEmbeddings(entry, row_cache.KeyIndex(key(*numbers)))
    assert rows.cached_mask.tolist() == [False, True, False, True, False, True, False]
    entry.add(key(*range(5, 20)), values[5:])
    rows.update()
    assert rows.cached_mask.tolist() == [True, True, True, True, False, True, True]
    out = np.full((4, 3), np.nan, np.float16)
    rows.read(2, 6, out)
    np.testing.assert_array_equal(out, [values[8], values[3], [np.nan] * 3, values[0]])


def test_a_shard_is_closed_when_full_or_old(tmp_path, monkeypatch):
    monkeypatch.setattr(row_cache, "SHARD_ROWS", 3)
    now = [0.0]
    with row_cache.RowWriter(cache.CacheEntry(tmp_path / "s"), "test", clock=lambda: now[0]) as writer:
        for n in range(7):
            writer.add(key(n)[0], np.zeros(2, np.float16))
        assert len(writer.entry.shards()) == 2
        now[0] = row_cache.SHARD_SECONDS
        writer.add(key(7)[0], np.zeros(2, np.float16))
        assert len(writer.entry.shards()) == 3
    assert len(writer.entry.shards()) == 3
    assert shard_header(writer.entry.shards()[0])[0]["__metadata__"] == {"computed_on": "test"}


def test_half_written_shards_of_the_killed_go_when_old(tmp_path):
    entry = row_cache.open_entry(METADATA, {})
    entry.add(key(1), np.zeros((1, 2), np.float16))
    old, young = entry.folder / ".ab-x.safetensors", entry.folder / ".cd-x.safetensors"
    old.write_text("half")
    young.write_text("half")
    os.utime(old, (0, 0))
    assert len(entry.shards()) == 1
    entry.require_writable()
    assert (old.exists(), young.exists(), len(entry.shards())) == (False, True, 1)


def test_another_schema_version(tmp_path, caplog):
    entry = row_cache.open_entry(METADATA, {})
    file = entry.folder / cache.METADATA_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": 0}))
    with pytest.raises(InputError, match="schema version 0, this code reads 1; remove it, or let"):
        row_cache.open_entry(METADATA, {})
    row_cache.warn_other_versions()
    assert caplog.text.count("holds rows of schema version 0, this code reads 1: they are computed again") == 1


def test_a_full_disk_is_one_line(monkeypatch):
    entry = row_cache.open_entry(METADATA, {})

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left on device"):
        entry.add(key(1), np.zeros((1, 2), np.float16))
    assert [path.name for path in entry.folder.iterdir()] == [cache.METADATA_FILE]


@pytest.mark.skipif(not hasattr(os, "seteuid") or os.geteuid() != 0, reason="needs a user who can become another")
def test_a_cache_that_only_others_may_write(monkeypatch, caplog):
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("AIGID_CACHE", folder)
        entry = row_cache.open_entry(METADATA, {})
        entry.add(key(1, 2), np.ones((2, 2), np.float16))
        entry.add(key(3), np.ones((1, 2), np.float16))
        damaged = next(path for path in entry.shards() if row_cache.verify_shard(path)[0][0] == key(3)[0])
        damaged.write_bytes(b"x")
        Path(folder).chmod(0o755)
        os.seteuid(65534)
        try:
            assert row_cache.CachedEmbeddings(
                row_cache.open_entry(METADATA, {}), row_cache.KeyIndex(key(1, 2, 3))
            ).cached_mask.tolist() == [True, True, False]
            with pytest.raises(InputError, match=r"Permission denied; \$AIGID_CACHE names another folder"):
                entry.require_writable()
            with pytest.raises(InputError, match="Permission denied"):
                row_cache.open_entry(METADATA | {"seed": 1}, {})
        finally:
            os.seteuid(0)
        assert "cannot be renamed: passed over" in caplog.text


def test_images_whose_keys_begin_alike_are_told_apart():
    """Of sixteen digits and more, and in any order; a row finds the first with its image."""
    digits = [f"{prefix:016x}{rest:048x}" for prefix in (5, 3) for rest in (2, 1, 2, 3, 256)] * 2
    keys = np.array(digits, "S64")
    index = KeyIndex(keys)
    first = [digits.index(key) for key in digits]
    assert index.indices.tolist() == first
    asked = np.array([*digits[:5], f"{3:016x}{9:048x}"], "S64")
    matches, rows = index.find(pack(asked))
    assert (matches.tolist(), rows.tolist()) == ([0, 1, 2, 3, 4], first[:5])
    packed = Digests([*digits, ""])
    assert packed[:].tolist() == [*keys.tolist(), b""]
    assert (packed[4], packed[20]) == (keys[4], b"")


CHANGES = ("", "unsorted", "group", "twice", "twice apart", "bad label", "short row", "no hash", "split group")


@pytest.mark.parametrize("change", [*CHANGES, "role", "role in train", "twin in train", "no label", "no rows", "name"])
def test_a_manifest_is_read_block_by_block_as_it_is_at_once(change, tmp_path, monkeypatch):
    """Into the same images, or with the same error."""
    monkeypatch.setattr(tables, "BLOCK", 4)
    lines = [f"{n:02}.png,{n % 2},{'x' if n % 2 else 'real'},test,{n:064x}" for n in range(1, 9)]
    head = "path,label,generator,split,sha256"
    match change:
        case "unsorted":
            lines[2], lines[6] = lines[6], lines[2]
        case "group":
            head, lines = f"{head},group", [f"{line},g{n // 2}" for n, line in enumerate(lines)]
        case "split group":
            head, lines = f"{head},group", [f"{line},g{n % 2}" for n, line in enumerate(lines)]
            lines[6] = lines[6].replace("test", "val")
        case "twice":
            lines[5] = lines[4]
        case "twice apart":
            lines[7] = lines[0]
        case "no label":
            head = head.replace("label", "extra_label")
        case "no rows":
            lines = []
        case "name":  # not UTF-8
            head, lines = f"{head},extra_\udce9", [f"{line}," for line in lines]
        case "role" | "role in train" | "twin in train":
            head, roles = f"{head},extra_role", ["test_only", "", "", ""] * 2
            lines = [f"{line},{role}" for line, role in zip(lines, roles, strict=True)]
            if change == "role in train":
                lines[4] = lines[4].replace("test,", "train,")
            if change == "twin in train":
                lines[5] = lines[5].replace("test,", "train,").replace(f"{6:064x}", f"{1:064x}")
        case "bad label":
            lines[2], lines[6] = (line.replace(",1,", ",2,") for line in (lines[2], lines[6]))
        case "short row":
            lines[6] = "x"
        case "no hash":
            lines[6] = lines[6].rpartition(",")[0] + ","
    path = tmp_path / "m.csv"
    path.write_text("\n".join([head, *lines]), errors="surrogateescape")
    paths = [path]
    if change not in ("short row", "name"):
        monkeypatch.setattr(parquet, "PARQUET_ROWS", 4)
        pd.read_csv(path, dtype=str, keep_default_na=False).to_parquet(tmp_path / "m.parquet", index=False)
        paths.append(tmp_path / "m.parquet")
    for path in paths:
        try:
            expected = Images.of(manifest.read(path).iloc[1::3])
        except InputError as error:
            with pytest.raises(InputError, match=f"^{re.escape(str(error))}$"):
                Images.read(path, 1, 3)
        else:
            images = Images.read(path, 1, 3)
            assert isinstance(images.paths, Texts)
            assert change in ("", "unsorted", "group", "no hash", "role")
            assert (list(images.paths), images.key[:].tolist()) == (list(expected.paths), expected.key[:].tolist())
