"""Models and a scene brought together: every check that needs few pixels or none."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from geosoil.bands import Bands, match_bands, match_wavelengths
from geosoil.errors import InputError, ModelError, UsageError, listing
from geosoil.grid.patches import read_window
from geosoil.io.addresses import is_remote, redact, short_name
from geosoil.io.calibration import sparse_windows
from geosoil.io.gdal import close_idle
from geosoil.io.grids import outline_on, show_grid
from geosoil.io.lazy import footprint, reader_of
from geosoil.io.raster import Source, open_scene
from geosoil.jobs.task import Masking, Task, Unseen
from geosoil.models.bundle import Bundle, load_model
from geosoil.prep.masks import NAMES, MaskPlan, MaskRules
from geosoil.types import PathLike

__all__ = ["Masks", "Models", "Reading", "Scene", "land_use_on", "prepare", "say_guesses", "typed_rules"]

log = logging.getLogger(__name__)

Models = Bundle | PathLike | Sequence[Bundle | PathLike]
Scene = Source | Sequence[Source]
#: What a note says of which the file tells nothing.
_GUESSED = ": taken as "
#: Bytes of a file's block up to which a corner is read before memory is planned; a larger one may not fit.
_MOST_WARM = 64 * 2**20
#: Windows along an edge of a land-use raster that are looked at.
_SIDE = 5
#: Why thin cloud is not looked for.
_NO_CIRRUS = "it shows near 1380 nm at the top of the atmosphere, and the scene does not say that it is measured there"
#: Band that a land-use raster becomes.
_LAND_USE = "land use"


@dataclass(frozen=True)
class Masks:
    """What the user says of masks.

    Attributes
    ----------
    rules : MaskRules, mapping, "auto" or None
        ``auto``: for models of spectra those that they were trained with, for models of covariates none. A mapping
        changes some of these.
    land_use : path, optional
        Raster with codes, of which `rules.land_use` are left out.
    """

    rules: MaskRules | Mapping[str, Any] | Literal["auto"] | None = "auto"
    land_use: PathLike | None = None


@dataclass(frozen=True)
class Reading:
    """How the scene is read; as `open_scene` takes it, and which bands stand for which.

    Attributes
    ----------
    band_map : mapping, optional
        Name in the model to name in the scene, where they differ.
    """

    band_map: Mapping[str, str] | None = None
    align: PathLike | None = None
    crs: str | None = None
    wavelengths: PathLike | None = None
    scale: float | None = None


def typed_rules(rules: Mapping[str, str], leave_out: str = "") -> dict[str, Any]:
    """What a user types changes in the rules that a model was trained with.

    Raises
    ------
    UsageError
        ``GS-MASK-RULE``: a rule that is not known, or a value that is no number.

    >>> typed_rules({"ndvi": "0.25", "shadow": "off"}, "3,4")
    {'ndvi': 0.25, 'shadow': None, 'land_use': (3, 4)}
    """
    known = [name for name in MaskRules.__dataclass_fields__ if name != "land_use"]
    found: dict[str, Any] = {}
    for name, text in rules.items():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise UsageError(
                f"no mask rule is called {name[:30]!r}",
                code="GS-MASK-RULE",
                details=[f"rules: {listing(known, 20)}"],
                hint=f"did you mean {near[0]!r}?" if near else "name one of them",
            )
        try:
            found[name] = None if text.lower() in {"off", "none"} else float(text)
        except ValueError as error:
            raise UsageError(
                f"mask rule {name} takes a number or off, not {text[:30]!r}",
                code="GS-MASK-RULE",
                hint=f"write it as {name}=0.25 or {name}=off",
            ) from error
    try:
        codes = tuple(int(one) for one in leave_out.split(",") if one.strip())
    except ValueError as error:
        raise UsageError(
            f"{leave_out[:30]!r} are no codes of a land use", code="GS-MASK-RULE", hint="write them as 1,4,7"
        ) from error
    return {**found, "land_use": codes} if codes else found


_AUTO, _AS_IT_IS = Masks(), Reading()


def prepare(
    models: Models,
    scene: Scene,
    statistics: Sequence[str],
    unseen: Unseen = "error",
    reading: Reading = _AS_IT_IS,
    masks: Masks = _AUTO,
) -> tuple[Task, xr.DataArray]:
    """Open the scene, load the models, and check all that can be checked before the first tile.

    Returns
    -------
    task : Task
        The models with the places of their bands.
    stack : DataArray
        The scene, with the bands that the models take.

    Raises
    ------
    InputError, ModelError
        As `open_scene`, `load_model` and `match_bands`.
    UsageError
        ``GS-MODELS-NONE``, ``GS-MODELS-TWICE``, ``GS-STATISTIC``.
    """
    bundles = _load(models)
    band_map = reading.band_map or {}
    stack = _open(scene, bundles, band_map, reading)
    _check_wavelengths(bundles, stack, band_map)
    say_guesses(stack)
    _check_quantity(bundles, stack)
    _say_level(bundles, stack)
    _say_origin(bundles)
    plan = _mask_plan(masks, bundles, stack)
    stack, places = _needed(stack, bundles, band_map, None if plan is None else plan.positions)
    masking = None
    if plan is not None:
        stack, land_use = _with_land_use(stack, plan, masks.land_use)
        masking = Masking(plan, places.pop(), land_use)
    halo = max(bundle.patch for bundle in bundles) // 2
    task = Task(tuple(bundles), tuple(places), halo, tuple(statistics), unseen, masking)
    _check_outputs(task)
    task.warm_up()
    _warm_up_reading(stack)
    _compare_cells(bundles, stack)
    return task, stack


def _warm_up_reading(stack: xr.DataArray) -> None:
    """Read a corner of a scene of files: what the reading compiles is then there before memory is planned."""
    if stack.chunks is None or reader_of(stack.data) is None or footprint(stack.data, 2, 2).kept > _MOST_WARM:
        return
    with suppress(InputError):  # what cannot be read is said when its tile is made
        read_window(stack, (0, min(2, stack.sizes["y"])), (0, min(2, stack.sizes["x"])))
    # The plan counts what open files keep for each worker; these would be counted twice.
    close_idle()


def _load(models: Models) -> list[Bundle]:
    several = models if isinstance(models, Sequence) and not isinstance(models, str) else [models]
    if not several:
        raise UsageError("no model is given", code="GS-MODELS-NONE")
    return [one if isinstance(one, Bundle) else load_model(one) for one in several]


def _open(scene: Scene, bundles: Sequence[Bundle], band_map: Mapping[str, str], reading: Reading) -> xr.DataArray:
    """The scene, with the models' class bands marked so that aligning does not mix their codes."""
    classes = {
        band_map.get(name, name)
        for bundle in bundles
        for name, codes in zip(bundle.bands, bundle.encoder.categories, strict=True)
        if codes is not None
    }
    source = _absolute(scene)
    how: dict[str, Any] = {
        "align": reading.align,
        "crs": reading.crs,
        "wavelengths": reading.wavelengths,
        "scale": reading.scale,
    }
    try:
        return open_scene(source, classes=sorted(classes), **how)
    except InputError as error:
        if error.code != "GS-BANDS-UNKNOWN":
            raise
        # Matching the models' bands says better what is missing.
        return open_scene(source, **how)


