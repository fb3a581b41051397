"""What the demo must show, read from a finished `dvc repro`."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from aigid.core import manifest, params
from aigid.detectors.registry import get_detector, names
from aigid.detectors.samples import open_dataset
from aigid.features.backbones import backbone_settings
from aigid.features.loaders.open_clip import load_text_encoder

pytestmark = pytest.mark.acceptance
ROOT = Path(__file__).resolve().parents[2]
ON_EMBEDDINGS = [name for name in names() if "backbone" in get_detector(name).Settings.model_fields]


@pytest.fixture(scope="module")
def table():
    return manifest.read(ROOT / "data/manifests/demo.csv")


def auroc_per_generator(detector):
    scores = pd.read_csv(ROOT / f"data/scores/{detector}/demo.csv")
    scores = scores[(scores["split"] == "test") & (scores["view"] == "clean")]
    real = scores["label"] == 0
    return {
        name: roc_auc_score(scores["label"][real | (scores["generator"] == name)],
                            scores["score"][real | (scores["generator"] == name)])
        for name in scores["generator"][~real].unique()
    }  # fmt: skip


def test_the_probe_sees_seen_generators_and_struggles_with_unseen(table):
    aurocs = auroc_per_generator("probe")
    seen = set(table["generator"][(table["split"] == "train") & (table["label"] == 1)])
    assert len(seen) == 2
    assert len(aurocs) >= 6
    assert min(aurocs[name] for name in seen) >= 0.90
    assert 0.55 <= np.mean([auroc for name, auroc in aurocs.items() if name not in seen]) <= 0.97


@pytest.mark.parametrize("detector", ON_EMBEDDINGS)
def test_shuffled_training_labels_teach_nothing(detector):
    settings = params.load_section(detector, get_detector(detector).Settings, ROOT / "params.yaml")
    table = manifest.read(ROOT / f"data/manifests/{settings.dataset}.csv")
    dataset = open_dataset(table, [ROOT / f"data/embeddings/{settings.backbone}/{settings.dataset}.h5"])
    train, val, test = (dataset.split(name) for name in ("train", "val", "test"))
    encoder = {}
    if detector == "occ":
        encoder["text_encoder"] = load_text_encoder(backbone_settings(settings.backbone), settings.backbone)
    aurocs = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        fitted = get_detector(detector).fit(settings, shuffled(train, rng), shuffled(val, rng), seed, **encoder)
        aurocs.append(roc_auc_score(test.y, fitted.p_generated(test.x)))
    assert abs(np.mean(aurocs) - 0.5) <= 0.08, aurocs


def shuffled(rows, rng, most=1500):
    kept, places = rng.permutation(len(rows))[:most], rng.permutation(len(rows))[:most]
    return replace(rows, x=rows.x[kept], paths=rows.paths[kept], y=rows.y[places], generators=rows.generators[places])


@pytest.mark.parametrize("detector", ON_EMBEDDINGS)
def test_metrics_are_flat_numbers_of_the_contract(detector):
    metrics = json.loads((ROOT / f"results/metrics/{detector}/demo.json").read_text())
    wanted = (
        "ap map auroc acc_05 acc_val acc_oracle balanced_acc tpr_at_fpr1 tpr_at_fpr5 ece brier "
        "auroc_robust worst_generator_auroc worst_source_fpr num_real num_fake"
    )
    assert set(wanted.split()) <= set(metrics)
    assert all(isinstance(value, int | float) and np.isfinite(value) for value in metrics.values())
