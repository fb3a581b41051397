"""Layouts whose labels stand in tables: CSV by header, Excel, and Parquet with the images inside."""

import hashlib
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from aigid.core import manifest
from aigid.core.errors import InputError
from aigid.data.index import IndexSettings, build_manifest
from aigid.data.layouts import tables
from aigid.detectors.protocol import scores_frame
from tests.helpers.folders import plant

pytestmark = pytest.mark.usefixtures("cache_outside")


def found(root, layout, *columns):
    table, unreadable = build_manifest(root, IndexSettings(layout=layout, val=0), seed=0)
    cells = table[["label", "generator", "split", *columns]].itertuples(index=False, name=None)
    return dict(zip(table["path"], cells, strict=True)), unreadable


def workbook(path, rows, inline=False):
    """A workbook as Excel writes it (shared strings), or as the writers that stream do (inline strings)."""
    strings, lines = [], []
    for number, row in enumerate(rows, start=1):
        cells = []
        for letter, value in zip("ABCDEFG", row, strict=False):
            if value is None:
                continue
            if isinstance(value, int):
                cells.append(f'<c r="{letter}{number}"><v>{value}</v></c>')
            elif inline:
                cells.append(f'<c r="{letter}{number}" t="inlineStr"><is><t>{value}</t></is></c>')
            else:
                cells.append(f'<c r="{letter}{number}" t="s"><v>{len(strings)}</v></c>')
                strings.append(f"<si><r><t>{value[:1]}</t></r><r><t>{value[1:]}</t></r></si>")
        lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    sheet = f"<worksheet {main}><sheetData>{''.join(lines)}</sheetData></worksheet>"
    book = (
        f'<workbook {main} xmlns:r="{relation}"><sheets><sheet name="S" sheetId="1" r:id="rId7"/></sheets></workbook>'
    )
    target = "/xl/worksheets/sheet3.xml" if inline else "worksheets/sheet3.xml"
    link = f'<Relationship Id="rId7" Type="{relation}/worksheet" Target="{target}"/>'
    links = f'<Relationships xmlns="{package}">{link}</Relationships>'
    with ZipFile(path, "w") as file:
        file.writestr("xl/workbook.xml", book)
        file.writestr("xl/_rels/workbook.xml.rels", links)
        file.writestr("xl/worksheets/sheet3.xml", sheet)
        if not inline:
            file.writestr("xl/sharedStrings.xml", f"<sst {main}>{''.join(strings)}</sst>")


def test_a_table_without_labels_is_refused(tmp_path):
    plant(tmp_path, "shard_1/images/a.jpg")
    (tmp_path / "shard_1/labels.csv").write_text("a,b\nx,1\n")
    with pytest.raises(InputError, match=r"shard_1/labels.csv: no column path or .*; found a, b"):
        found(tmp_path, "ntire_shards")


def test_distortions_of_ntires_test_images_are_read_from_printed_lists(tmp_path):
    plant(tmp_path, *(f"test_images/{number}.png" for number in range(4)))
    cells = [("0", "1", "['jpeg', 'lincontrchange']", "[43, -0.4]"), ("1", "1", '["jpeg_ai"]', "[0.25]"),
             ("1", "0", "[]", "[]"), ("0", "0", "", "")]  # fmt: skip
    columns = ["label", "is_distorted", "distortions", "distortion_scales"]
    labels = pd.DataFrame(cells, columns=columns).assign(image_name=[f"{number}.png" for number in range(4)])
    labels.to_csv(tmp_path / "test_labels.csv", index=False)
    table, _ = build_manifest(tmp_path, IndexSettings(layout="ntire_test"), 0)
    manifest.write(table, tmp_path / "manifest.csv")
    table = manifest.read(tmp_path / "manifest.csv")
    assert table["extra_is_distorted"].tolist() == ["1", "1", "0", "0"]
    assert table["extra_distortions"].tolist() == ["jpeg lincontrchange", "jpeg_ai", "", ""]
    assert table["extra_distortion_scales"].tolist() == ["43 -0.4", "0.25", "", ""]
    rows = scores_frame(table, "clean", np.full(4, 0.5), "ok")
    assert rows["extra_distortions"].tolist() == table["extra_distortions"].tolist()
    labels.assign(is_distorted="perhaps").to_csv(tmp_path / "test_labels.csv", index=False)
    with pytest.raises(InputError, match=r"test_labels.csv: row 1 .*, column is_distorted: 'perhaps': want 0 or 1"):
        build_manifest(tmp_path, IndexSettings(layout="ntire_test"), 0)
    labels.drop(columns="is_distorted").to_csv(tmp_path / "test_labels.csv", index=False)
    with pytest.raises(InputError, match=r"test_labels.csv: no column is_distorted; found"):
        build_manifest(tmp_path, IndexSettings(layout="ntire_test"), 0)


def test_an_image_that_is_gone_keeps_its_row(tmp_path):
    plant(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "list.csv").write_text("filename,typ\n1.jpg,real\n2.jpg,dalle3\ngone.jpg,midjourney\n")
    rows, unreadable = found(tmp_path, "synthwildx")
    assert rows["gone.jpg"] == (1, "midjourney", "test")
    assert unreadable == ["gone.jpg"]


