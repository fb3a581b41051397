"""A simulated cluster: `python -m benchmarks.cluster` runs examples/cluster.sh against a store that is slow and faulty.

Workers are processes of this machine, each with a cache of its own; images and rows lie in an object store of this
machine (benchmarks.object_store). All workers share the cores, so the *ideal* is the same run against a store without
latency and faults, by as many workers; where they mostly wait (the long latency), it is what they read at once in that
time. Paces are taken at the store while all workers read, so that start-up is not in them. The encoder, one
convolution in ONNX, costs next to nothing. Every run's file is that of one extraction from a folder, to the byte.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import NamedTuple

import click
import numpy as np
import onnx
import psutil
from onnx import helper
from rich.table import Table

from aigid.core.files import num_workers
from aigid.core.paths import READS
from aigid.features.row_cache import SHARD_ROWS
from aigid.prediction.graph_builder import FLOAT, GraphBuilder
from benchmarks import pictures, record
from benchmarks.object_store import FAULTS, ObjectStore, Request

SCRIPT = Path(__file__).parents[1] / "examples/cluster.sh"
SIDE = 32  # pixels of the encoder's input
IMAGES, ROWS = "images", "rows"  # buckets
PROCESSOR = """{"size": {"height": 32, "width": 32}, "do_normalize": false}"""


class Run(NamedTuple):
    """A run of the script, and its pace and CPU time while all workers read."""

    pace: float  # images a second
    cpu: float  # seconds an image, of the store, too
    share: float  # of all cores' time
    digest: str  # of the file
    store: ObjectStore
    killed: bool
    errors: str  # what the workers said

    @property
    def requests_an_image(self) -> float:
        """Requests for images that were answered."""
        requests = [request.key.startswith(f"{IMAGES}/") and not request.fault for request in self.store.requests]
        return sum(requests) / sum(key.startswith(f"{IMAGES}/") for key in self.store.objects)


def encoder(folder: Path) -> Path:
    """An ONNX file of a strided convolution with random weights, and its preprocessing."""
    weights = np.random.default_rng(0).normal(size=(16, 3, 16, 16)).astype(np.float32)
    g, file = GraphBuilder(), folder / "encoder.onnx"
    g("Flatten", g("Conv", "pixel_values", weights, strides=[16, 16]), output="embedding")
    shapes = {"pixel_values": ["batch", 3, SIDE, SIDE], "embedding": ["batch", 64]}
    inputs, outputs = ([helper.make_tensor_value_info(name, FLOAT, shape)] for name, shape in shapes.items())
    graph = helper.make_graph(g.nodes, "encoder", inputs, outputs, g.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, file)
    (folder / "preprocessor_config.json").write_text(PROCESSOR, encoding="utf-8")
    return file


class Cluster:
    """Images in a folder, an encoder, and the file of one extraction from it."""

    def __init__(self, folder: Path, num: int) -> None:
        folder.mkdir()
        self.folder, self.num = folder, num
        self.manifest, self.backbone = pictures.write(folder, num, 2 * SIDE), f"onnx:{encoder(folder)}"
        self.environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self.environment |= {"OMP_NUM_THREADS": "1"}
        file = folder / "folder.h5"
        call = ["aigid", "extract", self.manifest, "--root", folder / "images", "--backbone", self.backbone]
        environment = self.environment | {"AIGID_CACHE": str(folder / "cache")}
        environment.pop("AIGID_ROWS", None)
        subprocess.run([*map(str, call), "--out", str(file)], env=environment, check=True, capture_output=True)
        self.digest = digest_of(file)

    def run(
        self, workers: int, latency: float, faults: float, kill: Callable[[ObjectStore], bool] | None = None
    ) -> Run:
        """Run the script; the first worker gets SIGKILL when ``kill`` says so. RuntimeError where the script fails."""
        store, file = ObjectStore(latency, faults), self.folder / "cluster.h5"
        for path in (self.folder / "images").iterdir():
            store.objects[f"{IMAGES}/{path.name}"] = path.read_bytes()
        store.objects[f"{ROWS}/made"] = b""  # the bucket
        call = [SCRIPT, self.manifest, f"s3://{IMAGES}", self.backbone, workers, file]
        file.unlink(missing_ok=True)
        used, killed = [], False
        with store.running(), tempfile.TemporaryFile("w+") as errors:
            environment = self.environment | store.environment() | {"AIGID_ROWS": f"s3://{ROWS}"}
            script = subprocess.Popen(list(map(str, call)), env=environment, stdout=errors, stderr=errors)
            while script.poll() is None:
                used.append((perf_counter(), cpu_seconds()))
                if kill and not killed and kill(store):
                    killed = kill_worker(script.pid, f"1/{workers}")
                sleep(0.2)
            errors.seek(0)
            text = errors.read()
        if script.returncode:
            raise RuntimeError(text)
        return Run(*paces(store.requests, workers, used), digest_of(file), store, killed, text)


def cpu_seconds() -> float:
    """Of this process and all those below, also those that have ended."""
    this, total = psutil.Process(), 0.0
    for process in (this, *this.children(recursive=True)):
        with suppress(psutil.Error):
            total += sum(process.cpu_times()[:4])
    return total


def kill_worker(script: int, part: str) -> bool:
    """Send SIGKILL to the process that extracts a part; whether there was one."""
    for process in psutil.Process(script).children(recursive=True):
        with suppress(psutil.Error):
            if process.cmdline()[-2:] == ["--part", part]:
                process.kill()
                return True
    return False


def worker_of(request: Request, workers: int) -> int | None:
    """Which worker reads an image, by its row in the manifest; None of other requests and of faults."""
    bucket, _, name = request.key.partition("/")
    is_image = bucket == IMAGES and request.operation == "GET" and not request.fault
    return int(Path(name).stem) % workers if is_image else None


def paces(requests: list[Request], workers: int, used: list[tuple[float, float]]) -> tuple[float, float, float]:
    """A ``Run``'s pace, CPU and share, from the last worker's first image to the first one's last."""
    times: list[list[float]] = [[] for _ in range(workers)]
    for request in requests:
        if (worker := worker_of(request, workers)) is not None:
            times[worker].append(request.seconds)
    start, stop = max(map(min, times)), min(map(max, times))
    num = sum(start <= second <= stop for part in times for second in part)
    begun, done = np.interp([start, stop], *np.transpose(used))
    return num / (stop - start), (done - begun) / num, (done - begun) / (stop - start) / num_workers()


def digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def row(name: str, cluster: Cluster, runs: list[Run], ideals: list[Run], bound: float = 0.0) -> list[str]:
    """The cells of interleaved rounds: medians, of ratios to the round's ideal too; counts of the last round."""
    run, pairs = runs[-1], list(zip(runs, ideals, strict=False))
    counts = run.store.counts()
    faults = sum(counts[kind] for kind in FAULTS)
    assert all(run.digest == cluster.digest for run in runs), f"{name}: the file is another"
    return [
        name,
        f"{median(run.pace for run in runs):.0f}",
        f"{median(run.pace / (bound or ideal.pace) for run, ideal in pairs):.2f}" if pairs else "-",
        f"{median(ideal.cpu / run.cpu for run, ideal in pairs):.2f}" if pairs else "-",
        f"{median(run.cpu for run in runs) * 1e3:.1f}",
        f"{median(run.share for run in runs):.2f}",
        f"{run.requests_an_image:.3f}",
        ", ".join(f"{counts[kind]} {kind}" for kind in FAULTS) if faults else "-",
        f"{faults - len(run.store.unanswered())} of {faults}" if faults else "-",
    ]


def compare(few: Cluster, many: Cluster, workers: int, latency: float, wait: float, faults: float) -> Table:
    """A row for each kind of run."""
    title = f"JPEGs of 64 px, {few.num} for one worker, else {many.num}; {READS} reads at once each; all files the same"
    headers = ("run", "images/s", "of the ideal", "by CPU time", "CPU ms an image", "of all cores")
    table = Table(*headers, "requests an image", "faults", "asked again", title=title)
    for count, cluster, rounds in ((1, few, 3), (workers, many, 1)):
        pairs = [(cluster.run(count, 0, 0), cluster.run(count, latency, faults)) for _ in range(rounds)]
        ideals, runs = (list(column) for column in zip(*pairs, strict=True))
        name = f"{count} worker{'s' if count > 1 else ''}"
        table.add_row(*row(f"{name}, ideal", cluster, ideals, ideals))
        table.add_row(*row(f"{name}, {latency * 1e3:.0f} ms, {faults:.0%} faults", cluster, runs, ideals))
    runs, bound = [many.run(workers, wait, faults)], workers * READS / wait
    table.add_row(*row(f"{workers} workers, {wait:g} s; ideal: {bound:.0f}/s", many, runs, ideals, bound))
    run = many.run(2, latency, faults, lambda store: store.counts()["PUT"] >= 2)
    part = many.num // 2
    twice = sum(worker_of(request, 2) == 0 for request in run.store.requests) - part
    name = f"2 workers, one killed after {SHARD_ROWS} of {part}, {twice} read twice"
    table.add_row(*row(name if run.killed else "2 workers, none killed", many, [run], []))
    return table


@click.command(help=__doc__)
@click.option("--images", nargs=2, default=(2_400, 9_600), show_default=True, help="For one worker, for many.")
@click.option("--workers", default=16, show_default=True)
@click.option("--latency", default=0.02, show_default=True, help="Seconds a request.")
@click.option("--wait", default=2.0, show_default=True, help="Seconds a request of the run that only waits.")
@click.option("--faults", default=0.01, show_default=True, help="Share of requests.")
@record.out_option
def main(images: tuple[int, int], workers: int, latency: float, wait: float, faults: float, out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        few, many = (Cluster(Path(folder, str(num)), num) for num in images)
        print(f"one extraction from a folder, as of all runs: sha256 {few.digest}, {many.digest}")
        record.publish(compare(few, many, workers, latency, wait, faults), "cluster", out, width=160)


if __name__ == "__main__":
    main()
