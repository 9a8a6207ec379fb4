"""Samples, a cube and laboratory spectra joined by the samples' names: what a study of spectra is trained on."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd

from geosoil.bands import Bands
from geosoil.config import SpectraConfig, Study
from geosoil.errors import InputError, UsageError, listing
from geosoil.grid.patches import extract_patches
from geosoil.io.columns import find_role
from geosoil.io.intervals import find_depths
from geosoil.io.positions import headers_of
from geosoil.io.raster import open_scene
from geosoil.io.spectra import open_spectra
from geosoil.io.tables import Table, read_table
from geosoil.jobs.dataset import cells_under, samples_of
from geosoil.jobs.matching import land_use_on, say_guesses
from geosoil.jobs.pairs import PairSet
from geosoil.prep.bad_bands import DEFAULT_WINDOWS, Window, bad_bands, describe_bad, scene_statistics
from geosoil.prep.masks import MaskRules
from geosoil.prep.neighbours import Neighbours, like_neighbours
from geosoil.prep.resample import on_bands
from geosoil.soil import Depth
from geosoil.types import Progress, quiet

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from geosoil.types import Bool, Float32, Float64

__all__ = ["build_pairs", "mask_rules"]

log = logging.getLogger(__name__)

#: Fewer samples cannot be split into folds that mean anything.
LEAST_SAMPLES = 20
#: Noisy ends of laboratory spectrometers, nm; their water bands are as good as any.
_NOISY_ENDS = (DEFAULT_WINDOWS[0], DEFAULT_WINDOWS[-1])
#: Spacing of laboratory spectra that no sensor's bands are asked of, nm.
_STEP_NM = 5.0
#: Distance of the outermost of these from the ends of what was measured, in spacings.
_INSET = 0.55
#: Why rows of a long table are not used: they are of what is not asked for.
_OTHER = "another property"
#: The same where a library helps.
LEAST_WITH_LIBRARY = 10
#: Depth of samples that do not say theirs, cm: what a hand takes from a field's surface.
_SURFACE = Depth(0, 20)


@dataclass(frozen=True)
class _Seen:
    """Samples with their spectra, as far as they are joined."""

    names: NDArray[np.object_]
    satellite: Float64
    bands: Bands
    offered: Bands
    sources: tuple[str, ...]
    laboratory: Float64 | None = None
    points: gpd.GeoDataFrame | None = None
    geobox: GeoBox | None = None
    neighbours: Neighbours | None = None

    def take(self, kept: Bool) -> _Seen:
        """Some of the samples."""
        return replace(
            self,
            names=self.names[kept],
            satellite=self.satellite[kept],
            laboratory=None if self.laboratory is None else self.laboratory[kept],
            points=None if self.points is None else self.points[kept].reset_index(drop=True),
            neighbours=None if self.neighbours is None else _of_samples(self.neighbours, kept),
        )


def _of_samples(beside: Neighbours, kept: Bool) -> Neighbours:
    place = np.cumsum(kept) - 1
    here = kept[beside.sample]
    return Neighbours(beside.spectra[here], place[beside.sample[here]], beside.angle_rad[here])


def build_pairs(
    study: Study,
    *,
    samples: gpd.GeoDataFrame | None = None,
    scene: xr.DataArray | None = None,
    laboratory: xr.DataArray | None = None,
    satellite: xr.DataArray | None = None,
    progress: Progress = quiet,
) -> PairSet:
    """Read what a study of spectra names, and join it by the samples' names.

    Parameters
    ----------
    study : Study
        Where things are.
    samples, scene, laboratory, satellite : optional
        Objects to use in place of the study's files; spectra as `open_spectra` gives them.

    Raises
    ------
    InputError
        Where files cannot be used, or too few samples are left: ``GS-SAMPLES-FEW``.
    UsageError
        ``GS-STUDY``: the study does not say where samples or satellite spectra come from.
    """
    config = study.spectra or SpectraConfig()
    report: dict[str, Any] = {}
    # With a library to learn from, laboratory spectra alone are enough: they are what the model reads.
    alone = study.library is not None and satellite is None and config.satellite is None
    if scene is None and study.scene.path is None:
        which = "laboratory" if alone else "satellite"
        held, path = (laboratory, config.laboratory) if alone else (satellite, config.satellite)
        spectra = _spectra(_given(held, path, which, "spectra"), config, which)
        if samples is None and study.samples.path is None:
            changes = {"id": "id", **_usual_depth(study, spectra)}
            study = study.model_copy(update={"samples": study.samples.model_copy(update=changes)})
        table = _values(study, samples if samples is not None else _placeless(study, spectra), report)
        seen = _from_table(spectra, config, table, which, report)
    else:
        alone = False
        table = _values(study, samples, report)
        seen = _from_scene(study, scene, table, report, progress)
    least = LEAST_SAMPLES if study.library is None else LEAST_WITH_LIBRARY
    seen = replace(seen, laboratory=seen.satellite) if alone else _with_laboratory(seen, config, laboratory, report)
    if len(seen.names) < least:
        raise _too_few(len(seen.names), least, report)
    report["bands"] = describe_bad(seen.offered)
    codes = list(study.inverted())
    values = table.reindex(list(seen.names))[codes].to_numpy(np.float64)
    _check_values(codes, values, least)
    return PairSet(
        properties=tuple(study.declared(code) for code in codes),
        depth=_depth(study, table),
        names=seen.names.astype(str),
        satellite=seen.satellite,
        laboratory=seen.laboratory,
        values=values,
        bands=seen.bands,
        points=seen.points,
        geobox=seen.geobox,
        neighbours=seen.neighbours,
        sources=seen.sources,
        report=report,
    )


def _given(held: Any, path: Any, key: str, section: str) -> Any:
    if held is None and path is None:
        raise UsageError(
            f"the study does not say where to find the {key} {section}",
            code="GS-STUDY",
            details=[f"{section}.{key} is missing, and scene.path too"],
            hint=f'add {key} = "..." under [{section}], or a cube under [scene]: path = "cube.tif"',
        )
    return path if held is None else held


def _spectra(source: Any, config: SpectraConfig, which: str) -> xr.DataArray:
    """Laboratory or satellite spectra from a file, or as they were given."""
    if not isinstance(source, (str, Path)):
        found: xr.DataArray = source
        return found
    quantity = config.laboratory_quantity if which == "laboratory" else config.satellite_quantity
    splice = config.splice and which == "laboratory"
    try:
        spectra = open_spectra(source, quantity=quantity, id=config.id, splice=splice)
    except InputError as error:
        if error.code != "GS-SPECTRA-QUANTITY":
            raise
        hint = f'say it under [spectra]: {which}_quantity = "reflectance" (0 to 1), "percent" or "absorbance"'
        if quantity is not None:  # in the words of a study, not of Python
            hint = (error.hint or "").replace("quantity=", f"under [spectra], {which}_quantity = ")
        raise InputError(error.message, code=error.code, details=error.details, hint=hint) from error
    for note in spectra.attrs.get("notes", ()):
        log.info("%s spectra: %s", which, note)
    flat = np.ptp(spectra.values, axis=1) == 0  # of a row with gaps it is NaN
    if flat.any():
        raise InputError(
            f"{flat.sum()} of the {which} spectra do not vary along their bands",
            code="GS-SPECTRA-CONSTANT",
            details=[f"samples: {listing(spectra['sample'].values[flat].astype(str).tolist(), 5)}"],
            hint="correct these rows of the table, or leave them out",
        )
    return spectra


def _values(study: Study, samples: gpd.GeoDataFrame | None, report: dict[str, Any]) -> pd.DataFrame:
    """A row a sample by name, a column a property, and where it is; of several layers the uppermost."""
    columns, first = [], None
    reports = {}
    for code in study.inverted():
        table = samples_of(study, study.declared(code), _of_property(samples, code))
        reports[code] = table.attrs.get("report", {})
        table = table.sort_values("top_cm", kind="stable").drop_duplicates("profile").set_index("profile")
        columns.append(table["value"].rename(code))
        kept = table[["top_cm", "bottom_cm", "geometry"]]
        first = kept if first is None else pd.concat([first, kept[~kept.index.isin(first.index)]])
    report["samples"] = _rows_of_all(list(reports.values()))
    report["by_property"] = reports
    found = gpd.GeoDataFrame(first, geometry="geometry").join(pd.concat(columns, axis=1))
    # By name, so that the order of the rows in a file decides nothing: neither folds nor sums.
    return pd.DataFrame(found.set_index(found.index.astype(str))).sort_index()


def _rows_of_all(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The report of a table, where each property takes its own rows of it."""
    first = reports[0]
    if len(reports) == 1 or _OTHER not in first.get("dropped", {}):
        return first
    dropped = [{why: count for why, count in one["dropped"].items() if why != _OTHER} for one in reports]
    used = sum(int(one["used"]) for one in reports)
    lost = {why: sum(one.get(why, 0) for one in dropped) for one in dropped for why in one}
    other = int(first["rows"]) - used - sum(lost.values())
    return {**first, "used": used, "dropped": {**lost, **({_OTHER: other} if other > 0 else {})}}


