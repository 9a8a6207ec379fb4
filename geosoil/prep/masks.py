"""Which cells of a cube are no bare soil, and why: one bit a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.bands import Bands
from geosoil.errors import UsageError, listing
from geosoil.kernels import masks as kernels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.types import Float32, Int64

    UInt16 = NDArray[np.uint16]

__all__ = ["NAMES", "NODATA", "MaskPlan", "MaskRules", "summary", "tally"]

#: Bit of each reason, for legends. A cell may have several.
NAMES: Mapping[str, int] = MappingProxyType(
    {
        "cloud": 1,
        "thin cloud": 2,
        "shadow": 4,
        "water": 8,
        "green vegetation": 16,
        "dry vegetation": 32,
        "snow or ice": 64,
        "land use": 128,
        "residue or wet soil": 256,
    }
)
#: Flag of a cell without data, which has no other.
NODATA = 1 << 15

#: Wavelengths that the rules use, nm, in the order of the kernel.
_WAVELENGTHS = (452.0, 560.0, 660.0, 800.0, 1355.0, 1610.0, 1650.0, 2000.0, 2100.0, 2200.0)
#: Here the air hides the ground, and what is bright is high cloud: the band is bad for soil and right for this.
_CIRRUS = 1355.0

#: Rules in the order of the kernel: the setting that switches each, its reason, and the wavelengths that it needs, nm.
_RULES: tuple[tuple[str, str, tuple[float, ...]], ...] = (
    ("cloud", "cloud", (452, 560)),
    ("cirrus", "thin cloud", (452, 660, 1355)),
    ("shadow", "shadow", (800, 1650)),
    ("ndwi", "water", (560, 800)),
    ("dark_water", "water", (1650,)),
    ("ndvi", "green vegetation", (660, 800)),
    ("ncai", "dry vegetation", (2000, 2100, 2200)),
    ("nbr2", "residue or wet soil", (1610, 2200)),
    ("ndsi", "snow or ice", (560, 800, 1610)),
)


@dataclass(frozen=True, slots=True)
class MaskRules:
    """Thresholds, on reflectance 0 to 1; a rule whose threshold is None is off.

    They are starting values from the literature, to be looked at on the scene's own picture: no index can tell asphalt
    or a roof from soil, for which there is `land_use`.

    Attributes
    ----------
    ndvi : float or None
        Green vegetation where (R800 - R660) / (R800 + R660) is above; 0.25 to 0.35 are common in soil composites.
    ncai : float or None
        Dry vegetation where the normalized cellulose absorption index, of the mean of R2000 and R2200 over R2100, is
        above; 0.01 to 0.04 are common.
    nbr2 : float or None
        Residue or wet soil where (R1610 - R2200) / (R1610 + R2200) is above; 0.05 to 0.125 are common for reflectance
        at the ground (Castaldi et al. 2019; Demattê et al. 2018). Off by default: clay lowers R2200 too, and at the top
        of the atmosphere vapour does, so that 0.075 takes half of the bare soil.
    ndwi : float or None
        Water where (R560 - R800) / (R560 + R800) is above (McFeeters 1996).
    dark_water : float or None
        Water where R1650 is below.
    cloud : float or None
        Cloud where R452 and R560 are both above: the rule for AHSI at the top of the atmosphere.
    cirrus : float or None
        Thin cloud where R1355 is above, the blue above `cirrus_blue` and above `cirrus_ratio` times the red. For
        reflectance at the top of the atmosphere only: correction leaves noise at 1355 nm.
    cirrus_blue, cirrus_ratio : float
        The latter is our own starting value.
    ndsi : float or None
        Snow or ice where (R560 - R1610) / (R560 + R1610) is above and R800 above `snow_nir` (Hall et al. 1995). Such
        a cell is not also called cloud or water.
    snow_nir : float
    shadow : float or None
        Shadow where R800 is below and R1650 below `shadow_swir`; our own starting values. Deep water is as dark.
    shadow_swir : float
    land_use : tuple of int
        Codes of the land-use raster that are left out.
    """

    ndvi: float | None = 0.30
    ncai: float | None = 0.03
    nbr2: float | None = None
    ndwi: float | None = 0.0
    dark_water: float | None = 0.05
    cloud: float | None = 0.30
    cirrus: float | None = 0.04
    cirrus_blue: float = 0.15
    cirrus_ratio: float = 0.7
    ndsi: float | None = 0.40
    snow_nir: float = 0.11
    shadow: float | None = 0.08
    shadow_swir: float = 0.06
    land_use: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if name != "land_use" and value is not None and not -1 <= float(value) <= 2:
                raise UsageError(
                    f"mask rule {name} = {value} is no threshold of a reflectance or index",
                    code="GS-MASK-RULE",
                    hint="reflectance counts from 0 to 1, indices from -1 to 1",
                )

    def without(self, *reasons: str) -> MaskRules:
        """The rules but those that give one of these reasons; raises UsageError ``GS-MASK-RULE`` for an unknown one.

        >>> MaskRules().without("shadow", "water").dark_water is None
        True
        """
        unknown = [one for one in reasons if one not in NAMES]
        if unknown:
            raise UsageError(
                f"no mask is called {listing([repr(one) for one in unknown], 3)}",
                code="GS-MASK-RULE",
                details=[f"masks: {', '.join(NAMES)}"],
            )
        off: dict[str, Any] = {setting: None for setting, reason, _ in _RULES if reason in reasons}
        if "land use" in reasons:
            off["land_use"] = ()
        return replace(self, **off)

    def at(self, level: str) -> MaskRules:
        """The rules for reflectance of a level: high cloud is only seen at the ``top of the atmosphere``.

        >>> MaskRules().at("").cirrus is None, MaskRules().at("top of the atmosphere").cirrus
        (True, 0.04)
        """
        return self if level else replace(self, cirrus=None)

    def on(self, bands: Bands, *, tolerance_nm: float = 15.0) -> MaskPlan:
        """Find the bands for the rules.

        Parameters
        ----------
        bands : Bands
            Of the cube; each wavelength takes the nearest good band.
        tolerance_nm : float
            How far that band's centre may lie off.

        >>> plan = MaskRules().on(Bands(("a", "b"), wavelength_nm=(661.0, 803.0)))
        >>> plan.positions, plan.reasons
        ((0, 1), ('green vegetation',))
        >>> plan.missing["dry vegetation (ncai)"]
        'no good band within 15 nm of 2000, 2100 and 2200 nm'
        """
        chosen = {one: _nearest(bands, one, tolerance_nm) for one in _WAVELENGTHS}
        rules: list[str] = []
        missing: dict[str, str] = {}
        for setting, reason, needed in _RULES:
            if getattr(self, setting) is None:
                continue
            lacking = [one for one in needed if chosen[one] < 0]
            if lacking:
                missing[f"{reason} ({setting})"] = _why_not(bands, lacking, tolerance_nm)
            else:
                rules.append(setting)
        used = {one for setting, _, needed in _RULES if setting in rules for one in needed}
        positions = tuple(sorted({chosen[one] for one in used}))
        return MaskPlan(
            rules=self,
            positions=positions,
            computed=tuple(rules),
            places=tuple(positions.index(chosen[one]) if one in used else -1 for one in _WAVELENGTHS),
            missing=missing,
            wavelengths=tuple((one, bands.wavelength_nm[chosen[one]]) for one in _WAVELENGTHS if one in used),
        )


def _nearest(bands: Bands, wanted: float, tolerance_nm: float) -> int:
    """Position of the nearest band that may stand for a wavelength; -1 for none."""
    if not bands.wavelength_nm:
        return -1
    gaps = np.abs(np.asarray(bands.wavelength_nm, np.float64) - wanted)
    if bands.good and wanted != _CIRRUS:
        gaps[~np.asarray(bands.good, bool)] = np.inf
    best = int(np.nanargmin(np.where(np.isnan(gaps), np.inf, gaps)))
    return best if gaps[best] <= tolerance_nm else -1


def _why_not(bands: Bands, lacking: list[float], tolerance_nm: float) -> str:
    if not bands.wavelength_nm:
        return "the bands have no wavelengths"
    texts = [f"{one:g}" for one in lacking]
    where = " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)
    return f"no good band within {tolerance_nm:g} nm of {where} nm"


@dataclass(frozen=True)
class MaskPlan:
    """Rules on the bands of a cube; picklable, and cell by cell, so that tiles do not matter.

    Attributes
    ----------
    rules : MaskRules
    positions : tuple of int
        Bands of the cube that `flags` wants, in this order.
    computed : tuple of str
        Settings of `MaskRules` whose rules are computed.
    places : (10,) tuple of int
        Where among `positions` each wavelength of the rules is; -1 for one that is not needed.
    missing : mapping
        Rule to the reason why it cannot be computed on this cube.
    wavelengths : tuple of (float, float)
        Wavelength that a rule asks for and that of the band which stands for it, nm.
    """

    rules: MaskRules
    positions: tuple[int, ...]
    computed: tuple[str, ...]
    places: tuple[int, ...]
    missing: Mapping[str, str] = field(default_factory=dict)
    wavelengths: tuple[tuple[float, float], ...] = ()

    @property
    def wavelengths_needed(self) -> tuple[float, ...]:
        """Wavelengths that the computed rules ask for, nm."""
        return tuple(one for one, _ in self.wavelengths)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Names of the flags that may be set."""
        found = {reason for setting, reason, _ in _RULES if setting in self.computed}
        if self.rules.land_use:
            found.add("land use")
        return tuple(name for name in NAMES if name in found)

    def describe(self) -> str:
        """What is masked and what cannot be, in lines."""
        lines = [f"masks: {', '.join(self.reasons) or 'none'}"]
        lines += [f"cannot compute {rule}: {why}" for rule, why in self.missing.items()]
        return "\n".join(lines)

    def flags(self, values: Float32, land_use: ArrayLike | None = None) -> UInt16:
        """Flags of a tile, bits as in `NAMES`; 0 for a cell that is left, `NODATA` where a band has no value.

        Parameters
        ----------
        values : (k, h, w) float32
            Reflectance 0 to 1 of the bands at `positions`, NaN where there is none. Only the cirrus band may be
            missing in a cell that is looked at.
        land_use : (h, w) array, optional
            Codes on the same cells; needed where rules leave some out.

        Raises
        ------
        UsageError
            ``GS-MASK-SHAPE``; ``GS-MASK-LANDUSE`` where codes are to be left out and no land use is given.
        """
        if values.ndim != 3 or values.shape[0] != len(self.positions):
            raise UsageError(
                f"masks want {len(self.positions)} bands (k, h, w), not an array of shape {values.shape}",
                code="GS-MASK-SHAPE",
                hint="give the bands at plan.positions",
            )
        out = np.zeros(values.shape[1:], np.uint16)
        kernels.flag(
            np.ascontiguousarray(values, np.float32),
            np.array(self.places, np.int64),
            self._optional(),
            np.array([NAMES[reason] if name in self.computed else 0 for name, reason, _ in _RULES], np.int64),
            self._limits(),
            NODATA,
            out,
        )
        if self.rules.land_use:
            out[self._left_out(land_use, out.shape) & (out != NODATA)] |= NAMES["land use"]
        return out

    def _optional(self) -> int:
        """The cirrus band may be empty after correction; it must not empty the scene. Not if others need it too."""
        place = self.places[_WAVELENGTHS.index(_CIRRUS)]
        return place if self.places.count(place) == 1 else -1

    def _limits(self) -> Float32:
        r = self.rules
        given = (
            r.cloud, r.cirrus, r.cirrus_blue, r.cirrus_ratio, r.shadow, r.shadow_swir, r.ndwi, r.dark_water, r.ndvi,
            r.ncai, r.nbr2, r.ndsi, r.snow_nir,
        )  # fmt: skip
        return np.array([0.0 if one is None else one for one in given], np.float32)

    def _left_out(self, land_use: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        codes = None if land_use is None else np.asarray(land_use)
        if codes is None or codes.shape != shape:
            found = "none" if codes is None else f"one of shape {codes.shape}"
            raise UsageError(
                f"masks leave out land-use codes and want a land use of shape {shape}, not {found}",
                code="GS-MASK-LANDUSE",
                hint="give the land-use codes of the same cells, or leave land_use out of the rules",
            )
        return np.isin(codes, self.rules.land_use)


def tally(flags: UInt16) -> Int64:
    """Cells by bit (16), of all, and without a flag: ``(18,)`` counts that may be added up over tiles."""
    counts = np.zeros(18, np.int64)
    kernels.tally(np.ascontiguousarray(flags).ravel(), NODATA, counts)
    return counts


def summary(flags: UInt16 | Int64) -> dict[str, Any]:
    """How much of the area is masked, by reason, and what is left.

    Parameters
    ----------
    flags : (h, w) uint16 or (18,) int64
        Flags, or the sum of `tally` over tiles.

    Returns
    -------
    dict
        ``cells``, ``nodata`` (count); ``reasons`` and ``left``, shares of the cells that have data. A cell may have
        several reasons, so that the shares may add up to more than 1.

    >>> found = summary(np.array([[0, 1, 17, NODATA]], np.uint16))
    >>> found["nodata"], round(found["left"], 3), round(found["reasons"]["cloud"], 3)
    (1, 0.333, 0.667)
    """
    counts = flags if flags.dtype == np.int64 and flags.shape == (18,) else tally(np.asarray(flags, np.uint16))
    cells, nodata = int(counts[16]), int(counts[NODATA.bit_length() - 1])
    valid = cells - nodata
    share = 1 / valid if valid else 0.0
    return {
        "cells": cells,
        "nodata": nodata,
        "reasons": {name: float(counts[bit.bit_length() - 1]) * share for name, bit in NAMES.items()},
        "left": float(counts[17]) * share,
    }
