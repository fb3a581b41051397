"""How fast the small generators align images, against a plain loop of one image at a time over the same networks.

python -m benchmarks.align
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pandas as pd
import torch
from PIL import Image
from rich.table import Table

from aigid.aligned import generator
from aigid.aligned.generator import AlignSettings
from aigid.aligned.pairs import AlignmentReport, make_aligned_pairs
from aigid.core.files import choose_device, device_name
from aigid.core.seeding import numpy_generator
from aigid.data.demo import DemoSettings, extract_tiles, load_source_images
from aigid.generators import GeneratorTrainingSettings
from aigid.generators.autoencoder_training import train_vae
from aigid.generators.srgan import train_super_resolution
from benchmarks import record

SMALL = DemoSettings(tile_size=32, stride=32, tiles_per_photograph=256)
TRAINED = GeneratorTrainingSettings(steps=200, batch_size=8, learning_rate=0.002)


def write(root: Path, num: int, side: int) -> pd.DataFrame:
    """A manifest of ``num`` JPEGs of ``side`` px."""
    rng, sources = numpy_generator("benchmark align"), load_source_images()
    for n in range(num):
        image = Image.fromarray(sources[n % len(sources)].image)
        left, top = (int(rng.integers(0, size - min(side, size) + 1)) for size in image.size)
        cut = image.crop((left, top, left + side, top + side))
        cut.save(root / f"{n:05}.jpg", quality=int(rng.integers(60, 97)))
    paths = sorted(path.name for path in root.glob("*.jpg"))
    return pd.DataFrame({"path": paths, "label": 0, "generator": "real", "split": "train"})


def plain(table: pd.DataFrame, root: Path, settings: AlignSettings, out: Path) -> None:
    """The reference: decode, crop, forward, save; one after the other, nothing cached."""
    device = choose_device(device_name())
    maker = generator.load_generator(settings).to(device)
    out.mkdir()
    for path in table["path"]:
        with Image.open(root / path) as image:
            pixels = np.asarray(image)[: image.height // 8 * 8, : image.width // 8 * 8]
        with torch.inference_mode():
            x = torch.from_numpy(pixels.copy()).to(device).permute(2, 0, 1)[None].float() / 255
            fake = (maker(x, [path])[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        for kind, image in (("real", pixels), ("fake", fake)):
            Image.fromarray(image).save(out / f"{kind}-{path}", quality=90)


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    """Wall time and result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


@click.command(help=__doc__)
@click.option("--images", default=400, show_default=True)
@click.option("--side", default=32, show_default=True, help="Of the images, px.")
@record.out_option
def main(images: int, side: int, out: Path) -> None:
    tiles = np.concatenate([extract_tiles(source.image, source, SMALL) for source in load_source_images()])
    table = Table("domain", "what", "images / s", "of the reference", "PSNR dB", title=f"{images} JPEGs of {side} px")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["AIGID_CACHE"] = str(root / "cache")
        (root / "images").mkdir()
        rows = write(root / "images", images, side)
        makers = {"vae": train_vae, "gan": train_super_resolution}
        for domain, make in makers.items():
            make(tiles, TRAINED, root / f"{domain}.safetensors")
            settings = AlignSettings(domain=domain, weights=str(root / f"{domain}.safetensors"))
            generator.load_generator(settings)  # imports
            reference, _ = seconds(lambda s=settings: plain(rows, root / "images", s, root / f"plain-{s.domain}"))
            table.add_row(domain, "one image at a time (reference)", f"{images / reference:.0f}", "1.00", "")
            for what in ("aligned", "aligned again, fakes on the shelf"):
                spent, pairs = seconds(
                    lambda s=settings: make_aligned_pairs(rows, root / "images", s, root / f"out-{s.domain}")
                )
                assert isinstance(pairs, AlignmentReport)
                numbers = f"{images / spent:.0f}", f"{reference / spent:.2f}", f"{np.median(pairs.psnr):.1f}"
                table.add_row(domain, what, *numbers)
    record.publish(table, "align", out)


if __name__ == "__main__":
    main()
