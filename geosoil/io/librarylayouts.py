"""Layouts of the large public spectral libraries, known by their columns: which holds what, in which unit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["LAYOUTS", "Layout", "layout_of", "plain"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How one library names its columns.

    Attributes
    ----------
    name : str
        Of the library.
    signs : tuple of tuple of str
        Patterns; a table is of this layout where each pattern of one of the groups fits a column.
    bands : str
        Pattern of the columns that are bands; empty where the largest group of numbered columns is meant.
    quantity : str
        What the bands hold; empty where the values have to tell.
    ids, source, instrument, country : tuple of str
        Columns with the samples' ids, data sets, instruments and countries, the best first.
    fixed_instrument : str
        Where all was measured with one.
    properties : tuple of (code, pattern, unit)
        Columns with values. Of several patterns of a code, the first one that fits is taken.
    filled : tuple of str
        Codes for which cells that are empty there are filled from the further columns.
    """

    name: str
    signs: tuple[tuple[str, ...], ...]
    ids: tuple[str, ...]
    properties: tuple[tuple[str, str, str], ...]
    bands: str = ""
    quantity: str = ""
    source: tuple[str, ...] = ()
    instrument: tuple[str, ...] = ()
    country: tuple[str, ...] = ()
    fixed_instrument: str = ""
    filled: tuple[str, ...] = ()

    def values(self, columns: Sequence[str]) -> dict[str, tuple[tuple[str, str], ...]]:
        """The columns that hold each property, with their units."""
        found: dict[str, list[tuple[str, str]]] = {}
        for code, pattern, unit in self.properties:
            fits = [(column, unit) for column in columns if re.fullmatch(pattern, column.strip(), re.IGNORECASE)]
            if fits and (code not in found or code in self.filled):
                found.setdefault(code, []).extend(fits if code in self.filled else fits[:1])
        return {code: tuple(held) for code, held in found.items()}


LAYOUTS = (
    # Open Soil Spectral Library (Safanelli et al. 2025), level 0 and 1; reflectance 0 to 1.
    Layout(
        "OSSL",
        ((r"scan_visnir\.\d+_(ref|pcnt)",), (r"dataset\.code_ascii_(txt|c)", r"id\.layer_uuid_(txt|c)")),
        ids=("id.layer_uuid_txt", "id.layer_uuid_c", "id.layer_local_c", "id.scan_local_c"),
        bands=r"scan_visnir\.\d+_(ref|pcnt)",
        source=("dataset.code_ascii_txt", "dataset.code_ascii_c", "code"),
        instrument=("scan.visnir.model.name_utf8_txt", "scan.visnir.model.code_any_txt"),
        country=("location.country_iso.3166_txt", "location.country_iso.3166_c"),
        properties=(
            ("soc", r"oc_usda\.c729_w\.pct", "%"),
            ("soc", r"oc_(usda\.c1059|iso\.10694)_w\.pct", "%"),
            ("clay", r"clay\.tot_usda\.a334_w\.pct", "%"),
            ("clay", r"clay\.tot_iso\.11277_w\.pct", "%"),
            ("ph", r"ph\.h2o_[\w.]+_index", "1"),
            ("ph", r"ph\.cacl2_[\w.]+_index", "1"),
        ),
        filled=("soc", "clay"),
    ),
    # LUCAS topsoil survey of the European Union, 2009 and 2015 (Orgiazzi et al. 2018): absorbance every half nm.
    Layout(
        "LUCAS",
        ((r"spc\.\d+(\.\d+)?", r"OC|pH\.?in\.?H2O|ID|sample\.?ID|Point_?ID"), (r"Point_?ID", r"NUTS_?0|pH\.?in\.?H2O")),
        ids=("PointID", "POINT_ID", "Point_ID", "ID", "sample.ID", "SampleID"),
        bands=r"(spc\.)?\d+(\.\d+)?",
        quantity="absorbance",
        country=("NUTS_0", "Country", "GEMAS_country"),
        fixed_instrument="XDS Rapid Content Analyzer",
        properties=(
            ("soc", r"OC", "g/kg"),
            ("clay", r"clay", "%"),
            ("ph", r"pH\.?in\.?H2O|pH\(H2O\)", "1"),
            ("ph", r"pH\.?in\.?CaCl2|pH\(CaCl2\)", "1"),
        ),
    ),
    # ICRAF-ISRIC world library (World Agroforestry Centre 2014): reflectance every 10 nm, values in a table beside.
    Layout(
        "ICRAF-ISRIC",
        ((r"Batch[ ._]and[ ._]labid",), (r"[XW]350", r"SSN|Plotcode|Org[ ._]C")),
        ids=("Batch and labid", "Batch.and.labid", "Batch_and_labid", "SSN"),
        bands=r"[XW]\d+(\.\d+)?",
        country=("Country name", "Country.name", "Country_name"),
        fixed_instrument="ASD FieldSpec Pro FR",
        properties=(
            ("soc", r"Org[ ._]?C", "%"),
            ("clay", r"Clay", "%"),
            ("ph", r"pH[ ._]*\(?H2O\)?\.?", "1"),
            ("ph", r"pH[ ._]*\(?CaCl2\)?\.?", "1"),
        ),
    ),
)


def layout_of(columns: Sequence[str]) -> Layout | None:
    """The layout that a table's columns show.

    >>> layout_of(["ID", "OC", "pH.in.H2O", "clay", "spc.400", "spc.400.5"]).name
    'LUCAS'
    >>> layout_of(["id", "350", "351"]) is None
    True
    """
    for layout in LAYOUTS:
        for group in layout.signs:
            if all(any(re.fullmatch(sign, column.strip(), re.IGNORECASE) for column in columns) for sign in group):
                return layout
    return None


def plain(name: str) -> str:
    """A column's name without case, blanks and points.

    >>> plain("Point_ID"), plain("id.layer_uuid_txt")
    ('pointid', 'idlayeruuidtxt')
    """
    return re.sub(r"[^0-9a-z]+", "", name.lower())


def first_of(columns: Sequence[str], wanted: Iterable[str]) -> str | None:
    """The first of some names that a table has, whatever its spelling."""
    known = {plain(column): column for column in reversed(columns)}
    return next((known[plain(name)] for name in wanted if plain(name) in known), None)
