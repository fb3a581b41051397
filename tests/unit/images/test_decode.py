"""Decoding against files written byte by byte, NumPy's flips, the textbook formulas, and hostile files."""

import io
import os
import resource
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from aigid.images import ImageError, Status
from aigid.images.decode import MAX_PIXELS, decode
from aigid.images.formats import READERS
from aigid.images.headers import Header, read_header
from aigid.prediction.inspection import HALVED_NOTE, inspect_content
from tests.helpers.hostile import (
    bombs,
    chunk,
    encode,
    exif,
    frauds,
    jpeg_head,
    mutated,
    picture,
    png,
    png_adam7,
    png_of,
    riff,
    tiff,
    with_segment,
)

PICTURE = picture()
TURNED = {
    1: PICTURE,
    2: PICTURE[:, ::-1],
    3: PICTURE[::-1, ::-1],
    4: PICTURE[::-1],
    5: PICTURE.swapaxes(0, 1),
    6: np.rot90(PICTURE, -1),
    7: PICTURE[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90(PICTURE, 1),
}


def status_of(source: Path | bytes, **options: int) -> str:
    with pytest.raises(ImageError) as fault:
        decode(source, **options)
    assert "\n" not in str(fault.value)
    return fault.value.status


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """round(c a / 255 + 255 (1 - a / 255)) in exact arithmetic, (..., 3)."""
    colour, alpha = colour.astype(int), alpha.astype(int)[..., None]
    blend = (2 * (colour * alpha + 255 * (255 - alpha)) + 255) // 510
    return np.broadcast_to(blend, (*blend.shape[:2], 3))


def three(grey: list) -> np.ndarray:
    return np.repeat(np.array(grey, np.uint8)[..., None], 3, axis=2)


def test_statuses_fit_the_column() -> None:
    assert len(Status) <= 32
    assert all(status.isascii() and len(status) <= 24 for status in Status)
    assert Status.OK == "ok"


@pytest.mark.parametrize(
    ("fmt", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("PPM", {}), ("TIFF", {})]
    + [("TIFF", {"compression": name}) for name in ("tiff_lzw", "tiff_deflate", "packbits")],
)
def test_lossless_formats_return_the_pixels(fmt: str, options: dict) -> None:
    pixels = decode(encode(PICTURE, fmt, **options))
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    np.testing.assert_array_equal(pixels, PICTURE)


@pytest.mark.parametrize(("fmt", "limit"), [("JPEG", 4), ("WEBP", 8), ("AVIF", 8), ("GIF", 12)])
def test_lossy_formats_are_near(fmt: str, limit: int) -> None:
    options = {} if fmt == "GIF" else {"quality": 95}
    assert np.abs(decode(encode(PICTURE, fmt, **options)).astype(int) - PICTURE).mean() < limit


def test_progressive_jpeg_equals_baseline() -> None:
    baseline = encode(PICTURE, "JPEG", quality=80)
    progressive = encode(PICTURE, "JPEG", quality=80, progressive=True)
    assert read_header(progressive).progressive
    assert not read_header(baseline).progressive
    np.testing.assert_array_equal(decode(progressive), decode(baseline))


def test_arithmetic_jpeg() -> None:
    """Coded zeros (ITU-T T.81, annex D: zeros follow the last byte) are the likelier symbols: the block is grey."""
    np.testing.assert_array_equal(decode(jpeg_head(0xC9, 8, 8) + b"\xff\xd9"), np.full((8, 8, 3), 128))


def test_png_of_every_kind() -> None:
    grey = np.array([[0, 10, 200, 255], [3, 7, 90, 128]], np.uint8)
    alpha = np.array([[0, 255, 1, 254], [128, 77, 13, 200]], np.uint8)
    colour = np.stack([grey, 255 - grey, grey[::-1]], axis=-1)
    palette = chunk(b"PLTE", bytes(range(30, 42)))
    index = np.array([[0, 1], [2, 3]], np.uint8)
    shades = np.arange(30, 42).reshape(4, 3)[index]
    cases = {
        "grey": (png(grey, 0), three(grey)),
        "grey and alpha": (png(np.stack([grey, alpha], -1), 4), on_white(grey[..., None], alpha)),
        "colour and alpha": (png(np.dstack([colour, alpha]), 6), on_white(colour, alpha)),
        "grey, one shade clear": (
            png(grey, 0, chunk(b"tRNS", b"\0\x5a")),
            on_white(grey[..., None], np.where(grey == 90, 0, 255)),
        ),
        "colour, one clear": (
            png(colour, 2, chunk(b"tRNS", struct.pack(">3H", *colour[1, 1]))),
            on_white(colour, np.array([[255] * 4, [255, 0, 255, 255]])),
        ),
        "palette": (png(index, 3, palette), shades),
        "palette and alpha": (
            png(index, 3, palette + chunk(b"tRNS", bytes([0, 100, 255]))),
            on_white(shades, np.array([[0, 100], [255, 255]])),
        ),
        "one bit": (
            png_of((9, 2), 1, 0, b"\0\xa0\x80\0\x0f\0"),
            three([[255, 0, 255, *[0] * 5, 255], [0] * 4 + [255] * 4 + [0]]),
        ),
        "four bits": (png_of((2, 1), 4, 0, b"\0\x3f"), three([[51, 255]])),
        "interlaced": (png_adam7(PICTURE), PICTURE),
    }
    for name, (data, want) in cases.items():
        np.testing.assert_array_equal(decode(data), want, err_msg=name)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.array([[0, 1, 128, 129, 257, 40_000], [256, 32_768, 65_278, 65_407, 65_534, 65_535]], np.uint16)
    want = three(np.round(values / 257))
    np.testing.assert_array_equal(decode(png(values, 0)), want)
    np.testing.assert_array_equal(decode(tiff((6, 2), (258, 3, 16), pixels=values.astype("<u2").tobytes())), want)
    np.testing.assert_array_equal(decode(b"P5 6 2 65535\n" + values.astype(">u2").tobytes()), want)
    clear = on_white(want[..., :1], np.where(values == 40_000, 0, 255))
    np.testing.assert_array_equal(decode(png(values, 0, chunk(b"tRNS", struct.pack(">H", 40_000)))), clear)
    colour = np.stack([values, values[::-1], values], -1)
    assert np.abs(decode(png(colour, 2)) - np.round(colour / 257)).max() <= 1
    alpha = np.stack([values, np.full_like(values, 65_535)], -1)
    assert np.abs(decode(png(alpha, 4)) - np.round(values / 257)[..., None]).max() <= 1


def test_integer_and_float_grey() -> None:
    as_float = np.array([[0, 0.5, 1], [0.2, 0.25, 0.75]], np.float32)
    np.testing.assert_array_equal(decode(encode(as_float, "TIFF")), three(np.rint(as_float * 255)))
    np.testing.assert_array_equal(decode(encode(as_float * 200, "TIFF")), three(np.rint(as_float * 200)))
    np.testing.assert_array_equal(decode(encode((as_float * 65_535).astype(np.int32), "TIFF"))[0, 2], [255] * 3)
    for outside in (as_float * 1000, -as_float, np.full_like(as_float, np.nan), (as_float * 70_000).astype(np.int32)):
        assert status_of(encode(outside, "TIFF")) == "unsupported_pixels"


def test_cmyk_is_the_product_of_ink_and_black() -> None:
    ink = np.random.default_rng(0).integers(0, 256, (4, 16, 4), np.uint8)
    file = io.BytesIO()
    Image.frombytes("CMYK", (16, 4), ink.tobytes()).save(file, "TIFF")
    want = (255.0 - ink[..., :3]) * (255 - ink[..., 3:]) / 255
    assert np.abs(decode(file.getvalue()) - want).max() <= 1
    flat = np.broadcast_to(np.array([40, 90, 160, 30], np.uint8), (16, 16, 4))
    file = io.BytesIO()
    Image.frombytes("CMYK", (16, 16), flat.tobytes()).save(file, "JPEG", quality=100)
    assert b"Adobe" in file.getvalue()  # which says that the ink is stored inverted
    assert np.abs(decode(file.getvalue()) - (255.0 - flat[..., :3]) * (255 - 30) / 255).max() <= 2


@pytest.mark.parametrize("orientation", TURNED)
def test_orientation_is_applied(orientation: int) -> None:
    block = exif(orientation)
    want = TURNED[orientation]
    np.testing.assert_array_equal(decode(png(PICTURE, 2, chunk(b"eXIf", block))), want)
    np.testing.assert_array_equal(decode(encode(PICTURE, "WEBP", lossless=True, exif=block)), want)
    np.testing.assert_array_equal(
        decode(tiff((64, 48), (274, 3, orientation), pixels=PICTURE[..., 0].tobytes())), three(want[..., 0])
    )
    stored = encode(PICTURE, "JPEG")
    np.testing.assert_array_equal(decode(with_segment(stored, 0xE1, b"Exif\0\0" + block)).shape[:2], want.shape[:2])
    assert np.abs(decode(with_segment(stored, 0xE1, b"Exif\0\0" + block)).astype(int) - want).mean() < 4


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II",
        b"garbage" * 9,
        exif(6)[:14],
        exif(99),
        exif(0),
        exif(6)[:4] + b"\xff" * 4,
        exif(6)[:8] + b"\xff" * 40,
    ],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_leaves_the_pixels(block: bytes) -> None:
    np.testing.assert_array_equal(decode(png(PICTURE, 2, chunk(b"eXIf", block))), PICTURE)
    jpeg = encode(PICTURE, "JPEG")
    np.testing.assert_array_equal(decode(with_segment(jpeg, 0xE1, b"Exif\0\0" + block)), decode(jpeg))


