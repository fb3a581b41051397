"""README and docs/: links and paths exist, measured numbers come from files, references cover the code."""

import csv
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(ROOT.glob("docs/**/*.md"))
PATH = re.compile(r"`((?:aigid|stages|benchmarks|docs|examples|tests|results|data|\.ci|\.github)/[\w./-]*)`")


@pytest.fixture(scope="module", autouse=True)
def docs_on_the_path() -> Iterator[None]:
    """As MkDocs does for its hooks."""
    sys.path.insert(0, str(ROOT / "docs"))
    yield
    sys.path.remove(str(ROOT / "docs"))


@pytest.fixture
def generate() -> ModuleType:
    return importlib.import_module("generate")


@pytest.fixture(scope="module")
def params(docs_on_the_path) -> str:
    """The reference of parameters."""
    return importlib.import_module("reference_params").parameters()


@pytest.fixture
def code() -> ModuleType:
    return importlib.import_module("reference_code")


@pytest.fixture(scope="module")
def outputs() -> list[str]:
    """The paths that the pipeline writes, as regular expressions in which parameters of a path match any name."""
    stages = [stage.get("do", stage) for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()]
    outs = [out for stage in stages for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
    names = [next(iter(out)) if isinstance(out, dict) else out for out in outs]
    return [re.sub(r"\\\$\\\{.*?\\\}", "[^/]+", re.escape(name)) for name in names]


def prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)


def is_written(path: str, outputs: list[str]) -> bool:
    """Is it there, a pipeline's output, inside one, or a folder of them?"""
    path = path.rstrip("/")
    folders = {out.split("[")[0].replace("\\", "") for out in outputs}
    inside = any(re.match(f"{out}(/|$)", path) for out in outputs)
    return (ROOT / path).exists() or inside or any(folder.startswith(f"{path}/") for folder in folders)


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 220


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path, outputs) -> None:
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = os.path.relpath(page.parent / name, ROOT) if name else str(page.relative_to(ROOT))
        assert is_written(path, outputs), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(ROOT / path), f"{page}: no heading #{anchor} in {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_exist(page: Path, outputs) -> None:
    if page.name == "CHANGELOG.md":
        return  # names what is gone
    for path in PATH.findall(prose(page)):
        assert is_written(path, outputs), f"{page}: {path}"


def test_stages_that_pages_name_exist() -> None:
    """Words such as `train_sef` or `align@vae`."""
    stages = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    verbs = "|".join(sorted({name.split("_")[0] for name in stages}))
    for page in PAGES:
        if page.name != "CHANGELOG.md":
            for name in re.findall(rf"`((?:{verbs})(?:_\w+)?)@[\w-]+`", page.read_text()):
                assert name in stages, f"{page}: no stage {name}"
            for name in re.findall(r"`((?:train|score|fuse|embed|compare|draw)_\w+)`", page.read_text()):
                assert any(stage.startswith(name) for stage in stages), f"{page}: no stage {name}"


def test_modules_that_pages_run_exist() -> None:
    for page in PAGES:
        for folder, name in re.findall(r"\b(stages|benchmarks)\.([a-z]\w*)", page.read_text()):
            assert (ROOT / folder / f"{name}.py").is_file(), f"{page}: {folder}.{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_measured_numbers_are_not_typed_into_tables(page: Path) -> None:
    text = re.sub(r"\(https?://[^)]*\)|`[^`]*`", "", prose(page))
    typed = [line for line in text.splitlines() if re.match(r"\|.*(±|\b\d+\.\d{2,}\b)", line)]
    assert not typed, f"{page}: make it a file of results/benchmarks"


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    for page in ROOT.glob("docs/**/*.md"):
        assert f"- {page.relative_to(ROOT / 'docs')}\n" in text, page


def test_layout_of_readme_is_the_tree() -> None:
    block = (ROOT / "README.md").read_text().split("## Layout")[1].split("```")[1]
    packages = re.findall(r"^  (\w+)/", block, re.MULTILINE)
    folders = re.findall(r"^(\w+)/", block, re.MULTILINE)
    assert packages
    assert all((ROOT / folder).is_dir() for folder in folders)
    if missing := [name for name in packages if not (ROOT / "aigid" / name).is_dir()]:
        pytest.skip(f"packages that are still to move: {', '.join(missing)}")
    here = {path.parent.name for path in (ROOT / "aigid").glob("*/__init__.py")} | {"presets"}
    assert set(packages) == here


@pytest.mark.parametrize("path", sorted(ROOT.glob("results/benchmarks/*.csv")), ids=lambda path: path.stem)
def test_benchmark_tables_say_what_measured_them(path: Path) -> None:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        assert all(row[column] for column in ("machine", "python", "torch", "commit", "date")), row
        assert re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?|unknown", row["commit"]), row


