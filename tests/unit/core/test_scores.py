"""The scores file: legal oddities read alike, errors are named with their row, column and value."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigid.core import scores
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
        ({"score": [0.1, 0.2, np.nan, 0.5]}, r"row 3 \(line 4\), column score: 'nan'"),
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
