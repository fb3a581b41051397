"""Experts, naive mix and fusions on held-out and unseen fakes, over several seeds, with the conflict of gradients.

python -m benchmarks.sef                                           the demo's photographs, from data/images/demo
python -m benchmarks.sef --manifest cifake.csv    after `aigid preset cifake`: CIFAR-10's, $AIGID_DATA/cifake
"""

import resource
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression

from aigid.aligned.generator import AlignedSettings, resolve_generator_settings, subsample
from aigid.aligned.pairs import make_aligned_pairs
from aigid.core import manifest, params
from aigid.core.console import ErrorHandlingCommand
from aigid.core.files import choose_device, dataset_root, device_name
from aigid.detectors.samples import LabeledEmbeddings, Samples, join, open_dataset
from aigid.detectors.sef import model, training
from aigid.detectors.sef.data import Pairs, open_pairs
from aigid.detectors.sef.detector import Sef
from aigid.detectors.sef.settings import EXPERTS, ExpertSettings, SefSettings
from aigid.experiments import sef
from aigid.experiments.sef import TestSet
from aigid.features import lora
from aigid.features.extract import extract
from benchmarks import record, sef_gradients

MIX = "naive mix"
RUNS = {"vae": ("vae",), "gan": ("gan",), MIX: EXPERTS["both"], f"{MIX}, twice the steps": EXPERTS["both"]}
Scores = dict[str, dict[str, np.ndarray]]  # by method and test set
PROBE = "linear probe of the bare encoder"
BATCH, BATCHES = 16, 10  # pairs to a gradient, and how many pairs of gradients


def prepare(aligned: AlignedSettings, table: pd.DataFrame, root: Path, folder: Path) -> dict[str, Pairs]:
    """The aligned pairs of both domains."""
    results = {}
    for domain in EXPERTS["both"]:
        settings = resolve_generator_settings(getattr(aligned, domain), domain, table, root, folder / domain, 0)
        aligned_pairs = make_aligned_pairs(table, root, settings, folder / domain / "pairs")
        print(domain, *aligned_pairs.describe())
        results[domain] = open_pairs(folder / domain / "pairs")
    return results


def train(settings: ExpertSettings, pairs: dict[str, Pairs], seed: int, folder: Path) -> tuple[dict[str, Path], Table]:
    """All experts of a seed."""
    columns = ("expert", "seconds", "images / s", "against expert vae")
    report, paths, first = Table(*columns, title=f"training, seed {seed}"), {}, None
    for name, taken in RUNS.items():
        start, times = time.perf_counter(), 2 if "twice" in name else 1
        chosen_settings = settings.model_copy(
            update={"epochs": times * settings.epochs, "t_max": times * settings.t_max}
        )
        chosen = {domain: pairs[domain] for domain in taken}
        expert, _, checkpoint = training.fit(chosen_settings, chosen, seed, choose_device(device_name()))
        checkpoint.unlink()
        paths[name] = folder / f"{name}.safetensors"
        model.save(expert, settings, paths[name])
        num = (2 + 2 * len(settings.sampling.scales)) * chosen_settings.epochs * len(pairs["vae"].split("train"))
        spent = time.perf_counter() - start
        first = first or num / spent
        report.add_row(name, f"{spent:.0f}", f"{num / spent:.0f}", f"{num / spent / first:.2f}")
    return paths, report


def embed(
    settings: SefSettings, paths: list[Path], tables: dict[str, tuple[pd.DataFrame, Path]], folder: Path
) -> dict[str, Samples]:
    """The experts' features of everything, in the clean view and in those that the gate learns from."""
    results = {}
    for name, (table, root) in tables.items():
        views = list(dict.fromkeys(["clean", *settings.fusion.views]))
        extract(table, root, training.backbone(settings.expert, paths), views, 0).write(folder / f"{name}.h5")
        results[name] = open_dataset(table, [folder / f"{name}.h5"])
    return results


def score(
    settings: SefSettings, paths: dict[str, Path], data: dict[str, Samples], seed: int
) -> tuple[dict[str, TestSet], Scores]:
    """The test sets, and every method's scores on each; the last features are the bare encoder's."""
    taken = {name: sef.build_test_set([entry]) for name, entry in data.items()}
    aligned = [data[f"held-out {domain}"] for domain in EXPERTS["both"]]
    rows = join(aligned, "train", settings.fusion.views)
    width = rows.widths[0]
    experts = LabeledEmbeddings(rows.x[:, : 2 * width], rows.y, widths=rows.widths[:2])
    gate = Sef.fit(settings, experts, experts, seed, experts=paths["vae"].parent)
    methods = sef.expert_scorers(gate, experts, paths, seed)
    bare = rows.x[:, -width:]
    mean, scale = bare.mean(axis=0), bare.std(axis=0) + 1e-12
    probe = LogisticRegression(C=0.1, max_iter=2000).fit((bare - mean) / scale, rows.y)
    methods[PROBE] = lambda x: probe.predict_proba((x[:, -width:] - mean) / scale)[:, 1]
    scores = {of: {name: verdict(x) for name, (_, x) in taken.items()} for of, verdict in methods.items()}
    return {name: entry for name, (entry, _) in taken.items()}, scores


