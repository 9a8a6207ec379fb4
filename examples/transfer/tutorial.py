"""Few samples and a spectral library, step by step: carbon with a library of carbon, lead with a library of pH, a map.

    python examples/transfer/tutorial.py OUT

The command line of each step stands above it; run in OUT, it does the same. Library, farm and cube are made,
so that the example is complete and the truth is known. With your own, begin at step 2. `--quick` takes less of all.
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
from geosoil.testing import Landscape, Library, make_cube, make_farm, make_library, soil_values

HERE = Path(__file__).parent
COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8d6a9f", "#d6a12c", "#5b5b5b")
#: What makes it short, and worse.
SHORT_CUTS = {
    "compare__transfers": ["local", "spiked", "mixture"],
    "compare__repeats": 1,
    "transfer__epochs": 5,
    "transfer__members": 1,
    "validation__folds": 2,
}


def main(out: Path, quick: bool) -> None:
    """Walk through all steps; everything lies in `out` afterwards."""
    # 1. The data. You have samples with laboratory spectra, and a folder with other people's. These are made: four
    #    sources with an instrument each, a farm of 60 soils, and a cube of its landscape.
    landscape = Landscape(shape=(64, 64) if quick else (128, 128), seed=3)
    library = make_library(out / "library", 40 if quick else 100, seed=1)
    farm = make_farm(out / "farm", landscape, 60)
    cube = make_cube(out / "cube.tif", landscape.shape, landscape=landscape, family="ZY1E")
    for study in HERE.glob("*.toml"):
        shutil.copy(study, out)
    draw_library(library, np.asarray(farm.spectra.iloc[:, 1:]), out / "library.png")

    # 2. What is in the library, and what is wrong with it?
    told = geosoil.open_library(out / "library").attrs
    print(f"{told['report']['used']} of {told['report']['read']} spectra, {', '.join(told['values'].columns)}")

    # 3. Is it any help? Each way to use it learns from 30 soils of the farm and predicts the other 30.
    #    geosoil compare soc.toml comparison/
    carbon = geosoil.load_study(out / "soc.toml", **(SHORT_CUTS if quick else {}))
    compared = geosoil.compare(carbon, out / "comparison")
    table = pd.read_csv(compared.folder / "table.csv")
    print(table[["model", "RMSE", "R2", "CCC", "change"]].round(2).to_string(index=False))

    # 4. The model, with scores of samples that it never saw.
    #    geosoil transfer soc.toml -o soc.gsm --report soc.html
    model = geosoil.transfer(carbon, out / "soc.gsm", report=out / "soc.html")
    row = model.card.properties[0].scores[-1]
    print(f"carbon: RMSE {row['RMSE']:.3g} g/kg, R2 {row['R2']:.2f}, {row['split']}")

    # 5. Values of new spectra, with intervals. The truth is known here, so that intervals can be counted.
    #    geosoil predict soc.gsm new/spectra.csv new.csv
    fresh = make_farm(out / "new", landscape, 60, seed=1)
    found = geosoil.predict_spectra(model, out / "new" / "spectra.csv", out / "new.csv")
    measured = fresh.samples.query("property == 'soc'")["value"].to_numpy()
    low, high = found["soc_Q0.05_g_per_kg"], found["soc_Q0.95_g_per_kg"]
    rmse, r2 = errors(measured, found["soc_mean_g_per_kg"].to_numpy())
    inside = ((measured >= low) & (measured <= high)).sum()
    print(f"carbon of 60 new soils: RMSE {rmse:.3g}, R2 {r2:.2f}; {inside} lie in their 90 % intervals")

    # 6. Which wavelengths say so?
    #    geosoil explain soc.gsm new/spectra.csv why/
    why = geosoil.explain(model, out / "new" / "spectra.csv", out / "why", draws=20 if quick else None)
    print(f"{len(why.files)} files; open {out / 'why' / 'report.html'}")

    # 7. Lead, which the library does not know: networks learn its pH, and are tuned on the farm's lead.
    #    geosoil compare pb.toml lead/
    lead = geosoil.load_study(out / "pb.toml", **({**SHORT_CUTS, "compare__transfers": []} if quick else {}))
    table = pd.read_csv(geosoil.compare(lead, out / "lead").folder / "table.csv")
    print(table[["model", "RMSE", "RMSE_sd", "R2", "RPD", "class"]].round(2).to_string(index=False))

    # 8. A map of lead: the same on the bands of a satellite, behind a translator to laboratory-like spectra.
    #    geosoil transfer map.toml -o pb.gsm --report pb.html --predictions pb.gpkg
    #    geosoil map pb.gsm cube.tif maps/ --samples pb.gpkg
    short = {key: value for key, value in SHORT_CUTS.items() if not key.startswith("compare")}
    over = geosoil.load_study(out / "map.toml", **(short if quick else {}))
    model = geosoil.transfer(over, out / "pb.gsm", report=out / "pb.html", predictions=out / "pb.gpkg")
    made = geosoil.map(model, cube.path, out / "maps", samples=out / "pb.gpkg")
    draw_map(geosoil.open_scene(made.maps[0])[0].compute(), landscape, out / "lead.png")
    print(f"open {made.project} in QGIS; pictures: {out / 'library.png'}, {out / 'lead.png'}")


def errors(truth: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """RMSE and R2."""
    squares = ((found - truth) ** 2).mean()
    return float(np.sqrt(squares)), float(1 - squares / truth.var())


def draw_library(library: Library, local: np.ndarray, picture: Path) -> None:
    """Spectra of each source and of the farm, and what each instrument makes of reflectance."""
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(8.5, 6.5), sharex=True, layout="constrained", height_ratios=(2, 1)
    )
    nm = library.wavelength_nm
    parts = {name: library.reflectance[library.source == name] for name in library.instruments}
    for colour, (name, rows) in zip(COLOURS, parts.items(), strict=False):
        low, middle, high = np.quantile(rows, [0.1, 0.5, 0.9], axis=0)
        above.fill_between(nm, low, high, color=colour, alpha=0.12, lw=0)
        above.plot(nm, middle, color=colour, label=name)
        below.plot(nm, 100 * (library.instruments[name] - 1), color=colour)
    above.plot(nm, np.median(local, axis=0), color="black", lw=2, label="the farm")
    below.axhline(0, color="black", lw=2)
    above.set(ylabel="reflectance")
    above.set_title("median of each source, and where 80 % of its soils lie", loc="left", fontsize="medium")
    below.set_title("what each instrument adds, and the model must see through", loc="left", fontsize="medium")
    below.set(xlabel="wavelength [nm]", ylabel="[%]", xlim=(nm[0], nm[-1]))
    above.legend(frameon=False, ncols=2)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=150)
    plt.close(figure)


def draw_map(mapped: xr.DataArray, landscape: Landscape, picture: Path) -> None:
    """Lead as it is, as it was mapped, and the one against the other."""
    ground = landscape.ground(*np.meshgrid(mapped.x.values, mapped.y.values))
    there = np.isfinite(mapped.values)
    truth = soil_values(ground.members, ground.weights)["pb"]
    bare = there & ground.bare
    rmse, r2 = errors(truth[bare], mapped.values[bare])
    print(f"lead against the truth, {bare.sum():,} bare cells: RMSE {rmse:.3g} mg/kg, R2 {r2:.2f}")
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
    panels[2].set(xlabel="truth", ylabel="map", aspect="equal", title=f"bare soil: RMSE {rmse:.3g}, R2 {r2:.2f}")
    figure.savefig(picture, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Few samples and a spectral library: a comparison, models, a map.")
    parser.add_argument("out", type=Path, help="new folder for all that is made")
    parser.add_argument("--quick", action="store_true", help="a small library and a small cube, with short cuts")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    main(given.out, given.quick)
