"""A small study with a library and a known truth: a farm of 60 samples, and two data sets of which one is like it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geosoil.config import Study

if TYPE_CHECKING:
    from geosoil.types import Float64

#: Bands of local and library tables, nm.
BANDS = np.arange(1000.0, 2401.0, 20.0)
LOCAL, NEAR, FAR = 60, 200, 80
#: Centres and widths of what the made substances absorb, nm; the first three are those that properties depend on.
_CENTRES = (1250.0, 2200.0, 2330.0, 1060.0, 1420.0, 1480.0, 1750.0, 1920.0, 2090.0, 2260.0)
_WIDTHS = (250.0, 40.0, 60.0, 120.0, 60.0, 160.0, 120.0, 80.0, 110.0, 120.0)
_WATER = 7
#: Settings that are fitted in a moment.
QUICK: dict[str, Any] = {"instances": 25, "draws": 6, "drop": 0.2, "components": 8, "members": 1, "epochs": 4}
STUDY = """
name = "Farm"
property = "soc"
[spectra]
laboratory = "lab.csv"
[library]
path = "library"
[transfer]
kind = "spiked"
instances = 25
draws = 6
drop = 0.2
components = 8
members = 1
epochs = 4
[validation]
folds = 4
[compare]
schemes = ["random"]
transfers = ["local", "spiked", "instances"]
heads = ["plsr"]
repeats = 2
folds = 4
"""


def spectra_of(amounts: Float64, rng: np.random.Generator, noise: float = 0.001) -> Float64:
    """Reflectance (n, p) of soils of ten substances, with a water band."""
    shapes = np.exp(-(((BANDS - np.array(_CENTRES)[:, None]) / np.array(_WIDTHS)[:, None]) ** 2))
    bare = 0.16 + 0.42 * np.sqrt((BANDS - 340) / 2100) - 0.08 * shapes[_WATER]
    dark = np.exp(-0.3 * np.asarray(amounts) @ shapes)
    return np.asarray(bare * dark + noise * rng.standard_normal((len(amounts), len(BANDS))))


def carbon_of(amounts: Float64) -> Float64:
    """Organic carbon [g/kg] of the farm and of the data set that is like it."""
    return np.asarray(np.exp(1.8 + 1.1 * amounts[:, 0] + 0.9 * amounts[:, 1]))


def acid_of(amounts: Float64) -> Float64:
    """pH, the same everywhere."""
    return np.asarray(4.2 + 1.6 * amounts[:, 2] + 1.4 * amounts[:, 1] ** 2)


def copper_of(amounts: Float64) -> Float64:
    """Copper [mg/kg], which only the farm has."""
    return np.asarray(12 + 14 * amounts[:, 2] + 9 * amounts[:, 1])


def table_of(names: list[str], spectra: Float64, **values: Float64) -> pd.DataFrame:
    """A wide table as laboratories hand it over."""
    columns = {"id": names, **{name: np.round(one, 4) for name, one in values.items()}}
    return pd.concat([pd.DataFrame(columns), pd.DataFrame(np.round(spectra, 5), columns=_headers())], axis=1)


def _headers() -> list[str]:
    return [f"{nm:g}" for nm in BANDS]


def make_lent(folder: Path, *, seed: int = 0, shuffled: bool = False, local: int = LOCAL) -> Path:
    """Write ``lab.csv``, ``library/near.csv``, ``library/far.parquet`` and ``study.toml``.

    ``near`` has the farm's relation of carbon and spectra, ``far`` another one; both have pH, and the farm alone has
    copper. In a shuffled library no value belongs to its spectrum.
    """
    rng = np.random.default_rng(seed)
    amounts = {name: rng.random((count, 10)) for name, count in (("lab", local), ("near", NEAR), ("far", FAR))}
    amounts["lab"] = 0.15 + 0.7 * amounts["lab"]
    carbon = {name: carbon_of(one) for name, one in amounts.items()}
    carbon["far"] = np.exp(2.3 + 0.4 * amounts["far"][:, 0] + 0.9 * amounts["far"][:, 4])
    folder.joinpath("library").mkdir(parents=True, exist_ok=True)
    for name, one in amounts.items():
        spread = np.exp(0.04 * rng.standard_normal(len(one)))
        values = {"soc_g_per_kg": carbon[name] * spread, "ph": acid_of(one)}
        if name == "lab":
            values["cu_mg_per_kg"] = copper_of(one) + 0.5 * rng.standard_normal(len(one))
        elif shuffled:
            values = {code: rng.permutation(column) for code, column in values.items()}
        table = table_of([f"{name}{k:03d}" for k in range(len(one))], spectra_of(one, rng), **values)
        if name == "far":
            table.to_parquet(folder / "library" / "far.parquet", index=False)
        else:
            table.to_csv(folder / ("lab.csv" if name == "lab" else "library/near.csv"), index=False)
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    return folder


def lent_study(site: Path, **changes: Any) -> Study:
    """The study of a site, tables changed as ``transfer={"kind": "tuned"}``."""
    tables: dict[str, Any] = {
        "spectra": {"laboratory": str(site / "lab.csv")},
        "library": {"path": str(site / "library")},
        "transfer": {"kind": "spiked", **QUICK},
        "validation": {"folds": 4},
        "compare": {
            "schemes": ["random"],
            "transfers": ["local", "spiked", "instances"],
            "heads": ["plsr"],
            "repeats": 2,
            "folds": 4,
        },
    }
    for name, table in changes.items():
        tables[name] = {**(tables.get(name) or {}), **table} if isinstance(table, dict) else table
    return Study(name="Farm", **{"property": "soc", **tables})
