"""ENVI headers as programs for atmospheric correction write them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pyproj import CRS

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from geosoil.types import Bool, Float64

__all__ = ["Layout", "write_header"]

# Axes of a file in the order of the interleave: band, line, sample.
_AXES = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}


@dataclass(frozen=True, slots=True)
class Layout:
    """How an ENVI file holds its numbers.

    Attributes
    ----------
    interleave : str
        ``bsq``, ``bil`` or ``bip``.
    byte_order : int
        0 for little-endian, 1 for big-endian.
    micrometres : bool
        Whether wavelengths are written in micrometres rather than nm.
    scale_factor : bool
        Whether the header has ``reflectance scale factor``.
    """

    interleave: str = "bsq"
    byte_order: int = 0
    micrometres: bool = False
    scale_factor: bool = True

    @property
    def dtype(self) -> np.dtype[np.int16]:
        """Type of the numbers in the file."""
        return np.dtype(np.int16).newbyteorder(">" if self.byte_order else "<")

    @property
    def axes(self) -> tuple[int, int, int]:
        """Order in which the file holds bands (0), lines (1) and samples (2), slowest first."""
        return _AXES[self.interleave]


def write_header(
    path: Path,
    box: GeoBox,
    layout: Layout,
    wavelength_nm: Float64,
    fwhm_nm: Float64,
    good: Bool,
    sensor: str,
    acquired: str,
) -> None:
    """Write the header of int16 reflectance x 10,000 beside its data file.

    Parameters
    ----------
    path : Path
        The data file; the header is called the same, with ``.hdr`` in the place of its suffix.
    """
    crs = CRS.from_user_input(str(box.crs))
    unit = 1000.0 if layout.micrometres else 1.0
    fields = {
        "description": "{made reflectance, no real place}",
        "samples": box.width, "lines": box.height, "bands": len(wavelength_nm),
        "header offset": 0, "file type": "ENVI Standard", "data type": 2,
        "interleave": layout.interleave, "byte order": layout.byte_order,
        "map info": _map_info(box, crs),
        "coordinate system string": "{" + crs.to_wkt("WKT1_ESRI") + "}",
        "wavelength units": "Micrometers" if layout.micrometres else "Nanometers",
        "data ignore value": -9999,
        "sensor type": sensor,
        "acquisition time": f"{acquired}T03:42:17Z",
        "wavelength": _listed(wavelength_nm / unit, 6 if layout.micrometres else 3),
        "fwhm": _listed(fwhm_nm / unit, 6 if layout.micrometres else 3),
        "bbl": _listed(good.astype(np.float64), 0),
    }  # fmt: skip
    if layout.scale_factor:
        fields["reflectance scale factor"] = 10_000
    text = "ENVI\n" + "".join(f"{key} = {value}\n" for key, value in fields.items())
    path.with_suffix(".hdr").write_text(text, encoding="ascii", newline="\n")


def _map_info(box: GeoBox, crs: CRS) -> str:
    """Of a grid in UTM; other projections are in the coordinate system string alone."""
    affine = box.affine
    place = f"1, 1, {affine.c:.3f}, {affine.f:.3f}, {affine.a:g}, {-affine.e:g}"
    if crs.utm_zone is not None:
        half = {"N": "North", "S": "South"}[crs.utm_zone[-1]]
        return f"{{UTM, {place}, {crs.utm_zone[:-1]}, {half}, WGS-84, units=Meters}}"
    return f"{{Arbitrary, {place}, 0, North, units=Meters}}"


def _listed(values: Float64, decimals: int) -> str:
    """A list in braces, ten a line."""
    texts = [f"{value:.{decimals}f}" for value in values]
    rows = [", ".join(texts[at : at + 10]) for at in range(0, len(texts), 10)]
    return "{\n " + ",\n ".join(rows) + "}"
