"""Parameters are checked before anything runs, and an error is one clear line."""

import importlib
import re
import shutil
import subprocess
from typing import Annotated

import pytest
import yaml
from click.testing import CliRunner
from pydantic import Field

from aigid.aligned.generator import AlignedSettings, VaeSettings
from aigid.cli.main import main as cli
from aigid.core import params
from aigid.core.errors import InputError
from aigid.data.audit.audit import AuditSettings, PropertySettings
from aigid.data.demo import DemoSettings
from aigid.data.index import IndexSettings
from aigid.detectors import get_detector
from aigid.detectors.aeroblade import AerobladeSettings
from aigid.detectors.cnn.settings import CnnSettings
from aigid.detectors.controls import ControlSettings
from aigid.detectors.featdistill.settings import FeatDistillSettings
from aigid.detectors.sef.settings import SefSettings
from aigid.experiments.cross_generator import CrossingSettings
from aigid.report.studies import PerturbationSettings
from tests.helpers.workspace import BIN, ROOT

ON_EMBEDDINGS = ("probe", "knn", "svm", "gendet", "occ", "gate", "concatenation", "averaging")
SECTIONS = {
    "demo": DemoSettings,
    "index": IndexSettings,
    "audit": AuditSettings,
    "describe": PropertySettings,
    "crossing": CrossingSettings,
    "perturbation": PerturbationSettings,
    "aligned": AlignedSettings,
    "vae": VaeSettings,
    "controls": ControlSettings,
    "cnn": CnnSettings,
    "aeroblade": AerobladeSettings,
    "featdistill": FeatDistillSettings,
    "sef": SefSettings,
} | {name: get_detector(name).Settings for name in ON_EMBEDDINGS}


class Probe(params.Settings):
    c: Annotated[float, Field(gt=0)]
    steps: int = 10


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("seed: 3\nprobe:\n  c: 1e-3\ndatasets:\n  - demo\nbackbones:\n  tiny: {}\n")
    return path


def test_sections_are_coerced(file):
    assert params.load_section("probe", Probe, file) == Probe(c=0.001, steps=10)  # PyYAML reads 1e-3 as text
    assert params.load_section("seed", int, file) == 3
    assert params.load_section("datasets", list[str], file) == ["demo"]
    assert params.load_section("backbones.tiny", dict, file) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("probe:\n  c: -1\n", r"params.yaml: probe\.c: Input should be greater than 0, got -1"),
        ("probe:\n  c: one\n", r"probe\.c: .*got 'one'"),
        ("probe:\n  c: 1\n  cc: 2\n", r"probe\.cc: Extra inputs are not permitted, got 2"),
        ("probe: {}\n", r"probe\.c: Field required"),
        ("knn: {}\n", "no section 'probe'"),
        ("probe: [\n", "not YAML"),
        ("probe: 2026-13-01\n", "not YAML: month must be in 1..12"),
        ("", "no section 'probe'"),
    ],
)
def test_an_error_names_key_and_value(file, text, message):
    file.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        params.load_section("probe", Probe, file)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        params.load_section("probe", Probe, tmp_path / "params.yaml")


def nested(name, value):
    """A document with one key at a dotted name."""
    for key in reversed(name.split(".")):
        value = {key: value}
    return value


@pytest.mark.parametrize(("old", "new"), params.RENAMED.items())
def test_an_old_key_anywhere_is_refused(file, old, new):
    """Whatever section is read: a stage that does not need the key does not start either."""
    old, new = old.replace("*", "photos"), new.replace("*", "photos")
    file.write_text(yaml.safe_dump(nested(old, 1)))
    with pytest.raises(InputError) as caught:
        params.load_section("seed", int, file)
    assert str(caught.value).removeprefix(f"{file}: ").split("; ")[-1] == f"{old} was renamed to {new}"


