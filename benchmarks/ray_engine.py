"""Extraction by Ray's actors against the local engine on the same cores: `python -m benchmarks.ray_engine`.

Each engine extracts few and many images with an empty cache; the difference of the two gives its steady pace, and what
is left of the few its start-up: the cluster, the actors, the weights, the file. Medians of interleaved rounds.
"""

import os
import tempfile
from pathlib import Path
from statistics import median

import click
from rich.table import Table

from aigid.core.files import num_workers
from benchmarks import pictures, record
from benchmarks.extract import measure

MIN_RATIO = 0.9


def compare(folder: Path, shards: tuple[int, int], side: int, rounds: int) -> Table:
    """A row for each engine; ``shards`` of each actor are extracted."""
    from aigid.features.ray_actor import ROWS

    cores = num_workers()
    os.environ["AIGID_RAY_ACTORS"] = str(cores)
    few, many = (cores * ROWS * number for number in shards)
    for num in (few, many):
        (folder / str(num)).mkdir()
        pictures.write(folder / str(num), num, side)
    seconds: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for num in (few, many):
            for engine in ("local", "ray"):
                os.environ["AIGID_ENGINE"] = engine
                out = folder / f"{engine}-{num}.h5"
                seconds.setdefault((engine, num), []).append(
                    measure("exact", folder / str(num), (224,), out)["seconds"]
                )
    assert (folder / f"ray-{many}.h5").read_bytes() == (folder / f"local-{many}.h5").read_bytes()
    title = f"{few} and {many} JPEGs of {side} px, {cores} cores, median of {rounds} rounds; the same bytes"
    table = Table("engine", "start-up, s", "steady, images/s", "ratio", f">= {MIN_RATIO}?", title=title)
    reference = None
    for engine in ("local", "ray"):
        short, long = (median(seconds[engine, num]) for num in (few, many))
        pace = (many - few) / (long - short)
        reference = reference or pace
        fast_enough = "yes" if pace >= MIN_RATIO * reference else "no"
        table.add_row(engine, f"{short - few / pace:.1f}", f"{pace:.0f}", f"{pace / reference:.2f}", fast_enough)
    return table


@click.command(help=__doc__)
@click.option("--shards", nargs=2, default=(1, 5), show_default=True, help="Of each actor, few and many.")
@click.option("--side", default=256, show_default=True, help="Pixels of an image.")
@click.option("--rounds", default=3, show_default=True)
@record.out_option
def main(shards: tuple[int, int], side: int, rounds: int, out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIGID_CACHE"] = f"{folder}/cache"
        record.publish(compare(Path(folder), shards, side, rounds), "ray_engine", out, width=120)


if __name__ == "__main__":
    main()
