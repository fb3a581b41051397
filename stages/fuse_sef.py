"""Train SEF's gate on the experts' features of the aligned pairs; the experts stay as they are."""

from dataclasses import replace
from pathlib import Path

import click
import pandas as pd

from aigid import params
from aigid.command import Command
from aigid.data import manifest
from aigid.detectors.rows import open_dataset
from aigid.detectors.sef.settings import EXPERTS, SefSettings


@click.command(cls=Command, help=__doc__)
@click.option("--dataset", required=True, help="Whose photographs were aligned.")
@click.option("--experts", type=Path, required=True, help="Folder of <expert>.safetensors.")
@click.option("--pairs", type=Path, required=True, help="Folder of <domain>/pairs.")
@click.option("--embeddings", type=Path, required=True, help="Folder of aligned_<domain>.h5.")
@click.option("--out", type=Path, required=True, help="The model's folder.")
def main(dataset: str, experts: Path, pairs: Path, embeddings: Path, out: Path) -> None:
    settings, seed, demos = (params.load(*it) for it in (("sef", SefSettings), ("seed", int), ("demo", dict)))
    manifests = {domain: pairs / domain / "pairs/manifest.csv" for domain in EXPERTS["both"]}
    aligned = {
        domain: open_dataset(manifest.read(path), [embeddings / f"aligned_{domain}.h5"])
        for domain, path in manifests.items()
    }
    from aigid.detectors.models import Model, save  # torch, once the inputs are known to be good
    from aigid.detectors.origin import of_images
    from aigid.detectors.scoring import validate
    from aigid.detectors.sef.detector import DOMAINS, Sef
    from aigid.detectors.sef.embedding import lessons

    train = lessons(aligned.values(), "train", settings.fusion.views)
    fitted = Sef.fit(settings, train, [experts / f"{domain}.safetensors" for domain in DOMAINS], seed)
    made_from = of_images(
        dataset, manifests["vae"], pd.concat([one.manifest for one in aligned.values()]), seed, dataset in demos
    )
    model = Model("sef", fitted, settings.model_dump(mode="json"), aligned["vae"].fingerprints, made_from)
    parts = {domain: validate(model, one) for domain, one in aligned.items()}
    known = [part.assign(path=f"{domain}/" + part["path"]) for domain, part in parts.items() if part is not None]
    save(replace(model, validation=pd.concat(known, ignore_index=True) if known else None), out)


if __name__ == "__main__":
    main()
