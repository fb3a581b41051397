"""Any cell goes through a CSV file and comes back; what is no table is named by its line."""

import os
import resource
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigid.core import columns, tables
from aigid.core.errors import InputError

CELLS = st.binary(max_size=12).map(os.fsdecode) | st.text(alphabet="\r\n\"',;=+-@ \t\ufeffa\u2028", max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_write_and_read_is_the_identity(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    tables.write(pd.DataFrame([("first", "x"), *rows], columns=["a", "b"], dtype=object), path)
    again = tables.read(path, ("a",))
    assert [*again.itertuples(index=False, name=None)] == [("first", "x"), *rows]


def test_a_lone_carriage_return_stays_in_its_cell(tmp_path: Path) -> None:
    tables.write(pd.DataFrame({"path": ["a\rb.png", "\r"], "x": ["1", "2"]}), tmp_path / "t.csv")
    assert tables.read(tmp_path / "t.csv", ())["path"].tolist() == ["a\rb.png", "\r"]


def test_utf_16_is_read(tmp_path: Path) -> None:
    for encoding in ("utf-16", "utf-8-sig"):
        (tmp_path / "t.csv").write_bytes("path,label\nä.jpg,0\n".encode(encoding))
        assert tables.read(tmp_path / "t.csv", ("path", "label"))["path"].tolist() == ["ä.jpg"]
    (tmp_path / "t.csv").write_bytes("path,label\na,0\n".encode("utf-16")[:-1])
    with pytest.raises(InputError, match="not CSV"):
        tables.read(tmp_path / "t.csv", ())


def test_faults_name_the_line_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('path,label\n"a\nb",0\n\n"c.jpg,1\n')
    with pytest.raises(InputError, match=r"t\.csv: the row that begins in line 5 is not CSV: unexpected end of data"):
        tables.read(tmp_path / "t.csv", ())
    (tmp_path / "t.csv").write_text('path,label\n"a\nb",0\n\nc.jpg\n')
    with pytest.raises(InputError, match=r"t\.csv: line 5: 1 cells under 2 columns"):
        tables.read(tmp_path / "t.csv", ())


@pytest.mark.parametrize("odd", ["", "caf\udce9"])  # the second is not UTF-8: Arrow refuses it
def test_long_columns_of_many_texts_read_back_as_short_ones_do(
    odd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [f"a/{number:03}.png" for number in range(40)]
    written = pd.DataFrame(
        {"path": [*paths, f"b/{odd}.png"], "split": "test", "caption": ["'quoted, =1", odd] + 39 * [""]}
    )
    tables.write(written, tmp_path / "t.csv")
    short = tables.read(tmp_path / "t.csv", ("path",))
    monkeypatch.setattr(tables, "BLOCK", 8)
    monkeypatch.setattr(columns, "NUM_SHARED", 3)
    long = tables.read(tmp_path / "t.csv", ("path",))
    assert long.astype(object).equals(short.astype(object))
    assert isinstance(long["path"].dtype, pd.StringDtype) == (odd == "")
    assert short["path"].dtype == object == long["split"].dtype


def test_repeats_and_conflicts_are_those_of_pandas_whether_sorted_or_not() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        names = draw.choice(["", "a", "b", "c", "d"], 30)
        table = pd.DataFrame({"key": names, "view": draw.choice(["x", "y"], 30)}, dtype=object)
        assert tables.repeats(table, "key", "view").tolist() == table.duplicated(["key", "view"]).tolist()
        pairs = table[table["key"] != ""].drop_duplicates()
        conflicts = pairs.index[pairs.duplicated("key")].tolist()
        assert np.flatnonzero(tables.has_several(table, "key", "view")).tolist() == conflicts
    distinct = pd.DataFrame({"key": ["a", "b", "c"], "view": "x"})
    assert not tables.repeats(distinct, "key").any()
    assert not tables.has_several(distinct, "key", "view").any()


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_file_that_may_grow_no_more_leaves_what_was_there(name: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"path": [f"{draw}.png" for draw in np.random.default_rng(0).random(9000)]})
    (tmp_path / name).write_bytes(b"before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match=f"File too large: '{tmp_path}'"):
            tables.write(table, tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b"before"}
