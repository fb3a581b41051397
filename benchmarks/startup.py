"""Start-up of every stage and of the command, as a ratio to `python -c "import torch"` in the same run."""

import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import click
from rich.table import Table

from benchmarks import record

ROUNDS = 5
REFERENCE = "import torch"


def seconds(code: str) -> float:
    """Wall time of a fresh interpreter that runs ``code``."""
    start = perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - start


@click.command(help=__doc__)
@record.out_option
def main(out: Path) -> None:
    stages = sorted(file.stem for file in Path("stages").glob("[a-z]*.py"))
    programs = {REFERENCE: REFERENCE, "aigid --help": "import aigid.cli.main"}
    programs |= {f"stages.{name}": f"import stages.{name}" for name in stages}
    programs["stages.extract, with its encoder's library"] = (
        "import stages.extract, aigid.features.extract, aigid.features.loaders.open_clip"
    )
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, code in programs.items():
            times[name].append(seconds(code))
    reference = median(times[REFERENCE])
    table = Table("program", f"time / {REFERENCE}", title=f"start-up, median of {ROUNDS} interleaved rounds")
    for name, seconds_each in times.items():
        table.add_row(name, f"{median(seconds_each) / reference:.2f}")
    record.publish(table, "startup", out)


if __name__ == "__main__":
    main()
