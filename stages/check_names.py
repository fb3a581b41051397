"""Check params.yaml before a command of dvc.yaml holds a name of it, which a shell would read."""

from pathlib import Path

import click

from aigid.core import params
from aigid.core.console import ErrorHandlingCommand
from aigid.core.files import write_text


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--out", type=Path, required=True, help="A file that every such command depends on.")
def main(out: Path) -> None:
    params.read(Path("params.yaml"))
    write_text(out, "names of params.yaml are checked before a shell reads them\n")


if __name__ == "__main__":
    main()