def _of_property(samples: Any, code: str) -> Any:
    """Of samples that were read already, with their values in the properties' units, those of a property."""
    read = {"profile", "property", "top_cm", "bottom_cm", "value"}
    if not isinstance(samples, gpd.GeoDataFrame) or "report" not in samples.attrs or not read <= set(samples.columns):
        return samples
    found = samples[samples["property"] == code]
    if not len(found):
        held = listing(samples["property"].unique().tolist())
        raise InputError(
            f"the samples hold no values of {code}",
            code="GS-SAMPLES-EMPTY",
            details=[f"properties: {held}"],
            hint="leave it out, or put the tables of several properties together",
        )
    return found


def _placeless(study: Study, spectra: xr.DataArray) -> Any:
    """The samples' table, or else that of the spectra; each sample at a made place, since nothing asks where it is."""
    if study.samples.path is None:
        table = Table(spectra.attrs["table"].assign(id=spectra["sample"].values), "the table of the spectra")
    else:
        table = read_table(study.samples.path, layer=study.samples.layer)
    frame = table.frame
    if isinstance(frame, gpd.GeoDataFrame):
        return frame
    header = find_role(headers_of(table), "id", study.samples.id, table.name)
    number = np.arange(len(frame)) if header is None else pd.factorize(frame[header.text])[0]
    return gpd.GeoDataFrame(frame, geometry=gpd.points_from_xy(number / 1e4, np.zeros(len(frame))), crs="EPSG:4326")


