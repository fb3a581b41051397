"""Evaluate one detector's scores of every dataset; one named after a protocol gets the protocol's numbers too."""

from pathlib import Path

import click

from aigid.core import manifest, params, scores, traits
from aigid.core.console import ErrorHandlingCommand
from aigid.core.errors import InputError
from aigid.core.files import sha256
from aigid.evaluation import attribution, protocols
from aigid.evaluation.evaluate import evaluate, write_result
from aigid.metrics.decisions import EvaluationSettings


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--detector", required=True)
@click.option("--scores", "folder", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--manifests", type=Path, required=True, help="Folder of <dataset>.csv: what is in test alone.")
@click.option("--traits", "described", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--out", type=Path, required=True, help="Gets metrics/, details/, plots/ and calibration/.")
def main(detector: str, folder: Path, manifests: Path, described: Path, out: Path) -> None:
    settings, seed = params.load_section("evaluation", EvaluationSettings), params.load_section("seed", int)
    paths = {dataset: folder / f"{dataset}.csv" for dataset in params.load_section("datasets", list[str])}
    frames = {dataset: scores.read(path) for dataset, path in paths.items()}
    for dataset, frame in frames.items():
        rows = frame.merge(traits.to_strata(traits.read(described / f"{dataset}.csv")), on="path", how="left")
        strata = [name for name in ("size", "compression") if rows[name].nunique() > 1]
        images = manifest.read(manifests / f"{dataset}.csv")
        result = evaluate(rows, seed, strata=strata, settings=settings, manifest=images)
        result.run_info["sha256 of the scores"] = sha256(paths[dataset])
        if dataset in protocols.PROTOCOLS:
            result.run_info["protocol"] = dataset
            try:
                numbers = protocols.find(dataset).apply(protocols.rows_of(dataset, frames))
                result.metrics.update({f"{dataset}_{key}": value for key, value in numbers.items()})
            except InputError as error:
                result.missing_metrics[f"{dataset}_protocol"] = str(error)
        if attribution.classes_of(rows):
            named = attribution.attribute(rows, result.view, seed)
            result.metrics.update(named.metrics)
            attribution.write(named, out, detector, dataset)
        write_result(result, out, detector, dataset)


if __name__ == "__main__":
    main()
