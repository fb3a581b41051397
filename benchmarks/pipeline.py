"""What DVC itself takes: `dvc repro` with nothing to do, `dvc status`, its share of `make repro`; the report's stage.

python -m benchmarks.pipeline [--repro]

Run it in a clone whose `make repro` is done. `--repro` runs that first, from whatever the clone holds, and counts the
processor time of every process of DVC, without the stages that it starts.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from threading import Event, Thread
from time import perf_counter

import click
import psutil
import yaml
from rich.table import Table

from benchmarks import record

MAX_CPU, MIN_SHARE, MAX_REPORT = 2.0, 0.85, 6.0  # seconds of DVC with nothing to do, the stages' share, seconds
ROUNDS, POLL = 5, 0.5
DVC = str(Path(sys.executable).with_name("dvc"))


def cost(*command: str) -> tuple[float, float]:
    """Run a command; return seconds by the clock and of the processor, with those of the processes it waits for."""
    start, before = perf_counter(), getrusage(RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)}: {done.stderr[-400:]}")
    after = getrusage(RUSAGE_CHILDREN)
    return perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class DvcProcesses(Thread):
    """Watches DVC's processes in this folder: ``seconds`` is the processor time of each, without its children's."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seconds: dict[int, float] = {}
        self._done = Event()

    def run(self) -> None:
        while not self._done.wait(POLL):
            for process in psutil.process_iter(["cmdline", "cpu_times"]):
                if DVC in (process.info["cmdline"] or [])[:2]:
                    self.seconds[process.pid] = sum(process.info["cpu_times"][:2])

    def stop(self) -> float:
        self._done.set()
        self.join()
        return sum(self.seconds.values())


@click.command(help=__doc__)
@click.option("--repro", is_flag=True, help="Run `make repro` first.")
@record.out_option
def main(repro: bool, out: Path) -> None:
    table = Table("what", "seconds", "CPU seconds", "bound", title=f"median of {ROUNDS}")
    if repro:
        watch = DvcProcesses()
        watch.start()
        wall, cpu = cost("make", "repro")
        of_dvc = watch.stop()
        table.add_row("make repro", f"{wall:.0f}", f"{cpu:.0f}", "")
        table.add_row("stages' share of it", "", f"{1 - of_dvc / cpu:.3f}", f">= {MIN_SHARE}")
    for name, command in {"dvc repro, nothing to do": (DVC, "repro"), "dvc status": (DVC, "status")}.items():
        wall, cpu = map(median, zip(*(cost(*command) for _ in range(ROUNDS)), strict=True))
        table.add_row(name, f"{wall:.2f}", f"{cpu:.2f}", f"<= {MAX_CPU}")
    num = sum(path.is_dir() for path in Path("results/metrics").iterdir())
    command = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]["report"]["cmd"]
    with tempfile.TemporaryDirectory() as folder:
        for name in ("report", "curves"):
            command = command.replace(f" results/{name}", f" {folder}/{name}")
        wall, cpu = cost("sh", "-c", command)
    table.add_row(f"the stage report, {num} detectors", f"{wall:.2f}", f"{cpu:.2f}", f"<= {MAX_REPORT}")
    record.publish(table, "pipeline", out, width=100)


if __name__ == "__main__":
    main()
