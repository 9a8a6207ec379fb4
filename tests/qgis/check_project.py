"""Open a folder of geosoil maps in the real QGIS, without a screen, and check what a user would see.

    /usr/bin/python3 tests/qgis/check_project.py FOLDER [PICTURE.png]

Run it with the Python that QGIS was built for, in a clean environment (`.ci/qgis FOLDER` does both). Not part of the
test suite, which must not need QGIS. With PICTURE.png, the first view is kept there and each print sheet beside it.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from osgeo import gdal  # type: ignore[import-not-found]
from qgis.core import (  # type: ignore[import-not-found]
    Qgis,
    QgsApplication,
    QgsLayerTreeGroup,
    QgsLayerTreeLayer,
    QgsLayoutExporter,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsPointXY,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
)
from qgis.PyQt.QtCore import QSize  # type: ignore[import-not-found]
from qgis.PyQt.QtGui import QColor, QImage  # type: ignore[import-not-found]

gdal.UseExceptions()
NAME = re.compile(r"(?P<property>[a-z0-9_]+)_(?P<top>\d+)-(?P<bottom>\d+)cm_(?P<statistic>.+)")
#: The raster of what is left out, and why.
MASKED = "masked.tif"
#: Statistics without a unit.
UNITLESS = {"uncertainty", "aoa", "di"}
Check = Callable[["View"], str]


class View:
    """A project as QGIS has read it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.parent
        self.project = QgsProject()
        assert self.project.read(str(path)), f"QGIS cannot read {path}: {self.project.error()}"
        layers = list(self.project.mapLayers().values())
        rasters = [layer for layer in layers if isinstance(layer, QgsRasterLayer)]
        self.masks = [layer for layer in rasters if Path(layer.source()).name == MASKED]
        self.rasters = [layer for layer in rasters if layer not in self.masks]
        self.vectors = [layer for layer in layers if not isinstance(layer, QgsRasterLayer)]

    def file(self, layer: QgsRasterLayer) -> Path:
        return Path(layer.source())

    def parts(self, layer: QgsRasterLayer) -> dict[str, str]:
        found = NAME.fullmatch(self.file(layer).stem)
        assert found, f"{self.file(layer).name} is not named as a map"
        return found.groupdict()

    def shown(self) -> list[QgsLayerTreeLayer]:
        return [node for node in self.project.layerTreeRoot().findLayers() if node.isVisible()]

    def picture(self, layers: list[object], size: QSize, extent: QgsRectangle) -> QImage:
        settings = QgsMapSettings()
        settings.setLayers(layers)
        settings.setDestinationCrs(self.project.crs())
        settings.setExtent(extent)
        settings.setOutputSize(size)
        settings.setBackgroundColor(QColor(255, 255, 255, 0))
        job = QgsMapRendererSequentialJob(settings)
        job.start()
        job.waitForFinished()
        return job.renderedImage()


def layers_open(view: View) -> str:
    """Every layer is valid, in the project's CRS, by a relative path."""
    crs = view.project.crs()
    assert crs.isValid(), "the project has no CRS"
    assert view.rasters, "there is no map"
    for layer in (*view.rasters, *view.masks, *view.vectors):
        assert layer.isValid(), f"{layer.name()} is not valid: {layer.error().message()}"
        assert layer.crs().isValid(), f"{layer.name()} has no CRS"
        assert layer.crs() == crs, f"{layer.name()} is in {layer.crs().authid()}, the project in {crs.authid()}"
    code = code_of(view.file(view.rasters[0]))
    assert crs.authid() == code or not code, f"the maps are in {code}, the project in {crs.authid()}"
    assert not view.project.readBoolEntry("Paths", "/Absolute", True)[0], "paths are absolute"
    maps = sorted(path.name for path in view.folder.glob("*cm_*.tif"))
    there = sorted(view.file(layer).name for layer in view.rasters)
    assert there == maps, f"maps {set(maps) ^ set(there)} differ between folder and project"
    return f"{len(view.rasters)} maps and {len(view.vectors)} point layers in {crs.authid() or crs.description()}"


def folder_moves(view: View) -> str:
    """The project opens after its folder was moved."""
    with tempfile.TemporaryDirectory() as place:
        moved = Path(place) / "moved ü"
        shutil.copytree(view.folder, moved, ignore=shutil.ignore_patterns(".*"))
        other = View(moved / view.path.name)
        for layer in (*other.rasters, *other.masks, *other.vectors):
            assert layer.isValid(), f"{layer.name()} is lost when the folder moves"
            assert str(moved) in layer.source(), f"{layer.name()} points at {layer.source()}"
        other.project.clear()
    return "all layers found"


