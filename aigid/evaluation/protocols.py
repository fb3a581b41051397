"""The published protocols by name, so that a number can be compared with the paper's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import pandas as pd

from aigid.core.errors import InputError
from aigid.evaluation import published
from aigid.evaluation.results import Section


@dataclass(frozen=True)
class Protocol:
    """A way to turn scores into published numbers, in words and as a function of checked, readable test rows."""

    threshold: str
    sample: str
    crop: str
    average: str
    needs: str
    measure: Callable[[pd.DataFrame], dict[str, float]]

    def apply(self, scores: pd.DataFrame) -> dict[str, float]:
        """The numbers of a scores file; InputError names what it lacks."""
        return self.measure(scores[(scores["split"] == "test") & scores["score"].notna()])


PROTOCOLS = {
    "ufd": Protocol(
        threshold="0.5, and the best on the very images that are judged, found and counted as in the published code",
        sample="1,000 images a class of each test set, 100 where either class has fewer, drawn with seed 0",
        crop="224 px from the centre, without resizing",
        average="plain mean over the test sets",
        needs="view clean; generators are the test sets, and a real's source the set it belongs to",
        measure=published.ufd,
    ),
    "genimage": Protocol(
        threshold="0.5",
        sample="all images",
        crop="224 px",
        average="plain mean over the eight generators, each with its own photographs; over six degradations",
        needs="view clean, fakes of eight generators; for the degradations lr112, lr64, jpeg65, jpeg30, blur3, blur5",
        measure=published.genimage,
    ),
    "ntire": Protocol(
        threshold="none: AUROC",
        sample="all images",
        crop="the detector's own",
        average="all distorted images together (robust), all undistorted ones together (clean)",
        needs="view clean, and one or more views of distorted images",
        measure=published.ntire,
    ),
    "defactify": Protocol(
        threshold="0.5 for task A; the most probable class for task B",
        sample="all images",
        crop="the detector's own",
        average="macro F1 over the classes; the binary F1 of task A beside it",
        needs="view clean, and a column class_<name> for each class, class_real among them",
        measure=published.defactify,
    ),
    "dda": Protocol(
        threshold="0.5",
        sample="all images; fakes of GenImage, ForenSynths and AIGCDetectionBenchmark as JPEG 96",
        crop="the detector's own",
        average="balanced accuracy, mean over generators; mean and minimum over benchmarks (column benchmark)",
        needs="reals in view clean; fakes in view jpeg96",
        measure=published.dda,
    ),
}


def find(name: str) -> Protocol:
    """The protocol called ``name``; InputError that lists the known."""
    if name not in PROTOCOLS:
        raise InputError(f"protocol {name!r}: known are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def section(name: str, numbers: Mapping[str, Mapping[str, float]]) -> Section:
    """The protocol in words, and its numbers by detector, as a section of a report."""
    protocol = find(name)
    told = [(field.name, getattr(protocol, field.name)) for field in fields(Protocol) if field.name != "measure"]
    keys = list(dict.fromkeys(key for own in numbers.values() for key in own))
    rows = [[key, *(f"{own[key]:.4g}" if key in own else "-" for own in numbers.values())] for key in keys]
    return Section(
        "What the paper's protocol asks for, and what comes of it; thresholds and averages are its own, not ours.",
        {
            "Numbers": pd.DataFrame(rows, columns=["number", *numbers]),
            "Rules": pd.DataFrame(told, columns=["what", "how"]),
        },
    )
