"""Messages, tables, interrupts and exit statuses of commands and stages."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from aigid.core.errors import InputError, remedy

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import Console

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that wait leave the cores to others


SAME_SIGNAL_SECONDS = 1.0  # in which ``torchrun`` passes on the Ctrl-C that its processes have got from the terminal
PIPE_WIDTH = 160  # columns without a terminal; Rich's default of 80 folds every table


class UserError(click.ClickException):
    """A line on stderr, and exit status 2."""

    exit_code = 2


class ErrorHandlingCommand(click.Command):
    """A click command that turns an InputError or OSError into one line and exit status 2, and Ctrl-C into 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise click.ClickException(str(interrupt) or "stopped") from None
        except (InputError, OSError) as error:
            hint = remedy(error) if isinstance(error, OSError) else ""
            raise UserError(" ".join(f"{error}{hint}".split())) from error


def print_status(message: str) -> None:
    """Print to stderr; stdout is for results."""
    click.echo(message, err=True)


def report_failures(failed: Sequence[tuple[str, str]], max_displayed: int = 20) -> None:
    """Print (path, reason) of the images that could not be read."""
    for path, reason in failed[:max_displayed]:
        print_status(f"{path}: {reason}")
    if failed:
        more = f" ({len(failed) - max_displayed} more not named)" if len(failed) > max_displayed else ""
        print_status(f"{len(failed)} images could not be read{more}; each keeps its row")


def console() -> "Console":
    """Return standard output, as wide as the terminal is."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def print_tables(tables: "Mapping[str, DataFrame]", console: "Console") -> None:
    """Print tables, each below its title; no cell is taken for markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    for title, rows in tables.items():
        table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for column in rows:
            table.add_column(Text(str(column)), overflow="fold")
        for row in rows.itertuples(index=False):
            table.add_row(*(Text(str(cell)) for cell in row))
        console.print(table)


def printable(text: str) -> str:
    """Return a text without the lone surrogates that stand for the bytes of a name that is not UTF-8."""
    return text.encode(errors="backslashreplace").decode()


@contextmanager
def defer_interrupts() -> Iterator[list[int]]:
    """Collect SIGINT or SIGTERM in the list that is given, so that a step can be saved; a second one acts as before.

    Outside the main thread, which alone may handle signals, nothing changes.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    first = 0.0

    def on_signal(number: int, _: object) -> None:
        nonlocal first
        if not received:
            first = time.monotonic()
            received.append(number)
        elif time.monotonic() - first > SAME_SIGNAL_SECONDS:
            restore()
            os.kill(os.getpid(), number)

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    for number in previous:
        signal.signal(number, on_signal)
    try:
        yield received
    finally:
        restore()
