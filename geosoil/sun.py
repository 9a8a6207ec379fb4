"""The spectrum of the sun in bands of a sensor."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError, listing

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .types import Float64

__all__ = ["solar_irradiance"]

#: Standard deviations in a full width at half maximum.
_FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))
#: Nodes of the Gaussian response, in standard deviations.
_NODES = np.linspace(-3.5, 3.5, 141)


@cache
def _solar_table() -> tuple[Float64, Float64]:
    """Wavelengths, nm, and irradiance above the atmosphere at 1 AU, W m-2 um-1: ASTM G173-03, 280 to 4000 nm."""
    # Here and not above: pvlib loads pandas, scipy and its own database of places, and only this function needs it.
    from pvlib.spectrum import get_reference_spectra

    table = get_reference_spectra(standard="ASTM G173-03")["extraterrestrial"]
    return table.index.to_numpy(np.float64), table.to_numpy(np.float64) * 1000.0


def solar_irradiance(wavelength_nm: ArrayLike, fwhm_nm: ArrayLike) -> Float64:
    """Sunlight above the atmosphere at 1 AU in bands, W m-2 um-1.

    The spectrum of ASTM G173-03 (as pvlib has it), averaged over a Gaussian response.

    Parameters
    ----------
    wavelength_nm, fwhm_nm : (p,) array
        Centres, and full widths at half maximum.

    Raises
    ------
    InputError
        ``GS-WAVELENGTH-RANGE``: a band reaches beyond 280 to 4000 nm; ``GS-FWHM-MISSING``.

    >>> solar_irradiance([550.0, 2200.0], [10.0, 10.0]).round(0).tolist()
    [1863.0, 82.0]
    """
    centre = np.asarray(wavelength_nm, np.float64)
    sigma = np.asarray(fwhm_nm, np.float64) / _FWHM
    if sigma.shape != centre.shape or not (sigma > 0).all():
        raise InputError(
            "bands have no width (FWHM), which the sunlight in them depends on",
            code="GS-FWHM-MISSING",
            details=[f"bands: {centre.size}, widths above 0: {int((sigma > 0).sum())}"],
            hint="add the file of the spectral response, or fwhm to the header",
        )
    nm, irradiance = _solar_table()
    at = centre[:, None] + sigma[:, None] * _NODES
    beyond = centre[(at[:, 0] < nm[0]) | (at[:, -1] > nm[-1])]
    if beyond.size:
        raise InputError(
            f"{beyond.size} bands lie outside the solar spectrum, {nm[0]:g} to {nm[-1]:g} nm",
            code="GS-WAVELENGTH-RANGE",
            details=[f"bands at {listing([f'{one:g}' for one in beyond])} nm"],
            hint="check the unit of the wavelengths, or leave these bands out",
        )
    weights = np.exp(-0.5 * _NODES**2)
    return np.asarray(np.interp(at, nm, irradiance) @ (weights / weights.sum()), np.float64)
