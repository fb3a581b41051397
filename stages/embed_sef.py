"""Embed the aligned pairs and every dataset's judged images with SEF's experts, side by side."""

from pathlib import Path

import click

from aigid import params
from aigid.command import Command, tell_failed
from aigid.data import manifest
from aigid.detectors.scoring import judged
from aigid.detectors.sef.settings import EXPERTS, SefSettings
from aigid.files import dataset_root


@click.command(cls=Command, help=__doc__)
@click.option("--experts", type=Path, required=True, help="Folder of <expert>.safetensors.")
@click.option("--pairs", type=Path, required=True, help="Folder of <domain>/pairs.")
@click.option("--manifests", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--out", type=Path, required=True, help="Gets experts/ and both/ of aligned_<domain>.h5, <dataset>.h5.")
def main(experts: Path, pairs: Path, manifests: Path, out: Path) -> None:
    settings, datasets = params.load("sef", SefSettings), params.load("datasets", list[str])
    views, seed = params.load("views", list[str]), params.load("seed", int)
    from aigid.detectors.sef.embedding import embed  # torch, once the parameters are known to be good

    wanted = {f"aligned_{domain}": (pairs / domain / "pairs", settings.fusion.views) for domain in EXPERTS["both"]}
    tables = {name: manifest.read(root / "manifest.csv") for name, (root, _) in wanted.items()}
    wanted |= {name: (dataset_root(name), views) for name in datasets}
    tables |= {name: judged(manifest.read(manifests / f"{name}.csv")).reset_index(drop=True) for name in datasets}
    files = {name: experts / f"{name}.safetensors" for name in EXPERTS}
    for name, (root, shown) in wanted.items():
        for of, chosen, in_views in (("experts", EXPERTS["both"], ["clean", *shown]), ("both", ("both",), ["clean"])):
            paths = [files[it] for it in chosen]
            found = embed(settings, paths, tables[name], root, list(dict.fromkeys(in_views)), seed)
            tell_failed([(sample.path, f"{sample.status}: {sample.message}") for sample in found.failed])
            found.write(out / of / f"{name}.h5")


if __name__ == "__main__":
    main()
