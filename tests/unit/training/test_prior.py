"""The loss of the class prior: its value, and the warning of a detector that ends there."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from aigid.core.tables import write_csv_logs
from aigid.detectors.gate import AverageFusion, FusionSettings, GatedFusion
from aigid.detectors.occ import OccClip, OccSettings
from aigid.detectors.probe import LinearProbe, ProbeSettings
from aigid.detectors.samples import LabeledEmbeddings
from aigid.training import prior
from tests.helpers.tiny_models import Texts

RATE = {"learns": 3e-2, "does not": 1e-9}


@pytest.mark.parametrize("labels", [[0, 1], [0, 0, 0, 1], [0, 1, 1, 2, 2, 2, 3]])
def test_it_is_the_best_that_a_constant_prediction_gets(labels):
    shares = np.bincount(labels) / len(labels)
    classes = list(range(len(shares)))
    assert prior.prior_loss(labels) == pytest.approx(
        log_loss(labels, np.tile(shares, (len(labels), 1)), labels=classes)
    )
    rng = np.random.default_rng(0)
    for other in rng.dirichlet(np.ones(len(shares)), 50):
        assert prior.prior_loss(labels) <= log_loss(labels, np.tile(other, (len(labels), 1)), labels=classes)


def rows(shift=2.0):
    """Unequal classes that one axis tells apart."""
    rng = np.random.default_rng(0)
    y = (np.arange(300) % 3 > 0).astype(np.int64)
    x = rng.normal(size=(300, 8)).astype(np.float32)
    x[:, [0, 4]] += shift * y[:, None]
    return LabeledEmbeddings(x, y, generators=np.where(y, "gan", "real"), widths=(4, 4))


def fusion(rate, kind=GatedFusion):
    settings = FusionSettings(
        backbone="b", dataset="d", width=4, hidden=4, epochs=5, learning_rate=rate, batch_size=32, weight_decay=0
    )
    return kind.fit(settings, rows(), rows(), 0)


def prompts(rate):
    settings = OccSettings(
        backbone="b", dataset="d", n_ctx=2, epochs=20, batch_size=32, learning_rate=rate, warmup_learning_rate=rate
    )
    return OccClip.fit(settings, rows(8.0), rows(8.0), 0, Texts(8))


def probe(rate):
    settings = ProbeSettings(backbone="b", dataset="d", c=[rate])
    return LinearProbe.fit(settings, rows(), rows(), 0)


FITS = {
    "gate": fusion,
    "averaging": lambda rate: fusion(rate, AverageFusion),
    "probe": probe,
}


@pytest.mark.parametrize("name", FITS)
def test_a_detector_that_has_not_learned_is_warned_about(name, tmp_path):
    for case, rate in RATE.items():
        fitted = FITS[name](rate)
        write_csv_logs(fitted.logs, tmp_path / case / name)
    lines = {case: prior.warnings(tmp_path / case) for case in RATE}
    assert lines["learns"] == []
    (line,) = lines["does not"]
    assert line.startswith(f"{name}/")
    assert "has not learned" in line
    assert "class prior" in line


def test_prompts_are_compared_with_the_sum_of_their_classifiers():
    (log,) = prompts(1e-9).logs.values()
    assert log[prior.COLUMN].iloc[0] == pytest.approx(prior.prior_loss(rows().y))


def test_a_log_is_compared_by_its_cross_entropy_alone(tmp_path):
    log = pd.DataFrame({"train_loss": [9.0], "train_cross_entropy": [0.3], "prior_loss": [math.log(2)]})
    write_csv_logs({"good": log, "bad": log.assign(train_cross_entropy=0.98 * math.log(2) + 1e-4)}, tmp_path)
    write_csv_logs({"images": pd.DataFrame({"generator": ["a"], "num": [3]}), "empty": log[:0]}, tmp_path)
    (line,) = prior.warnings(tmp_path)
    assert line.startswith("bad: has not learned: its final training loss of 0.6794")
