"""From embedding files to a saved model to a scores file, rows never shifting."""

import json

import numpy as np
import pandas as pd
import pytest

from aigid.core import embeddings, manifest
from aigid.core.errors import InputError
from aigid.detectors import bundle
from aigid.detectors.registry import get_detector
from aigid.detectors.samples import open_dataset
from aigid.detectors.scoring import score
from tests.helpers.texts import Texts

SMALL = {"epochs": 20, "learning_rate": 0.01}
FUSION = {"width": 4, "hidden": 4, "batch_size": 16, "weight_decay": 0.01, **SMALL}
SHAPE = {"num_tokens": 2, "width": 8, "heads": 2, "expansion": 2, "batch_size": 16}
SETTINGS = {
    "probe": {"c": 1.0},
    "knn": {"k": 3},
    "gate": FUSION,
    "concatenation": FUSION,
    "averaging": FUSION,
    "svm": {"gamma": 0.5},
    "occ": {"n_ctx": 2, "epochs": 40, "batch_size": 16, "learning_rate": 1.0, "shared_context": False},
    "gendet": {
        "learning_rate": 0.001,
        "batch_size": 16,
        "teacher": {**SHAPE, **SMALL},
        "classifier": {"batch_size": 16, **SMALL},
    },
}


@pytest.fixture
def dataset(tmp_path):
    """60 images, two embedding files with two views, image 7 unreadable."""
    rng = np.random.default_rng(0)
    n = 60
    table = manifest.validate(
        pd.DataFrame(
            {
                "path": [f"{i:02}.png" for i in range(n)],
                "label": [i % 2 for i in range(n)],
                "generator": ["sdxl" if i % 2 else "real" for i in range(n)],
                "split": ["train" if i % 3 else "test" for i in range(n)],
                "source": ["" if i % 2 else "coco" for i in range(n)],
                "sha256": [f"{i:064x}" for i in range(n)],
            }
        ),
        "table",
    )
    status = ["truncated" if i == 9 else "ok" for i in range(n)]
    for name, width in (("a", 4), ("b", 3)):
        views = {view: rng.normal(size=(n, width)).astype("float16") for view in ("clean", "jpeg65")}
        for rows in views.values():
            rows[:, 0] += 4 * (np.arange(n) % 2)
            rows[9] = np.nan
        embeddings.write(tmp_path / f"{name}.h5", views, table["sha256"], status, {"fingerprint": [name]})
    return open_dataset(table, [tmp_path / "a.h5", tmp_path / "b.h5"])


def fit(name, dataset):
    kind = get_detector(name)
    settings = kind.Settings(backbone="b", dataset="d", **SETTINGS[name])
    val = dataset.split("train" if name == "svm" else "val")  # which is empty, and the SVM is calibrated on it
    tower = {"tower": Texts(7)} if name == "occ" else {}
    detector = kind.fit(settings, dataset.split("train"), val, 0, **tower)
    return bundle.Bundle(name, detector, settings.model_dump(mode="json"), dataset.fingerprints)


def test_columns_of_several_files_stand_side_by_side(dataset):
    train = dataset.split("train")
    places = [i for i in range(60) if i % 3]
    assert train.x.shape == (len(places), 7)
    np.testing.assert_array_equal(train.x[:, :4], dataset.files[0][0].view("clean")[places].astype("float32"))
    np.testing.assert_array_equal(train.x[:, 4:], dataset.files[0][1].view("clean")[places].astype("float32"))
    assert len(dataset.split("test")) == 19  # 20, less the unreadable one


@pytest.mark.parametrize("name", SETTINGS)
def test_every_detector_learns_saves_loads_and_scores(dataset, name, tmp_path):
    model = fit(name, dataset)
    folder = tmp_path / "models" / name
    bundle.save(model, folder)
    first = {file.name: file.read_bytes() for file in folder.iterdir()}
    bundle.save(fit(name, dataset), folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == first
    assert [path.name for path in folder.parent.iterdir()] == [name]
    document = json.loads(first["model.json"])
    assert document["schema_version"] == bundle.SCHEMA_VERSION == 3
    assert isinstance(document["detector_state"], dict)
    assert "facts" not in document
    scores = score(bundle.load(folder), dataset)
    pd.testing.assert_frame_equal(scores, score(model, dataset))
    assert len(scores) == 2 * 20
    assert scores["path"][:20].tolist() == [f"{i:02}.png" for i in range(0, 60, 3)]
    assert scores["view"].tolist() == ["clean"] * 20 + ["jpeg65"] * 20
    failed = scores[scores["status"] != "ok"]
    assert failed["path"].tolist() == ["09.png", "09.png"]
    assert failed["score"].isna().all()
    good = scores[scores["status"] == "ok"]
    assert good["score"].between(0, 1).all()
    assert good["score"][good["label"] == 1].min() > good["score"][good["label"] == 0].median()


def test_another_backbone_is_refused(dataset):
    model = fit("knn", dataset)
    half = open_dataset(dataset.table, [dataset.files[0][0].path])
    with pytest.raises(InputError, match="made by another backbone"):
        score(model, half)


def test_embeddings_of_another_manifest_are_refused(dataset):
    with pytest.raises(InputError, match="60 rows, but the manifest has 59"):
        open_dataset(dataset.table[1:], [dataset.files[0][0].path])
    swapped = dataset.table.copy()
    swapped.loc[3, "sha256"] = "f" * 64
    with pytest.raises(InputError, match=r"row of 03\.png holds another image"):
        open_dataset(swapped, [dataset.files[0][0].path])


def test_a_damaged_model_is_refused(dataset, tmp_path):
    folder = tmp_path / "model"
    with pytest.raises(InputError, match="no whole model"):
        bundle.load(folder)
    bundle.save(fit("probe", dataset), folder)
    weights = folder / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match="not the file that was saved"):
        bundle.load(folder)
    weights.unlink()
    with pytest.raises(InputError, match="no whole model"):
        bundle.load(folder)
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(about | {"detector": "oracle", "files": {}}))
    with pytest.raises(InputError, match=r"unknown detector 'oracle'; known: aeroblade, .*probe"):
        bundle.load(folder)
