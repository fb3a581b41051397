"""The `aigid` command: the library calls of the stages, without DVC."""

import click

from aigid.cli import bundles, data, evaluation, features, prediction, weights


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="aigid")
def main() -> None:
    """Detect AI-generated images, and say honestly how well.

    Exit status: 0 done; 1 done, but some inputs could not be read (each is named); 2 the call was wrong;
    70 a fault of aigid, whose report is named.
    """


COMMANDS = (
    *(data.fetch, data.index, data.audit, data.degrade, data.align, data.preset),
    *(features.extract, features.cache, features.plan, weights.weights, evaluation.evaluate),
    *(bundles.card, prediction.ntire, prediction.predict, prediction.serve),
    *(bundles.import_detector, bundles.push, bundles.export),
)
for command in COMMANDS:
    main.add_command(command)
