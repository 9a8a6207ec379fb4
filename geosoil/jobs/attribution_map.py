"""Contributions as a map: what each covariate, or each window of wavelengths, adds in every cell of a region."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.bands import Bands
from geosoil.io.geotiff import write_cube
from geosoil.jobs.attribution_data import Part, Rows
from geosoil.jobs.attribution_told import Explained, stem_of, title_of, unit_of
from geosoil.models.bundle import Bundle
from geosoil.models.explained import Drawing, Subject
from geosoil.types import Progress

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64, Int64

__all__ = ["map_contributions"]

#: Cells that are explained at a time, about.
_CELLS = 2048


def map_contributions(
    folder: Path,
    bundle: Bundle,
    one: Explained,
    part: Part,
    background: Rows,
    drawing: Drawing,
    step_nm: float,
    progress: Progress,
) -> dict[str, Any]:
    """Contributions of all cells of a region, a band a covariate or a window of wavelengths."""
    bands, member = _bands(one.subject, step_nm)
    far = one.subject.rows(background.raw)
    height = max(1, _CELLS // part.shape[1])
    gaps: list[Float64] = []
    outputs: list[Float64] = []

    def windows(rows: tuple[int, int], columns: tuple[int, int]) -> Callable[[Int64], Float32]:
        made = np.full((len(bands), rows[1] - rows[0], part.shape[1]), np.nan, np.float32)
        for top in range(rows[0], rows[1], height):
            bottom = min(top + height, rows[1])
            cells, valid = part.cells((top + part.rows[0], bottom + part.rows[0]))
            if len(cells):
                found = one.subject.attribute(one.subject.rows(cells), far, drawing)
                block = np.full((len(bands), *valid.shape), np.nan, np.float32)
                block[:-1, valid] = (found.values @ member).T
                block[-1, valid] = found.output
                made[:, top - rows[0] : bottom - rows[0]] = block
                gaps.append(found.gap)
                outputs.append(found.output)
            progress(bottom, part.shape[0], f"mapping {title_of(one.target)}")
        return lambda positions: made[positions]

    unit = unit_of(bundle, one.target)
    name = f"{stem_of(one.target)}.tif"
    tags = {
        "long_name": f"contributions to {title_of(one.target)}",
        "base": repr(one.attribution.base),
        "method": one.subject.method,
        "model_sha256": bundle.sha256,
        "source": f"model {bundle.card.name!r}",
    }
    counts = write_cube(folder / name, windows, bands, part.grid, tags=tags, compress="deflate", units=unit)
    gap, output = (np.concatenate(parts) if parts else np.zeros(0) for parts in (gaps, outputs))
    spread = float(output.std()) if len(output) else 0.0
    share = float(np.sqrt(np.mean(gap**2))) / spread if spread > 0 else None
    return {"file": name, "cells": counts["cells"], "valid": counts["valid"], "gap_share": share, "unit": unit}


def _bands(subject: Subject, step_nm: float) -> tuple[Bands, Float64]:
    """Bands of a map, the last the prediction, and which inputs go into which, (p, bands - 1)."""
    if subject.wavelength_nm is None:
        return Bands((*subject.names, "prediction")), np.eye(len(subject.names))
    kinds = np.array(subject.source or [""] * len(subject.names))
    first = np.floor(subject.wavelength_nm / step_nm).astype(np.int64)
    labels = [(str(kind), int(place)) for kind, place in zip(kinds, first, strict=True)]
    order = sorted(set(labels), key=lambda one: (one[0] == "generated", one[1]))
    member = np.zeros((len(labels), len(order)))
    for row, label in enumerate(labels):
        member[row, order.index(label)] = 1
    names = [f"{kind} {place * step_nm:g}-{(place + 1) * step_nm:g} nm".strip() for kind, place in order]
    return Bands((*names, "prediction")), member
