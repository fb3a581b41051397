"""The command that serves verdicts over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aigid.cli import options
from aigid.cli.options import FILE
from aigid.core.console import ErrorHandlingCommand
from aigid.core.limits import MAX_PIXELS
from aigid.prediction import DEFAULT_BUNDLE

if TYPE_CHECKING:
    from aigid.metrics.decisions import EvaluationSettings

POSITIVE = click.IntRange(1)


@click.command(cls=ErrorHandlingCommand)
@click.option(
    "--model",
    "sources",
    multiple=True,
    type=options.BUNDLE,
    help="A bundle, or several: folders, or hf://USER/NAME[@REVISION].  [default: that of the package]",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--weights", help="Local weights of the bundle's backbone.")
@click.option("--allow-urls", is_flag=True, help="Fetch images from public addresses that requests name.")
@click.option("--api-keys", type=FILE, help="A file with the sha256 of each key that is let in, one a line.")
@click.option("--max-bytes", default=32 * 2**20, show_default=True, type=POSITIVE, help="Of a file.")
@click.option("--max-pixels", default=MAX_PIXELS, show_default=True, type=POSITIVE, help="Of an image.")
@click.option("--max-files", default=16, show_default=True, type=POSITIVE, help="In a request.")
@click.option(
    "--max-seconds",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="To send a request, and again to answer it.",
)
@click.option(
    "--max-requests", default=256, show_default=True, type=POSITIVE, help="That wait for an answer; others get 429."
)
@click.option("--max-memory", default=2**30, show_default=True, type=POSITIVE, help="Bytes of all files that wait.")
@options.decisions
def serve(
    sources: tuple[Path | str, ...],
    host: str,
    port: int,
    weights: str | None,
    allow_urls: bool,
    api_keys: Path | None,
    max_bytes: int,
    max_pixels: int,
    max_files: int,
    max_seconds: float,
    max_requests: int,
    max_memory: int,
    settings: EvaluationSettings,
) -> None:
    """Give verdicts over HTTP, and a page that asks for them; stores nothing, and of an image logs its sha256."""
    from aigid.cli.prediction import check_bundles

    sources = sources or (DEFAULT_BUNDLE,)
    check_bundles(sources)
    from aigid.serve import limits, server

    keys = limits.ApiKeys(api_keys) if api_keys else None
    bounds = limits.Limits(max_bytes, max_pixels, max_files, max_seconds, max_requests, max_memory)
    server.serve(host, port, sources, settings, weights, bounds, keys, allow_urls)
