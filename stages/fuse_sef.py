"""Train SEF's gate on the experts' features of the aligned pairs, and score every dataset by it."""

from pathlib import Path

import click
import pandas as pd

from aigid.base import params
from aigid.base.command import Command
from aigid.data import manifest
from aigid.detectors.base.rows import EmbeddedDataset, open_dataset
from aigid.detectors.base.scoring import judged, score, validate
from aigid.detectors.sef.settings import EXPERTS, SefSettings
from aigid.evaluation import scores


@click.command(cls=Command, help=__doc__)
@click.option("--dataset", required=True, help="Whose photographs were aligned.")
@click.option("--experts", type=Path, required=True, help="Folder of <expert>.safetensors.")
@click.option("--pairs", type=Path, required=True, help="Folder of <domain>/pairs.")
@click.option("--manifests", type=Path, required=True, help="Folder of <dataset>.csv.")
@click.option("--embeddings", type=Path, required=True, help="Folder of aligned_<domain>.h5 and <dataset>.h5.")
@click.option("--out", type=Path, required=True, help="The model's folder.")
@click.option("--scores", "scored", type=Path, required=True, help="Folder of the scores files.")
def main(dataset: str, experts: Path, pairs: Path, manifests: Path, embeddings: Path, out: Path, scored: Path) -> None:
    settings, seed, demos = (params.load(*it) for it in (("sef", SefSettings), ("seed", int), ("demo", dict)))
    datasets = params.load("datasets", list[str])
    known = {it: pairs / it / "pairs/manifest.csv" for it in EXPERTS["both"]}
    aligned = [open_dataset(manifest.read(it), [embeddings / f"aligned_{name}.h5"]) for name, it in known.items()]
    from aigid.detectors.base.models import Model, save  # torch, once the inputs are known to be good
    from aigid.detectors.base.origin import of_embeddings
    from aigid.detectors.sef.detector import DOMAINS, Sef
    from aigid.detectors.sef.embedding import lessons

    train = lessons(aligned, "train", settings.fusion.views)
    fitted = Sef.fit(settings, train, [experts / f"{domain}.safetensors" for domain in DOMAINS], seed)
    whole = EmbeddedDataset(pd.concat([one.manifest for one in aligned]), aligned[0].files)
    made_from = of_embeddings(dataset, known["vae"], whole, dataset in demos)
    held = {name: validate(fitted, one) for name, one in zip(known, aligned, strict=True)}
    parts = [part.assign(path=f"{name}/" + part["path"]) for name, part in held.items() if part is not None]
    validation = pd.concat(parts, ignore_index=True) if parts else None
    model = Model("sef", fitted, settings.model_dump(mode="json"), aligned[0].fingerprints, made_from, validation)
    save(model, out)
    for name in datasets:
        table = judged(manifest.read(manifests / f"{name}.csv")).reset_index(drop=True)
        scores.write(score(model, open_dataset(table, [embeddings / f"{name}.h5"])), scored / f"{name}.csv")


if __name__ == "__main__":
    main()
