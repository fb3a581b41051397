"""The machine equals scikit-learn's SVC row by row; couplings, landmarks, selections equal slow references."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from sklearn.decomposition import PCA
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from aigid.core import manifest
from aigid.core.errors import InputError
from aigid.core.special import fit_platt
from aigid.detectors.protocol import score_views
from aigid.detectors.samples import LabeledEmbeddings, encode_labels, open_dataset
from aigid.detectors.svm.detector import (
    KernelSvm,
    SvmSettings,
    forward_selection,
    subsample,
)
from aigid.detectors.svm.kernel import (
    fit_scaler,
    from_svc,
    nystroem,
    pairwise_coupling,
    predict,
    rbf,
    transform,
)
from aigid.evaluation.attribution import attribute, predicted_generators
from tests.helpers.embeddings import write_embeddings

NAMES = np.array(["real", "dalle3", "midjourney", "sd21", "sd3", "sdxl"])


def rows(seed, n=360, num_classes=6, d=16, spread=0.8):
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(99).normal(size=(num_classes, d))
    y = np.arange(n) % num_classes
    x = (means[y] + spread * rng.normal(size=(n, d))).astype(np.float32)
    return LabeledEmbeddings(x, (y > 0).astype(np.int64), generators=NAMES[y])


def settings(**changes):
    return SvmSettings(backbone="b", dataset="d", **changes)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("num_classes", [2, 6])
def test_equals_scikit_learn_on_every_row(seed, num_classes):
    train, val, test = (rows(10 * seed + k, num_classes=num_classes, n=600) for k in range(3))
    detector = KernelSvm.fit(settings(c=10, gamma=1), train, val, 0)
    unit = [r.x / np.linalg.norm(r.x, axis=1, keepdims=True) for r in (train, test)]
    y = encode_labels(train.generators, detector.classes, "train")
    svc = SVC(C=10, gamma=1, class_weight="balanced", decision_function_shape="ovo").fit(unit[0], y)
    decisions = detector.decision_function(test.x)
    np.testing.assert_array_equal(predict(decisions, num_classes), svc.predict(unit[1]))
    theirs = svc.decision_function(unit[1])
    theirs = -theirs[:, None] if num_classes == 2 else theirs  # of two classes: that of the second
    np.testing.assert_allclose(decisions, theirs, atol=1e-4)


def test_two_classes_on_principal_axes_are_those_of_a_pipeline_of_scikit_learn():
    """Without generators, which train and val need not share; gamma by the variance of the axes that are kept."""
    train, val, test = (rows(seed, n=600, d=40) for seed in range(3))
    val.generators[val.y == 1] = "unknown"
    given = settings(target="label", scaling="standard", num_components=6, c=3, gamma="scale", views=("clean", "blur1"))
    detector = KernelSvm.fit(given, train, val, 0)
    svc = SVC(C=3, gamma="scale", class_weight="balanced")
    pipeline = make_pipeline(StandardScaler(), PCA(6, svd_solver="full"), svc).fit(train.x, train.y)
    assert detector.classes == []
    np.testing.assert_allclose(-detector.decision_function(test.x)[:, 0], pipeline.decision_function(test.x), atol=5e-3)
    order = np.argsort(detector.p_generated(test.x))
    assert (np.diff(pipeline.decision_function(test.x)[order]) > -1e-2).all()
    assert detector.arrays["axes"].shape == (40, 6)


def test_some_axes_are_the_last_of_all():
    """By Lanczos' iteration, taken where few are kept, and by the whole decomposition."""
    x = rows(0, d=40).x
    few, many = (fit_scaler(x, "whitened", k)["axes"] for k in (9, 10))
    np.testing.assert_allclose(np.abs(few), np.abs(many[:, 1:]), atol=1e-3)