def _usual_depth(study: Study, spectra: xr.DataArray) -> dict[str, str]:
    """The depth of samples in a table of spectra that says none: nothing but the maps' name depends on it."""
    table = Table(spectra.attrs["table"], "the table of the spectra")
    headers = headers_of(table)
    stated = find_depths(table, headers, top=study.samples.top, bottom=study.samples.bottom)
    if study.samples.depth is not None or stated.columns or any(header.interval for header in headers):
        return {}
    log.info("%s says no depths; the samples are called %s cm", table.name, _SURFACE.label)
    return {"depth": f"{_SURFACE.top_cm}-{_SURFACE.bottom_cm}"}


def _depth(study: Study, table: pd.DataFrame) -> Depth:
    """The depth that the maps are of: that of most samples."""
    if len(study.depths.intervals) == 1:
        return study.depths.intervals[0]
    pairs = table[["top_cm", "bottom_cm"]].dropna().round().astype(int).value_counts()
    if not len(pairs):
        return _SURFACE
    top, bottom = pairs.index[0]
    if len(pairs) > 1:
        log.warning(
            "samples are of %d depths; the maps are called after the commonest, %d-%d cm", len(pairs), top, bottom
        )
    return Depth(int(top), int(bottom))


def _from_table(
    spectra: xr.DataArray, config: SpectraConfig, table: pd.DataFrame, which: str, report: dict[str, Any]
) -> _Seen:
    """Spectra that stand in a table, or finer ones brought to the bands of a cube."""
    own = _bands_of(spectra)
    alone = which == "laboratory" and config.like is None
    if config.like is not None:
        offered = Bands.of(open_scene(config.like, mapped=False))
    else:
        offered = _spaced(own, config.step_nm or _STEP_NM) if alone else own
    bands = _marked(offered, config, usual=_NOISY_ENDS if alone else DEFAULT_WINDOWS)
    good = np.flatnonzero(bands.good)
    names = spectra["sample"].values.astype(str)
    known = np.isin(names, table.index)
    report["without_samples"] = len(np.unique(names[~known]))
    report["without_spectrum"] = sorted({str(one) for one in table.index} - set(names))
    rows = np.asarray(spectra.values, np.float64)[known]
    if offered is own:
        rows = rows[:, good]
    else:
        rows = on_bands(rows, np.asarray(own.wavelength_nm, np.float64), bands.take(good.tolist()))
    found, values = _one_each(names[known], rows, which, report)
    report["no_data"] = sorted(set(names[known]) - set(found))
    return _Seen(
        names=found,
        satellite=values,
        bands=bands.take(good.tolist()),
        offered=bands,
        sources=tuple(spectra.attrs.get("sources", ())),
    )


