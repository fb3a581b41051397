"""Every bundle of the pipeline gives an image the score that the pipeline gave it, alone as in company."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import aigid
from aigid.detectors import names

ROOT = Path(__file__).resolve().parents[2]
NUM = 4


@pytest.mark.acceptance
@pytest.mark.parametrize("name", names())
def test_predictions_are_the_pipelines_scores(name, users_weights, monkeypatch):
    monkeypatch.chdir(ROOT)
    scored = pd.read_csv(f"data/scores/{name}/demo.csv").query("split == 'test' and view == 'clean'")
    scored = scored.iloc[:: len(scored) // NUM][:NUM]
    bundle = aigid.load(f"data/models/{name}")
    paths = [f"data/images/demo/{path}" for path in scored["path"]]
    together, alone = bundle.predict(paths), [bundle.predict(path) for path in paths]
    for found in (together, alone):
        np.testing.assert_allclose([it.score for it in found], scored["score"], atol=1e-6)