def masks_are_named(view: View) -> str:
    """Every value of the flags has a name and a colour, and cells that are left have none."""
    assert bool(view.masks) == (view.folder / MASKED).exists(), "the flags are in the folder or the project alone"
    if not view.masks:
        return "nothing is masked"
    (layer,) = view.masks
    classes = {int(one.value): one for one in layer.renderer().classes()}
    data = gdal.Open(str(view.file(layer)))
    band = data.GetRasterBand(1)
    there = {int(value) for value in set(band.ReadAsArray().ravel().tolist())} - {0, int(band.GetNoDataValue())}
    assert set(classes) == there, f"classes {sorted(classes)}, values {sorted(there)}"
    assert all(one.label and one.color.isValid() for one in classes.values()), "a class has no name"
    return f"{len(classes)} classes"


def tree_is_ordered(view: View) -> str:
    """A group a property with its unit, depths shallow to deep, and one depth shown."""
    root = view.project.layerTreeRoot()
    groups = [child for child in root.children() if isinstance(child, QgsLayerTreeGroup)]
    names = []
    for group in groups:
        layers = [child.layer() for child in group.children() if isinstance(child, QgsLayerTreeLayer)]
        parts = [view.parts(layer) for layer in layers]
        assert len({part["property"] for part in parts}) == 1, f"group {group.name()} mixes properties"
        unit = unit_of(view.file(layers[-1]))
        assert unit in {"", "1"} or f"[{unit}]" in group.name(), f"group {group.name()} does not name {unit}"
        tops = [int(part["top"]) for part in parts if part["statistic"] != "aoa"]
        assert tops == sorted(tops), f"depths of {group.name()} are out of order: {tops}"
        names.append(f"{group.name()} ({len(tops)} depths)")
    shown = [node.layer() for node in view.shown() if isinstance(node.layer(), QgsRasterLayer)]
    depths = [layer for layer in shown if view.parts(layer)["statistic"] != "aoa"]
    assert len(depths) == 1, f"{len(depths)} maps are shown at first, not one"
    if view.vectors:
        assert isinstance(root.children()[0], QgsLayerTreeLayer), "the samples are not on top"
    return ", ".join(names)


def styles_compare(view: View) -> str:
    """Classes of equal breaks and colours at all depths; labels with the unit."""
    families: dict[tuple[str, str], list[tuple[float, str, str]]] = {}
    for layer in view.rasters:
        part = view.parts(layer)
        renderer = layer.renderer()
        if part["statistic"] == "aoa":
            assert renderer.type() == "paletted", f"{layer.name()} is drawn as {renderer.type()}"
            assert [entry.value for entry in renderer.classes()] == [0, 1]
            continue
        assert renderer.type() == "singlebandpseudocolor", f"{layer.name()} is drawn as {renderer.type()}"
        items = renderer.shader().rasterShaderFunction().colorRampItemList()
        assert len(items) >= 2, f"{layer.name()} has one class"
        assert math.isinf(items[-1].value), f"the last class of {layer.name()} ends at {items[-1].value}"
        unit = unit_of(view.file(layer))
        if unit not in {"", "1"} and part["statistic"] not in UNITLESS:
            assert all(item.label.endswith(unit) for item in items), f"labels of {layer.name()} lack {unit}"
        kind = part["statistic"] if part["statistic"] in {"std", *UNITLESS} else "amount"
        classes = [(item.value, item.color.name(), item.label) for item in items]
        first = families.setdefault((part["property"], kind), classes)
        assert first == classes, f"{layer.name()} has other classes than its neighbours"
    amounts = {key[0]: [value for value, _, _ in found[:-1]] for key, found in families.items() if key[1] == "amount"}
    return "; ".join(f"{name}: {', '.join(f'{value:g}' for value in values)}" for name, values in amounts.items())


def metadata_is_there(view: View) -> str:
    """Title, abstract, notes and, from 3.38 on, the depth as elevation."""
    for layer in view.rasters:
        metadata = layer.metadata()
        assert metadata.title(), f"{layer.name()} has no title"
        assert metadata.abstract(), f"{layer.name()} has no abstract"
        assert layer.customProperty("userNotes"), f"{layer.name()} has no notes"
        if Qgis.QGIS_VERSION_INT >= 33800:
            part = view.parts(layer)
            found = layer.elevationProperties().fixedRange()
            wanted = (-int(part["bottom"]) / 100, -int(part["top"]) / 100)
            assert (found.lower(), found.upper()) == wanted, f"{layer.name()} lies at {found.lower()}..{found.upper()}"
    return f"QGIS {Qgis.QGIS_VERSION}"


# A band does not keep its file alive in GDAL's Python, so each of these holds the file while it asks.


def unit_of(path: Path) -> str:
    file = gdal.Open(str(path))
    return str(file.GetRasterBand(1).GetUnitType())