def _one_each(
    names: NDArray[np.str_], values: Float64, which: str, report: dict[str, Any]
) -> tuple[NDArray[np.object_], Float64]:
    """A spectrum for each name, in their order: the mean of repeated measurements without missing values.

    Repeats must not become samples of their own, which would fall into different folds.
    """
    whole = np.isfinite(values).all(axis=1)
    found, place, counts = np.unique(names[whole], return_inverse=True, return_counts=True)
    mean = np.zeros((len(found), values.shape[1]))
    np.add.at(mean, place, values[whole])
    dark = int((values[whole] <= 0).any(axis=1).sum())
    if dark:
        report[f"{which}_not_positive"] = dark
        log.warning("%d %s spectra have values at or below 0, which stand for next to nothing", dark, which)
    repeated = int((counts > 1).sum())
    if repeated:
        report[f"{which}_repeats"] = repeated
        log.info("%d samples have several %s spectra; their means are taken", repeated, which)
    return found.astype(object), mean / counts[:, None]


def _bands_of(spectra: xr.DataArray) -> Bands:
    wavelength = tuple(float(one) for one in spectra["wavelength"].values)
    fwhm = tuple(float(one) for one in spectra["fwhm"].values) if "fwhm" in spectra.coords else ()
    return Bands(tuple(str(one) for one in spectra["band"].values), wavelength_nm=wavelength, fwhm_nm=fwhm)


def _spaced(own: Bands, step_nm: float) -> Bands:
    """Evenly spaced bands as wide as their spacing over the range of finer ones; those themselves where none are finer.

    >>> fine = Bands(tuple("abcdefg"), wavelength_nm=(401.0, 402.0, 403.0, 404.0, 405.0, 406.0, 407.0))
    >>> _spaced(fine, 2.0).wavelength_nm
    (404.0,)
    """
    centres = np.asarray(own.wavelength_nm)
    if np.median(np.diff(centres)) >= step_nm:
        return own
    # So far from the ends that nine tenths of each band's response are covered, as resampling asks.
    inset = _INSET * step_nm
    first, last = np.ceil((centres.min() + inset) / step_nm), np.floor((centres.max() - inset) / step_nm)
    spaced = tuple(float(one * step_nm) for one in np.arange(first, last + 1))
    return Bands(tuple(f"{one:g}" for one in spaced), wavelength_nm=spaced, fwhm_nm=(step_nm,) * len(spaced))


def _marked(
    bands: Bands, config: SpectraConfig, statistics: Any = None, usual: Sequence[Window] = DEFAULT_WINDOWS
) -> Bands:
    windows: Sequence[Window | tuple[float, float]] = usual if config.windows is None else config.windows
    found = bad_bands(bands, windows=windows, listed=config.drop, keep=config.keep, statistics=statistics)
    if not any(found.good):
        raise InputError("no band is left", code="GS-BANDS-NONE", details=describe_bad(found), hint="name some: keep")
    return found


def mask_rules(study: Study, level: str = "") -> MaskRules | None:
    """The masks of a study on reflectance of a level; None where it wants none."""
    config = study.masks
    if not config.use:
        return None
    settings: dict[str, Any] = {str(rule): threshold for rule, threshold in config.rules.items()}
    rules = MaskRules(**settings, land_use=config.leave_out).without(*config.off)
    return rules if "cirrus" in settings else rules.at(level)


