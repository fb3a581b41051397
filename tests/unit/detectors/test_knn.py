"""The nearest-neighbour probe, on points placed by angle and against a slow loop."""

import numpy as np
import pytest

from aigid.core.errors import InputError
from aigid.detectors.knn import KNearestNeighbors, KnnSettings
from aigid.detectors.samples import LabeledEmbeddings
from tests.helpers.embeddings import at_angles as at

EMPTY = LabeledEmbeddings(np.zeros((0, 2), np.float32), np.zeros(0, np.int64))


def fit(k, train):
    return KNearestNeighbors.fit(KnnSettings(backbone="b", dataset="d", k=k), train, EMPTY, seed=0)


def test_points_by_angle():
    train = LabeledEmbeddings(np.concatenate([at(0), at(60, length=7)]), np.array([0, 1]))
    scores = fit(1, train).p_generated(at(0, 29, 30, 31, 60))
    cosines = np.cos(np.radians([[60, 0], [31, 29], [30, 30], [29, 31], [0, 60]]))  # to the fake, to the real
    np.testing.assert_allclose(scores, (1 + (cosines[:, 0] - cosines[:, 1]) / 2) / 2, atol=1e-3)
    assert (scores > 0.5).tolist()[:2] == [False, False]
    assert (scores > 0.5).tolist()[3:] == [True, True]


def test_equals_a_slow_loop():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)).astype(np.float16).astype(np.float32), np.arange(60) % 2
    queries = rng.normal(size=(20, 5)).astype(np.float32)
    scores = fit(3, LabeledEmbeddings(x, y)).p_generated(queries)
    for query, score in zip(queries, scores, strict=True):
        near = {}
        for label in (0, 1):
            cosines = [q @ query / np.linalg.norm(q) / np.linalg.norm(query) for q in x[y == label]]
            near[label] = np.mean(sorted(cosines)[-3:])
        assert score == pytest.approx((1 + (near[1] - near[0]) / 2) / 2, abs=1e-6)


def test_more_neighbours_than_images():
    train = LabeledEmbeddings(at(0, 1, 2), np.array([0, 0, 1]))
    with pytest.raises(InputError, match=r"knn\.k=2: train has 2 real and 1 generated"):
        fit(2, train)
