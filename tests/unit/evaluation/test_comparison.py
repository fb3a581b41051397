"""Paired comparisons against the definition of DeLong's covariance and against what a p-value promises."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn import metrics as sk

from aigid.core import scores
from aigid.core.errors import InputError
from aigid.evaluation import cautions, comparison


def frame(values: np.ndarray, labels: np.ndarray, **columns: object) -> pd.DataFrame:
    table = pd.DataFrame({"path": [f"{k:04}" for k in range(len(labels))], "label": labels, "score": values})
    table = table.assign(generator=np.where(labels == 1, "gan", "real"), split="test", view="clean", **columns)
    return scores.validate(table, "made")


def pair(num: int, gap: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng, labels = np.random.default_rng(seed), np.arange(num) % 2
    shared = rng.normal(labels, 1)
    return labels, norm.cdf(shared + rng.normal(0, 0.5, num) + gap * labels), norm.cdf(shared + rng.normal(0, 0.5, num))


def test_delong_is_the_double_sum_over_pairs() -> None:
    rng = np.random.default_rng(0)
    labels, values = rng.permutation(np.repeat([0, 1], [13, 9])), rng.random((3, 22)).round(1)
    aurocs, covariance = comparison.delong(labels, values)
    fakes, reals = values[:, labels == 1], values[:, labels == 0]
    wins = (fakes[:, :, None] > reals[:, None]) + 0.5 * (fakes[:, :, None] == reals[:, None])
    assert aurocs == pytest.approx([sk.roc_auc_score(labels, row) for row in values], abs=1e-12)
    by_fake, by_real = wins.mean(axis=2), wins.mean(axis=1)
    for a in range(3):
        for b in range(3):
            s10 = np.sum((by_fake[a] - aurocs[a]) * (by_fake[b] - aurocs[b])) / (9 - 1)
            s01 = np.sum((by_real[a] - aurocs[a]) * (by_real[b] - aurocs[b])) / (13 - 1)
            assert covariance[a, b] == pytest.approx(s10 / 9 + s01 / 13, abs=1e-12)


def test_delong_and_the_paired_bootstrap_agree() -> None:
    labels, first, second = pair(600, 0.3, 1)
    row = comparison.compare(frame(first, labels), frame(second, labels)).iloc[0]
    aurocs, covariance = comparison.delong(labels, np.stack([first, second]))
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert row["difference"] == pytest.approx(aurocs[0] - aurocs[1], abs=1e-12)
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert row["p"] == pytest.approx(2 * norm.sf(abs(row["difference"]) / error), abs=1e-12)


def test_equal_detectors_differ_as_seldom_as_p_says() -> None:
    p = []
    for seed in range(300):
        labels, first, second = pair(100, 0.0, seed)
        p.append(comparison.delong_p(*comparison.delong(labels, np.stack([first, second]))))
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.09


def test_a_detector_does_not_differ_from_itself() -> None:
    labels, first, _ = pair(50, 0.0, 0)
    table = comparison.compare(frame(first, labels), frame(first, labels).sample(frac=1), n_bootstrap=50)
    assert (table[["difference", "low", "high"]] == 0).all(axis=None)
    assert (table["p"] == 1).all()


def test_groups_are_drawn_together() -> None:
    labels, first, second = pair(60, 0.5, 3)
    copies = [np.repeat(x, 10) for x in (labels, first, second)]
    groups = np.repeat([f"g{k}" for k in range(60)], 10)
    wide = comparison.compare(frame(copies[1], copies[0], group=groups), frame(copies[2], copies[0], group=groups))
    narrow = comparison.compare(frame(copies[1], copies[0]), frame(copies[2], copies[0]))
    assert (wide["high"] - wide["low"])[0] > 2 * (narrow["high"] - narrow["low"])[0]
    assert wide["p"][0] > narrow["p"][0]


def test_other_images_or_labels_are_refused_with_counts() -> None:
    labels, first, second = pair(20, 0.0, 0)
    good = frame(first, labels)
    others = {
        "fewer": frame(second, labels).iloc[5:],
        "flipped": frame(second, np.where(np.arange(20) < 3, 1 - labels, labels)),
    }
    with pytest.raises(InputError, match="5 only by the first, 0 only by the second"):
        comparison.compare(good, others["fewer"])
    with pytest.raises(InputError, match="3 images have another label"):
        comparison.compare(good, others["flipped"])
    table, refused = comparison.compare_all({"good": good, "same": frame(second, labels), **others}, n_bootstrap=20)
    assert set(zip(table["first"], table["second"], strict=True)) == {("good", "same")}
    assert len(refused) == 5


def versions(model: str = "probe@" + "0" * 16, view: str = "ab", aigid: str = "0.2.0") -> dict[str, object]:
    return {"model": model, "code": {"aigid": aigid, "sources_sha256": "c" * 64}, "views": {"clean": view}}


def test_scores_of_other_versions_say_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    newer = {"first": versions(), "second": versions(model="probe@" + "1" * 16, aigid="0.3.0"), "theirs": {}}
    lines = list(cautions.on_versions(newer))
    assert lines[0].startswith("first and second: two versions of one detector, probe@0000")
    assert "scored by other code, aigid 0.2.0 (cccccccccccc) and aigid 0.3.0" in lines[1]
    assert list(cautions.on_versions({"a": versions(), "b": versions(model="knn@" + "1" * 16)})) == []
    labels, first, second = pair(40, 0.1, 0)
    frames = {"a": frame(first, labels), "b": frame(second, labels)}
    table, refused = comparison.compare_all(frames, 0, 20, {"a": versions(), "b": versions(view="cd")})
    assert table.empty
    assert refused == ["a and b: view 'clean' is defined in two ways, ab and cd: score one of them again"]
    two = frames["a"].assign(model=np.where(labels, "probe@" + "0" * 16, "probe@" + "1" * 16))
    with pytest.raises(InputError, match="scores of 2 bundles"):
        cautions.require_one_model(two)
    cautions.require_one_model(two.assign(model=np.where(labels, "sdxl", "flux")))  # of another tool's column

    scores.write(frames["a"], tmp_path / "a.csv")
    assert scores.read_versions(tmp_path / "a.csv") == {}
    scores.write_versions(tmp_path / "a.csv", versions())
    assert scores.read_versions(tmp_path / "a.csv") == versions()
    scores.write(frames["b"], tmp_path / "a.csv")
    assert scores.read_versions(tmp_path / "a.csv") == {}
    assert "is of other scores" in caplog.text
    (tmp_path / "a.csv.json").write_text("[]")
    with pytest.raises(InputError, match="does not say what gave the scores"):
        scores.read_versions(tmp_path / "a.csv")
