"""The network with fewer channels, or with a quirk of the published code, everything else being equal."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score, roc_auc_score

from aigid.core.embeddings import OK
from aigid.detectors.cnn.detector import Cnn, generator_names
from aigid.detectors.cnn.settings import AblationSettings, CnnSettings
from aigid.detectors.samples import Samples, encode_labels

SETS = (("rgb",), ("rgb", "error"), ("rgb", "frequency"), ("rgb", "error", "frequency"))


def channel_sets(settings: CnnSettings, ablation: AblationSettings) -> dict[str, CnnSettings]:
    """Return the settings of the networks to compare, by their channels."""
    return {
        " ".join(channels): settings.model_copy(update={"channels": channels, "epochs": ablation.epochs})
        for channels in SETS
    }


def ablate(
    variants: Mapping[str, CnnSettings], manifest: pd.DataFrame, root: Path, vae: Path, seed: int
) -> pd.DataFrame:
    """Return a row a variant: ``network``, its ``val_f1_macro``, and on test ``auroc``, ``acc``, ``f1_macro``.

    The test rows are those of generators that train has.
    """
    return pd.DataFrame(
        [{"network": name} | _measure(settings, manifest, root, vae, seed) for name, settings in variants.items()]
    )


def _measure(settings: CnnSettings, manifest: pd.DataFrame, root: Path, vae: Path, seed: int) -> dict[str, float]:
    samples = Samples(manifest, root, seed)
    detector = Cnn.fit(settings, samples.subset("train"), samples.subset("val"), seed, vae=vae)
    test = manifest[manifest["split"] == "test"]
    names = generator_names(test, settings)
    known = np.isin(names, detector.classes)
    result = detector.score(Samples(test[known], root, seed), ["clean"])
    ok = result.status == OK
    y, p = encode_labels(names[known], detector.classes, "test")[ok], result.values["clean"][ok]
    return {
        "val_f1_macro": float(detector.logs["epochs"]["val_f1_macro"].max()),
        "auroc": float(roc_auc_score(y > 0, 1 - p[:, 0])),
        "acc": float((p.argmax(axis=1) == y).mean()),
        "f1_macro": float(f1_score(y, p.argmax(axis=1), average="macro")),
    }
