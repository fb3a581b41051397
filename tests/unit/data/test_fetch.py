"""`aigid fetch`: images of a list, from servers that break off, lie and refuse; every sha256 is checked."""

import csv
import errno
import hashlib
import io
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aigid.core import manifest
from aigid.core.errors import InputError
from aigid.core.folders import lock
from aigid.data import fetch as downloads
from aigid.data.index import IndexSettings, build_manifest
from aigid.data.lists import Recipe, known_lists, read_list
from aigid.images import ImageError, Status
from tests.helpers.cli import aigid, refused
from tests.helpers.image_server import serve
from tests.helpers.workspace import BIN

YAML = "description: toys\nlicence: CC0\nurl: {url}/{{file}}\n"
SHARED = Path(__file__).resolve().parents[4] / "shared/data/photos"


def png(seed: int, size: tuple[int, int] = (100, 80)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_list(folder: Path, url: str, images: dict[str, bytes], extra: str = "", **changed: str) -> Path:
    """A list whose images are real and generated in turn; ``changed`` are sha256 by the first folder of a file."""
    folder.mkdir(exist_ok=True)
    with (folder / "toys.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "generator", "split", "sha256", "file"])
        for number, (name, content) in enumerate(images.items()):
            digest = changed.get(name.partition("/")[0], hashlib.sha256(content).hexdigest())
            generator = ["real", "progan"][number % 2]
            writer.writerow([f"{number:02}.png", number % 2, generator, "test", digest, name])
    (folder / "toys.yaml").write_text(YAML.format(url=url) + extra)
    return folder / "toys.yaml"


def add_urls(path: Path, urls: list[str]) -> None:
    """Give a list's table a column ``url``."""
    lines = path.with_suffix(".csv").read_text().splitlines()
    rows = [f"{line},{cell}" for line, cell in zip(lines, ["url", *urls], strict=True)]
    path.with_suffix(".csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(downloads, "MAX_WAIT", 0.0)


def images(*kinds: str) -> dict[str, bytes]:
    return {f"{kind}/{number} a.png": png(number) for number, kind in enumerate(kinds)}


def fetched(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def quoted(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name.replace(" ", "%20"): content for name, content in files.items()}


def test_images_that_break_off_are_continued_where_they_stopped(tmp_path):
    files = images("plain", "breaks", "busy", "whole")
    with serve(quoted(files)) as server:
        path = write_list(tmp_path / "list", server.url, files)
        done = aigid("fetch", str(path), "--out", "toys", cwd=tmp_path)
    assert done.exit_code == 0, done.stderr
    assert list(fetched(tmp_path / "toys").values()) == list(files.values())
    size = len(files["breaks/1 a.png"])
    assert server.ranges == [size // 2, size // 2 + (size - size // 2) // 2]
    assert server.requests == {"plain/0%20a.png": 1, "breaks/1%20a.png": 3, "busy/2%20a.png": 3, "whole/3%20a.png": 2}
    table = manifest.read(tmp_path / "toys/manifest.csv")
    assert set(table["extra_missing"]) == {""}
    assert not (tmp_path / "toys/.fetch").exists()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("gone", "HTTP 404"),
        ("stubborn", "HTTP 429 (6 attempts)"),
        ("short", "its sha256 is"),
        ("long", "its sha256 is"),
        ("wrong", "its sha256 is"),
    ],
)
def test_what_cannot_be_had_keeps_its_row_with_the_reason(tmp_path, kind, reason):
    files = images("plain", kind)
    digest = {"wrong": "0" * 64, "long": "1" * 64}.get(kind)
    with serve(quoted(files)) as server:
        path = write_list(tmp_path / "list", server.url, files, **({kind: digest} if digest else {}))
        done = aigid("fetch", str(path), "--out", "toys", cwd=tmp_path)
        allowed = aigid("fetch", str(path), "--out", "toys", "--allow-missing", cwd=tmp_path)
    assert (done.exit_code, allowed.exit_code) == (1, 0), done.stderr
    assert "toys: 1 of 2 images" in done.stderr
    assert list(fetched(tmp_path / "toys")) == ["00.png"]
    table = manifest.read(tmp_path / "toys/manifest.csv")
    assert table["path"].tolist() == ["00.png", "01.png"]
    assert table["extra_missing"][0] == ""
    assert reason in table["extra_missing"][1]


def test_a_length_that_is_too_great_loses_nothing(tmp_path):
    files = images("long")
    with serve(quoted(files)) as server:
        path = write_list(tmp_path / "list", server.url, files)
        assert aigid("fetch", str(path), "--out", "toys", cwd=tmp_path).exit_code == 0
    assert list(fetched(tmp_path / "toys").values()) == list(files.values())


def test_pieces_of_two_versions_are_not_joined(tmp_path):
    files = images("changed")
    with serve(quoted(files)) as server:
        path = write_list(tmp_path / "list", server.url, files)
        assert aigid("fetch", str(path), "--out", "toys", cwd=tmp_path).exit_code == 0
        assert server.requests["changed/0%20a.png"] == 3  # broken off, continued with other bytes, from the start
    assert list(fetched(tmp_path / "toys").values()) == list(files.values())


def test_a_second_call_asks_for_what_lacks_alone_and_mends_a_damaged_image(tmp_path):
    files = images("plain", "plain")
    with serve(quoted(files)) as server:
        path = write_list(tmp_path / "list", server.url, files)
        for _ in range(2):
            assert aigid("fetch", str(path), "--out", "toys", cwd=tmp_path).exit_code == 0
        assert server.requests.total() == 2
        (tmp_path / "toys/01.png").write_bytes(b"damaged")
        assert aigid("fetch", str(path), "--out", "toys", cwd=tmp_path).exit_code == 0
        assert server.requests["plain/1%20a.png"] == 2
    assert list(fetched(tmp_path / "toys").values()) == list(files.values())


def test_without_an_answer_the_rest_is_not_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    files = {f"plain/{number}.png": b"" for number in range(30)}
    with serve({}) as server:
        url = server.url
    path = write_list(tmp_path / "list", url, files)
    done = aigid("fetch", str(path), "--out", "toys", "--jobs", "1", cwd=tmp_path)
    assert done.exit_code == 1
    reasons = manifest.read(tmp_path / "toys/manifest.csv")["extra_missing"]
    assert reasons.str.contains("not tried: 127.0.0.1").sum() == 30 - downloads.DEAD


def test_a_server_that_is_gone_leaves_those_of_another_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    files = images(*["plain"] * (downloads.DEAD + 3))
    with serve({}) as server:
        gone = server.url
    with serve(quoted(files)) as server:
        path = write_list(tmp_path / "list", "", files)
        path.write_text(path.read_text().replace("/{file}", '"{url}"'))
        urls = [f"{[gone, server.url][number == len(files) - 1]}/{name}" for number, name in enumerate(quoted(files))]
        add_urls(path, urls)
        assert aigid("fetch", str(path), "--out", "toys", "--jobs", "1", cwd=tmp_path).exit_code == 1
    assert list(fetched(tmp_path / "toys")) == [f"{len(files) - 1}.png"]


def test_one_address_may_stand_twice(tmp_path):
    content = png(0)
    with serve({"slow/a.png": content}) as server:
        path = write_list(tmp_path / "list", server.url, {f"slow/{number}.png": content for number in range(8)})
        path.write_text(path.read_text().replace("/{file}", "/slow/a.png"))
        assert aigid("fetch", str(path), "--out", "toys", "--jobs", "8", cwd=tmp_path).exit_code == 0
    assert list(fetched(tmp_path / "toys").values()) == [content] * 8


def test_a_download_without_end_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "MAX_BYTES", 5000)
    files = images("plain")
    with serve(quoted(files)) as server:
        path = write_list(tmp_path / "list", server.url, files)
        done = aigid("fetch", str(path), "--out", "toys", cwd=tmp_path)
    assert "a.png: over 5000 bytes" in done.stderr
    assert not (tmp_path / "toys/.fetch").exists()


def test_a_full_disk_is_one_line_that_names_the_folder(tmp_path, monkeypatch):
    """Of the image's own write too, which lies beside the download and not in the dataset."""
    files = images("plain")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with serve(quoted(files)) as server:
        path = write_list(tmp_path / "list", server.url, files)
        monkeypatch.setattr(Path, "write_bytes", full)
        done = aigid("fetch", str(path), "--out", "toys", cwd=tmp_path)
    assert done.exit_code == 2
    assert "No space left on device: 'toys'; free some space there" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "toys/manifest.csv").exists()


def test_servers_that_make_no_sense_are_told(tmp_path):
    """A status that answers to a range which nobody asked for, and a wait of so many seconds that is no number."""
    files = images("plain", "nonsense", "odd")
    with serve(quoted(files)) as server:
        path = write_list(tmp_path / "list", server.url, files)
        done = aigid("fetch", str(path), "--out", "toys", cwd=tmp_path)
    assert done.exit_code == 1, done.stderr
    assert "nonsense/1%20a.png: HTTP 416" in done.stderr
    assert "odd/2%20a.png: HTTP 503 (6 attempts)" in done.stderr
    assert list(fetched(tmp_path / "toys")) == ["00.png"]


def test_ctrl_c_waits_for_no_server(tmp_path):
    with serve({}) as server:
        url = server.url
    path = write_list(tmp_path / "list", url, images("plain"))
    call = [str(BIN / "aigid"), "fetch", str(path), "--out", "toys"]
    process = subprocess.Popen(call, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "toys/.fetch.lock").exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=8)[1]  # of the 15 s that all attempts take
    assert process.returncode == 1
    assert said.endswith("Error: toys: stopped; the same command goes on from here\n")
    assert not (tmp_path / "toys/manifest.csv").exists()


