"""Any bytes in a file's name or a table's cell: they go through every command, and come back."""

import json
import os
import tarfile
import zipfile
from contextlib import chdir

import pytest
from click.testing import CliRunner

from aigid.cli.main import main
from aigid.core import manifest, tables
from aigid.core.errors import InputError
from aigid.detectors import bundle
from aigid.detectors.featdistill import model as experts
from aigid.detectors.featdistill.detector import EnsembleMember, FeatDistill
from tests.helpers.demo_experts import settings
from tests.helpers.hostile import encode, picture
from tests.helpers.probe_bundle import fit_probe
from tests.helpers.tiny_models import autoencoder

NAMES = [
    *(b"caf\xe9.png", b"\xff\xfe.png", b"\xed\xb3\xa9.png", b"a\nb.png", b"r\r.png", b'q"u,o.png', b"=1+1.png", b"-5"),
    *(b"''q.png", b" lead.png", b"trail .png", b"e\x1b[2J.png", b"\xe2\x80\xae.png", b"$x${.png", b"%41#?.png"),
    *(b"st*r[1].png", b"<img src=x>.png", b"a.zip::b.png", b"C:\\x.png", b"x" * 240 + b".png", b"NA", b"001"),
]
TEXTS = [os.fsdecode(name) for name in NAMES]
GENERATOR = os.fsdecode(b"gen\xe9 $\\frac{$<b>")
CLASSES = ("0_real", "1_fake")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Images of all the names in two classes, their manifest by `aigid index`, and bundles of two detectors."""
    folder, patch = tmp_path_factory.mktemp("names"), pytest.MonkeyPatch()
    patch.setenv("AIGID_CACHE", str(folder / "cache"))
    patch.setenv("AIGID_DEVICE", "cpu")
    fit_probe(folder, "tiny_clip", 24)
    how = settings(("siglip",))
    expert = EnsembleMember(how.experts["siglip"], lambda: experts.build(how.experts["siglip"]).eval())
    model = bundle.Bundle("featdistill", FeatDistill({"siglip": expert}), how.model_dump(mode="json"), ["one"])
    bundle.save(model, folder / "experts")
    for label in CLASSES:
        (folder / "named" / GENERATOR / label).mkdir(parents=True)
        for number, name in enumerate(TEXTS):
            content = encode(picture(33 + number, 40 + 8 * (label == "1_fake")), "PNG")
            (folder / "named" / GENERATOR / label / name).write_bytes(content)
    aigid(folder, "index", "named", "--layout", "realfake", "--out", "n.csv", status=0)
    yield folder
    patch.undo()


def aigid(folder, *arguments, stdin=None, status=0):
    with chdir(folder):
        done = CliRunner().invoke(main, [*arguments], prog_name="aigid", input=stdin)
    assert done.exit_code == status, done.stderr
    assert not set("\x1b\u202e\udce9") & set(done.stderr)
    return done


def written(folder, path, column="path"):
    return tables.read(folder / path, ())[column].tolist()


EXPECTED = sorted(f"{GENERATOR}/{label}/{name}" for label in CLASSES for name in TEXTS)


def test_index_and_any_cell(work):
    table = manifest.read(work / "n.csv")
    assert sorted(table["path"]) == EXPECTED
    assert (table["sha256"] != "").all()
    assert set(table["generator"]) == {"real", GENERATOR}
    cells = [TEXTS[row % len(TEXTS)] for row in range(len(table))]
    manifest.write(table.assign(caption=cells, source=cells, extra_x=cells), work / "cells.csv")
    again = manifest.read(work / "cells.csv").set_index("path").loc[table["path"]]
    for column in ("caption", "source", "extra_x"):
        assert again[column].tolist() == cells


@pytest.mark.parametrize("command", ["audit", "extract", "cache verify", "plan", "degrade", "align"])
def test_a_manifest(work, command, tmp_path):
    options = {
        "extract": ("--backbone", "tiny_clip", "--out", str(tmp_path / "e.h5")),
        "plan": ("--backbone", "tiny_clip", "--sample", "8"),
        "degrade": ("--view", "jpeg65", "--out", str(tmp_path / "out")),
        "align": ("--domain", "vae", "--weights", str(tmp_path / "vae"), "--out", str(tmp_path / "out")),
    }
    if command == "align":
        autoencoder().save_pretrained(tmp_path / "vae")
    name = ("--manifest", "n.csv") if command == "cache verify" else ("n.csv",)
    aigid(work, *command.split(), *name, "--root", "named", *options.get(command, ()))
    if command == "degrade":
        stems = [path if path.endswith(".png") else f"{path}.png" for path in EXPECTED]
        assert sorted(written(tmp_path, "out/manifest.csv")) == sorted(stems)
        drawn = [json.loads(line)["path"] for line in (tmp_path / "out/drawn.jsonl").read_text().splitlines()]
        assert sorted(drawn) == sorted(stems)


PATHS = [f"named/{path}" for path in EXPECTED]


@pytest.fixture(scope="module")
def scored(work):
    """A scores file of all images."""
    aigid(work, "predict", "named", "--model", "bundle", "--csv", "p.csv")
    return work / "p.csv"


def test_predict(work, scored, tmp_path):
    assert sorted(written(work, "p.csv")) == PATHS
    lines = aigid(work, "predict", "n.csv", "--root", "named", "--model", "bundle", "--json").stdout.splitlines()
    assert sorted(json.loads(line)["path"] for line in lines) == PATHS
    listed = [path for path in PATHS if not {"\n", "\r"} & set(path)]
    stdin = b"\n".join(map(os.fsencode, listed))
    aigid(work, "predict", "-", "--model", "bundle", "--csv", str(tmp_path / "l.csv"), stdin=stdin)
    assert sorted(written(tmp_path, "l.csv")) == listed
    refusal = aigid(work, "predict", "named", "--model", "bundle", "--csv", str(tmp_path / "p.parquet"), status=2)
    assert "is not UTF-8, which Parquet wants; write a .csv" in refusal.stderr


def test_predict_explained(work, tmp_path):
    few = [f"named/{GENERATOR}/0_real/{TEXTS[number]}" for number in (0, 3, 13)]
    aigid(work, "predict", *few, "--model", "bundle", "--stable", "--explain", str(tmp_path / "maps"))


def test_evaluate(work, scored, tmp_path):
    aigid(work, "evaluate", "p.csv", "--root", ".", "--by", "generator", "--out", str(tmp_path / "out"))
    details = tables.read(tmp_path / "out/details/p/scores.csv", ())
    assert GENERATOR in details["name"].tolist()
    page = (tmp_path / "out/report/index.html").read_text()
    assert "{$&lt;b&gt;" in page
    assert "{$<b>" not in page


def test_ntire(work, tmp_path):
    aigid(work, "ntire", "named", "--model", "experts", "--out", str(tmp_path / "out"))
    assert sorted(written(tmp_path, "out/predictions.csv", "image_name")) == EXPECTED


@pytest.mark.parametrize("suffix", ["tar", "zip"])
def test_archives(work, suffix, tmp_path):
    (tmp_path / "packed").mkdir()
    members = EXPECTED if suffix == "tar" else [path for path in EXPECTED if path.isprintable()]
    if suffix == "tar":
        with tarfile.open(tmp_path / "packed/a.tar", "w", format=tarfile.GNU_FORMAT) as archive:
            archive.add(work / "named", "./")
    else:
        members = []
        with zipfile.ZipFile(tmp_path / "packed/a.zip", "w") as archive:
            for number, path in enumerate(EXPECTED):
                name = path.encode(errors="replace").decode("cp437") + f"{number}.png"
                archive.writestr(name, (work / "named" / path).read_bytes())
                members.append(name)
    done = aigid(tmp_path, "index", "packed", "--layout", "realfake", "--archives", "--out", "t.csv")
    assert "left out" not in done.stderr
    assert len(written(tmp_path, "t.csv")) == len(members)
    out = ("--model", str(work / "bundle"), "--csv", "p.csv")
    aigid(tmp_path, "predict", "t.csv", "--root", "packed", *out)
    assert set(written(tmp_path, "p.csv", "status")) == {"ok"}


def test_windows_paths_are_named(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.png").write_bytes(encode(picture(), "PNG"))
    text = "path,label,generator,split\na\\b.png,0,real,test\n"
    for rows, status in (("", 2), ("a/b.png,0,real,test\n", 1)):
        (tmp_path / "m.csv").write_text(text + rows)
        done = aigid(tmp_path, "audit", "m.csv", "--root", ".", status=status)
        assert "a\\b.png: " in done.stderr
        assert "No such file or directory; there is " in done.stderr
        assert "/a/b.png" in done.stderr


def test_the_line_is_that_of_the_file(tmp_path):
    """Where cells hold line ends and lines are empty, and where rows without a label were left out."""
    head = "path,label,generator,split,view,score"
    text = f'{head}\n"a\nb",0,real,test,clean,0.1\n\n"c\r\nd",,,test,clean,0.5\n"e",1,g,tset,clean,0.5\n'
    (tmp_path / "s.csv").write_bytes(text.encode())
    done = aigid(tmp_path, "evaluate", "s.csv", status=2)
    assert "s.csv: row 3 (line 7), column split: 'tset'" in done.stderr
    (tmp_path / "s.csv").write_bytes(text.replace(head, "path,label,generator,split,caption,group").encode())
    for command in (("predict", "s.csv"), ("audit", "s.csv", "--root", ".")):
        assert "row 2 (line 5), column label: ''" in aigid(tmp_path, *command, status=2).stderr
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.csv").write_text('path,label\n"x\ny.png",real\nz.png,maybe\n')
    done = aigid(tmp_path, "index", "sub", "--layout", "csv", "--out", "m.csv", status=2)
    assert "row 2 (line 4), column label: 'maybe'" in done.stderr


def test_columns_that_are_not_utf_8_are_refused(tmp_path):
    (tmp_path / "s.csv").write_bytes(b"path,caf\xe9\na,b\n")
    with pytest.raises(InputError, match=r"column 'caf\\udce9' is not UTF-8"):
        tables.read(tmp_path / "s.csv", ())
