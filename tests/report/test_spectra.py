"""What plots along wavelength show and name."""

from __future__ import annotations

import numpy as np
import pytest

from geosoil.report.spectra import support_figure
from geosoil.soil import property_of

BANDS = 30


@pytest.mark.parametrize(
    ("kept", "named"),
    [
        ((range(35, 50), range(31, 33)), ["generated"]),
        ((range(5, 9), range(2, 3)), ["satellite"]),
        # Each of two properties keeps another kind.
        ((range(5, 9), range(40, 44)), ["satellite", "generated"]),
    ],
)
def test_the_legend_of_the_selection_names_what_is_kept_and_nothing_else(
    kept: tuple[range, range], named: list[str]
) -> None:
    support = tuple(np.isin(np.arange(2 * BANDS), list(one)) for one in kept)
    spectra = {
        "wavelength_nm": np.linspace(400, 2400, BANDS),
        "read": "satellite",
        "support": support,
        "frequency": tuple(0.5 * one for one in support),
    }
    figure = support_figure([property_of("som"), property_of("as")], spectra)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == named