def test_the_recipe_refuses_what_no_decoder_should_see():
    """A header of 20,000 x 20,000 px."""
    content = bytearray(png(0))
    content[16:24] = struct.pack(">II", 20_000, 20_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    with pytest.raises(ImageError) as error:
        Recipe(crop=32, small_crop=16, quality=92).apply(bytes(content))
    assert error.value.status == Status.TOO_MANY_PIXELS


def test_the_recipe_makes_the_listed_bytes(tmp_path):
    recipe = Recipe(crop=32, small_crop=16, quality=92)
    files = {"plain/0.png": png(0, (50, 40)), "plain/1.png": png(1, (20, 30)), "plain/2.png": png(2, (15, 60))}
    expected = {}
    for name, box in (("plain/0.png", (9, 4, 41, 36)), ("plain/1.png", (2, 7, 18, 23))):
        buffer = io.BytesIO()
        Image.open(io.BytesIO(files[name])).crop(box).save(buffer, "JPEG", quality=92, subsampling=2)
        expected[name] = buffer.getvalue()
        assert recipe.apply(files[name]) == buffer.getvalue()
    with serve(files) as server:
        listed = expected | {"plain/2.png": b""}
        extra = "recipe: {crop: 32, small_crop: 16, quality: 92}\n"
        path = write_list(tmp_path / "list", server.url, listed, extra)
        done = aigid("fetch", str(path), "--out", "toys", cwd=tmp_path)
    assert done.exit_code == 1
    assert "too_small: 15 x 60 px for a crop of 16 px" in done.stderr
    assert list(fetched(tmp_path / "toys").values()) == list(expected.values())


def test_an_image_is_upright_and_without_metadata():
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, :16] = 255  # the left quarter, which exif puts at the top
    exif = Image.Exif()
    exif[274], exif[315] = 6, "somebody"
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    with Image.open(io.BytesIO(Recipe(crop=32, small_crop=16, quality=92).apply(buffer.getvalue()))) as image:
        assert image.size == (32, 32)
        assert dict(image.getexif()) == {}
    whole = Recipe(crop=64, small_crop=32, quality=92).apply(buffer.getvalue())
    assert Image.open(io.BytesIO(whole)).size == (32, 32)


