"""Messages, tables, interrupts and exit statuses of commands and stages."""

import os
import shlex
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

import click

from aigid.core import escape
from aigid.core.errors import InputError, missing_package, remedy

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import Console

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that wait leave the cores to others


SAME_SIGNAL_SECONDS = 1.0  # in which ``torchrun`` passes on the Ctrl-C that its processes have got from the terminal
PIPE_WIDTH = 160  # columns without a terminal; Rich's default of 80 folds every table


class UserError(click.ClickException):
    """A line on stderr, and exit status 2."""

    exit_code = 2


class CrashError(click.ClickException):
    """A line on stderr that says where the report of a fault of this program lies, and exit status 70."""

    exit_code = 70  # EX_SOFTWARE of sysexits.h


class ErrorHandlingCommand(click.Command):
    """A click command whose errors are one line each: 2 for the user's, 1 for Ctrl-C and SIGTERM, 70 for a crash.

    An option that takes one value is given at most once.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            with suppress(click.UsageError):  # which the real parsing words
                given = Counter(self.make_parser(ctx).parse_args(list(args))[2])
                for option, times in given.items():
                    if times > 1 and isinstance(option, click.Option) and not (option.multiple or option.is_flag):
                        raise UserError(f"{max(option.opts, key=len)}: given {times} times, and takes one value")
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(escape.terminal(error.format_message()), error.ctx) from None

    def invoke(self, ctx: click.Context) -> object:
        try:
            with sigterm_as_interrupt():
                return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise click.ClickException(str(interrupt) or "stopped") from None
        except (InputError, OSError) as error:
            hint = remedy(error) if isinstance(error, OSError) else ""
            raise UserError(escape.terminal(escape.address(" ".join(f"{error}{hint}".split())))) from error
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and (line := missing_package(str(error.name), ctx.command_path)):
                raise UserError(line) from error
            raise CrashError(_report_crash(error)) from error


def _report_crash(error: Exception) -> str:
    """Write the traceback to a new file; return a line that names both."""
    command = escape.address(shlex.join(sys.argv))
    text = f"{command}\naigid {version('aigid')}, {sys.version}\n{''.join(traceback.format_exception(error))}"
    reason = escape.terminal(" ".join(f"{type(error).__name__}: {error}".split())[:200])
    try:
        handle, name = tempfile.mkstemp(prefix="aigid-crash-", suffix=".txt")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:  # noqa: PTH123
            file.write(text)
    except OSError:
        print_status(text)
        name = "above"
    return f"a fault of aigid, not of yours: {reason}; the report to send: {name}"


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, in this process and its main thread; processes it forks just end."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    process = os.getpid()

    def on_signal(number: int, _: object) -> None:
        if os.getpid() != process:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def print_status(message: str) -> None:
    """Print lines to stderr; stdout is for results."""
    click.echo("\n".join(map(escape.terminal, escape.address(message).split("\n"))), err=True)


def report_failures(failed: Sequence[tuple[str, str]], max_displayed: int = 20) -> None:
    """Print (path, reason) of the images that could not be read."""
    for path, reason in failed[:max_displayed]:
        print_status(escape.terminal(f"{path}: {reason}"))
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
            table.add_column(Text(escape.terminal(str(column))), overflow="fold")
        for row in rows.itertuples(index=False):
            table.add_row(*(Text(escape.terminal(str(cell))) for cell in row))
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
