"""What an audit measures on a file: headers as the encoder was told, cues against plain loops, fair samples."""

import numpy as np
import pandas as pd
import pytest
import skimage
from PIL import Image

from aigid.data.audit import audit
from aigid.data.audit.audit import describe_values
from aigid.images import properties
from tests.helpers.hostile import encode, picture


def test_container_tells_what_the_encoder_was_told(tmp_path):
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
    assert [(one.path, one.status) for one in unreadable] == [("gone.jpg", "missing")]
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


def test_mean_colour_of_any_size():
    for size in ((512, 512), (33, 700), (1, 1), (5, 3)):
        found = properties.shallow_features(np.full((*size, 3), (10, 120, 230), np.uint8))
        assert [found[f"mean {name}"] for name in ("red", "green", "blue")] == [10, 120, 230]
        assert found["contrast"] == pytest.approx(0)


@pytest.mark.parametrize("num", [10, 40, 99])
def test_a_sample_is_even_and_does_not_depend_on_other_rows(num):
    cells = {("real", "train"): 60, ("real", "test"): 5, ("a", "train"): 3, ("b", "test"): 32}
    rows = [(f"{name}/{split}/{k}", name, split) for (name, split), size in cells.items() for k in range(size)]
    table = pd.DataFrame(rows, columns=["path", "generator", "split"])
    table["label"] = (table["generator"] != "real").astype(int)
    line = audit.priorities(table, seed=0)
    drawn = audit.sample(table, np.arange(100), line, num)
    counts = table.iloc[drawn].groupby(["generator", "split"]).size()
    assert len(set(drawn)) == len(drawn) == num
    fakes = counts.drop("real").sum()
    assert fakes == min(num // 2 + num % 2, 35) or fakes == num // 2
    assert counts["a", "train"] == 3 if num > 10 else counts["a", "train"] in (2, 3)
    assert counts["real", "test"] == min(5, (num - fakes) // 2)
    assert (line[1:] == audit.priorities(table[1:], seed=0)).all()
    assert (line != audit.priorities(table, seed=1)).all()


def test_parts_pair_a_generator_with_its_own_reals():
    rows = [
        ("real", "train", "coco"), ("real", "test", "a-set"), ("real", "test", "coco"),
        ("a", "test", "a-set"), ("b", "test", ""), ("c", "train", ""),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["generator", "split", "source"])
    table["label"] = (table["generator"] != "real").astype(int)
    found = {(kind, name): rows.tolist() for kind, name, rows in audit.subsets(table)}
    assert found == {
        ("all", "all"): [0, 1, 2, 3, 4, 5],
        ("split", "train"): [0, 5],
        ("split", "test"): [1, 2, 3, 4],
        ("generator", "a"): [1, 3],
        ("generator", "b"): [1, 2, 4],
        ("generator", "c"): [0, 5],
    }


def test_units_are_groups_then_contents_then_paths():
    table = pd.DataFrame(
        {"path": list("abcdef"), "sha256": ["1", "1", "1", "", "", "2"], "group": ["g", "g", "", "", "", "g"]}
    )
    assert audit.independence_groups(table).tolist() == [0, 0, 1, 2, 3, 0]
    assert audit.independence_groups(table[["path"]]).tolist() == [0, 1, 2, 3, 4, 5]


def test_values_in_few_words():
    assert describe_values(pd.Series([512] * 9 + [480])) == "512 (90 %), 480 (10 %)"
    assert describe_values(pd.Series([-1] * 4)) == "none (100 %)"
    assert describe_values(pd.Series(range(101)) / 10) == "median 5 (0.5 to 9.5)"
    assert describe_values(pd.Series(["JPEG", "PNG", "JPEG"])) == "JPEG (67 %), PNG (33 %)"
