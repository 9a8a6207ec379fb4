"""Facts of the AHSI sensors: bands, widths, gains, and how the files of a product are called and written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from geosoil.types import Float64

__all__ = ["FAMILIES", "Detector", "Family", "families"]

# Gains as files of GF-5 have them, W m-2 sr-1 um-1 per count: high at the blue end, falling, low in the infrared.
_GAIN_NM = (390.0, 410.0, 433.0, 520.0, 640.0, 800.0, 950.0, 1028.0)
_GAIN_VN = (0.83, 0.25, 0.10, 0.05, 0.038, 0.05, 0.17, 0.49)
_GAIN_SW_NM = (1009.0, 1100.0, 1250.0, 1550.0, 1750.0, 2100.0, 2515.0)
_GAIN_SW = (0.115, 0.035, 0.018, 0.010, 0.006, 0.003, 0.002)
# Water bands in which the gains collapse, nm, and what is left of them.
_COLLAPSED = ((1360.0, 1422.0), (1809.0, 1944.0))
_LEFT = 0.05


@dataclass(frozen=True, slots=True)
class Detector:
    """One of the two detectors.

    Attributes
    ----------
    label : str
        ``VN`` or ``SW``, as in the names of the images.
    wavelength_nm, fwhm_nm : (bands,) float64
        Centres and widths, nm.
    gain, offset : (bands,) float64
        Radiance is gain x count + offset, W m-2 sr-1 um-1.
    """

    label: str
    wavelength_nm: Float64
    fwhm_nm: Float64
    gain: Float64
    offset: Float64

    def __len__(self) -> int:
        return len(self.wavelength_nm)

    @property
    def word(self) -> str:
        """The detector in the names of the calibration files."""
        return {"VN": "VNIR", "SW": "SWIR"}[self.label]


@dataclass(frozen=True, slots=True)
class Family:
    """How the products of a satellite are called and written.

    Attributes
    ----------
    code : str
        First part of all names.
    suffix : str
        Ending of the images.
    separator : str
        Between the columns of the calibration files.
    word_last : bool
        Whether the detector ends the names of the calibration files: ``RadCal_VNIR`` rather than ``VNIR_RadCal``.
    degrees : int
        Decimals of the coordinates in the names.
    dtype : str
        Type of the counts.
    bands : ((float, float, int, float), (float, float, int, float))
        First centre, step, number and width of the bands of either detector, nm.
    dark : float
        Counts that the offset of the calibration takes away.
    """

    code: str
    suffix: str
    separator: str
    word_last: bool
    degrees: int
    dtype: str
    bands: tuple[tuple[float, float, int, float], tuple[float, float, int, float]]
    dark: float

    def calibration_name(self, kind: str, word: str) -> str:
        """Name of a calibration file; `kind` is ``RadCal`` or ``Spectralresponse``.

        >>> families("GF5B").calibration_name("RadCal", "SWIR"), families("GF5").calibration_name("RadCal", "SWIR")
        ('GF5B_AHSI_RadCal_SWIR.raw', 'GF5_AHSI_SWIR_RadCal.raw')
        """
        parts = [kind, word] if self.word_last else [word, kind]
        return "_".join([self.code, "AHSI", *parts]) + ".raw"

    def detectors(self, *, drift_nm: float = 0.0) -> tuple[Detector, Detector]:
        """Both detectors; `drift_nm` shifts all bands, as they do from product to product."""
        first, second = (self._detector(index, label, drift_nm) for index, label in enumerate(("VN", "SW")))
        return first, second

    def _detector(self, index: int, label: str, drift_nm: float) -> Detector:
        start, step, count, fwhm = self.bands[index]
        # Three decimals, as the files have them: the truth is what is written.
        centre = np.round(start + drift_nm + step * np.arange(count), 3)
        gain = np.round(_gain(label, centre), 8)
        return Detector(label, centre, np.full(count, fwhm), gain, np.round(-self.dark * gain, 8))


def _gain(label: str, wavelength_nm: Float64) -> Float64:
    places, values = (_GAIN_NM, _GAIN_VN) if label == "VN" else (_GAIN_SW_NM, _GAIN_SW)
    gain = np.exp(np.interp(wavelength_nm, places, np.log(values)))
    for low, high in _COLLAPSED:
        gain = np.where((wavelength_nm >= low) & (wavelength_nm <= high), gain * _LEFT, gain)
    return gain


_GF5 = ((390.3, 4.28, 150, 4.3), (1004.2, 8.43, 180, 8.4))
_GF5B = ((390.3, 4.28, 150, 4.32), (1009.0, 8.41663, 180, 8.546))
_ZY1 = ((386.86, 8.5855, 76, 8.6), (1009.7, 16.8466, 90, 16.85))

#: By the first part of the names. GF5A stands for the satellite of 2022, written as GF5B is.
FAMILIES = {
    "GF5": Family("GF5", ".geotiff", "\t", False, 2, "uint16", _GF5, 0.0),
    "GF5A": Family("GF5A", ".tif", ",", True, 1, "uint16", _GF5B, 4.0),
    "GF5B": Family("GF5B", ".tif", ",", True, 1, "uint16", _GF5B, 4.0),
    "ZY1E": Family("ZY1E", ".tif", " ", False, 2, "int16", _ZY1, 2.0),
    "ZY1F": Family("ZY1F", ".tiff", " ", False, 2, "int16", _ZY1, 2.0),
}


def families(code: str) -> Family:
    """A family by its code."""
    return FAMILIES[code]
