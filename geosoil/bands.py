"""The bands of a scene: names, kinds, wavelengths in nm, which are good; and matching a scene to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING

from .errors import InputError, ModelError, listing

#: A band stands for another where their centres differ by less than this, nm: products drift by about one.
TOLERANCE_NM = 2.0

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["WAVELENGTH_UNITS", "Bands", "match_bands", "match_wavelengths"]

#: What a user may say of the wavelengths of a file that does not state their unit.
WAVELENGTH_UNITS = ("nm", "um")


@dataclass(frozen=True, slots=True)
class Bands:
    """What is known of the bands of a scene, in the order of its ``band`` axis.

    Attributes
    ----------
    names : tuple of str
        Unique names.
    classes : tuple of bool
        Whether a band holds classes (codes) rather than a quantity; empty for none.
    wavelength_nm, fwhm_nm : tuple of float
        Centres and widths, nm; empty where the scene has none.
    good : tuple of bool
        Bands to use; empty for all.
    why : tuple of str
        Why a band is not good, empty text for one that is; empty where `good` is.
    """

    names: tuple[str, ...]
    classes: tuple[bool, ...] = ()
    wavelength_nm: tuple[float, ...] = ()
    fwhm_nm: tuple[float, ...] = ()
    good: tuple[bool, ...] = ()
    why: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise InputError(
                f"band names occur twice: {listing(twice)}",
                code="GS-BANDS-TWICE",
                hint="rename the bands, or leave one of the files out",
            )
        for field in ("classes", "wavelength_nm", "fwhm_nm", "good", "why"):
            values = getattr(self, field)
            if values and len(values) != len(self.names):
                raise InputError(f"{len(values)} values of {field} for {len(self.names)} bands", code="GS-BANDS-LENGTH")

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, scene: xr.DataArray) -> Bands:
        """The bands of a scene, from the coordinates of its ``band`` axis."""
        names = tuple(str(name) for name in scene["band"].values.tolist())

        def values(name: str) -> list[object]:
            return scene.coords[name].values.tolist() if name in scene.coords else []

        return cls(
            names=names,
            classes=tuple(bool(v) for v in values("classes")),
            wavelength_nm=tuple(float(str(v)) for v in values("wavelength")),
            fwhm_nm=tuple(float(str(v)) for v in values("fwhm")),
            good=tuple(bool(v) for v in values("good")),
            why=tuple(str(v) for v in values("why")),
        )

    def take(self, positions: Sequence[int]) -> Bands:
        """Some of the bands, in the order given.

        >>> Bands(("dem", "twi", "soil"), classes=(False, False, True)).take([2, 0])
        Bands(names=('soil', 'dem'), classes=(True, False), wavelength_nm=(), fwhm_nm=(), good=(), why=())
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Bands(**{name: tuple(one[place] for place in positions) if one else () for name, one in values.items()})

    def coords(self) -> dict[str, tuple[str, list[object]]]:
        """Coordinates for ``DataArray.assign_coords``; inverse of `of`."""
        found: dict[str, tuple[str, list[object]]] = {"band": ("band", list(self.names))}
        pairs = (
            ("classes", self.classes),
            ("wavelength", self.wavelength_nm),
            ("fwhm", self.fwhm_nm),
            ("good", self.good),
            ("why", self.why),
        )
        found.update({name: ("band", list(values)) for name, values in pairs if values})
        return found


