"""Protocols by hand on small files, and their averages on the papers' own tables."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from aigid.core import scores
from aigid.core.errors import InputError
from aigid.evaluation import attribution, protocols, ufd
from tests.helpers.folders import UFD_SETS


def made(num: int = 400, views: tuple[str, ...] = ("clean",)) -> pd.DataFrame:
    rng, k = np.random.default_rng(0), np.arange(num)
    parts = []
    for view in views:
        part = pd.DataFrame({"path": [f"{i:05}.png" for i in k], "label": k % 2, "view": view, "split": "test"})
        part["generator"] = np.where(k % 2 == 0, "real", np.where(k % 4 == 1, "adm", "glide"))
        part["score"] = np.clip(rng.normal(0.4 + 0.25 * part["label"], 0.2), 0, 1)
        parts.append(part)
    return scores.validate(pd.concat(parts, ignore_index=True), "made")


EIGHT = ("adm", "biggan", "glide", "midjourney", "sd14", "sd15", "vqdm", "wukong")


def of_eight(views: tuple[str, ...] = ("clean",)) -> pd.DataFrame:
    """Images of GenImage's generators, each with photographs of its own."""
    frame = made(views=views)
    name = np.array(EIGHT)[frame.groupby("view").cumcount() // 2 % 8]
    frame["generator"] = np.where(frame["label"] == 1, name, "real")
    return frame.assign(source=name)


def test_genimage_pairs_reals_with_their_generator_where_the_source_says_so() -> None:
    frame = of_eight()
    found = protocols.find("genimage").apply(frame)
    for name in EIGHT:
        part = frame[frame["source"] == name]
        assert len(part) == 50
        assert found[f"acc_{name}"] == pytest.approx(np.mean((part["score"] > 0.5) == part["label"]), abs=1e-12)
    assert found["acc"] == pytest.approx(np.mean([found[f"acc_{name}"] for name in EIGHT]))
    with pytest.raises(InputError, match=r"mean over 8 generators; found 2: adm, glide"):
        protocols.find("genimage").apply(made())


def test_genimage_degrades_sd14_six_ways_or_not_at_all() -> None:
    frame = of_eight(views=("clean", *protocols.GENIMAGE_VIEWS))
    found = protocols.find("genimage").apply(frame)
    part = frame[(frame["source"] == "sd14") & (frame["view"] == "lr64")]
    assert found["degraded_lr64"] == pytest.approx(np.mean((part["score"] > 0.5) == part["label"]), abs=1e-12)
    assert found["degraded"] == pytest.approx(np.mean([found[f"degraded_{view}"] for view in protocols.GENIMAGE_VIEWS]))
    with pytest.raises(InputError, match="'blur5'"):
        protocols.find("genimage").apply(frame.query("view != 'blur5'"))


def test_ufd_draws_100_and_counts_its_own_way() -> None:
    found = protocols.find("ufd").apply(made())
    for name in ("adm", "glide"):
        assert found[f"acc_oracle_{name}"] * 200 == pytest.approx(round(found[f"acc_oracle_{name}"] * 200))
        assert found[f"acc_oracle_{name}"] >= found[f"acc_05_{name}"] - 1 / 200
    assert found["map"] == pytest.approx((found["ap_adm"] + found["ap_glide"]) / 2)
    shuffled = made().sample(frac=1, random_state=0)
    assert protocols.find("ufd").apply(shuffled) == found


def test_ntire_pools_the_distorted() -> None:
    frame = made(views=("clean", "a", "b"))
    rest = frame[frame["view"] != "clean"]
    found = protocols.find("ntire").apply(frame)
    assert found["auroc_robust"] == pytest.approx(sk.roc_auc_score(rest["label"], rest["score"]), abs=1e-12)
    with pytest.raises(InputError, match="ntire"):
        protocols.find("ntire").apply(made())


def test_ntires_official_numbers_are_of_the_organisers_distortions() -> None:
    rng = np.random.default_rng(0)
    frame = made(160, views=("clean", "ntire_train"))
    keys = frame["path"].map({path: number for number, path in enumerate(sorted(set(frame["path"])))})
    sets, distorted = rng.choice(["val", "test"], keys.max() + 1), rng.choice(["0", "1"], keys.max() + 1)
    frame = frame.assign(source=sets[keys], extra_is_distorted=distorted[keys])
    words = np.array(["jpeg", "jpeg downscale", "downscale jpeg jpeg", ""])[rng.integers(4, size=keys.max() + 1)]
    frame["extra_distortions"] = np.where(frame["extra_is_distorted"] == "1", words[keys], "")
    numbers = protocols.find("ntire_test").apply(frame)
    clean = frame[(frame["view"] == "clean") & (frame["split"] == "test")]
    for source in ("val", "test"):
        distorted = clean[(clean["source"] == source) & (clean["extra_is_distorted"] == "1")]
        others = clean[(clean["source"] == source) & (clean["extra_is_distorted"] == "0")]
        named = distorted[distorted["extra_distortions"].str.contains("downscale")]
        for name, part in {"robust": distorted, "clean": others, "downscale": named}.items():
            expected = sk.roc_auc_score(part["label"], part["score"])
            assert numbers[f"auroc_{name}_{source}"] == pytest.approx(expected, abs=1e-12)
    assert set(numbers) == {f"auroc_{n}_{s}" for n in ("robust", "clean", "jpeg", "downscale") for s in ("val", "test")}
    alone = protocols.find("ntire_test").apply(frame[frame["source"] == "val"].drop(columns=["source"]))
    assert alone["auroc_robust"] == numbers["auroc_robust_val"]
    with pytest.raises(InputError, match="no column 'extra_is_distorted', which the layout ntire_test gives"):
        protocols.find("ntire_test").apply(made())
    with pytest.raises(InputError, match="distorted test images needs both classes"):
        protocols.find("ntire_test").apply(frame[(frame["label"] == 1) | (frame["extra_is_distorted"] == "0")])


def test_raid_decides_at_half_for_each_budget() -> None:
    frame = made()
    frame["source"] = np.where(np.arange(len(frame)) % 3 == 0, "epsilon32", "original")
    numbers = protocols.find("raid").apply(frame)
    for budget, part in frame.groupby("source"):
        decided = part["score"] > 0.5
        expected = {"f1": sk.f1_score, "acc": sk.accuracy_score, "auroc_decided": sk.roc_auc_score}
        expected["ap_decided"] = sk.average_precision_score
        for name, metric in expected.items():
            assert numbers[f"{budget}_{name}"] == pytest.approx(metric(part["label"], decided), abs=1e-12)
        adm = part["generator"] == "adm"
        assert numbers[f"{budget}_acc_adm"] == pytest.approx(decided[adm].mean())
    with pytest.raises(InputError, match="protocol raid: no column 'source'"):
        protocols.find("raid").apply(made())
    with pytest.raises(InputError, match="protocol raid: original: needs both classes"):
        protocols.find("raid").apply(frame[(frame["source"] != "original") | (frame["label"] == 1)])


def test_dda_takes_fakes_as_jpeg_and_reals_as_they_are() -> None:
    frame = made(views=("clean", "jpeg96"))
    found = protocols.find("dda").apply(frame)
    part = frame[
        ((frame["label"] == 0) & (frame["view"] == "clean"))
        | ((frame["generator"] == "adm") & (frame["view"] == "jpeg96"))
    ]
    expected = sk.balanced_accuracy_score(part["label"], part["score"] > 0.5)
    assert found["balanced_acc_adm"] == pytest.approx(expected, abs=1e-12)
    with pytest.raises(InputError, match="'jpeg96'"):
        protocols.find("dda").apply(made())


def test_defactify_attributes_and_submits() -> None:
    frame = made(40)
    rng = np.random.default_rng(1)
    share = rng.dirichlet([1, 1, 1], 40)
    classes = ["real", "adm", "glide"]
    frame[[f"class_{name}" for name in classes]] = share
    found = protocols.find("defactify").apply(frame)
    guess = np.array(classes)[share.argmax(axis=1)]
    assert found["f1_macro_b"] == pytest.approx(sk.f1_score(frame["generator"], guess, average="macro"), abs=1e-12)
    assert found["f1_a"] == pytest.approx(sk.f1_score(frame["label"], guess != "real"), abs=1e-12)
    answer = attribution.submission(frame.iloc[::-1], classes)
    assert [row["index"] for row in answer] == list(range(40))
    assert [row["Label_B"] for row in answer] == share.argmax(axis=1).tolist()
    with pytest.raises(InputError, match="class_<name>"):
        protocols.find("defactify").apply(made())
    assert [row["Label_A"] for row in answer] == (share.argmax(axis=1) > 0).astype(int).tolist()
    with pytest.raises(InputError, match="'adm': Label_B numbers real, glide"):
        attribution.submission(frame, ["real", "glide"])


@pytest.mark.parametrize("declared", [True, False])
def test_defactifys_numbers_are_those_of_the_answer_it_writes(declared: bool, tmp_path: Path) -> None:
    """Neither a score above 0.5 nor, where a file declares its classes, the largest probability decides."""
    frame, rng, classes = made(60), np.random.default_rng(2), ["real", "adm", "glide"]
    frame[[f"class_{name}" for name in classes]] = rng.dirichlet([1, 1, 1], 60)
    if declared:
        frame["predicted"] = rng.choice(classes, 60)
    attribution.write_submission(attribution.submission(frame, classes), tmp_path, "svm")
    with zipfile.ZipFile(tmp_path / "svm.zip") as archive:
        answer = pd.DataFrame(json.loads(archive.read("answer.json"))).set_index("index")
    truth = frame.set_index(frame["path"].str.extract(r"(\d+)\.")[0].astype(int)).loc[answer.index]
    names = [classes[number] for number in answer["Label_B"]]
    assert protocols.find("defactify").apply(frame) == pytest.approx({
        "f1_macro_a": sk.f1_score(truth["label"], answer["Label_A"], average="macro"),
        "f1_a": sk.f1_score(truth["label"], answer["Label_A"]),
        "f1_macro_b": sk.f1_score(truth["generator"], names, average="macro"),
    })  # fmt: skip
    assert (names == truth["predicted"]).all() if declared else len(set(names)) == 3


def test_an_unknown_protocol_lists_the_known() -> None:
    with pytest.raises(InputError, match=r"'ufdd'.*ufd, genimage"):
        protocols.find("ufdd")


def test_a_protocol_says_its_rules() -> None:
    for name in protocols.PROTOCOLS:
        shown = protocols.section(name, {"probe": {"acc": 0.5}})
        assert shown.tables["Rules"]["what"].tolist() == ["threshold", "sample", "crop", "average", "needs"]
        assert shown.tables["Rules"]["how"].str.len().min() > 2
        assert shown.tables["Numbers"].to_numpy().tolist() == [["acc", "0.5"]]


def test_dda_over_benchmarks_compresses_the_fakes_of_three() -> None:
    frame = made(views=("clean", "jpeg96")).assign(benchmark="GenImage")
    other = made().assign(benchmark="WildRF", path=lambda table: "w" + table["path"])
    found = protocols.find("dda").apply(pd.concat([frame, other], ignore_index=True))
    assert found["benchmark_GenImage"] == protocols.find("dda").apply(frame.drop(columns="benchmark"))["balanced_acc"]
    parts = [other[(other["label"] == 0) | (other["generator"] == name)] for name in ("adm", "glide")]
    wild = [sk.balanced_accuracy_score(part["label"], part["score"] > 0.5) for part in parts]
    assert found["benchmark_WildRF"] == pytest.approx(np.mean(wild), abs=1e-12)
    both = [found["benchmark_GenImage"], found["benchmark_WildRF"]]
    assert found["min_of_2"] == min(both)
    assert found["deviation_of_2"] == pytest.approx(np.std(both, ddof=1))
    assert found["subset_WildRF_adm"] == pytest.approx(wild[0])
    without = other[other["label"] == 1]
    with pytest.raises(InputError, match="benchmark 'WildRF': needs both classes; found 0 reals and 200 fakes"):
        protocols.find("dda").apply(without)
    with pytest.raises(InputError, match="benchmark 'GenImage': no test rows of view 'jpeg96'"):
        protocols.find("dda").apply(frame[frame["view"] == "clean"])


# The rows of published tables and the averages printed beside them (GenDet's Tables 2, 3 and 4; DDA's README).
UFD = {
    "Ojha": (
        [
            *(100.0, 98.50, 94.50, 82.00, 99.50, 97.00, 66.60, 63.00, 57.50, 59.50, 72.00, 70.03, 94.19, 73.76, 94.36),
            *(79.07, 79.85, 78.14, 86.78),
        ],
        81.38,
    ),
    "GenDet": (
        [
            *(99.00, 99.50, 99.30, 99.05, 99.00, 96.75, 88.20, 63.50, 67.50, 93.90, 98.75, 98.70, 98.80, 98.60, 98.75),
            *(98.75, 98.75, 98.75, 98.45),
        ],
        94.42,
    ),
}
GENIMAGE_SETS = ("midjourney", "sd14", "sd15", "adm", "glide", "wukong", "vqdm", "biggan")
GENIMAGE = {
    "Swin-T": ([62.1, 99.9, 99.8, 49.8, 67.6, 99.1, 62.3, 57.6], 74.8),
    "CNNDet": ([52.8, 96.3, 95.9, 50.1, 39.8, 78.6, 53.4, 46.8], 64.2),
    "Ojha": ([73.2, 84.2, 84.0, 55.2, 76.9, 75.6, 56.9, 80.3], 73.3),
    "GenDet": ([89.6, 96.1, 96.1, 58.0, 78.4, 92.8, 66.5, 75.0], 81.6),
}
DEGRADED = {
    "CNNDet": ([50.0, 50.0, 97.3, 97.3, 97.4, 77.9], 78.3),
    "GenDet": ([85.4, 84.1, 94.4, 94.3, 84.6, 82.9], 87.6),
}
DDA_SETS = (
    *("GenImage", "DRCT-2M", "DDA-COCO", "EvalGEN", "Synthbuster", "ForenSynths", "AIGCDetectionBenchmark"),
    *("Chameleon", "SynthWildX", "WildRF", "Bfree-Online"),
)


def test_ufds_validation_threshold_is_one_for_all_sets() -> None:
    """That of most correct validation images; without such images there is no number, rather than another threshold."""
    val = made(60).assign(split="val", path=lambda rows: "v" + rows["path"])
    found = protocols.find("ufd").apply(pd.concat([made(), val], ignore_index=True))
    cuts = np.unique(val["score"])
    best = cuts[np.argmax([np.mean((val["score"] >= cut) == val["label"]) for cut in cuts])]
    for name in ("adm", "glide"):
        part = made().query("generator in ('real', @name)")
        ours, fakes = ufd.ufd_subsample(*(part[part["label"] == label].sort_values("path")["score"].tolist()
                                                for label in (0, 1)))  # fmt: skip
        hits = [score < best for score in ours] + [score >= best for score in fakes]
        assert found[f"acc_val_{name}"] == pytest.approx(np.mean(hits), abs=1.5 / len(hits))
    assert found["acc_val"] == pytest.approx((found["acc_val_adm"] + found["acc_val_glide"]) / 2)
    assert found["acc_val"] != found["acc_05"]
    assert "acc_val" not in protocols.find("ufd").apply(made())
    assert "acc_val" not in protocols.find("ufd").apply(pd.concat([made(), val[val["label"] == 0]]))


def test_gendets_cross_dataset_numbers_are_means_over_sets() -> None:
    found = protocols.find("gendet_cross").apply(made())
    for name in ("adm", "glide"):
        part = made().query("generator in ('real', @name)")
        assert found[f"acc_05_{name}"] == pytest.approx(np.mean((part["score"] > 0.5) == part["label"]))
        assert found[f"ap_{name}"] == pytest.approx(sk.average_precision_score(part["label"], part["score"]))
    assert found["acc_05"] == pytest.approx((found["acc_05_adm"] + found["acc_05_glide"]) / 2)
    assert found["map"] == pytest.approx((found["ap_adm"] + found["ap_glide"]) / 2)


DDA = [91.7, 98.1, 92.2, 97.2, 90.1, 81.4, 87.8, 82.4, 90.9, 90.3, 95.1]


def as_accurate(percent: float, name: str, view: str = "clean", num: int = 1000) -> pd.DataFrame:
    """``num`` photographs and ``num`` fakes, of which as many are right as makes the printed accuracy."""
    right = round(percent / 100 * num)
    label, hit = np.repeat([0, 1], num), np.tile(np.arange(num) < right, 2)
    table = pd.DataFrame({"path": [f"{name}/{k}.png" for k in range(2 * num)], "label": label, "view": view})
    table["score"] = np.where(hit == (label == 1), 0.75, 0.25)
    return table.assign(generator=np.where(label, name, "real"), source=name, split="test")


@pytest.mark.parametrize("paper", UFD)
def test_ufd_averages_as_printed(paper: str) -> None:
    row, printed = UFD[paper]
    parts = [as_accurate(value, name) for name, value in zip(UFD_SETS, row, strict=True)]
    found = protocols.find("ufd").apply(scores.validate(pd.concat(parts), "table"))
    assert found["num_sets"] == 19
    assert 100 * found["acc_05"] == pytest.approx(printed, abs=0.02)


@pytest.mark.parametrize("paper", GENIMAGE)
def test_genimage_averages_as_printed(paper: str) -> None:
    row, printed = GENIMAGE[paper]
    parts = [as_accurate(value, name) for name, value in zip(GENIMAGE_SETS, row, strict=True)]
    degraded, mean = DEGRADED.get(paper, ([], None))
    parts += [as_accurate(value, "sd14", view) for view, value in zip(protocols.GENIMAGE_VIEWS, degraded, strict=False)]
    found = protocols.find("genimage").apply(scores.validate(pd.concat(parts), "table"))
    assert 100 * found["acc"] == pytest.approx(printed, abs=0.051)
    assert mean is None or 100 * found["degraded"] == pytest.approx(mean, abs=0.051)


RECALLS = {  # of fakes of each subset, and of the reals where they are shared and known
    "DDA-COCO": ([95.0, 99.3, 99.7, 99.7, 68.1, 50.2], 99.0, 92.167, 10.566),
    "EvalGEN": ([89.9, 99.5, 97.8, 99.5, 99.5], None, 97.24, 4.17),
    "SynthWildX": ([92.3, 87.3, 93.1], 0, 90.9, 3.14),
    "WildRF": ([93.1, 86.4, 91.5], 0, 90.33, 3.50),
}


def of_recalls(fakes: list[float], reals: float | None) -> pd.DataFrame:
    """1,000 fakes of each subset, and as many shared reals; 0: reals that are recalled as often as their fakes."""
    parts = [as_accurate(recall, f"s{number}") for number, recall in enumerate(fakes)]
    if reals == 0:
        return pd.concat(parts)
    shared = [] if reals is None else [as_accurate(reals, "reals").query("label == 0").assign(source="shared")]
    return pd.concat([*(part.query("label == 1") for part in parts), *shared])


@pytest.mark.parametrize("name", RECALLS)
def test_dda_means_and_deviations_of_a_benchmark_as_printed(name: str) -> None:
    """The deviation is the sample's; EvalGEN has no reals, and its score is the recall of fakes."""
    fakes, reals, mean, deviation = RECALLS[name]
    found = protocols.find("dda").apply(scores.validate(of_recalls(fakes, reals).assign(benchmark=name), "table"))
    assert 100 * found[f"benchmark_{name}"] == pytest.approx(mean, abs=0.0051)
    assert 100 * found[f"deviation_{name}"] == pytest.approx(deviation, abs=0.0051)
    share = [value if reals in (None, 0) else (value + reals) / 2 for value in fakes]
    assert [100 * found[f"subset_{name}_s{number}"] for number in range(len(fakes))] == pytest.approx(share)


def test_dda_joins_the_scores_of_several_datasets() -> None:
    frames = {"dda": made(), "wildrf": made(), "evalgen": made().query("label == 1"), "ufd": made()}
    joined = protocols.rows_of("dda", frames)
    assert joined.groupby("benchmark").size().to_dict() == {"evalgen": 200, "wildrf": 400}
    found = protocols.find("dda").apply(joined)
    recall = [np.mean(made().query("generator == @name")["score"] > 0.5) for name in ("adm", "glide")]
    assert found["benchmark_evalgen"] == pytest.approx(np.mean(recall))
    assert protocols.rows_of("ufd", frames) is frames["ufd"]
    assert protocols.rows_of("dda", {"dda": frames["dda"]}) is frames["dda"]


def test_dda_averages_and_minimum_as_printed() -> None:
    parts = []
    for name, value in zip(DDA_SETS, DDA, strict=True):
        part = as_accurate(value, name).assign(benchmark=name)
        if name in ("GenImage", "ForenSynths", "AIGCDetectionBenchmark"):
            part["view"] = np.where(part["label"] == 1, "jpeg96", "clean")
        parts.append(part)
    found = protocols.find("dda").apply(scores.validate(pd.concat(parts), "table"))
    assert 100 * found["mean_of_11"] == pytest.approx(90.6545, abs=1e-3)
    assert 100 * found["min_of_11"] == pytest.approx(81.4, abs=1e-9)
    assert 100 * found["deviation_of_11"] == pytest.approx(5.33, abs=0.005)
