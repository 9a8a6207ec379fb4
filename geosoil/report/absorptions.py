"""Soil constituents and the wavelengths at which they absorb, to read attributions by."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["Absorption", "absorptions", "constituents_at"]


@dataclass(frozen=True, slots=True)
class Absorption:
    """A constituent of soils.

    Attributes
    ----------
    name, short, group : str
    nm : tuple of float
        Centres of its features, nm.
    width : float
        A wavelength this near to a centre may be of the feature, nm.
    source : str
        Papers, by the keys in the table.
    """

    name: str
    short: str
    group: str
    nm: tuple[float, ...]
    width: float
    source: str


@cache
def absorptions() -> tuple[Absorption, ...]:
    """All of ``tables/absorptions.toml``."""
    table = tomllib.loads((files("geosoil") / "tables" / "absorptions.toml").read_text(encoding="utf-8"))
    return tuple(
        Absorption(
            str(one["name"]),
            str(one["short"]),
            str(one["group"]),
            tuple(float(nm) for nm in one["nm"]),
            float(one["width"]),
            str(one["source"]),
        )
        for one in table["absorption"].values()
    )


def constituents_at(first_nm: float, last_nm: float | None = None) -> list[str]:
    """Constituents that absorb in a span, each with its centres there, those nearest to the middle first.

    >>> constituents_at(2200, 2210)[:2]
    ['smectite (2206)', 'illite and muscovite (2206)']
    >>> constituents_at(1300)
    []
    """
    last_nm = first_nm if last_nm is None else last_nm
    middle = (first_nm + last_nm) / 2
    found = []
    for one in absorptions():
        near = [nm for nm in one.nm if first_nm - one.width <= nm <= last_nm + one.width]
        if near:
            away = min(abs(nm - middle) for nm in near)
            found.append((away, f"{one.name} ({', '.join(f'{nm:g}' for nm in near)})"))
    return [text for _, text in sorted(found, key=lambda entry: entry[0])]
