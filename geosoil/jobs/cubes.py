"""What `geosoil info` tells of a cube: sensor, detectors, bad bands, what its values are; and a picture of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import matplotlib.image
import numpy as np
import xarray as xr
from dask.local import get_sync

from geosoil.bands import Bands
from geosoil.errors import UsageError, listing
from geosoil.io.atomic import check_output, replacing
from geosoil.io.calibration import sparse_windows
from geosoil.io.reads import read_files
from geosoil.io.wavelengths import detectors
from geosoil.types import PathLike, as_path

if TYPE_CHECKING:
    from geosoil.types import Float32

__all__ = ["describe_cube", "quicklook", "tell_cube", "tell_product"]

#: Facts of a scene that are told as they are.
_PLAIN = ("sensor", "acquired", "quantity", "level", "units", "scale")
#: Windows along an edge, and bands, that are looked at for negatives and values above 1.
_SIDE, _BANDS = 5, 64
#: Every so manieth of these windows is looked at for bands that hold nothing.
_EVERY = 6
#: Red, green and blue, nm; and how far a band may be from them.
_COLOURS_NM, _NEAR_NM = (660.0, 560.0, 480.0), 40.0
#: Longest edge of a picture, cells; and the percentiles that become black and white.
_LONGEST, _STRETCH = 1200, (2.0, 98.0)


def tell_cube(scene: xr.DataArray) -> dict[str, Any] | None:
    """What is known of a cube, as plain JSON; None for a covariate stack.

    Few windows are read, for the values outside of 0 to 1.
    """
    bands = Bands.of(scene)
    if not bands.wavelength_nm and "quantity" not in scene.attrs:
        return None
    numbers = {
        name: value for name, value in scene.attrs.items() if isinstance(value, (int, float)) and math.isfinite(value)
    }
    return {
        **{name: str(scene.attrs[name]) for name in _PLAIN if scene.attrs.get(name)},
        **{name: float(value) for name, value in numbers.items()},
        **tell_bands(bands),
        "sample": _sampled(scene, bands),
        "notes": [str(note) for note in scene.attrs.get("notes", ())],
    }


def tell_bands(bands: Bands) -> dict[str, Any]:
    """Detectors with their wavelengths, and the bands that are not good by the reason why."""
    runs = detectors(bands.wavelength_nm) if bands.wavelength_nm else []
    return {
        "detectors": [
            {
                "bands": [bands.names[run[0]], bands.names[run[-1]]],
                "count": len(run),
                "wavelength_nm": [bands.wavelength_nm[run[0]], bands.wavelength_nm[run[-1]]],
                **({"fwhm_nm": _span(bands.fwhm_nm, run)} if bands.fwhm_nm else {}),
            }
            for run in runs
        ],
        "good": sum(bands.good) if bands.good else len(bands),
        "bad": _bad(bands),
    }


def _span(values: Sequence[float], run: range) -> list[float]:
    return [min(values[run[0] : run[-1] + 1]), max(values[run[0] : run[-1] + 1])]


def _bad(bands: Bands) -> list[dict[str, Any]]:
    """Bands that are not good, each reason with its runs of neighbours."""
    lost = [place for place, good in enumerate(bands.good) if not good]
    found = []
    for why in dict.fromkeys(bands.why[place] for place in lost):
        places = [place for place in lost if bands.why[place] == why]
        runs = [
            [place for _, place in group] for _, group in groupby(enumerate(places), key=lambda pair: pair[1] - pair[0])
        ]
        runs = [part for run in runs for part in _rising(run, bands.wavelength_nm)]
        found.append(
            {
                "why": why,
                "count": len(places),
                "runs": [
                    {
                        "bands": [bands.names[run[0]], bands.names[run[-1]]],
                        **(
                            {"wavelength_nm": [bands.wavelength_nm[run[0]], bands.wavelength_nm[run[-1]]]}
                            if bands.wavelength_nm
                            else {}
                        ),
                    }
                    for run in runs
                ],
            }
        )
    return found


def _rising(run: list[int], wavelength_nm: Sequence[float]) -> list[list[int]]:
    """A run of bands cut where the next detector begins."""
    cuts = [place for place in run[1:] if wavelength_nm and wavelength_nm[place] < wavelength_nm[place - 1]]
    edges = [run[0], *cuts, run[-1] + 1]
    return [list(range(first, last)) for first, last in pairwise(edges)]


def _sampled(scene: xr.DataArray, bands: Bands) -> dict[str, Any]:
    """Shares of what is missing, negative and above 1 in few windows of the good bands, the range, and dead bands."""
    usable = [place for place in range(len(bands)) if not bands.good or bands.good[place]] or list(range(len(bands)))
    places = sorted({usable[place] for place in np.linspace(0, len(usable) - 1, _BANDS).round().astype(int)})
    chosen, (_, rows, cols) = scene.data[places], scene.shape
    windows = sparse_windows((rows, cols), _SIDE)
    with dask.config.set(scheduler=get_sync):
        parts = [np.asarray(chosen[:, slice(*down), slice(*across)]) for down, across in windows]
        every = [np.asarray(scene.data[usable, slice(*down), slice(*across)]) for down, across in windows[::_EVERY]]
    values = np.concatenate([part.ravel() for part in parts])
    known = values[np.isfinite(values)]
    found: dict[str, Any] = {"values": int(values.size), "missing": 1 - known.size / max(values.size, 1)}
    if known.size:
        low, middle, high = (float(one) for one in np.percentile(known, [1, 50, 99]))
        found.update({"low": low, "median": middle, "high": high, "negative": float((known < 0).mean())})
        found["above_one"] = float((known > 1).mean())
        found["dead"] = [bands.names[place] for place, dead in zip(usable, _dead(every), strict=True) if dead]
    return found


def _dead(parts: Sequence[Float32]) -> list[bool]:
    """Which bands have no values, or one and the same all over."""
    rows = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
    low, high = np.where(np.isfinite(rows), rows, np.inf), np.where(np.isfinite(rows), rows, -np.inf)
    return [bool(one) for one in low.min(axis=1) >= high.max(axis=1)]


def tell_product(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a packed product tells of itself, with its bands as `tell_bands` puts them."""
    listed = told.get("bands", ())
    bands = Bands(
        tuple(str(one["name"]) for one in listed),
        wavelength_nm=tuple(float(one["wavelength_nm"]) for one in listed),
        fwhm_nm=tuple(float(one["fwhm_nm"]) for one in listed),
        good=tuple(bool(one["good"]) for one in listed),
        why=tuple(str(one["why"]) for one in listed),
    )
    return {**told, **tell_bands(bands)}


