"""Compare experts, naive mix and fusions on held-out fakes and unseen generators, and look into experts and gate."""

from pathlib import Path

import click

from aigid.base import params, tables
from aigid.base.command import Command
from aigid.base.files import dataset_root
from aigid.data import manifest
from aigid.detectors.base.models import load
from aigid.detectors.base.rows import open_dataset
from aigid.detectors.base.samples import judged
from aigid.detectors.sef.settings import EXPERTS
from aigid.evaluation import figures


@click.command(cls=Command, help=__doc__)
@click.option("--experts", type=Path, required=True, help="Folder of <expert>.safetensors.")
@click.option("--pairs", type=Path, required=True, help="Folder of <domain>/pairs.")
@click.option("--dataset", required=True, help="Its generators are the unseen ones.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--embeddings", type=Path, required=True, help="Folder of experts/ and both/.")
@click.option("--model", "folder", type=Path, required=True, help="SEF's folder.")
@click.option("--out", type=Path, required=True, help="Folder of the table and the pictures.")
def main(
    experts: Path, pairs: Path, dataset: str, manifest_path: Path, embeddings: Path, folder: Path, out: Path
) -> None:
    seed, unseen = params.load("seed", int), judged(manifest.read(manifest_path)).reset_index(drop=True)
    known = {domain: manifest.read(pairs / domain / "pairs/manifest.csv") for domain in EXPERTS["both"]}
    files = {f"held-out {name}": (table, f"aligned_{name}.h5") for name, table in known.items()}
    files["unseen generators"] = (unseen, f"{dataset}.h5")
    from aigid.detectors.sef import comparison, pictures  # torch, once the inputs are known to be good
    from aigid.detectors.sef.embedding import lessons

    detector = load(folder).detector
    sides = {of: {name: open_dataset(table, [embeddings / of / file]) for name, (table, file) in files.items()}
             for of in ("experts", "both")}  # fmt: skip
    exams = {name: comparison.exam([side[name] for side in sides.values()]) for name in files}
    train = lessons([sides["experts"][f"held-out {name}"] for name in known], "train", detector.settings.fusion.views)
    names = {name: "naive mix" if name == "both" else name for name in EXPERTS}
    paths = {shown: experts / f"{name}.safetensors" for name, shown in names.items()}
    methods = comparison.verdicts(detector, train, paths, seed)
    scores = {of: {name: [verdict(x)] for name, (_, x) in exams.items()} for of, verdict in methods.items()}
    found = comparison.table({name: one for name, (one, _) in exams.items()}, scores, seed)
    tables.write(found, out / "comparison.csv")
    figures.save(pictures.trust_of(detector, exams), out / "gate.png")
    figures.save(pictures.shown(detector, unseen, dataset_root(dataset)), out / "maps.png")


if __name__ == "__main__":
    main()
