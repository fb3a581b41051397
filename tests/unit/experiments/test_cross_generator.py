"""The cross-generator table where two generators look alike and the third does not."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from aigid.core.embeddings import OK
from aigid.detectors.probe import LinearProbe, ProbeSettings
from aigid.detectors.samples import LabeledEmbeddings
from aigid.experiments.cross_generator import COLUMNS, cross_generator_auroc
from aigid.report import studies

SETTINGS = ProbeSettings(backbone="b", dataset="d", c=[1.0])
AXES = {"real": (0, 0), "gan": (3, 0), "vae": (3, 0.2), "new": (0, 3)}


class Dataset:
    """Points in the plane: each generator's fakes lie around a place of their own."""

    def __init__(self, trained: tuple[str, ...]) -> None:
        rng, rows = np.random.default_rng(0), []
        for split in ("train", "val", "test"):
            names = ("real", *(AXES if split == "test" else trained))
            rows += [(split, name) for name in dict.fromkeys(names) for _ in range(120 if name == "real" else 60)]
        self.table = pd.DataFrame(rows, columns=["split", "generator"])
        self.table["label"] = (self.table["generator"] != "real").astype(int)
        self.table["path"] = [f"{k:04}" for k in range(len(rows))]
        self.x = rng.normal([AXES[name] for _, name in rows], 0.7).astype(np.float32)
        self.status = np.full(len(rows), OK)

    def embeddings(self, view: str, places: np.ndarray) -> np.ndarray:
        assert view == "clean"
        return self.x[places]


def test_alike_generators_teach_each_other_and_the_odd_one_stays_unseen() -> None:
    dataset = Dataset(("gan", "vae", "new"))
    table = cross_generator_auroc(LinearProbe, SETTINGS, dataset, 10_000, 0)
    assert list(table) == COLUMNS
    assert table["trained_on"].unique().tolist() == [
        "all",
        *(f"only {name}" for name in ("gan", "new", "vae")),
        *(f"all but {name}" for name in ("gan", "new", "vae")),
    ]
    cells = table.set_index(["trained_on", "tested_on"])
    assert cells.loc[("only gan", "vae"), "auroc"] > 0.95
    assert cells.loc[("all but gan", "gan"), "auroc"] > 0.95
    assert cells.loc[("all but new", "new"), "auroc"] < 0.7
    assert cells.loc[("only new", "gan"), "auroc"] < 0.7
    assert cells.loc[("all but new", "new"), "seen"] == 0
    assert cells.loc[("all but new", "gan"), "seen"] == 1
    assert ((table["low"] <= table["auroc"]) & (table["auroc"] <= table["high"])).all()


def test_a_cell_is_the_auroc_of_the_refitted_detector() -> None:
    dataset = Dataset(("gan", "new"))
    own = dataset.table
    train = (own["split"] == "train") & own["generator"].isin(["real", "gan"])
    rows = LabeledEmbeddings(dataset.x[train.to_numpy()], own["label"].to_numpy()[train.to_numpy()])
    fitted = LinearProbe.fit(SETTINGS, rows, rows, 0)
    test = (own["split"] == "test") & own["generator"].isin(["real", "new"])
    expected = roc_auc_score(own["label"][test], fitted.p_generated(dataset.x[test.to_numpy()]))
    table = cross_generator_auroc(LinearProbe, SETTINGS, dataset, 10_000, 0).set_index(["trained_on", "tested_on"])
    assert table.loc[("only gan", "new"), "auroc"] == pytest.approx(expected, abs=1e-12)
    assert "all but gan" not in table.index.get_level_values(0)


def test_one_generator_leaves_nothing_to_cross_and_the_section_marks_the_unseen(tmp_path) -> None:
    table = cross_generator_auroc(LinearProbe, SETTINGS, Dataset(("gan",)), 100, 0)
    assert set(table["trained_on"]) == {"all"}
    table.to_csv(tmp_path / "probe.csv", index=False)
    shown = studies.cross_generator_section(studies.read(tmp_path / "probe.csv", studies.CROSS_GENERATOR))
    row = shown.tables["AUROC"].iloc[0]
    assert row["new"].endswith("*")
    assert not row["gan"].endswith("*")
    unseen = table.loc[table["seen"] == 0, "auroc"].mean()
    assert row["mean of unseen *"] == f"{unseen:.3f}"
    assert list(shown.tables) == ["AUROC"]
