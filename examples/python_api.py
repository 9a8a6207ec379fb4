"""The Python interface, worked through on the Edgeroi data: objects in, objects out, and the same as the commands do.

Run it from anywhere:  python examples/python_api.py [OUT]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import geosoil

DATA = Path(__file__).parent / "edgeroi"


def main(out: Path) -> None:
    # A scene is a lazy DataArray (band, y, x): nothing is read before a value is asked for.
    scene = geosoil.open_scene(DATA / "covariates_90m.tif")
    print(f"{scene.sizes['band']} bands: {', '.join(scene['band'].values)}")

    # Samples are a GeoDataFrame, one row a layer; the report says which rows were not used, and why.
    samples = geosoil.open_samples(DATA / "horizons.csv", property="soc", sites=DATA / "sites.csv", crs="EPSG:4283")
    print(f"{samples['profile'].nunique()} profiles; rows left out: {samples.attrs['report']['dropped']}")

    # A study holds all choices; each may be changed by name. A forest of few trees, for an example that is soon done.
    study = geosoil.load_study(DATA / "study.toml", model__kind="rf", model__trees=10, validation__folds=3)
    bundle = geosoil.train(study, samples=samples, scene=scene, predictions=out / "predictions.gpkg", overwrite=True)
    for row in bundle.card.properties[0].scores:
        print(f"{row['depth']:>10}: RMSE {row['RMSE']:.2f} g/kg, R2 {row['R2']:.2f} ({row['split']})")

    # Predictions are lazy too, on a scene of your own making: here a part of the district.
    part = scene.isel(y=slice(100, 260), x=slice(100, 300))
    maps = geosoil.predict(bundle, part)
    stock = maps.sel(target="soc_0-5cm_mean")
    print(f"organic carbon, 0-5 cm, on {stock.size} cells: {float(stock.mean()):.1f} {maps.attrs['units']}")

    # The files: GeoTIFFs, a QGIS project and a report, in bounded memory whatever the size of the scene.
    print(geosoil.plan(bundle, part).describe())
    made = geosoil.map(bundle, part, out / "maps", samples=out / "predictions.gpkg", overwrite=True)
    print(f"open {made.project} in QGIS, and {made.report} in a browser")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
