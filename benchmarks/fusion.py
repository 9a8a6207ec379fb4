"""Fusion on real pairs: the same 100 soils measured wet and air dry, carbon from each kind of spectrum, all nested.

    python benchmarks/fusion.py FOLDER --out OUT          # 20 repeats of 10 folds; half an hour on two cores
    python benchmarks/fusion.py FOLDER --out OUT --repeats 2

FOLDER holds ``moisture_absorbance.parquet`` of the Geeves wheat-belt soils (Minasny et al. 2011; the package soilspec,
Wadoux et al. 2021), which is not part of geosoil. Wet spectra are the noisy sensor, air-dry ones the laboratory. What
is asked: how much of the gap in RMSE between the two do generated and mixed spectra close, against direct and piecewise
direct standardisation (DS, PDS) and external parameter orthogonalisation (EPO)?
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import geosoil

#: Bands, nm: means over ten wavelengths; the ends are noisy.
WAVELENGTHS = np.arange(400, 2451, 10)
#: Absorbance beyond this is a saturated detector.
SATURATED = 4.0


def spectra_of(table: pd.DataFrame, state: str) -> xr.DataArray:
    """Reflectance of a state of moisture, with the carbon of the samples beside."""
    rows = table[table["moisture_state"] == state].sort_values("sample_id")
    fine = rows[[str(one) for one in range(350, 2501)]].to_numpy(np.float64)
    coarse = np.stack([fine[:, nm - 355 : nm - 345].mean(axis=1) for nm in WAVELENGTHS], axis=1)
    told = rows[["total_carbon_pct"]].rename(columns={"total_carbon_pct": "soc_pct"}).reset_index(drop=True)
    return xr.DataArray(
        10.0 ** -np.minimum(coarse, SATURATED),
        dims=("sample", "band"),
        coords={
            "sample": rows["sample_id"].tolist(),
            "band": [f"{nm} nm" for nm in WAVELENGTHS],
            "wavelength": ("band", WAVELENGTHS.astype(float)),
        },
        attrs={"quantity": "reflectance", "table": told},
    )


def study_of(repeats: int, heads: list[str], fusions: list[str], state: str) -> geosoil.Study:
    """SNV of absorbance, no selection of bands, carbon as it is; the other ways of fusion with the first regression."""
    return geosoil.Study(
        name=f"Carbon from {state.replace('_', ' ')} spectra",
        property="soc",
        samples={"depth": "0-10"},
        properties={"soc": {"transform": "none"}},
        spectra={"windows": []},
        invert={"steps": ["absorbance", "snv"], "selection": "none", "head": heads[0]},
        compare={
            "repeats": repeats, "folds": 10, "heads": heads, "schemes": ["random"], "fusions": fusions,
        },
    )  # fmt: skip


def main() -> None:
    """Print one JSON document; the report is in OUT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--heads", default="plsr,svr")
    parser.add_argument("--fusions", default="ds,pds,epo", help="also ridge, glsw, pls, autoencoder, vae, vae-residual")
    parser.add_argument("--state", default="wet", choices=["wet", "wet_dried_1_day"])
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    fusions = [one for one in options.fusions.split(",") if one]
    table = pd.read_parquet(options.folder / "moisture_absorbance.parquet")
    found = geosoil.compare(
        study_of(options.repeats, options.heads.split(","), fusions, options.state),
        options.out,
        satellite=spectra_of(table, options.state),
        laboratory=spectra_of(table, "air_dry"),
        num_workers=options.workers,
        resume=True,
    )
    rmse = found.scores[found.scores["metric"] == "RMSE"]
    gap = pd.read_csv(options.out / "gap.csv")
    print(
        json.dumps(
            {
                "samples": int(found.predictions["profile"].nunique()),
                "bands": len(WAVELENGTHS),
                "repeats": options.repeats,
                "rmse_g_per_kg": {
                    str(row["model"]): [round(float(row["mean"]), 3), round(float(row["sd"]), 3)]
                    for _, row in rmse.iterrows()
                },
                "share_of_gap_closed": {
                    str(row["model"]): [round(float(row["closed"]), 3), round(float(row["closed_sd"]), 3)]
                    for _, row in gap.dropna(subset=["closed"]).iterrows()
                },
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
