"""The training set: samples, depths and scene joined, one raw patch a profile."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
from odc.geo.geobox import GeoBox

from geosoil.bands import Bands
from geosoil.config import Study
from geosoil.errors import InputError, UsageError, listing
from geosoil.grid.patches import cells_of, extract_patches
from geosoil.io.grids import show_crs
from geosoil.io.raster import open_scene
from geosoil.io.samples import open_samples
from geosoil.prep.depths import layer_targets, spline_depths
from geosoil.soil import Depth, Property
from geosoil.types import Layers, Progress, quiet

if TYPE_CHECKING:
    import xarray as xr

    from geosoil.types import Bool, Float32, Float64, Int64

__all__ = ["TrainingSet", "build", "cells_under", "samples_of"]

log = logging.getLogger(__name__)

#: Fewer profiles than this cannot be split into folds that mean anything.
LEAST_PROFILES = 20
#: A depth with fewer layers is left out, and said.
LEAST_LAYERS = 10


@dataclass(frozen=True)
class TrainingSet:
    """Profiles with their raw patches and observed layers.

    Attributes
    ----------
    soil_property : Property
        What was observed.
    depths : tuple of Depth
        The T intervals to predict.
    profiles : GeoDataFrame
        One row a profile, in the scene's CRS: ``profile``, ``geometry`` and what the table held beside.
    raw : (P, B, w, w) float32
        Patches, NaN where there is no data.
    layers : Layers
        Observed layers in the property's unit; ``profile`` points into `profiles`.
    bands : tuple of str
        Names of the bands in the patches.
    geobox : GeoBox
        Grid of the scene that the patches come from.
    sources : tuple of str
        Its files.
    classes : dict
        Class bands, and how they are encoded.
    report : dict
        What was read, used and left out, with reasons.
    """

    soil_property: Property
    depths: tuple[Depth, ...]
    profiles: gpd.GeoDataFrame
    raw: Float32
    layers: Layers
    bands: tuple[str, ...]
    geobox: GeoBox
    sources: tuple[str, ...]
    classes: dict[str, str]
    report: dict[str, Any]

    @property
    def centre(self) -> Float32:
        """Values of the cells that hold the profiles, (P, B)."""
        middle = self.raw.shape[-1] // 2
        return self.raw[:, :, middle, middle]

    @property
    def x(self) -> Float64:
        """Coordinates in the scene's CRS."""
        return np.asarray(self.profiles.geometry.x, np.float64)

    @property
    def y(self) -> Float64:
        """Coordinates in the scene's CRS."""
        return np.asarray(self.profiles.geometry.y, np.float64)

    @property
    def depths_cm(self) -> Float64:
        """Mid-points of the intervals, cm."""
        return np.array([depth.middle_cm for depth in self.depths])

    def __len__(self) -> int:
        return len(self.profiles)

    @property
    def digest(self) -> str:
        """Hash of all values and places: equal for equal data, however they were read."""
        total = hashlib.sha256(json.dumps([self.bands, [str(one) for one in self.profiles["profile"]]]).encode())
        layers = self.layers
        arrays = (self.raw, self.x, self.y, layers.profile, layers.depth_cm, layers.target, layers.value)
        for array in arrays:
            total.update(np.ascontiguousarray(array).data)
        return total.hexdigest()

    def narrow(self, width: int) -> TrainingSet:
        """The same with narrower patches."""
        cut = (self.raw.shape[-1] - width) // 2
        raw = self.raw if cut == 0 else self.raw[:, :, cut:-cut, cut:-cut]
        return replace(self, raw=np.ascontiguousarray(raw))


def subset(layers: Layers, rows: Int64) -> Layers:
    """The layers of some profiles, pointing into the rows given."""
    place = np.full(int(layers.profile.max(initial=-1)) + 1, -1, np.int64)
    place[rows[rows < len(place)]] = np.flatnonzero(rows < len(place))
    keep = place[layers.profile] >= 0
    return Layers(place[layers.profile[keep]], layers.depth_cm[keep], layers.target[keep], layers.value[keep])


