"""Files that a stranger hands over: nothing is written elsewhere, exhausted, run or believed."""

import hashlib
import json
import os
import shutil
import signal
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet
from safetensors.numpy import save, save_file

from aigid.aligned import pairs
from aigid.core import cache, console, embeddings, escape, files, folders, manifest, scores, tables
from aigid.core.errors import InputError
from aigid.data import audit
from aigid.data.layouts import workbook
from aigid.detectors import bundle
from aigid.features import lora, preprocess, row_cache
from aigid.images import ImageError, archives
from aigid.metrics import decisions
from aigid.prediction import DEFAULT_BUNDLE, scorers, verdict
from aigid.report import cards, figures
from tests.helpers.hostile import encode, mutated, picture
from tests.helpers.jail import aigid_jailed, jailed, snapshot

MAX_GROWTH = 2**29  # bytes that a refusal may take


def sheet(rows: str) -> dict[str, str]:
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    return {
        "xl/workbook.xml": f"<workbook xmlns:r='{relation}'><sheets><sheet r:id='r1'/></sheets></workbook>",
        "xl/_rels/workbook.xml.rels": "<R><Relationship Id='r1' Target='s.xml'/></R>",
        "xl/s.xml": f"<worksheet><sheetData>{rows}</sheetData></worksheet>",
    }


def write_zip(path: Path, parts: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        for name, text in parts.items():
            book.writestr(name, text)


def parquet_bomb(path: Path) -> None:
    """20 million long equal texts, of which a dictionary holds one."""
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2 * 10**7, np.int32)), ["x" * 400])
    parquet.write_table(pa.table({"path": text}), path)


def image_bomb(path: Path) -> None:
    parquet.write_table(pa.table({"image": [bytes(8 * 10**7)]}), path, compression="zstd")


def hdf5_bomb(path: Path) -> None:
    """Half a billion rows, none of which lies in the file."""
    with h5py.File(path, "w") as file:
        file.attrs["schema_version"] = 1
        for name, kind in (("key", "S64"), ("status", "S24")):
            file.create_dataset(name, (5 * 10**8,), kind, chunks=(1000,))
        file.create_dataset("views/clean", (5 * 10**8, 4), "f2", chunks=(1000, 4))


def varint(number: int, length: int = 0) -> bytes:
    """A number as Thrift's compact protocol writes it, in at least so many bytes."""
    number, digits = number << 1, []
    while number or len(digits) < max(length, 1):
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits[:-1], digits[-1] & 127])


def lying_parquet(path: Path, cell: bytes | str, of_page: bool = False) -> None:
    """One cell whose footer says that it takes 9 bytes, or whose page says that it takes 134 MB."""
    parquet.write_table(pa.table({"image": [cell]}), path, compression="zstd", use_dictionary=False)
    data = path.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    size = parquet.ParquetFile(path).metadata.row_group(0).column(0).total_uncompressed_size
    if of_page:  # beside the cell are its length and what says that it is not missing
        size = next(size for size in range(len(cell), len(cell) + 99) if varint(size) in data[:footer])
    parts = [data[:footer], data[footer:]]
    new = varint(2**27 - 1 if of_page else 9, len(varint(size)))
    parts[not of_page] = parts[not of_page].replace(varint(size), new)
    path.write_bytes(b"".join(parts))


