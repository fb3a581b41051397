"""What the demo must show, read from a finished `dvc repro`."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC

from aigid.core import manifest, params
from aigid.detectors import get_detector, names
from aigid.detectors.bundle import load_detector
from aigid.detectors.samples import open_dataset
from aigid.detectors.svm.detector import KernelSvm
from aigid.evaluation.breakdown import breakdown_table
from aigid.evaluation.comparison import CONTROLS
from aigid.features.backbones import backbone_settings
from aigid.features.loaders.open_clip import load_text_encoder

pytestmark = pytest.mark.acceptance
ROOT = Path(__file__).resolve().parents[2]
ON_EMBEDDINGS = [name for name in names() if "backbone" in get_detector(name).Settings.model_fields]


@pytest.fixture(scope="module")
def table():
    return manifest.read(ROOT / "data/manifests/demo.csv")


def clean_test_rows(detector):
    scores = pd.read_csv(ROOT / f"data/scores/{detector}/demo.csv")
    return scores[(scores["split"] == "test") & (scores["view"] == "clean")]


def aurocs(detector, generators):
    """The AUROC of these generators' fakes with its interval, bootstrapped over photographs: a row of a breakdown."""
    rows = clean_test_rows(detector)
    rows = rows[(rows["label"] == 0) | rows["generator"].isin(generators)]
    table = breakdown_table(rows, dict.fromkeys(("05", "val", "oracle"), 0.5), seed=0, n_bootstrap=1000)
    return table.set_index("kind").loc["all"]


@pytest.fixture(scope="module")
def seen(table):
    return sorted(set(table["generator"][(table["split"] == "train") & (table["label"] == 1)]))


@pytest.fixture(scope="module")
def unseen(table, seen):
    return sorted(set(table["generator"][table["label"] == 1]) - set(seen))


def test_the_probe_sees_seen_generators_and_struggles_with_unseen(seen, unseen):
    assert len(seen) == 2
    assert len(unseen) >= 4
    assert aurocs("probe", seen)["auroc"] >= 0.95
    assert 0.6 <= np.mean([aurocs("probe", [name])["auroc"] for name in unseen]) <= 0.97


@pytest.mark.parametrize("detector", names())
def test_no_generator_is_too_easy(detector, seen, unseen):
    """A perfect score would leave nothing to compare."""
    assert aurocs(detector, seen)["auroc"] < 0.999
    assert aurocs(detector, seen + unseen)["auroc"] < 0.999


@pytest.mark.parametrize("detector", sorted({*names()} - {"aeroblade", "gendet"}))
def test_every_detector_beats_chance_on_seen_generators(detector, seen):
    assert aurocs(detector, seen)["auroc_low"] > 0.5


def test_gendet_knows_seen_generators_though_not_of_every_photograph(seen):
    """Over five photographs its interval reaches to chance; the mean of five seeds does not."""
    assert aurocs("gendet", seen)["auroc"] > 0.75
    modes = pd.read_csv(ROOT / "results/benchmarks/gendet_modes.csv").set_index("cell")
    assert modes.loc["full", "seen"] - 2 * modes.loc["full", "auroc_sd"] > 0.5


def test_aeroblade_knows_nothing_of_the_demo_and_the_report_says_so():
    """None of the generators shares its autoencoder, and since their details are the photograph's, blur is no cue."""
    assert "aeroblade/calibration: has not learned" in (ROOT / "results/report/table.md").read_text()


def test_sefs_experts_know_their_aligned_fakes():
    table = pd.read_csv(ROOT / "results/sef/comparison.csv").set_index(["method", "tested_on"])
    assert all(table.loc[(f"expert {name}", f"held-out {name}"), "auroc"] > 0.9 for name in ("vae", "gan"))


@pytest.mark.parametrize("control", sorted(set(CONTROLS) - {"control_shallow"}))
def test_a_control_without_the_pixels_does_not_beat_chance(control, seen):
    row = aurocs(control, seen)
    assert row["auroc"] == 0.5 or row["auroc_low"] <= 0.5


def test_shallow_cues_stay_far_below_the_probe(seen):
    """Small generators lose detail, which would be all that a detector need know: their fakes get its energy back."""
    assert aurocs("control_shallow", seen)["auroc"] < aurocs("probe", seen)["auroc"] - 0.2


@pytest.mark.parametrize("detector", ON_EMBEDDINGS)
def test_shuffled_training_labels_teach_nothing(detector):
    settings = params.load_section(detector, get_detector(detector).Settings, ROOT / "params.yaml")
    table = manifest.read(ROOT / f"data/manifests/{settings.dataset}.csv")
    dataset = open_dataset(table, [ROOT / f"data/embeddings/{settings.backbone}/{settings.dataset}.h5"])
    train, val, test = (dataset.split(name) for name in ("train", "val", "test"))
    encoder = {}
    if detector == "occ" and settings.prompts == "text_encoder":
        encoder["text_encoder"] = load_text_encoder(backbone_settings(settings.backbone), settings.backbone)
    values = []
    for seed in range(20 if detector == "probe" else 5):  # one shuffle of few photographs is 0.07 away
        rng = np.random.default_rng(seed)
        fitted = get_detector(detector).fit(settings, shuffled(train, rng), shuffled(val, rng), seed, **encoder)
        values.append(roc_auc_score(test.y, fitted.p_generated(test.x)))
    assert abs(np.mean(values) - 0.5) <= 0.08, values


def shuffled(rows, rng, most=600):
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


def test_the_svms_judged_classes_are_scikit_learns():
    """On every validation and test image of demo6, in every view."""
    detector = load_detector(ROOT / "data/models/svm", KernelSvm)
    backbone, state = params.load_section("svm.backbone", str, ROOT / "params.yaml"), detector.state
    paths = [ROOT / f"data/embeddings/{backbone}/demo6.h5"]
    samples = open_dataset(manifest.read(ROOT / "data/manifests/demo6.csv"), paths)
    train, others = samples.split("train"), samples.subset("val", "test")
    mean, std = train.x.mean(axis=0, dtype=np.float64), train.x.std(axis=0, dtype=np.float64)
    labels = [detector.classes.index(name) for name in train.generators]
    svc = SVC(C=state["strength"], gamma=state["gamma"], class_weight="balanced").fit((train.x - mean) / std, labels)
    scores = pd.read_csv(ROOT / "data/scores/svm/demo6.csv")
    assert len(scores) == len(others.table) * len(samples.views)
    for view, part in scores.groupby("view"):
        assert part["path"].tolist() == others.table["path"].tolist()
        expected = np.array(detector.classes)[svc.predict((others.embeddings(view) - mean) / std)]
        assert part["predicted"].tolist() == expected.tolist()
