"""Lead of a farm from networks that learned pH, what they look at, and a map of it, step by step.

    python examples/lead/tutorial.py OUT

The command line of each step stands above it; run in OUT (with --overwrite after this script), it does the same.
Library, farm and cube are made, so that the example is complete and the truth is known. With your own, begin at
step 2. `--quick` takes less of all.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr

import geosoil
from geosoil.score import score
from geosoil.testing import Landscape, make_cube, make_farm, make_library, soil_values

HERE = Path(__file__).parent
#: What makes it short, and worse.
SHORT_CUTS = {
    "compare__transfers": [],
    "compare__repeats": 1,
    "transfer__epochs": 5,
    "transfer__members": 1,
    "validation__folds": 2,
}


def main(out: Path, quick: bool) -> None:
    """Walk through all steps; everything lies in `out` afterwards."""
    # 1. The data. You have samples with laboratory spectra and lead, a library that knows pH and no lead, and a cube.
    #    These are made: four sources with an instrument each, a farm of 60 soils, and a cube of its landscape.
    landscape = Landscape(shape=(64, 64) if quick else (128, 128), seed=3)
    make_library(out / "library", 40 if quick else 100, seed=1)
    make_farm(out / "farm", landscape, 60)
    cube = make_cube(out / "cube.tif", landscape.shape, landscape=landscape, family="ZY1E")
    for study in HERE.glob("*.toml"):
        shutil.copy(study, out)
    given = SHORT_CUTS if quick else {}

    # 2. Is pH any help? Networks that learned it, tuned on lead, beside PLS, support vectors and a network that only
    #    ever saw lead; again and again a quarter of the samples is held out.
    #    geosoil compare pb.toml comparison/
    lead = geosoil.load_study(out / "pb.toml", **given)
    table = pd.read_csv(geosoil.compare(lead, out / "comparison").folder / "table.csv")
    print(table[["model", "RMSE", "RMSE_sd", "R2", "RPD", "class"]].round(2).to_string(index=False))

    # 3. The model of lead, and the source as a model of its own.
    #    geosoil transfer pb.toml -o pb.gsm --report pb.html
    #    geosoil transfer ph.toml -o ph.gsm --report ph.html
    target = geosoil.transfer(lead, out / "pb.gsm", report=out / "pb.html")
    source = geosoil.transfer(geosoil.load_study(out / "ph.toml", **given), out / "ph.gsm", report=out / "ph.html")
    for name, model in (("lead", target), ("pH", source)):
        (part,) = model.card.properties
        row = part.scores[-1]
        unit = "" if part.unit == "1" else f" {part.unit}"
        print(f"{name}: RMSE {row['RMSE']:.3g}{unit}, R2 {row['R2']:.2f}, {row['split']}")

    # 4. Which wavelengths does lead share with pH, which did it lose, which are new?
    #    geosoil explain pb.gsm farm/spectra.csv why/ --against ph.gsm
    why = geosoil.explain(
        target, out / "farm" / "spectra.csv", out / "why", against=source, draws=20 if quick else None
    )
    print(f"{len(why.files)} files; open {out / 'why' / 'report.html'}")

    # 5. A map of lead: the same on the bands of a satellite, behind a translator to laboratory-like spectra.
    #    geosoil transfer map.toml -o map.gsm --report map.html --predictions pb.gpkg
    #    geosoil map map.gsm cube.tif maps/ --samples pb.gpkg
    over = geosoil.load_study(out / "map.toml", **given)
    model = geosoil.transfer(over, out / "map.gsm", report=out / "map.html", predictions=out / "pb.gpkg")
    made = geosoil.map(model, cube.path, out / "maps", samples=out / "pb.gpkg")
    draw_map(geosoil.open_scene(made.maps[0])[0].compute(), landscape, out / "lead.png")
    print(f"open {made.project} in QGIS; pictures: {out / 'lead.png'}, {out / 'why' / 'plots'}")


def draw_map(mapped: xr.DataArray, landscape: Landscape, picture: Path) -> None:
    """Lead as it is, as it was mapped, and the one against the other."""
    ground = landscape.ground(*np.meshgrid(mapped.x.values, mapped.y.values))
    there = np.isfinite(mapped.values)
    truth = soil_values(ground.members, ground.weights)["pb"]
    bare = there & ground.bare
    off = score(truth[bare], mapped.values[bare])
    print(f"lead against the truth, {bare.sum():,} bare cells: RMSE {off['RMSE']:.3g} mg/kg, R2 {off['R2']:.2f}")
    low, high = np.quantile(truth[there], [0.01, 0.99])
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for panel, values, title in zip(
        panels, (np.where(there, truth, np.nan), mapped.values), ("truth", "map"), strict=False
    ):
        shown = panel.imshow(values, vmin=low, vmax=high, cmap="YlOrBr", interpolation="nearest")
        panel.set(title=f"Lead [mg/kg]: {title}", xticks=[], yticks=[], facecolor="0.9")
    figure.colorbar(shown, ax=list(panels[:2]), shrink=0.8)
    panels[2].hexbin(
        truth[bare], mapped.values[bare], gridsize=35, bins="log", extent=(low, high, low, high), cmap="Greys", lw=0
    )
    panels[2].plot([low, high], [low, high], color="#c8553d", lw=1)
    panels[2].set(xlabel="truth [mg/kg]", ylabel="map [mg/kg]", aspect="equal")
    panels[2].set_title(f"truly bare soil: RMSE {off['RMSE']:.3g}, R2 {off['R2']:.2f}")
    figure.savefig(picture, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Lead from networks that learned pH: a comparison, reasons, a map.")
    parser.add_argument("out", type=Path, help="new folder for all that is made")
    parser.add_argument("--quick", action="store_true", help="a small library and a small cube, with short cuts")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    main(given.out, given.quick)