BOMBS = {
    "footer.parquet": (lambda path: lying_parquet(path, bytes(8 * 10**7)),
                       lambda path: archives.read(f"{path}::image/000000")),
    "page.parquet": (lambda path: lying_parquet(path, bytes(10**7), True),
                     lambda path: archives.read(f"{path}::image/000000")),
    "texts.parquet": (lambda path: lying_parquet(path, "x" * 8 * 10**7), lambda path: tables.read(path, ())),
    "p.parquet": (parquet_bomb, lambda path: tables.read(path, ())),
    "i.parquet": (image_bomb, lambda path: archives.read(f"{path}::image/000000")),
    "columns.xlsx": (lambda path: write_zip(path, sheet("<row><c r='XFD1'><v>1</v></c></row>" * 10**5)),
                     workbook.read_workbook),
    "text.xlsx": (lambda path: write_zip(path, sheet("<row>" + "<c/>" * 10**7 + "</row>")), workbook.read_workbook),
    "deep.xlsx": (lambda path: write_zip(path, sheet("<a>" * 10**6)), workbook.read_workbook),
    "e.h5": (hdf5_bomb, embeddings.read),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_takes_no_more_than_its_share_of_memory(name, tmp_path):
    make, read = BOMBS[name]
    (tmp_path / "jail").mkdir()
    make(tmp_path / name)
    assert (tmp_path / name).stat().st_size < 2 * 10**6

    def refuse() -> None:
        with pytest.raises((InputError, ImageError)) as caught:
            read(tmp_path / name)
        print(caught.value)

    done = jailed(refuse, tmp_path / "jail")
    assert done.status == 0, done.output
    assert done.output.count("\n") == 1
    assert done.grown < MAX_GROWTH


def hdf5_of(path: Path, change) -> None:
    with embeddings.create(path, {"clean": (2, "float16")}, ["0" * 64], ["ok"], {}) as views:
        views["clean"].write(0, np.zeros((1, 2), np.float16))
    with h5py.File(path, "r+") as file:
        change(file)


def external(file: h5py.File) -> None:
    del file["status"]
    file.create_dataset("status", (1,), "S24", external=[("/etc/passwd", 0, 24)])


def linked(file: h5py.File) -> None:
    del file["status"]
    file["status"] = h5py.ExternalLink("/etc/passwd", "/x")


def soft(file: h5py.File) -> None:
    file["views/other"] = h5py.SoftLink("/views/clean")


@pytest.mark.parametrize("change", [external, linked, soft])
def test_an_embedding_file_reads_no_other_file(change, tmp_path):
    hdf5_of(tmp_path / "e.h5", change)
    with pytest.raises(InputError, match=r"e\.h5: /.*: (want a contiguous array in this file|a link)"):
        embeddings.read(tmp_path / "e.h5")


@pytest.fixture
def work(tmp_path):
    """A folder of images by class, in a jail beside a file that is nobody's business."""
    for label in ("0_real", "1_fake"):
        (tmp_path / "work/images/test" / label).mkdir(parents=True)
        for number in range(2):
            content = encode(picture(40 + number, 40 + len(label) + number), "PNG")
            (tmp_path / "work/images/test" / label / f"{number}.png").write_bytes(content)
    (tmp_path / "secret").write_text("secret")
    return tmp_path / "work"


def index(work: Path, *options: str, layout: str = "realfake"):
    return aigid_jailed("index", "images", "--layout", layout, "--out", "m.csv", *options, cwd=work)


def test_an_encrypted_and_a_corrupt_member_are_rows_that_cannot_be_read(work):
    path = work / "images/test/0_real/a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("good.png", "locked.png", "odd.png", "spoilt.png"):
            archive.writestr(name, encode(picture(50, 50 + len(name)), "BMP"))
        infos = {info.filename: info for info in archive.infolist()}
    content = bytearray(path.read_bytes())
    for name, (offset, value) in {"locked.png": (6, 1), "odd.png": (8, 99)}.items():
        content[infos[name].header_offset + offset] = value
        content[content.rindex(name.encode()) - 46 + offset + 2] = value
    start = infos["spoilt.png"].header_offset + 30 + len("spoilt.png")
    content[start : start + 20] = b"\xff" * 20
    path.write_bytes(content)
    done = index(work, "--archives")
    assert done.status == 1, done.output
    read = manifest.read(work / "m.csv").set_index("path")["sha256"] != ""
    assert read.sum() == 5
    assert not read[[f"test/0_real/a.zip::{name}.png" for name in ("locked", "odd", "spoilt")]].any()


def test_nothing_is_written_but_the_manifest(work):
    """Of a data set that names columns, links and tables like paths."""
    root = work / "images/data"
    root.mkdir()
    (root / "unpacked").symlink_to("../../../secret")
    odd = {"odd": pa.array([[1], [2]]), "time": pa.array([2**62] * 2, pa.date64())}
    columns = {"Image": [encode(picture(), "PNG")] * 2, "../../../../secret": [b"x"] * 2}
    table = pa.table({**columns, "Label_A": [0, 1], "Label_B": [0, 1], **odd})
    for name in ("test-00000-of-00001.parquet", "..-00000.parquet"):
        parquet.write_table(table, root / name)
    before = snapshot(work.parent)
    done = index(work, layout="defactify")
    assert done.status in (0, 1, 2), done.output
    assert "Traceback" not in done.output
    after = snapshot(work.parent)
    new = {name for name in after if after[name] != before.get(name)}
    assert {name for name in new if not name.startswith("cache/")} <= {"work/m.csv", "work.log"}
    assert set(before) <= set(after)


def test_a_folder_is_replaced_only_where_it_is_ours(tmp_path, monkeypatch):
    ours = lambda folder: (folder / "mark").is_file()  # noqa: E731
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes").write_text("mine")
    (tmp_path / "link").symlink_to("mine")
    (tmp_path / ".mine.part-final").mkdir()
    before = snapshot(tmp_path)
    monkeypatch.chdir(tmp_path / "mine")
    for target, reason in (("mine", "current folder"), ("link", "current folder"), ("mine/notes", "no folder")):
        with pytest.raises(InputError, match=reason), folders.replace_folder(tmp_path / target, ours, "thing"):
            pytest.fail("was allowed")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="not empty, and no earlier thing"):
        folders.require_replaceable(tmp_path / "mine", ours, "thing")
    assert snapshot(tmp_path) == before
    for text in ("1", "2"):
        with folders.replace_folder(tmp_path / "new", ours, "thing") as part:
            (part / "mark").write_text(text)
            again = folders.replace_folder(tmp_path / "new", ours, "thing")
            with pytest.raises(InputError, match="another `aigid` writes to it"), again:
                pytest.fail("was allowed")
    with pytest.raises(KeyError), folders.replace_folder(tmp_path / "new", ours, "thing"):
        raise KeyError
    assert {name: text for name, text in snapshot(tmp_path).items() if name not in before}.keys() == {"new/mark"}
    assert (tmp_path / "new/mark").read_text() == "2"
    assert (tmp_path / ".mine.part-final").is_dir()


