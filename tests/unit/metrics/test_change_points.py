"""Metrics of batches against those of one batch at a time; changes where there is one, and hardly any where not."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binomtest

from aigid.metrics import calibration, change_points, classification
from aigid.metrics.change_points import Images

NO_GROUPS = ""


def drawn(rng: np.random.Generator, num: int, per_batch: int, shift: float = 0.0, since: int = 0) -> Images:
    """Batches of as many reals as fakes, whose fakes score lower by ``shift`` from batch ``since`` on."""
    batch = np.repeat(np.arange(num), per_batch)
    labels = np.arange(len(batch)) % 2
    logits = rng.normal(np.where(labels == 1, 1.5 - shift * (batch >= since), -1.5))
    scores = np.round(1 / (1 + np.exp(-logits)), 2)  # with ties
    return change_points.images_of(labels, scores, 0.5, batch, np.full(len(batch), NO_GROUPS))


def test_metrics_are_those_of_each_batch() -> None:
    rng = np.random.default_rng(0)
    images = drawn(rng, 6, 41)
    keep = (images.batch != 2) | (images.labels == 1)  # a batch without reals
    images = images.rows(keep, 0)
    for batch in range(6):
        inside = images.batch == batch
        ranking = classification.rank(images.labels[inside], images.scores[inside])
        expected = {"ece": calibration.expected_calibration_error(ranking), "auroc": 0.0, "fpr": 0.0}
        if ranking.has_both:
            fp = classification.confusion(ranking, 0.5)[1]
            expected |= {"auroc": classification.auroc(ranking), "fpr": fp / len(ranking.reals)}
        for name, metric in change_points.METRICS.items():
            values, weights = metric(images, images.batch, 6)
            assert values[batch] == pytest.approx(expected[name], abs=1e-12), name
            assert (weights[batch] > 0) == (name == "ece" or batch != 2)


def test_the_split_is_that_of_the_largest_difference() -> None:
    """Against all splits, one by one, in the words of the definition."""
    rng = np.random.default_rng(1)
    values, weights = rng.random(7), rng.integers(0, 5, 7).astype(float)
    statistics = {}
    for split in range(1, 7):
        before, after = weights[:split].sum(), weights[split:].sum()
        if before and after:
            sides = slice(None, split), slice(split, None)
            first, second = (np.average(values[side], weights=weights[side]) for side in sides)
            statistics[split] = np.sqrt(1 / (1 / before + 1 / after)) * abs(first - second)
    statistic, split = change_points.max_cusum((values, weights))
    assert split == max(statistics, key=statistics.get)
    assert statistic == pytest.approx(statistics[split])
    assert change_points.max_cusum((values[:1], weights[:1])) == (0.0, 0)


def test_a_change_is_found_where_it_is() -> None:
    images, rng = drawn(np.random.default_rng(2), 12, 60, shift=2.5, since=7), np.random.default_rng(0)
    found = {name: change_points.change_points(name, images, 0.05 / 3, rng) for name in change_points.METRICS}
    assert [first for first, _ in found["auroc"]] == [7]
    assert [first for first, _ in found["ece"]] == [7]
    assert found["fpr"] == []  # reals score as before
    assert found["auroc"][0][1] == 0.001  # none of 999 permutations


def test_two_changes_are_found_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_points, "MAX_PERMUTATIONS", 199)
    rng = np.random.default_rng(3)
    parts = [drawn(rng, 4, 100, shift) for shift in (0.0, 2.0, 0.5)]
    batch = np.concatenate([part.batch + 4 * number for number, part in enumerate(parts)])
    labels, scores = (np.concatenate([getattr(part, name) for part in parts]) for name in ("labels", "scores"))
    images = change_points.images_of(labels, scores, 0.5, batch, np.full(len(batch), NO_GROUPS))
    splits = [first for first, _ in change_points.change_points("auroc", images, 0.02, rng)]
    assert splits == [4, 8]
    levels = [change_points.mean(change_points.auroc(images, batch, 12), *edge) for edge in pairwise([0, *splits, 12])]
    assert levels[0] > levels[2] > levels[1]


@pytest.mark.parametrize("metric", change_points.METRICS)
def test_false_alarms_keep_to_their_level(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On unequal batches without a change: alarms are no more frequent than the level allows, nor far fewer."""
    monkeypatch.setattr(change_points, "MAX_PERMUTATIONS", 59)
    monkeypatch.setattr(change_points, "MIN_PERMUTATIONS", 59)
    rng, alarms, runs = np.random.default_rng(4), 0, 150
    for _ in range(runs):
        images = drawn(rng, 6, 24)
        images = images.rows((images.batch % 2 == 0) | (rng.random(len(images.batch)) < 0.5), 0)
        alarms += bool(change_points.change_points(metric, images, 0.1, rng))
    assert binomtest(alarms, runs, 0.1).pvalue > 0.01


def test_images_of_a_group_move_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of few photographs agree: of each alone a change would be seen in every second series."""
    monkeypatch.setattr(change_points, "MAX_PERMUTATIONS", 99)
    monkeypatch.setattr(change_points, "MIN_PERMUTATIONS", 99)
    rng, alarms, alone = np.random.default_rng(5), 0, 0
    for _ in range(30):
        batch = np.repeat(np.arange(4), 40)
        labels, groups = np.arange(160) // 10 % 2, np.array([f"g{number // 10}" for number in range(160)])
        offset = np.repeat(rng.normal(size=16), 10)
        scores = 1 / (1 + np.exp(-rng.normal(offset + labels, 0.2)))
        for names in (groups, np.full(160, NO_GROUPS)):
            images = change_points.images_of(labels, scores, 0.5, batch, names)
            found = bool(change_points.change_points("fpr", images, 0.05, rng))
            alarms, alone = alarms + (found and names is groups), alone + (found and names is not groups)
    assert alarms <= 4
    assert alone > 15


def test_equal_scores_have_no_change() -> None:
    images = change_points.images_of(np.arange(40) % 2, np.full(40, 0.5), 0.5, np.arange(40) // 10, np.full(40, ""))
    for metric in ("auroc", "fpr"):
        assert change_points.change_points(metric, images, 0.05, np.random.default_rng(0)) == []
