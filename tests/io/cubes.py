"""Small cubes with known values, written without the code that reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.sun import solar_irradiance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float64

CODES = {"uint8": 1, "int16": 2, "int32": 3, "float32": 4, "float64": 5, "uint16": 12}
ORDERS = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}
MAP_INFO = "{UTM, 1, 1, 740000, 6680000, 30, 30, 55, South, WGS-84}"


def reflectance(bands: int = 40, shape: tuple[int, int] = (24, 36), seed: int = 0) -> Float64:
    """A smooth landscape of soil-like spectra, 0.02 to 0.5."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    bright = 0.25 + 0.1 * np.sin(xx / 9 + rng.random()) + 0.08 * np.cos(yy / 7)
    slope = np.linspace(0.3, 1.2, bands)
    return np.asarray(bright[np.newaxis] * slope[:, np.newaxis, np.newaxis] + 0.001 * rng.random((bands, *shape)))


def sunlit(bands: int = 40) -> Float64:
    """Radiance of that landscape below a sun 40 degrees from the zenith, W m-2 sr-1 um-1."""
    light = solar_irradiance(wavelengths(bands), [10.0] * bands) * np.cos(np.radians(40)) / np.pi
    return np.asarray(reflectance(bands) * light[:, np.newaxis, np.newaxis])


def wavelengths(bands: int = 40, first: float = 400.0, last: float = 2400.0) -> list[float]:
    return [round(float(one), 2) for one in np.linspace(first, last, bands)]


def braces(values: Sequence[object], a_line: int = 7) -> str:
    lines = [", ".join(str(one) for one in values[first : first + a_line]) for first in range(0, len(values), a_line)]
    return "{" + ",\n  ".join(lines) + "}"


def write_envi(
    path: Path,
    stored: NDArray[Any],
    entries: Mapping[str, object] | None = None,
    *,
    interleave: str = "bsq",
    big_endian: bool = False,
    header: Path | None = None,
    **changed: object,
) -> Path:
    """Data and header, as text and bytes; `changed` entries (underscores for blanks, None for none) win."""
    bands, lines, samples = stored.shape
    told: dict[str, object] = {
        "samples": samples, "lines": lines, "bands": bands, "header offset": 0, "file type": "ENVI Standard",
        "data type": CODES[stored.dtype.name], "interleave": interleave, "byte order": int(big_endian),
        "map info": MAP_INFO, "wavelength": braces(wavelengths(bands)), "wavelength units": "Nanometers",
        **(entries or {}), **{name.replace("_", " "): value for name, value in changed.items()},
    }  # fmt: skip
    kept = {name: value for name, value in told.items() if value is not None}
    text = "ENVI\n" + "".join(f"{name} = {value}\n" for name, value in kept.items())
    (header or path.with_suffix(".hdr")).write_text(text, encoding="utf-8")
    order = stored.transpose(ORDERS[interleave])
    path.write_bytes(
        np.ascontiguousarray(order).astype(stored.dtype.newbyteorder(">" if big_endian else "<")).tobytes()
    )
    return path