def test_files_and_bundles_have_the_modes_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_text(tmp_path / "a", "")
        bundle.save(bundle.load(DEFAULT_BUNDLE), tmp_path / "b")
    finally:
        os.umask(before)
    paths = [tmp_path / "a", *(tmp_path / "b").rglob("*"), tmp_path / "b"]
    assert {oct(path.stat().st_mode & 0o777) for path in paths} == {"0o640", "0o750"}


def test_names_are_escaped_where_they_are_shown(tmp_path, capsys):
    console.report_failures([("a\x1b[2J\u202eb\udcff", "gone")])
    assert capsys.readouterr().err.startswith("a\\x1b[2J\\u202eb\\udcff: gone\n")
    table = tables.pipe_table(pd.DataFrame({"<img src=x>": ["<b>|", "![a](http://b)"], "n": ["< 0.1", "a\nb"]}))
    assert table.splitlines()[2:] == ["| &lt;b>\\| | < 0.1 |", "| ![a]\\(http://b) | a\\nb |"]
    assert "<img" not in table
    figure = figures.heat_map(pd.DataFrame({"$\\frac{$": [0.6], "\x1b": [0.7]}, index=["$^$"]))
    figures.save(figure, tmp_path / "f.png")
    assert b"frac{$" in figures.svg(figure)
    assert (
        escape.address("s3://key:secret@b/x --root https://u@h/p?sig=1 b")
        == "s3://...@b/x --root https://...@h/p?... b"
    )


def adapter(path: Path) -> None:
    save_file(
        {"x.A": np.ones((1, 1), np.float32)}, path.with_suffix(".safetensors"), {lora.METADATA_KEY: path.read_text()}
    )
    lora.read_settings(path.with_suffix(".safetensors"))