def _absolute(scene: Scene) -> Scene:
    """Local paths made absolute: the workers of a cluster have other working folders."""
    if isinstance(scene, Sequence) and not isinstance(scene, str):
        return [_absolute_source(one) for one in scene]
    return _absolute_source(scene)


def _absolute_source(source: Source) -> Source:
    if not isinstance(source, (str, Path)):
        return source
    text = str(source)
    if not text:
        raise InputError("the scene has no name", code="GS-FILE-MISSING", hint="name a file, a folder or a pattern")
    return text if is_remote(text) else str(Path(text).expanduser().absolute())


def _needed(
    stack: xr.DataArray, bundles: Sequence[Bundle], band_map: Mapping[str, str], masked: tuple[int, ...] | None
) -> tuple[xr.DataArray, list[tuple[int, ...]]]:
    """The scene with the bands that are taken, and for each model, and last for the masks, where theirs are."""
    bands = Bands.of(stack)
    offered = bands.names
    stray = [name for name in band_map if all(name not in bundle.bands for bundle in bundles)]
    if stray:
        match_bands(offered, bundles[0].bands, band_map=band_map)  # raises, and says which bands there are
    found = [_places_of(bundle, bands, band_map) for bundle in bundles] + ([] if masked is None else [list(masked)])
    union = sorted({place for places in found for place in places})
    where = {place: row for row, place in enumerate(union)}
    # Not isel with a list: dask would then read all bands of a chunk.
    chosen = open_scene(stack, bands=[offered[place] for place in union])
    return chosen, [tuple(where[place] for place in places) for places in found]


