"""What a calibration is asked for, and what it has made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from odc.geo.geobox import GeoBox

from geosoil.bands import Bands
from geosoil.errors import UsageError, listing
from geosoil.io import ortho as places
from geosoil.io.addresses import short_name
from geosoil.io.geotiff import check_settings
from geosoil.io.grids import show_grid
from geosoil.types import PathLike

__all__ = ["Calibrated", "Export", "Settings", "Target"]

Target: TypeAlias = Literal["reflectance-toa", "radiance"]
Export: TypeAlias = Literal["envi", "flaash"]

#: Suffixes that tell what a cube is written as; the first is the usual one.
TIFF_NAMES, ENVI_NAMES = (".tif", ".tiff"), (".dat", ".img", ".bil", "")


@dataclass(frozen=True)
class Calibrated:
    """What was made.

    Attributes
    ----------
    path : Path
        The cube.
    quantity, units : str
        Of its values.
    bands : Bands
        Of the cube, with what is not good and why.
    dropped : int
        Bands left out.
    grid : GeoBox
        Without a CRS in sensor geometry.
    valid : float
        Share of the cells with a value; NaN where it was not counted.
    history : tuple of str
        What was done, in order.
    notes : tuple of str
        What had to be assumed, and what looks odd.
    striping : mapping
        By detector, median striping ``before`` and what is expected to be ``left``, as shares of the level.
    splice : mapping
        Factors at the detectors' join; empty where they were not spliced.
    size : int
        Bytes.
    """

    path: Path
    quantity: str
    units: str
    bands: Bands
    dropped: int
    grid: GeoBox
    valid: float
    history: tuple[str, ...]
    notes: tuple[str, ...] = ()
    striping: Mapping[str, Any] = field(default_factory=dict)
    splice: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "path": str(self.path),
            "quantity": self.quantity,
            "units": self.units,
            "bands": len(self.bands),
            "good_bands": sum(self.bands.good),
            "dropped_bands": self.dropped,
            "bad_bands": dict(_reasons(self.bands)),
            "grid": show_grid(self.grid),
            "rows": int(self.grid.shape[0]),
            "columns": int(self.grid.shape[1]),
            "valid": self.valid,
            "history": list(self.history),
            "notes": list(self.notes),
            "striping": dict(self.striping),
            "splice": dict(self.splice),
            "bytes": self.size,
        }

    def describe(self) -> str:
        """In plain words."""
        dropped = f", {self.dropped} bad ones left out" if self.dropped else ""
        place = (
            show_grid(self.grid) if self.grid.crs is not None else "sensor geometry, {1} x {0}".format(*self.grid.shape)
        )
        lines = [
            f"{self.path}: {self.quantity} ({self.units}), {self.size / 1e6:,.1f} MB",
            f"grid: {place}"
            + (f", {100 * self.valid:.1f} % of the cells with data" if self.valid == self.valid else ""),
            f"bands: {len(self.bands)}, good {sum(self.bands.good)}{dropped}",
            *(f"  not good: {count} {why}" for why, count in _reasons(self.bands).items()),
            "done:",
            *(f"  {one}" for one in self.history),
            *(f"note: {one}" for one in self.notes),
        ]
        return "\n".join(lines)


def _reasons(bands: Bands) -> Counter[str]:
    return Counter(why for why in bands.why if why)


@dataclass(frozen=True)
class Settings:
    """What was asked for, checked."""

    to: Target
    destripe: bool
    splice: bool
    dem: PathLike | None
    ortho: bool
    crs: str | None
    resolution: float | None
    resampling: str
    drop_bad: bool
    export: Export | None
    dtype: str
    compress: str
    sun_zenith: float | None
    max_memory: int

    def check(self, out: Path) -> None:
        """Refuse what does not go together.

        Raises
        ------
        UsageError
            ``GS-CALIBRATE-SETTINGS``, ``GS-CUBE-SETTINGS``; ``GS-SUFFIX`` for a file whose name tells another format.
        """
        check_settings(self.dtype, self.compress)
        problem = ""
        if self.to not in {"reflectance-toa", "radiance"}:
            problem = f"a cube of {self.to!r} cannot be made: reflectance-toa or radiance"
        elif self.export not in {None, "envi", "flaash"}:
            problem = f"export {self.export!r} is not known: envi or flaash"
        elif self.export == "flaash" and self.to != "radiance":
            problem = "FLAASH takes radiance, not reflectance"
        elif self.dtype == "int16" and self.to == "radiance":
            problem = "radiance does not fit int16: write it as float32"
        elif self.export and (self.dtype != "float32" or self.compress != "none"):
            problem = "ENVI files are written as float32, not compressed"
        elif not self.ortho and (self.dem or self.crs or self.resolution):
            problem = "a height model, a CRS and a resolution are of no use in sensor geometry"
        elif self.resampling not in places.RESAMPLING:
            problem = f"resampling {self.resampling!r} is not known: {listing(places.RESAMPLING)}"
        if problem:
            raise UsageError(problem, code="GS-CALIBRATE-SETTINGS", hint="see geosoil calibrate --help")
        known, format_name = (ENVI_NAMES, "ENVI") if self.export else (TIFF_NAMES, "GeoTIFF")
        if out.suffix.lower() not in known:
            raise UsageError(
                f"{short_name(out.name)}: this cube is written as {format_name}, which the name does not tell",
                code="GS-SUFFIX",
                details=[
                    f"GeoTIFF: {', '.join(TIFF_NAMES)}",
                    f"ENVI, with --export: {', '.join(ENVI_NAMES[:-1])}, or no suffix",
                ],
                hint=f"name it {out.stem or 'cube'}{known[0]}",
            )