def build(
    study: Study,
    code: str | None = None,
    *,
    samples: Any = None,
    scene: xr.DataArray | None = None,
    patch: int | None = None,
    progress: Progress = quiet,
) -> TrainingSet:
    """Read what a study names, and join it.

    Parameters
    ----------
    study : Study
        Where things are.
    code : str, optional
        Property; the study's own by default.
    samples, scene : optional
        Objects to use in place of the study's files.
    patch : int, optional
        Patch width in cells; the study's own by default.

    Raises
    ------
    InputError
        Where files cannot be used, or too few profiles are left.
    UsageError
        ``GS-STUDY`` where neither the study nor the call says what the samples or the scene are.
    """
    soil_property = study.declared(code)
    scene = _scene(study, scene)
    table = samples_of(study, soil_property, samples)
    report: dict[str, Any] = {"samples": table.attrs.get("report", {})}
    profiles = _profiles(table, scene)
    profiles, outside = _inside(profiles, scene)
    report["outside"] = outside
    width = patch or study.model.width
    progress(0, 1, "reading patches")
    raw = extract_patches(scene, np.asarray(profiles.geometry.x), np.asarray(profiles.geometry.y), width)
    progress(1, 1, "reading patches")
    middle = width // 2
    bands = Bands.of(scene).names
    missing = ~np.isfinite(raw[:, :, middle, middle])
    valid = ~missing.any(axis=1)
    report["no_data"] = [str(name) for name in profiles.loc[~valid, "profile"]]
    report["no_data_bands"] = {
        name: int(count) for name, count in zip(bands, missing.sum(axis=0), strict=True) if count
    }
    if report["no_data"]:
        log.warning(
            "profiles on cells without data, left out: %d of %d; see the report", len(report["no_data"]), len(profiles)
        )
    profiles, raw = profiles[valid].reset_index(drop=True), np.ascontiguousarray(raw[valid])
    layers = _layers(study, table, profiles, soil_property)
    layers, depths = _drop_thin(layers, study.depths.intervals, report)
    used = np.unique(layers.profile)
    report["without_layers"] = len(profiles) - len(used)
    profiles, raw = profiles.iloc[used].reset_index(drop=True), raw[used]
    layers = subset(layers, used)
    _enough(profiles, soil_property, report)
    return TrainingSet(
        soil_property=soil_property,
        depths=depths,
        profiles=profiles,
        raw=raw,
        layers=layers,
        bands=bands,
        geobox=scene.odc.geobox,
        sources=tuple(scene.attrs.get("sources", ())),
        classes={name: how for name, how in study.scene.classes.items() if name in bands},
        report=report,
    )


def _given(held: Any, path: Any, name: str) -> Any:
    """The caller's object, else what the study names."""
    if held is None and path is None:
        raise UsageError(
            f"the study does not say where to find the {name}",
            code="GS-STUDY",
            details=[f"{name}.path is missing"],
            hint=f"add path under [{name}] in the study, or in Python give {name}=",
        )
    return path if held is None else held


def _scene(study: Study, scene: xr.DataArray | None) -> xr.DataArray:
    config = study.scene
    source: Any = _given(scene, config.path, "scene")
    return open_scene(
        source,
        align=config.align,
        resampling=config.resampling,
        bands=config.bands,
        classes=tuple(config.classes),
        crs=config.crs if scene is None else None,
    )


def samples_of(study: Study, soil_property: Property, samples: Any) -> gpd.GeoDataFrame:
    """The samples of a study for a property, or the object given, read as the study says."""
    config, how = study.samples, study.how(soil_property.code)
    # A GeoDataFrame brings its own places; what the study says of its file's is not about it.
    placed = isinstance(samples, gpd.GeoDataFrame)
    return open_samples(
        _given(samples, config.path, "samples"),
        property=soil_property,
        column=how.column,
        unit=how.unit,
        sites=None if placed else config.sites,
        layer=config.layer if samples is None else None,
        crs=None if placed else config.crs,
        id=config.id,
        x=config.x,
        y=config.y,
        top=config.top,
        bottom=config.bottom,
        depth_unit=config.depth_unit,
        depth=config.depth,
        organic_matter_factor=how.organic_matter_factor,
        below_detection=config.below_detection,
        invalid=config.invalid,
    )


def _profiles(table: gpd.GeoDataFrame, scene: xr.DataArray) -> gpd.GeoDataFrame:
    """One row a profile, in the scene's CRS."""
    layer_columns = ["property", "top_cm", "bottom_cm", "value"]
    first = table.drop_duplicates("profile").drop(columns=[c for c in layer_columns if c in table.columns])
    return first.to_crs(scene.odc.geobox.crs.to_wkt()).reset_index(drop=True)


