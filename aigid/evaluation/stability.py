"""Does a verdict survive delivery? The same image under several views, as others re-compress or resize it."""

import pandas as pd


def stability(test: pd.DataFrame, threshold: float) -> dict[str, float | str]:
    """How often and how far the scores of an image change from view to view, over images read in two views or more.

    ``flip_rate`` is the share of images called generated in some views and real in others, ``flip_rate_real`` and
    ``flip_rate_fake`` the same per class, ``score_spread`` the mean distance from an image's lowest score to its
    highest. A reason stands where there is no such image.
    """
    read = test[test["score"].notna()]
    images = read.groupby("path").agg(
        label=("label", "first"), low=("score", "min"), high=("score", "max"), num=("score", "size")
    )
    images = images[images["num"] > 1]
    flips = (images["low"] <= threshold) & (images["high"] > threshold)
    parts = {
        "flip_rate": flips,
        "flip_rate_real": flips[images["label"] == 0],
        "flip_rate_fake": flips[images["label"] == 1],
    }
    parts["score_spread"] = (images["high"] - images["low"]).sort_values()
    return {name: float(part.mean()) if len(part) else "no such image in two views" for name, part in parts.items()}