def describe_cube(cube: Mapping[str, Any]) -> list[str]:
    """A cube in plain words, a fact a line."""
    facts = [cube.get("sensor", ""), f"acquired {cube['acquired']}" if cube.get("acquired") else ""]
    lines = [", ".join(fact for fact in facts if fact)] if any(facts) else []
    if "quantity" in cube:
        unit = f" in {cube['units']}" if cube.get("units", "1") != "1" else ""
        scale = f"; {cube['scale']}" if cube.get("scale") else ""
        level = f" at the {cube['level']}" if cube.get("level") else ""
        lines.append(f"values are {_QUANTITIES.get(cube['quantity'], cube['quantity'])}{level}{unit}{scale}")
    lines += _geometry(cube)
    lines += [_detector(number, one) for number, one in enumerate(cube["detectors"], start=1)]
    if cube["bad"]:
        lines.append(f"{cube['good']} good bands; not good:")
        lines += [
            f"  {one['why']}: {one['count']}, {listing([_run(run) for run in one['runs']])}" for one in cube["bad"]
        ]
    if "sample" in cube:
        lines.append(_sample_words(cube["sample"], cube.get("quantity", "")))
    return [*lines, *(f"note: {note}" for note in cube.get("notes", ()))]


def _geometry(cube: Mapping[str, Any]) -> list[str]:
    """Size, place and angles, as far as they are told."""
    lines = []
    if "shape" in cube:
        _, rows, columns = cube["shape"]
        rpc = ", ".join(cube.get("rpc", ())) or "none"
        lines.append(f"size: {rows} lines x {columns} samples; rational polynomial coefficients: {rpc}")
    if cube.get("centre"):
        lon, lat = cube["centre"]
        corners = "; ".join(f"{one[0]:.4f} {one[1]:.4f}" for one in cube.get("corners", ()))
        lines.append(f"centre: longitude {lon:.4f}, latitude {lat:.4f}" + (f"; corners: {corners}" if corners else ""))
    for what in ("sun", "view"):
        told = cube.get(what, {})
        angles = {name: told.get(f"{name}_deg", cube.get(f"{what}_{name}_deg")) for name in ("zenith", "azimuth")}
        known = ", ".join(f"{name} {angle:.2f}" for name, angle in angles.items() if angle is not None)
        if known:
            lines.append(f"{what}: {known} degrees")
    return lines


