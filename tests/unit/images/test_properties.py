"""Properties: headers as the encoder was set, features against plain loops, the table back from disk, its classes."""

import io

import numpy as np
import pandas as pd
import pytest
import skimage
from PIL import Image
from scipy.fft import dctn

from aigid.core import tables, traits
from aigid.core.errors import InputError
from aigid.data.audit.audit import AuditSettings, compute_properties, run_audit
from aigid.images import formats, headers, properties
from tests.helpers.hostile import encode, picture


def test_the_columns_are_those_of_the_audit() -> None:
    assert set(traits.CONTAINER) == {*properties.CONTAINER_COLUMNS}
    features = set(properties.shallow_features(np.zeros((8, 8, 3), np.uint8))) - {properties.PHASH}
    assert set(traits.SHALLOW) == {*features, properties.BYTES, "bytes per pixel"}


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
    assert [image.path for image in failed] == ["d.png"]
    assert found.loc[3, [*traits.CONTAINER, *traits.SHALLOW]].isna().all()
    tables.write(found, tmp_path / "t.csv")
    again = traits.read(tmp_path / "t.csv")
    assert again["width"].tolist()[:3] == [40, 300, 600]
    np.testing.assert_array_equal(again["Laplacian energy"], found["Laplacian energy"].astype(float))
    assert again["format"].tolist()[3] == ""
    found.assign(width="wide").to_csv(tmp_path / "u.csv", index=False)
    with pytest.raises(InputError, match="column width"):
        traits.read(tmp_path / "u.csv")


def test_only_a_sample_of_each_split_has_cues(described, tmp_path) -> None:
    table, _, _ = described
    found, _ = compute_properties(table, tmp_path, 1, 0)
    assert found["mean red"].notna().groupby(table["split"]).sum().to_dict() == {"test": 1, "train": 1}


def test_strata_are_sizes_and_compressions(described) -> None:
    _, found, _ = described
    classes = traits.to_strata(found)
    assert classes["size"].tolist() == ["to 128 px", "257 to 512 px", "513 to 1024 px", ""]
    assert classes["compression"].tolist() == ["PNG", "JPEG 85 to 94", "JPEG below 70", ""]


@pytest.mark.parametrize("sample", [2, 10])
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


def test_headers_are_as_the_encoder_was_set(tmp_path):
    pixels = picture()
    files = {
        "a.jpg": encode(
            pixels, "JPEG", quality=83, subsampling=0, progressive=True, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"
        ),
        "b.png": encode(pixels, "PNG", icc_profile=bytes(200)),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    table, unreadable = properties.container_features(["gone.jpg", *files], str(tmp_path))
    assert [(image.path, image.status) for image in unreadable] == [("gone.jpg", "missing")]
    assert table.index.tolist() == [1, 2]
    jpeg, png = table.loc[1], table.loc[2]
    assert jpeg[["format", "width", "height", "JPEG quality", "progressive", "EXIF", "ICC profile"]].tolist() == [
        "JPEG", 64, 48, 83, "yes", "yes", "no",
    ]  # fmt: skip
    assert jpeg["aspect"] == pytest.approx(4 / 3, abs=1e-4)
    assert (jpeg["chroma subsampling"], png["chroma subsampling"]) == ("4:4:4", "none")
    assert (png["format"], png["JPEG quality"], png["JPEG table"], png["ICC profile"]) == ("PNG", -1, "none", "yes")
    assert table[properties.BYTES].tolist() == [len(data) for data in files.values()]


def test_laplacian_energy_is_that_of_a_plain_loop():
    luma = np.random.default_rng(0).integers(0, 256, (9, 12), np.uint8).astype(int)
    values = [
        (4 * luma[y, x] - luma[y - 1, x] - luma[y + 1, x] - luma[y, x - 1] - luma[y, x + 1]) ** 2
        for y in range(1, 8)
        for x in range(1, 11)
    ]
    assert properties.laplacian_energy(luma.astype(np.uint8)) == pytest.approx(np.mean(values))
    assert properties.laplacian_energy(np.zeros((2, 9), np.uint8)) == 0


def test_jpeg_grid_outlives_the_file(tmp_path):
    pixels = skimage.data.astronaut()
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=40)
    with Image.open(tmp_path / "a.jpg") as image:
        blocks = np.asarray(image)
    assert properties.shallow_features(pixels)["JPEG grid"] == pytest.approx(1, abs=0.05)
    assert properties.shallow_features(blocks)["JPEG grid"] > 1.15
    assert properties.shallow_features(blocks[:, 3:])["JPEG grid"] < 1.05  # out of step
    assert properties.jpeg_grid(np.zeros((5, 4), np.uint8)) == 1


def test_mean_color_of_any_size():
    for size in ((512, 512), (33, 700), (1, 1), (5, 3)):
        found = properties.shallow_features(np.full((*size, 3), (10, 120, 230), np.uint8))
        assert [found[f"mean {name}"] for name in ("red", "green", "blue")] == [10, 120, 230]
        assert found["contrast"] == pytest.approx(0)


def test_perceptual_hash_is_of_scipys_cosine_transform():
    for seed in range(20):
        gray = np.random.default_rng(seed).integers(0, 256, (32, 32), dtype=np.uint8)
        low = dctn(gray.astype(float))[:8, :8].ravel()
        bits = "".join(str(int(value > np.median(low[1:]))) for value in low)
        assert f"{properties.perceptual_hash(gray):064b}" == bits
