"""`aigid evaluate` as a stranger uses it: bad files are named with counts, odd ones read, options do as they say."""

import json
import sys
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from PIL import Image
from sklearn import metrics as sk

from aigid.core import folders
from tests.helpers.cli import aigid, refused


def evaluate(*arguments: str, cwd: Path) -> Result:
    return aigid("evaluate", *arguments, cwd=cwd)


def made(num: int = 240) -> pd.DataFrame:
    rng, k = np.random.default_rng(0), np.arange(num)
    table = pd.DataFrame({"path": [f"{n}.png" for n in k], "label": k % 2})
    table["generator"] = np.where(k % 2, np.where(k % 3, "gan", "sd14"), "real")
    table["split"], table["view"] = np.where(k < num // 4, "val", "test"), "clean"
    return table.assign(score=np.clip(rng.normal(0.4 + 0.2 * (k % 2), 0.2), 0, 1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made().to_csv(tmp_path / "s.csv", index=False)
    return tmp_path


def test_stdout_is_one_flat_document_and_nothing_else(folder: Path) -> None:
    done = evaluate("s.csv", "--json", cwd=folder)
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert done.stdout == json.dumps(found) + "\n"
    assert all(type(value) in (int, float) and np.isfinite(value) for value in found.values())
    omitted = [line.split(": ")[1] for line in done.stderr.splitlines() if ": no " in line]
    assert "no auroc_robust" in omitted
    assert not {name.removeprefix("no ") for name in omitted} & set(found)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_leaves_out_what_needs_the_other(folder: Path, label: int) -> None:
    table = made()
    table[(table["split"] == "val") | (table["label"] == label)].to_csv(folder / "one.csv", index=False)
    done = evaluate("one.csv", "--json", cwd=folder)
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert "auroc" not in found
    assert f"one: no auroc: no readable test {'fakes' if label == 0 else 'reals'}" in done.stderr
    assert found["num_real" if label == 0 else "num_fake"] == 90
    assert found["num_fake" if label == 0 else "num_real"] == 0
    assert "acc_05" in found


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("score", {70: 1.2, 80: -1}, ("row 71 (line 72)", "'1.2'", "probability in [0, 1]", "2 such rows")),
        ("score", {70: np.nan, 71: np.nan, 72: np.nan}, ("row 71", "want a number", "3 such rows")),
        ("score", {70: np.inf}, ("row 71", "'inf'", "probability")),
        ("path", {71: "70.png", 73: "72.png"}, ("row 72", "'70.png'", "scored twice in one view", "2 such rows")),
        ("label", {70: 2}, ("row 71", "'2'", "want 0 (real) or 1 (generated)")),
        ("view", {70: ""}, ("row 71", "column view", "want a name")),
    ],
)
def test_a_bad_row_is_named_with_its_like(folder: Path, column: str, values: dict, said: tuple[str, ...]) -> None:
    table = made().astype({column: object})
    for row, value in values.items():
        table.loc[row, column] = value
    table.to_csv(folder / "bad.csv", index=False)
    refused(evaluate("bad.csv", "--out", "out", cwd=folder), "bad.csv", f"column {column}", *said)
    assert not (folder / "out").exists()


def test_validation_that_overlaps_test_is_refused_by_path_and_by_group(folder: Path) -> None:
    again = made().query("split == 'val'").assign(split="test", view="jpeg65")
    pd.concat([made(), again]).to_csv(folder / "path.csv", index=False)
    refused(evaluate("path.csv", cwd=folder), "column path", "more than one split", "60 such rows")
    made().assign(group=lambda table: table["path"].str[-5]).to_csv(folder / "group.csv", index=False)
    refused(evaluate("group.csv", cwd=folder), "column group", "more than one split")


def test_other_images_are_not_compared_and_said_to_be_others(folder: Path) -> None:
    made().iloc[:-7].to_csv(folder / "t.csv", index=False)
    done = evaluate("s.csv", "t.csv", "--json", cwd=folder)
    assert done.exit_code == 0
    assert "not compared: s and t: scored on different images: 7 only by the first, 0 only by the second" in done.stderr
    assert set(json.loads(done.stdout)) == {"s", "t"}


@pytest.mark.parametrize("labels", [("0.0", "1.0"), ("false", "true"), ("False", "TRUE"), ("0", "1"), ("0e0", "1e0")])
def test_labels_come_in_any_spelling(folder: Path, labels: tuple[str, str]) -> None:
    table = made().assign(note="x,y", label=lambda table: np.array(labels)[table["label"]])
    table.sample(frac=1, random_state=0).to_csv(folder / "t.csv", index=False)
    assert evaluate("t.csv", "--json", cwd=folder).stdout == evaluate("s.csv", "--json", cwd=folder).stdout


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, np.float32, "category"])
def test_parquet_of_any_type_changes_no_digit(folder: Path, dtype: object) -> None:
    made().astype({"label": dtype}).to_parquet(folder / "t.parquet")
    assert evaluate("t.parquet", "--json", cwd=folder).stdout == evaluate("s.csv", "--json", cwd=folder).stdout


