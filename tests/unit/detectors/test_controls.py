"""Controls on data with and without a leak, and what stands in their scores files."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from sklearn.metrics import roc_auc_score

from aigid.core import manifest, scores, traits
from aigid.core.errors import InputError
from aigid.detectors import controls
from aigid.detectors.controls import ControlSettings
from aigid.detectors.samples import LabeledEmbeddings
from aigid.evaluation.comparison import CONTROLS
from stages import controls as stage
from tests.helpers.embeddings import write_embeddings

SETTINGS = ControlSettings(backbone="tiny_clip", dataset="demo", c=0.1)


def described(num: int = 900, leak: bool = False) -> pd.DataFrame:
    """A manifest with traits, three quarters in training; with a leak, most fakes are PNG."""
    rng, k = np.random.default_rng(0), np.arange(num)
    table = pd.DataFrame({"path": [f"{i:04}" for i in k], "label": k % 2, "sha256": [f"{i:064x}" for i in k]})
    table["generator"], table["split"] = np.where(k % 2, "gan", "real"), np.where(k % 4, "train", "test")
    table["split"] = table["split"].mask(rng.random(num) < 0.3, "train").mask(rng.random(num) < 0.4, "test")
    table[[*traits.CONTAINER]] = 1.0
    table[[*traits.COLUMNS]] = "no"
    told = (k % 2 == 1) & leak
    table["format"] = np.where(told ^ (rng.random(num) < 0.2), "PNG", "JPEG")
    table[[*traits.SHALLOW]] = rng.random((num, len(traits.SHALLOW)))
    return table


class Embedded:
    """Embeddings that tell the classes apart at once."""

    def split(self, name: str) -> LabeledEmbeddings:
        rng, y = np.random.default_rng(len(name)), np.arange(600) % 2
        return LabeledEmbeddings(rng.normal(y[:, None], 0.5, (600, 8)).astype(np.float32), y)


def auroc(rows: pd.DataFrame) -> float:
    test = rows[rows["split"] == "test"]
    return roc_auc_score(test["label"], test["score"])


@pytest.mark.parametrize(("leak", "low", "high"), [(False, 0.35, 0.6), (True, 0.7, 1)])
def test_the_container_control_finds_a_leak_and_nothing_else(leak: bool, low: float, high: float) -> None:
    table = described(leak=leak)
    scorer = controls.probe_on_properties(table[table["split"] == "train"], traits.CONTAINER)
    assert low <= auroc(controls.score_frame(table, scorer)) <= high


def test_a_trait_that_training_never_saw_is_no_error_and_an_unknown_image_has_no_score() -> None:
    table = described()
    table.loc[table["split"] == "test", "software"] = "new"
    first = int(np.flatnonzero(table["split"] == "test")[0])
    table.loc[first, "mean red"] = np.nan
    known = controls.probe_on_properties(table[table["split"] == "train"], traits.CONTAINER)
    assert len(controls.score_frame(table, known)) == (table["split"] == "test").sum()
    shallow = controls.score_frame(
        table, controls.probe_on_properties(table[table["split"] == "train"], traits.SHALLOW)
    )
    assert table["path"][first] not in set(shallow["path"])
    assert list(shallow) == ["path", "label", "generator", "split", "view", "score"]
    with pytest.raises(InputError, match="need both"):
        controls.probe_on_properties(table[table["label"] == 0], traits.CONTAINER)


def test_shuffled_labels_undo_embeddings_that_tell_all() -> None:
    embedded = Embedded()
    train, test = embedded.split("train"), embedded.split("test")
    shuffled = [
        roc_auc_score(test.y, controls.label_shuffled(SETTINGS, embedded, seed).p_generated(test.x))
        for seed in range(10)
    ]
    honest = controls._probe(SETTINGS, train, 0)
    assert roc_auc_score(test.y, honest.p_generated(test.x)) > 0.95
    assert min(shuffled) < 0.5 < max(shuffled)


def test_noise_is_chance_until_an_image_stands_in_two_splits() -> None:
    table = described(2000)
    assert 0.4 <= auroc(controls.score_frame(table, controls.noise_embeddings(SETTINGS, table, 0))) <= 0.6
    copied = table.assign(sha256=[f"{k // 8 * 2 + k % 2:064x}" for k in range(2000)])
    assert auroc(controls.score_frame(copied, controls.noise_embeddings(SETTINGS, copied, 0))) > 0.65
    again = controls.score_frame(table, controls.noise_embeddings(SETTINGS, table, 0))
    pd.testing.assert_frame_equal(again, controls.score_frame(table, controls.noise_embeddings(SETTINGS, table, 0)))


def run_stage(folder: Path, **settings: float) -> dict[str, dict[str, object]]:
    """The versions beside the scores of each control, of a run of the stage."""
    table, num = described(60), 60
    manifest.write(table[["path", "label", "generator", "split", "sha256"]], "demo.csv")
    Path("traits").mkdir(exist_ok=True)
    table[["path", *traits.CONTAINER, *traits.SHALLOW]].to_csv("traits/demo.csv", index=False)
    x = np.random.default_rng(0).normal(size=(num, 4)).astype(np.float32)
    write_embeddings("demo.h5", {"clean": x}, table["sha256"], ["ok"] * num, {"fingerprint": ["b"]})
    document = {"controls": SETTINGS.model_dump() | settings, "datasets": ["demo"], "seed": 0}
    Path("params.yaml").write_text(yaml.safe_dump(document))
    command = ["--manifests", ".", "--embeddings", ".", "--traits", "traits", "--out", str(folder)]
    done = CliRunner().invoke(stage.main, command)
    assert done.exit_code == 0, done.output
    return {name: scores.read_versions(folder / f"{name}/demo.csv") for name in CONTROLS}


def test_beside_their_scores_stands_what_gave_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, same, other = run_stage(Path("a")), run_stage(Path("b")), run_stage(Path("c"), c=1.0)
    assert first == same
    for name in CONTROLS:
        assert re.fullmatch(rf"{name}@[0-9a-f]{{16}}", first[name]["model"])
        assert first[name]["model"] != other[name]["model"]
        assert set(first[name]["views"]) == {"clean"}
        assert re.fullmatch("[0-9a-f]{64}", first[name]["code"]["sources_sha256"])
