"""Calls in a process of their own, with a folder, a home, a limit on memory and one on time."""

import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from aigid.cli.main import main


class Done(NamedTuple):
    """How a call ended: its exit status (negative: by that signal), its output, and the bytes it grew by at most."""

    status: int
    output: str
    grown: int


def jailed(call: Callable[[], object], cwd: Path, memory: int = 2**30, seconds: int = 30) -> Done:
    """Run a call in a child that may map ``memory`` bytes more than it has, and compute for ``seconds``."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    log = cwd.parent / f"{cwd.name}.log"
    if not (pid := os.fork()):
        status = 99
        try:
            os.chdir(cwd)
            os.environ["HOME"] = str(cwd.parent)
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
            os.dup2(1, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + memory,) * 2)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds,) * 2)
            signal.alarm(10 * seconds)
            call()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    _, code, usage = os.wait4(pid, 0)
    grown = 1024 * (usage.ru_maxrss - before)
    return Done(os.waitstatus_to_exitcode(code), log.read_text(errors="replace"), grown)


def aigid_jailed(*arguments: str, cwd: Path, memory: int = 2**30) -> Done:
    """Run a command in a jail."""
    return jailed(lambda: main([*arguments], prog_name="aigid"), cwd, memory)


def snapshot(folder: Path) -> dict[str, str]:
    """Return what stands below a folder: the sha256 of each file, the target of each link."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_symlink() or path.is_file()]
    contents = [str(path.readlink()) if path.is_symlink() else sha256(path.read_bytes()).hexdigest() for path in paths]
    return {str(path.relative_to(folder)): content for path, content in zip(paths, contents, strict=True)}
