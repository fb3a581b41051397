"""Compare experts, naive mix and fusions on held-out fakes and unseen generators, and look into experts and gate."""

from pathlib import Path

import click

from aigid.core import manifest, params, tables
from aigid.core.console import ErrorHandlingCommand
from aigid.core.files import dataset_root
from aigid.detectors.bundle import load_detector
from aigid.detectors.samples import open_dataset, without_train
from aigid.detectors.sef.settings import EXPERTS
from aigid.report import figures


@click.command(cls=ErrorHandlingCommand, help=__doc__)
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
    seed, unseen = params.load_section("seed", int), without_train(manifest.read(manifest_path)).reset_index(drop=True)
    known = {domain: manifest.read(pairs / domain / "pairs/manifest.csv") for domain in EXPERTS["both"]}
    files = {f"held-out {name}": (table, f"aligned_{name}.h5") for name, table in known.items()}
    files["unseen generators"] = (unseen, f"{dataset}.h5")
    from aigid.detectors.sef.detector import Sef  # torch, once the inputs are known to be good
    from aigid.experiments import sef

    detector = load_detector(folder, Sef)
    sides = {of: {name: open_dataset(table, [embeddings / of / file]) for name, (table, file) in files.items()}
             for of in ("experts", "both")}  # fmt: skip
    test_sets = {name: sef.build_test_set([side[name] for side in sides.values()]) for name in files}
    train = [sides["experts"][f"held-out {name}"] for name in known]
    tables.write(sef.compare(detector, train, test_sets, experts, seed), out / "comparison.csv")
    figures.save(sef.gate_weights(detector, test_sets), out / "gate.png")
    figures.save(sef.sample_images(detector, unseen, dataset_root(dataset)), out / "maps.png")


if __name__ == "__main__":
    main()
