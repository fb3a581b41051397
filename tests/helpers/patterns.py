"""The small test images of the operators' specification, (H, W, 3) float32, and comparison with printed values."""

import numpy as np


def _image(*channels: np.ndarray) -> np.ndarray:
    return np.stack(channels, axis=2).astype(np.float32)


def _grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.mgrid[:side, :side].astype(float))


def _ramp(side: int) -> np.ndarray:
    row, column = _grid(side)
    red = (side * row + column) / (side**2 - 1)
    return _image(red, (row + side * column) / (side**2 - 1), 1 - red)


RAMP, R8 = _ramp(4), _ramp(8)
TONE = np.repeat(np.arange(11)[None, :, None] / 10, 3, axis=2).astype(np.float32)
PX = np.array([[(0.2, 0.6, 0.4), (1, 0, 0), (0.3, 0.3, 0.3), (0.9, 0.5, 0.1)]], np.float32)
_r, _c = _grid(16)
BYTES16 = np.stack([(16 * _r + _c) % 256, (7 * _r + 11 * _c) % 256, (255 - (5 * _r + 9 * _c)) % 256], axis=2).astype(
    np.uint8
)
_r, _c = _grid(6)
SQ6 = _image(0 * _r, ((6 * _r + _c) / 35) ** 2, 0 * _r)
_r, _c = _grid(12)
R12 = _image(_r / 11, _c / 11, (_r + _c) / 22)
_r, _c = _grid(21)
R21 = np.repeat(((21 * _r + _c) / 440)[..., None], 3, axis=2).astype(np.float32)


def close(actual: object, expected: str | object, tolerance: float = 2e-6) -> None:
    """Compare with numbers that are printed with six decimals, or a text of such, in their order."""
    if isinstance(expected, str):
        expected = [float(word) for word in expected.split()]
    np.testing.assert_allclose(np.ravel(actual), np.ravel(expected), rtol=0, atol=tolerance)
