"""What a comparison leaves in its folder: tables, and the parts with which an interrupted one goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from geosoil.errors import OutputError
from geosoil.io.atomic import keep_inputs, output_error, replacing

__all__ = ["FILES", "Comparison", "check_folder", "prepare_folder", "write_scores", "write_table"]

#: All that comparisons write beside the folders ``parts`` and ``plots``; none writes all of it.
FILES = (
    "predictions.csv",
    "fits.csv",
    "scores.csv",
    "scores.json",
    "table.csv",
    "gap.csv",
    "zones.csv",
    "statistics.csv",
    "report.html",
)
#: The parts, with which an interrupted comparison goes on.
_PARTS = "parts/*.parquet"


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes
    ----------
    folder : Path
        Where the tables, plots and the report are.
    predictions : DataFrame
        One row a held-out layer: property, scheme, repeat, study, model, level, depth, profile, observed, predicted.
    scores : DataFrame
        Mean and SD over repeats, by property, scheme, model, depth and metric.
    """

    folder: Path
    predictions: pd.DataFrame
    scores: pd.DataFrame


def check_folder(folder: Path, *, free: bool, inputs: Iterable[Path]) -> Path:
    """The folder, when it may be written to; nothing is made yet.

    Parameters
    ----------
    folder : Path
        Of the comparison.
    free : bool
        Whether it must not hold a comparison.
    inputs : iterable of Path
        What the comparison reads, and does not replace or remove; see `io.atomic.keep_inputs`.

    Raises
    ------
    OutputError
        ``GS-OUTPUT-EXISTS``, ``GS-OUTPUT-INPUT``, ``GS-NOT-WRITABLE``.
    """
    earlier = [one for pattern in (_PARTS, "plots/*.png") for one in folder.glob(pattern)]
    keep_inputs([*(folder / name for name in FILES), *earlier], inputs)
    try:
        there = (folder / "scores.csv").exists()
        folder.stat()
    except FileNotFoundError:
        there = False
    except OSError as error:
        raise output_error(folder, error) from error
    if there and free:
        raise OutputError(
            f"{folder} holds a comparison already",
            code="GS-OUTPUT-EXISTS",
            hint="choose another folder, or add --overwrite (or --resume to keep its cross-validations)",
        )
    return folder


def prepare_folder(folder: Path, *, resume: bool) -> None:
    """Make the folder; without `resume`, the parts of an earlier run go."""
    try:
        (folder / "parts").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    if not resume:
        for part in folder.glob(_PARTS):
            part.unlink()


def write_table(folder: Path, name: str, frame: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all."""
    with replacing(folder / name) as part:
        frame.to_csv(part, index=False, float_format="%.6g")


def write_scores(folder: Path, scores: pd.DataFrame) -> None:
    """Write the scores as CSV and as JSON, whole or not at all."""
    write_table(folder, "scores.csv", scores)
    with replacing(folder / "scores.json") as part:
        # JSON has no NaN: a score that is not defined is null.
        rows = scores.astype(object).where(scores.notna(), None).to_dict("records")
        part.write_text(json.dumps({"schema": 1, "scores": rows}, indent=1, allow_nan=False), encoding="utf-8")