def test_columns_that_say_nothing_are_no_crash():
    """Constant columns, with gamma by their variance as scikit-learn has it; but NaN and infinity are refused."""
    train, val = rows(0), rows(1)
    train.x[:], val.x[:] = 1, 1
    given = settings(target="label", scaling="standard", num_components=2, gamma="scale")
    assert KernelSvm.fit(given, train, val, 0).state["gamma"] == 1.0
    train.x[3, 2] = np.nan
    with pytest.raises(InputError, match="split train: NaN or infinity in the embedding of row 4"):
        KernelSvm.fit(given, train, val, 0)
    with pytest.raises(ValueError, match="finite"):
        settings(gamma=float("inf"))


def test_axes_that_are_not_there_are_refused():
    with pytest.raises(InputError, match=r"svm\.num_components=17: the embeddings have 16 columns"):
        KernelSvm.fit(settings(scaling="standard", num_components=17), rows(0), rows(1), 0)
    with pytest.raises(ValueError, match="num_components=4: wants scaling standard or whitened, not unit"):
        settings(num_components=4)


def test_the_class_that_is_judged_is_scikit_learns_on_every_row(tmp_path):
    """Of hard rows, many of whose votes and probabilities disagree, and some of whose votes are equal."""
    sets = [rows(k, n=600, spread=4.0) for k in range(3)]
    names = np.repeat(["train", "val", "test"], 600)
    table = pd.DataFrame({"path": [f"{k}.png" for k in range(1800)], "split": names})
    table["label"] = np.concatenate([part.y for part in sets])
    table["generator"] = np.concatenate([part.generators for part in sets])
    table = manifest.validate(table.assign(sha256=[f"{k:064x}" for k in range(1800)]), "table")
    x = np.concatenate([part.x for part in sets])
    write_embeddings(tmp_path / "e.h5", {"clean": x}, table["sha256"], ["ok"] * 1800, {"fingerprint": ["b"]})
    samples = open_dataset(table, [tmp_path / "e.h5"])
    detector = KernelSvm.fit(settings(c=10, gamma=1), samples.split("train"), samples.split("val"), 0)
    scores = score_views(detector, samples.subset("test"), ["clean"])
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    svc = SVC(C=10, gamma=1, class_weight="balanced").fit(
        unit[:600], table["generator"][:600].map(detector.classes.index)
    )
    expected = np.array(detector.classes)[svc.predict(unit[1200:])]
    y_val = [detector.classes.index(name) for name in sets[1].generators]
    chosen_by = f1_score(y_val, svc.predict(unit[600:1200]), average="macro")
    assert list(detector.state["val_f1_macro"].values()) == [pytest.approx(chosen_by)]
    assert scores["predicted"].tolist() == expected.tolist()
    assert predicted_generators(scores).tolist() == expected.tolist()
    assert predicted_generators(scores.drop(columns="predicted")).tolist() != expected.tolist()
    np.testing.assert_allclose(scores["score"], 1 - detector.predict_proba(x[1200:])[:, 0])
    task_a = attribute(scores, "clean").metrics["task_a_acc"]
    assert task_a == ((expected != "real") == (scores["label"] == 1)).mean()


def test_a_score_depends_on_no_other_row():
    train, test = rows(0, n=1200, spread=2.0), rows(1, n=600, spread=2.0)
    detector = KernelSvm.fit(settings(c=100, gamma=1), train, rows(2, spread=2.0), 0)
    together = detector.predict_proba(test.x)
    for start, stop in ((0, 1), (7, 12), (100, 350)):
        np.testing.assert_allclose(detector.predict_proba(test.x[start:stop]), together[start:stop], atol=1e-9)


