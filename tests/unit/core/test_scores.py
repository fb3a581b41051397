"""The scores file: legal oddities read alike, errors are named with their row, column and value."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigid.core import parquet, scores, tables
from aigid.core.errors import InputError


def table(**columns: list) -> pd.DataFrame:
    """Four good rows, some columns replaced."""
    good = {
        "path": ["a.png", "b.png", "c.png", "d.png"],
        "label": [0, 1, 0, 1],
        "generator": ["real", "sd14", "real", "sd14"],
        "split": ["val", "val", "test", "test"],
        "view": ["clean"] * 4,
        "score": [0.1, 0.9, 1 / 3, 5e-324],
    }
    return pd.DataFrame({**good, **columns})


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_every_score_comes_back_to_the_bit(tmp_path: Path, suffix: str) -> None:
    many = pd.concat([table(path=[f"{k}/{name}" for name in "abcd"]) for k in range(50)], ignore_index=True)
    many["score"] = np.random.default_rng(0).random(200)
    scores.write(many, tmp_path / f"s{suffix}")
    assert scores.read(tmp_path / f"s{suffix}")["score"].tolist() == many["score"].tolist()


@pytest.mark.parametrize("labels", [[0.0, 1.0, 0.0, 1.0], [False, True, False, True], np.array([0, 1, 0, 1], "int8")])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_labels_of_any_type_are_labels(tmp_path: Path, suffix: str, labels: list) -> None:
    path = tmp_path / f"s{suffix}"
    frame = table(label=labels, score=[0, 1, 0, 1], view="NA", extra=["x", None, "y", "z"])
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    read = scores.read(path)
    assert read["label"].tolist() == [0, 1, 0, 1]
    assert read["score"].tolist() == [0, 1, 0, 1]
    assert read["view"].tolist() == ["NA"] * 4


def test_byte_order_mark_windows_lines_and_quoted_commas(tmp_path: Path) -> None:
    text = '\ufeffpath,label,generator,split,view,score,"a, b"\r\n"x, ""1"".png",0,real,test,clean,0.25,\r\n'
    (tmp_path / "s.csv").write_bytes(text.encode())
    assert scores.read(tmp_path / "s.csv").loc[0, ["path", "score"]].tolist() == ['x, "1".png', 0.25]


def test_an_unreadable_image_keeps_its_row() -> None:
    read = scores.validate(table(status=["ok", "", "truncated", "ok"], score=[0.1, 0.2, None, 0.3]), "s")
    assert read["score"].isna().tolist() == [False, False, True, False]


def test_names_of_another_tool_and_constants(tmp_path: Path) -> None:
    other = table().drop(columns="view").rename(columns={"score": "prob_fake", "path": "file"})
    other.to_csv(tmp_path / "s.csv", index=False)
    columns = {"score": "prob_fake", "path": "file", "view": "=clean"}
    pd.testing.assert_frame_equal(
        scores.read(tmp_path / "s.csv", columns)[list(scores.REQUIRED)], scores.validate(table(), "s")
    )
    with pytest.raises(InputError, match=r"'probability'.*'score'.*prob_fake"):
        scores.read(tmp_path / "s.csv", {"score": "probability"})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [0, 1, 2, 1]}, r"row 3 \(line 4\), column label: '2'"),
        ({"label": [0, 1, 0.5, 1]}, r"row 3 \(line 4\), column label: '0.5'"),
        ({"label": [0, 1, None, 1]}, r"row 3 \(line 4\), column label"),
        ({"label": ["0", "1", "fake", "1"]}, r"row 3 \(line 4\), column label: 'fake'"),
        ({"score": [0.1, 0.2, 0.3, 1.5]}, r"row 4 \(line 5\), column score: '1.5'"),
        ({"score": [0.1, -0.2, 0.3, 0.5]}, r"row 2 \(line 3\), column score: '-0.2'"),
        ({"score": [0.1, 0.2, np.nan, 0.5]}, r"row 3 \(line 4\), column score: ''"),
        ({"score": ["0.1", "high", "0", "1"]}, r"row 2 \(line 3\), column score: 'high'"),
        ({"score": [0.1, 0.2, np.inf, 0.5]}, r"row 3 \(line 4\), column score: 'inf'"),
        ({"split": ["val", "val", "dev", "test"]}, r"row 3 \(line 4\), column split: 'dev'"),
        ({"view": ["clean", "", "clean", "clean"]}, r"row 2 \(line 3\), column view: ''"),
        ({"path": ["a.png", "b.png", "c.png", "c.png"]}, r"row 4 \(line 5\), column path: 'c.png': is scored twice"),
        ({"generator": ["real", "real", "real", "sd"]}, r"row 2 \(line 3\), column generator: 'real'"),
        ({"path": ["a", "b", "a", "d"], "view": ["clean", "clean", "jpeg", "clean"]}, "'a': has more than one split"),
        ({"path": ["a", "a", "c", "d"], "view": ["clean", "jpeg", "clean", "clean"]}, "'a': has more than one label"),
        ({"group": ["g", "", "g", ""]}, r"row 3 \(line 4\), column group: 'g': has more than one split"),
        ({"status": ["ok", "ok", "missing", "ok"]}, r"row 3 \(line 4\), column score: '0.33"),
        ({"class_sd": [0.1, 0.2, 7, 0.5]}, r"row 3 \(line 4\), column class_sd: '7"),
    ],
)
def test_an_error_is_named(columns: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        scores.validate(table(**columns), "s.csv")


@pytest.mark.parametrize("column", scores.REQUIRED)
def test_a_missing_column_is_named(column: str) -> None:
    with pytest.raises(InputError, match=f"no column '{column}'"):
        scores.validate(table().drop(columns=column), "s.csv")


def test_no_rows_no_file_no_table(tmp_path: Path) -> None:
    (tmp_path / "head.csv").write_text("path,label,generator,split,view,score\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "bad.parquet").write_text("no")
    for name in ("head.csv", "empty.csv", "bad.parquet", "absent.csv", "scores.json"):
        with pytest.raises(InputError, match=name):
            scores.read(tmp_path / name)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_compact_rows_are_the_same_rows(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BLOCK", 3)
    monkeypatch.setattr(parquet, "PARQUET_ROWS", 3)
    rows = {"path": list("hgfedcba"), "label": ["0", "1"] * 4, "generator": ["", "x"] * 4, "split": ["test"] * 8}
    rows |= {"view": ["clean"] * 8, "status": ["missing", *["ok"] * 7]}
    for score in ("0.25", "0.250", "1", "1e-05"):  # the second and third are no number as Python writes it
        tables.write(pd.DataFrame(rows | {"score": ["", *["0.5"] * 6, score]}), tmp_path / f"s{suffix}")
        plain, compact = (scores.read(tmp_path / f"s{suffix}", compact=compact) for compact in (False, True))
        assert compact["generator"].dtype == "category" != plain["generator"].dtype
        pd.testing.assert_frame_equal(compact.astype(plain.dtypes), plain)
    for score in ("", "1.50", "x", "nan"):
        tables.write(pd.DataFrame(rows | {"score": ["", *["0.5"] * 6, score]}), tmp_path / f"s{suffix}")
        with pytest.raises(InputError, match=f"row 8.*, column score: '{score}': want"):
            scores.read(tmp_path / f"s{suffix}", compact=True)
    tables.write(pd.DataFrame(rows | {"score": ["nan", *["0.5"] * 7]}), tmp_path / f"s{suffix}")
    with pytest.raises(InputError, match=r"row 1 .*, column score: 'nan': want none in a row whose status"):
        scores.read(tmp_path / f"s{suffix}")


@pytest.mark.slow
def test_a_row_takes_at_most_160_bytes(tmp_path: Path) -> None:
    code = """
import resource, sys
from aigid.core import parquet, scores, tables
def peak(num):
    with open(sys.argv[1], "w") as file:
        file.write("path,label,generator,split,view,score\\n")
        for n in range(num):
            file.write(f"test/gan/{n % 2}/{n:09}.bmp,{n % 2},{'sd' if n % 2 else 'real'},test,clean,{n / num!r}\\n")
    scores.read(sys.argv[1], compact=True)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print((-peak(140_000) + peak(420_000)) / 280_000)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "s.csv"], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 160  # it was 360 with cells as text, Arrow's own pool, and tables of hashes
