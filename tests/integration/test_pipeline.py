"""The pipeline file is honest: its deps are what its stages import, its parameters are read strictly."""

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from networkx import DiGraph, ancestors, descendants

from aigid.aligned.generator import AlignedSettings, VaeSettings
from aigid.cli import preset
from aigid.core import params
from aigid.data.audit.audit import AuditSettings, PropertySettings
from aigid.data.demo import DemoSettings
from aigid.data.index import IndexSettings
from aigid.detectors import locate, names, settings_of
from aigid.detectors.controls import ControlSettings
from aigid.evaluation.comparison import CONTROLS
from aigid.experiments.attack import AttackSettings
from aigid.experiments.cross_generator import CrossingSettings
from aigid.features.backbones import BackboneSettings, backbone_settings
from aigid.metrics.decisions import EvaluationSettings
from aigid.report import ledger
from aigid.report.studies import PerturbationSettings
from tests.helpers.workspace import BIN, copy

ROOT = Path(__file__).resolve().parents[2]
DATASETS = ("demo", "demo6")
JUDGED = tuple(names())
EXPERTS = ("lite0_1", "lite0_2")
BACKBONES = ("clip_vit_b16_int8", "efficientnet_lite0", "clip_lite0")
PRESETS = preset.preset_names()
SECTIONS = {  # of params.yaml, but those of datasets and backbones
    "seed": int,
    "datasets": list[str],
    "views": list[str],
    "thumbnails": list[str],
    "aligned": AlignedSettings,
    "audit": AuditSettings,
    "controls": ControlSettings,
    "crossing": CrossingSettings,
    "describe": PropertySettings,
    "evaluation": EvaluationSettings,
    "perturbation": PerturbationSettings,
    "vae": VaeSettings,
    **{name: settings_of(name) for name in JUDGED},
}


@pytest.fixture
def path(request, tmp_path) -> Path:
    """The params.yaml of a preset."""
    file = tmp_path / "params.yaml"
    file.write_text(preset.text(request.param))
    return file


@cache
def graph() -> DiGraph:
    """The expanded stages as DVC sees them, each pointing to those that it needs."""
    with Repo(ROOT) as repo:
        return repo.index.graph


def stages() -> dict[str, object]:
    """The expanded stages by name."""
    return {stage.addressing: stage for stage in graph()}


def module_file(name: str) -> Path | None:
    base = ROOT.joinpath(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.exists()), None)


@cache
def imports(path: Path) -> frozenset[Path]:
    """The project's own files that a file names in an import, anywhere in it, or loads by a dotted string."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        found |= {file for name in names if name.split(".")[0] in {"aigid", "stages"} and (file := module_file(name))}
    return frozenset(found)


def imported_files(path: Path) -> set[Path]:
    seen, todo = set(), [path]
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo += imports(file)
    return seen


def has_code(package: Path) -> bool:
    """Whether the file of a package holds more than its docstring; that of aigid itself is the library's door."""
    return package.parent != ROOT / "aigid" and len(ast.parse(package.read_text()).body) > 1


def code_of(detector: str) -> set[Path]:
    """What a detector comes to import."""
    return imported_files(module_file(locate(detector).split(":")[0]))


@cache
def needed_files(name: str) -> frozenset[Path]:
    """The project's own files that a stage comes to import."""
    needed = imported_files(module_file(re.search(r"python -m (\S+)", stages()[name].cmd).group(1)))
    if name == "perturb":
        needed |= code_of("svm") | code_of("cnn")
    detector = re.search(r"^(?:train@|score@|draw_|compare_)(\w+)", name)
    if detector or (detector := re.search(r"stages\.(?:cross|train) --detector (\w+)", stages()[name].cmd)):
        needed |= code_of(detector.group(1))
    return frozenset(file for file in needed if file.name != "__init__.py" or has_code(file))


def declared_files(name: str) -> set[Path]:
    """The files and folders of code among a stage's deps."""
    paths = [dep.fs_path for dep in stages()[name].deps]
    return {Path(path) for path in paths if path.startswith((f"{ROOT}/aigid", f"{ROOT}/stages"))}


def test_stages_have_the_expected_names():
    assert sorted(stages()) == sorted(
        [
            *(f"{verb}@{dataset}" for verb in ("demo", "audit", "describe") for dataset in DATASETS),
            *(f"extract@{backbone}-{dataset}" for backbone in BACKBONES for dataset in DATASETS),
            *("train_gendet_teacher", "draw_gendet", "vae", "perturb"),
            *(f"train_featdistill_stage{stage}@{expert}" for stage in (1, 2) for expert in EXPERTS),
            "compare_featdistill",
            *("align@vae", "align@gan", "train_sef", "embed_sef", "fuse_sef", "compare_sef"),
            *(f"train@{detector}" for detector in JUDGED if detector != "sef"),
            *(f"{verb}@{detector}" for verb in ("score", "evaluate") for detector in JUDGED),
            "controls",
            *(f"evaluate@{control}" for control in CONTROLS),
            *("check_names", "cross", "report"),
        ]
    )


