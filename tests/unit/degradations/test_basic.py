"""NTIRE's operators against the worked values of the organisers' code and of FeatDistill's, and slow references."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy.interpolate import CubicSpline
from scipy.ndimage import correlate, map_coordinates
from skimage.color import hsv2rgb, lab2rgb, rgb2hsv, rgb2lab

from aigid.degradations import basic, filters
from aigid.degradations.pixels import to_float, to_uint8
from tests.helpers.images import crops
from tests.helpers.patterns import BYTES16, PX, R12, RAMP, SQ6, TONE, close

FORMS = pytest.mark.parametrize("form", ["ntire", "featdistill"])
PHOTO = to_float(crops(1, 40, 56)[0])
BLACK, WHITE = np.zeros((4, 4, 3), np.float32), np.ones((4, 4, 3), np.float32)


def clip(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 1)


def spot(side: int) -> np.ndarray:
    image = np.zeros((side, side, 3), np.float32)
    image[side // 2, side // 2] = 1
    return image


def gray(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[None, :, None].repeat(3, axis=2)


@pytest.mark.parametrize(
    ("sigma", "rows"),
    [
        (0.5, {0: ".011344 .083820 .011344", 1: ".083820 .619347 .083820"}),
        (
            1,
            {
                0: ".002969 .013306 .021938 .013306 .002969",
                2: ".021938 .09832 .162103 .09832 .021938",
            },
        ),
        (2, {4: ".005641 .013532 .025282 .036785 .041683 .036785 .025282 .013532 .005641"}),
    ],
)
def test_gaussian_kernels(sigma, rows):
    side = 2 * int(np.ceil(2 * sigma)) + 1
    kernel = basic.gausblur(spot(2 * side + 1), sigma)[..., 0]
    start = (2 * side + 1) // 2 - side // 2
    for row, values in rows.items():
        close(kernel[start + row, start : start + side], values)


def test_the_widest_gaussian_kernel():
    kernel = basic.gausblur(spot(43), 5)[..., 1]
    half = ".006842 .006707 .006316 .005715 .004969 .00415 .003331 .002568 .001902 .001354 .000926"
    close(kernel[21, 21:32], half)
    close(kernel[31, 31], 1.25322e-4)
    assert (kernel[21, 32:] == 0).all()


def test_gaussian_blur_of_the_ramp():
    for sigma, row, values in (
        (0.5, 0, ".035502 .095069 .161735 .221301"),
        (0.5, 1, ".273767 .333333 .4 .459566"),
        (1, 0, ".117726 .16448 .223882 .270636"),
        (5, 0, ".379134 .395145 .41147 .42748"),
    ):
        close(basic.gausblur(RAMP, sigma)[row, :, 0], values)
    assert np.array_equal(basic.gausblur(PHOTO, 0.1), PHOTO)  # level 1 is the identity


def test_soft_disks():
    close(basic.soft_disk(1)[:2, :2], ".025660 .149560 .149560 .299119")
    close(basic.soft_disk(2)[0, :3], "0 .020130 .038135")
    close(basic.soft_disk(2)[1, :3], ".020130 .076269 .076269")
    close(basic.soft_disk(4)[4, 4:], [0.019832] * 4 + [0.009916])
    close(np.diag(basic.soft_disk(4))[4:], [0.019832] * 3 + [0.005104, 0])
    close(np.diag(basic.soft_disk(6))[6:], [0.008831] * 4 + [0.007446, 0, 0])
    close(np.diag(basic.soft_disk(8))[8:], [0.004983] * 6 + [0.000073, 0, 0])


def test_area_disks():
    close(basic.area_disk(1)[:2, :2], ".025079 .145344 .145344 .318310")
    close(basic.area_disk(2)[0, :3], "0 -.001913 .038385")
    close(basic.area_disk(2)[1, :3], "-.001913 .115265 .080141")
    close(basic.area_disk(4)[4, 4:], [0.022413] * 4 + [0.010973])
    close(np.diag(basic.area_disk(4))[4:], [0.022413] * 3 + [0.004662, 0])
    close(basic.area_disk(4)[0, :5], "0 0 -.029413 .008102 .010973")
    close(np.diag(basic.area_disk(6))[6:], [0.010513] * 4 + [0.051982, 0, 0])
    close(basic.area_disk(6)[0, :7], "0 0 0 0 -.047564 .004298 .005183")
    close(np.diag(basic.area_disk(8))[8:], [0.006018] * 6 + [0.000293, 0, 0])
    close(basic.area_disk(8)[0, :9], "0 0 0 0 0 -.050076 .001446 .002599 .002978")
    negative = [np.minimum(basic.area_disk(radius), 0).sum() for radius in (1, 2, 4, 6, 8)]
    close(negative, "0 -.0153 -.2353 -.4081 -.4830", 5e-5)


@pytest.mark.parametrize(
    ("disk", "deviations"),
    [(basic.soft_disk, ".634 1.080 2.029 3.020 4.008"), (basic.area_disk, ".625 .944 1.717 2.442 3.172")],
)
def test_disks_have_the_printed_deviations(disk, deviations):
    kernels = {radius: disk(radius) for radius in (1, 2, 4, 6, 8)}
    moments = [(kernel.sum(axis=0) * np.arange(-r, r + 1) ** 2).sum() ** 0.5 for r, kernel in kernels.items()]
    close(moments, deviations, 6e-4)  # of three decimals


def test_lens_blur_of_the_ramp():
    for form, radius, values in (
        ("featdistill", 1, ".06696 .120235 .186901 .240176"),
        ("ntire", 1, ".065167 .1188 .185467 .2391"),
        ("featdistill", 4, ".272907 .302785 .333866 .363744"),
        ("ntire", 4, ".254217 .285872 .320874 .35253"),
    ):
        close(basic.lensblur(RAMP, radius, form)[0, :, 0], values)


@FORMS
@pytest.mark.parametrize("radius", [1, 2, 4, 8])
def test_lens_blur_agrees_with_direct_correlation(form, radius):
    kernel = (basic.area_disk if form == "ntire" else basic.soft_disk)(radius)
    expected = correlate(PHOTO.astype(float), kernel[..., None], mode="nearest")
    close(basic.lensblur(PHOTO, radius, form), expected)


def test_saturation():
    for factor, form, values in (
        (0.4, "ntire", ".44 .6 .52 1 .6 .6 .3 .3 .3 .9 .74 .58"),
        (0.1, "featdistill", ".56 .6 .58 1 .9 .9 .3 .3 .3 .9 .86 .82"),
        (0, "ntire", ".6 .6 .6 1 1 1 .3 .3 .3 .9 .9 .9"),
        (-0.4, "featdistill", ".6 .6 .6 1 1 1 .3 .3 .3 .9 .9 .9"),
        (-0.4, "ntire", ".76 .6 .68 1 1 1 .3 .3 .3 .9 1 1"),
    ):
        close(clip(basic.colorsat(PX, factor, form)), values)
    hsv = rgb2hsv(PHOTO.astype(float))
    hsv[..., 1] *= 0.2
    close(basic.colorsat(PHOTO, 0.2), hsv2rgb(hsv))


def test_the_weight_of_edges():
    close(basic.edge_weight(SQ6, "featdistill")[0], ".01348 .038515 .07992 .122032 .16256 .199463")
    close(basic.edge_weight(SQ6, "featdistill")[5], ".800428 .840585 .882898 .925035 .964701 .987645")
    weight = basic.edge_weight(SQ6, "ntire")
    assert (weight[:, 0] == 0).all()
    assert (weight[:, -1] == 1).all()  # each row rises
    close(weight[:, 1:-1], basic.edge_weight(SQ6, "featdistill")[:, 1:-1])


class Given:
    """A source of numbers that are known, for operators that draw two."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def random(self, size: int) -> tuple[float, ...]:
        assert size == len(self.values)
        return self.values