def test_its_folder_is_a_dataset(tmp_path):
    files = images("plain", "plain", "gone", "gone")
    with serve(quoted(files)) as server:
        path = write_list(tmp_path / "list", server.url, files)
        aigid("fetch", str(path), "--out", "toys", cwd=tmp_path)
    table, unreadable = build_manifest(tmp_path / "toys", IndexSettings(layout="csv"), seed=0)
    assert table["path"].tolist() == ["00.png", "01.png", "02.png", "03.png"]
    assert unreadable == ["02.png", "03.png"]
    assert table["generator"].tolist() == ["real", "progan"] * 2


@pytest.mark.parametrize(
    ("old", "new", "texts"),
    [
        ("00.png", "../00.png", ["toys.csv", "row 1 (line 2)", "'../00.png'", "relative"]),
        ("00.png", "/tmp/00.png", ["toys.csv", "row 1 (line 2)", "'/tmp/00.png'", "relative"]),
        ("00.png", "x/../../00.png", ["toys.csv", "row 1 (line 2)", "relative"]),
        ("00.png", "01.png", ["toys.csv", "'01.png'", "stands twice"]),
        ("00.png", "./01.png", ["toys.csv", "row 1 (line 2)", "'./01.png'", "want it without . or //"]),
        ("00.png", "x//01.png", ["toys.csv", "'x//01.png'", "want it without . or //"]),
        ("00.png", "01.png/00.png", ["toys.csv", "row 2 (line 3)", "'01.png'", "is also the folder of another row"]),
        ("00.png", "manifest.csv", ["toys.csv", "'manifest.csv'", "is kept for `aigid fetch` itself"]),
        ("00.png", ".fetch/00.png", ["toys.csv", "'.fetch/00.png'", "is kept for `aigid fetch` itself"]),
        ("plain/0 a.png", "", []),
    ],
)
def test_a_list_that_is_wrong_fetches_nothing(tmp_path, old, new, texts):
    files = images("plain", "plain")
    with serve(quoted(files)) as server:
        path = write_list(tmp_path / "list", server.url, files)
        table = path.with_suffix(".csv")
        table.write_text(table.read_text().replace(old, new))
        done = aigid("fetch", str(path), "--out", "toys", cwd=tmp_path)
        if texts:
            refused(done, *texts)
            assert server.requests.total() == 0
            assert not (tmp_path / "toys").exists()
        else:
            assert done.exit_code == 1


