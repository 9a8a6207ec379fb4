"""Carbon of a farm with 30 samples and other people's spectral library, step by step.

    python examples/library/tutorial.py OUT

The command line of each step stands above it; run in OUT (with --overwrite after this script), it does the same.
Library and farm are made, so that the example is complete and the truth is known. With your own, begin at step 2.
`--quick` takes less of all.
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

import geosoil
from geosoil.score import score
from geosoil.testing import Landscape, Library, make_farm, make_library

HERE = Path(__file__).parent
COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8d6a9f", "#d6a12c", "#5b5b5b")
#: What makes it short, and worse.
SHORT_CUTS = {"compare__transfers": ["local", "spiked", "mixture"], "compare__repeats": 1, "validation__folds": 2}


def main(out: Path, quick: bool) -> None:
    """Walk through all steps; everything lies in `out` afterwards."""
    # 1. The data. You have samples with laboratory spectra, and a folder with other people's. These are made: four
    #    sources with an instrument each, and a farm of 60 soils.
    landscape = Landscape(shape=(64, 64) if quick else (128, 128), seed=3)
    library = make_library(out / "library", 40 if quick else 100, seed=1)
    farm = make_farm(out / "farm", landscape, 60)
    shutil.copy(HERE / "study.toml", out)
    draw_library(library, np.asarray(farm.spectra.iloc[:, 1:]), out / "library.png")

    # 2. What is in the library, and what is wrong with it?
    #    geosoil info library/
    told = geosoil.open_library(out / "library").attrs
    print(f"{told['report']['used']} of {told['report']['read']} spectra, {', '.join(told['values'].columns)}")

    # 3. Is it any help? Each way to use it learns from 30 soils of the farm and predicts the other 30.
    #    geosoil compare study.toml comparison/
    study = geosoil.load_study(out / "study.toml", **(SHORT_CUTS if quick else {}))
    compared = geosoil.compare(study, out / "comparison")
    table = pd.read_csv(compared.folder / "table.csv")
    print(table[["model", "RMSE", "R2", "CCC", "change"]].round(2).to_string(index=False))

    # 4. The model, with scores of samples that it never saw.
    #    geosoil transfer study.toml -o soc.gsm --report soc.html
    model = geosoil.transfer(study, out / "soc.gsm", report=out / "soc.html")
    row = model.card.properties[0].scores[-1]
    print(f"carbon: RMSE {row['RMSE']:.3g} g/kg, R2 {row['R2']:.2f}, {row['split']}")

    # 5. Values of new spectra, with intervals. The truth is known here, so that intervals can be counted.
    #    geosoil predict soc.gsm new/spectra.csv new.csv
    fresh = make_farm(out / "new", landscape, 60, seed=1)
    found = geosoil.predict_spectra(model, out / "new" / "spectra.csv", out / "new.csv")
    measured = fresh.samples.query("property == 'soc'")["value"].to_numpy()
    low, high = found["soc_Q0.05_g_per_kg"], found["soc_Q0.95_g_per_kg"]
    off = score(measured, found["soc_mean_g_per_kg"])
    inside = ((measured >= low) & (measured <= high)).sum()
    print(f"carbon of 60 new soils: RMSE {off['RMSE']:.3g}, R2 {off['R2']:.2f}; {inside} lie in their 90 % intervals")

    # 6. Which wavelengths say so?
    #    geosoil explain soc.gsm new/spectra.csv why/
    why = geosoil.explain(model, out / "new" / "spectra.csv", out / "why", draws=20 if quick else None)
    draw_carbon(table, measured, found, out / "carbon.png")
    print(f"{len(why.files)} files; open {out / 'why' / 'report.html'}")
    print(f"pictures: {out / 'library.png'}, {out / 'carbon.png'}")


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


def draw_carbon(table: pd.DataFrame, measured: np.ndarray, found: pd.DataFrame, picture: Path) -> None:
    """How each way compares with the farm's own samples alone, and new soils with their intervals."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.3), layout="constrained")
    ways = table.sort_values("RMSE", ascending=False)
    own = ways["model"].str.startswith("Local")
    left.barh(ways["model"], ways["RMSE"], color=np.where(own, COLOURS[1], COLOURS[0]), height=0.7)
    left.axvline(ways.loc[own, "RMSE"].min(), color=COLOURS[1], lw=1, ls=":")
    left.set(xlabel="RMSE of the other 30 soils [g/kg]")
    left.set_title("learned from 30 soils; red: without the library", loc="left", fontsize="medium")

    mean = found["soc_mean_g_per_kg"].to_numpy()
    low, high = found["soc_Q0.05_g_per_kg"].to_numpy(), found["soc_Q0.95_g_per_kg"].to_numpy()
    inside = (measured >= low) & (measured <= high)
    for colour, rows in ((COLOURS[0], inside), (COLOURS[1], ~inside)):
        span = (np.maximum(mean - low, 0)[rows], np.maximum(high - mean, 0)[rows])
        right.errorbar(measured[rows], mean[rows], yerr=span, fmt="o", ms=4, lw=0.8, color=colour)
    right.axline((mean.mean(), mean.mean()), slope=1, color="black", lw=1)
    right.set(xlabel="measured carbon [g/kg]", ylabel="predicted [g/kg]")
    right.set_title(f"{len(mean)} new soils: {inside.sum()} in their 90 % intervals", loc="left", fontsize="medium")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Few samples and a spectral library: a comparison, a model, reasons.")
    parser.add_argument("out", type=Path, help="new folder for all that is made")
    parser.add_argument("--quick", action="store_true", help="a small library, with short cuts")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    main(given.out, given.quick)