def test_a_bare_name_that_two_images_have_is_not_guessed(tmp_path):
    plant(tmp_path, "x/a.png", "y/a.png", "y/b.png")
    (tmp_path / "labels.csv").write_text("filename,label\na.png,REAL\nb.png,FAKE\n")
    rows, unreadable = found(tmp_path, "csv")
    assert rows == {"a.png": (0, "real", "test"), "y/b.png": (1, "unknown", "test")}
    assert unreadable == ["a.png"]


@pytest.mark.parametrize("form", ["xlsx", "inline xlsx", "csv"])
def test_defactify_tree(tmp_path, form):
    wide = {"coco": "real", "sd21": "sd21", "sdxl": "sdxl", "sd3": "sd3", "dalle": "dalle3", "midjourney": "midjourney"}
    plant(
        tmp_path, *(f"data/train/{name}_image/{n}.png" for name in wide for n in (0, 1)), "data/train/other_image/0.png"
    )
    plant(tmp_path, *(f"data/val/{n}.png" for n in range(8)), "data/val/cover.png")
    plant(tmp_path, "data/test/image_0.png", "data/test/1.png", "data/test/image_2.png")
    labels = [["Index", "Label_A", "Label_B"], *([n, int(n > 0), n] for n in range(6)), [6, 1, None]]
    if form == "csv":
        lines = [",".join("" if cell is None else str(cell) for cell in row) for row in labels]
        (tmp_path / "data/val/Validation_labels.csv").write_text("\n".join(lines))
    else:
        workbook(tmp_path / "data/Validation_labels.xlsx", labels, inline=form != "xlsx")
    workbook(tmp_path / "data/test/captions.xlsx", [["image", "caption"], ["image_0.png", "a dog"], ["1.png", "a dog"]])
    (tmp_path / "data/test_labels.csv").write_text("Index,Label_A,Label_B\n0,0,0\n1,1.0,5.0\n")
    rows, unreadable = found(tmp_path, "defactify", "group")
    assert unreadable == []
    for name, generator in wide.items():
        for n in (0, 1):
            assert rows.pop(f"data/train/{name}_image/{n}.png") == (
                int(name != "coco"),
                generator,
                "train",
                f"train/{n}",
            )
    generators = ["real", "sd21", "sdxl", "sd3", "dalle3", "midjourney", "unknown"]
    for n, generator in enumerate(generators):
        assert rows.pop(f"data/val/{n}.png") == (int(n > 0), generator, "val", "")
    assert rows.pop("data/test/image_0.png") == (0, "real", "test", "test/a dog")
    assert rows.pop("data/test/1.png") == (1, "midjourney", "test", "test/a dog")
    assert rows == {}  # image 7 of val, image 2 of test and the strays have no label


def test_defactify_refuses_labels_that_contradict(tmp_path):
    plant(tmp_path, "val/0.png", "val/1.png")
    (tmp_path / "val/labels.csv").write_text("Index,Label_A,Label_B\n0,0,0\n1,0,3\n")
    with pytest.raises(InputError, match=r"val/1.png: Label_A '0' and Label_B '3' name no class"):
        found(tmp_path, "defactify")
    (tmp_path / "val/labels.csv").write_text("Index,Label_A,Label_B\n0,0,0\n1,1,9\n")
    with pytest.raises(InputError, match=r"val/1.png: Label_A '1' and Label_B '9' name no class"):
        found(tmp_path, "defactify")


def image(value, suffix):
    file = BytesIO()
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(file, suffix)
    return file.getvalue()


