"""From a GF-5 product as it is delivered to maps of organic matter, arsenic and copper, step by step.

    python examples/gaofen/tutorial.py OUT

The command line of each step stands above it; run in OUT (with --overwrite after this script), it does the same.
The product, the elevation model, the samples and their laboratory spectra are made, so that the example is complete
and the truth is known. With your own, begin at step 2. `--quick` takes a small scene of ZY-1 02D and short cuts in
training.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import geosoil
from geosoil.score import score
from geosoil.testing import Landscape, SpectralSamples, make_product, make_spectral_samples

HERE = Path(__file__).parent
NAMES = {"som": "Organic matter [g/kg]", "as": "Arsenic [mg/kg]", "cu": "Copper [mg/kg]"}
COLOURS = {"satellite": "#c8553d", "generated": "#3a7d44", "laboratory": "#1b6ca8"}
#: What makes training short, and worse.
SHORT_CUTS = {"fusion__neighbours": False, "invert__cars_repeats": 1, "validation__folds": 3}


def main(out: Path, quick: bool) -> None:
    """Walk through all steps; everything lies in `out` afterwards."""
    edge, family, count = (96, "ZY1E", 90) if quick else (300, "GF5B", 150)

    # 1. The data. You have a delivered product, a DEM, and samples with spectra from a laboratory. These are made.
    landscape = Landscape(shape=(edge, edge), seed=3)
    product = make_product(out / "delivery", family, (edge, edge), landscape=landscape, archive=".tar.gz").path
    landscape.write_dem(out / "dem.tif")
    make_spectral_samples(landscape, count, folder=out / "lab")
    shutil.copy(HERE / "study.toml", out)

    # 2. What is in the archive? Its images are looked at, and not unpacked whole.
    #    geosoil info delivery/*.tar.gz
    told = geosoil.info(product)["product"]
    print(f"{told['sensor']}, {len(told['bands'])} bands, {told['good']} of them good, {told['acquired']}")

    # 3. Counts to reflectance at the top of the atmosphere, without stripes and step, on a map.
    #    geosoil calibrate delivery/*.tar.gz cube.tif --dem dem.tif --destripe --splice
    #    geosoil info cube.tif --quicklook cube.png
    cube = geosoil.calibrate(product, out / "cube.tif", dem=out / "dem.tif", destripe=True, splice=True)
    print(cube.describe())
    geosoil.info(cube.path, picture=out / "cube.png")

    # 4. One model of three properties, from satellite and laboratory spectra of the samples. Its scores are those of
    #    samples that it never saw: the translator, the bands and all counts were chosen without them.
    #    geosoil invert study.toml -o soil.gsm --report training.html --predictions samples.gpkg
    study = geosoil.load_study(out / "study.toml", **(SHORT_CUTS if quick else {}))
    model = geosoil.invert(study, out / "soil.gsm", report=out / "training.html", predictions=out / "samples.gpkg")
    print(f"{model.card.counts['profiles']} samples on bare soil")
    for part in model.card.properties:
        row = part.scores[-1]
        print(f"{part.name}: RMSE {row['RMSE']:.3g} {part.unit}, R2 {row['R2']:.2f}, {row['split']}")

    # 5. Three maps of the bare soil in one pass; masked.tif says what was left out, and why. The laboratory-like
    #    spectra that the model makes of every pixel are a cube as well.
    #    geosoil map soil.gsm cube.tif maps/ --samples samples.gpkg --spectra generated.tif
    made = geosoil.map(model, cube.path, out / "maps", samples=out / "samples.gpkg")
    generated = geosoil.generate(model, cube.path, out / "generated.tif")
    print(f"open {made.project} in QGIS, and {made.report} in a browser")

    # 6. Terrain and streams of the DEM, and how the maps go with them.
    #    geosoil terrain dem.tif terrain/ --stream-area 0.5 --maps maps/
    land = geosoil.terrain(out / "dem.tif", out / "terrain", stream_area_km2=0.5)
    related = geosoil.terrain_relations(made.folder, land.folder, land.folder)
    whole = related.frame.query("region == 'whole'")
    print(whole.pivot(index="map", columns="attribute", values="pearson").round(2).to_string())

    # 7. The truth, which only a made landscape tells: under every mapped cell, and of samples that no one used.
    maps = {code: geosoil.open_scene(path)[0].compute() for code, path in zip(NAMES, made.maps, strict=True)}
    draw_maps(maps, landscape, out / "truth.png")
    fresh = make_spectral_samples(landscape, count, seed=1)
    draw_spectra(fresh, geosoil.open_scene(cube.path), geosoil.open_scene(generated), out / "spectra.png")
    print(f"pictures: {out / 'truth.png'}, {out / 'spectra.png'}, {', '.join(map(str, related.pictures))}")


def draw_maps(maps: dict[str, xr.DataArray], landscape: Landscape, picture: Path) -> None:
    """Truth, map, and the one against the other, for each property."""
    figure, rows = plt.subplots(3, 3, figsize=(10.5, 9.3), layout="constrained")
    for panels, (code, mapped) in zip(rows, maps.items(), strict=True):
        ground = landscape.ground(*np.meshgrid(mapped.x.values, mapped.y.values))
        there = np.isfinite(mapped.values)
        truth = np.where(there, ground.value(code), np.nan)
        for where, cells in (("mapped", there), ("of bare soil", there & ground.bare)):
            off = score(truth[cells], mapped.values[cells])
            print(
                f"{code} against the truth, {cells.sum():,} cells {where}: RMSE {off['RMSE']:.3g}, R2 {off['R2']:.2f}"
            )
        low, high = np.quantile(truth[there], [0.01, 0.99])
        for panel, values, title in zip(panels, (truth, mapped.values), ("truth", "map"), strict=False):
            shown = panel.imshow(values, vmin=low, vmax=high, cmap="YlOrBr", interpolation="nearest")
            panel.set(title=f"{NAMES[code]}: {title}", xticks=[], yticks=[], facecolor="0.9")
        figure.colorbar(shown, ax=list(panels[:2]), shrink=0.8)
        bare = there & ground.bare
        span = (low, high, low, high)
        panels[2].hexbin(truth[bare], mapped.values[bare], gridsize=40, bins="log", extent=span, cmap="Greys", lw=0)
        panels[2].plot([low, high], [low, high], color="#c8553d", lw=1)
        panels[2].set(xlabel="truth", ylabel="map", aspect="equal")
        panels[2].set_title(f"bare soil: RMSE {off['RMSE']:.3g}, R2 {off['R2']:.2f}")
    figure.savefig(picture, dpi=150)
    plt.close(figure)


def draw_spectra(fresh: SpectralSamples, cube: xr.DataArray, generated: xr.DataArray, picture: Path) -> None:
    """What the sensor saw, what the model makes of it, and what a laboratory measures, at samples that are new."""
    place = {"x": xr.DataArray(fresh.ground.x, dims="sample"), "y": xr.DataArray(fresh.ground.y, dims="sample")}
    after = generated.sel(place, method="nearest").compute()
    before = cube.sel(band=after["band"]).sel(place, method="nearest").compute()
    nm = after["wavelength"].values
    laboratory = np.array([np.interp(nm, fresh.wavelength_nm, row) for row in fresh.reflectance])
    clear = np.isfinite(after.values).all(axis=0)
    spectra = dict(zip(COLOURS, (before.values.T[clear], after.values.T[clear], laboratory[clear]), strict=True))
    middle = spectra["laboratory"].mean(axis=1).argsort()
    cuts = np.flatnonzero(np.diff(nm) > 30) + 1  # where the air lets no light through

    figure, (above, below) = plt.subplots(2, 1, figsize=(8.5, 6.5), sharex=True, layout="constrained")
    for kind, rows in spectra.items():
        for number, share in enumerate((0.1, 0.5, 0.9)):
            row = rows[middle[int(share * len(rows))]]
            label = kind if number == 0 else None
            above.plot(np.insert(nm, cuts, np.nan), np.insert(row, cuts, np.nan), color=COLOURS[kind], label=label)
        off = np.sqrt(((rows - spectra["laboratory"]) ** 2).mean(axis=0))
        if kind != "laboratory":
            below.plot(np.insert(nm, cuts, np.nan), np.insert(off, cuts, np.nan), color=COLOURS[kind])
    spread = spectra["laboratory"].std(axis=0)
    below.plot(np.insert(nm, cuts, np.nan), np.insert(spread, cuts, np.nan), color="0.35", ls=":", label="their spread")
    above.set(ylabel="reflectance")
    above.set_title("a dark, a middle and a bright soil", loc="left", fontsize="medium")
    below.set_title(f"{clear.sum()} samples that the model never saw", loc="left", fontsize="medium")
    below.set(xlabel="wavelength [nm]", ylabel="RMS difference\nfrom laboratory", ylim=(0, None))
    for axes in (above, below):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="From a GF-5 product to soil maps.")
    parser.add_argument("out", type=Path, help="new folder for all that is made")
    parser.add_argument("--quick", action="store_true", help="a small scene of ZY-1 02D, with short cuts")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    main(given.out, given.quick)