JSON_READERS = {
    "a calibrator": decisions.load,
    "qualities of JPEGs": pairs.read_quality_map,
    "an audit": audit.read_audit,
    "what gave scores": lambda path: scores.read_versions(path.with_suffix("")),
    "a bundle": lambda path: bundle.load(path.parent),
    "a card's bundle": lambda path: cards.read_metadata(path.parent),
    "preprocessing": lambda path: preprocess.read_record(path, path),
    "adapters": adapter,
}
TEXTS = [
    "[" * 10**5,
    "[]",
    "{}",
    "null",
    '"a"',
    "{",
    "",
    '{"size": "a", "base": [], "files": 1}',
    '{"size": {"height": []}}',
]
TEXTS += ['{"calibrator": {"kind": "platt", "parameters": {"weights": []}, "population": {}}}', "1e999", "NaN"]


@pytest.mark.parametrize("reader", JSON_READERS)
def test_json_that_says_something_else_is_one_line(reader, tmp_path):
    path = tmp_path / "model.json"
    for text in TEXTS:
        path.write_text(text)
        try:
            JSON_READERS[reader](path)
        except InputError as error:
            assert "\n" not in str(error), text  # noqa: PT017
        else:
            assert (reader, text) == ("qualities of JPEGs", "{}")


CELLS = ["x" * 200_000, "=1+1", "+a", "-b", "@c", "\td", "'=f", "''g", "'h", "-5", "+.5e3", "'-5", "", "a=b", "-", "'"]


def test_a_spreadsheet_computes_no_cell_and_each_comes_back(tmp_path):
    tables.write(pd.DataFrame({"cell": CELLS, "number": -1.0}), tmp_path / "t.csv")
    assert tables.read(tmp_path / "t.csv", ())["cell"].tolist() == CELLS
    raw = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)["cell"]
    starts = [cell for cell in raw if cell[:1] in set("=+-@\t\r")]
    assert starts == ["-5", "+.5e3"]


def test_a_crash_has_its_own_status_and_a_report(tmp_path, monkeypatch):
    def crash() -> None:
        raise ZeroDivisionError("of\x1b ours")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = CliRunner().invoke(console.ErrorHandlingCommand("x", callback=crash))
    assert (done.exit_code, done.stderr.count("\n")) == (70, 1)
    (report,) = tmp_path.glob("aigid-crash-*.txt")
    assert str(report) in done.stderr
    assert "\x1b" not in done.stderr
    assert "in crash\n" in report.read_text()


def test_sigterm_ends_a_command_as_ctrl_c_does(tmp_path):
    def wait() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    (tmp_path / "jail").mkdir()
    done = jailed(lambda: console.ErrorHandlingCommand("x", callback=wait).main([]), tmp_path / "jail")
    assert (done.status, done.output) == (1, "Error: stopped\n")


def test_an_option_of_one_value_is_given_once(work):
    done = index(work, "--seed", "1", "--seed", "2")
    assert (done.status, done.output) == (2, "Error: --seed: given 2 times, and takes one value\n")


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    return Path(shutil.copytree(DEFAULT_BUNDLE, tmp_path_factory.mktemp("bundle") / "b"))


@pytest.mark.parametrize("name", ["extra.json", "autoencoder9/config.json", ".hidden"])
def test_a_file_that_a_bundle_does_not_list_is_refused(name, copied):
    path = copied / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    try:
        with pytest.raises(InputError, match="not among the files that were saved"):
            bundle.load(copied)
    finally:
        path.unlink()
        if path.parent != copied:
            path.parent.rmdir()
    bundle.load(copied)


def leaves(value, *at):
    """Yield the places of all fields, of the lists the first alone."""
    items = value.items() if isinstance(value, dict) else list(enumerate(value))[:1] if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from leaves(inner, *at, key)


METADATA = json.loads((DEFAULT_BUNDLE / bundle.METADATA).read_text())
FIELDS = [at for at in leaves(METADATA) if "images" not in at or len(at) < 6]
VALUES = [None, "", "x", -1, 10**15, 1e308, True, [], {}, [[]], {"a": None}]


