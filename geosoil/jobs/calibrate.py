"""`geosoil calibrate`: a product as it is delivered to a cube on a map, as radiance or reflectance."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox, geobox_union_conservative
from odc.geo.xr import xr_coords

from geosoil import __version__
from geosoil.bands import Bands
from geosoil.errors import InputError, OutputError, ResourceError
from geosoil.io import ortho as places
from geosoil.io.archive import is_archive, unpacked
from geosoil.io.atomic import check_output
from geosoil.io.envi import FLAASH_UNITS, write_envi
from geosoil.io.gaofen import EXPECTED, OVERLAP, Product, open_product
from geosoil.io.gaofen.layout import locate
from geosoil.io.geotiff import INT16_SCALE, write_cube
from geosoil.io.headers import sensor_grid
from geosoil.io.lazy import lazy_array
from geosoil.io.reads import read_files
from geosoil.io.staging import Staged, check_space, workspace
from geosoil.jobs.calibrated import Calibrated, Export, Settings, Target
from geosoil.jobs.plan import memory_bound
from geosoil.jobs.provenance import created_now
from geosoil.jobs.sensor import Chain, Seen, detector_bands, measure_stripes, strip_lines
from geosoil.prep.radiometry import BandLines, day_of_year, sun_distance, toa_reflectance
from geosoil.prep.splice import plan_splice
from geosoil.stops import Stop, listen, stoppable
from geosoil.types import PathLike, Progress, as_path, quiet

if TYPE_CHECKING:
    from collections.abc import Callable

    from geosoil.types import Float32, Int64, WindowReader

__all__ = ["Calibrated", "calibrate"]

#: Libraries and what is resident beside the strips, bytes.
_BESIDE = 700 * 2**20
#: Where the reflectance is, as the file says it and a reader of the file tells it.
LEVEL = "top of the atmosphere"
#: What a reader of the file must not miss.
TOA = (
    "reflectance at the top of the atmosphere, not of the ground: models trained on laboratory or surface reflectance "
    "do not fit it"
)
# Edge of a chunk when a cube is written as ENVI, cells.
_CHUNK = 256
# Share of a map without heights from which on it is said.
_SAID = 0.002


def calibrate(
    product: PathLike,
    out: PathLike,
    *,
    to: Target | None = None,
    destripe: bool = False,
    splice: bool = False,
    dem: PathLike | None = None,
    ortho: bool = True,
    crs: str | None = None,
    resolution: float | None = None,
    resampling: str = "bilinear",
    drop_bad: bool = False,
    export: Export | None = None,
    dtype: str = "float32",
    compress: str = "none",
    sun_zenith: float | None = None,
    nominal_wavelengths: bool = False,
    join_nm: float | None = None,
    tables: Mapping[str, PathLike] | None = None,
    work: PathLike | None = None,
    overwrite: bool = False,
    max_memory: float | str = "2GB",
    progress: Progress = quiet,
) -> Calibrated:
    """Make a cube of an AHSI product (GF-5, GF-5A, GF-5B, ZY-1 02D, ZY-1 02E) as it is delivered.

    In sensor geometry: radiance by the product's own gains, stripes taken off, detectors joined, reflectance; then
    onto the map through the RPC of each detector and a height model. The cube appears whole or not at all.

    Parameters
    ----------
    product : path
        Folder, one of its images, or the archive as delivered (``.tar.gz``, ``.tar``).
    out : path
        The cube: a GeoTIFF (``.tif``, ``.tiff``), or with `export` an ENVI file (``.dat``, ``.img``, ``.bil`` or
        without a suffix).
    to : {"reflectance-toa", "radiance"}, optional
        Reflectance at the top of the atmosphere (the default), or radiance, W m-2 sr-1 um-1 (for FLAASH).
    destripe : bool
        Take off the striping of detector elements.
    splice : bool
        Scale VNIR to SWIR by the ratio that each pixel has where they overlap.
    dem : path, optional
        Heights, m; without, the ground is taken as flat.
    ortho : bool
        Whether to put the cube on a map; else it stays in sensor geometry.
    crs, resolution : str, float, optional
        Of the map; default: the UTM zone, and 30 m.
    resampling : {"bilinear", "nearest", "cubic"}
    drop_bad : bool
        Leave bands out that are not good.
    export : {"envi", "flaash"}, optional
        Write ENVI float32, BIL; for FLAASH as radiance in uW cm-2 sr-1 nm-1, without the bands of one detector where
        the other has them too, since it wants wavelengths that rise.
    dtype : {"float32", "int16"}
        The latter is reflectance x 10,000, with the scale in the file.
    compress : {"none", "zstd", "deflate"}
    sun_zenith : float, optional
        Angle of the sun from the zenith, degrees, where the product does not tell it or tells a wrong one.
    nominal_wavelengths, join_nm, tables
        See `open_product`.
    work : path, optional
        Folder to work in; needs room for the unpacked product and 4 bytes a value. Default: beside `out`.
    overwrite : bool
    max_memory : float or str
        Bound of the memory, such as ``"2GB"``.
    progress : callable
        ``progress(done, total, message)``.

    Returns
    -------
    Calibrated

    Raises
    ------
    InputError
        What is wrong with the product, its RPC (``GS-RPC-MISSING``), the sun's angle (``GS-SUN-ZENITH``) or the
        height model.
    OutputError, ResourceError, UsageError, InterruptedRunError
    """
    wanted: Target = to or ("radiance" if export == "flaash" else "reflectance-toa")
    settings = Settings(
        wanted, destripe, splice, dem, ortho, crs, resolution, resampling, drop_bad, export, dtype, compress,
        sun_zenith, memory_bound(max_memory),
    )  # fmt: skip
    path = as_path(out)
    settings.check(path)
    if dem is not None:
        places.height_file(dem)
    read = read_files(product, *_images_of(as_path(product)), *(tables or {}).values(), scenes=[dem])
    for one in (path, path.with_suffix(".hdr")) if export else (path,):
        check_output(one, overwrite=overwrite, inputs=read)
    stop = Stop()
    with listen(stop), workspace(work or path.parent) as folder:
        tick = stoppable(progress, stop)
        with _unpacked(as_path(product), folder, tick) as found:
            opened = open_product(found, nominal_wavelengths=nominal_wavelengths, join_nm=join_nm, tables=tables)
            return _Run(opened, settings, path, folder, tick, overwrite).go()


def _images_of(product: Path) -> list[Path]:
    """The images that are read together with one of them; none of what is packed, and of a folder, which counts whole.

    What else lies in their folder may be an earlier result.
    """
    if product.is_dir() or is_archive(product.name):
        return []
    with suppress(InputError):  # said when it is opened
        return [path for path, _ in locate(product).images]
    return []


def _unpacked(product: Path, folder: Path, progress: Progress) -> AbstractContextManager[Path]:
    """The product's folder or image; what an archive holds comes to lie in the folder to work in."""
    if not (is_archive(product.name) and product.is_file()):
        return nullcontext(product)
    return unpacked(product, folder, expected=EXPECTED, progress=progress)


