"""What a training read, used and left out: as plain numbers in the card, and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["counts_of", "say_counts"]

#: Why a profile with samples is not used, by its key in the counts.
_PROFILES = {
    "outside": "outside the scene",
    "no_data": "on cells without data",
    "missing_bands": "with spectra that lack bands",
    "without_spectrum": "without a spectrum",
    "without_layers": "without a layer at the mapped depths",
    "masked": "on masked cells",
    "without_laboratory": "without a laboratory spectrum",
}
#: Those that are counted of samples with spectra alone.
_OF_SPECTRA = ("masked", "without_spectrum", "without_laboratory")


def counts_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of a training set's report, plain enough for JSON.

    Returns
    -------
    dict
        ``rows`` read and ``used``, ``left_out`` by reason; of the profiles of the used rows, those ``outside`` the
        scene, on cells with ``no_data`` (of spectra in a table, those with ``missing_bands``) and ``without_layers``
        at the mapped depths; of samples of spectra, those
        ``masked``, without any spectrum and ``without_laboratory`` spectra; ``copies``, samples of a library that are
        local ones and were left out, by data set.
    """
    samples, copies = report.get("samples", {}), report.get("library", {}).get("copies_by_source", {})
    return {
        **({"rows": int(samples["rows"]), "used": int(samples["used"])} if "rows" in samples else {}),
        "left_out": {str(reason): int(count) for reason, count in samples.get("dropped", {}).items()},
        "outside": len(report.get("outside", ())),
        # Spectra of a table lie in no scene: they lack bands, not cells.
        ("no_data" if "outside" in report else "missing_bands"): len(report.get("no_data", ())),
        "without_layers": int(report.get("without_layers", 0)),
        **{name: len(report[name]) for name in _OF_SPECTRA if name in report},
        **({"copies": {str(name): int(count) for name, count in copies.items()}} if copies else {}),
    }


def say_counts(counts: Mapping[str, Any]) -> list[str]:
    """The same in words, a line for rows and one for profiles.

    >>> say_counts({"rows": 9, "used": 8, "left_out": {"no value": 1}, "outside": 2, "profiles": 6})
    ['rows: 9 read, 8 taken; left out: 1 with no value', 'profiles: 6 used; left out: 2 outside the scene']
    """
    lines = []
    if "rows" in counts:
        reasons = ", ".join(f"{count} with {reason}" for reason, count in counts.get("left_out", {}).items())
        lines.append(
            f"rows: {counts['rows']} read, {counts['used']} taken" + (f"; left out: {reasons}" if reasons else "")
        )
    lost = ", ".join(f"{counts[key]} {why}" for key, why in _PROFILES.items() if counts.get(key))
    used = f": {counts['profiles']} used;" if "profiles" in counts else ""
    lines += [f"profiles{used} left out: {lost}"] if lost else []
    if sets := counts.get("library_sets"):
        teaches = f" with {', '.join(counts['library_teaches'])}" if "library_teaches" in counts else ""
        named = ", ".join(f"{name} ({count})" for name, count in sets.items())
        lines.append(f"library: {counts['library']} samples{teaches} of {named}")
    copies = ", ".join(f"{count} of {name}" for name, count in counts.get("copies", {}).items())
    return [*lines, f"library: left out as copies of the samples: {copies}"] if copies else lines