@pytest.mark.parametrize("name", stages())
def test_deps_are_exactly_the_imports(name):
    """Each imported file is declared, each declared module is imported, each declared folder of code holds one.

    The detectors share one list: what any of them imports is declared for all.
    """
    needed, declared = needed_files(name), declared_files(name)
    siblings = [other for other in stages() if other.split("@")[0] == name.split("@")[0]]
    shared = set.intersection(*(declared_files(other) for other in siblings))
    used = frozenset.union(*(needed_files(other) for other in siblings))
    missing = {file for file in needed if not any(file == dep or dep in file.parents for dep in declared)}
    unused = {
        dep
        for dep in declared
        if not any(file == dep or dep in file.parents for file in (used if dep in shared else needed))
    }
    assert not missing, f"{name} imports files that it does not declare"
    assert not unused, f"{name} declares files that it does not import"


@pytest.mark.parametrize("name", ["attack", "index"])
def test_deps_of_a_stage_that_the_demo_has_none_of_are_exactly_its_imports(name):
    deps = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][name]["do"]["deps"]
    declared = {ROOT / dep for dep in deps if dep.startswith(("aigid/", "stages/"))}
    needed = {
        file for file in imported_files(ROOT / f"stages/{name}.py") if file.name != "__init__.py" or has_code(file)
    }
    assert needed == {file for file in needed if any(file == dep or dep in file.parents for dep in declared)}
    assert declared == {dep for dep in declared if any(file == dep or dep in file.parents for file in needed)}


def followers(section: str) -> set[str]:
    """The stages that a change of one section of params.yaml runs again."""
    owners = [
        stage
        for stage in graph()
        for dep in stage.deps
        if any(section == key or section.startswith(f"{key}.") for key in getattr(dep, "params", ()))
    ]
    assert owners, f"no stage reads {section}"
    return {stage.addressing for owner in owners for stage in (owner, *ancestors(graph(), owner))}


def judged(name: str) -> set[str]:
    return {f"score@{name}", f"evaluate@{name}", "report"}


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("probe.c", {"train@probe", "cross"} | judged("probe")),
        ("knn.k", {"train@knn"} | judged("knn")),
        ("gendet.margin", {"train@gendet", "draw_gendet"} | judged("gendet")),
        ("sef.fusion.learning_rate", {"fuse_sef", "compare_sef"} | judged("sef")),
        ("thumbnails", {"report"}),
        ("crossing.max_images", {"cross", "report"}),
        (
            "describe.max_images",
            {f"describe@{name}" for name in DATASETS}
            | {"controls", "report"}
            | {f"evaluate@{name}" for name in (*JUDGED, *CONTROLS)},
        ),
    ],
)
def test_a_changed_parameter_runs_exactly_what_follows_it(section, expected):
    assert followers(section) == expected


def test_the_branches_of_the_makefile_share_only_what_is_made_before():
    said = subprocess.run(["make", "-n", "-o", "env", "repro"], cwd=ROOT, check=True, capture_output=True, text=True)
    branches = re.findall(r"--single-item (.+)$", said.stdout, re.M)
    makefile = (ROOT / "Makefile").read_text()
    names = re.search(r"^BRANCHES := (.+)$", makefile, re.M)[1].split()
    after = {name: re.search(rf"^{name}: ((?:\w+ ?)+)$", makefile, re.M) for name in names}
    assert len(branches) == len(names) > 1
    before = {"check_names", "demo", "index", "describe"}
    made, finished = {name for name in stages() if name.split("@")[0] in before}, {}
    for name, branch in zip(names, branches, strict=True):
        done = made.union(*(finished[before] for before in (after[name][1].split() if after[name] else ())))
        for group in branch.split():
            members = {name for name in stages() if group in (name, name.split("@")[0])}
            assert members, group
            needed = {one.addressing for name in members for one in descendants(graph(), stages()[name])}
            assert needed - members <= done, group
            done |= members
        finished[name] = done


def test_a_ledger_command_trains_one_detector():
    """A number of one method must not start the training of the others, which may take weeks."""
    for method, detector, command in ledger.read(ROOT / "results/ledger")[["method", "detector", "command"]].to_numpy():
        for targets in re.findall(r"dvc (?:repro|exp run)\b([^&]*)", command):
            named = re.sub(r"-S \S+", "", targets).split()
            assert named, f"{method}: {command}: the whole pipeline"
            needed = {stages()[name] for name in named}
            needed = {stage.addressing for stage in needed.union(*(descendants(graph(), stage) for stage in needed))}
            trained = {name.partition("@")[2] for name in needed if name.startswith("train@")}
            assert len(trained) == 1, f"{method}: {command}: trains {trained}"
            assert detector in {"", *trained}


def test_each_bundle_is_an_artifact():
    """Of the pipeline's own, and the package's, by the detector's name."""
    text = (ROOT / "dvc.yaml").read_text()
    artifacts = {name: one["path"] for name, one in yaml.safe_load(text)["artifacts"].items()}
    made = {out.fs_path for stage in graph() for out in stage.outs}
    assert artifacts.pop("photos") == "aigid/prediction/bundles/photos"
    assert artifacts == {name: f"data/models/{name}" for name in JUDGED}
    assert {str(ROOT / path) for path in artifacts.values()} <= made
    assert text.startswith("# yaml-language-server: $schema=https://")