def tags_of(path: Path) -> dict[str, str]:
    file = gdal.Open(str(path))
    return dict(file.GetRasterBand(1).GetMetadata())


def code_of(path: Path) -> str:
    """Authority and code of the CRS; empty where it has none."""
    file = gdal.Open(str(path))
    system = file.GetSpatialRef()
    code = system.GetAuthorityCode(None)
    return f"{system.GetAuthorityName(None)}:{code}" if code else ""


def valid_cells(path: Path, most: int = 7) -> Iterator[tuple[QgsPointXY, float]]:
    """Centres and values of a few valid cells, spread over the map."""
    file = gdal.Open(str(path))
    west, across, _, north, _, down = file.GetGeoTransform()
    band = file.GetRasterBand(1)
    nodata = band.GetNoDataValue()
    for place in range(most):
        row = (2 * place + 1) * file.RasterYSize // (2 * most)
        column = file.RasterXSize // 2
        value = float(band.ReadAsArray(column, row, 1, 1)[0, 0])
        if math.isfinite(value) and value != nodata:
            yield QgsPointXY(west + (column + 0.5) * across, north + (row + 0.5) * down), value


def values_agree(view: View) -> str:
    """QGIS reads the values and statistics that are in the files."""
    cells = 0
    for layer in view.rasters:
        for point, value in valid_cells(view.file(layer)):
            found, inside = layer.dataProvider().sample(point, 1)
            assert inside, f"{layer.name()} has no value at {point.toString()}"
            assert found == value, f"{layer.name()} is {found} in QGIS, {value} in the file"
            cells += 1
        tags = tags_of(view.file(layer))
        if "STATISTICS_MEAN" in tags:
            statistics = layer.dataProvider().bandStatistics(1)
            assert math.isclose(statistics.mean, float(tags["STATISTICS_MEAN"]), rel_tol=1e-6), layer.name()
            assert math.isclose(statistics.maximumValue, float(tags["STATISTICS_MAXIMUM"]), rel_tol=1e-6)
    assert cells, "no valid cell was found"
    return f"{cells} cells"


def colours_agree(view: View) -> str:
    """Each cell has the colour of its class, and cells without a value are transparent."""
    cells = 0
    for layer in view.rasters:
        if view.parts(layer)["statistic"] == "aoa":
            continue
        items = layer.renderer().shader().rasterShaderFunction().colorRampItemList()
        across, down = layer.rasterUnitsPerPixelX(), layer.rasterUnitsPerPixelY()
        for point, value in valid_cells(view.file(layer)):
            around = QgsRectangle.fromCenterAndSize(point, across, down)
            drawn = view.picture([layer], QSize(9, 9), around).pixelColor(4, 4)
            wanted = next(item.color for item in items if value <= item.value)
            assert drawn == wanted, f"{layer.name()}: {value} is drawn {drawn.name()}, not {wanted.name()}"
            cells += 1
        corner = QgsPointXY(layer.extent().xMinimum() - 5 * across, layer.extent().yMaximum() + 5 * down)
        beyond = view.picture([layer], QSize(9, 9), QgsRectangle.fromCenterAndSize(corner, across, down))
        assert beyond.pixelColor(4, 4).alpha() == 0, f"{layer.name()} draws beyond its border"
        assert_nodata_is_clear(view, layer)
    return f"{cells} cells"


def assert_nodata_is_clear(view: View, layer: QgsRasterLayer) -> None:
    """Where the file has a cell without a value in its middle row, nothing is drawn."""
    file = gdal.Open(str(view.file(layer)))
    row = file.RasterYSize // 2
    nodata = file.GetRasterBand(1).GetNoDataValue()
    values = file.GetRasterBand(1).ReadAsArray(0, row, file.RasterXSize, 1)[0].tolist()
    empty = [place for place, value in enumerate(values) if math.isnan(value) or value == nodata]
    if not empty:
        return
    west, across, _, north, _, down = file.GetGeoTransform()
    point = QgsPointXY(west + (empty[0] + 0.5) * across, north + (row + 0.5) * down)
    around = QgsRectangle.fromCenterAndSize(point, abs(across), abs(down))
    drawn = view.picture([layer], QSize(9, 9), around).pixelColor(4, 4)
    assert drawn.alpha() == 0, f"{layer.name()} draws {drawn.name()} where it has no value"


def bare_file_has_its_style(view: View) -> str:
    """A map opened without the project has the same classes."""
    layer = view.rasters[0]
    bare = QgsRasterLayer(layer.source(), "bare")
    assert bare.isValid()
    assert bare.renderer().type() == layer.renderer().type(), "the .qml is not read"
    assert [label for label, _ in bare.renderer().legendSymbologyItems()] == [
        label for label, _ in layer.renderer().legendSymbologyItems()
    ], "the .qml has other classes than the project"
    bare.loadDefaultMetadata()
    assert bare.metadata().title() == layer.metadata().title(), "the .qmd has another title than the project"
    return view.file(layer).name


