"""The network with fewer channels, everything else being equal."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score, roc_auc_score

from aigid.detectors.cnn.detector import Cnn
from aigid.detectors.cnn.samples import Source
from aigid.detectors.cnn.settings import AblationSettings, Channel, CnnSettings

SETS: tuple[tuple[Channel, ...], ...] = (
    ("rgb",),
    ("rgb", "error"),
    ("rgb", "frequency"),
    ("rgb", "error", "frequency"),
)


def ablate(
    settings: CnnSettings, ablation: AblationSettings, manifest: pd.DataFrame, root: Path, vae: Path, seed: int
) -> pd.DataFrame:
    """``channels``, ``val_f1_macro`` of the best epoch, and on the test split ``auroc``, ``acc``, ``f1_macro``.

    The test rows are those of generators that train has.
    """
    rows = []
    for channels in SETS:
        how = settings.model_copy(update={"channels": channels, "epochs": ablation.epochs})
        source = Source(how, vae, root, seed)
        detector, log = Cnn.fit(how, source, manifest, seed)
        test = manifest[(manifest["split"] == "test") & manifest["generator"].isin(detector.classes)]
        y = np.array([detector.classes.index(name) for name in test["generator"]])
        samples, _ = source.samples(test, y, "clean")
        p = detector.probabilities(samples)
        rows.append(
            {
                "channels": " ".join(channels),
                "val_f1_macro": log["val_f1_macro"].max(),
                "auroc": roc_auc_score(samples.y > 0, 1 - p[:, 0]),
                "acc": (p.argmax(axis=1) == samples.y).mean(),
                "f1_macro": f1_score(samples.y, p.argmax(axis=1), average="macro"),
            }
        )
    return pd.DataFrame(rows)