def test_what_a_list_must_have(tmp_path):
    path = write_list(tmp_path / "list", "ftp://host", images("plain"))
    with pytest.raises(InputError, match=r"row 1 .line 2., column url: 'ftp://host/plain/0%20a.png': want http"):
        read_list(str(path))
    path.write_text(path.read_text().replace("{file}", "{place}"))
    with pytest.raises(InputError, match="wants a column 'place'"):
        read_list(str(path))
    for wrong in ("{file.name}", "{file[a]}", "{file"):
        path.write_text(YAML.format(url="http://host").replace("{file}", wrong))
        with pytest.raises(InputError, match=r"toys\.csv: the address .*: want columns in braces alone"):
            read_list(str(path))
    path.write_text("description: 2001-99-99\n")
    with pytest.raises(InputError, match=r"toys\.yaml: not a list: month must be in 1\.\.12"):
        read_list(str(path))
    path.write_text("description: toys\n")
    with pytest.raises(InputError, match=r"toys\.yaml\.licence: Field required"):
        read_list(str(path))
    write_list(tmp_path / "list", "http://host", images("plain"), "sources: {a/b: {revision: x, licence: MIT}}\n")
    with pytest.raises(InputError, match="no column 'repository'"):
        read_list(str(path))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"toys\.yaml: not a list"):
        read_list(str(path))


def test_unknown_and_unfetchable_names_are_told(tmp_path, monkeypatch):
    monkeypatch.delenv("AIGID_DATA", raising=False)
    refused(aigid("fetch", "nothing", cwd=tmp_path), "no list 'nothing'", "photos")
    for name in ("ntire_test", "synthbuster", "chameleon", "wildrf", "community_forensics"):
        refused(aigid("fetch", name, cwd=tmp_path), f"{name}: no list", "archives or on request", "datasets.md")
    refused(aigid("fetch", "photos", cwd=tmp_path), "--out FOLDER", "AIGID_DATA")
    listed = aigid("fetch", cwd=tmp_path)
    assert listed.exit_code == 0
    assert listed.stdout.startswith("photos: 2,328 images")
    assert "ntire" in listed.stdout


