"""The report of contributions: which windows of two models are listed, and how they are named."""

from __future__ import annotations

import pandas as pd

from geosoil.report.attributions import Against, _changes


def windows_of(lost: int, new: int) -> pd.DataFrame:
    """Windows of two models as `compare_importance` gives them; new ones matter more, and are one band wide."""
    kinds = ["lost"] * lost + ["new"] * new
    first = [500.0 + 40 * place for place in range(len(kinds))]
    return pd.DataFrame(
        {
            "change": kinds,
            "first": first,
            "last": [nm + (20 if kind == "lost" else 0) for nm, kind in zip(first, kinds, strict=True)],
            "own": [0.01 if kind == "lost" else 0.1 for kind in kinds],
            "other": [0.02 if kind == "lost" else 0.01 for kind in kinds],
            "constituents": [""] * len(kinds),
        }
    )


def test_of_many_windows_those_that_matter_most_are_listed_not_the_first_kind() -> None:
    table = _changes(Against(("target", "source"), None, windows_of(lost=25, new=5), {}))  # type: ignore[arg-type]
    assert len(table) == 20
    assert table[""].tolist() == ["lost"] * 15 + ["new"] * 5


def test_a_window_of_one_band_is_named_by_its_wavelength_once() -> None:
    table = _changes(Against(("target", "source"), None, windows_of(lost=1, new=1), {}))  # type: ignore[arg-type]
    assert table["window"].tolist() == ["500-520 nm", "540 nm"]