@pytest.mark.parametrize(
    ("u", "v", "amount", "rows"),
    [
        (0.8, 0.6, 3, {0: "0 .000785 .003004 .00655 .011469 .017803"}),
        (0.8, 0.6, 3, {5: ".358329 .347386 .331405 .339244 .348315 .367907"}),
        (1, 0.2, 3, {0: ".009904 .029082 .065701 .10846 .15545 .204566"}),
        (1, 0.2, 3, {5: ".240715 .223871 .219691 .214648 .210501 .218752"}),
        (0.2, 0.9, 2, {0: ".000176 .001571 .003004 .00655 .011469 .017803"}),
    ],
)
def test_shifted_green(u, v, amount, rows):
    shifted = basic.colorshift(SQ6, amount, "featdistill", rng=Given(u, v))
    for row, values in rows.items():
        close(shifted[row, :, 1], values)
    assert np.array_equal(shifted[..., [0, 2]], SQ6[..., [0, 2]])


def test_shifted_green_of_the_organisers():
    shifted = basic.shift_green(SQ6, 2, 2, "ntire")[..., 1]
    close(shifted[0], "0 .000785 .003004 .00655 .011469 .007347")
    close(shifted[5], ".734694 .347385 .331405 .339244 .348315 .36")


@pytest.mark.parametrize(
    ("down", "right", "rows", "columns"),
    [
        (2, 2, [0, 0, 0, 1, 2, 3], [0, 0, 0, 1, 2, 3]),
        (3, 1, [5, 5, 0, 0, 1, 2], [0, 0, 1, 2, 3, 4]),
        (0, 2, [0, 1, 2, 3, 4, 5], [4, 5, 0, 1, 2, 3]),
    ],
)
def test_the_rows_and_columns_that_green_is_taken_from(monkeypatch, down, right, rows, columns):
    monkeypatch.setattr(basic, "edge_weight", lambda image, form: np.float32(1))
    assert np.array_equal(basic.shift_green(SQ6, down, right, "ntire")[..., 1], SQ6[np.ix_(rows, columns)][..., 1])


