"""Edits of photographs against slow references and by hand."""

import numpy as np
import pytest
from PIL import Image

from aigid.degradations import edits, operators, policies, views
from aigid.degradations.pixels import luma

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
UNIT = (IMAGE / 255).astype(np.float32)


def test_bilateral_is_its_definition():
    radius, sigma = 2, 0.1
    image = UNIT[:9, :8].astype(float)
    gray = luma(image).astype(float)
    expected = np.zeros_like(image)
    for y, x in np.ndindex(9, 8):
        total = weights = 0
        for dy in range(-radius, radius + 1):
            for dx in range(-radius, radius + 1):
                v, u = min(max(y + dy, 0), 8), min(max(x + dx, 0), 7)
                weight = np.exp(-(dy**2 + dx**2) / 2 / 1**2 - (gray[v, u] - gray[y, x]) ** 2 / 2 / sigma**2)
                total, weights = total + weight * image[v, u], weights + weight
        expected[y, x] = total / weights
    assert edits.bilateral(UNIT[:9, :8], radius, sigma) == pytest.approx(expected, abs=1e-5)


def test_bilateral_smooths_noise_and_keeps_an_edge():
    step = np.where(np.arange(64) < 32, 0.2, 0.8)[None, :, None] * np.ones((64, 1, 3))
    noisy = (step + 0.03 * RNG.normal(size=(64, 64, 1))).astype(np.float32)
    found = edits.bilateral(noisy, 3, 0.08)
    assert found[:, :30].std() < 0.5 * noisy[:, :30].std()
    assert np.diff(found.mean(axis=(0, 2)))[31] > 0.55


def test_white_balance_by_hand():
    assert edits.white_balance(np.full((1, 1, 3), 0.5, np.float32), 1.2, 0.8)[0, 0] == pytest.approx([0.6, 0.5, 0.4])


def test_tone_mapping_by_hand():
    color = np.array([0.1, 0.2, 0.4], np.float32)
    flat = np.broadcast_to(color, (30, 30, 3))
    gray = float(luma(flat)[0, 0])  # 0.1929: halfway to 1/2 is 0.34645
    assert edits.tone_map(flat, 0.5, 2)[7, 7] == pytest.approx(color * (gray + 0.5) / 2 / gray, rel=1e-4)
    ramp = np.linspace(0.3, 0.7, 200, dtype=np.float32)[None, :, None] * np.ones((200, 1, 3), np.float32)
    assert edits.tone_map(ramp, 0.5, 1).std() == pytest.approx(0.5 * ramp.std(), rel=0.02)
    wave = (0.5 + 0.01 * np.sin(np.arange(200)))[None, :, None] * np.ones((200, 1, 3))
    assert edits.tone_map(wave.astype(np.float32), 0.5, 2).std() == pytest.approx(2 * wave.std(), rel=0.02)


def test_a_portrait_is_sharp_in_the_middle_and_blurred_outside():
    found = edits.portrait_blur(UNIT, 0.05)
    assert np.array_equal(found[15:25, 25:35], UNIT[15:25, 25:35])
    assert found[:4, :4].std() < 0.5 * UNIT[:4, :4].std()


def test_upscaling_is_pillows_lanczos():
    expected = Image.fromarray(IMAGE).resize((120, 80), Image.Resampling.LANCZOS)
    assert np.array_equal(edits.upscale(IMAGE, 2), np.asarray(expected))


def test_a_watermark_mixes_white_into_some_pixels():
    image = np.full((200, 300, 3), 100, np.uint8)
    change = edits.watermark(image, 0.5).astype(int) - 100
    assert 0.005 < (change > 0).mean() < 0.2
    assert change.min() == 0
    assert change.max() == pytest.approx(0.5 * 155, abs=1)
    assert len(set(np.flatnonzero(change.sum(axis=(1, 2))) // 60)) > 1  # several rows


def test_text_stands_in_a_bar_on_the_lower_edge():
    image = np.full((120, 200, 3), 90, np.uint8)
    found = edits.text_overlay(image, 0.25)
    assert np.array_equal(found[:90], image[:90])
    assert found[90:].max() > 240
    assert np.median(found[90:]) == 0


def test_a_collage_has_the_image_its_mirror_and_the_middle_of_each():
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, 50:] = 200
    found = edits.collage(image, 0.02)
    assert found.shape == (100, 100, 3)
    assert (found[:2] == 255).all()
    assert (found[:, 49:51] == 255).all()
    cells = found[2:49, 2:49], found[2:49, 51:98], found[51:98, 2:49], found[51:98, 51:98]
    assert [cell[20, 5, 0] for cell in cells] == [0, 200, 0, 200]
    assert [cell[20, 41, 0] for cell in cells] == [200, 0, 200, 0]


@pytest.mark.parametrize("name", [*policies.EDITS, *policies.DELIVERY])
def test_edits_and_deliveries_draw_nothing_at_random(name):
    first, second = (views.apply(name, IMAGE, digest * 64, seed) for digest, seed in (("a", 0), ("b", 1)))
    assert np.array_equal(first[0], second[0])
    assert not np.array_equal(first[0], IMAGE)
    assert set(policies.EDITS) <= set(views.VIEWS)
    assert all(step["operator"] in operators.OPERATORS for step in first[1])
