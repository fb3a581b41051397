import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from aigid.core.cache import (
    METADATA_FILE,
    CacheEntry,
    ShardWriter,
    StoredArrays,
    checkpoint_path,
    checkpoints,
    entry_path,
)
from aigid.core.errors import InputError
from aigid.features import row_cache
from tests.helpers.cli import aigid


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_folder_is_named_by_what_decides_its_content_alone(cache: Path) -> None:
    first = entry_path("fakes", {"seed": 1, "model": "vae"}, {"made_by": "me"})
    again = entry_path("fakes", {"model": "vae", "seed": 1}, {"made_by": "you"})

    assert first == again
    assert first.parent == cache / "fakes"
    assert json.loads((first / METADATA_FILE).read_text()) == {"seed": 1, "model": "vae", "made_by": "me"}
    assert entry_path("fakes", {"seed": 2, "model": "vae"}) != first


def test_a_cache_that_cannot_be_written_is_named_with_its_variable(cache: Path) -> None:
    cache.write_text("a file")

    with pytest.raises(InputError, match=r"cache .*cache: Not a directory; \$AIGID_CACHE names another folder"):
        entry_path("fakes", {})


def by_hand(folder, rows, metadata, extra):
    """Write a folder as versions before this one did, byte by byte: its shard's name and bytes."""
    folder.mkdir(parents=True)
    (folder / "about.json").write_text(json.dumps(metadata))
    keys = b"".join(number.to_bytes(32, "big").hex().encode() for number in range(len(rows)))
    kind = {"float16": "F16", "uint8": "U8"}[rows.dtype.name]
    arrays = [("key", "U8", (len(rows), 64), keys), ("rows", kind, rows.shape, rows.tobytes())]
    table, start = ({"__metadata__": extra} if extra else {}), 0
    ordered = sorted(arrays, key=lambda array: (array[1] == "U8", array[0]))  # wider types first, then by name
    for name, kind, shape, content in ordered:
        table[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, start + len(content)]}
        start += len(content)
    head = json.dumps(table, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    content = len(head).to_bytes(8, "little") + head + b"".join(array[3] for array in ordered)
    name = hashlib.sha256(content if extra else keys).hexdigest() + ".safetensors"
    (folder / name).write_bytes(content)
    return name, content


@pytest.mark.parametrize("kind", ["embeddings", "channels"])
def test_a_cache_of_before_is_read_and_written_alike(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path))
    is_rows, metadata = kind == "embeddings", {"tower": "t", "view": "clean", "seed": 0}
    rows = (
        np.arange(6, dtype=np.float16).reshape(3, 2) if is_rows else np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1)
    )
    identity = ({"schema_version": 1} if is_rows else {"revision": 1}) | metadata
    folder = tmp_path / kind / hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    name, content = by_hand(folder, rows, identity, {"computed_on": "cpu"} if is_rows else None)
    keys = [number.to_bytes(32, "big").hex() for number in (2, 0, 1)]
    if is_rows:
        rows_read, out = (
            row_cache.CachedEmbeddings(row_cache.open_entry(metadata, {}), row_cache.KeyIndex(np.array(keys, "S64"))),
            np.zeros((3, 2), "f2"),
        )
        rows_read.read(0, 3, out)
        assert rows_read.cached_mask.all()
        writer = row_cache.RowWriter(CacheEntry(folder), "cpu")
    else:
        assert entry_path(kind, identity) == folder
        arrays = StoredArrays(CacheEntry(folder))
        out = np.stack([arrays[key] for key in keys])
        writer = ShardWriter(CacheEntry(folder), by_key=True)
    np.testing.assert_array_equal(out, rows[[2, 0, 1]])
    (folder / name).unlink()
    with writer:
        for number, row in enumerate(rows):
            writer.add(number.to_bytes(32, "big").hex(), row)
    assert [path.name for path in CacheEntry(folder).shards()] == [name]
    assert (folder / name).read_bytes() == content


def test_orphaned_checkpoints_are_listed_and_removed(cache: Path) -> None:
    """Not written to for a week, of another torch, or cut off by a kill; but not what is being written."""
    current = checkpoint_path("sef vae", 0)
    current.parent.mkdir(parents=True)
    days = {
        current: 6.9,
        checkpoint_path("sef gan", 0): 7.1,
        current.with_name("cnn_3_0.1_0.pt"): 0.0,
        current.with_name(f".{current.stem}-abc.pt"): 1.1,
        current.with_name(f".{current.stem}-def.pt"): 0.9,
    }
    for path, age in days.items():
        path.write_bytes(bytes(10))
        os.utime(path, (time.time() - 86400 * age,) * 2)
    reasons = {row["path"]: row["orphan"] for row in checkpoints()}
    old, other, killed = (str(path) for path in list(days)[1:4])
    assert {path: reason for path, reason in reasons.items() if reason} == {
        old: "not written for 7 days",
        other: "of another version of torch or of aigid",
        killed: "left by a write that was killed",
    }
    listed = json.loads(aigid("cache", "info", "--json", cwd=cache.parent).stdout)["checkpoints"]
    assert sorted(row["run"] for row in listed) == ["cnn", "sef-gan", "sef-vae", "sef-vae", "sef-vae"]
    dry = aigid("cache", "prune", "--dry-run", cwd=cache.parent)
    assert dry.stdout == "3 checkpoints to remove, 30 bytes\n"
    assert all(path.exists() for path in days)
    assert aigid("cache", "prune", cwd=cache.parent).stdout == "3 checkpoints removed, 30 bytes\n"
    assert [path.exists() for path in days] == [True, False, False, False, True]