def test_coupling_is_the_minimum_of_its_objective():
    rng = np.random.default_rng(0)
    pairwise = rng.uniform(0.02, 0.98, (5, 6))
    for r, found in zip(pairwise, pairwise_coupling(pairwise, 4), strict=True):

        def loss(p, r=r):
            return sum(((1 - r[k]) * p[i] - r[k] * p[j]) ** 2 for k, (i, j) in enumerate(combinations(range(4), 2)))

        best = minimize(
            loss, np.full(4, 0.25), bounds=[(0, 1)] * 4, tol=1e-14,
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
        )  # fmt: skip
        np.testing.assert_allclose(found, best.x, atol=1e-4)
    np.testing.assert_allclose(pairwise_coupling(np.array([[0.3]]), 2), [[0.3, 0.7]], atol=1e-9)


def test_platt_finds_the_sigmoid_that_made_the_labels():
    rng = np.random.default_rng(0)
    decisions = rng.normal(size=(40_000, 1))
    y = (rng.random(40_000) > 1 / (1 + np.exp(-(2.5 * decisions[:, 0] - 0.7)))).astype(int)
    slopes, offsets = fit_platt(decisions, y, 2)
    assert slopes[0] == pytest.approx(2.5, abs=0.1)
    assert offsets[0] == pytest.approx(-0.7, abs=0.06)


def test_all_landmarks_are_kernel_ridge():
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    y = np.arange(60) % 3
    machine = nystroem(x, y, ridge=0.01, gamma=0.2, landmarks=60, seed=0)
    reference = KernelRidge(alpha=0.01 * 60, kernel="rbf", gamma=0.2).fit(x.astype(float), np.eye(3)[y]).predict(x)
    expected = np.stack([reference[:, i] - reference[:, j] for i, j in combinations(range(3), 2)], axis=1)
    np.testing.assert_allclose(machine.decision_function(x), expected, atol=2e-3)


def test_kernel_equals_a_loop():
    rng = np.random.default_rng(0)
    x, c = rng.normal(size=(7, 3)), rng.normal(size=(5, 3))
    slow = [[np.exp(-0.7 * np.sum((a - b) ** 2)) for b in c] for a in x]
    np.testing.assert_allclose(rbf(x, c, 0.7), slow, rtol=1e-12)


@pytest.mark.parametrize("solver", ["libsvm", "nystroem"])
@pytest.mark.parametrize("kind", ["unit", "standard", "whitened"])
def test_learns_and_is_calibrated(solver, kind):
    train, val, test = (rows(k, n=900) for k in range(3))
    gamma = [1.0] if kind == "unit" else [0.02, 0.05]
    detector = KernelSvm.fit(settings(solver=solver, scaling=kind, gamma=gamma), train, val, 0)
    p = detector.predict_proba(test.x)
    assert detector.classes == ["real", "dalle3", "midjourney", "sd21", "sd3", "sdxl"]
    accuracy = (np.array(detector.classes)[p.argmax(1)] == test.generators).mean()
    assert accuracy > 0.85
    assert p.max(1).mean() == pytest.approx(accuracy, abs=0.08)


def test_whitened_columns_are_uncorrelated_but_for_the_floor():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(500, 3)) @ rng.normal(size=(3, 6)) + 0.01 * rng.normal(size=(500, 6)) + 5).astype(np.float32)
    white = transform(x, fit_scaler(x, "whitened")).astype(float)
    variances = np.linalg.eigvalsh(np.corrcoef(x.T.astype(float)))
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.diag(variances / (variances + 0.1)), atol=1e-3)


def test_validation_chooses_the_cell():
    train, val = rows(0), rows(1, spread=1.2)
    grid = {"c": [0.01, 10.0], "gamma": [0.01, 1.0]}
    chosen = KernelSvm.fit(settings(**grid), train, val, 0).state
    f1 = chosen["val_f1_macro"]
    assert len(f1) == 4
    assert f1[f"{chosen['strength']}, {chosen['gamma']}"] == max(f1.values())
    alone = KernelSvm.fit(settings(c=chosen["strength"], gamma=chosen["gamma"]), train, val, 0).state
    assert list(alone["val_f1_macro"].values()) == [max(f1.values())]