def test_no_validation_rows(folder: Path) -> None:
    made().query("split == 'test'").to_csv(folder / "t.csv", index=False)
    done = evaluate("t.csv", "--json", "--out", "out", cwd=folder)
    assert done.exit_code == 0
    assert "t: no acc_val: no readable validation rows" in done.stderr
    assert "t: no ece_calibrated: no readable validation rows" in done.stderr
    assert not (folder / "out/calibration").exists()


def test_a_calibrator_is_saved_and_serves_another_file(folder: Path) -> None:
    done = evaluate("s.csv", "--json", "--out", "out", "--calibrate", "isotonic", "--fpr", "0.1", cwd=folder)
    first = json.loads(done.stdout)
    saved = json.loads((folder / "out/calibration/s/scores.json").read_text())
    assert saved["calibrator"]["kind"] == "isotonic"
    assert saved["calibrator"]["population"]["num_real"] == 30
    assert saved["operating_point"]["fpr"] <= 0.1
    made().query("split == 'test'").to_csv(folder / "t.csv", index=False)
    done = evaluate("t.csv", "--json", "--calibrator", "out/calibration/s/scores.json", cwd=folder)
    second = json.loads(done.stdout)
    for name in ("ece", "brier", "nll"):
        assert second[name] == pytest.approx(first[f"{name}_calibrated"], abs=1e-12)
    refused(evaluate("s.csv", "--calibrate", "plat", cwd=folder), "'--calibrate'", "'plat'", "'temperature', 'platt'")
    refused(evaluate("s.csv", "--fpr", "1.5", cwd=folder), "'--fpr'", "1.5")
    refused(evaluate("s.csv", "--calibrator", "s.csv", cwd=folder), "s.csv", "not a calibrator")


def test_size_and_compression_come_from_the_images(folder: Path) -> None:
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for number, path in enumerate(made()["path"]):
        side = 40 if number % 3 else 200
        Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(folder / "images" / path)
    done = evaluate("s.csv", "--root", "images", "--by", "size", "--by", "compression", "--out", "out", cwd=folder)
    assert done.exit_code == 0, done.stderr
    details = pd.read_csv(folder / "out/details/s/scores.csv").query("kind == 'size'").set_index("name")
    test = made().query("split == 'test'")
    large = test[test.index % 3 == 0]
    assert details.loc["129 to 256 px", "auroc"] == pytest.approx(sk.roc_auc_score(large["label"], large["score"]))
    page = (folder / "out/report/index.html").read_text()
    assert "AUROC by compression" in page
    assert "data:image/jpeg;base64," in page
    refused(evaluate("s.csv", "--by", "size", cwd=folder), "no column 'size'")


def test_a_protocol_is_told_in_the_report_and_writes_its_answers(folder: Path) -> None:
    names = ("real", "sd21", "sdxl", "sd3", "dalle3", "midjourney")
    rng, table = np.random.default_rng(1), made()
    table["generator"] = np.where(table["label"] == 0, "real", np.array(names[1:])[table.index % 5])
    table[[f"class_{name}" for name in names]] = rng.dirichlet(np.ones(6), len(table))
    table.to_csv(folder / "d.csv", index=False)
    done = evaluate("d.csv", "--protocol", "defactify", "--json", "--out", "out", cwd=folder)
    assert done.exit_code == 0, done.stderr
    answers = json.loads((folder / "out/answers/d.json").read_text())
    test = table[table["split"] == "test"]
    assert [row["index"] for row in answers] == test.index.tolist()
    assert [row["Label_A"] for row in answers] == [int(row["Label_B"] > 0) for row in answers]
    with zipfile.ZipFile(folder / "out/answers/d.zip") as archive:
        assert json.loads(archive.read("answer.json")) == answers
    guess = np.array(names)[[row["Label_B"] for row in answers]]
    expected = sk.f1_score(test["generator"], guess, average="macro")
    assert json.loads(done.stdout)["defactify_f1_macro_b"] == pytest.approx(expected, abs=1e-12)
    assert "task A follows from it" in (folder / "out/report/table.md").read_text()
    for name in ("ufd", "genimage", "ntire", "dda"):
        done = evaluate("s.csv", "--protocol", name, "--json", cwd=folder)
        assert (done.exit_code, name) == (0 if name == "ufd" else 2, name)


