"""Embed the aligned pairs and every dataset's validation and test images with SEF's experts, side by side."""

from pathlib import Path

import click

from aigid.core import manifest, params
from aigid.core.console import ErrorHandlingCommand, report_failures
from aigid.core.files import dataset_root
from aigid.detectors.samples import without_train
from aigid.detectors.sef.settings import EXPERTS, ExpertSettings


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--experts", type=Path, required=True, help="Folder of <expert>.safetensors.")
@click.option("--pairs", type=Path, required=True, help="Folder of <domain>/pairs.")
@click.option("--dataset", required=True, help="Whose photographs were aligned.")
@click.option("--manifests", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--out", type=Path, required=True, help="Gets experts/ and both/ of aligned_<domain>.h5, <dataset>.h5.")
def main(experts: Path, pairs: Path, dataset: str, manifests: Path, out: Path) -> None:
    settings, datasets = params.load_section("sef.expert", ExpertSettings), params.load_section("datasets", list[str])
    views, seed = params.load_section("views", list[str]), params.load_section("seed", int)
    train_views = ["clean", *params.load_section("sef.fusion.views", list[str])]
    from aigid.detectors.sef.training import backbone  # torch, once the parameters are known to be good
    from aigid.features.extract import EncoderLoader, extract

    known = {f"aligned_{domain}": pairs / domain / "pairs" for domain in EXPERTS["both"]}
    tables = {name: (manifest.read(root / "manifest.csv"), root, train_views) for name, root in known.items()}
    for name in datasets:
        rows = without_train(manifest.read(manifests / f"{name}.csv")).reset_index(drop=True)
        tables[name] = rows, dataset_root(name), views
    loader, compared = EncoderLoader(), {*known, dataset}
    for name, (table, root, table_views) in tables.items():
        jobs = {"experts": (EXPERTS["both"], table_views), "both": (["both"], ["clean"])}
        for of, (chosen, in_views) in jobs.items() if name in compared else [("experts", jobs["experts"])]:
            paths = [experts / f"{expert}.safetensors" for expert in chosen]
            encoder, names = backbone(settings, paths), list(dict.fromkeys(in_views))
            embedded = extract(table, root, encoder, names, seed, loader=loader)
            report_failures([(sample.path, f"{sample.status}: {sample.message}") for sample in embedded.failed])
            embedded.write(out / of / f"{name}.h5")


if __name__ == "__main__":
    main()