def test_benchmark_tables_are_shown() -> None:
    shown = "".join(page.read_text() for page in PAGES)
    for path in ROOT.glob("results/benchmarks/*.csv"):
        assert f"results/benchmarks/{path.name})" in shown, path


def test_runs_of_several_seeds_become_means(generate, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    lines = [
        "cell,seed,auroc,seconds,machine,commit",
        "full,0,0.7,9,vm,abc",
        "full,1,0.8,9,vm,abc",
        "ad,0,0.5,9,vm,abc",
    ]
    (tmp_path / "runs.csv").write_text("\n".join(lines))
    text = generate.table_of(tmp_path / "docs/page.md", "../runs.csv")
    assert text.splitlines()[2:4] == ["| full | 2 | 0.750 ± 0.050 |", "| ad | 1 | 0.500 |"]
    assert "*Vm, commit abc.*" in text


def test_tables_that_are_not_there_are_named(generate) -> None:
    assert "results/none.csv" in generate.table_of(ROOT / "docs/index.md", "../results/none.csv")


def test_parameters_are_complete(params) -> None:
    sections = yaml.safe_load((ROOT / "params.yaml").read_text())
    blocks = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", params, re.DOTALL | re.MULTILINE))
    assert set(blocks) == set(sections)
    for name, value in sections.items():
        if isinstance(value, dict):
            for key, inner in value.items():
                keys = [key] if f"`{name}.{key}`" in blocks[name] else list(inner if isinstance(inner, dict) else [key])
                for known in set(keys) - {"parts"}:  # of a joint backbone
                    assert re.search(rf"`{name}\.(<name>\.)?{known}`", blocks[name]), f"{name}.{known}"


def test_comments_of_parameters_are_their_own(params) -> None:
    rows = dict(re.findall(r"^\| `([\w.<>]+)` \|.*\| (.*) \|$", params, re.MULTILINE))
    assert rows["gendet.margin"].startswith("of the squared distance")
    assert rows["gendet.learning_rate"] == "of student and augmenter"
    assert rows["gendet.teacher.learning_rate"] == rows["gendet.classifier.learning_rate"] == ""
    assert "student" not in rows["vae.learning_rate"]


def test_parameters_that_pages_name_exist(params) -> None:
    sections = "|".join(yaml.safe_load((ROOT / "params.yaml").read_text()))
    for page in PAGES:
        if page.name != "CHANGELOG.md":
            for section, key in re.findall(rf"`({sections})\.(\w[\w.]*?)(?:[:=].*?)?`", page.read_text()):
                *middle, last = key.split(".")
                path = "".join(rf"({name}|<name>)\." for name in middle)
                known = re.search(rf"`{section}\.(<name>\.)?{path}(<name>\.)?{last}[.`]", params)
                assert known or key in ("csv", "html", "json", "jsonl", "py", "yaml"), f"{page}: {section}.{key}"


def test_command_line_is_complete(code) -> None:
    text = code.command_line()
    for name, command, _ in code.commands():
        assert f"`{name}`" in text
        block = text.split(f"`{name}`\n", 1)[1].split("\n##", 1)[0]
        for option in command.params:
            flags = [] if getattr(option, "hidden", False) else [flag for flag in option.opts if flag.startswith("--")]
            assert all(f"{flag} " in block or f"{flag}`" in block or f"{flag}," in block for flag in flags), option.opts


def test_columns_and_licences_are_found_in_the_code(code) -> None:
    assert code.columns_of("manifest").startswith("Required columns: `path`, `label`, `generator`, `split`.")
    assert "`view`, `score`" in code.columns_of("scores")
    assert "| cifake |" in code.dataset_licences()
    assert "auroc" in code.metric_keys()
    assert "Bundle" in code.public_api()


def test_environment_variables_are_documented() -> None:
    sources = "".join(path.read_text() for folder in ("aigid", "stages") for path in (ROOT / folder).rglob("*.py"))
    page = (ROOT / "docs/reference/environment.md").read_text()
    missing = {name for name in re.findall(r"\bAIGID_[A-Z_]*[A-Z]\b", sources) if f"`{name}`" not in page}
    assert not missing


@pytest.mark.slow
def test_site_builds_without_a_warning(tmp_path) -> None:
    pytest.importorskip("mkdocs", reason="wants the extra docs: `make docs` installs it")
    pytest.importorskip("mkdocstrings", reason="wants the extra docs: `make docs` installs it")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site/reference/params/index.html").read_text()
    assert "gendet.margin" in page
    assert "<table>" in (tmp_path / "site/benchmarks/gendet/index.html").read_text()
