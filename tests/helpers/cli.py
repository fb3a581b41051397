"""The `aigid` command in this process."""

from contextlib import chdir
from pathlib import Path

from click.testing import CliRunner, Result

from aigid.cli.main import main


def aigid(*arguments: str, cwd: Path) -> Result:
    """Run a command in a folder."""
    with chdir(cwd):
        return CliRunner().invoke(main, [*arguments], prog_name="aigid")


def refused(done: Result, *texts: str) -> None:
    """Assert exit status 2, nothing on stdout, and one line that names each of the texts (click adds the usage)."""
    assert done.exit_code == 2, done.stderr
    assert done.stdout == ""
    *usage, line = done.stderr.splitlines()
    assert not usage or usage[0].startswith("Usage: ")
    assert line.startswith("Error: ")
    for text in texts:
        assert text in line
