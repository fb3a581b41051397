"""The rows of a card that say what an attacker can do."""

import pandas as pd
import pytest

from aigid.core.errors import InputError
from aigid.report import risks

TEXT = ["source", "target", "attack", "strength", "images", "counted_as"]
ROWS = [
    ["", "detector", "none", "", "real", "real"],
    ["", "detector", "none", "", "generated", "generated"],
    ["", "detector", "patch", "0.25", "real", "generated"],
    ["detector", "detector", "pgd", "4", "real", "real"],
    ["detector", "detector", "pgd", "4", "generated", "generated"],
    ["detector", "surrogate", "pgd", "4", "generated", "generated"],
]


def made(path, rows=ROWS):
    table = pd.DataFrame(rows, columns=TEXT)
    for number, name in enumerate(risks.ATTACK_NUMBERS):
        table[name] = [round(number / 10 + row / 1000, 3) for row in range(len(rows))]
    table.assign(machine="m").to_csv(path, index=False)
    return path


def test_a_row_is_an_attack_on_the_detector(tmp_path):
    table = risks.read_attacks(made(tmp_path / "a.csv")).set_index("attack")
    assert list(table.index) == ["none", "patch, of photographs", "pgd"]
    pgd = table.loc["pgd"]
    assert pgd[["strength", "gradients", "AUROC"]].tolist() == ["4", "detector", "0.004 [0.104, 0.204]"]
    assert pgd[["missed", "accused"]].tolist() == ["0.304 [0.404, 0.504]", "0.303 [0.403, 0.503]"]
    patch = table.loc["patch, of photographs"]
    assert patch[["gradients", "missed", "accused", "uncertain, photographs"]].tolist() == [
        "-", "0.302 [0.402, 0.502]", "-", "-",
    ]  # fmt: skip


def test_a_table_of_something_else_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a.csv: column target: no 'detector'"):
        risks.read_attacks(made(tmp_path / "a.csv", ROWS[-1:]))
    wrong = {"images: 'cats'": [*ROWS[0][:4], "cats", "real"], "attack: 'none': stands twice": ROWS[0]}
    for message, row in wrong.items():
        with pytest.raises(InputError, match=rf"a.csv: row 2 \(line 3\), column {message}"):
            risks.read_attacks(made(tmp_path / "a.csv", [ROWS[0], row]))
    table = pd.read_csv(made(tmp_path / "a.csv"))
    table.assign(wrong=[*table["wrong"][:-2], 7, 0]).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=r"row 5 \(line 6\), column wrong: '7.0': want a share, 0 to 1"):
        risks.read_attacks(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("source,reals\nall,1\n")
    with pytest.raises(InputError, match=r"b.csv: .*'target'"):
        risks.read_attacks(tmp_path / "b.csv")