def load_changed(folder: Path, at, value) -> None:
    """Load a bundle of which a field was changed and the digests made again; all but InputError is a fault."""
    metadata = json.loads(json.dumps(METADATA))
    place = metadata
    for key in at[:-1]:
        place = place[key]
    place[at[-1]] = value
    if at != ("sha256",):
        metadata["sha256"] = "0" * 64
    text = json.dumps(metadata)
    if at != ("sha256",):
        text = text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest(), 1)
    (folder / bundle.METADATA).write_text(text)
    try:
        model = bundle.load(folder)
        rule = verdict.decision_rule_for(model, verdict.EvaluationSettings())
        verdict.limitations(model, rule)
        scorers.backbone_of(model, folder)
    except InputError as error:
        print(at, value, error)


def check_fields(copied: Path, changes) -> None:
    def load_all() -> None:
        for at, value in changes:
            try:
                load_changed(copied, at, value)
            except Exception as error:
                raise AssertionError(f"{at} = {value!r}") from error

    before = (copied / bundle.METADATA).read_text()
    done = jailed(load_all, copied, seconds=300)
    (copied / bundle.METADATA).write_text(before)
    assert done.status == 0, done.output[-3000:]
    assert done.output.count("\n") > len(changes) / 3


def test_fields_of_a_bundle_are_checked(copied):
    draw = np.random.default_rng(0)
    some = [FIELDS[number] for number in draw.permutation(len(FIELDS))[:12]]
    check_fields(copied, [(at, VALUES[draw.integers(len(VALUES))]) for at in some])


@pytest.mark.slow
def test_all_fields_of_a_bundle_are_checked(copied):
    check_fields(copied, [(at, value) for at in FIELDS for value in VALUES])


KEYS = np.array([f"{number:064x}" for number in range(3)], "S64")


def shard(folder: Path, key, rows) -> Path:
    content = save({"key": key, "rows": rows})
    path = folder / f"{hashlib.sha256(content).hexdigest()}.safetensors"
    path.write_bytes(content)
    return path


def test_a_forged_shard_is_set_aside(caplog):
    entry = row_cache.open_entry({"tower": "t", "view": {}, "seed": 0}, {})
    key, rows = KEYS.view(np.uint8).reshape(3, 64), np.ones((3, 4), np.float16)
    forged = [(key[:2], rows), (key[:, :8].copy(), rows), (key, rows * np.nan), (key, rows[0])]
    forged += [(key, rows[:, :2].copy()), (key, rows.astype(np.int64)), (key + np.uint8(99), rows)]
    paths = [shard(entry.folder, *arrays) for arrays in forged]
    good = shard(entry.folder, key, rows)
    cached = row_cache.CachedEmbeddings(entry, row_cache.KeyIndex(KEYS), 4)
    assert cached.cached_mask.all()
    assert entry.shards() == [good]
    assert {path.with_suffix(cache.CORRUPT_SUFFIX) for path in paths} == set(entry.folder.glob("*.damaged"))


def test_a_damaged_shard_of_channels_is_set_aside():
    entry = cache.CacheEntry(cache.entry_path("channels", {"a": 1}))
    path = entry.add(KEYS, np.arange(48, dtype=np.uint8).reshape(3, 4, 4), by_key=True)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert len(cache.StoredArrays(entry)) == 0
    entry.add(KEYS, np.zeros((3, 4, 4), np.uint8), by_key=True)
    assert len(cache.StoredArrays(entry)) == 3


def test_damaged_metadata_of_a_cache_are_written_again():
    folder = cache.entry_path("channels", {"a": 1}, {"made_by": "me"})
    for text in ("", "[]", '{"a": 2}'):
        (folder / cache.METADATA_FILE).write_text(text)
        cache.entry_path("channels", {"a": 1}, {"made_by": "me"})
        assert json.loads((folder / cache.METADATA_FILE).read_text()) == {"a": 1, "made_by": "me"}