def test_machines_of_a_grid_share_a_kernel_and_decide_as_libsvm_alone():
    train, val, test = (rows(seed, n=600) for seed in range(3))
    detector = KernelSvm.fit(settings(c=[1.0, 10.0], gamma=[0.5, "scale"]), train, val, 0)
    cell = {"c": detector.state["strength"], "gamma": detector.state["gamma"]}
    alone = KernelSvm.fit(settings(**cell), train, val, 0)
    np.testing.assert_allclose(detector.decision_function(test.x), alone.decision_function(test.x), atol=5e-3)
    assert np.abs(detector.decision_function(test.x)).max() > 1


def test_forward_selection_by_hand():
    worth = {0: 1.0, 1: 3.0, 2: 2.0, 3: -1.0}

    def score(columns):
        return sum(worth[column] for column in columns)

    assert forward_selection(np.arange(4), score, max_features=4).tolist() == [0, 1, 2]
    assert forward_selection(np.arange(4), score, max_features=2).tolist() == [1, 2]


def test_forward_selection_drops_noise():
    train, val = rows(0, n=240, num_classes=3), rows(1, n=240, num_classes=3)
    noise = np.random.default_rng(5).normal(size=(240, 4)).astype(np.float32)
    noisy = [LabeledEmbeddings(np.hstack([r.x, noise]), r.y, generators=r.generators) for r in (train, val)]
    detector = KernelSvm.fit(settings(features="k_best_forward", k=6, selection_sample=120), *noisy, 0)
    assert set(detector.arrays["columns"].tolist()) < set(range(16))


def test_a_sample_keeps_every_class():
    y = np.array([0] * 900 + [1] * 99 + [2])
    taken = subsample(y, settings(max_images=100), "max_images", 0)
    assert np.bincount(y[taken]).tolist() == [90, 9, 1]
    assert len(set(taken.tolist())) == 100


@pytest.mark.parametrize("name", ["max_images", "selection_sample"])
def test_fewer_images_than_classes_are_refused(name):
    with pytest.raises(InputError, match=f"^svm.{name}=5: less than one image of each of 6 classes$"):
        KernelSvm.fit(settings(features="k_best_forward", k=6, **{name: 5}), rows(0), rows(1), 0)


def test_missing_classes_are_one_line():
    train, val = rows(0), rows(1)
    less = LabeledEmbeddings(
        *(a[val.generators != "sd3"] for a in (val.x, val.y)), generators=val.generators[val.generators != "sd3"]
    )
    with pytest.raises(InputError, match="split val: no image of class 'sd3', which train has"):
        KernelSvm.fit(settings(), train, less, 0)
    with pytest.raises(InputError, match="split val: generator 'sd3' is not in train"):
        KernelSvm.fit(settings(), less, val, 0)
    with pytest.raises(InputError, match=r"svm\.k=99: the embeddings have 16 columns"):
        KernelSvm.fit(settings(features="k_best", k=99), train, val, 0)


def test_intelex_gives_the_same_predictions():
    pytest.importorskip("sklearnex")
    train, val, test = (rows(k, n=900) for k in range(3))
    ours, theirs = (KernelSvm.fit(settings(solver=s), train, val, 0) for s in ("libsvm", "intelex"))
    first, second = (predict(detector.decision_function(test.x), 6) for detector in (ours, theirs))
    np.testing.assert_array_equal(first, second)


def test_a_fitted_svc_with_uneven_classes_keeps_its_signs():
    train = rows(3, n=200, num_classes=3)
    y = np.unique(train.generators, return_inverse=True)[1]
    keep = (y != 1) | (np.arange(200) % 5 == 0)
    svc = SVC(C=1, gamma=0.1, decision_function_shape="ovo").fit(train.x[keep], y[keep])
    np.testing.assert_allclose(
        from_svc(svc, 0.1, train.x[keep]).decision_function(train.x), svc.decision_function(train.x), atol=1e-4
    )
