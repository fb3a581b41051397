"""Light things stay light: who may import what, seen from a fresh interpreter."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from aigid.core.errors import DISTRIBUTIONS, missing_package

ROOT = Path(__file__).resolve().parents[2]
NAMES = {package: module for module, package in DISTRIBUTIONS.items()}
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
LEFT_OUT = [  # modules that a light installation has not
    NAMES.get(package, package.replace("-", "_"))
    for requirement in EXTRAS["train"] + EXTRAS["parquet"]
    if (package := re.match(r"[\w.-]+", requirement)[0]) != "aigid"
]
LIGHT = f"import sys; sys.modules.update(dict.fromkeys({LEFT_OUT}))\nfrom aigid.cli.main import main; main()"
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


@pytest.mark.parametrize("options", [[], ["--stable"]])
def test_a_verdict_needs_none_of_the_packages_of_training(onnx_bundle, options):
    folder, scores = onnx_bundle
    name = scores.index[0]
    call = ["predict", str(folder / "images" / name), "--model", str(folder / "bundle"), "--json", *options]
    loaded, done = modules_after(LIGHT, *call)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["score"] == pytest.approx(scores[name], abs=1e-6)
    assert "onnxruntime" in loaded


def test_a_verdict_imports_none_of_them_where_they_are_installed(onnx_bundle):
    folder, scores = onnx_bundle
    call = ["predict", str(folder / "images" / scores.index[0]), "--model", str(folder / "bundle")]
    loaded, done = modules_after("from aigid.cli.main import main; main()", *call)
    assert done.returncode == 0, done.stderr
    assert not loaded & {*LEFT_OUT, "ray"} - {"pyarrow"}  # which pandas imports, if it is there


def test_the_light_installation_indexes_audits_degrades_and_evaluates(onnx_bundle, tmp_path):
    folder, scores = onnx_bundle
    rows = [
        f"{name},{number % 2},{'ab'[number % 2]},test,clean,{scores[name]}" for number, name in enumerate(scores.index)
    ]
    (tmp_path / "scores.csv").write_text("\n".join(["path,label,generator,split,view,score", *rows]))
    for name in ("0_real", "1_fake"):
        (tmp_path / "images/train" / name).mkdir(parents=True)
        (tmp_path / "images/train" / name / "a.png").write_bytes((folder / "images" / scores.index[0]).read_bytes())
    calls = [
        ["evaluate", "scores.csv"],
        ["index", "images", "--layout", "realfake", "--out", "m.csv"],
        ["audit", "m.csv", "--root", "images"],
        ["degrade", "m.csv", "--root", "images", "--view", "blur1", "--out", "blurred"],
        ["cache", "verify"],
    ]
    for call in calls:
        done = modules_after(LIGHT, *call, cwd=tmp_path)[1]
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("call", "package", "extra"),
    [
        (["extract", "m.csv", "--root", ".", "--backbone", "tiny_clip", "--out", "e.h5"], "torch", "train"),
        (["evaluate", "m.parquet"], "pyarrow", "parquet"),
        (["preset", "demo"], "ruamel.yaml", "train"),
        (["import", "univfd", "--weights", "m.csv"], "torch", "train"),
    ],
)
def test_a_missing_package_is_one_line_that_names_its_extra(call, package, extra, tmp_path):
    (tmp_path / "m.csv").write_text("path,label,generator,split\na.png,0,real,train\n")
    (tmp_path / "m.parquet").write_bytes(b"PAR1")
    done = modules_after(LIGHT, *call, cwd=tmp_path)[1]
    assert done.returncode == 2, done.stderr
    assert done.stderr.endswith(f"{call[0]}: needs {package}, of the extra {extra}: pip install 'aigid[{extra}]'\n")
    assert "Traceback" not in done.stderr


def test_every_extra_has_packages_that_a_line_can_name():
    for extra, requirements in EXTRAS.items():
        for requirement in requirements if extra not in ("dev", "docs") else ():
            package = re.match(r"[\w.-]+", requirement)[0]
            if package not in ("aigid", "dvc-s3"):  # which paths.py names by the address
                module = NAMES.get(package, package.replace("-", "_"))
                assert f"aigid[{extra}]" in missing_package(module, "x"), requirement