def _places_of(bundle: Bundle, bands: Bands, band_map: Mapping[str, str]) -> list[int]:
    """Where a model's bands are in the scene: by wavelength for a model of spectra, else by name."""
    model = f"model {bundle.card.name!r}"
    own = {name: other for name, other in band_map.items() if name in bundle.bands}
    if bundle.card.wavelength_nm and not own:
        places = match_wavelengths(bands, bundle.card.wavelength_nm, model=model)
        bad = [bands.names[place] for place in places if bands.good and not bands.good[place]]
        if bad:
            log.warning("%s takes bands that are marked bad in the scene: %s", model, listing(bad))
        return places
    return match_bands(bands.names, bundle.bands, band_map=own, model=model)


def _mask_plan(masks: Masks, bundles: Sequence[Bundle], stack: xr.DataArray) -> MaskPlan | None:
    """The rules on the scene's bands; None where nothing is masked."""
    rules = _rules(masks.rules, bundles)
    if masks.land_use is not None and (rules is None or not rules.land_use):
        raise UsageError(
            "a land-use raster is given, and no codes of it that are left out",
            code="GS-MASK-LANDUSE",
            hint="name them: --leave-out 1,4",
        )
    if rules is None:
        return None
    plan = rules.on(Bands.of(stack))
    for rule, why in plan.missing.items():
        log.warning("cannot mask %s: %s", rule, why)
    of_ground = any(one.card.quantity for one in bundles) and not stack.attrs.get("level")
    if rules.cirrus is None and of_ground and not _switched_off(masks.rules, "cirrus"):
        log.info("thin cloud is not masked: %s", _NO_CIRRUS)
        plan = replace(plan, missing={**plan.missing, "thin cloud (cirrus)": _NO_CIRRUS})
    return plan if plan.reasons else None


def _switched_off(given: MaskRules | Mapping[str, Any] | Literal["auto"] | None, rule: str) -> bool:
    """Whether the user does without a rule, who then need not be told that it is not computed."""
    return isinstance(given, MaskRules) or (isinstance(given, Mapping) and rule in given)


def _rules(
    given: MaskRules | Mapping[str, Any] | Literal["auto"] | None, bundles: Sequence[Bundle]
) -> MaskRules | None:
    """The rules that are meant: those given, or those of the models with what is changed in them."""
    if given is None or isinstance(given, MaskRules):
        return given
    changes = {} if isinstance(given, str) else dict(given)
    trained = [_trained_rules(bundle) for bundle in bundles if bundle.card.quantity == "reflectance"]
    if any(one != trained[0] for one in trained):
        log.warning("the models were trained with different masks; those of %r are used", bundles[0].card.name)
    rules = trained[0] if trained else None
    if rules is None and not changes:
        return None
    return replace(rules or MaskRules().without(*NAMES), **changes)


def _trained_rules(bundle: Bundle) -> MaskRules | None:
    """The masks that a model of spectra was trained with."""
    held = bundle.card.settings.get("masks")
    if held is None:
        return None
    try:
        return MaskRules(**{**held, "land_use": tuple(int(one) for one in held.get("land_use", ()))})
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            f"the masks of model {bundle.card.name[:30]!r} are damaged",
            code="GS-MODEL-DAMAGED",
            details=[str(error)[:200]],
            hint="train it again, or map with masks of your own",
        ) from error


