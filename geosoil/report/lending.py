"""What a library lent, and what was taken out of it, as a section of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from geosoil.report.html import Section

__all__ = ["library_section"]


def library_section(report: Mapping[str, Any]) -> Section:
    """Samples of each data set, and those that were left out as copies of the local ones.

    Parameters
    ----------
    report : mapping
        Of a library on the samples' bands, as ``jobs.libraries.library_for`` makes it.
    """
    used, copies = report["by_source"], report.get("copies_by_source", {})
    names = sorted({*used, *copies}, key=lambda name: -used.get(name, 0))
    table = pd.DataFrame(
        {
            "data set": names,
            "samples": [used.get(name, 0) for name in names],
            "left out as copies": [copies.get(name, 0) for name in names],
        }
    )
    named = [f"{one['sample']} of {one['source']}" for one in report.get("copies_named", ())]
    count = report.get("copies", 0)
    more = f" and {count - len(named)} more" if count > len(named) else ""
    told = (
        f"{count} samples of the library were local ones, and were left out of it before anything was learned: "
        f"{', '.join(named)}{more}."
        if count
        else "No sample of the library is one of the local ones."
    )
    lost = {"without a value of the property, or of other data sets": report.get("without_value", 0)}
    lost["with missing bands"] = report.get("missing", 0)
    others = "; ".join(f"{number} {why}" for why, number in lost.items() if number)
    rest = (f"Of its {report['samples']} samples are not used besides: {others}.",) if others else ()
    return Section("Library", (told, *rest, *_short(report.get("short", ()))), tables=(("", table),))


def _short(tables: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What was left out since it does not reach over the samples' bands."""
    named = "; ".join(
        f"{one['table']} ({one['spectra']} spectra, {one['from_nm']:g} to {one['to_nm']:g} nm)" for one in tables
    )
    return (f"Left out, as they do not reach over all bands of the samples: {named}.",) if named else ()
