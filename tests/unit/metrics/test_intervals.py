"""Bootstrap draws against scikit-learn on the resampled rows, and intervals against what they promise."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn import metrics as sk

from aigid.metrics import calibration, intervals, resampling
from aigid.metrics.classification import rank

PART = st.tuples(
    st.sampled_from(["real", "a", "b"]), st.sampled_from([0.0, 0.2, 0.2000001, 0.5, 1.0]), st.integers(0, 6)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PART, min_size=4, max_size=40).filter(lambda rows: len({row[0] == "real" for row in rows}) == 2))
def test_each_draw_is_scikit_learn_on_the_drawn_rows(rows: list[tuple[str, float, int]]) -> None:
    parts, scores, groups = (np.array(column) for column in zip(*rows, strict=True))
    groups = np.where(groups == 0, "", groups.astype(str))
    population = resampling.population((parts != "real").astype(int), scores, parts, groups)
    drawn = resampling.bootstrap(population, 5, np.random.default_rng(3))
    for b, counts in enumerate(
        np.concatenate(list(resampling.resample(population.strata, 5, np.random.default_rng(3))))
    ):
        weight = counts[population.clusters]
        for part in range(len(set(parts) - {"real"})):
            kept = np.isin(population.parts, (-1, part))
            labels, score = (np.repeat(x[kept], weight[kept]) for x in (population.parts >= 0, population.scores))
            if len(set(labels.tolist())) < 2:
                assert np.isnan(drawn["auroc"][b, part])
                continue
            fpr, tpr, _ = sk.roc_curve(labels, score, drop_intermediate=False)
            assert drawn["auroc"][b, part] == pytest.approx(sk.roc_auc_score(labels, score), abs=1e-12)
            assert drawn["ap"][b, part] == pytest.approx(sk.average_precision_score(labels, score), abs=1e-12)
            assert drawn["tpr_at_fpr5"][b, part] == pytest.approx(tpr[fpr <= 0.05].max(), abs=1e-12)


def test_draws_keep_class_sizes_and_whole_groups() -> None:
    labels = np.array([0] * 30 + [1] * 60)
    groups = np.array([f"g{k % 30}" for k in range(90)])
    rows = resampling.population(labels, np.random.default_rng(0).random(90), groups=groups)
    for counts in np.concatenate(list(resampling.resample(rows.strata, 50, np.random.default_rng(0)))):
        assert counts.sum() == 30
        weight = counts[rows.clusters]
        assert (weight[rows.parts < 0].sum(), weight[rows.parts == 0].sum()) == (30, 60)


def test_blocks_of_a_large_stratum_are_drawn_as_the_whole_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "CHUNK", 4)
    strata = np.array([0] * 10 + [1] * 3)
    counts = np.concatenate(list(resampling.resample(strata, 20_000, np.random.default_rng(0))))
    assert (counts[:, :10].sum(axis=1) == 10).all()
    assert (counts[:, 10:].sum(axis=1) == 3).all()
    multinomial = np.eye(10) - 1 / 10  # the covariance of equal chances
    assert np.cov(counts[:, :10].T) == pytest.approx(multinomial, abs=0.04)
    assert counts.mean(axis=0) == pytest.approx(np.ones(13), abs=0.03)


def test_numbers_of_groups_are_as_good_as_their_names() -> None:
    rng = np.random.default_rng(0)
    labels, scores, names = rng.integers(0, 2, 90), rng.random(90), rng.choice(["", "a", "b", "c"], 90)
    codes = resampling.group_codes(pd.DataFrame({"group": names}))
    assert set(codes[names == ""]) == {-1}
    of_names, of_codes = (resampling.population(labels, scores, groups=groups) for groups in (names, codes))
    for ours, theirs in zip(vars(of_names).values(), vars(of_codes).values(), strict=True):
        assert np.array_equal(ours, theirs)
    assert intervals.num_independent(labels, names) == min(
        len(np.unique(intervals.number_clusters(names[labels == label]))) for label in (0, 1)
    )
    assert intervals.num_independent(labels, codes) == intervals.num_independent(labels, names)
    assert intervals.effective_sample_size(labels, codes) == intervals.effective_sample_size(labels, names)


def test_row_order_changes_no_draw() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 200), rng.random(200).round(1)
    parts = np.where(labels == 1, rng.choice(["a", "b"], 200), "real")
    groups = rng.choice(["", "x", "y", "z"], 200)
    shuffled = rng.permutation(200)
    draws = [
        resampling.bootstrap(
            resampling.population(labels[order], scores[order], parts[order], groups[order]),
            20,
            np.random.default_rng(1),
        )
        for order in (np.arange(200), shuffled)
    ]
    for name in draws[0]:
        np.testing.assert_array_equal(draws[0][name], draws[1][name])


@pytest.mark.parametrize(
    ("num", "draws", "least", "most"),
    [(120, 200, 0.89, 0.99), pytest.param(500, 1000, 0.92, 0.98, marks=pytest.mark.slow)],
)
def test_the_interval_holds_the_true_auroc_as_often_as_it_says(num: int, draws: int, least: float, most: float) -> None:
    rng, held = np.random.default_rng(7), 0
    truth = norm.cdf(1 / np.sqrt(2))
    for _ in range(num):
        scores = norm.cdf(np.concatenate([rng.normal(0, 1, 80), rng.normal(1, 1, 80)]))
        drawn = resampling.bootstrap(resampling.population(np.repeat([0, 1], 80), scores), draws, rng)["auroc"]
        low, high = intervals.interval(drawn[:, 0], 80)
        held += low <= truth <= high
    print(f"coverage {held / num:.3f}")
    assert least <= held / num <= most


def test_the_mirrored_interval_holds_the_true_error_of_calibration() -> None:
    rng, held, edges = np.random.default_rng(5), 0, np.linspace(0, 1, 11)
    middle, label = (edges[1:] + edges[:-1]) / 2, np.repeat([0, 1], 400)
    fake, real = middle**3 / np.sum(middle**3), (1 - middle) ** 3 / np.sum((1 - middle) ** 3)
    truth = np.sum((fake + real) / 2 * np.abs(middle - fake / (fake + real)))
    for _ in range(150):
        score = np.concatenate([rng.choice(middle, 400, p=share) for share in (real, fake)])
        drawn = resampling.bootstrap_error(resampling.population(label, score), edges, 200, rng)
        low, high = intervals.basic_interval(drawn, calibration.expected_calibration_error(rank(label, score), edges))
        held += low <= truth <= high
    assert 0.88 <= held / 150 <= 0.99


def test_each_draw_of_the_calibration_error_is_that_of_the_drawn_rows() -> None:
    rng = np.random.default_rng(0)
    labels, scores, groups = rng.integers(0, 2, 90), rng.random(90).round(2), rng.choice(["", "a", "b", "c"], 90)
    rows, edges = resampling.population(labels, scores, groups=groups), np.linspace(0, 1, 16)
    drawn = resampling.bootstrap_error(rows, edges, 7, np.random.default_rng(3))
    counts = np.concatenate(list(resampling.resample(rows.strata, 7, np.random.default_rng(3))))
    for b in range(7):
        weight = counts[b][rows.clusters]
        label, score = (np.repeat(x, weight) for x in ((rows.parts >= 0).astype(int), rows.scores))
        expected = calibration.expected_calibration_error(rank(label, score), edges)
        assert drawn[b] == pytest.approx(expected, abs=1e-12)


def test_one_group_is_one_image() -> None:
    assert intervals.effective_sample_size(np.arange(50) < 20, np.full(50, "photo")) == 1
    low, high = intervals.wilson_interval(np.arange(50) < 20, np.full(50, "photo"))
    assert high - low > 0.7


def test_groups_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    photo = np.repeat(np.arange(40), 10)
    scores = norm.cdf(np.repeat(rng.normal(0, 1, 40), 10) + rng.normal(0, 0.1, 400) + (photo % 2))
    widths = [
        np.diff(intervals.interval(resampling.bootstrap(rows, 300, np.random.default_rng(1))["auroc"][:, 0], 20))[0]
        for rows in (resampling.population(photo % 2, scores, groups=groups) for groups in (None, photo.astype(str)))
    ]
    assert widths[1] > 2 * widths[0]


@pytest.mark.parametrize(("hits", "num"), [(0, 20), (3, 20), (10, 10), (499, 1000)])
def test_share_is_wilson_s_interval(hits: int, num: int) -> None:
    expected = binomtest(hits, num).proportion_ci(method="wilson")
    assert intervals.wilson_interval(np.arange(num) < hits) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_copies_of_an_image_narrow_no_share() -> None:
    hits = np.arange(50) < 13
    copied = intervals.wilson_interval(np.repeat(hits, 4), np.repeat(np.arange(50).astype(str), 4))
    assert copied == pytest.approx(intervals.wilson_interval(hits), abs=1e-12)
    flawless = np.ones(80), np.repeat(np.arange(20).astype(str), 4)
    assert intervals.wilson_interval(*flawless) == pytest.approx(intervals.wilson_interval(np.ones(20)), abs=1e-12)


def test_flawless_bound_is_clopper_pearson_s() -> None:
    assert intervals.perfect_auroc_lower_bound(25) == pytest.approx(
        binomtest(25, 25).proportion_ci(method="exact").low, abs=1e-12
    )


def test_the_interval_of_an_auroc_is_that_of_its_parts_and_of_its_runs():
    rng = np.random.default_rng(0)
    labels, groups = np.repeat([0, 1, 1], 40), np.full(120, "")
    parts = np.repeat(["real", "a", "b"], 40)
    runs = rng.random((3, 120)) + 0.4 * labels
    alone = intervals.auroc_intervals(labels, runs[0], groups, 1, parts)
    assert list(alone) == ["a", "b"]
    for name, found in alone.items():
        rows = (labels == 0) | (parts == name)
        assert found.value == pytest.approx(sk.roc_auc_score(labels[rows], runs[0][rows]))
        assert found.low < found.value < found.high
    both, values = intervals.auroc_interval(labels, runs, groups, 1, parts)
    others = {part: parts != part for part in ("a", "b")}
    expected = [np.mean([sk.roc_auc_score(labels[rows], run[rows]) for rows in others.values()]) for run in runs]
    np.testing.assert_allclose(values, expected)
    assert both.value == pytest.approx(np.mean(expected))
    again, _ = intervals.auroc_interval(labels, runs[[0, 0]], groups, 1, parts)
    assert again == intervals.auroc_interval(labels, runs[:1], groups, 1, parts)[0]  # equal runs add no chance


def test_an_interval_is_the_draws_own_even_beside_the_value(monkeypatch):
    """Draws that all lie below or above the value: the interval says so."""
    labels, groups = np.repeat([0, 1], 30), np.full(60, "")
    scores = np.random.default_rng(0).random(60) + 0.3 * labels
    value = sk.roc_auc_score(labels, scores)
    for low, high in ((0.1, 0.2), (0.95, 0.99)):
        draws = np.linspace(low, high, 500)[:, None]
        monkeypatch.setattr(intervals, "bootstrap", lambda *given, draws=draws: {"auroc": draws})
        expected = intervals.interval(draws[:, 0], 30)
        assert low <= expected[0] < expected[1] <= high
        assert not expected[0] <= value <= expected[1]
        assert intervals.auroc_intervals(labels, scores, groups, 0)[""] == pytest.approx((value, *expected))
        assert intervals.auroc_interval(labels, scores[None], groups, 0)[0] == pytest.approx((value, *expected))


def test_units_are_numbered_by_group():
    units = intervals.number_clusters(np.array(["x", "", "y", "x", ""]))
    assert units[0] == units[3]
    assert len(set(units.tolist())) == 4
