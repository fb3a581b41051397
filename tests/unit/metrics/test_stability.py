"""Flips and spread of a handful of images, by hand."""

import pandas as pd
import pytest

from aigid.metrics.decisions import flip_rates


def test_by_hand() -> None:
    rows = [
        *[("a", 0, 0.2), ("a", 0, 0.4), ("a", 0, 0.9)],  # flips, spread 0.7
        *[("b", 0, 0.1), ("b", 0, 0.5)],  # 0.5 is not above 0.5: no flip, spread 0.4
        *[("c", 1, 0.6), ("c", 1, 0.7)],  # no flip, spread 0.1
        ("d", 1, 0.9),  # one view only
        *[("e", 1, 0.9), ("e", 1, None)],  # one readable view only
    ]
    found = flip_rates(pd.DataFrame(rows, columns=["path", "label", "score"]), 0.5)
    assert found == {
        "flip_rate": pytest.approx(1 / 3),
        "flip_rate_real": 0.5,
        "flip_rate_fake": 0,
        "score_spread": pytest.approx(0.4),
    }


def test_one_view_has_a_reason() -> None:
    found = flip_rates(pd.DataFrame({"path": ["a"], "label": [0], "score": [0.3]}), 0.5)
    assert all(isinstance(value, str) for value in found.values())