def cells_under(points: gpd.GeoDataFrame, scene: xr.DataArray) -> tuple[Int64, Int64, Bool]:
    """The cells that hold the points of profiles, as `cells_of` gives them.

    Parameters
    ----------
    points : GeoDataFrame
        One row a profile, in the scene's CRS.
    scene : DataArray

    Raises
    ------
    InputError
        ``GS-SAMPLES-OUTSIDE``: no point lies in the scene.
    """
    found = cells_of(scene, np.asarray(points.geometry.x), np.asarray(points.geometry.y))
    if len(points) and not found[2].any():
        grid = scene.odc.geobox
        box, (west, south, east, north) = grid.extent.boundingbox, points.total_bounds
        raise InputError(
            f"all {len(points)} profiles lie outside the scene",
            code="GS-SAMPLES-OUTSIDE",
            details=[
                f"scene:   x {box.left:.8g} to {box.right:.8g}, y {box.bottom:.8g} to {box.top:.8g}",
                f"samples: x {west:.8g} to {east:.8g}, y {south:.8g} to {north:.8g}",
                f"both in the scene's CRS, {show_crs(grid.crs)}",
            ],
            hint="check the samples' CRS (crs under [samples] in a study, else --crs), and that x is not y",
        )
    return found


def _inside(profiles: gpd.GeoDataFrame, scene: xr.DataArray) -> tuple[gpd.GeoDataFrame, list[str]]:
    _, _, inside = cells_under(profiles, scene)
    outside = [str(name) for name in profiles.loc[~inside, "profile"]]
    if outside:
        log.warning(
            "profiles outside the scene, left out: %d of %d: %s", len(outside), len(profiles), listing(outside, 5)
        )
    return profiles[inside].reset_index(drop=True), outside


def _layers(study: Study, table: gpd.GeoDataFrame, profiles: gpd.GeoDataFrame, soil_property: Property) -> Layers:
    """Observed layers at the study's intervals (spline), or as sampled (raw)."""
    rows = {name: row for row, name in enumerate(profiles["profile"])}
    table = table[table["profile"].isin(rows)]
    if study.depths.method == "raw":
        profile = table["profile"].map(rows).to_numpy(np.int64)
        target, middle = layer_targets(table, study.depths.intervals)
        return Layers(profile, middle, target, table["value"].to_numpy(np.float64))
    means = spline_depths(
        table,
        study.depths.intervals,
        smoothing=study.depths.smoothing,
        min_cover=study.depths.min_cover,
        lowest=soil_property.lowest,
        highest=soil_property.highest,
    )
    values = means.to_numpy(np.float64)
    row, target = np.nonzero(np.isfinite(values))
    middles = np.array([depth.middle_cm for depth in study.depths.intervals])
    profile = np.array([rows[name] for name in means.index], np.int64)[row]
    return Layers(profile, middles[target], target.astype(np.int64), values[row, target])


def _drop_thin(layers: Layers, depths: Sequence[Depth], report: dict[str, Any]) -> tuple[Layers, tuple[Depth, ...]]:
    """Without the depths that have too few layers to learn from."""
    counts = np.bincount(layers.target, minlength=len(depths))
    report["layers"] = {str(depth): int(count) for depth, count in zip(depths, counts, strict=True)}
    kept = np.flatnonzero(counts >= LEAST_LAYERS)
    if len(kept) == len(depths) or len(kept) == 0:
        return layers, tuple(depths)
    thin = [str(depths[int(place)]) for place in np.flatnonzero(counts < LEAST_LAYERS)]
    log.warning("depths with fewer than %d layers are left out: %s", LEAST_LAYERS, listing(thin))
    place = np.full(len(depths), -1, np.int64)
    place[kept] = np.arange(len(kept))
    keep = place[layers.target] >= 0
    thinned = Layers(layers.profile[keep], layers.depth_cm[keep], place[layers.target[keep]], layers.value[keep])
    return thinned, tuple(depths[int(one)] for one in kept)


def _enough(profiles: gpd.GeoDataFrame, soil_property: Property, report: dict[str, Any]) -> None:
    if len(profiles) >= LEAST_PROFILES:
        return
    read = report["samples"]
    raise InputError(
        f"{len(profiles)} profiles with {soil_property.name.lower()} are too few to train on",
        code="GS-SAMPLES-FEW",
        details=[
            f"needed: {LEAST_PROFILES}; rows read: {read.get('rows', '?')}",
            f"profiles left out: {len(report['outside'])} outside the scene, {len(report['no_data'])} without data "
            "there",
            *([f"profiles without data, by band: {_by_band(report)}"] if report["no_data"] else []),
            *(f"rows left out: {count} with {reason}" for reason, count in read.get("dropped", {}).items()),
        ],
        hint="add samples, or check the columns with: geosoil info SAMPLES",
    )


def _by_band(report: dict[str, Any]) -> str:
    """Bands without data at profiles, the emptiest first."""
    counts = sorted(report["no_data_bands"].items(), key=lambda one: -one[1])
    return listing([f"{name} {count}" for name, count in counts], 5)