def test_the_angle_of_a_shift_is_in_the_first_quadrant_and_seldom_diagonal():
    rng = np.random.default_rng(0)
    for amount, share in ((1, 0.58), (3, 0.66), (6, 0.88), (8, 0.95), (12, 0.997)):
        u, v = rng.random((2, 20_000))
        shifts = np.rint(np.stack([u, v]) / np.hypot(u, v) * amount)
        assert (shifts[0] != shifts[1]).mean() == pytest.approx(share, abs=0.012)


@pytest.mark.parametrize(
    ("value", "level", "quality"), [(0.5, 128, 43), (0.5, 128, 4), (0.2, 52, 43), (0.2, 50, 24), (0.2, 53, 4)]
)
def test_jpeg_of_a_constant(value, level, quality):
    assert (filters.jpeg(np.full((16, 16, 3), value, np.float32), quality) == level).all()


@pytest.mark.parametrize(
    ("quality", "sums"),
    [
        (43, (32661, 33259, 38297)),
        (36, (32733, 33331, 39141)),
        (24, (32226, 33859, 37964)),
        (7, (34445, 33263, 41472)),
        (4, (34305, 34373, 34503)),
    ],
)
def test_jpeg_sums(quality, sums):
    out = filters.jpeg(to_float(BYTES16), quality)
    assert np.abs(out.sum(axis=(0, 1)) - np.array(sums)).max() <= 0, "another libjpeg may differ by a level a pixel"
    assert np.array_equal(out, filters.jpeg(BYTES16, quality))  # 8 bits survive the unit scale
    if quality == 43:
        assert out[0, :8, 0].tolist() == [0, 0, 3, 5, 8, 10, 14, 15]


def test_jpeg_rounds_down_and_is_pillows():
    image = (BYTES16 + np.float32(0.9)) / 255
    buffer = BytesIO()
    Image.fromarray(BYTES16).save(buffer, format="JPEG", quality=36)
    assert np.array_equal(filters.jpeg(clip(image), 36), np.asarray(Image.open(BytesIO(buffer.getvalue()))))


TONES = {
    0.1: "0 .116268 .230984 .341527 .447877 .550066 .648136 .742127 .832078 .918025 1",
    0.4: "0 .165459 .3251 .467747 .593286 .701908 .793861 .869401 .928778 .972233 1",
    1.1: "0 .28219 .550357 .770224 .941319 1 1 1 1 1 1",
}


@FORMS
@pytest.mark.parametrize("amount", TONES)
def test_brightened_greys(form, amount):
    out = basic.brighten(TONE, amount, form)
    for channel in range(3):
        close(out[0, :, channel], TONES[amount], 1e-5)