def _from_scene(
    study: Study, scene: xr.DataArray | None, table: pd.DataFrame, report: dict[str, Any], progress: Progress
) -> _Seen:
    """Spectra of the cells that hold the samples, without what is masked, and of like cells beside them."""
    config = study.scene
    cube = open_scene(
        config.path if scene is None else scene,  # type: ignore[arg-type]
        align=config.align,
        crs=config.crs if scene is None else None,
        wavelengths=config.wavelengths if scene is None else None,
        scale=config.scale if scene is None else None,
    )
    _check_cube(cube)
    say_guesses(cube)
    report["level"] = str(cube.attrs.get("level", ""))
    bands = _marked(Bands.of(cube), study.spectra or SpectraConfig(), scene_statistics(cube))
    points = gpd.GeoDataFrame(table[["geometry"]], geometry="geometry").to_crs(cube.odc.geobox.crs.to_wkt())
    rows, columns, inside = cells_under(points, cube)
    report["outside"] = [str(one) for one in points.index[~inside]]
    points, rows, columns = points[inside], rows[inside], columns[inside]
    patches = extract_patches(cube, np.asarray(points.geometry.x), np.asarray(points.geometry.y), 3, progress)
    land_use = _land_use(study, cube, points, progress)
    # On the file's own bands, as in mapping: one that is too striped for a regression may well show a cloud.
    clear = _clear(study, Bands.of(cube), patches, land_use, report)
    good = np.flatnonzero(bands.good)
    spectra = np.ascontiguousarray(patches[:, good])
    whole = np.isfinite(spectra[:, :, 1, 1]).all(axis=1)
    kept = whole & clear[:, 1, 1]
    report["no_data"] = [str(one) for one in points.index[~whole]]
    report["masked"] = [str(one) for one in points.index[whole & ~kept]]
    beside = None
    if study.fusion.neighbours:
        beside = like_neighbours(
            spectra[kept], rows=rows[kept], columns=columns[kept], valid=clear[kept], angle_rad=study.fusion.angle
        )
    report["neighbours"] = 0 if beside is None else len(beside)
    names = points.index.to_numpy(object)[kept]
    placed = points[kept].reset_index(names="profile")
    return _Seen(
        names=names,
        satellite=spectra[kept, :, 1, 1].astype(np.float64),
        bands=bands.take(good.tolist()),
        offered=bands,
        sources=tuple(cube.attrs.get("sources", ())),
        points=placed,
        geobox=cube.odc.geobox,
        neighbours=beside,
    )


def _check_cube(cube: xr.DataArray) -> None:
    """Refuse what is no reflectance by wavelength."""
    if "wavelength" not in cube.coords:
        raise InputError(
            "the scene has no wavelengths, and a study of spectra needs them",
            code="GS-WAVELENGTHS-NONE",
            details=[f"bands: {listing([str(one) for one in cube['band'].values])}"],
            hint='give a table with the columns wavelength and fwhm, in nm: wavelengths = "bands.csv" in [scene]',
        )
    quantity = cube.attrs.get("quantity", "reflectance")
    if quantity != "reflectance":
        raise InputError(
            f"the scene holds {quantity}, not reflectance",
            code="GS-QUANTITY",
            details=list(cube.attrs.get("notes", ()))[:5],
            hint="turn it into reflectance first: geosoil calibrate, or a program for atmospheric correction;\n"
            "where it is reflectance that is called something else, give its scale: scale = 100 for percent, or 10000, "
            "under [scene]",
        )


def _land_use(
    study: Study, cube: xr.DataArray, points: gpd.GeoDataFrame, progress: Progress
) -> NDArray[np.int64] | None:
    """Codes of the land use round the samples, (n, 3, 3); None where none are left out."""
    rules = mask_rules(study)
    if rules is None or not rules.land_use:
        return None
    codes = land_use_on(cube.odc.geobox, study.masks.land_use)
    found = extract_patches(codes, np.asarray(points.geometry.x), np.asarray(points.geometry.y), 3, progress)
    return np.nan_to_num(found[:, 0], nan=-1).astype(np.int64)


