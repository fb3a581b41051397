"""Make aligned fakes of a dataset's photographs in one domain, paired with them; after a kill, go on."""

from pathlib import Path

import click

from aigid.aligned.generator import AlignedSettings, resolve_generator_settings, subsample
from aigid.core import manifest, params
from aigid.core.console import ErrorHandlingCommand, report_failures
from aigid.core.files import dataset_root


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--domain", type=click.Choice(["vae", "gan"]), required=True)
@click.option("--dataset", required=True, help="Its images lie in $AIGID_DATA/<dataset> or data/images/<dataset>.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--out", type=Path, required=True, help="Folder of pairs/, and of a generator that is trained here.")
def main(domain: str, dataset: str, manifest_path: Path, out: Path) -> None:
    settings, seed = params.load_section("aligned", AlignedSettings), params.load_section("seed", int)
    table, root = subsample(manifest.read_to_learn(manifest_path), settings.max_images), dataset_root(dataset)
    from aigid.aligned.pairs import make_aligned_pairs, read_quality_map  # torch, once the parameters are known good

    qualities = read_quality_map(root / settings.quality_map) if settings.quality_map else None
    generator = resolve_generator_settings(getattr(settings, domain), domain, table, root, out, seed)
    result = make_aligned_pairs(table, root, generator, out / "pairs", qualities=qualities)
    report_failures(result.failures)
    for line in result.describe():
        click.echo(line, err=True)


if __name__ == "__main__":
    main()
