"""A dataset written in a view: the view's own pixels, what was drawn, and a manifest that can be indexed again."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aigid.core import manifest
from aigid.core.errors import InputError
from aigid.core.files import sha256
from aigid.degradations import views
from aigid.degradations.views import export_view
from aigid.images.decode import decode


@pytest.fixture
def dataset(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.jpg", "c.png"):
        Image.fromarray(rng.integers(0, 256, (50, 70, 3)).astype(np.uint8)).save(root / name)
    (root / "c.png").write_bytes(b"")
    table = pd.DataFrame({"path": ["a.png", "b.jpg", "c.png"], "label": [0, 1, 1], "generator": ["real", "x", "x"]})
    return root, manifest.validate(table.assign(split="test"), "table")


def test_images_are_those_of_the_view(dataset, tmp_path):
    root, table = dataset
    failed = export_view(table, root, "ntire_basic", 3, tmp_path / "out")
    assert [path for path, _ in failed] == ["c.png"]
    written = manifest.read(tmp_path / "out/manifest.csv")
    assert written["path"].tolist() == ["a.png", "b.jpg.png"]
    lines = [json.loads(line) for line in (tmp_path / "out/drawn.jsonl").read_text().splitlines()]
    for old, new, line, digest in zip(["a.png", "b.jpg"], written["path"], lines, written["sha256"], strict=True):
        expected, drawn = views.apply("ntire_basic", decode(root / old), sha256(root / old), 3)
        np.testing.assert_array_equal(decode(tmp_path / "out" / new), expected)
        assert line == {"path": new, "drawn": drawn}
        assert sha256(tmp_path / "out" / new) == digest


def test_calls_that_cannot_be(dataset, tmp_path):
    root, table = dataset
    with pytest.raises(InputError, match="unknown view 'blurry'"):
        export_view(table, root, "blurry", 0, tmp_path / "out")
    with pytest.raises(InputError, match="no such folder"):
        export_view(table, tmp_path / "nowhere", "jpeg65", 0, tmp_path / "out")
    with pytest.raises(InputError, match="not empty"):
        export_view(table, root, "jpeg65", 0, root)
    assert not (tmp_path / "out").exists()