def land_use_on(grid: GeoBox, land_use: PathLike | None) -> xr.DataArray:
    """Codes of a land-use raster on a grid, (1, y, x).

    Raises
    ------
    UsageError, InputError
        ``GS-MASK-LANDUSE``: no raster is given, it has several bands, values that are no whole numbers, or lies
        elsewhere. One that covers a part of the grid is warned of.
    """
    if land_use is None:
        raise UsageError(
            "land-use codes are to be left out, and no land-use raster is given",
            code="GS-MASK-LANDUSE",
            hint='name it: --land-use landuse.tif, or land_use = "landuse.tif" under [masks] in the study',
        )
    codes = open_scene(_absolute(land_use))
    if codes.sizes["band"] != 1:
        raise InputError(
            f"land-use raster {Path(land_use).name} has {codes.sizes['band']} bands, and one is needed",
            code="GS-MASK-LANDUSE",
            hint="write the band with the codes to a file of its own",
        )
    _check_codes(codes, land_use)
    if codes.odc.geobox == grid:
        return codes
    _check_cover(codes.odc.geobox, grid, land_use)
    put: xr.DataArray = codes.odc.reproject(grid, resampling="nearest", dst_nodata=float("nan"))
    return put


def _check_cover(own: GeoBox, grid: GeoBox, land_use: PathLike) -> None:
    """Refuse a raster that lies elsewhere, and warn of one that leaves a part of the grid out."""
    outline, name = outline_on(own, grid), short_name(str(land_use))
    if not outline.intersects(grid.extent):
        raise InputError(
            f"land-use raster {name} lies outside the scene",
            code="GS-MASK-LANDUSE",
            details=[f"it: {show_grid(own)}", f"the scene: {show_grid(grid)}"],
            hint="check the CRS of both, or name the raster of this place",
        )
    cell = max(abs(grid.resolution.x), abs(grid.resolution.y))
    if not outline.buffer(cell).contains(grid.extent):
        log.warning(
            "land-use raster %s covers a part of the scene: beyond it no cell is left out for its land use", name
        )


def _check_codes(codes: xr.DataArray, land_use: PathLike) -> None:
    """Refuse a raster, such as one of heights, of which some windows hold fractions."""
    for rows, cols in sparse_windows((codes.sizes["y"], codes.sizes["x"]), _SIDE):
        values = read_window(codes, rows, cols)
        broken = values[np.isfinite(values) & (values != np.round(values))]
        if broken.size:
            raise InputError(
                f"land-use raster {short_name(str(land_use))} holds values that are no codes",
                code="GS-MASK-LANDUSE",
                details=[f"file: {redact(str(land_use))}", f"found: {float(broken[0]):.6g}; expected: whole numbers"],
                hint="name a raster with the codes of the land use: --land-use, or land_use under [masks] in a study",
            )


def _with_land_use(stack: xr.DataArray, plan: MaskPlan, land_use: PathLike | None) -> tuple[xr.DataArray, int]:
    """The scene with the land use as a last band, and where that is; -1 where none is asked for."""
    if not plan.rules.land_use:
        return stack, -1
    codes = land_use_on(stack.odc.geobox, land_use)
    codes = codes.assign_coords(band=[_LAND_USE]).reset_coords(drop=True)
    bare = stack.drop_vars([name for name in stack.coords if name not in stack.dims])
    both = xr.concat([bare, codes.assign_coords(x=stack.x, y=stack.y)], dim="band", join="override")
    both = both.assign_coords(spatial_ref=stack.spatial_ref).assign_attrs(stack.attrs)
    sources = (*stack.attrs.get("sources", ()), *codes.attrs.get("sources", ()))
    return both.chunk({"band": -1}).assign_attrs(sources=sources), both.sizes["band"] - 1


