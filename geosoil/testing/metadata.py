"""The XML that comes with an AHSI product."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import numpy as np
from pyproj import Transformer

if TYPE_CHECKING:
    from .acquisition import Acquisition

__all__ = ["metadata_xml"]


def metadata_xml(stem: str, started: str, seen: Acquisition) -> str:
    """``ProductMetaData`` with the tags that readers use.

    Parameters
    ----------
    stem : str
        Name of the product.
    started : str
        ``YYYY-MM-DD HH:MM:SS.sss`` in the time of Beijing.
    seen : Acquisition
        Gives angles, size and corners.
    """
    satellite, sensor, *_, orbit, number = stem.split("_")
    facts = {
        "SatelliteID": satellite, "SensorID": sensor, "OrbitID": orbit, "SceneID": number[2:9],
        "ProductID": number[2:], "ProductLevel": "LEVEL1",
        "StartTime": started, "EndTime": started[:-4] + ".950",
        "SolarZenith": f"{seen.landscape.sun_zenith:.4f}", "SolarAzimuth": f"{seen.landscape.sun_azimuth:.4f}",
        "SatelliteZenith": f"{seen.models[0].roll:.4f}", "SatelliteAzimuth": f"{90 + seen.models[0].heading:.4f}",
        "ImageGSD": f"{seen.landscape.resolution:g}",
        "LinesInPixels": str(seen.shape[0]), "SamplesInPixels": str(seen.shape[1]), **_corners(seen),
    }  # fmt: skip
    rows = "\n".join(f"  <{tag}>{escape(text)}</{tag}>" for tag, text in facts.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<ProductMetaData>\n{rows}\n</ProductMetaData>\n'


def _corners(seen: Acquisition) -> dict[str, str]:
    """Latitude and longitude of the corners and the middle."""
    lines, samples = seen.shape
    places = {
        "Center": ((lines - 1) / 2, (samples - 1) / 2),
        "TopLeft": (0, 0),
        "TopRight": (0, samples - 1),
        "BottomRight": (lines - 1, samples - 1),
        "BottomLeft": (lines - 1, 0),
    }
    line, sample = np.array(list(places.values()), np.float64).T
    x, y = seen.models[0].ground(line, sample, seen.landscape.elevation)
    degrees = Transformer.from_crs(seen.landscape.crs, "EPSG:4326", always_xy=True)
    found = zip(places, *degrees.transform(x, y), strict=True)
    return {
        name + axis: f"{value:.6f}"
        for name, longitude, latitude in found
        for axis, value in (("Latitude", latitude), ("Longitude", longitude))
    }