def test_a_manifest_of_other_images_is_refused_by_name(folder: Path) -> None:
    """It would tell nothing apart, and the report would say that there is nothing to tell apart."""
    table = made().drop(columns=["view", "score"])
    new = (table["split"] == "test") & (table["generator"] == "sd14")
    table.assign(generator=table["generator"].mask(new, "flux")).to_csv(folder / "m.csv", index=False)
    done = evaluate("s.csv", "--manifest", "m.csv", "--json", cwd=folder)
    assert json.loads(done.stdout)["num_fake_unseen"] == new.sum()
    lacks, fake = table["path"].isin(["60.png", "61.png"]), table["path"] == "63.png"
    table[~lacks].to_csv(folder / "m.csv", index=False)
    refused(evaluate("s.csv", "--manifest", "m.csv", cwd=folder), "s.csv: m.csv has no '60.png' (2 such images)")
    table.assign(split=table["split"].mask(fake, "train")).to_csv(folder / "m.csv", index=False)
    refused(evaluate("s.csv", "--manifest", "m.csv", cwd=folder), "m.csv, '63.png': its split is train, here test")
    table.assign(label=table["label"].mask(fake, 0), generator=table["generator"].mask(fake, "real")).to_csv(
        folder / "m.csv", index=False
    )
    refused(evaluate("s.csv", "--manifest", "m.csv", cwd=folder), "m.csv, '63.png': its label is 0, here 1")


def test_other_scales_are_named_and_mapped_only_when_said(folder: Path) -> None:
    p = made()["score"].clip(0.001, 0.999)
    logits = np.log(p / (1 - p))
    made().assign(score=p).to_csv(folder / "p.csv", index=False)
    made().assign(score=100 * p).to_csv(folder / "percent.csv", index=False)
    made().assign(score=logits).to_csv(folder / "logit.csv", index=False)
    expected = json.loads(evaluate("p.csv", "--threshold", "0.65", "--json", cwd=folder).stdout)
    for scale, cut in (("percent", "65"), ("logit", str(np.log(0.65 / 0.35)))):
        refused(evaluate(f"{scale}.csv", cwd=folder), "want a probability in [0, 1]", f"--scale {scale}")
        done = evaluate(f"{scale}.csv", "--scale", scale, "--threshold", cut, "--json", cwd=folder)
        assert json.loads(done.stdout) == pytest.approx(expected, abs=1e-9)
    refused(evaluate("s.csv", "--scale", "odds", cwd=folder), "--scale 'odds': want probability, logit, percent")
    refused(evaluate("s.csv", "--threshold", "65", cwd=folder), "--threshold 65: want a probability")
    refused(evaluate("logit.csv", "--scale", "percent", cwd=folder), "want a percent, 0 to 100")


def test_a_given_threshold_is_judged_by_counting(folder: Path) -> None:
    test = made().query("split == 'test'")
    above, fake = test["score"] > 0.65, test["label"] == 1
    values = json.loads(evaluate("s.csv", "--threshold", "0.65", "--json", cwd=folder).stdout)
    assert values["threshold_given"] == 0.65
    assert values["acc_given"] == pytest.approx((above == fake).mean())
    assert values["tpr_given"] == pytest.approx(above[fake].mean())
    assert values["fpr_given"] == pytest.approx(above[~fake].mean())
    assert values["fpr_given_low"] < values["fpr_given"] < values["fpr_given_high"]


def test_reversed_scores_get_a_hint(folder: Path) -> None:
    made().assign(score=1 - made()["score"]).to_csv(folder / "t.csv", index=False)
    hint = "does a high score mean real?"
    assert hint in evaluate("t.csv", "--json", cwd=folder).stderr
    assert hint not in evaluate("s.csv", "--json", cwd=folder).stderr


def test_a_folder_of_results_is_written_by_one_call_at_a_time(folder: Path) -> None:
    (folder / "out").mkdir()
    with folders.lock(folder / "out/.lock", folder / "out"):
        refused(evaluate("s.csv", "--out", "out", cwd=folder), "out: another `aigid` writes to it")
        assert [path.name for path in (folder / "out").iterdir()] == [".lock"]
    assert evaluate("s.csv", "--out", "out", cwd=folder).exit_code == 0
    assert not (folder / "out/.lock").exists()


def test_no_output_holds_the_credentials_of_the_command_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a folder at an address, whose name the report quotes."""
    for number in range(3):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(folder / f"{number}.png")
    memory = fsspec.filesystem("memory")
    for path in folder.glob("*.png"):
        memory.pipe_file(f"/user:hunter2@host/{path.name}", path.read_bytes())
    address = "memory://user:hunter2@host/?sig=s3cret"
    arguments = ["evaluate", "s.csv", "--root", address, "--by", "size", "--out", "out"]
    monkeypatch.setattr(sys, "argv", ["aigid", *arguments])
    done = aigid(*arguments, cwd=folder)
    written = {path: path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()}
    assert b"memory://...@host" in written[folder / "out/report/index.html"]
    lost = aigid("index", "memory://user:hunter2@gone/?sig=s3cret", "--layout", "csv", "--out", "m.csv", cwd=folder)
    assert "memory://...@gone" in lost.stderr
    for content in (*written.values(), done.output.encode(), lost.output.encode()):
        assert b"hunter2" not in content
        assert b"s3cret" not in content
