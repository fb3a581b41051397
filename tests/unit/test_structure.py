"""The source tree keeps its shape: layers, no import circles, standard names, short files."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

from tests.mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for name in ("aigid", "stages", "benchmarks") for path in (ROOT / name).rglob("*.py"))
PACKAGE = [path for path in SOURCES if path.relative_to(ROOT).parts[0] == "aigid"]
ALLOWED = Path(__file__).with_name("banned_names.txt")  # may only shrink
METAPHORS = """found how told asked kept lesson lessons taught drawer drawers shelf shelves exam exams lacking beside
whole most fewest place places photograph photographs tower towers LOG about facts said wanted shown judged made own
held drawn"""
BANNED = set(METAPHORS.split())
MAX_LINES = {"README.md": 220, "dvc.yaml": 500, "params.yaml": 350, "aigid/presets/real.yaml": 97}
LONGER: dict[str, int] = {}  # modules over 250 lines; may only shrink
LONG_FUNCTIONS = {"aigid/cli/evaluation.py: evaluate": 51, "aigid/features/extract.py: extract": 62}  # may only shrink


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(tree: ast.AST, modules: set[str], nodes: list[ast.stmt] | None = None) -> Iterator[str]:
    """Yield the modules of ours that a module imports; of ``nodes`` alone, if given."""
    for node in ast.walk(tree) if nodes is None else nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield from (name for name in [full if full in modules else node.module] if name in modules)


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE}


def test_modules_import_in_no_circle(trees: dict[str, ast.Module]) -> None:
    graph = nx.DiGraph(
        (name, other)
        for name, tree in trees.items()
        for other in imports(tree, set(trees), tree.body)
        if other != "aigid"
    )
    assert not [sorted(group) for group in nx.strongly_connected_components(graph) if len(group) > 1]


def test_imports_point_to_lower_layers(trees: dict[str, ast.Module]) -> None:
    """Those inside functions too; the layers stand in pyproject.toml, for import-linter."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [layer.replace(" ", "").split("|") for layer in contracts[0]["layers"]]
    rank = {name: -level for level, layer in enumerate(layers) for name in layer}
    assert set(rank) == {path.parent.name for path in PACKAGE if path.parent.parent.name == "aigid"} - {"presets"}
    upwards = {
        f"{name} imports {other}"
        for name, tree in trees.items()
        for other in imports(tree, set(trees))
        if name.count(".") > 1 and other.count(".") and name.split(".")[1] != other.split(".")[1]
        and rank[name.split(".")[1]] <= rank[other.split(".")[1]]
    }  # fmt: skip
    assert not upwards


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Yield every name that a module defines, and the loop variables ``one`` and ``it``."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.alias(asname=str(name)):
                yield name
        if isinstance(node, ast.For | ast.comprehension):
            names = {part.id for part in ast.walk(node.target) if isinstance(part, ast.Name)}
            yield from (f"for {name}" for name in sorted(names & {"one", "it"}))


def banned(name: str) -> bool:
    return name.startswith("for ") or name in BANNED or (name.lower() in BANNED and name != "log")


def test_names_are_standard_terms() -> None:
    """Names of the field in place of metaphors; `banned_names.txt` lists what is left, which may only shrink."""
    left = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in SOURCES
        for name in identifiers(ast.parse(path.read_text(encoding="utf-8")))
        if banned(name)
    }
    assert not left - set(ALLOWED.read_text().splitlines())


@pytest.mark.parametrize(("folder", "limit"), [("aigid", 250), ("stages", 60)])
def test_modules_are_short(folder: str, limit: int) -> None:
    lines = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in (ROOT / folder).rglob("*.py")}
    assert not {name: num for name, num in lines.items() if num > LONGER.get(name, limit)}


@pytest.mark.parametrize("folder", ["aigid", "stages"])
def test_functions_have_at_most_40_lines(folder: str) -> None:
    lines = {
        f"{path.relative_to(ROOT)}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert not {name: num for name, num in lines.items() if num > LONG_FUNCTIONS.get(name, 40)}


@pytest.mark.parametrize("name", [*MAX_LINES, *(f"aigid/presets/{p.name}" for p in ROOT.glob("aigid/presets/*.yaml"))])
def test_files_are_short(name: str) -> None:
    limit = MAX_LINES["params.yaml"] if name.endswith("demo.yaml") else MAX_LINES.get(name, 60)
    assert len((ROOT / name).read_text().splitlines()) <= limit


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.removed)
def test_what_a_mutant_replaces_is_there(mutant: Mutant) -> None:
    """`python -m tests.mutants` runs them; here, that none is out of date."""
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    file, _, name = mutant.test.partition("::")
    assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text()
