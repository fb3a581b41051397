"""Images per CPU second of each operator at 224 and 512 px, and how far an operator is from what it was before.

    python -m benchmarks.degrade --save after.npz
    python -m benchmarks.degrade --before before.npz

``--save`` keeps rates and pixels; run by another version of the program (this file copied into its checkout), they are
what ``--before`` compares with: the ratio of the rates, and the rms in grey levels of what each changes in the
astronaut, and between the two. Levels are the middle ones, and for rms the last ones as well.
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

SECONDS = 0.3  # of CPU time for each operator and size
SIDES = (224, 512)
UNLEVELLED = {
    "gaussian_blur": {"sigma": 3},
    "dda_gaussian_blur": {"sigma": 1.0, "radius": 2},
    "dda_motion_blur": {"side": 5, "angle": 30},
    "gaussian_noise": {"deviation": 55},
    "brightness": {"factor": 1.3},
    "hflip": {},
    "vflip": {},
    "low_resolution": {"side": 64, "back": 224},
    "centre_crop": {"share": 0.8},
    "square": {"side": 512},
    "pepper": {"density": 0.05},
    "median_blur": {"size": 3},
    "sharpen": {"amount": 2.0},
    "color_jitter": {"brightness": 1.2, "contrast": 0.8, "saturation": 1.2, "hue": 0.1, "order": 7},
    "grayscale": {},
}
POLICIES, OLD_NAMES = ("ntire_train", "featdistill", "dda"), {"ntire_train": "ntire_basic"}
RENAMED = {"impulse": "impulsenoise", "poisson": "poisson_noise", "speckle": "speckle_noise", "iso": "iso_noise"}


def rate(function: Callable[[], object], seconds: float = SECONDS) -> float:
    """Calls per CPU second, after one call that warms up."""
    function()
    start, calls = time.process_time(), 0
    while (spent := time.process_time() - start) < seconds:
        function()
        calls += 1
    return calls / spent


def round_trip(image: np.ndarray) -> np.ndarray:
    """The reference: saved by Pillow as JPEG q75 and read again."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=75)
    return np.asarray(Image.open(buffer))


def steps() -> dict[str, list[operators.AppliedOperator]]:
    """Every operator by its name of today, those with levels at the middle one and the last, else one step."""
    result = {
        name: [{"operator": name, "parameters": parameters}]
        for name, parameters in UNLEVELLED.items()
        if name in operators.OPERATORS and not (name == "color_jitter" and "ntire_train" not in policies.POLICIES)
    }
    for policy, group in policies.POLICIES.items():
        if isinstance(group, operators.Sample):
            levels = (len(group.weights) + 1) // 2, len(group.weights)
            for name in (name for members in group.groups.values() for name in members):
                at = [policies.at_level(policy, name, level, np.random.default_rng(0)) for level in levels]
                form = at[0]["parameters"].get("form")
                result[RENAMED.get(name, name) + (f" ({form})" if form else "")] = at
    return result


def measure(image: np.ndarray) -> dict[str, np.ndarray]:
    """Return by name the rates (2,) at the two sizes, and under ``<name>/pixels`` the outputs (levels, H, W, 3)."""
    sizes = [np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS)) for side in SIDES]
    result = {"reference": np.array([rate(lambda x=x: round_trip(x)) for x in sizes])}
    for name, levels in steps().items():
        rng = np.random.default_rng(0)
        step = levels[0]
        rates = [rate(lambda step=step, x=x, rng=rng: operators.apply_operators([step], x, rng)) for x in sizes]
        result[name] = np.array(rates)
        if len(levels) == 2:
            outputs = [operators.apply_operators([step], sizes[1], np.random.default_rng(1)) for step in levels]
            result[f"{name}/pixels"] = np.stack(outputs)
    for name in POLICIES:
        policy, rng = name if name in policies.POLICIES else OLD_NAMES[name], np.random.default_rng(0)
        calls = [lambda x=x, policy=policy, rng=rng: policies.apply_policy(policy, x, rng) for x in sizes]
        result[f"policy {name}"] = np.array([rate(call, 5 * SECONDS) for call in calls])
    return result


def rms(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Root mean square difference of images (..., H, W, 3), in grey levels."""
    return np.sqrt(np.square(first.astype(float) - second).mean(axis=(-3, -2, -1)))


@click.command(help=__doc__)
@click.option("--save", type=Path, help="An .npz file that gets rates and pixels; no table is written.")
@click.option("--before", type=Path, help="What another version saved.")
@record.out_option
def main(save: Path | None, before: Path | None, out: Path) -> None:
    image = np.array(Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB"))
    now = measure(image)
    if save:
        np.savez_compressed(save, **now)
        return
    old = dict(np.load(before)) if before else {}
    table = Table(
        *("operator", "images / CPU s, 224 px", "512 px", "before, 224 px", "512 px before", "ratio, 224 px", "ratio"),
        *("rms, middle level", "rms before", "rms between", "rms, last level", "last before", "last between"),
        title="Operators; the reference is Pillow's round trip through JPEG q75",
    )
    for name in [name for name in now if "/" not in name]:
        known = name if name in old else name.partition(" (")[0]
        cells = [f"{value:.0f}" for value in now[name]]
        ratios = now[name] / old[known] if known in old else None
        cells += ["-"] * 4 if ratios is None else [f"{v:.0f}" for v in old[known]] + [f"{v:.2f}" for v in ratios]
        after, past = now.get(f"{name}/pixels"), old.get(f"{known}/pixels")
        for level in range(2):
            pairs = [(after, image), (past, image), (after, past)] if after is not None else [(None, None)] * 3
            cells += [
                "-" if a is None or b is None else f"{rms(a[level], b if b is image else b[level]):.1f}"
                for a, b in pairs
            ]
        table.add_row(name, *cells)
    record.publish(table, "degrade", out, width=200)


if __name__ == "__main__":
    main()
