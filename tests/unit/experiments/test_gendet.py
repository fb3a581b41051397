"""GenDet's figures: what each panel is drawn from."""

import numpy as np
import pandas as pd
import pytest
from sklearn.manifold import TSNE

from aigid.core.manifest import validate
from aigid.detectors.bundle import Bundle
from aigid.detectors.gendet.detector import GenDet
from aigid.detectors.samples import open_dataset
from aigid.experiments.gendet import plot_all, plot_degradations
from tests.helpers.embeddings import separable_rows, write_embeddings
from tests.unit.detectors.gendet.test_detector import settings

VIEWS = ("clean", "lr64", "jpeg65")


@pytest.fixture
def dataset(tmp_path):
    """100 images of each split; in another view the features are others."""
    rows = separable_rows(0, 300, 10)
    table = pd.DataFrame({"path": rows.paths, "label": rows.y, "split": np.repeat(["train", "val", "test"], 100)})
    table["generator"] = np.where(rows.y == 0, "real", np.where(table["split"] == "test", "b", "a"))
    table["sha256"] = [f"{number:064x}" for number in range(300)]
    views = {view: (rows.x * (number + 1)).astype("float16") for number, view in enumerate(VIEWS)}
    write_embeddings(tmp_path / "e.h5", views, table["sha256"], ["ok"] * 300, {"fingerprint": ["b"]})
    return open_dataset(validate(table, "m"), [tmp_path / "e.h5"])


class Network:
    """Stands in for the five-channel network."""

    def __init__(self):
        self.views = []

    def features(self, samples, view):
        self.views.append(view)
        assert set(samples.table["split"]) == {"test"}
        return np.random.default_rng(0).normal(size=(len(samples.table), 5)).astype(np.float32)


def test_every_view_is_a_column_of_discrepancies_above_the_networks_features(dataset, tmp_path, monkeypatch):
    chosen = settings()
    detector = GenDet.fit(chosen, dataset.split("train"), dataset.split("val"), 0)
    model, network, drawn = Bundle("gendet", detector, chosen.model_dump(), ["b"]), Network(), []
    fit = TSNE.fit_transform
    monkeypatch.setattr(TSNE, "fit_transform", lambda self, x: drawn.append(x) or fit(self, x))
    figure = plot_degradations(model, network, dataset, 0)
    titles = [f"{name}, {view}" for name in ("GenDet", "CNN") for view in ("clean", "lr64", "jpeg65")]
    assert [axes.get_title() for axes in figure.axes] == titles
    assert network.views == ["clean", "lr64", "jpeg65"]  # in the paper's order
    assert [x.shape for x in drawn] == 3 * [(100, 32), (100, 5)]
    assert not np.allclose(drawn[0], drawn[2])
    detector.logs["rotations"].to_csv(tmp_path / "rotations.csv", index=False)
    assert set(plot_all(model, dataset, tmp_path / "rotations.csv", 0)) == {"tsne", "discrepancies", "rotations"}
