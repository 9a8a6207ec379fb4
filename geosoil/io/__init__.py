"""Files to lazy xarray and back: scenes, samples, maps, QGIS projects."""
