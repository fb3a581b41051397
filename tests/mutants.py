"""Take one part of the program away at a time, and run the test that must notice.

python -m tests.mutants [WORD ...]

Each mutant is applied alone, in a copy of the sources. It is killed if its test fails; it survives if the test passes,
and then the test proves nothing about that part. With words, only mutants whose line holds one of them.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("aigid", "benchmarks", "stages", "tests", "pyproject.toml", "params.yaml", "dvc.yaml")
PASSED, FAILED = 0, 1  # exit statuses of pytest; others say that the test did not run
TRAINING, MODEL = "aigid/detectors/gendet/training.py", "aigid/detectors/gendet/model.py"
DETECTOR, PARTS = "tests/unit/detectors/gendet/test_detector.py", "tests/unit/detectors/gendet/test_training.py"


class Mutant(NamedTuple):
    """``old``, which occurs once in ``file``, becomes ``new``; then ``test``, which guards ``removed``, must fail."""

    file: str
    old: str
    new: str
    test: str
    removed: str


MUTANTS = [
    Mutant(
        TRAINING,
        '"full": ("real", "fake", "augmenter")',
        '"full": ("real", "fake")',
        f"{DETECTOR}::test_logs_have_a_line_an_epoch",
        "GenDet: the augmenter's training",
    ),
]


def apply(mutant: Mutant, root: Path) -> str:
    """Write the mutant into the copy of the sources at ``root``; return the text that it replaces."""
    path = root / mutant.file
    text = path.read_text(encoding="utf-8")
    if (count := text.count(mutant.old)) != 1:
        sys.exit(f"{mutant.removed}: {mutant.old!r} occurs {count} times in {mutant.file}, not once: renew the mutant")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    return text


def run(tests: list[str], root: Path) -> int:
    """Return pytest's exit status for tests in the copy of the sources."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "", *tests]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, check=False).returncode


def main(words: list[str]) -> None:
    mutants = [mutant for mutant in MUTANTS if not words or any(word in " ".join(mutant) for word in words)]
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in SOURCES:
            source, ignored = ROOT / name, shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, root / name, ignore=ignored) if source.is_dir() else shutil.copy(source, root)
        tests = list(dict.fromkeys(mutant.test for mutant in mutants))
        if (status := run(tests, root)) != PASSED:
            sys.exit(f"the tests do not all pass on the sources as they are (exit status {status})")
        for mutant in mutants:
            text = apply(mutant, root)
            status = run([mutant.test], root)
            (root / mutant.file).write_text(text, encoding="utf-8")
            result = {FAILED: "killed", PASSED: "SURVIVED"}.get(status, f"NOT RUN (exit status {status})")
            print(f"{result}  {mutant.removed}  [{mutant.test.rpartition('/')[2]}]", flush=True)
            survivors += [mutant.removed] if status != FAILED else []
    if survivors:
        sys.exit(f"{len(survivors)} of {len(mutants)} mutants were not killed: {'; '.join(survivors)}")


if __name__ == "__main__":
    main(sys.argv[1:])
