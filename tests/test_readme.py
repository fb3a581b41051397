"""README says what the results say."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def tables(text: str, first: str) -> list[dict[str, str]]:
    """The rows of the tables whose first column is ``first``, by column."""
    found, columns = [], None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else None
        if not cells or columns is None:
            columns = cells
        elif columns[0] == first and not line.startswith(("| ---", "|---")):
            found.append(dict(zip(columns, cells, strict=True)))
    return found


@pytest.mark.parametrize(("section", "dataset"), [("The demo", "demo")])
def test_the_table_of_a_section_is_the_reports(section, dataset):
    text = (ROOT / "README.md").read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    report = (ROOT / "results/report/table.md").read_text().split(f"## {dataset}\n")[1].split("\n## ")[0]
    measured = {row["detector"]: row for row in tables(report, "detector") if "AUROC" in row}
    shown = tables(text, "detector")
    assert [row["detector"] for row in shown] == list(measured)
    for row in shown:
        assert row == {column: measured[row["detector"]][column] for column in row}
