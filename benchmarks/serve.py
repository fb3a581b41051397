"""The service under load: N clients at once send images of about 1 MB, and wait where they are told to.

The bare model is the same predictor in this process, without HTTP, on the same images: N requests in flight wait N
times the seconds that it takes for an image.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from io import BytesIO
from pathlib import Path
from statistics import median

import click
import httpx
import numpy as np
import psutil
from PIL import Image
from rich.table import Table

import aigid
from aigid.core.files import num_workers
from aigid.prediction.inspection import inspect_batches, inspect_content
from aigid.prediction.predict import Predictor, predict_inspected
from benchmarks import record

VARIANTS = 8
AIGID = ("-c", "from aigid.cli.main import main; main()")


def noise_files(side: int) -> list[bytes]:
    """JPEGs of smooth noise, ``side`` square; of 1280 px each has about 1 MB."""
    files = []
    for seed in range(VARIANTS):
        rng = np.random.default_rng(seed)
        coarse = Image.fromarray(rng.integers(0, 256, (side // 16, side // 16, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)) + rng.normal(0, 14, (side, side, 3))
        out = BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
        files.append(out.getvalue())
    return files


def bare_seconds(predictor: Predictor, files: list[bytes], seconds: float) -> np.ndarray:
    """Wall and CPU seconds an image of the predictor alone, in batches of 32."""
    count, start, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        for part in inspect_batches(files * 4, lambda content, number: inspect_content(content, str(number))):
            count += len(list(predict_inspected([predictor], part, cached=False)))
    return np.array([time.perf_counter() - start, time.process_time() - cpu]) / count


async def load(address: str, files: list[bytes], clients: int, seconds: float) -> tuple[Counter[int], list[float]]:
    """Return how often each status was answered, and the seconds of the answers 200."""
    statuses, times = Counter[int](), list[float]()
    stop = time.perf_counter() + seconds

    async def client(number: int, session: httpx.AsyncClient) -> None:
        while time.perf_counter() < stop:
            start = time.perf_counter()
            headers = {"Content-Type": "image/jpeg"}
            answer = await session.post("/v1/detect", content=files[number % VARIANTS], headers=headers)
            statuses[answer.status_code] += 1
            if answer.status_code == 200:
                times.append(time.perf_counter() - start)
            else:
                await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=address, timeout=None, limits=limits) as session:
        await asyncio.gather(*(client(number, session) for number in range(clients)))
    return statuses, times


@click.command(help=__doc__)
@click.option("--clients", default=200, show_default=True)
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--side", default=1280, show_default=True, help="Of the images, in pixels.")
@record.out_option
def main(clients: int, seconds: float, side: int, out: Path) -> None:
    files = noise_files(side)
    predictor = aigid.load()
    predictor.predict(Image.open(BytesIO(files[0])))  # loads the encoder
    bare = bare_seconds(predictor, files, seconds / 6)
    command = [sys.executable, *AIGID, "serve", "--port", "0", "--max-seconds", "600"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "200"}) as server:
        assert server.stderr is not None
        address = re.match(r"http://[\d.:]+", server.stderr.readline())
        if address is None:
            raise click.ClickException(server.stderr.read())
        drain = subprocess.Popen(["cat"], stdin=server.stderr, stdout=subprocess.DEVNULL)
        process = psutil.Process(server.pid)
        asyncio.run(load(address[0], files, clients, seconds / 4))  # fills what is filled once
        first = process.memory_info().rss
        start, cpu = time.perf_counter(), sum(process.cpu_times()[:2])
        statuses, times = asyncio.run(load(address[0], files, clients, seconds))
        elapsed, last = time.perf_counter() - start, process.memory_info().rss
        cpu = (sum(process.cpu_times()[:2]) - cpu) / statuses[200]
        server.send_signal(signal.SIGTERM)
        server.wait()
        drain.wait()
    bare = (bare + bare_seconds(predictor, files, seconds / 6)) / 2
    size = sum(map(len, files)) / VARIANTS / 1e6
    table = Table(
        *("clients", "answers", "images/s", "p50 / bare model", "CPU / bare model", "MB of memory", "after the load"),
        title=f"{num_workers()} cores, shared with the clients; images of {size:.1f} MB for {seconds:g} s",
    )
    answers = ", ".join(f"{count} of {status}" for status, count in sorted(statuses.items()))
    ratios = (median(times) / (clients * bare[0]), cpu / bare[1])
    sizes = (f"{first / 1e6:.0f}", f"{last / 1e6:.0f}")
    table.add_row(
        str(clients), answers, f"{statuses[200] / elapsed:.1f}", *(f"{ratio:.2f}" for ratio in ratios), *sizes
    )
    record.publish(table, "serve", out, width=120)


if __name__ == "__main__":
    main()
