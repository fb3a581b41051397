"""`dvc plots show` draws one line a detector from one file, and what differs by machine stays out of Git."""

import json
import re
import subprocess

import pytest
import yaml

from aigid.detectors import names
from tests.helpers.workspace import ROOT, copy, run

CACHED = (
    "results/curves",
    "results/gendet",
    "results/perturbation/curves.png",
    "results/plots/${key}",
    "results/report/figures",
    "results/report/index.html",
    "results/sef/gate.png",
    "results/sef/maps.png",
)
TRACKED = (
    "results/details/${key}",
    "results/calibration/${key}",
    "results/audit/${item.dataset}.json",
    "results/report/cards",
    "results/report/table.md",
    "results/report/table.tex",
)


def outs():
    """Each output below results/ with whether DVC caches it."""
    for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values():
        body = stage.get("do", stage)
        for out in [*body.get("outs", ()), *body.get("metrics", ())]:
            path, options = next(iter(out.items())) if isinstance(out, dict) else (out, {})
            if path.startswith("results/"):
                yield path, options.get("cache", True)


def test_pictures_pages_and_curves_are_cached_and_tables_are_tracked():
    found = dict(outs())
    assert not any(found[path] for path in TRACKED)
    assert {path for path, cached in found.items() if cached} == set(CACHED)


@pytest.mark.parametrize("path", CACHED)
def test_git_ignores_what_dvc_caches(path):
    """DVC refuses an output that Git tracks, and would else write a .gitignore into each folder."""
    path = path.replace("${key}", "probe")
    assert subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode == 0
    assert not subprocess.run(["git", "ls-files", path], cwd=ROOT, capture_output=True, check=True).stdout


def test_curves_of_detectors_are_plotted_without_their_names():
    """A new detector needs no entry; the other entries are logs of one method's training."""
    entries = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    plots = {name: value for entry in entries for name, value in entry.items()}
    assert len(plots) <= 10
    curves = {name for name in plots if not {*re.findall(r"results/training/\w+", f"{name} {plots[name]['y']}")}}
    assert curves == {"ROC", "precision-recall", "AUROC per generator", "confusion of generators"}
    for name in curves:
        assert plots[name]["template"].endswith("by_detector")
        assert not set(re.findall(r"\w+", str(plots[name]))) & set(names())


def test_dvc_draws_a_line_for_each_detector(tmp_path):
    folder = copy(tmp_path)
    (folder / "results/curves").mkdir(parents=True)
    for name, columns in {"roc": "fpr,tpr", "pr": "recall,precision"}.items():
        rows = "".join(f"{detector},0,0\n{detector},1,1\n" for detector in ("knn", "probe"))
        (folder / f"results/curves/demo.{name}.csv").write_text(f"detector,{columns}\n{rows}")
    (folder / "results/curves/demo.generators.csv").write_text(
        "detector,generator,auroc,low,high\nknn,gan,0.8,0.7,0.9\nprobe,gan,0.9,0.8,1\n"
    )
    (folder / "results/curves/demo.confusion.csv").write_text(
        "detector,generator,predicted,images\nknn,gan,real,3\nprobe,gan,gan,4\n"
    )
    shown = json.loads(run("dvc", "plots", "show", "--json", "--split", cwd=folder))
    for plot, axes in {"ROC": ("fpr", "tpr"), "precision-recall": ("recall", "precision")}.items():
        drawn = next(one for one in shown["data"][plot] if one["type"] == "vega")
        encoding = drawn["content"]["encoding"]
        assert encoding["color"]["field"] == "detector"
        assert (encoding["x"]["field"], encoding["y"]["field"]) == axes
        assert {row["detector"] for row in drawn["anchor_definitions"]["<DVC_METRIC_DATA>"]} == {"knn", "probe"}
    for plot, axes in {
        "AUROC per generator": ("auroc", "generator"),
        "confusion of generators": ("predicted", "generator"),
    }.items():
        spec = next(one for one in shown["data"][plot] if one["type"] == "vega")
        content = json.dumps(spec["content"])
        assert all(f'"field": "{axis}"' in content for axis in axes)
        assert {row["detector"] for row in spec["anchor_definitions"]["<DVC_METRIC_DATA>"]} == {"knn", "probe"}
