"""What every command promises: help, refusals that write nothing, and `--json` alone on stdout."""

import json
import shutil
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from aigid.cli.main import main
from aigid.core import manifest
from aigid.detectors import bundle
from aigid.importers import ImportRequest, linear
from tests.helpers.images import noise_folder

NO_MANIFEST = ("nowhere.csv", "--root", "images")
REFUSED = {  # by command: a call that names what is not there, and what the one line names
    "fetch": (["nosuch", "--out", "out"], "no list 'nosuch'"),
    "index": (["nowhere", "--layout", "csv", "--out", "out.csv"], "nowhere: no such folder"),
    "audit": ([*NO_MANIFEST], "nowhere.csv: no such file"),
    "degrade": ([*NO_MANIFEST, "--view", "jpeg65", "--out", "out"], "nowhere.csv: no such file"),
    "align": ([*NO_MANIFEST, "--domain", "vae", "--out", "out"], "nowhere.csv: no such file"),
    "preset": (["nosuch"], "'nosuch'"),
    "extract": ([*NO_MANIFEST, "--backbone", "tiny_clip", "--out", "out.h5"], "nowhere.csv: no such file"),
    "cache info": (["nosuch"], "nosuch"),
    "cache prune": (["--days", "-1"], "-1"),
    "cache verify": (["--root", "images"], "--root and --manifest go together"),
    "plan": ([*NO_MANIFEST, "--backbone", "tiny_clip"], "nowhere.csv: no such file"),
    "evaluate": (["nowhere.csv", "--out", "out"], "nowhere.csv"),
    "card": (["nowhere", "--results", "images", "--date", "2026-01-01"], "nowhere"),
    "ntire": (["nowhere", "--model", "bundle", "--out", "out"], "nowhere: no such folder"),
    "predict": (["nowhere.png", "--model", "bundle", "--csv", "out.csv"], "nowhere.png"),
    "serve": (["--model", "nowhere"], "--model nowhere: no bundle"),
    "import": (["nosuch", "--out", "out"], "unknown detector 'nosuch'"),
    "export": (["nowhere", "--onnx", "out.onnx"], "--model nowhere: no bundle"),
    "push": (["bundle", "nowhere"], "nowhere: no address of a bundle"),
    "weights list": (["nosuch"], "nosuch"),
    "weights fetch": (["nosuch"], "nosuch"),
    "weights verify": (["nosuch"], "nosuch"),
}
JUNK_TABLE = ("junk.csv", "--root", "images")
JUNK = {  # by command that reads files: a call on one that is none
    "fetch": ["junk.yaml", "--out", "out"],
    "index": ["junk", "--layout", "csv", "--out", "out.csv"],
    "audit": [*JUNK_TABLE],
    "degrade": [*JUNK_TABLE, "--view", "jpeg65", "--out", "out"],
    "align": [*JUNK_TABLE, "--domain", "vae", "--out", "out"],
    "extract": [*JUNK_TABLE, "--backbone", "tiny_clip", "--out", "out.h5"],
    "cache verify": ["--manifest", *JUNK_TABLE],
    "plan": [*JUNK_TABLE, "--backbone", "tiny_clip"],
    "evaluate": ["junk.csv", "--out", "out"],
    "card": ["junk", "--results", "images", "--date", "2026-01-01"],
    "ntire": ["images", "--model", "junk", "--out", "out"],
    "predict": ["images", "--model", "junk", "--csv", "out.csv"],
    "serve": ["--model", "junk"],
    "import": ["linear", "--weights", "junk.pth", "--backbone", "tiny_clip", "--fake-label", "1", "--out", "out"],
    "export": ["junk", "--onnx", "out.onnx"],
    "push": ["junk", "hf://user/name"],
}
READ_NO_FILE = {"preset", "cache info", "cache prune", "weights list", "weights fetch", "weights verify"}
PRIVATE_WORDS = {"drawer", "exam", "fault", "lesson", "machinery", "shelf", "shelves", "told", "tower", "towers"}
PRINTS_JSON = {  # by command
    "audit": ["m.csv", "--root", "images"],
    "cache info": [],
    "plan": ["m.csv", "--root", "images", "--backbone", "tiny_clip", "--sample", "8"],
    "evaluate": ["scores.csv"],
    "predict": ["images/00.png", "--model", "bundle"],
}