def test_one_message_names_all_old_keys_before_the_pipeline_begins(tmp_path):
    sections = {"knn": {"train": "demo"}, "probe": {"train": "demo"}, "featdistill": {"lessons": {"rows": 1}}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(sections))
    shutil.copy(ROOT / "Makefile", tmp_path)
    command = ["make", "--old-file=env", f"BIN={BIN}", "repro"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if "renamed" in line]
    assert lines == [
        "Error: params.yaml: probe.train was renamed to probe.dataset; knn.train was renamed to knn.dataset; "
        "featdistill.lessons was renamed to featdistill.data; "
        "featdistill.lessons.rows was renamed to featdistill.data.max_images"
    ]
    assert "dvc repro" not in done.stdout


def field(dotted):
    """The settings class of a dotted name's section and the name's last part; None for sections without one."""
    section, *rest = dotted.split(".")
    kind = SECTIONS[section]
    for key in rest[:-1]:
        if key != "*":
            kind = next(part for part in walk(kind.model_fields[key].annotation) if hasattr(part, "model_fields"))
    return kind, rest[-1]


def walk(annotation):
    """An annotation and all that stands inside it."""
    yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from walk(part)


@pytest.mark.parametrize(("old", "new"), params.RENAMED.items())
def test_the_table_leads_from_no_field_to_a_field(old, new):
    assert old.split(".")[0] == new.split(".")[0]
    kind, name = field(new)
    assert name in kind.model_fields
    assert field(old.replace("lessons", "data"))[1] not in kind.model_fields or old == "featdistill.lessons"


@pytest.mark.parametrize("module", ["stages.audit", "stages.train", "stages.train_gendet_teacher"])
def test_a_stage_refuses_an_old_key_and_a_preset_replaces_it(tmp_path, monkeypatch, module):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("seed: 0\ngendet:\n  teacher:\n    lr: 1.0e-3\n")
    main = importlib.import_module(module).main
    options = [word for option in main.params if option.required for word in (option.opts[0], "probe")]
    done = CliRunner().invoke(main, options)
    assert (done.exit_code, done.stdout) == (2, "")
    line = "params.yaml: gendet.teacher.lr was renamed to gendet.teacher.learning_rate"
    assert done.stderr.strip().endswith(line)
    assert len(done.stderr.splitlines()) == 1
    done = CliRunner().invoke(cli, ["preset", "demo"])
    assert done.exit_code == 0
    assert "gendet.teacher.lr: 0.001 -> (none)" in done.output
    (tmp_path / "params.yaml").write_text("")
    assert CliRunner().invoke(cli, ["preset", "demo"]).exit_code == 0
    assert "\n    lr:" not in (tmp_path / "params.yaml").read_text()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        *(
            (section, f"{key}: {params.NAME_RULE}; got {name[:100]!r}")
            for name in (
                "a;ls",
                "a.b",
                "$(ls)",
                "`ls`",
                "a b",
                "a/b",
                "..",
                "-a",
                "a'b",
                'a"b',
                "a\nb",
                "é",
                "",
                "x" * 300,
            )
            for key, section in (
                (f"index.{name}"[:100], {"index": {name: {}}}),
                (f"demo.{name}"[:100], {"demo": {name: {}}}),
                (f"featdistill.experts.{name}"[:100], {"featdistill": {"experts": {name: {}}}}),
                ("datasets", {"datasets": ["demo", name]}),
                ("views", {"views": [name]}),
                ("probe.dataset", {"probe": {"dataset": name}}),
                ("svm.backbone", {"svm": {"backbone": name}}),
            )
        ),
        ({"datasets": ["a\n"]}, "datasets: a name"),
        (
            {"probe": {"backbone": "tiny_bth"}},
            "probe.backbone: unknown backbone 'tiny_bth'; known: tiny_clip, tiny_vit",
        ),
    ],
)
def test_names_that_a_shell_or_a_path_would_read(tmp_path, section, message):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"backbones": {"tiny_clip": {}, "tiny_vit": {}}} | section))
    with pytest.raises(InputError, match=re.escape(message)):
        params.read(path)