@dataclass
class _Run:
    """A calibration under way."""

    product: Product
    settings: Settings
    path: Path
    folder: Path
    tick: Progress
    overwrite: bool
    history: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def go(self) -> Calibrated:
        self.notes += self.product.notes
        chain = self._chain()
        grid, heights = self._grid()
        step = self._room(grid)
        if self.settings.destripe:
            chain = replace(chain, stripes=measure_stripes(self.product, step, self.tick))
        staged, seen = chain.run(self.folder / "cube.bsq", step, self.tick)
        striping = chain.striping()
        spliced = seen.splice.report() if seen.splice is not None else {}
        self._tell(striping, spliced, heights)
        bands, kept = self._bands(seen)
        reader = self._placed(staged, grid, heights).take(kept)
        counts = self._write(reader, bands, grid)
        return Calibrated(
            path=self.path,
            quantity=self._quantity,
            units=self._units,
            bands=bands,
            dropped=len(self.product.bands) - len(kept),
            grid=grid,
            valid=counts["valid"] / counts["cells"] if counts else float("nan"),
            history=tuple(self.history),
            notes=tuple(self.notes),
            striping=striping,
            splice=spliced,
            size=self.path.stat().st_size,
        )

    @property
    def _quantity(self) -> str:
        return "radiance" if self.settings.to == "radiance" else "reflectance"

    @property
    def _units(self) -> str:
        if self._quantity == "reflectance":
            return "1"
        return FLAASH_UNITS if self.settings.export == "flaash" else str(self.product.facts()["units"])

    def _chain(self) -> Chain:
        """All steps but the stripes, which have to be measured first; checks what they need."""
        bands = self.product.bands
        splice = plan_splice(bands.wavelength_nm, detector_bands(self.product)) if self.settings.splice else None
        return Chain(self.product, (), splice, self._reflectance() if self._quantity == "reflectance" else None)

    @property
    def _zenith(self) -> float | None:
        given = self.settings.sun_zenith
        return self.product.metadata.sun_zenith_deg if given is None else given

    def _reflectance(self) -> BandLines:
        bands = self.product.bands
        day, told = day_of_year(self.product.acquired), self._told_of_the_sun()
        return toa_reflectance(bands.wavelength_nm, bands.fwhm_nm, sun_zenith_deg=self._zenith, day=day, told=told)

    def _told_of_the_sun(self) -> list[str]:
        """Where the angle of the sun is from, or what the product says in its place."""
        if self.settings.sun_zenith is not None:
            return ["given by --sun-zenith (sun_zenith=)"]
        if self.product.metadata.sun_zenith_deg is not None:
            return ["given by SolarZenith in the product's XML"]
        return [note for note in self.product.notes if "SolarZenith" in note]

    def _grid(self) -> tuple[GeoBox, places.HeightModel | None]:
        """The grid of the cube, and the heights under it."""
        shape = self.product.shape[1:]
        if not self.settings.ortho:
            return sensor_grid(shape), None
        models = [places.check_rpcs(one.rpcs, str(one.path.name)) for one in self.product.detectors]
        heights, notes = places.open_heights(self.settings.dem, models[0])
        self.notes += notes
        first = places.map_grid(models[0], shape, heights, crs=self.settings.crs, resolution=self.settings.resolution)
        if self._one_model():
            grid = first
        else:
            cell = float(first.resolution.x)
            second = places.map_grid(models[1], shape, heights, crs=str(first.crs), resolution=cell)
            grid = geobox_union_conservative([first, second])
        lacking = places.uncovered(heights, grid)
        if lacking > _SAID:
            self.notes.append(f"{100 * lacking:.1f} % of the map have no height and stay empty")
        return grid, heights

    def _one_model(self) -> bool:
        """Whether both detectors look at the same places."""
        one, other = (detector.rpcs for detector in self.product.detectors)
        return one is not None and other is not None and bool(one.to_dict() == other.to_dict())

    def _room(self, grid: GeoBox) -> int:
        """Lines of a strip that the memory takes; also checks the disk."""
        bands, lines, samples = self.product.shape
        least = _BESIDE + 8 * bands * samples * 4
        if self.settings.max_memory < least:
            raise ResourceError(
                f"{self.settings.max_memory / 1e6:,.0f} MB are too few for this product",
                code="GS-MEMORY",
                details=[f"needed: {least / 1e6:,.0f} MB at least"],
                hint=f"give --max-memory {-(-least // 10**8) / 10:g}GB",
            )
        item = 2 if self.settings.dtype == "int16" else 4
        needed = bands * int(grid.shape[0]) * int(grid.shape[1]) * item
        check_space({self.folder: 4 * bands * lines * samples, self.path.parent: needed})
        return strip_lines(self.product.shape, self.settings.max_memory - _BESIDE)

    def _tell(
        self, striping: Mapping[str, Any], spliced: Mapping[str, Any], heights: places.HeightModel | None
    ) -> None:
        """Write down what was done."""
        self.history.append("radiance by the product's gains and offsets, W m-2 sr-1 um-1")
        if striping:
            shares = [
                f"{name} {100 * one['before']:.2f} %, {100 * one['left']:.2f} % left" for name, one in striping.items()
            ]
            self.history.append(f"stripes taken off (median of the bands, estimated: {'; '.join(shares)})")
        if spliced.get("pixels"):
            low, middle, high = spliced["quantiles"]
            self.history.append(
                f"VN scaled to SW by pixel: median {middle:.3f}, 5-95 % {low:.3f}-{high:.3f}, "
                f"{100 * spliced['limited']:.1f} % of the pixels at the limits"
            )
        elif spliced:
            self.notes.append("no pixel has a ratio of the detectors: nothing was spliced")
        if self._quantity == "reflectance":
            distance = sun_distance(day_of_year(self.product.acquired))
            self.history.append(
                "reflectance at the top of the atmosphere, pi L d^2 / (E0 cos SZA): E0 of ASTM G173-03, "
                f"SZA {self._zenith:g} degrees, d {distance:.5f} AU"
            )
            self.notes.append(TOA)
        if heights is not None:
            source = heights.source.rpartition("/")[2] or f"a constant height of {heights.constant:.0f} m"
            self.history.append(f"put on the map through RPC and {source}, {self.settings.resampling}")

    def _bands(self, seen: Seen) -> tuple[Bands, list[int]]:
        """The bands of the cube, with what the scene showed, and their positions in the product."""
        bands = self.product.bands
        why = list(bands.why)
        for flags, reason in (
            (seen.empty, "empty in this scene"),
            (seen.constant & ~seen.empty, "constant in this scene"),
        ):
            for place in np.flatnonzero(flags).tolist():
                why[place] = why[place] or reason
        told = replace(bands, good=tuple(not reason for reason in why), why=tuple(why))
        kept = [place for place, good in enumerate(told.good) if good or not self._left_out(why[place])]
        if not kept:
            raise OutputError(
                "no band is good, so that nothing would be left", code="GS-BANDS-NONE", hint="keep the bad bands"
            )
        if len(kept) < len(bands):
            reason = "as not good" if self.settings.drop_bad else "where detectors overlap"
            self.history.append(f"{len(bands) - len(kept)} of {len(bands)} bands left out {reason}")
        return told.take(kept), kept

    def _left_out(self, why: str) -> bool:
        """Whether a band that is not good is not written. FLAASH takes wavelengths that rise, and no others."""
        return self.settings.drop_bad or (self.settings.export == "flaash" and why.startswith(OVERLAP))

    def _placed(self, staged: Staged, grid: GeoBox, heights: places.HeightModel | None) -> Staged | places.Rectified:
        if heights is None:
            return staged
        shape = self.product.shape[1:]
        ways = [
            places.Rectification(places.check_rpcs(one.rpcs, one.label), shape, grid, heights)
            for one in self.product.detectors
        ]
        second = ways[0] if self._one_model() else ways[1]
        counts = [len(part) for part in detector_bands(self.product)]
        return places.Rectified(staged, (ways[0],) * counts[0] + (second,) * counts[1], self.settings.resampling)

    def _write(self, reader: Staged | places.Rectified, bands: Bands, grid: GeoBox) -> dict[str, int]:
        if self.settings.export:
            scene = self._scene(reader, bands, grid)
            units = self._units if self._quantity == "radiance" else None
            write_envi(self.path, scene, units=units, overwrite=self.overwrite, progress=self.tick)
            return {}
        counts = write_cube(
            self.path,
            _windows(reader),
            bands,
            grid,
            tags=self._tags(),
            dtype=self.settings.dtype,
            compress=self.settings.compress,
            units=self._units,
            progress=self.tick,
        )
        if counts["clipped"]:
            self.notes.append(f"{counts['clipped']:,} values beyond int16 x 1e-4 were cut to +-3.2767")
        return counts

    def _scene(self, reader: WindowReader, bands: Bands, grid: GeoBox) -> xr.DataArray:
        """The cube as a lazy scene, for the writer of ENVI files."""
        facts = {**self.product.facts(), "quantity": self._quantity, "units": self._units, "notes": tuple(self.notes)}
        if self._zenith is not None:
            facts["sun_zenith_deg"] = self._zenith
        if self._quantity == "reflectance":
            facts["level"] = LEVEL
        coords: dict[Any, Any] = {**xr_coords(grid, dims=("y", "x")), **bands.coords()}
        return xr.DataArray(lazy_array(reader, _CHUNK), dims=("band", "y", "x"), coords=coords, attrs=facts)

    def _tags(self) -> dict[str, str]:
        """Tags of the dataset, CF names where they exist."""
        facts, created = self.product.facts(), created_now()
        reflectance = self._quantity == "reflectance"
        scale = INT16_SCALE if self.settings.dtype == "int16" else 1
        return {
            "quantity": self._quantity,
            "units": self._units,
            "sensor": self.product.sensor,
            "acquired": self.product.acquired,
            "product": str(facts["product"]),
            **({"solar_zenith": f"{self._zenith:g}"} if self._zenith is not None else {}),
            **({"solar_azimuth": f"{facts['sun_azimuth_deg']:g}"} if "sun_azimuth_deg" in facts else {}),
            **({"reflectance_scale_factor": str(scale), "comment": TOA} if reflectance else {}),
            **({"reflectance_level": LEVEL} if reflectance else {}),
            "history": f"{created}: geosoil {__version__}: " + "; ".join(self.history),
            "notes": "\n".join(self.notes),
            "source": self.product.stem.text,
            "geosoil_version": __version__,
            "created": created,
            "Conventions": "CF-1.11",
            "TIFFTAG_SOFTWARE": f"geosoil {__version__}",
        }


def _windows(
    reader: Staged | places.Rectified,
) -> Callable[[tuple[int, int], tuple[int, int]], Callable[[Int64], Float32]]:
    if isinstance(reader, places.Rectified):
        return reader.window
    return lambda rows, cols: lambda bands: reader.read(bands, rows, cols)
