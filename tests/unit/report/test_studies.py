"""The perturbation study on scores whose numbers are known, and its figure and table."""

import numpy as np
import pandas as pd
import pytest

from aigid.core import tables
from aigid.core.errors import InputError
from aigid.degradations import views
from aigid.report import studies
from aigid.report.studies import HONEST, PUBLISHED, VIEWS, PerturbationSettings

CLASSES = ["real", "a", "b"]


def scores(wrong):
    """Rows of 30 images in every view; in a view of ``wrong`` each image is taken for the next class."""
    rows = []
    for view in VIEWS:
        for number in range(30):
            name = CLASSES[number % 3]
            taken = CLASSES[(number + (view in wrong)) % 3]
            p = {f"class_{c}": 0.8 if c == taken else 0.1 for c in CLASSES}
            row = {"path": f"{number}.png", "label": int(name != "real"), "generator": name, "split": "test"}
            rows.append(row | {"view": view, "score": 1 - p["class_real"], "group": f"g{number}"} | p)
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def table():
    return studies.perturbation_table({HONEST: scores({"noise20", "crop60"}), PUBLISHED: scores(set())}, 0)


def test_every_view_is_known_and_each_sweep_starts_with_the_image_itself():
    assert set(VIEWS) <= set(views.VIEWS)
    for _, strengths in studies.SWEEPS.values():
        assert next(iter(strengths)) == "clean"
        assert list(strengths.values()) in (sorted(strengths.values()), sorted(strengths.values(), reverse=True))


STRENGTH = {  # of a view, by the parameters of its operator
    "noise": lambda applied: applied["variance"] ** 0.5,
    "jpeg": lambda applied: applied["quality"],
    "brightness": lambda applied: applied["factor"],
    "blur": lambda applied: applied["sigma"],
    "crop": lambda applied: applied["share"],
}
UNCHANGED = {"noise": 0, "jpeg": 100, "brightness": 1, "blur": 0, "crop": 1}


@pytest.mark.parametrize("kind", studies.SWEEPS)
def test_the_strength_on_the_axis_is_that_of_the_view(kind):
    strengths = dict(studies.SWEEPS[kind][1])
    assert strengths.pop("clean") == UNCHANGED[kind]
    operators = set()
    for view, strength in strengths.items():
        (applied,) = views.sample_view(view, "0" * 64, 0)
        assert STRENGTH[kind](applied["parameters"]) == pytest.approx(strength), view
        operators.add(applied["operator"])
    assert len(operators) == 1


def test_numbers_by_hand(table):
    found = table.set_index(["detector", "view"])
    assert len(found) == 2 * len(VIEWS)
    assert found.loc[(HONEST, "clean"), ["auroc", "f1_macro"]].tolist() == [1, 1]
    # Reals score 0.9 and of the fakes one kind 0.9, the other 0.2: of 100 pairs of each, half tie and none is won.
    assert found.loc[(HONEST, "noise20"), ["auroc", "f1_macro"]].tolist() == [0.25, 0]
    assert found.loc[(PUBLISHED, "noise20"), "f1_macro_low"] == 1


def test_the_section_says_by_how_much_the_shortcut_flatters(table, tmp_path):
    tables.write(table, tmp_path / "curves.csv")
    read = studies.read(tmp_path / "curves.csv", studies.PERTURBATION)
    pd.testing.assert_frame_equal(read, table, check_dtype=False)
    section = studies.perturbation_section(read)
    shown = section.tables["AUROC, real or generated"].set_index("view")["the shortcut flatters by"]
    assert shown["clean"] == "0.000"
    assert shown["crop60"] == "0.750"
    figure = next(iter(section.figures.values()))
    assert len(figure.axes) == 2 * len(studies.SWEEPS) == 10
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [HONEST, PUBLISHED]


def test_a_sample_holds_so_many_of_each_class():
    names = [CLASSES[number % 3] for number in range(60)]
    manifest = pd.DataFrame({"path": [f"{k}.png" for k in range(60)], "generator": names, "split": "test"})
    manifest["label"] = (manifest["generator"] != "real").astype(int)
    settings = PerturbationSettings(dataset="d", max_images=7)
    found = studies.sample(manifest, settings, 0)
    assert found["generator"].value_counts().to_dict() == dict.fromkeys(CLASSES, 7)
    assert found["path"].tolist() == [path for path in manifest["path"] if path in set(found["path"])]
    assert found["path"].tolist() != studies.sample(manifest, settings, 1)["path"].tolist()
    with pytest.raises(InputError, match=r"perturbation\.dataset='d': its test split lacks reals or fakes"):
        studies.sample(manifest[manifest["label"] == 1], settings, 0)


def test_a_table_with_a_number_that_is_none_is_refused(table, tmp_path):
    tables.write(table.astype({"auroc": object}).assign(auroc="x"), tmp_path / "curves.csv")
    with pytest.raises(InputError, match=r"curves\.csv: column auroc: could not convert string to float: 'x'"):
        studies.read(tmp_path / "curves.csv", studies.PERTURBATION)


def test_a_detector_that_names_no_generator_is_refused():
    plain = scores(set()).drop(columns=[f"class_{name}" for name in CLASSES])
    assert np.isfinite(plain["score"]).all()
    with pytest.raises(InputError, match="no class_<name> columns"):
        studies.perturbation_table({"probe": plain}, 0)


def test_sef_stands_in_the_report_on_held_out_pairs(tmp_path):
    rows = [("gate", "held-out vae", 0.9), ("gate", "held-out gan", 0.8), ("naive mix", "held-out vae", 0.7)]
    rows.append(("naive mix", "held-out gan", 0.6))
    table = pd.DataFrame(rows, columns=["method", "tested_on", "auroc"]).assign(low=0.5, high=1.0, num_seeds=1)
    tables.write(table, tmp_path / "c.csv")
    section = studies.aligned_section(studies.read(tmp_path / "c.csv", studies.ALIGNED))
    assert section.tables["AUROC"].to_dict("list") == {
        "method": ["gate", "naive mix"],
        "held-out vae": ["0.900 [0.500, 1.000]", "0.700 [0.500, 1.000]"],
        "held-out gan": ["0.800 [0.500, 1.000]", "0.600 [0.500, 1.000]"],
    }