def test_defactify_consolidated_parquet(tmp_path):
    (tmp_path / "data").mkdir()
    files = [image(30 * n, "jpeg" if n % 6 == 0 else "png") for n in range(8)]
    for shard, rows in enumerate(([0, 1, 2], [3, 4, 5, 6, 7])):
        cells = {
            "Caption": [f"caption {n // 6}" for n in rows],
            "Image": [{"bytes": files[n], "path": f"{n}.png"} for n in rows],
            "Label_A": [int(n % 6 > 0) for n in rows],
            "Label_B": [n % 6 for n in rows],
        }
        parquet.write_table(pa.table(cells), tmp_path / f"data/train-0000{shard}-of-00002.parquet")
    found_rows, unreadable = found(tmp_path, "defactify", "group", "caption", "sha256")
    assert unreadable == []
    generators = ["real", "sd21", "sdxl", "sd3", "dalle3", "midjourney", "real", "sd21"]
    assert found_rows == {
        f"data/train-0000{int(n > 2)}-of-00002.parquet::Image/{n - 3 * (n > 2):06}": (
            int(n % 6 > 0),
            generator,
            "train",
            f"train/caption {n // 6}",
            f"caption {n // 6}",
            hashlib.sha256(files[n]).hexdigest(),
        )
        for n, generator in enumerate(generators)
    }
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "data",
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ]
    (tmp_path / "data/train-00001-of-00002.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match=r"train-00001-of-00002\.parquet: cannot be read as an archive"):
        found(tmp_path, "defactify")


def test_defactify_wide_and_flat_parquet(tmp_path):
    wide = {
        name: [{"bytes": image(n + 9 * n, "png"), "path": None} for n in range(2)]
        for name in ("coco_image", "sd3_image")
    }
    parquet.write_table(pa.table({"caption": ["a", "b"], **wide}), tmp_path / "train.parquet")
    flat = {"caption": ["c", "d"], "image": [{"bytes": image(n, "png"), "path": None} for n in (100, 101)]}
    parquet.write_table(pa.table(flat), tmp_path / "validation-00000-of-00001.parquet")
    workbook(tmp_path / "Validation_labels.xlsx", [["Index", "Label_A", "Label_B"], [0, 0, 0], [1, 1, 1]])
    rows, _ = found(tmp_path, "defactify", "group")
    assert rows == {
        "train.parquet::coco_image/000000": (0, "real", "train", "train/000000"),
        "train.parquet::coco_image/000001": (0, "real", "train", "train/000001"),
        "train.parquet::sd3_image/000000": (1, "sd3", "train", "train/000000"),
        "train.parquet::sd3_image/000001": (1, "sd3", "train", "train/000001"),
        "validation-00000-of-00001.parquet::image/000000": (0, "real", "val", "validation/c"),
        "validation-00000-of-00001.parquet::image/000001": (1, "sd21", "val", "validation/d"),
    }


def test_community_forensics_in_two_tables(tmp_path):
    """With images; the second table's rows are counted anew, and a label that is none is told with its row."""
    (tmp_path / "data").mkdir()
    files = [image(30 * n, "png") for n in range(4)]
    cells = {"image_name": list("abcd"), "image_data": files, "label": [1, 0, 1, 0], "prompt": ["x", "", "y", None],
             "model_name": ["FLUX-dev", "FLUX-dev", "lfm", "lfm"], "real_source": ["LAION", "ffhq", "LAION", "COCO"],
             "architecture": ["Commercial"] * 2 + ["LatDiff"] * 2}  # fmt: skip
    for part in range(2):
        rows = {name: column[2 * part : 2 * part + 2] for name, column in cells.items()}
        parquet.write_table(pa.table(rows), tmp_path / f"data/PublicEval-0000{part}-of-00002.parquet")
    columns = ("source", "caption", "extra_architecture", "sha256")
    found_rows, unreadable = found(tmp_path, "community_forensics", *columns)
    digests = [hashlib.sha256(file).hexdigest() for file in files]
    assert list(found_rows.values()) == [
        (1, "FLUX-dev", "test", "", "x", "Commercial", digests[0]),
        (0, "real", "test", "ffhq", "", "", digests[1]),
        (1, "lfm", "test", "", "y", "LatDiff", digests[2]),
        (0, "real", "test", "COCO", "", "", digests[3]),
    ]
    assert list(found_rows)[3] == "data/PublicEval-00001-of-00002.parquet::image_data/000001"
    assert unreadable == []
    parquet.write_table(pa.table(rows | {"label": [1, 2]}), tmp_path / "data/PublicEval-00001-of-00002.parquet")
    with pytest.raises(InputError, match=r"PublicEval-00001.*: row 2, column label: '2': want 0 or 1"):
        found(tmp_path, "community_forensics")


def test_xlsx_keeps_columns_apart(tmp_path):
    path = tmp_path / "a.xlsx"
    workbook(path, [["Index", None, "note"], [1, None, "x &lt; y"], [None, None, None], [2, 7, None]])
    table = tables.read_workbook(path)
    assert table.columns.tolist() == ["Index", "", "note"]
    assert table.to_numpy().tolist() == [["1", "", "x < y"], ["2", "7", ""]]


@pytest.mark.parametrize("data", [b"", b"Index,Label_A\n", b"PK\x03\x04 cut off"])
def test_xlsx_that_is_none(tmp_path, data):
    (tmp_path / "a.xlsx").write_bytes(data)
    with pytest.raises(InputError, match=r"a.xlsx: not an Excel workbook"):
        tables.read_workbook(tmp_path / "a.xlsx")


def test_xlsx_that_would_fill_the_memory(tmp_path):
    path = tmp_path / "a.xlsx"
    workbook(path, [["a"], [1]], inline=True)
    with ZipFile(path, "a", ZIP_DEFLATED) as file, file.open("xl/sharedStrings.xml", "w", force_zip64=True) as part:
        for _ in range(300):
            part.write(bytes(2**20))
    with pytest.raises(InputError, match=r"xl/sharedStrings\.xml unpacks to 314572800 bytes"):
        tables.read_workbook(path)


def test_pandas_index_column_is_ignored(tmp_path):
    plant(tmp_path, "a.png", "b.png")
    pd.DataFrame({"image": ["a.png", "b.png"], "is_fake": [True, False]}).to_csv(tmp_path / "t.csv")
    assert found(tmp_path, "csv")[0] == {"a.png": (1, "unknown", "test"), "b.png": (0, "real", "test")}