def points_have_names(view: View) -> str:
    """The samples have a fixed marker and names of columns for people."""
    for layer in view.vectors:
        assert layer.renderer().type() == "singleSymbol"
        assert layer.featureCount() > 0, "the samples are empty"
        for field in ("observed", "predicted", "fold"):
            place = layer.fields().indexOf(field)
            assert place < 0 or layer.attributeDisplayName(place) != field, f"column {field} has no name for people"
    return ", ".join(f"{layer.featureCount()} samples" for layer in view.vectors) or "no samples"


def sheets_export(view: View, picture: Path | None) -> str:
    """Every print sheet exports, and is not blank."""
    layouts = view.project.layoutManager().printLayouts()
    assert layouts, "there is no print sheet"
    with tempfile.TemporaryDirectory() as place:
        for count, layout in enumerate(layouts, start=1):
            path = Path(place) / f"{count}.png"
            settings = QgsLayoutExporter.ImageExportSettings()
            settings.dpi = 150
            result = QgsLayoutExporter(layout).exportToImage(str(path), settings)
            assert result == QgsLayoutExporter.Success, f"sheet {layout.name()} does not export: {result}"
            assert_not_blank(QImage(str(path)), f"sheet {layout.name()}")
            if picture is not None:
                shutil.copyfile(path, picture.with_name(f"{picture.stem}-sheet{count}.png"))
    return ", ".join(layout.name() for layout in layouts)


def first_view(view: View, picture: Path | None) -> str:
    """What is shown at first is not blank."""
    extent = view.project.viewSettings().defaultViewExtent()
    assert not extent.isEmpty(), "the project has no first view"
    size = QSize(1000, max(1, round(1000 * extent.height() / extent.width())))
    shown = [node.layer() for node in view.shown()]
    image = view.picture(shown, size, extent)
    assert_not_blank(image, "the first view")
    if picture is not None:
        opaque = QImage(image.size(), QImage.Format_RGB32)
        opaque.fill(QColor("white"))
        paint(opaque, image)
        assert opaque.save(str(picture)), f"{picture} cannot be written"
    return ", ".join(layer.name() for layer in shown)


def paint(below: QImage, above: QImage) -> None:
    """One picture onto another."""
    from qgis.PyQt.QtGui import QPainter

    painter = QPainter(below)
    painter.drawImage(0, 0, above)
    painter.end()


def assert_not_blank(image: QImage, what: str) -> None:
    """At least three colours on a grid of points."""
    step_x, step_y = max(1, image.width() // 40), max(1, image.height() // 40)
    colours = {image.pixel(x, y) for x in range(0, image.width(), step_x) for y in range(0, image.height(), step_y)}
    assert len(colours) >= 3, f"{what} is blank"


def main(folder: Path, picture: Path | None) -> int:
    """Run all checks; 0 when every one holds."""
    application = QgsApplication([], True)
    application.initQgis()
    messages: list[str] = []
    QgsApplication.messageLog().messageReceived.connect(
        lambda text, tag, level: messages.append(f"{tag}: {text}") if level in {Qgis.Warning, Qgis.Critical} else None
    )
    before = sorted(path.name for path in folder.iterdir())
    view = View(folder / "maps.qgz")
    checks: list[Check] = [
        layers_open,
        masks_are_named,
        tree_is_ordered,
        styles_compare,
        metadata_is_there,
        values_agree,
        colours_agree,
        bare_file_has_its_style,
        points_have_names,
        lambda view: first_view(view, picture),
        lambda view: sheets_export(view, picture),
        folder_moves,
    ]
    names = [check.__name__ for check in checks[:9]] + ["first_view", "sheets_export", "folder_moves"]
    failed = 0
    for name, check in zip(names, checks, strict=True):
        try:
            print(f"ok      {name.replace('_', ' ')}: {check(view)}")
        except AssertionError as error:
            failed += 1
            print(f"FAILED  {name.replace('_', ' ')}: {error}")
    view.project.clear()
    new = sorted({path.name for path in folder.iterdir()} - set(before))
    left = [name for name in new if not name.endswith(("-wal", "-shm"))]
    for name, found in (("no side-cars written", left), ("no warnings", messages)):
        failed += bool(found)
        print(f"{'FAILED' if found else 'ok':7} {name}{': ' + '; '.join(found[:5]) if found else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) not in {2, 3}:
        print(__doc__)
        sys.exit(2)
    code = main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve() if len(sys.argv) == 3 else None)
    sys.stdout.flush()
    # QGIS may crash while Python takes it down; the answer is known by now.
    os._exit(code)
