"""Extractions that are killed, interrupted, doubled and starved; prints one JSON document of what came of them.

python kills.py FOLDER, which holds `images/` with its `m.csv`. Children are forked from here, where nothing has been
computed, so that each starts within milliseconds.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path

import torch
from transformers import SiglipVisionModel  # noqa: F401

from aigid.cli.main import main
from aigid.core import files
from aigid.features import row_cache
from aigid.features.reader import Reader
from aigid.features.registry import BACKBONES
from tests.helpers.tiny_models import SIGLIP

FOLDER = Path(sys.argv[1])
KILLS = 20
TINY = {"library": "transformers", "model": "tiny", "config": SIGLIP, "preprocess": {"size": 32}}
CALL = ["extract", "images/m.csv", "--root", "images", "--backbone", "one", "--backbone", "two"]
CALL += ["--view", "clean", "--view", "jpeg65", "--out", "out/{backbone}.h5"]


def fork(cache_folder: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """Run the command in a child; its stderr goes to the file `stderr`."""
    pid = os.fork()
    if pid:
        return pid
    os.environ["AIGID_CACHE"] = str(cache_folder)
    os.dup2(os.open("stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    prepare()
    try:
        main(CALL)
    except SystemExit as end:
        os._exit(end.code or 0)
    finally:
        os._exit(99)


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def digests() -> dict[str, str]:
    """Of the finished files, which are then removed."""
    hashes = {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(Path("out").glob("[!.]*"))}
    for path in Path("out").glob("*"):
        path.unlink()
    return hashes


def stderr() -> str:
    return Path("stderr").read_text()


def killed(seconds: float) -> dict[str, object]:
    """Kill at random moments; a run that gets through first starts again from nothing."""
    draw, kills, attempts, finished, rows = random.Random(0), 0, 0, [], []
    while kills < KILLS:
        pid = fork(FOLDER / f"cache-{attempts}")
        time.sleep(draw.uniform(0, seconds))
        os.kill(pid, signal.SIGKILL)
        if wait(pid) == -signal.SIGKILL:
            kills += 1
            rows.append(len(list((FOLDER / f"cache-{attempts}").glob("embeddings/*/[!.]*.safetensors"))))
        else:
            finished.append(digests())
            attempts += 1
    code = wait(fork(FOLDER / f"cache-{attempts}"))
    return {"code": code, "shards": rows, "finished": finished, "digests": digests()}


def twice_at_once() -> dict[str, object]:
    pids = [fork(FOLDER / "cache-both") for _ in range(2)]
    return {"codes": [wait(pid) for pid in pids], "digests": digests()}


def shards(folder: Path) -> list[Path]:
    return list(folder.glob("embeddings/*/[!.]*.safetensors"))


def slow_down(folder: Path) -> None:
    """Let each image take 1.5 s, and 5 s more once there are rows in the cache, for the interruption to come."""
    quick = Reader.read
    Reader.read = lambda self, request: time.sleep(6.5 if shards(folder) else 1.5) or quick(self, request)


def interrupted() -> dict[str, object]:
    folder = FOLDER / "cache-stopped"
    pid = fork(folder, partial(slow_down, folder))
    while not shards(folder):
        time.sleep(0.01)
    os.kill(pid, signal.SIGINT)
    code, line = wait(pid), stderr()
    left = digests()
    return {
        "code": code,
        "error": line,
        "left": left,
        "shards": len(shards(folder)),
        "again": wait(fork(folder)),
        "digests": digests(),
    }


def starved() -> dict[str, object]:
    """A disk with room for the first file's head, and nobody who asked before."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20k", "tmpfs", "out"], check=False, capture_output=True
    )
    if mounted.returncode:
        return {"mounted": False}
    try:
        code = wait(fork(FOLDER / "cache-whole", lambda: setattr(files, "check_free_space", lambda needs: None)))
        return {
            "mounted": True,
            "code": code,
            "error": stderr(),
            "left": [path.name for path in Path("out").iterdir()],
        }
    finally:
        subprocess.run(["umount", "out"], check=True)


def elsewhere() -> dict[str, object]:
    folder = Path("/dev/shm") / f"aigid-{os.getpid()}"
    other = Path("/dev/shm").is_dir() and Path("/dev/shm").stat().st_dev != FOLDER.stat().st_dev
    if not other:
        return {"other": False}
    result = {"code": wait(fork(folder)), "digests": digests(), "other": True}
    shutil.rmtree(folder)
    return result


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.chdir(FOLDER)
    os.environ |= {"AIGID_BATCH": "4", "AIGID_WORKERS": "2", "AIGID_DEVICE": "cpu"}
    row_cache.SHARD_ROWS = 4
    BACKBONES |= {"one": TINY, "two": TINY | {"seed": 1}}
    start = time.monotonic()
    undisturbed = {"code": wait(fork(FOLDER / "cache-whole")), "digests": digests()}
    spent = time.monotonic() - start
    report = {"undisturbed": undisturbed, "seconds": spent, "killed": killed(spent), "at once": twice_at_once()}
    report |= {"interrupted": interrupted(), "elsewhere": elsewhere(), "starved": starved()}
    print(json.dumps(report))
