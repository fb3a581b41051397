"""The weights are logistic regression's on predictions out of fold; folds share no generator and no source."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from aigid.core import manifest
from aigid.core.errors import InputError
from aigid.core.params import validate
from aigid.detectors.samples import open_dataset
from aigid.detectors.stacking import Stacking, StackingSettings, assign_folds, domains
from tests.helpers.embeddings import write_embeddings

MEMBERS = {name: {"detector": "probe", "c": 0.1, "backbones": [k]} for k, name in enumerate(("left", "right"))}


def settings(**changes):
    return validate({"backbone": "b", "dataset": "d", "members": MEMBERS, **changes}, StackingSettings, "stacking")


@pytest.fixture
def samples(tmp_path):
    """Four generators, four sources; the first backbone knows the label, the second is noise."""
    num, rng = 320, np.random.default_rng(0)
    fake, domain = np.arange(num) % 2, np.arange(num) // 2 % 4
    table = pd.DataFrame({"path": [f"{i:03}.png" for i in range(num)], "label": fake})
    table["generator"] = np.where(fake, "g" + pd.Series(domain).astype(str), "real")
    table["split"] = np.where(np.arange(num) % 10 < 8, "train", "val")
    table["source"] = np.where(fake, "", "s" + pd.Series(domain).astype(str))
    table = manifest.validate(table.assign(sha256=[f"{i:064x}" for i in range(num)]), "table")
    for name, shift in (("a", 1.5), ("b", 0.0)):
        x = rng.normal(size=(num, 5)) + shift * fake[:, None] * (np.arange(5) == 0)
        write_embeddings(tmp_path / f"{name}.h5", {"clean": x.astype(np.float16)}, table["sha256"], ["ok"] * num,
                         {"fingerprint": [name]})  # fmt: skip
    return open_dataset(table, [tmp_path / "a.h5", tmp_path / "b.h5"])


def test_the_weights_are_those_of_predictions_out_of_fold(samples):
    train, val = samples.split("train"), samples.split("val")
    fitted = Stacking.fit(settings(folds=4), train, val, 0)
    folds = np.array([fitted.logs["folds"].set_index("images_of")["fold"][key] for key in domains(train)])
    out = np.empty((len(train), 2))
    for fold in range(4):
        for k in range(2):
            x = train.x[:, 5 * k : 5 * k + 5]
            scaler = StandardScaler().fit(x[folds != fold])
            model = LogisticRegression(C=0.1, tol=1e-8).fit(scaler.transform(x[folds != fold]), train.y[folds != fold])
            out[folds == fold, k] = model.decision_function(scaler.transform(x[folds == fold]))
    slow = LogisticRegression(C=1e9, tol=1e-8).fit(out[:, :1], train.y)  # the second's weight would be negative or tiny
    both = LogisticRegression(C=1e9, tol=1e-8).fit(out, train.y)
    expected = both.coef_[0] if both.coef_[0].min() >= 0 else [slow.coef_[0, 0], 0]
    np.testing.assert_allclose(fitted.state["weights"][:2], expected, rtol=0.05, atol=0.02)  # Platt's smoothed labels
    p = [member.p_generated(val.x[:, 5 * k : 5 * k + 5]) for k, member in enumerate(fitted.members.values())]
    weights = np.array(fitted.state["weights"])
    np.testing.assert_allclose(logit(fitted.p_generated(val.x)), logit(np.stack(p, 1)) @ weights[:2] + weights[2])


def test_weights_from_val_are_those_of_its_predictions(samples):
    train, val = samples.split("train"), samples.split("val")
    fitted = Stacking.fit(settings(weights_from="val"), train, val, 0)
    p = np.stack([m.p_generated(val.x[:, 5 * k : 5 * k + 5]) for k, m in enumerate(fitted.members.values())], 1)
    slow = LogisticRegression(C=1e9, tol=1e-8).fit(
        logit(p)[:, :1] if fitted.state["weights"][1] == 0 else logit(p), val.y
    )
    np.testing.assert_allclose(fitted.state["weights"][: slow.coef_.shape[1]], slow.coef_[0], rtol=0.1, atol=0.05)
    assert fitted.logs["folds"].empty


def test_no_weight_is_negative(samples):
    """A member that tells lies out of fold is left out, not turned around."""
    train = samples.split("train")
    train.x[:, 5] = np.where(np.arange(len(train)) % 3 == 0, 1.0, -1.0) * (2 * train.y - 1)
    fitted = Stacking.fit(settings(folds=2), train, samples.split("val"), 0)
    assert min(fitted.state["weights"][:2]) >= 0


def test_folds_share_no_generator_and_no_source(samples):
    train = samples.split("train")
    keys = domains(train)
    assert set(keys) == {f"generator g{k}" for k in range(4)} | {f"source s{k}" for k in range(4)}
    folds = assign_folds(keys, train.y, 2)
    assert folds.keys() == set(keys)
    for kind in ("generator g", "source s"):
        assert sorted(folds[f"{kind}{k}"] for k in range(4)) == [0, 0, 1, 1]


def test_a_photograph_without_a_source_is_of_its_group(samples):
    table = samples.table
    samples.table["source"] = ""
    samples.table["group"] = [f"scene {i // 20}" for i in range(len(table))]
    train = samples.split("train")
    assert {key for key in domains(train) if key.startswith("group")} == {f"group scene {k}" for k in range(16)}
    assert set(domains(train, groups=True)) == {f"group scene {k}" for k in range(16)}  # fakes too
    del samples.table["group"]
    assert "image 000.png" in domains(samples.split("train"))


def test_a_saved_detector_scores_alike(samples, tmp_path):
    fitted = Stacking.fit(settings(folds=4), samples.split("train"), samples.split("val"), 0)
    state = json.loads(json.dumps(fitted.save(tmp_path)))
    x = samples.split("val").x
    np.testing.assert_array_equal(Stacking.load(tmp_path, state).p_generated(x), fitted.p_generated(x))
    assert fitted.logs["weights"]["member"].tolist() == ["left", "right", "offset"]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a": {"c": 1}}, "stacking.members: a: no `detector`"),
        ({"a": {"detector": "prob"}}, "unknown detector 'prob'"),
        ({"a": {"detector": "cnn"}}, "stacking.members: a.detector=cnn: wants more than embeddings"),
        ({"a": {"detector": "sef"}}, "stacking.members: a.detector=sef: wants more than embeddings"),
        ({"a": {"detector": "stacking"}}, "stacking.members: a.detector=stacking: a stack of stacks"),
        ({"a": {"detector": "probe", "c": -1}}, "stacking.members: a.c"),
        ({"a": {"detector": "probe"}}, "stacking.members: a.c: Field required"),
        ({"../a": {"detector": "knn", "k": 1}}, "stacking.members.../a.[key]: String should match pattern"),
        ({"": MEMBERS["left"]}, "stacking.members..[key]: String should match pattern"),
        ({"validation.csv": MEMBERS["left"]}, "stacking.members.validation.csv.[key]: String should match pattern"),
        ({"a": MEMBERS["left"] | {"views": ["jpeg70"]}}, "a.views: is the same for all members, `stacking.views`"),
        ({"a": MEMBERS["left"] | {"backbone": "b"}}, "a.backbone: is the same for all members, `stacking.backbone`"),
        (
            {"a": MEMBERS["left"] | {"backbones": []}},
            "a.backbones: Tuple should have at least 1 item",
        ),
        ({"a": MEMBERS["left"] | {"backbones": 0}}, "a.backbones: Input should be a valid tuple, got 0"),
        ({"a": MEMBERS["left"] | {"backbones": [0.5]}}, "a.backbones.0: Input should be a valid integer, got 0.5"),
    ],
)
def test_members_that_cannot_be_are_refused_by_name(members, message):
    with pytest.raises(InputError) as error:
        settings(members=members)
    assert message in str(error.value)


def test_backbones_and_folds_that_are_not_there_are_refused(samples):
    train, val = samples.split("train"), samples.split("val")
    odd = {"a": MEMBERS["left"] | {"backbones": [2]}}
    with pytest.raises(InputError, match=r"members\.a\.backbones=2: there are 2, from 0"):
        Stacking.fit(settings(members=odd, folds=2), train, val, 0)
    with pytest.raises(InputError, match=r"stacking\.folds=5: train has 4 sources or groups of photographs"):
        Stacking.fit(settings(), train, val, 0)


def test_embeddings_that_are_not_finite_are_refused_by_name(samples):
    train, val = samples.split("train"), samples.split("val")
    val.x[3, 1] = np.nan
    with pytest.raises(InputError, match=rf"split val: NaN or infinity in the embedding of {val.paths[3]}"):
        Stacking.fit(settings(folds=4), train, val, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda state: [], "detector_state: Input should be a valid dictionary"),
        (lambda state: state | {"weights": state["weights"][:2]}, "are not of the same members"),
        (lambda state: state | {"weights": [0.5, 0.5, float("nan")]}, r"weights\.2: Input should be a finite number"),
        (lambda state: state | {"columns": {"left": [[0, 5]]}}, "are not of the same members"),
        (
            lambda state: state | {"columns": {"left": [[-9, 5]], "right": [[5, 10]]}},
            r"left\.0\.0: .*, got -9",
        ),
        (lambda state: state | {"columns": {"left": [], "right": [[5, 10]]}}, r"columns\.left: Tuple should have"),
        (
            lambda state: state | {"columns": {"left": [[0, 10]], "right": [[5, 10]]}},
            "left: no whole member: probe: of embeddings of 5 columns, these have 10",
        ),
        (lambda state: state | {"detectors": {"left": "prob", "right": "probe"}}, "unknown detector 'prob'"),
        (
            lambda state: state | {"detectors": {"left": "knn", "right": "probe"}},
            r"member: banks.safetensors: .*No such file",
        ),
        (lambda state: state | {"members": {}}, r"members: Dictionary should have at least 1 item"),
    ],
)
def test_a_state_of_other_members_is_refused_by_name(samples, tmp_path, changes, message):
    fitted = Stacking.fit(settings(weights_from="val"), samples.split("train"), samples.split("val"), 0)
    state = json.loads(json.dumps(fitted.save(tmp_path)))
    with pytest.raises(InputError, match=message):
        Stacking.load(tmp_path, changes(state))


def test_a_member_whose_file_is_no_member_is_refused_by_name(samples, tmp_path):
    fitted = Stacking.fit(settings(weights_from="val"), samples.split("train"), samples.split("val"), 0)
    state = fitted.save(tmp_path)
    (tmp_path / "right/weights.safetensors").write_bytes(b"garbage")
    with pytest.raises(InputError, match=r"right: no whole member: weights.safetensors: no arrays"):
        Stacking.load(tmp_path, state)


def test_embeddings_with_fewer_columns_are_refused(samples):
    fitted = Stacking.fit(settings(weights_from="val"), samples.split("train"), samples.split("val"), 0)
    with pytest.raises(InputError, match="wants embeddings of 10 columns or more, these have 9"):
        fitted.p_generated(np.zeros((8, 9), np.float32))
