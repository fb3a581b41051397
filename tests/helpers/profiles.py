"""ICC profiles written byte by byte (ICC.1:2010), and what they mean in plain arithmetic."""

import struct

import numpy as np

# Columns: XYZ (D50) of red, green and blue; the exponent of the tone curve, None for that of sRGB.
SPACES = {
    "sRGB": ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410), None),
    "Display P3": ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407), None),
    "Adobe RGB": ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457), 563 / 256),
    "ProPhoto": ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491), 1.8),
}
D50 = (0.9642, 1.0, 0.8249)
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def curve(gamma: float | None) -> bytes:
    """A parametric curve, clause 10.15: a power, or sRGB's."""
    kind, values = (0, (gamma,)) if gamma else (3, SRGB_CURVE)
    return b"para" + struct.pack(">IHH", 0, kind, 0) + fixed(*values)


def profile(space: bytes, kind: bytes, tags: dict[bytes, bytes], pcs: bytes = b"XYZ ") -> bytes:
    body, table, start = b"", b"", 128 + 4 + 12 * (len(tags) + 1)
    for name, data in {b"wtpt": b"XYZ \0\0\0\0" + fixed(*D50), **tags}.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"none", 0x04200000, kind, space, pcs)
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(*D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags) + 1) + table + body


def rgb(name: str) -> bytes:
    *columns, gamma = SPACES[name]
    tags = {b"%cXYZ" % key: b"XYZ \0\0\0\0" + fixed(*column) for key, column in zip(b"rgb", columns, strict=True)}
    return profile(b"RGB ", b"mntr", tags | {b"%cTRC" % key: curve(gamma) for key in b"rgb"})


def grey(gamma: float) -> bytes:
    return profile(b"GRAY", b"mntr", {b"kTRC": curve(gamma)})


def cmyk() -> bytes:
    """A press whose inks subtract linearly in Lab: L = 100 - 25 (C + M + Y) - 25 K, a and b by C, M and Y."""
    cube = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), -1).reshape(-1, 4)
    lab = np.stack([255 - 63.75 * cube.sum(1), 128 + 40 * (cube[:, 1] - cube[:, 0]), 128 + 40 * cube[:, 2]], 1)
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += ramp * 4 + lab.round().astype(np.uint8).tobytes() + ramp * 3
    return profile(b"CMYK", b"prtr", {b"A2B0": table}, b"Lab ")


def _decode_tone(values: np.ndarray, gamma: float | None) -> np.ndarray:
    if gamma:
        return values**gamma
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encode_tone(linear: np.ndarray, gamma: float | None = None) -> np.ndarray:
    if gamma:
        return linear ** (1 / gamma)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def _matrix(name: str) -> np.ndarray:
    return np.array(SPACES[name][:3]).T


def to_srgb(values: np.ndarray, name: str) -> np.ndarray:
    """Colors (..., 3) in [0, 1] of a space as sRGB's, clipped."""
    linear = _decode_tone(values, SPACES[name][3]) @ (np.linalg.inv(_matrix("sRGB")) @ _matrix(name)).T
    return encode_tone(linear.clip(0, 1))


def from_srgb(values: np.ndarray, name: str) -> np.ndarray:
    """Colors (..., 3) in [0, 1] of sRGB as a space's, clipped."""
    linear = _decode_tone(values, None) @ (np.linalg.inv(_matrix(name)) @ _matrix("sRGB")).T
    return encode_tone(linear.clip(0, 1), SPACES[name][3])