def table_seeds(folder: Path) -> dict[str, tuple[bytes, object]]:
    """Small files of every table that is read, and what reads it."""
    rows = pd.DataFrame(
        {"path": ["a.png", "b.png"], "label": ["0", "1"], "generator": ["real", "g"], "score": [0.25, 1.0]}
    )
    tables.write(rows, folder / "t.csv")
    rows.to_parquet(folder / "t.parquet")
    write_zip(folder / "t.xlsx", sheet("<row><c><v>1</v></c><c r='C1' t='inlineStr'><is><t>a</t></is></c></row>" * 2))
    hdf5_of(folder / "t.h5", lambda file: None)
    entry = cache.CacheEntry(folder)
    shutil.move(entry.add(KEYS, np.ones((3, 4), np.float16)), folder / "t.safetensors")
    readers = {suffix: lambda path: tables.read(path, ()) for suffix in (".csv", ".parquet")}
    readers |= {".xlsx": workbook.read_workbook, ".h5": embeddings.read, ".safetensors": row_cache.verify_shard}
    return {suffix: ((folder / f"t{suffix}").read_bytes(), read) for suffix, read in readers.items()}


def check_mutations(tmp_path: Path, num: int) -> None:
    """Read mutated tables: no crash, no hang, bounded memory, and no silent success where there is a checksum."""
    seeds = table_seeds(tmp_path)
    (tmp_path / "jail").mkdir()

    def read_all() -> None:
        draw, refused = np.random.default_rng(0), 0
        for number in range(num):
            suffix = [*seeds][number % len(seeds)]
            content, read = seeds[suffix]
            changed = mutated(content, draw)
            path = tmp_path / f"m{suffix}"
            path.write_bytes(changed)
            try:
                result = read(path)
                assert suffix != ".safetensors" or result is None, "a damaged shard was believed"
            except InputError as error:
                refused += "\n" not in str(error)
            except BaseException as error:
                raise AssertionError(f"mutation {number} of {suffix}: {changed!r}") from error
        assert refused > num / 5

    done = jailed(read_all, tmp_path / "jail", seconds=num // 20 + 20)
    assert done.status == 0, done.output[-3000:]
    assert done.grown < MAX_GROWTH


def test_mutated_tables_end_in_one_line(tmp_path):
    """With 4,000 images (tests/unit/images/test_decode.py) and 300 files of bundles the fuzz of each run of tests."""
    check_mutations(tmp_path, 700)


def reseal(folder: Path, metadata: dict) -> None:
    """Write a ``model.json`` whose digest is right."""
    text = json.dumps(metadata | {"sha256": bundle.ZERO_DIGEST})
    digest = hashlib.sha256(text.encode()).hexdigest()
    (folder / bundle.METADATA).write_text(text.replace(bundle.ZERO_DIGEST, digest, 1))


def test_mutated_files_of_a_bundle_are_refused(tmp_path):
    """As they are, and most of them where all digests are made to fit: no crash, no hang, bounded memory."""
    folder = Path(shutil.copytree(DEFAULT_BUNDLE, tmp_path / "b"))
    rows = (folder / bundle.VALIDATION).read_bytes().splitlines(keepends=True)
    (folder / bundle.VALIDATION).write_bytes(b"".join(rows[:20]))
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in METADATA["files"]}
    reseal(folder, METADATA | {"files": digests})
    bundle.load(folder)
    contents = {name: (folder / name).read_bytes() for name in (bundle.METADATA, *digests)}

    def load_all() -> None:
        draw, refused = np.random.default_rng(0), 0
        for number in range(300):
            name = [*contents][number % len(contents)]
            changed, sealed = mutated(contents[name], draw), name in digests and number % 2
            (folder / name).write_bytes(changed)
            if sealed:
                reseal(folder, METADATA | {"files": digests | {name: hashlib.sha256(changed).hexdigest()}})
            try:
                bundle.load(folder)
                assert sealed or changed == contents[name], f"mutation {number} of {name} was believed"
            except InputError as error:
                refused += "\n" not in str(error)
            for other in (name, bundle.METADATA):
                (folder / other).write_bytes(contents[other])
        assert refused > 150

    done = jailed(load_all, folder, seconds=60)
    assert done.status == 0, done.output[-3000:]
    assert done.grown < MAX_GROWTH


@pytest.mark.slow
def test_5000_mutated_tables_end_in_one_line(tmp_path):
    check_mutations(tmp_path, 5000)
