"""The manifest is read as written, and an error is named by row, column and value."""

import pandas as pd
import pytest

from aigid.core import manifest
from aigid.core.errors import InputError

ROWS = [
    {"path": "b.png", "label": 1, "generator": "sdxl", "split": "test", "group": "b", "extra_note": 'says "hi", twice'},
    {"path": "a,1.png", "label": 0, "generator": "real", "split": "train", "group": "a", "extra_note": ""},
    {"path": "é/c.png", "label": 0, "generator": "real", "split": "test", "group": "", "extra_note": "NA"},
]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_round_trip_sorts_and_keeps_text(tmp_path, suffix):
    path = tmp_path / f"manifest{suffix}"
    manifest.write(pd.DataFrame(ROWS), path)
    table = manifest.read(path)
    assert table["path"].tolist() == ["a,1.png", "b.png", "é/c.png"]
    assert table["label"].tolist() == [0, 1, 0]
    assert table["extra_note"].tolist() == ["", 'says "hi", twice', "NA"]
    first = path.read_bytes()
    manifest.write(table, path)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 2}, r"row 2 \(line 3\), column label: '?2'?"),
        ({"label": ""}, "column label: ''"),
        ({"split": "dev"}, "column split: 'dev': want train, val, test"),
        ({"path": "/abs.png"}, "column path: '/abs.png'"),
        ({"path": "../up.png"}, "column path: '../up.png'"),
        ({"path": "b.png"}, "column path: 'b.png': stands twice"),
        ({"generator": "sdxl"}, "column generator: 'sdxl'"),
        ({"group": "b"}, "column group: 'b': is in more than one split"),
        ({"sha256": "abc"}, "column sha256: 'abc'"),
    ],
)
def test_a_bad_row_is_named(tmp_path, change, message):
    rows = [dict(row) for row in ROWS]
    if "sha256" in change:
        rows = [row | {"sha256": ""} for row in rows]
    rows[1] |= change
    path = tmp_path / "manifest.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    with pytest.raises(InputError, match=message):
        manifest.read(path)


def test_errors_of_the_file(tmp_path):
    path = tmp_path / "manifest.csv"
    with pytest.raises(InputError, match="no such file"):
        manifest.read(path)
    path.write_text("path,label,generator\na.png,0,real\n")
    with pytest.raises(InputError, match="no column 'split'"):
        manifest.read(path)
    path.write_text("path,label,generator,split,colour\na.png,0,real,test,red\n")
    with pytest.raises(InputError, match="extra_colour"):
        manifest.read(path)
    path.write_text("path,label,generator,split\n")
    with pytest.raises(InputError, match="no rows"):
        manifest.read(path)
    with pytest.raises(InputError, match=r"\.csv or \.parquet"):
        manifest.read(tmp_path / "manifest.txt")
