"""Controls on data with and without a leak, and what stands in their scores files."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from aigid.base.errors import InputError
from aigid.data import traits
from aigid.detectors import controls
from aigid.detectors.base.rows import Rows
from aigid.detectors.controls import ControlSettings

SETTINGS = ControlSettings(backbone="tiny_clip", dataset="demo", c=0.1)


def described(num: int = 900, leak: bool = False) -> pd.DataFrame:
    """A manifest with traits, three quarters in training; with a leak, most fakes are PNG."""
    rng, k = np.random.default_rng(0), np.arange(num)
    table = pd.DataFrame({"path": [f"{i:04}" for i in k], "label": k % 2, "sha256": [f"{i:064x}" for i in k]})
    table["generator"], table["split"] = np.where(k % 2, "gan", "real"), np.where(k % 4, "train", "test")
    table["split"] = table["split"].mask(rng.random(num) < 0.3, "train").mask(rng.random(num) < 0.4, "test")
    table[[*traits.CONTAINER]] = 1.0
    table[[*traits.NAMES]] = "no"
    told = (k % 2 == 1) & leak
    table["format"] = np.where(told ^ (rng.random(num) < 0.2), "PNG", "JPEG")
    table[[*traits.SHALLOW]] = rng.random((num, len(traits.SHALLOW)))
    return table


class Embedded:
    """Embeddings that tell the classes apart at once."""

    def split(self, name: str) -> Rows:
        rng, y = np.random.default_rng(len(name)), np.arange(600) % 2
        return Rows(rng.normal(y[:, None], 0.5, (600, 8)).astype(np.float32), y)


def auroc(rows: pd.DataFrame) -> float:
    test = rows[rows["split"] == "test"]
    return roc_auc_score(test["label"], test["score"])


@pytest.mark.parametrize(("leak", "low", "high"), [(False, 0.35, 0.6), (True, 0.7, 1)])
def test_the_container_control_finds_a_leak_and_nothing_else(leak: bool, low: float, high: float) -> None:
    table = described(leak=leak)
    scorer = controls.by_traits(table[table["split"] == "train"], traits.CONTAINER)
    assert low <= auroc(controls.scored(table, scorer)) <= high


def test_a_trait_that_training_never_saw_is_no_error_and_an_unknown_image_has_no_score() -> None:
    table = described()
    table.loc[table["split"] == "test", "software"] = "new"
    first = int(np.flatnonzero(table["split"] == "test")[0])
    table.loc[first, "mean red"] = np.nan
    known = controls.by_traits(table[table["split"] == "train"], traits.CONTAINER)
    assert len(controls.scored(table, known)) == (table["split"] == "test").sum()
    shallow = controls.scored(table, controls.by_traits(table[table["split"] == "train"], traits.SHALLOW))
    assert table["path"][first] not in set(shallow["path"])
    assert list(shallow) == ["path", "label", "generator", "split", "view", "score"]
    with pytest.raises(InputError, match="need both"):
        controls.by_traits(table[table["label"] == 0], traits.CONTAINER)


def test_shuffled_labels_undo_embeddings_that_tell_all() -> None:
    embedded = Embedded()
    train, test = embedded.split("train"), embedded.split("test")
    shuffled = [
        roc_auc_score(test.y, controls.shuffled(SETTINGS, embedded, seed).p_generated(test.x)) for seed in range(10)
    ]
    honest = controls._probe(SETTINGS, train, 0)
    assert roc_auc_score(test.y, honest.p_generated(test.x)) > 0.95
    assert min(shuffled) < 0.5 < max(shuffled)


def test_noise_is_chance_until_an_image_stands_in_two_splits() -> None:
    table = described(2000)
    assert 0.4 <= auroc(controls.scored(table, controls.noise(SETTINGS, table, 0))) <= 0.6
    copied = table.assign(sha256=[f"{k // 8 * 2 + k % 2:064x}" for k in range(2000)])
    assert auroc(controls.scored(copied, controls.noise(SETTINGS, copied, 0))) > 0.65
    again = controls.scored(table, controls.noise(SETTINGS, table, 0))
    pd.testing.assert_frame_equal(again, controls.scored(table, controls.noise(SETTINGS, table, 0)))
