"""How every command and stage ends: 0 done, 1 done but for named inputs, 2 the call was wrong."""

import os
import sys

import click
from rich.console import Console

from aigid.core.errors import InputError

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that wait leave the cores to others


class ErrorHandlingCommand(click.Command):
    """A click command that turns a user's mistake into one line on stderr and exit status 2, and Ctrl-C into 1."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise click.ClickException(str(stop) or "stopped") from None
        except (InputError, OSError) as error:
            failure = click.ClickException(" ".join(str(error).split()))
            failure.exit_code = 2
            raise failure from error


def print_status(message: str) -> None:
    """A line for the person who waits; stdout is for results."""
    click.echo(message, err=True)


def report_failures(failed: list[tuple[str, str]], most: int = 20) -> None:
    """Name the inputs that could not be read, as (path, reason)."""
    for path, reason in failed[:most]:
        print_status(f"{path}: {reason}")
    if failed:
        more = f" ({len(failed) - most} more not named)" if len(failed) > most else ""
        print_status(f"{len(failed)} images could not be read{more}; each keeps its row")


# Where commands print their tables.

PIPE_WIDTH = 160  # columns where there is no terminal to ask; Rich's own 80 fold every table


def console() -> Console:
    """Standard output, as wide as the terminal is."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