@pytest.mark.parametrize("fmt", ["GIF", "WEBP", "PNG", "TIFF", "MPO", "AVIF"])
def test_first_frame_of_many(fmt: str) -> None:
    first, *others = (np.full((32, 32, 3), shade, np.uint8) for shade in (200, 20, 90, 150))
    file = io.BytesIO()
    options = {"lossless": True} if fmt == "WEBP" else {}
    Image.fromarray(first).save(file, fmt, save_all=True, append_images=[*map(Image.fromarray, others)], **options)
    assert Image.open(file).n_frames == 4
    assert np.abs(decode(file.getvalue()).astype(int) - first).max() <= 2


@pytest.mark.parametrize(
    ("name", "want", "data"), [(name, *case) for name, case in frauds().items()], ids=list(frauds())
)
def test_frauds_are_named(tmp_path: Path, name: str, want: str, data: bytes) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    assert status_of(path) == want
    assert status_of(data) == want


def test_suffix_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.JPG")
    path.write_bytes(png(PICTURE, 2))
    np.testing.assert_array_equal(decode(path), PICTURE)


def test_what_is_not_a_file(tmp_path: Path) -> None:
    folder, pipe, loop, dangling = (tmp_path / name for name in ("x.jpg", "pipe.jpg", "loop.jpg", "gone.jpg"))
    folder.mkdir()
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    dangling.symlink_to(tmp_path / "nowhere")
    link = tmp_path / "link.jpg"
    link.symlink_to(pipe)
    want = {folder: "not_a_file", pipe: "not_a_file", link: "not_a_file", Path("/dev/zero"): "not_a_file"}
    want |= {loop: "symlink_loop", dangling: "missing", tmp_path / "none.jpg": "missing", Path("a\0b"): "missing"}
    for path, status in want.items():
        assert status_of(path) == status, path
        with pytest.raises(ImageError):
            read_header(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(png(PICTURE, 2))
    path.chmod(0)
    assert status_of(path) == "unreadable"


def test_file_of_too_many_bytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.webp"
    with path.open("wb") as file:
        file.write(encode(PICTURE, "WEBP"))
        file.truncate(2**40)
    assert status_of(path) == "too_many_bytes"


def test_bombs_are_refused_in_little_memory(tmp_path: Path) -> None:
    """In a process that may take 256 MiB more than it has; the smallest of these would need a gigabyte."""
    want = {}
    for name, (status, data) in bombs().items():
        (tmp_path / name).write_bytes(data)
        want[name] = status
    script = """
import resource, sys
from pathlib import Path
from aigid.images.decode import ImageError, decode
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**28,) * 2)
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        print(path.name, decode(path).shape)
    except ImageError as error:
        print(path.name, error.status)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, timeout=60, check=True
    )
    assert dict(line.split(maxsplit=1) for line in done.stdout.splitlines()) == want


def test_pixel_limit_is_exact() -> None:
    data = png(PICTURE, 2)
    assert decode(data, max_pixels=64 * 48).shape == (48, 64, 3)
    assert status_of(data, max_pixels=64 * 48 - 1) == "too_many_pixels"
    for fmt in ("JPEG", "WEBP", "TIFF", "AVIF", "GIF", "BMP", "PPM"):
        assert status_of(encode(PICTURE, fmt), max_pixels=64 * 48 - 1) == "too_many_pixels"


def test_early_end_is_told_from_a_flat_corner() -> None:
    """Whole images with flat grey, white and black corners are not taken for cut ones, in any sampling."""
    for shade in (0, 128, 255):
        pixels = PICTURE.copy()
        pixels[30:, 20:] = shade
        np.testing.assert_array_equal(decode(png(pixels, 2)), pixels)
        for options in ({"subsampling": 0}, {"subsampling": 2}, {"restart_marker_blocks": 1}, {"quality": 5}):
            jpeg = encode(pixels, "JPEG", **options)
            np.testing.assert_array_equal(decode(jpeg), np.asarray(Image.open(io.BytesIO(jpeg))))
            with pytest.raises(ImageError, match="truncated"):
                decode(jpeg[:-60] + b"\xff\xd9")


def test_threads_agree_and_pillow_is_left_alone() -> None:
    files = [
        png(PICTURE, 2),
        encode(PICTURE, "JPEG"),
        encode(PICTURE, "WEBP"),
        encode(PICTURE, "GIF"),
        frauds()["png_half"][1],
    ]

    def outcome(data: bytes) -> bytes | str:
        try:
            return decode(data).tobytes()
        except ImageError as error:
            return str(error)

    alone = [outcome(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, files * 40)) == alone * 40
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES) == (MAX_PIXELS, False)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", [0, 1])
def test_fuzz(seed: int) -> None:
    """2,000 seeded mutations each: pixels or a named error, within 2 s each and 400 MiB for all."""
    grey16 = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21
    orientation = with_segment(encode(PICTURE, "JPEG"), 0xE1, b"Exif\0\0" + exif(6, b"camera\0"))
    seeds = [encode(PICTURE, fmt) for fmt in READERS]
    seeds += [
        orientation,
        encode(PICTURE, "JPEG", progressive=True),
        png(grey16, 0),
        png_adam7(PICTURE),
        jpeg_head(0xC9, 8, 8),
    ]
    seeds += [encode(PICTURE, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")]
    seeds += [encode(PICTURE, "WEBP", lossless=True, exif=exif(3)), riff((b"VP8X", bytes(10))), encode(grey16, "TIFF")]
    draw = np.random.default_rng(seed)
    outcomes: dict[str, int] = {}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(2000):
        data = mutated(seeds[number % len(seeds)], draw)
        start = time.perf_counter()
        try:
            pixels = decode(data, max_pixels=2**20)
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3
            outcome = "ok"
        except ImageError as error:
            outcome = error.status
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        with suppress(ImageError):
            assert isinstance(read_header(data), Header)
        assert time.perf_counter() - start < 2, (number, outcome)
    assert set(outcomes) >= {"ok", "truncated", "corrupt", "not_an_image", "too_many_pixels", "zero_size"}, outcomes
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024


def test_the_environment_lifts_or_lowers_the_pixel_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGID_MAX_PIXELS", str(64 * 48 - 1))
    for data in (png(PICTURE, 2), encode(PICTURE, "JPEG")):
        with pytest.raises(ImageError, match=r"64 x 48, limit 3071 pixels \(\$AIGID_MAX_PIXELS\)"):
            decode(data)
    monkeypatch.setenv("AIGID_MAX_PIXELS", str(64 * 48))
    assert decode(png(PICTURE, 2)).shape == PICTURE.shape


def test_a_jpeg_of_more_pixels_than_the_default_limit_is_read_at_half_its_sides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Resized to 224 px it is within 1 of 255, on average, of the whole image; a smooth one and a flat corner too."""
    rows, columns = np.mgrid[:900, :1201] / 150
    picture = np.stack([np.sin(rows * 3) + np.cos(columns), np.cos(rows * columns / 4), np.sin(columns * 2)], axis=-1)
    picture[600:] = 0.2
    data = encode(np.uint8((picture + 2) * 63), "JPEG")
    whole = decode(data)
    monkeypatch.setattr("aigid.images.decode.MAX_PIXELS", 900 * 1201 - 1)
    half = decode(data, max_pixels=900 * 1201 - 1)
    assert (whole.shape, half.shape) == ((900, 1201, 3), (450, 601, 3))
    small = [
        np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.BICUBIC), int)
        for pixels in (whole, half)
    ]
    assert np.abs(small[0] - small[1]).mean() < 1
    inspected = inspect_content(data, "a.jpg", 900 * 1201 - 1)
    assert (inspected.note, inspected.warnings) == (HALVED_NOTE, ())
    assert status_of(data, max_pixels=900 * 1201 - 2) == "too_many_pixels"  # a limit of the user's own stays one
    monkeypatch.setattr("aigid.images.decode.MAX_PIXELS", 900 * 1201 // 4 - 1)
    assert status_of(data, max_pixels=900 * 1201 // 4 - 1) == "too_many_pixels"


def test_bytes_that_fill_up_before_a_marker_take_linear_time() -> None:
    """An image whose pixels end flat is looked at again, from the end of its scan."""
    flat = encode(np.full((48, 64, 3), 99, np.uint8), "JPEG")
    start = time.process_time()
    for fill in (b"\xff" * 10**6, b"\xff" * 10**6 + b"\0"):
        with suppress(ImageError):
            assert decode(flat[:-2] + fill + flat[-2:]).std() < 1
    assert time.process_time() - start < 2
    assert decode(flat[:-2] + b"\xff" * 9 + flat[-2:]).std() < 1


def test_the_setting_that_decided_is_named() -> None:
    with pytest.raises(ImageError, match=r"limit 3071 pixels \(--max-pixels\)"):
        decode(png(PICTURE, 2), max_pixels=64 * 48 - 1)
