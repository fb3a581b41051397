"""Images per CPU second of each operator at 512 px, beside Pillow's JPEG q75 round trip in the same run.

python -m benchmarks.degrade
"""

import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import click
import numpy as np
import skimage
from PIL import Image
from rich.table import Table

from aigid.degradations import operators, policies
from benchmarks import record

SECONDS = 0.4  # of CPU time for each operator
UNLEVELLED = {
    "gaussian_blur": {"sigma": 3},
    "brightness": {"factor": 1.3},
    "hflip": {},
    "vflip": {},
    "low_resolution": {"side": 64, "back": 224},
    "centre_crop": {"share": 0.8},
    "square": {"side": 512},
    "pepper": {"density": 0.05},
    "median_blur": {"size": 3},
    "sharpen": {"amount": 2.0},
    "color_jitter": {"brightness": 1.2, "contrast": 0.8, "saturation": 1.2, "hue": 0.1},
    "grayscale": {},
}


def rate(function: Callable[[], object]) -> float:
    """Calls per CPU second, after one call that warms up."""
    function()
    start, calls = time.process_time(), 0
    while (spent := time.process_time() - start) < SECONDS:
        function()
        calls += 1
    return calls / spent


def round_trip(image: np.ndarray) -> np.ndarray:
    """The reference: saved by Pillow as JPEG q75 and read again."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=75)
    return np.asarray(Image.open(buffer))


def steps() -> dict[str, operators.AppliedOperator]:
    """Every operator once, those with levels at the middle one."""
    rng = np.random.default_rng(0)
    applied = {name: {"operator": name, "parameters": parameters} for name, parameters in UNLEVELLED.items()}
    for name, policy in policies.POLICIES.items():
        if isinstance(policy, operators.Sample):
            middle = (len(policy.weights) + 1) // 2
            for operator in (operator for group in policy.groups.values() for operator in group):
                applied[operator] = policies.at_level(name, operator, middle, rng)
    return applied


@click.command(help=__doc__)
@record.out_option
def main(out: Path) -> None:
    image = np.array(Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB"))
    rng = np.random.default_rng(0)
    reference = rate(lambda: round_trip(image))
    rates = {
        name: rate(lambda step=step: operators.apply_operators([step], image, rng)) for name, step in steps().items()
    }
    table = Table("operator", "images / CPU s", "of the reference", title="Operators at 512 x 512 px")
    table.add_row("Pillow JPEG q75 round trip (reference)", f"{reference:.0f}", "1.00")
    for name, value in sorted(rates.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{value:.0f}", f"{value / reference:.2f}")
    record.publish(table, "degrade", out)


if __name__ == "__main__":
    main()