def _check_wavelengths(bundles: Sequence[Bundle], stack: xr.DataArray, band_map: Mapping[str, str]) -> None:
    """Refuse a scene that lacks wavelengths of a model before anything else, such as masks, is said of it."""
    offered = Bands.of(stack)
    for bundle in bundles:
        if bundle.card.wavelength_nm and not band_map:
            match_wavelengths(offered, bundle.card.wavelength_nm, model=f"model {bundle.card.name!r}")


def say_guesses(scene: xr.DataArray) -> None:
    """Warn of what was taken of a cube that does not tell it, or tells another: its scale, the unit of radiance."""
    for note in scene.attrs.get("notes", ()):
        if str(note).startswith(("no ", "the file states ")) and _GUESSED in str(note):
            log.warning("%s", note)


def _say_origin(bundles: Sequence[Bundle]) -> None:
    """Warn of models that know spectra of the laboratory alone, a line a model."""
    for bundle in bundles:
        recipe = bundle.card.settings.get("recipe") or {}
        if recipe.get("spectra") == "laboratory":
            log.warning(
                "model %r knows dry, sieved soil in a laboratory, and the scene shows a field: its scores do not hold "
                "for the maps, whose level may be far off; train it with samples on the scene, which correct for that",
                bundle.card.name,
            )


def _say_level(bundles: Sequence[Bundle], stack: xr.DataArray) -> None:
    """Warn of reflectance of another level than a model was trained on, with what to do, a line a model."""
    level = str(stack.attrs.get("level", ""))
    for bundle in bundles:
        if not bundle.card.quantity or bundle.card.level == level:
            continue
        log.warning(
            "model %r was trained on reflectance at %s, and the scene's is at %s: its maps cannot be trusted; %s",
            bundle.card.name,
            _where(bundle.card.level),
            _where(level),
            "correct the scene's atmosphere first (export radiance: geosoil calibrate --export flaash), or train on it"
            if level
            else "map reflectance of the level that it was trained on, or train it on this scene",
        )


def _where(level: str) -> str:
    """Where reflectance is; files of corrected reflectance do not say that it is the ground's."""
    return f"the {level}" if level else "the ground (or nothing says where)"


def _check_quantity(bundles: Sequence[Bundle], stack: xr.DataArray) -> None:
    """Refuse radiance or digital numbers for a model of reflectance."""
    wanted = {bundle.card.quantity for bundle in bundles} - {""}
    held = str(stack.attrs.get("quantity", ""))
    for quantity in sorted(wanted - {held}):
        if not held:
            log.warning("nothing says that the scene holds %s, which the model needs; it is taken for it", quantity)
            continue
        raise InputError(
            f"the scene holds {held}, and the model was trained on {quantity}",
            code="GS-QUANTITY",
            details=[f"scene: {held} [{stack.attrs.get('units', '?')}]", *stack.attrs.get("notes", ())][:5],
            hint="turn it into reflectance first: geosoil calibrate, or a program for atmospheric correction;\n"
            "where it is reflectance that is called something else, give its scale: --scale 100 for percent, "
            "--scale 10000",
        )


def _check_outputs(task: Task) -> None:
    """Refuse models that would write the same file, or none."""
    if not task.statistics:
        raise UsageError("no statistic is given", code="GS-STATISTIC", hint="give mean, or quantiles such as Q0.05")
    stems = [output.stem for output in task.outputs]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise UsageError(
            f"two models make the same map: {listing(twice, 3)}", code="GS-MODELS-TWICE", hint="leave one of them out"
        )


def _compare_cells(bundles: Sequence[Bundle], stack: xr.DataArray) -> None:
    """Warn where patches cover another area than in training."""
    affine = stack.odc.geobox.affine
    for bundle in bundles:
        trained = float(bundle.card.cell[0])
        if bundle.patch > 1 and trained > 0 and not 0.95 < abs(affine.a) / trained < 1.05:
            log.warning(
                "the scene's cells are %g wide, those that model %r was trained on %g: its patches of %d x %d cells "
                "cover another area",
                abs(affine.a),
                bundle.card.name,
                trained,
                bundle.patch,
                bundle.patch,
            )