def _clear(
    study: Study, bands: Bands, patches: Float32, land_use: NDArray[np.int64] | None, report: dict[str, Any]
) -> Bool:
    """Which cells of the patches (n, 3, 3) no mask takes."""
    rules = mask_rules(study, str(report["level"]))
    count = len(patches)
    if rules is None:
        return np.ones((count, 3, 3), np.bool_)
    plan = rules.on(bands)
    report["masks"] = plan.describe().splitlines()
    values = patches[:, list(plan.positions)].transpose(1, 0, 2, 3).reshape(len(plan.positions), count * 3, 3)
    codes = None if land_use is None else land_use.reshape(count * 3, 3)
    flags = plan.flags(np.ascontiguousarray(values), codes)
    clear: Bool = (flags == 0).reshape(count, 3, 3)
    return clear


def _with_laboratory(
    seen: _Seen, config: SpectraConfig, laboratory: xr.DataArray | None, report: dict[str, Any]
) -> _Seen:
    """The samples that have a laboratory spectrum, with it, on the bands of the satellite."""
    if (laboratory is None and config.laboratory is None) or not len(seen.names):
        return seen  # what is wrong with no samples at all is said by the caller
    spectra = _spectra(laboratory if laboratory is not None else config.laboratory, config, "laboratory")
    names = spectra["sample"].values.astype(str)
    known, values = _one_each(names, np.asarray(spectra.values, np.float64), "laboratory", report)
    place = {str(name): row for row, name in enumerate(known)}
    has = np.array([str(one) in place for one in seen.names], np.bool_)
    report["without_laboratory"] = [str(one) for one in seen.names[~has]]
    if not has.any():
        raise InputError(
            "no sample has a laboratory spectrum: the names of the two tables do not meet",
            code="GS-SPECTRA-NAMES",
            details=[f"samples: {listing([str(one) for one in seen.names], 5)}", f"spectra: {listing(list(names), 5)}"],
            hint='say which column names the samples: id = "..." in [samples] and in [spectra]',
        )
    seen = seen.take(has)
    rows = values[[place[str(one)] for one in seen.names]]
    source = spectra["wavelength"].values.astype(np.float64)
    return replace(seen, laboratory=on_bands(rows, source, seen.bands))


def _check_values(codes: Sequence[str], values: Float64, least: int) -> None:
    """Refuse a property that too few of the samples have."""
    for code, count in zip(codes, np.isfinite(values).sum(axis=0), strict=True):
        if count < least:
            raise InputError(
                f"{count} samples with {code} are too few to train a model of spectra",
                code="GS-SAMPLES-FEW",
                details=[f"needed: {least}; samples with spectra: {len(values)}"],
                hint="leave it out of properties under [invert], or add samples",
            )


def _too_few(count: int, least: int, report: dict[str, Any]) -> InputError:
    placed = "outside" in report  # spectra of a table lie on no cells, and nothing masks them
    lost = {
        "outside the scene": len(report.get("outside", ())),
        "on cells without data" if placed else "with spectra that lack bands": len(report.get("no_data", ())),
        "on masked cells (cloud, vegetation, water ...)": len(report.get("masked", ())),
        "without a spectrum": len(report.get("without_spectrum", ())),
        "without a laboratory spectrum": len(report.get("without_laboratory", ())),
        "with a spectrum, but no values under its name": int(report.get("without_samples", 0)),
    }
    ways = ["add samples"]
    if lost["outside the scene"]:
        ways.append("check the samples' CRS: crs under [samples]")
    if report.get("masked"):
        ways.append("set masks under [masks], such as use = false, when they take too much")
    return InputError(
        f"{count} samples are too few to train a model of spectra",
        code="GS-SAMPLES-FEW",
        details=[
            f"needed: {least}; rows read: {report['samples'].get('rows', '?')}",
            *(f"left out: {number} {why}" for why, number in lost.items() if number),
        ],
        hint='say which column names the samples: id = "..." in [samples] and in [spectra]'
        if report.get("without_samples") and not count
        else "; or ".join(ways),
    )
