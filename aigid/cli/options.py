"""What several commands take: kinds of path, and the engine."""

from pathlib import Path

import click

from aigid.core.paths import AnyPath, as_path, is_remote


class Root(click.Path):
    """A folder, here or by its address."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> AnyPath:
        """Return a path, local or remote."""
        return as_path(value) if is_remote(value) else super().convert(value, param, ctx)


PATH = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
ROOT = Root(path_type=Path, file_okay=False)
engine = click.option("--engine", help="Where it is computed: local or ray.  [default: $AIGID_ENGINE, else local]")