@pytest.mark.parametrize(
    ("form", "amount", "values"),
    [
        ("featdistill", 0.1, ".241006 .649373 .448039 1 .051911 .023154" + 3 * " .341527" + " .931206 .549241 .131286"),
        ("featdistill", 0.4, ".360132 .798831 .593855 1 .125675 .076379" + 3 * " .467747" + " .981333 .698206 .217565"),
        ("featdistill", 1.1, ".597467 1 .903041 1 .233938 .167213 .770225 .770225 .770225 1 .964137 .364717"),
        ("ntire", 0.1, ".237744 .649074 .449047 1 .029543 .064942 .341527 .341527 .341527 .930853 .549862 .149923"),
        ("ntire", 0.4, ".350949 .79767 .597139 1 .084009 .14578 .467747 .467747 .467747 .981333 .701217 .259327"),
        ("ntire", 1.1, ".579139 1 .904779 1 .194857 .285514 .770225 .770225 .770225 1 .999448 .454773"),
    ],
)
def test_brightened_colors(form, amount, values):
    close(clip(basic.brighten(PX, amount, form)), values, 1e-5)


def test_brightening_is_two_parts_of_rgb_and_one_of_lightness_by_scikit_image():
    def curve(t):
        return clip(t + 0.8 * t * (1 - t))

    x = PHOTO.astype(float)
    lab = rgb2lab(x)
    lab[..., 0] = 100 * curve(lab[..., 0] / 100)
    close(basic.brighten(PHOTO, 0.4), (2 * curve(x) + lab2rgb(lab)) / 3, 1e-5)


def test_darkened_greys():
    for amount, values in (
        (0.05, "0 .091 .184 .279 .376 .475 .576 .679 .784 .891 1"),
        (0.2, "0 .064 .136 .216 .304 .4 .504 .616 .736 .864 1"),
        (0.8, "0 0 0 0 .016 .1 .216 .364 .544 .756 1"),
    ):
        close(clip(basic.darken(TONE, amount))[0, :, 1], values)


def displaced(rows: float, columns: float, form: str, passes: int = 5) -> np.ndarray:
    image, field = R12, np.ones((12, 12), np.float32)
    for _ in range(passes):
        image = basic.displace(image, rows * field, columns * field, form)
    return image


@FORMS
def test_five_displacements_without_drift(form):
    out = displaced(0.25, 0.5, form)
    close(out[6, 6], ".431818 .318182 .375")
    column = "0 .021573 .079102 .1606 .250089 .340909 .431818 .522727 .613636 .704546 .795455 .886364"
    if form == "featdistill":
        close(out[:, 6, 0], column)
    assert np.array_equal(displaced(0, 0, "featdistill"), R12)


def test_five_displacements_that_drift():
    close(displaced(0.25, 1.5, "featdistill")[6, 6], ".886364 0 .443182")


def test_one_displacement_differs_at_the_border():
    column = ".113636 .204545 .295455 .386364 .477273 .568182 .659091 .75 .840909 .931818 1 "
    close(displaced(-0.25, 1.5, "featdistill", 1)[:, 6, 0], column + "1")
    close(displaced(-0.25, 1.5, "ntire", 1)[:, 6, 0], column + "0")


@FORMS
def test_a_displacement_agrees_with_scipy_on_the_padded_image(form):
    rng = np.random.default_rng(3)
    height, width = PHOTO.shape[:2]
    for scale in (0.3, 1.0):
        rows, columns = (scale * rng.standard_normal((2, height, width))).astype(np.float32)
        mr, mc = (int(np.ceil(abs(field.max()))) for field in (rows, columns))
        pads = ((mr, mr), (mc, mc))
        d1, d0 = (np.pad(field, pads, mode="edge") for field in (rows, columns))
        grid = np.mgrid[: height + 2 * mr, : width + 2 * mc].astype(float)
        positions = np.stack([grid[0] - d1, grid[1] - d0])
        outside = (positions[0] < 0) | (positions[0] >= len(d1) - 1)
        outside |= (positions[1] < 0) | (positions[1] >= d1.shape[1] - 1)
        for channel in range(3):
            padded = np.pad(PHOTO[..., channel].astype(float), pads, mode="edge")
            slow = map_coordinates(padded, positions, order=1, mode="nearest")
            if form == "ntire":
                slow[outside] = 0
            fast = basic.displace(PHOTO, rows, columns, form)[..., channel]
            close(fast, slow[mc : mc + height, mr : mr + width], 2e-5)  # float32 coordinates


