"""The threshold searches against literal, slow ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigid.evaluation import protocols
from aigid.metrics import classification
from aigid.metrics.classification import rank

GRID = st.sampled_from([0.0, 5e-324, 0.2, 0.5, np.nextafter(0.5, 1), 0.9, 1.0])
SCORES = st.lists(st.one_of(GRID, st.floats(0, 1)), min_size=1, max_size=25)


@given(SCORES, SCORES)
def test_most_accurate_is_the_best_of_all_cuts(reals: list[float], fakes: list[float]) -> None:
    ranking = rank([0] * len(reals) + [1] * len(fakes), reals + fakes)
    best = max(classification.accuracy(ranking, cut) for cut in (-1.0, *reals, *fakes))
    assert classification.accuracy(ranking, classification.max_accuracy_threshold(ranking)) == best


def test_most_accurate_lies_half_way_between_neighbours() -> None:
    assert classification.max_accuracy_threshold(rank([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.7])) == pytest.approx(0.4)
    assert classification.max_accuracy_threshold(rank([0, 1], [0.0, 0.0])) in (0.5, -1.0)


@given(SCORES, SCORES, st.sampled_from([0.0, 0.05, 0.3, 1.0]))
def test_at_most_fpr_is_the_lowest_threshold_that_keeps_the_promise(
    reals: list[float], fakes: list[float], fpr: float
) -> None:
    ranking = rank([0] * len(reals) + [1] * len(fakes), reals + fakes)
    found = classification.fake_accuracy(ranking, classification.threshold_at_fpr(ranking, fpr))
    allowed = [cut for cut in (-1.0, *reals, *fakes) if np.mean(np.array(reals) > cut) <= fpr]
    assert found == max(classification.fake_accuracy(ranking, cut) for cut in allowed)


def literal_ufd(real: list[float], fake: list[float]) -> float:
    """validate.py's rule word for word: every score tried, the last of the best kept."""
    if max(real) <= min(fake):
        return (max(real) + min(fake)) / 2
    best_acc, best_threshold, total = 0.0, 0.0, len(real) + len(fake)
    for threshold in [*real, *fake]:
        right = sum(score < threshold for score in real) + sum(score >= threshold for score in fake)
        if right / total >= best_acc:
            best_acc, best_threshold = right / total, threshold
    return best_threshold


@given(SCORES, SCORES)
def test_ufd_threshold_is_the_published_one(reals: list[float], fakes: list[float]) -> None:
    assert protocols.ufd_threshold(reals, fakes) == literal_ufd(reals, fakes)


def test_ufd_off_by_one_turns_the_image_at_the_threshold() -> None:
    reals, fakes = [0.1, 0.2, 0.7], [0.4, 0.8, 0.9]
    cut = protocols.ufd_threshold(reals, fakes)
    assert cut == 0.8  # 0.4 is as good (five of six right at >=), but 0.8 comes later; at > its own image is lost
    ranking = rank([0, 0, 0, 1, 1, 1], reals + fakes)
    assert classification.accuracy(ranking, cut) == pytest.approx(4 / 6)
    assert classification.accuracy(ranking, classification.max_accuracy_threshold(ranking)) == pytest.approx(5 / 6)


@pytest.mark.parametrize(
    ("sizes", "drawn"), [((1500, 1000), (1000, 1000)), ((1500, 999), (100, 100)), ((50, 40), (50, 40))]
)
def test_ufd_sample_falls_to_100(sizes: tuple[int, int], drawn: tuple[int, int]) -> None:
    sample = protocols.ufd_subsample(range(sizes[0]), range(sizes[1]))
    assert tuple(len(set(side)) for side in sample) == drawn
    assert sample == protocols.ufd_subsample(range(sizes[0]), range(sizes[1]))
