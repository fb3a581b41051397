"""Copies: tables small enough to check by hand, hashes against a plain loop, photographs against their re-encodings."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage
from PIL import Image

from aigid.data.audit import duplicates
from aigid.data.audit.duplicates import MAX_HAMMING
from aigid.images.properties import shallow_features

PHOTOS = ("astronaut.png", "coffee.png", "chelsea.png", "motorcycle_left.png", "hubble_deep_field.jpg", "rocket.jpg")


def table_of(*rows):
    return pd.DataFrame(rows, columns=["path", "label", "split", "sha256", "group"])


def found_of(copies):
    return {one.across: (one.num_images, one.examples) for one in copies}


def photographs():
    folder = Path(skimage.__file__).parent / "data"
    return [Image.open(folder / name).convert("RGB") for name in PHOTOS if (folder / name).exists()]


def recoded(image, **options):
    file = BytesIO()
    image.save(file, "JPEG", **options)
    return Image.open(file)


def hash_of(image):
    return shallow_features(np.asarray(image))["hash"]


def test_exact_copies_by_what_lies_between():
    table = table_of(
        ("a", 0, "train", "1", ""),
        ("b", 0, "test", "1", ""),
        ("c", 0, "train", "2", "g"),
        ("d", 1, "train", "2", "g"),  # one file cannot be both, whatever its group
        ("e", 1, "val", "3", ""),
        ("f", 1, "val", "3", ""),
        ("g", 1, "val", "4", ""),
        ("h", 1, "val", "", ""),
        ("i", 0, "train", "", ""),  # unread files are not copies of each other
    )
    found = duplicates.exact_duplicates(table)
    assert found_of(found) == {"splits": (2, [["a", "b"]]), "classes": (2, [["c", "d"]]), "nothing": (2, [["e", "f"]])}
    assert {one.num_searched for one in found} == {7}
    assert duplicates.exact_duplicates(table[6:]) == []


def test_near_copies_by_what_lies_between():
    table = table_of(
        ("a", 0, "train", "1", ""),
        ("b", 0, "test", "2", ""),
        ("c", 0, "train", "3", "g"),
        ("d", 1, "train", "4", "g"),
        ("e", 0, "train", "5", "h"),
        ("f", 1, "train", "6", "i"),
        ("g", 0, "test", "7", ""),
        ("h", 0, "test", "8", ""),
        ("i", 0, "train", "9", ""),
        ("j", 0, "test", "9", ""),  # exact copies are told apart
        ("k", 0, "train", "10", ""),
        ("l", 0, "test", "11", ""),  # no hash
    )
    far = [int(value) for value in np.random.default_rng(0).integers(1, 2**63, 5)]
    hashes = [pair for value in far for pair in (value, value ^ (2**MAX_HAMMING - 1))]
    hashes[9] = hashes[8]
    found = found_of(duplicates.near_duplicates(table, np.array([*hashes, 0, 0], np.uint64)))
    assert found == {
        "splits": (2, [["a", "b"]]),
        "group": (2, [["c", "d"]]),
        "classes": (2, [["e", "f"]]),
        "nothing": (2, [["g", "h"]]),
    }


def test_near_counts_as_a_plain_loop_does(monkeypatch):
    rng = np.random.default_rng(1)
    num = 60
    hashes = np.array([rng.integers(1, 4) * 2**40 + rng.integers(0, 2**10) for _ in range(num)], np.uint64)
    table = pd.DataFrame(
        {
            "path": [str(row) for row in range(num)],
            "label": rng.integers(0, 2, num),
            "split": rng.choice(["train", "test"], num),
            "sha256": [str(row) for row in range(num)],
            "group": rng.choice(["", "g", "h"], num),
        }
    )
    expected = {"splits": set(), "classes": set(), "group": set(), "nothing": set()}
    for i, one in table.iterrows():
        for j, other in table.iterrows():
            if i == j or (int(hashes[i]) ^ int(hashes[j])).bit_count() > MAX_HAMMING:
                continue
            grouped = one["group"] == other["group"] != ""
            if one["split"] != other["split"] and not grouped:
                expected["splits"].add(i)
            if grouped:
                expected["group"].add(i)
            elif one["label"] != other["label"]:
                expected["classes"].add(i)
            elif one["split"] == other["split"]:
                expected["nothing"].add(i)
    monkeypatch.setattr(duplicates, "CHUNK", 7 * num)
    found = found_of(duplicates.near_duplicates(table, hashes))
    assert {across: num for across, (num, _) in found.items()} == {
        across: len(rows) for across, rows in expected.items()
    }


@pytest.mark.parametrize("change", ["quality", "smaller", "larger", "brighter"])
def test_a_photograph_is_known_again(change):
    changes = {
        "quality": lambda image: recoded(image, quality=30),
        "smaller": lambda image: image.resize((image.width // 3, image.height // 3)),
        "larger": lambda image: image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC),
        "brighter": lambda image: image.point(lambda value: min(255, round(value * 1.15))),
    }
    for image in photographs():
        assert (hash_of(image) ^ hash_of(changes[change](image))).bit_count() <= MAX_HAMMING


def test_other_photographs_are_not_taken_for_each_other():
    hashes = [hash_of(image) for image in photographs()]
    assert len(hashes) >= 4
    assert min((a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]) > 2 * MAX_HAMMING


def test_flat_images_have_no_hash():
    assert shallow_features(np.full((40, 40, 3), 200, np.uint8))["hash"] == 0


def test_straddling_groups():
    table = table_of(
        ("a", 0, "train", "", "g"), ("b", 1, "test", "", "g"), ("c", 0, "train", "", "h"), ("d", 0, "test", "", "")
    )
    assert duplicates.groups_across_splits(table) == ["g"]
    assert duplicates.groups_across_splits(table.drop(columns="group")) == []