def test_the_displacements_of_five_passes_add_up():
    ramp = np.repeat(np.linspace(0, 1, 200, dtype=np.float32)[None, :, None], 200, axis=0).repeat(3, axis=2)
    moved = (basic.jitter(ramp, 0.2, rng=np.random.default_rng(0)) - ramp)[20:-20, 20:-20, 0] * 199
    # Bilinear reading of an already displaced image averages its neighbors, so a little less than sqrt(5) a.
    assert 1.5 * 0.2 < moved.std() < 2.4 * 0.2


@pytest.mark.parametrize(
    ("levels", "values"),
    [
        (20, [0, 0.05, 0.05, 0.1, 0.15, 0.15, 0.4, 0.5, 0.55, 0.8, 0.9, 0.9, 1, 1]),
        (10, [0, 0.1, 0.1, 0.1, 0.2, 0.2, 0.4, 0.5, 0.6, 0.8, 0.9, 0.9, 1, 1]),
        (7, [0, 1 / 7, 1 / 7, 1 / 7, 1 / 7, 2 / 7, 3 / 7, 4 / 7, 4 / 7, 6 / 7, 6 / 7, 1, 1, 1]),
    ],
)
def test_quantized_greys(levels, values):
    image = gray(*(np.array([0, 1, 12, 13, 36, 37, 100, 127, 128, 200, 218, 219, 254, 255]) / 255))
    close(basic.quantization(image, levels)[0, :, 2], values)


EDGES = {
    20: "0 12 25 38 51 63 76 89 102 114 127 140 153 165 178 191 204 216 229 242 256",
    16: "0 15 31 47 63 79 95 111 127 143 159 175 191 207 223 239 256",
    13: "0 19 39 58 78 98 117 137 156 176 196 215 235 256",
    10: "0 25 51 76 102 127 153 178 204 229 256",
    7: "0 36 72 109 145 182 218 256",
}


@pytest.mark.parametrize("levels", EDGES)
def test_quantization_is_searchsorted_in_the_printed_edges(levels):
    values = np.concatenate([np.arange(256), np.random.default_rng(0).uniform(0, 255, 2000)]) / 255
    image = gray(*values)
    index = np.searchsorted([int(edge) for edge in EDGES[levels].split()], np.float32(255) * image, side="left")
    assert index.min() == 0
    close(basic.quantization(image, levels), index / index.max())


def test_quantization_stretches_and_leaves_constants_white_or_black():
    assert np.ptp(basic.quantization(gray(0.2, 0.3, 0.6), 10)) == 1
    assert (clip(basic.quantization(WHITE / 2, 10)) == 1).all()
    assert (basic.quantization(BLACK, 10) == 0).all()


CONTRASTS = {
    0: "0 .057143 .142857 .25 .371429 .5 .628571 .75 .857143 .942857 1",
    0.15: "0 .025 .1 .2125 .35 .5 .65 .7875 .9 .975 1",
    -0.4: "0 .142857 .257143 .35 .428571 .5 .571429 .65 .742857 .857143 1",
    0.3: "0 0 .057143 .175 .328571 .5 .671429 .825 .942857 1 1",
    -0.6: "0 .185714 .314286 .4 .457143 .5 .542857 .6 .685714 .814286 1",
}


@pytest.mark.parametrize("amount", CONTRASTS)
def test_contrast_is_the_spline_through_five_points(amount):
    close(clip(basic.lincontrchange(TONE, amount))[0, :, 0], CONTRASTS[amount])
    points = [0, 0.25 - amount / 4, 0.5, 0.75 + amount / 4, 1]
    spline = CubicSpline([0, 0.3, 0.5, 0.7, 1], points, bc_type="not-a-knot")
    close(basic.lincontrchange(PHOTO, amount), spline(PHOTO.astype(float)), 5e-6)


def test_contrast_has_its_identity_at_a_fifth_below():
    close(basic.lincontrchange(PHOTO, -0.2), PHOTO)
    rms = [255 * np.sqrt(np.square(clip(basic.lincontrchange(PHOTO, a)) - PHOTO).mean()) for a in CONTRASTS]
    assert rms[0] == pytest.approx(rms[2], rel=0.1)  # |1 + 5 a| is 1, 1.75, 1, 2.5, 2
    assert rms[0] < rms[1] < rms[4] < rms[3]


def test_bytes_survive_the_unit_scale():
    every = np.arange(256, dtype=np.uint8).reshape(1, -1, 1).repeat(3, axis=2)
    assert np.array_equal(to_uint8(to_float(every)), every)
    assert np.array_equal(np.floor(np.float32(255) * to_float(every)), every)
