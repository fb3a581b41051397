"""Texts in few bytes and in order, whatever their characters; runs on a full disk, or cut short, are named."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigid.core import texts
from aigid.core.errors import InputError

NAMES = st.lists(st.binary(max_size=6).map(os.fsdecode) | st.text(max_size=6), max_size=40)


@given(NAMES)
def test_packed_texts_are_the_texts(names: list[str]) -> None:
    packed = texts.Texts(names)
    assert packed == names
    assert [packed[number] for number in range(-len(names), len(names))] == names + names
    assert packed[1:5:2] == names[1:5:2]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Runs of 8 texts, read by 3."""
    monkeypatch.setattr(texts, "RUN", 8)
    monkeypatch.setattr(texts, "PART", 3)
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_runs_merge_in_order(runs: Path) -> None:
    names = [os.fsdecode(bytes([n * 7 % 256, n % 5 + 60])) for n in range(60)] + ["\U0001f600", "\udcff", "\uffff", ""]
    ordered = texts.SortedTexts(names)
    assert list(ordered) == list(ordered) == sorted(names)
    assert [*runs.iterdir()] == []  # a run has no name, so that a kill leaves nothing


def test_a_run_that_was_cut_short_is_named(runs: Path) -> None:
    ordered = texts.SortedTexts(f"{n:04}" for n in range(30))
    for file, _ in ordered._runs[1:2]:
        file.truncate(file.seek(0, 2) - 5)
    with pytest.raises(InputError, match=f"{runs}: a sorted run there was cut short, 2 texts before its end"):
        list(ordered)


def test_a_disk_that_fills_is_named(runs: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(InputError, match=f"{runs}: File too large"):
            texts.SortedTexts(str(n) * 9 for n in range(30))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@given(NAMES.map(lambda names: sorted({*names})), NAMES.map(sorted))
def test_positions_are_those_of_a_search(among: list[str], wanted: list[str]) -> None:
    expected = [among.index(name) if name in among else -1 for name in wanted]
    assert texts.positions(wanted, among, len(wanted)).tolist() == expected
