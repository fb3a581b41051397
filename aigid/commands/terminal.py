"""Where commands print their tables."""

import sys

from rich.console import Console

PIPE_WIDTH = 160  # columns where there is no terminal to ask; Rich's own 80 fold every table


def console() -> Console:
    """Standard output, as wide as the terminal is."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
