"""Protocols by hand on small files, and their averages on the papers' own tables."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from aigid.errors import InputError
from aigid.evaluation import protocols, scores


def made(num: int = 400, views: tuple[str, ...] = ("clean",)) -> pd.DataFrame:
    rng, k = np.random.default_rng(0), np.arange(num)
    parts = []
    for view in views:
        part = pd.DataFrame({"path": [f"{i:05}.png" for i in k], "label": k % 2, "view": view, "split": "test"})
        part["generator"] = np.where(k % 2 == 0, "real", np.where(k % 4 == 1, "adm", "glide"))
        part["score"] = np.clip(rng.normal(0.4 + 0.25 * part["label"], 0.2), 0, 1)
        parts.append(part)
    return scores.validate(pd.concat(parts, ignore_index=True), "made")


def test_genimage_pairs_reals_with_their_generator_where_the_source_says_so() -> None:
    frame = made()
    frame["source"] = np.where(frame["label"] == 1, "", np.where(np.arange(400) % 8 < 4, "adm", "glide"))
    found = protocols.apply("genimage", frame)
    for name in ("adm", "glide"):
        part = frame[(frame["generator"] == name) | (frame["source"] == name)]
        assert found[f"acc_{name}"] == pytest.approx(np.mean((part["score"] > 0.5) == part["label"]), abs=1e-12)
    assert found["acc"] == pytest.approx((found["acc_adm"] + found["acc_glide"]) / 2)


def test_genimage_wants_all_six_degradations_or_none() -> None:
    frame = made(views=("clean", *protocols.GENIMAGE_VIEWS))
    found = protocols.apply("genimage", frame)
    assert found["degraded"] == pytest.approx(np.mean([found[f"degraded_{view}"] for view in protocols.GENIMAGE_VIEWS]))
    with pytest.raises(InputError, match="'blur5'"):
        protocols.apply("genimage", frame.query("view != 'blur5'"))


def test_ufd_draws_100_and_counts_its_own_way() -> None:
    found = protocols.apply("ufd", made())
    for name in ("adm", "glide"):
        assert found[f"acc_oracle_{name}"] * 200 == pytest.approx(round(found[f"acc_oracle_{name}"] * 200))
        assert found[f"acc_oracle_{name}"] >= found[f"acc_05_{name}"] - 1 / 200
    assert found["map"] == pytest.approx((found["ap_adm"] + found["ap_glide"]) / 2)
    shuffled = made().sample(frac=1, random_state=0)
    assert protocols.apply("ufd", shuffled) == found


def test_ntire_pools_the_distorted() -> None:
    frame = made(views=("clean", "a", "b"))
    rest = frame[frame["view"] != "clean"]
    found = protocols.apply("ntire", frame)
    assert found["auroc_robust"] == pytest.approx(sk.roc_auc_score(rest["label"], rest["score"]), abs=1e-12)
    with pytest.raises(InputError, match="ntire"):
        protocols.apply("ntire", made())


def test_dda_takes_fakes_as_jpeg_and_reals_as_they_are() -> None:
    frame = made(views=("clean", "jpeg96"))
    found = protocols.apply("dda", frame)
    part = frame[
        ((frame["label"] == 0) & (frame["view"] == "clean"))
        | ((frame["generator"] == "adm") & (frame["view"] == "jpeg96"))
    ]
    expected = sk.balanced_accuracy_score(part["label"], part["score"] > 0.5)
    assert found["balanced_acc_adm"] == pytest.approx(expected, abs=1e-12)
    with pytest.raises(InputError, match="'jpeg96'"):
        protocols.apply("dda", made())


def test_defactify_attributes_and_submits() -> None:
    frame = made(40)
    rng = np.random.default_rng(1)
    share = rng.dirichlet([1, 1, 1], 40)
    classes = ["real", "adm", "glide"]
    frame[[f"class_{name}" for name in classes]] = share
    found = protocols.apply("defactify", frame)
    guess = np.array(classes)[share.argmax(axis=1)]
    assert found["f1_macro_b"] == pytest.approx(sk.f1_score(frame["generator"], guess, average="macro"), abs=1e-12)
    assert found["f1_a"] == pytest.approx(sk.f1_score(frame["label"], frame["score"] > 0.5), abs=1e-12)
    answer = protocols.submission(frame.iloc[::-1], classes)
    assert [row["index"] for row in answer] == list(range(40))
    assert [row["Label_B"] for row in answer] == share.argmax(axis=1).tolist()
    with pytest.raises(InputError, match="class_<name>"):
        protocols.apply("defactify", made())


def test_an_unknown_protocol_lists_the_known() -> None:
    with pytest.raises(InputError, match=r"'ufdd'.*ufd, genimage"):
        protocols.apply("ufdd", made())


def test_averages_of_the_papers_tables() -> None:
    dda = dict(enumerate([91.7, 98.1, 92.2, 97.2, 90.1, 81.4, 87.8, 82.4, 90.9, 90.3, 95.1]))
    assert protocols.over_benchmarks(dda) == {"mean": pytest.approx(90.7, abs=0.05), "min": 81.4}
    gendet_on_genimage = dict(enumerate([89.6, 96.1, 96.1, 58.0, 78.4, 92.8, 66.5, 75.0]))
    assert protocols.over_benchmarks(gendet_on_genimage)["mean"] == pytest.approx(81.6, abs=0.05)
