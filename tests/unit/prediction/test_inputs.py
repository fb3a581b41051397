"""What is handed over: tables with few columns, names of any bytes, files in memory, and names that nearly fit."""

import io
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigid.core.errors import InputError
from aigid.images import ImageError
from aigid.images.formats import read_bytes
from aigid.prediction import inputs
from aigid.prediction.inspection import inspect
from tests.helpers.hostile import encode, picture

JPEG = encode(picture(), "JPEG")


def test_a_table_of_paths_and_labels(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label,camera\na.jpg,0,x\nb.jpg,1,y\n")
    table = inputs.collect_inputs([str(tmp_path / "labels.csv")], None, ())
    assert table["path"].tolist() == [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
    assert table["label"].tolist() == [0, 1]
    (tmp_path / "labels.csv").write_text("path,label\na.jpg,maybe\n")
    with pytest.raises(InputError, match=r"row 1 \(line 2\), column label: 'maybe': want 0 or 1"):
        inputs.collect_inputs([str(tmp_path / "labels.csv")], None, ())


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=1, max_size=20).filter(lambda name: not set(name) & set(b"/\0\n\r")))
def test_any_name_of_a_file(tmp_path_factory: pytest.TempPathFactory, name: bytes) -> None:
    folder = tmp_path_factory.mktemp("names")
    path = folder / os.fsdecode(b"x" + name + b".jpg")
    path.write_bytes(JPEG)
    for argument, lines in ((str(path), ()), (str(folder), ()), ("-", [os.fsencode(path) + b"\n"])):
        assert inputs.collect_inputs([argument], None, lines)["path"].tolist() == [str(path)]


def test_bytes_and_files_in_memory_are_files() -> None:
    file = io.BytesIO(JPEG)
    file.seek(0, 2)
    want = inspect(encode(picture(), "PNG"))
    for image in (JPEG, bytearray(JPEG), memoryview(JPEG), file):
        found = inspect(image)
        assert found.status == "ok"
        assert np.abs(found.pixels.astype(int) - want.pixels).mean() < 4
    with pytest.raises(InputError, match="int: want a path, a file or its bytes, a PIL image"):
        inspect(7)


@pytest.mark.parametrize(
    ("written", "there"),
    [
        ("img_1.jpg", "IMG_1.JPG"),
        ("7.jpg", "007.jpg"),
        ("a10.jpg", "a010.jpg"),
        (unicodedata.normalize("NFD", "é.jpg"), unicodedata.normalize("NFC", "é.jpg")),
        ("Images/a.jpg", "images/a.jpg"),
    ],
)
def test_a_missing_file_names_what_lies_there(tmp_path: Path, written: str, there: str) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_bytes(JPEG)
    name = there.partition("/")[0]
    with pytest.raises(ImageError, match=f"missing: No such file or directory; there is {name}$"):
        read_bytes(tmp_path / written)
    with pytest.raises(ImageError, match=r"missing: No such file or directory$"):
        read_bytes(tmp_path / "other.jpg")