@pytest.mark.parametrize("file", sorted(ROOT.glob("stages/*.py")), ids=lambda file: file.name)
def test_a_stage_fits_on_a_screen(file):
    assert len(file.read_text().splitlines()) <= 60


@pytest.mark.parametrize("path", PRESETS, indirect=True)
def test_every_section_loads(path):
    sections = yaml.safe_load(path.read_text())
    assert set(sections) == {*SECTIONS, "demo", "index", "backbones", "attack"}
    loaded = {name: params.load_section(name, model, path) for name, model in SECTIONS.items()}
    datasets = {name: params.load_section(f"demo.{name}", DemoSettings, path) for name in sections["demo"]}
    datasets |= {name: params.load_section(f"index.{name}", IndexSettings, path) for name in sections["index"]}
    for name in sections["attack"]:
        assert name in JUDGED
        loaded[f"attack.{name}"] = params.load_section(f"attack.{name}", AttackSettings, path)
    assert loaded["seed"] >= 0
    assert sorted(loaded["datasets"]) == sorted(datasets)
    assert set(loaded["thumbnails"]) <= set(datasets)
    for name, changes in sections["backbones"].items():
        backbone_settings(name, changes)
    for settings in loaded.values():
        assert getattr(settings, "backbone", None) in {*sections["backbones"], None}
        assert getattr(settings, "dataset", None) in {*datasets, None}
    assert isinstance(backbone_settings(loaded["sef"].expert.backbone), BackboneSettings)


@pytest.mark.parametrize("path", PRESETS, indirect=True)
def test_weight_files_of_aligned_fakes_are_dependencies(path):
    """One that is replaced makes them anew."""
    aligned = yaml.safe_load(path.read_text())["aligned"]
    declared = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["align"]["do"]["deps"]
    for domain in ("vae", "gan"):
        if weights := (aligned.get(domain) or {}).get("weights"):
            assert any(Path(weights).is_relative_to(name) for name in declared), weights


def test_no_command_has_two_spaces_in_a_row():
    """dvc.lock folds long commands at a space and loses a second one: the stage would run again each time."""
    assert [name for name, stage in stages().items() if re.search(r"\s\s|^\s|\s$", stage.cmd)] == []


@pytest.mark.parametrize("path", PRESETS, indirect=True)
def test_params_are_plain_block_yaml(path):
    """`dvc exp run -S` rewrites flow maps, and YAML 1.1 and 1.2 disagree on `1e-3`."""
    for line in path.read_text().splitlines():
        value = re.sub(r"(^|\s)#.*", "", line)
        assert not re.search(r"[\[{](?!\}|\])", value), f"flow style: {line}"
        assert not re.search(r"(?<![\w.])\d+e[+-]?\d+", value), f"write 1.0e-3: {line}"


@pytest.mark.parametrize("path", PRESETS, indirect=True)
def test_names_can_be_stage_names(path):
    sections = yaml.safe_load(path.read_text())
    names = [*sections["datasets"], *sections["demo"], *sections["index"], *sections["backbones"]]
    assert all(re.fullmatch("[a-z0-9_]+", name) for name in names)


def test_each_stage_with_a_name_in_its_command_waits_for_the_check_of_names():
    """It, or what makes all manifests, which it needs; and a changed name runs the check again."""
    text = (ROOT / "dvc.yaml").read_text()
    definitions = yaml.safe_load(text)["stages"]
    named = {name for name, one in definitions.items() if "${" in str(one.get("do", one)["cmd"])} - {"evaluate"}
    for stage in graph():
        if stage.addressing.split("@")[0] in named:
            needed = {str(ROOT / "data/names.txt"), str(ROOT / "data/manifests")}
            assert needed & {dep.fs_path for dep in stage.deps}, stage.addressing
    used = {key.removesuffix("[0]") for key in re.findall(r"\$\{(?!item|key)(.+?)\}", text)}
    assert used == set(definitions["check_names"]["params"])


@pytest.mark.slow
def test_no_shell_reads_a_name_that_means_something_to_it(tmp_path):
    folder, name = copy(tmp_path / "copy"), "a';touch x;'$(touch x)"
    sections = yaml.safe_load(preset.text("tiny")) | {"index": {name: {}}}
    (folder / "params.yaml").write_text(yaml.safe_dump(sections))
    done = subprocess.run([BIN / "dvc", "repro"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"{params.NAME_RULE}; got {name!r}" in done.stderr
    assert not (folder / "x").exists()


def test_the_default_is_the_demo_preset():
    assert (ROOT / "params.yaml").read_text() == (ROOT / "aigid/presets/demo.yaml").read_text()


def test_only_the_embedding_file_opens_hdf5_and_nothing_unpickles():
    for file in [*ROOT.glob("aigid/**/*.py"), *ROOT.glob("stages/*.py")]:
        text = file.read_text()
        assert "h5py" not in text or file.name == "embeddings.py", file
        assert not re.search(r"pickle\.load|joblib\.load|weights_only=False", text), file