def match_bands(
    offered: Sequence[str],
    needed: Sequence[str],
    *,
    band_map: Mapping[str, str] | None = None,
    scene: str = "the scene",
    model: str = "the model",
) -> list[int]:
    """Positions in `offered` of the bands in `needed`, by name.

    Parameters
    ----------
    offered, needed : sequence of str
        Names in the scene, and names that the model was trained on.
    band_map : mapping, optional
        Name in the model to name in the scene, where they differ.
    scene, model : str
        How messages call the two.

    Raises
    ------
    ModelError
        ``GS-BANDS-MISSING`` where a band is not offered.

    >>> match_bands(["twi", "dem"], ["dem", "twi"])
    [1, 0]
    """
    band_map = dict(band_map or {})
    unknown = [name for name in band_map if name not in needed]
    if unknown:
        raise ModelError(
            f"band map names bands that {model} does not use: {listing(unknown)}",
            code="GS-BANDS-MAP",
            details=[f"bands of {model}: {listing(needed)}"],
        )
    positions = {name: place for place, name in enumerate(offered)}
    wanted = {name: band_map.get(name, name) for name in needed}
    missing = [name for name in needed if wanted[name] not in positions]
    if not missing:
        return [positions[wanted[name]] for name in needed]
    near = [
        f"{wanted[name]}: perhaps {close[0]!r} (--band-map {name}={close[0]})"
        for name in missing[:10]
        if (close := get_close_matches(wanted[name], list(positions), n=1))
    ]
    raise ModelError(
        f"{model} needs {len(needed)} bands, {scene} lacks {len(missing)} of them",
        code="GS-BANDS-MISSING",
        details=[
            f"missing: {listing([wanted[name] for name in missing])}",
            f"offered: {listing(list(offered))}",
            *near,
        ],
        hint=f"add the bands, or name those that stand for them: --band-map {missing[0]}=NAME",
    )


def match_wavelengths(
    offered: Bands,
    wavelength_nm: Sequence[float],
    *,
    tolerance_nm: float = TOLERANCE_NM,
    scene: str = "the scene",
    model: str = "the model",
) -> list[int]:
    """Positions in `offered` of the bands nearest to wavelengths; bad bands count only where no good one is near.

    Parameters
    ----------
    offered : Bands
        Of the scene.
    wavelength_nm : sequence of float
        Centres of the model's bands, nm.
    tolerance_nm : float
        How far a centre may be off.

    Raises
    ------
    ModelError
        ``GS-WAVELENGTHS-NONE``: the scene has no wavelengths. ``GS-WAVELENGTHS-MISSING``: it lacks some of those
        needed.

    >>> match_wavelengths(Bands(("a", "b", "c"), wavelength_nm=(500.0, 510.0, 520.0)), [519.2, 500.4])
    [2, 0]
    """
    if not offered.wavelength_nm:
        raise ModelError(
            f"{model} takes bands by wavelength, and {scene} has no wavelengths",
            code="GS-WAVELENGTHS-NONE",
            details=[f"bands of the scene: {listing(list(offered.names))}"],
            hint="give them: --wavelengths TABLE, a CSV with a row a band and the columns wavelength and fwhm, in nm;\n"
            "a file of the cube's name that ends in _wavelengths.csv is found by itself",
        )
    good = offered.good or (True,) * len(offered)

    def nearest(wanted: float) -> int:
        places = sorted(range(len(offered)), key=lambda place: abs(offered.wavelength_nm[place] - wanted))
        fitting = [place for place in places if abs(offered.wavelength_nm[place] - wanted) <= tolerance_nm]
        return next((place for place in fitting if good[place]), places[0])

    found = [nearest(wanted) for wanted in wavelength_nm]
    far = [
        (wanted, place)
        for wanted, place in zip(wavelength_nm, found, strict=True)
        if abs(offered.wavelength_nm[place] - wanted) > tolerance_nm
    ]
    if not far:
        return found
    raise ModelError(
        f"{model} needs {len(found)} wavelengths, {scene} lacks {len(far)} of them",
        code="GS-WAVELENGTHS-MISSING",
        details=[
            f"{wanted:.1f} nm: the nearest band is {offered.names[place]} at {offered.wavelength_nm[place]:.1f} nm"
            for wanted, place in far[:10]
        ]
        + ([f"and {len(far) - 10} more"] if len(far) > 10 else []),
        hint=f"centres may be off by {tolerance_nm:g} nm; train the model on the bands of this sensor",
    )
