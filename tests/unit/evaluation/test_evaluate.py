"""The judge: the contract's keys, what is left out and why, and independence from everything but the scores."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from aigid.core import scores
from aigid.core.errors import InputError
from aigid.evaluation.evaluate import EvaluationResult, evaluate

CONTRACT = {
    *("ap", "map", "auroc", "acc_05", "acc_val", "acc_oracle", "balanced_acc", "tpr_at_fpr1", "tpr_at_fpr5"),
    *("ece", "brier", "auroc_robust", "worst_generator_auroc", "worst_source_fpr", "num_real", "num_fake"),
}


def made(num: int = 300, views: tuple[str, ...] = ("clean", "jpeg65"), seed: int = 0) -> pd.DataFrame:
    """Scores of ``num`` images in each view: two generators, two sources, a fifth of the images for validation."""
    rng, k = np.random.default_rng(seed), np.arange(num)
    label = k % 2
    parts = []
    for view in views:
        part = pd.DataFrame({"path": [f"{i:04}.png" for i in k], "label": label, "view": view})
        part["generator"] = np.where(label == 0, "real", np.where(k % 3, "gan", "sd14"))
        part["split"] = np.where(k % 5, "test", "val")
        part["source"] = np.where(label == 1, "", np.where(k % 4, "phone", "press"))
        part["score"] = 1 / (1 + np.exp(-rng.normal(1.5 * label - 0.5, 1)))
        parts.append(part)
    return scores.validate(pd.concat(parts, ignore_index=True), "made")


def swift(frame: pd.DataFrame) -> EvaluationResult:
    return evaluate(frame, n_bootstrap=20)


def test_every_key_of_the_contract_is_what_scikit_learn_says() -> None:
    frame = made()
    found = swift(frame).metrics
    assert set(found) >= CONTRACT
    clean = frame[(frame["split"] == "test") & (frame["view"] == "clean")]
    y, s = clean["label"], clean["score"]
    auroc = {g: sk.roc_auc_score(*_against(clean, g)) for g in ("gan", "sd14")}
    other = frame[(frame["split"] == "test") & (frame["view"] == "jpeg65")]
    press = clean[clean["source"] == "press"]
    expected = {
        "auroc": sk.roc_auc_score(y, s),
        "ap": sk.average_precision_score(y, s),
        "map": np.mean([sk.average_precision_score(*_against(clean, g)) for g in ("gan", "sd14")]),
        "acc_05": np.mean((s > 0.5) == y),
        "balanced_acc": sk.balanced_accuracy_score(y, s > 0.5),
        "acc_val": np.mean((s > found["threshold_val"]) == y),
        "acc_oracle": max(np.mean((s >= cut) == y) for cut in s),
        "auroc_robust": sk.roc_auc_score(other["label"], other["score"]),
        "worst_generator_auroc": min(auroc.values()),
        "num_real": 120,
        "num_fake": 120,
        "num_unreadable": 0,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    assert found["worst_source_fpr"] >= np.mean(press["score"] > 0.5)


def _against(clean: pd.DataFrame, generator: str) -> tuple[pd.Series, pd.Series]:
    part = clean[(clean["label"] == 0) | (clean["generator"] == generator)]
    return part["label"], part["score"]


def test_what_is_in_test_alone_is_judged_apart() -> None:
    """`film` and `flux` have no validation or training image; the train rows of a manifest have no score."""
    frame = made()
    test = frame["split"] == "test"
    frame["generator"] = frame["generator"].mask(test & (frame["label"] == 1) & (frame.index % 3 == 0), "flux")
    frame["source"] = frame["source"].mask(test & (frame["label"] == 0) & (frame.index % 3 == 1), "film")
    table = frame[frame["view"] == "clean"].drop(columns=["view", "score"])
    without, result = swift(frame), evaluate(frame, n_bootstrap=20, manifest=table)
    clean = frame[test & (frame["view"] == "clean")]
    new_fakes, new_reals = clean["generator"] == "flux", clean["source"] == "film"
    expected = {"generators": clean[new_fakes | (clean["label"] == 0)]}
    expected["generators and sources"] = clean[new_fakes | new_reals]
    found = result.parts("unseen").set_index("name")
    assert list(found.index) == list(expected)
    for name, rows in expected.items():
        assert found.loc[name, "auroc"] == pytest.approx(sk.roc_auc_score(rows["label"], rows["score"]), abs=1e-12)
        assert found.loc[name, "auroc_low"] < found.loc[name, "auroc"] < found.loc[name, "auroc_high"]
        fpr, tpr, _ = sk.roc_curve(rows["label"], rows["score"], drop_intermediate=False)
        assert found.loc[name, "tpr_at_fpr1"] == pytest.approx(tpr[fpr <= 0.01].max(), abs=1e-12)
    assert result.metrics["auroc_unseen"] == found.loc["generators", "auroc"]
    assert result.metrics["num_fake_unseen"] == new_fakes.sum()
    assert result.metrics.items() >= without.metrics.items()
    assert "in test alone" in without.missing_metrics["tpr_at_fpr1_unseen"]


@pytest.mark.parametrize("keep", ["split == 'test'", "split == 'test' or label == 0"])
def test_where_no_other_split_has_a_generator_none_is_told_apart(keep: str) -> None:
    frame = made().query(keep)
    found = evaluate(frame, n_bootstrap=5, manifest=frame[frame["view"] == "clean"].drop(columns=["view", "score"]))
    assert found.parts("unseen").empty
    assert "auroc_unseen" in found.missing_metrics


def test_row_order_and_file_format_change_no_digit(tmp_path: Path) -> None:
    frame = made()
    frame["group"] = frame["path"].str[:3]
    frame["split"] = np.where(frame["group"].str[-1] == "0", "val", "test")
    first = swift(frame)
    for name in ("s.csv", "s.parquet"):
        scores.write(frame.sample(frac=1, random_state=1), tmp_path / name)
        second = swift(scores.read(tmp_path / name))
        assert second.metrics == first.metrics
        pd.testing.assert_frame_equal(second.details, first.details, check_exact=True)
        pd.testing.assert_frame_equal(second.worst_errors, first.worst_errors, check_exact=True)


@pytest.mark.parametrize(
    ("keep", "gone", "left"),
    [
        ("label == 1", "auroc ap map acc_oracle balanced_acc tpr_at_fpr5 worst_source_fpr", "acc_05 brier ece"),
        ("label == 0", "auroc ap map acc_oracle worst_generator_auroc f1_05", "acc_05 brier ece worst_source_fpr"),
        ("split == 'test'", "acc_val threshold_val balanced_acc_val worst_source_fpr_val", "auroc acc_05 acc_oracle"),
        ("view == 'clean'", "auroc_robust worst_view_auroc", "auroc acc_val"),
    ],
)
def test_what_cannot_be_had_is_left_out_with_its_reason(keep: str, gone: str, left: str) -> None:
    found = swift(made().query(keep))
    for name in gone.split():
        assert name not in found.metrics
        assert found.missing_metrics[name]
    for name in left.split():
        assert name in found.metrics
        assert name not in found.missing_metrics
    assert all(np.isfinite(list(found.metrics.values())))


def test_no_clean_view() -> None:
    one = swift(made(views=("jpeg65",)))
    assert one.view == "jpeg65"
    assert "auroc" in one.metrics
    assert any("jpeg65" in line for line in one.warnings)
    two = swift(made(views=("jpeg65", "blur3")))
    assert "auroc" in two.missing_metrics
    assert "num_real" not in two.metrics
    assert "auroc_robust" in two.metrics


def test_unreadable_images_are_counted_and_left_out() -> None:
    frame = made()
    worst = frame["path"].isin(["0001.png", "0002.png"])
    failed = frame.assign(status=np.where(worst, "truncated", "ok"), score=frame["score"].mask(worst))
    assert swift(scores.validate(failed, "s")).metrics == {**swift(frame[~worst]).metrics, "num_unreadable": 2}


def test_constant_scores_are_chance_and_said_to_be() -> None:
    found = swift(made().assign(score=0.5))
    assert found.metrics["auroc"] == 0.5
    assert found.metrics["tpr_at_fpr5"] == 0
    assert any("says nothing" in line for line in found.warnings)


def test_a_flawless_detector_has_an_honest_interval() -> None:
    frame = made()
    pooled = swift(frame.assign(score=frame["label"] * 1.0)).details.iloc[0]
    assert pooled["auroc"] == 1
    assert pooled["auroc_low"] == pytest.approx(0.025 ** (1 / 120))
    assert np.isnan(pooled["ap_low"])


def test_no_test_rows() -> None:
    with pytest.raises(InputError, match="split 'test'"):
        evaluate(made().query("split == 'val'"))


def test_a_column_breaks_the_scores_down() -> None:
    frame = made(views=("clean",)).assign(extra_width=lambda table: np.where(table.index % 3, 224, 512))
    table = (
        evaluate(frame, n_bootstrap=20, strata=["extra_width"]).details.query("kind == 'extra_width'").set_index("name")
    )
    part = frame[(frame["split"] == "test") & (frame["extra_width"] == 512)]
    assert table.loc["512", "auroc"] == pytest.approx(sk.roc_auc_score(part["label"], part["score"]), abs=1e-12)
    assert table["num_real"].sum() == 120
    with pytest.raises(InputError, match="'width'"):
        evaluate(frame, n_bootstrap=0, strata=["width"])