def conflicts(settings: ExpertSettings, pairs: dict[str, Pairs], mixed: Path, seed: int) -> Scores:
    """The gradients' cosines on an expert of both domains, before its training and after."""
    size = model.base_settings(settings).preprocess.size
    batches = {
        name: training.PairBatches([domain.split("train")], settings, size, seed) for name, domain in pairs.items()
    }
    experts = {"before training": model.build(settings, seed), "after training": model.load(settings, mixed)}
    return {
        when: sef_gradients.gradient_cosines(expert, settings, batches, BATCH, BATCHES)
        for when, expert in experts.items()
    }


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--params", "file", type=Path, default=Path("params.yaml"), show_default=True,
              help="A whole one, as `aigid preset NAME` writes it.")  # fmt: skip
@click.option(
    "--manifest", "path", type=Path, help="Of the dataset whose photographs are aligned; else the pipeline's."
)
@click.option("--seeds", default=3, show_default=True)
@record.out_option
def main(file: Path, path: Path | None, seeds: int, out: Path) -> None:
    settings, aligned = (
        params.load_section("sef", SefSettings, file),
        params.load_section("aligned", AlignedSettings, file),
    )
    dataset, console = aligned.dataset, Console(width=200)
    root = dataset_root(dataset)
    table = subsample(manifest.read(path or Path("data/manifests", f"{dataset}.csv")), aligned.max_images)
    with tempfile.TemporaryDirectory() as folder:
        pairs = prepare(aligned, table, root, Path(folder))
        tables = {
            f"held-out {name}": (manifest.read(domain.root / "manifest.csv"), domain.root)
            for name, domain in pairs.items()
        }
        tables[f"unseen: {dataset}"] = table[table["split"] != "train"].reset_index(drop=True), root
        results, test_sets, cosines = {}, {}, {}
        for seed in range(seeds):
            (seed_folder := Path(folder, str(seed))).mkdir()
            paths, report = train(settings.expert, pairs, seed, seed_folder)
            console.print(report)
            model.save(model.build(settings.expert, seed), settings.expert, seed_folder / "bare.safetensors")
            data = embed(settings, [*paths.values(), seed_folder / "bare.safetensors"], tables, seed_folder)
            test_sets, scores = score(settings, paths, data, seed)
            for method, by_test_set in scores.items():
                for name, values in by_test_set.items():
                    results.setdefault(method, {}).setdefault(name, []).append(values)
            for when, values in conflicts(settings.expert, pairs, paths[MIX], seed).items():
                cosines.setdefault(when, []).append(values)
        state = lora.lora_state_dict(model.load(settings.expert, Path(folder, "0", "vae.safetensors")).encoder)
        print(f"{sum(value.numel() for value in state.values()):,} parameters of an expert's adapters,",
              f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB,",
              f"on the CPU of this machine, {torch.get_num_threads()} threads")  # fmt: skip
    show(sef.table(test_sets, results, 0), cosines, dataset, out)


def show(rows: pd.DataFrame, cosines: dict[str, list[dict[str, np.ndarray]]], dataset: str, out: Path) -> None:
    """Print and write both tables."""
    names, values = list(dict.fromkeys(rows["tested_on"])), rows.set_index(["method", "tested_on"])["auroc"]
    title = f"{rows['num_seeds'].iloc[0]} seeds; last, what is missing to 1 on held-out fakes, against the {MIX}"
    report = Table("AUROC [95 %] (lowest to highest seed)", *names, "missing", title=title)
    for method, method_rows in rows.groupby("method", sort=False):
        cells = method_rows.set_index("tested_on").loc[names].itertuples()
        missing = (1 - values[method][names[:2]]).mean() / (1 - values[MIX][names[:2]]).mean()
        report.add_row(method, *(f"{row.auroc:.3f} [{row.low:.3f}, {row.high:.3f}] ({row.lowest_seed:.3f} to "
                                f"{row.highest_seed:.3f})" for row in cells), f"{missing:.2f} x")  # fmt: skip
    record.publish(report, f"sef_{dataset}", out, width=200)
    report = Table(
        "cosine of gradients on the shared adapters", "between domains", "within a domain", "below 0 between"
    )
    for when, values in cosines.items():
        between, within = (np.concatenate([row[name] for row in values]) for name in ("between", "within"))
        spread = [f"{row.mean():.3f} +- {row.std():.3f}" for row in (between, within)]
        report.add_row(when, *spread, f"{(between < 0).mean():.0%} of {len(between)}")
    record.publish(report, f"sef_gradients_{dataset}", out, width=200)


if __name__ == "__main__":
    main()