def leaves(group: click.Group, *names: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, *names, name)
        else:
            yield " ".join((*names, name)), command


COMMANDS = dict(leaves(main))


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images with their manifest, a scores file and a bundle, which no test changes."""
    folder, rng = tmp_path_factory.mktemp("material"), np.random.default_rng(0)
    (folder / "images").mkdir()
    table = noise_folder(folder / "images", 8).assign(split=["val", "test"] * 4, label=[0, 0, 1, 1] * 2)
    table["generator"] = np.where(table["label"], "a", "real")
    manifest.write(table, folder / "m.csv")
    scores = table[["path", "label", "generator", "split"]].assign(view="clean", score=rng.random(8))
    scores.to_csv(folder / "scores.csv", index=False)
    torch.save({"weight": torch.ones(1, 192), "bias": torch.zeros(1)}, folder / "head.pth")
    head = linear.LinearHead("a paper", ["MIT"], "a head", "", 192, "tiny_clip")
    bundle.save(head.import_detector(ImportRequest(weights=folder / "head.pth")), folder / "bundle")
    return folder


@pytest.fixture
def workspace(material: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(material, tmp_path / "work"))


def run(command: str, *arguments: str, cwd: Path) -> Result:
    with chdir(cwd):
        return CliRunner().invoke(main, [*command.split(), *arguments], prog_name="aigid")


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_every_command_is_tested_here() -> None:
    assert set(REFUSED) == set(COMMANDS) == set(JUNK) | READ_NO_FILE
    assert set(PRINTS_JSON) == {
        name for name, command in COMMANDS.items() if any("--json" in option.opts for option in command.params)
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_option(command: str, tmp_path: Path) -> None:
    done = run(command, "--help", cwd=tmp_path)
    assert done.exit_code == 0
    assert done.stdout.startswith("Usage: aigid ")
    assert done.stderr == ""
    assert not PRIVATE_WORDS & set(done.stdout.lower().replace(",", " ").replace(".", " ").split())
    for option in COMMANDS[command].params:
        assert max(option.opts, key=len) in done.stdout or isinstance(option, click.Argument)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_call_is_one_line_and_writes_nothing(command: str, workspace: Path) -> None:
    arguments, text = REFUSED[command]
    before = files(workspace.parent)
    done = run(command, *arguments, cwd=workspace)
    assert done.exit_code == 2, done.stderr
    assert done.stdout == ""
    assert text in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert done.stderr.count("\n") == 1 or done.stderr.startswith("Usage: ")
    assert files(workspace.parent) == before


@pytest.mark.parametrize("command", JUNK)
@pytest.mark.parametrize("junk", [b"", b"[" * 10**5, b"\xff\xfe\x00a", np.random.default_rng(0).bytes(999)], ids=len)
def test_a_file_of_something_else_is_one_line_and_writes_nothing(command: str, junk: bytes, workspace: Path) -> None:
    (workspace / "junk").mkdir()
    for name in ("junk.csv", "junk.yaml", "junk.pth", "junk/model.json", "junk/a.csv"):
        (workspace / name).write_bytes(junk)
    before = files(workspace)
    done = run(command, *JUNK[command], cwd=workspace)
    assert done.exit_code == 2, done.stderr
    assert done.stdout == ""
    *said, line = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "junk" in line
    assert not said or said == ["images: left out: 1 files that are no images (1 .csv)"]
    assert files(workspace) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_is_refused(command: str, workspace: Path) -> None:
    before = files(workspace)
    done = run(command, "--no-such-option", cwd=workspace)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--no-such-option" in done.stderr
    assert files(workspace) == before


@pytest.mark.parametrize("command", PRINTS_JSON)
def test_json_stands_alone_on_stdout(command: str, workspace: Path) -> None:
    done = run(command, *PRINTS_JSON[command], "--json", cwd=workspace)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert isinstance(json.loads(done.stdout), dict)