def test_two_calls_do_not_write_to_one_folder(tmp_path):
    files = images("plain")
    path = write_list(tmp_path / "list", "http://127.0.0.1:9", files)
    (tmp_path / "toys").mkdir()
    with lock(tmp_path / "toys/.fetch.lock", "toys", keep=True):
        done = aigid("fetch", str(path), "--out", "toys", cwd=tmp_path)
    assert done.exit_code == 2
    assert done.stderr.endswith("Error: toys: another `aigid fetch` writes to it\n")


def test_a_manifest_of_somebody_else_is_not_replaced(tmp_path):
    path = write_list(tmp_path / "list", "http://127.0.0.1:9", images("plain"))
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys/manifest.csv").write_text(text := "path,label,generator,split\nmine.png,0,real,test\n")
    done = aigid("fetch", str(path), "--out", "toys", cwd=tmp_path)
    assert done.exit_code == 2
    assert done.stderr.endswith("Error: toys/manifest.csv: not written by `aigid fetch`, which would replace it\n")
    assert (tmp_path / "toys/manifest.csv").read_text() == text


@pytest.mark.parametrize(
    ("path", "there", "said"),
    [
        ("00.png", "00.png/x", "toys/00.png: is a folder, where the list has an image"),
        ("x/00.png", "x", "toys/x: is a file, where the list has a folder of images"),
    ],
)
def test_what_lies_in_the_way_is_told_before_anything_is_fetched(tmp_path, path, there, said):
    listed = write_list(tmp_path / "list", "http://127.0.0.1:9", images("plain"))
    table = listed.with_suffix(".csv")
    table.write_text(table.read_text().replace("00.png", path))
    (tmp_path / "toys" / there).parent.mkdir(parents=True)
    (tmp_path / "toys" / there).write_bytes(b"mine")
    done = aigid("fetch", str(listed), "--out", "toys", cwd=tmp_path)
    assert done.exit_code == 2
    assert done.stderr.endswith(f"Error: {said}\n")
    assert [file.name for file in (tmp_path / "toys").rglob("*") if file.is_file()] == [Path(there).name]


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_it_ends_with_the_same_bytes(kills, tmp_path):
    files = {f"slow/{number}.png": png(number, (80, 60)) for number in range(12)}
    with serve(files) as server:
        path = write_list(tmp_path / "list", server.url, files)
        code = f"from aigid.data import fetch, lists; from pathlib import Path\nprint('ready', flush=True)\n" \
               f"fetch.fetch(lists.read_list({str(path)!r}), Path('toys'), 3)"  # fmt: skip
        for kill in range(kills):
            process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE)
            assert process.stdout is not None
            with process:
                process.stdout.readline()
                time.sleep(0.25 * (kill + 1) / kills)
                process.kill()
            there = fetched(tmp_path / "toys")  # hidden files are among them
            assert all(content == files[f"slow/{int(name[:2])}.png"] for name, content in there.items()), there.keys()
        assert server.ranges, "nothing was continued"
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert list(fetched(tmp_path / "toys").values()) == list(files.values())
    assert sorted(path.name for path in (tmp_path / "toys").iterdir()) == [
        ".fetch.lock",
        *(f"{number:02}.png" for number in range(12)),
        "manifest.csv",
    ]


def test_lists_of_the_package_are_whole():
    assert "photos" in known_lists()
    photos = read_list("photos")
    assert photos.table.groupby("label").size().tolist() == [1164, 1164]
    assert all(url.startswith("https://raw.githubusercontent.com/") for url in photos.urls)
    assert "" not in set(photos.table["extra_licence"])


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not here")
def test_the_list_of_photos_is_of_the_images_that_were_measured():
    photos = read_list("photos").table
    for path, digest in zip(photos["path"][::50], photos["sha256"][::50], strict=True):
        assert hashlib.sha256((SHARED / path).read_bytes()).hexdigest() == digest