_QUANTITIES = {"dn": "bare counts (DN)"}


def _detector(number: int, one: Mapping[str, Any]) -> str:
    (first, last), (low, high) = one["bands"], one["wavelength_nm"]
    widths = ""
    if "fwhm_nm" in one:
        narrow, wide = one["fwhm_nm"]
        widths = f", {narrow:.3g} to {wide:.3g} nm wide" if narrow != wide else f", {wide:.4g} nm wide"
    return f"detector {number}: {one['count']} bands, {low:.7g} to {high:.7g} nm{widths} ({first} to {last})"


def _run(run: Mapping[str, Any]) -> str:
    first, last = run["bands"]
    names = first if first == last else f"{first} to {last}"
    if "wavelength_nm" not in run:
        return str(names)
    low, high = run["wavelength_nm"]
    return f"{names} ({low:.6g} nm)" if first == last else f"{names} ({low:.6g} to {high:.6g} nm)"


def _sample_words(sample: Mapping[str, Any], quantity: str) -> str:
    if "low" not in sample:
        return f"no data in a sparse sample of {sample['values']} values"
    told = f"sparse sample of {sample['values']} values: {sample['missing']:.1%} without data, "
    told += f"percentiles 1, 50 and 99 are {sample['low']:.4g}, {sample['median']:.4g} and {sample['high']:.4g}; "
    above = f", {sample['above_one']:.2%} above 1" if quantity == "reflectance" else ""
    dead = f"; empty or constant in it: {listing(sample['dead'])}" if sample["dead"] else ""
    return f"{told}{sample['negative']:.2%} negative{above}{dead}"


def quicklook(scene: xr.DataArray, path: PathLike, *, overwrite: bool = False, inputs: Iterable[object] = ()) -> Path:
    """A picture of a scene as PNG: true colour where it has red, green and blue bands, else one band in grey.

    Each colour is stretched from its 2nd to its 98th percentile; cells without data are transparent.

    Parameters
    ----------
    scene : DataArray
        From `open_scene`.
    path : path
        File with the suffix ``.png``; none of those that the scene was opened from.
    overwrite : bool
        Whether it may be replaced.
    inputs : iterable
        What else is read, and is not replaced; see `io.atomic.keep_inputs`.

    Raises
    ------
    UsageError
        ``GS-QUICKLOOK`` where the file is no PNG.
    OutputError
        As `io.atomic.check_output` and `io.atomic.replacing`.
    """
    path = as_path(path)
    if path.suffix.lower() != ".png":
        raise UsageError(
            f"a quicklook is a PNG, not {path.suffix or 'a file without suffix'}", code="GS-QUICKLOOK",
            hint="name it as in --quicklook scene.png",
        )  # fmt: skip
    path = check_output(path, overwrite=overwrite, inputs=(*inputs, *read_files(scenes=[scene])))
    step = max(1, math.ceil(max(scene.shape[1:]) / _LONGEST))
    with dask.config.set(scheduler=get_sync):
        values = np.asarray(scene.data[shown_bands(Bands.of(scene)), ::step, ::step])
    colours = np.stack([_stretched(band) for band in values], axis=-1)
    opaque = np.isfinite(values).all(axis=0)[..., np.newaxis].astype(np.float32)
    picture = np.concatenate([np.broadcast_to(colours, (*colours.shape[:2], 3)), opaque], axis=-1)
    with replacing(path) as part:
        matplotlib.image.imsave(part, picture, format="png")
    return path


def shown_bands(bands: Bands) -> list[int]:
    """Red, green and blue where all are there and good; else the good band in the middle."""
    usable = [place for place in range(len(bands)) if not bands.good or bands.good[place]] or list(range(len(bands)))
    if bands.wavelength_nm:
        nearest = [min(usable, key=lambda place: abs(bands.wavelength_nm[place] - colour)) for colour in _COLOURS_NM]
        off = [abs(bands.wavelength_nm[place] - colour) for place, colour in zip(nearest, _COLOURS_NM, strict=True)]
        if max(off) <= _NEAR_NM and len(set(nearest)) == len(nearest):
            return nearest
    return [usable[len(usable) // 2]]


def _stretched(band: Float32) -> Float32:
    """A band from 0 to 1."""
    known = band[np.isfinite(band)]
    if not known.size:
        return np.zeros(band.shape, np.float32)
    low, high = np.percentile(known, _STRETCH)
    span = high - low if high > low else 1.0
    return np.asarray(np.clip(np.nan_to_num((band - low) / span), 0, 1), np.float32)
