"""Light things stay light: who may import what, seen from a fresh interpreter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "open_clip", "transformers", "torchvision", "diffusers", "spandrel")


def modules_after(code: str, *arguments: str, cwd: Path = ROOT) -> tuple[set[str], subprocess.CompletedProcess]:
    """The modules that an interpreter has loaded after running ``code``, whatever way it ends."""
    watch = f"import atexit, sys; atexit.register(lambda: print('MODULES', *sys.modules))\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", watch, *arguments],
        cwd=cwd, capture_output=True, text=True, check=False,
        env={"AIGID_CACHE": os.environ["AIGID_CACHE"], "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    line = next(line for line in done.stdout.splitlines()[::-1] if line.startswith("MODULES"))
    return set(line.split()[1:]), done


@pytest.fixture(scope="module")
def onnx_bundle(tmp_path_factory):
    """A folder with a probe on an encoder in ONNX, which is named by its address."""
    from tests.helpers.onnx_models import export_clip, random_clip  # torch
    from tests.helpers.probe_bundle import fit_probe

    folder = tmp_path_factory.mktemp("onnx")
    path = export_clip(random_clip(), folder / "clip.onnx")
    record = {"size": {"height": 32, "width": 32}, "resample": 3, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(record))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIGID_CACHE", str(folder / "cache"))
        scores = fit_probe(folder, f"onnx:{path}")
    return folder, scores


def run_module(name: str, *arguments: str, cwd: Path = ROOT) -> tuple[set[str], subprocess.CompletedProcess]:
    return modules_after(f"import runpy; runpy.run_module({name!r}, run_name='__main__')", *arguments, cwd=cwd)


def test_import_aigid_is_light():
    loaded, _ = modules_after("import aigid")
    assert not loaded & {*HEAVY, "numpy", "pandas", "sklearn"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["index", "--help"],
        ["extract", "--help"],
        ["cache", "verify", "--help"],
        ["evaluate", "--help"],
        ["align", "--help"],
    ],
)
def test_help_is_light(arguments):
    loaded, done = modules_after("from aigid.cli.main import main; main()", *arguments)
    assert done.returncode == 0
    assert not loaded & {*HEAVY, "numpy", "pandas", "sklearn"}


@pytest.mark.parametrize(
    "stage", ["audit", "index", "train", "score", "evaluate", "report", "describe", "controls", "cross"]
)
def test_stages_without_images_need_no_torch(stage):
    loaded, done = modules_after(f"import stages.{stage}")
    assert done.returncode == 0
    assert not loaded & set(HEAVY)
    assert "matplotlib" not in loaded or stage == "report"


@pytest.mark.parametrize(
    ("stage", "key", "value", "arguments"),
    [
        ("demo", "demo.demo.seed", "x", ["--dataset", "demo", "--images", "i", "--out", "m.csv"]),
        ("extract", "backbones.efficientnet_lite0.dtype", "int8",
         ["--backbone", "efficientnet_lite0", "--dataset", "demo", "--manifest", "m.csv", "--out", "e.h5"]),
        ("train", "probe.c", -1.0, ["--detector", "probe", "--manifest", "m.csv", "--input", "e.h5",
          "--out", "p"]),
        ("align", "aligned.max_images", 0,
         ["--domain", "vae", "--dataset", "demo", "--manifest", "m.csv", "--out", "a"]),
        ("train_sef", "sef.expert.contrastive_batch_size", 3, ["--pairs", "a", "--out", "e", "--history", "l"]),
        ("train_sef", "sef.expert.lora.rank", 0, ["--pairs", "a", "--out", "e", "--history", "l"]),
        ("train_featdistill", "featdistill.data.policy", "nonesuch",
         ["--expert", "lite0_1", "--dataset", "demo", "--manifest", "m.csv", "--out", "e", "--log", "l.csv"]),
        ("train", "sef.fusion.views", 3, ["--detector", "sef", "--dataset", "demo", "--manifest", "m.csv",
          "--input", "e.h5", "--component", "experts=e", "--out", "m"]),
    ],
)  # fmt: skip
def test_a_bad_parameter_answers_before_torch(stage, key, value, arguments, tmp_path):
    sections = yaml.safe_load((ROOT / "params.yaml").read_text())
    section = sections
    *path, last = key.split(".")
    for name in path:
        section = section[name]
    section[last] = value
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(sections))
    loaded, done = run_module(f"stages.{stage}", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert key in done.stderr
    assert repr(value) in done.stderr
    assert done.stderr.count("\n") == 1
    assert not loaded & set(HEAVY)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize(
    ("domain", "message"), [("van", "unknown domain 'van'; known: gan, vae"), ("vae", "no.csv: no such file")]
)
def test_a_wrong_alignment_answers_before_torch(domain, message, tmp_path):
    call = ["align", "no.csv", "--root", ".", "--domain", domain, "--out", "out"]
    loaded, done = modules_after("from aigid.cli.main import main; main()", *call, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert not loaded & set(HEAVY)


def test_only_alignment_loads_diffusers_and_spandrel():
    loaded, done = modules_after("import stages.demo, stages.extract, aigid.features.extract, aigid.data.demo")
    assert done.returncode == 0
    assert not loaded & {"diffusers", "spandrel"}


def test_a_verdict_on_an_encoder_in_onnx_needs_no_torch(onnx_bundle):
    folder, scores = onnx_bundle
    name = scores.index[0]
    call = ["predict", str(folder / "images" / name), "--model", str(folder / "bundle"), "--json"]
    loaded, done = modules_after("from aigid.cli.main import main; main()", *call)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["score"] == pytest.approx(scores[name], abs=1e-6)
    assert "onnxruntime" in loaded
    assert not loaded & {*HEAVY, "timm", "huggingface_hub", "ray", "matplotlib"}
