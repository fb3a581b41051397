"""Traits: the same names as the audit's, back from disk, and the classes that scores are broken down by."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aigid.core import tables
from aigid.core.errors import InputError
from aigid.data.audit.audit import AuditSettings, compute_properties, run_audit
from aigid.images import formats, headers, properties


def test_the_names_are_the_audit_s() -> None:
    assert set(properties.CONTAINER) == {*properties.CONTAINER_COLUMNS}
    features = set(properties.shallow_features(np.zeros((8, 8, 3), np.uint8))) - {properties.PHASH}
    assert set(properties.SHALLOW) == {*features, properties.BYTES, "bytes per pixel"}


def save(path, size: int, kind: str, **options: object) -> None:
    noise = np.random.default_rng(size).integers(0, 256, (size, size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind, **options)
    path.write_bytes(buffer.getvalue())


@pytest.fixture
def described(tmp_path):
    save(tmp_path / "a.png", 40, "PNG")
    save(tmp_path / "b.jpg", 300, "JPEG", quality=90)
    save(tmp_path / "c.jpg", 600, "JPEG", quality=40)
    (tmp_path / "d.png").write_bytes(b"no image")
    table = pd.DataFrame({"path": ["a.png", "b.jpg", "c.jpg", "d.png"], "label": [0, 1, 0, 1]})
    table["generator"], table["split"] = ["real", "gan", "real", "gan"], ["train", "test", "test", "test"]
    return (table, *compute_properties(table, tmp_path, 10, 0))


def test_every_row_stays_and_comes_back_from_disk(described, tmp_path) -> None:
    table, found, failed = described
    assert found["path"].tolist() == table["path"].tolist()
    assert [one.path for one in failed] == ["d.png"]
    assert found.loc[3, [*properties.CONTAINER, *properties.SHALLOW]].isna().all()
    tables.write(found, tmp_path / "t.csv")
    again = properties.read(tmp_path / "t.csv")
    assert again["width"].tolist()[:3] == [40, 300, 600]
    np.testing.assert_array_equal(again["Laplacian energy"], found["Laplacian energy"].astype(float))
    assert again["format"].tolist()[3] == ""
    found.assign(width="wide").to_csv(tmp_path / "u.csv", index=False)
    with pytest.raises(InputError, match="column width"):
        properties.read(tmp_path / "u.csv")


def test_only_a_sample_of_each_split_has_cues(described, tmp_path) -> None:
    table, _, _ = described
    found, _ = compute_properties(table, tmp_path, 1, 0)
    assert found["mean red"].notna().groupby(table["split"]).sum().to_dict() == {"test": 1, "train": 1}


def test_strata_are_sizes_and_compressions(described) -> None:
    _, found, _ = described
    classes = properties.to_strata(found)
    assert classes["size"].tolist() == ["to 128 px", "257 to 512 px", "513 to 1024 px", ""]
    assert classes["compression"].tolist() == ["PNG", "JPEG 85 to 94", "JPEG below 70", ""]


@pytest.mark.parametrize("sample", [1, 10])
def test_each_file_is_opened_once(described, tmp_path, monkeypatch, sample) -> None:
    opened, open_file = [], formats.open_file
    for module in (formats, headers):
        monkeypatch.setattr(module, "open_file", lambda path: opened.append(str(path)) or open_file(path))
    table = described[0].iloc[:3].assign(sha256=list("abc"))
    compute_properties(table, tmp_path, sample, 0)
    run_audit(table, tmp_path, AuditSettings(max_images=sample), 0)
    assert sorted(opened) == sorted(2 * [str(tmp_path / name) for name in table["path"]])


def test_a_file_without_a_header_gives_its_place_in_the_sample_to_another(described, tmp_path) -> None:
    table = described[0].assign(split="test", sha256=list("abcd"), label=[0, 0, 0, 1], generator=["real"] * 3 + ["gan"])
    found, failed = compute_properties(table, tmp_path, 4, 0)
    assert found["mean red"].notna().tolist() == [True, True, True, False]
    assert len(failed) == 1
