"""Settings: one frozen record for a study, read from TOML, joined with flags, checked once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from geosoil.prep.steps import parse_steps

from .bands import WAVELENGTH_UNITS
from .errors import InputError, UsageError
from .refusals import refusal, shown
from .soil import STANDARD_DEPTHS, Depth, Property, parse_depths, properties, property_of
from .types import PathLike

__all__ = [
    "CompareConfig",
    "CovariateConfig",
    "DepthConfig",
    "FusionConfig",
    "InvertConfig",
    "LibraryConfig",
    "MaskConfig",
    "ModelConfig",
    "PropertyConfig",
    "SampleConfig",
    "SceneConfig",
    "SpectraConfig",
    "Study",
    "TransferConfig",
    "ValidationConfig",
    "load_study",
]

ModelKind = Literal["transfer", "cnn", "mtcnn", "rf"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    @field_validator("*", mode="before")
    @classmethod
    def _path_as_text(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [str(one) if isinstance(one, Path) else one for one in value]
        return str(value) if isinstance(value, Path) else value

    @field_validator("*", mode="before")
    @classmethod
    def _no_words_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        # "yes" and 1 would be taken for true, and "1" and true for 1.
        kinds = _kinds(cls.model_fields[str(info.field_name)].annotation)
        if bool in kinds and not (isinstance(value, bool) or value is None):
            raise ValueError(f"expected true or false, found {str(value)[:30]!r}")
        if kinds & {int, float} and not kinds & {bool, str, dict}:
            words = [one for one in (value if isinstance(value, (list, tuple)) else [value]) if _is_word(one)]
            if words:
                raise ValueError(f"expected a number, found {str(words[0])[:30]!r}")
        return value


def _is_word(value: Any) -> bool:
    return isinstance(value, (str, bool))


def _kinds(annotation: Any) -> set[Any]:
    """The types that an annotation is made of."""
    return {get_origin(annotation) or annotation}.union(*(_kinds(one) for one in get_args(annotation)))


class PropertyConfig(_Record):
    """How the samples hold a property, and, for one that is not declared, what it is."""

    column: str | None = Field(None, description="column with the values; default: recognised by name")
    unit: str | None = Field(None, description="unit of the column; default: stated in the header or a unit column")
    transform: Literal["none", "log", "log1p", "log10", "sqrt", "boxcox", "yeo-johnson"] | None = None
    organic_matter_factor: float | None = Field(
        None, gt=0, description="organic matter = factor x organic carbon; needed to turn one into the other"
    )
    name: str | None = None
    unit_inside: str | None = None
    lowest: float = 0.0
    highest: float = 1e6
    colours: tuple[str, ...] = ()

    def declare(self, code: str) -> Property:
        """The property: the declared one, or the one that this record declares."""
        if code in properties():
            return property_of(code)
        if self.name is None or self.unit_inside is None:
            return property_of(code)  # raises, and says what to add
        return Property(
            code=code,
            name=self.name,
            unit=self.unit_inside,
            lowest=self.lowest,
            highest=self.highest,
            usual=(self.lowest, self.highest),
            transform=self.transform or "none",
            colours=self.colours,
        )


class SampleConfig(_Record):
    """The samples: file, columns, CRS, and what to do with awkward rows."""

    path: str | None = Field(None, description="table of samples; not needed where the samples are given as an object")
    sites: str | None = Field(None, description="table with one row a profile: id and coordinates")
    layer: str | None = Field(None, description="layer of a GeoPackage, or sheet of a workbook")
    crs: str | None = Field(None, description="CRS of the coordinate columns, such as EPSG:4326")
    id: str | None = None
    x: str | None = None
    y: str | None = None
    top: str | None = None
    bottom: str | None = None
    depth_unit: Literal["cm", "m", "mm"] = "cm"
    depth: str | None = Field(None, description="interval of all rows when the table has no depths, such as 0-20")
    below_detection: Literal["error", "half", "limit", "zero", "drop"] = "error"
    invalid: Literal["error", "drop"] = Field(
        "error",
        description="rows with negative values, inverted or overlapping layers: refuse, or drop and count",
    )


class DepthConfig(_Record):
    """The intervals that are mapped, and how layers get there."""

    intervals: tuple[Depth, ...] = STANDARD_DEPTHS
    method: Literal["spline", "raw"] = "spline"
    smoothing: float = Field(0.1, gt=0, description="lambda of the equal-area spline")
    min_cover: float = Field(0.5, ge=0, le=1, description="least covered share of an interval")

    @field_validator("intervals", mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        if not isinstance(value, (str, list, tuple)):
            raise ValueError(f'expected a list of intervals such as ["0-5", "5-15"], found {shown(value)}')
        return parse_depths([value] if isinstance(value, str) else value)


class SceneConfig(_Record):
    """The covariate stack."""

    path: str | tuple[str, ...] | None = Field(
        None, description="file, several, folder or glob; not needed where the scene is given as an object"
    )
    crs: str | None = Field(None, description="CRS of rasters that have none")
    align: str | None = Field(None, description="raster whose grid all others are put on")
    resampling: Literal["nearest", "bilinear", "cubic", "average", "mode"] = "bilinear"
    wavelengths: str | None = Field(
        None,
        description="of a cube that does not tell them: table with wavelength and fwhm, nm; or their unit, nm or um",
    )
    scale: float | None = Field(None, gt=0, description="stored numbers are reflectance times this, such as 10000")
    bands: tuple[str, ...] = Field((), description="bands to use; default: all")
    classes: dict[str, Literal["onehot", "embedding"]] = Field(
        {}, description="bands that hold classes, and how they are encoded"
    )


class CovariateConfig(_Record):
    """Selection of covariates, fitted inside every training fold."""

    min_correlation: float = Field(0.05, ge=0, le=1, description="drop bands with |r| to the target below this")
    max_correlation: float = Field(0.8, ge=0, le=1, description="of two bands with |r| above this drop one")
    step: int = Field(10, ge=0, description="size of the batches of the stepwise search; 0: no search")
    most: int | None = Field(None, ge=1, description="keep at most this many, the best by rank")
    mask_channel: bool = Field(False, description="add a channel that marks missing cells")


class ModelConfig(_Record):
    """The model and how it is trained."""

    kind: ModelKind = "transfer"
    patch: int = Field(9, ge=1, description="width of the patch in cells, odd")
    frozen: int = Field(2, ge=0, le=6, description="leading layers kept when a depth is tuned")
    members: int = Field(5, ge=1, le=50, description="networks that are averaged, of different seeds")
    epochs: int = Field(600, ge=1)
    patience: int = Field(50, ge=1)
    batch: int = Field(128, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    tune_learning_rate: float = Field(1e-4, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    dropout: float = Field(0.3, ge=0, lt=1)
    augment: bool = Field(False, description="flip and rotate the patches; not with aspect-like covariates")
    trees: int = Field(500, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @property
    def width(self) -> int:
        """Width of the patches that the model looks at; a forest takes the cell alone."""
        return 1 if self.kind == "rf" else self.patch

    @field_validator("patch")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("a patch has a centre cell, so its width is odd: 1, 3, 5, 9, 15")
        return value


class SpectraConfig(_Record):
    """Spectra of the samples: from the laboratory, and from the satellite where no scene is given."""

    laboratory: str | None = Field(None, description="table or folder of laboratory spectra, a row or file a sample")
    satellite: str | None = Field(None, description="table of the same samples' satellite spectra, in place of a scene")
    like: str | None = Field(None, description="cube to whose bands the spectra of `satellite` are brought")
    id: str | None = Field(None, description="column with the names of the samples; default: recognised by name")
    laboratory_quantity: Literal["reflectance", "percent", "absorbance"] | None = None
    satellite_quantity: Literal["reflectance", "percent", "absorbance"] | None = None
    splice: bool = Field(False, description="remove the steps of a field spectrometer at 1000 and 1830 nm")
    step_nm: float | None = Field(
        None,
        gt=0,
        description="spacing that laboratory spectra are brought to in a study of these alone; default: 5 nm",
    )
    windows: tuple[tuple[float, float], ...] | None = Field(
        None,
        description="wavelengths that are left out, nm; default: water bands and the noisy ends, of laboratory spectra "
        "alone the noisy ends",
    )
    drop: tuple[str, ...] = Field((), description="further bands to leave out, by name")
    keep: tuple[str, ...] = Field((), description="bands to use whatever else is said of them")


FusionKind = Literal["ridge", "vae", "vae-residual", "autoencoder", "pls", "pds", "ds", "epo", "glsw", "none"]


class FusionConfig(_Record):
    """How satellite spectra are made laboratory-like; what is not given is as suits the kind."""

    kind: FusionKind | None = Field(None, description="how they are made; default: glsw for svr, ridge else")
    penalty: float | None = Field(None, ge=0, description="of ridge (default: least left-out error) and glsw")
    components: int | None = Field(None, ge=1)
    window: int | None = Field(None, ge=1)
    hidden: tuple[int, ...] | None = Field(None, min_length=1)
    latent: int | None = Field(None, ge=1)
    dropout: float | None = Field(None, ge=0, lt=1)
    mmd: float | None = Field(None, ge=0)
    sad: float | None = Field(None, ge=0)
    kld: float | None = Field(None, ge=0)
    mse: float | None = Field(None, ge=0)
    unbiased: bool | None = None
    widths: tuple[float, ...] | None = Field(None, min_length=1)
    convention: Literal["corrected", "published"] | None = None
    base: Literal["none", "input", "linear"] | None = None
    scale_output: bool | None = None
    output: Literal["linear", "sigmoid"] | None = None
    learning_rate: float | None = Field(None, gt=0)
    epochs: int | None = Field(None, ge=1)
    batch: int | None = Field(None, ge=1)
    clip: float | None = Field(None, gt=0)
    steps: int | None = Field(None, ge=1)
    noise: float | None = Field(None, ge=0)
    members: int | None = Field(None, ge=1)
    n_draws: int | None = Field(None, ge=0)
    seed_search: int | None = Field(None, ge=0)
    neighbours: bool = Field(True, description="train on the neighbouring cells too that look like a sample's own")
    angle: float = Field(0.08, gt=0, description="largest spectral angle of such a neighbour, rad")

    def changes(self) -> dict[str, Any]:
        """The settings that were given."""
        own = {"kind", "neighbours", "angle"}
        return {name: value for name, value in self.model_dump(exclude=own).items() if value is not None}


SpectraKind = Literal["laboratory", "satellite", "generated", "mixed"]
HeadKind = Literal["plsr", "svr", "rf", "fd-rf", "dnn"]


class InvertConfig(_Record):
    """How properties are predicted from spectra."""

    properties: tuple[str, ...] = Field((), description="properties to map together; default: the study's own")
    spectra: Literal["satellite", "generated", "mixed"] = Field("generated", description="what the model reads")
    head: HeadKind = Field("plsr", description="the regression: PLS, support vectors, forest or network")
    steps: tuple[str, ...] = Field((), description="preprocessing, such as absorbance, snv, sg(window=11)")
    calibration: Literal["both", "crossed", "laboratory", "generated"] = Field(
        "both", description="what stands for the training samples' generated spectra; generated: as published"
    )
    selection: Literal["cars", "cars-deterministic", "none"] = "cars"
    cars_runs: int = Field(50, ge=2)
    cars_repeats: int = Field(10, ge=1)
    components: int = Field(20, ge=1, description="most components of PLSR; the count is searched")

    @field_validator("steps")
    @classmethod
    def _known_steps(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_steps(value)
        return value


class LibraryConfig(_Record):
    """A spectral library that helps a model of few samples."""

    path: str | tuple[str, ...] | None = Field(
        None, description="folder, files or glob of its tables; not needed where the library is given as an object"
    )
    property: str | None = Field(None, description="property that it teaches; default: the study's own")
    sources: tuple[str, ...] = Field((), description="its data sets to use; default: all")
    leave_out: tuple[str, ...] = Field((), description="its data sets to leave out")
    nearby: tuple[str, ...] = Field((), description="its data sets of the samples' own country, to compare with all")
    range_nm: tuple[float, float] | None = Field(
        None,
        description="wavelengths to read, nm; default: the samples' own. Tables that do not cover them are left out",
    )
    step_nm: float | None = Field(None, gt=0, description="spacing of its bands; default: that of the coarsest table")
    tables: str | None = Field(
        None, description="TOML file that says what single tables hold; default: library.toml in the folder"
    )
    quantity: Literal["reflectance", "percent", "absorbance"] | None = Field(
        None, description="what its tables hold where they do not tell it"
    )
    id: str | None = Field(None, description="column with the names of its samples")
    organic_matter_factor: float | None = Field(
        None, gt=0, description="organic matter = factor x organic carbon; needed to turn one into the other"
    )
    uncovered: Literal["cut", "refuse"] = Field("cut", description="what to do with bands that it does not cover")
    doubtful: Literal["keep", "drop"] = Field("keep", description="values that contradict their spectral neighbours")
    cache: str | None = Field(None, description="folder where the library is kept, read and joined")


TransferKind = Literal[
    "mixture", "local", "library", "spiked", "instances", "neighbours", "tuned", "instances-tuned",
]  # fmt: skip
RegressionKind = Literal["plsr", "svr", "rf", "dnn", "resnet", "cnn"]


class TransferConfig(_Record):
    """How a library helps, and what predicts; what is not given is as suits the way."""

    kind: TransferKind | None = Field(None, description="how; default: mixture, or tuned where the library teaches "
                                                        "another property")  # fmt: skip
    head: RegressionKind | None = Field(None, description="the regression; default: plsr, or resnet where it is tuned")
    steps: tuple[str, ...] | None = Field(
        None,
        description="preprocessing of local and library spectra; default: absorbance, and snv too where the way does "
        "not normalise them itself",
    )
    instances: int = Field(100, ge=3, description="samples of the library that RS-LOCAL keeps")
    draws: int = Field(50, ge=1, description="times that RS-LOCAL tests each sample of the library in a round")
    drop: float = Field(0.05, gt=0, lt=1, description="share of the library that RS-LOCAL drops a round")
    components: int = Field(20, ge=1, description="most components of PLSR; the count is searched")
    members: int = Field(5, ge=1, le=50, description="networks that are averaged")
    epochs: int | None = Field(None, ge=1, description="most epochs of a network")
    net: str | None = Field(None, description='best.json of geosoil search: the network of head = "cnn"')
    published: bool = Field(False, description="tune as published: frozen convolutions, dense layers at a rate of 1e-3")

    @field_validator("steps")
    @classmethod
    def _known_steps(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        parse_steps(value or ())
        return value

    def steps_of(self, kind: str) -> tuple[str, ...]:
        """Preprocessing of a way of transfer."""
        if self.steps is not None:
            return self.steps
        return ("absorbance",) if kind in {"mixture", "tuned", "instances-tuned"} else ("absorbance", "snv")


MaskRule = Literal[
    "ndvi", "ncai", "nbr2", "ndwi", "dark_water", "cloud", "cirrus", "cirrus_blue", "cirrus_ratio",
    "ndsi", "snow_nir", "shadow", "shadow_swir",
]  # fmt: skip
Mask = Literal[
    "cloud", "thin cloud", "shadow", "water", "green vegetation", "dry vegetation", "snow or ice", "land use",
    "residue or wet soil",
]  # fmt: skip


class MaskConfig(_Record):
    """Which cells are no bare soil; thresholds as in `prep.masks.MaskRules`."""

    use: bool = True
    off: tuple[Mask, ...] = Field((), description="masks to leave out, such as water or shadow")
    land_use: str | None = Field(None, description="raster with codes of the land use")
    leave_out: tuple[int, ...] = Field((), description="codes of the land use that are left out")
    rules: dict[MaskRule, Annotated[float, Field(ge=-1, le=2)] | None] = Field(
        {}, description="thresholds: ndvi = 0.25; false: no such mask"
    )

    @field_validator("rules", mode="before")
    @classmethod
    def _switched_off(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if True in [one for one in value.values() if isinstance(one, bool)]:
            raise ValueError("a rule takes a threshold, or false to switch it off")
        return {name: None if one is False else one for name, one in value.items()}


class ValidationConfig(_Record):
    """How scores are made: folds by profile."""

    scheme: Literal["random", "spatial"] = "random"
    folds: int = Field(10, ge=2)
    block_m: float | None = Field(None, gt=0, description="edge of the spatial blocks, m; default: from the extent")


class CompareConfig(_Record):
    """What `geosoil compare` runs beside the study's own model."""

    models: tuple[ModelKind, ...] = ("rf", "cnn", "mtcnn", "transfer")
    schemes: tuple[Literal["random", "spatial", "rounds", "kennard-stone"], ...] = Field(
        ("random", "spatial"),
        description="how samples are held out: folds; in a study with a library also rounds of 75 to 25, or all but "
        "those that Kennard and Stone choose",
    )
    local: int = Field(30, ge=10, description="samples that Kennard and Stone choose, in a study with a library")
    transfers: tuple[TransferKind, ...] = Field((), description="ways of transfer to compare; default: all possible")
    repeats: int = Field(5, ge=1)
    folds: int = Field(5, ge=2)
    patches: tuple[int, ...] = Field((), description="further patch widths to try with the study's model")
    frozen: tuple[int, ...] = Field((0, 1, 2, 3, 4), description="frozen-layer ablation; empty for none")
    covariate_curve: bool = True
    zones: str | None = Field(None, description="zone raster, or a column of the samples")
    properties: tuple[str, ...] = Field((), description="further properties to compare")
    spectra: tuple[SpectraKind, ...] = Field(
        ("laboratory", "satellite", "generated", "mixed"), description="spectra to compare, in a study of spectra"
    )
    heads: tuple[Literal[HeadKind, "resnet", "cnn"], ...] = Field(
        ("plsr", "svr"), description="regressions to compare on them; networks along the bands with a library only"
    )
    fusions: tuple[FusionKind, ...] = Field((), description="other ways of fusion to compare, such as pds, epo, vae")
    losses: bool = Field(False, description="ablation of the losses of the published fusion")
    published: bool = Field(False, description="the published protocol too, which is optimistic, on one split")


class Study(_Record):
    """All that `geosoil train` and `geosoil compare` need to know; a table may be given as a dict.

    Raises
    ------
    UsageError
        ``GS-STUDY``: a setting is unknown or has a wrong value.

    >>> study = Study(property="pb", model={"kind": "rf"})
    >>> study.model.trees
    500
    """

    name: str = "study"
    property: str = "soc"
    seed: int = Field(0, ge=0, lt=2**32)
    samples: SampleConfig = SampleConfig()
    scene: SceneConfig = SceneConfig()
    properties: dict[str, PropertyConfig] = {}
    depths: DepthConfig = DepthConfig()
    covariates: CovariateConfig = CovariateConfig()
    model: ModelConfig = ModelConfig()
    spectra: SpectraConfig | None = None
    fusion: FusionConfig = FusionConfig()
    invert: InvertConfig = InvertConfig()
    library: LibraryConfig | None = None
    transfer: TransferConfig = TransferConfig()
    masks: MaskConfig = MaskConfig()
    validation: ValidationConfig = ValidationConfig()
    compare: CompareConfig = CompareConfig()

    def __init__(self, /, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise refusal(error, _keys) from error

    @model_validator(mode="after")
    def _declared(self) -> Study:
        for code in (self.property, *self.properties, *self.invert.properties, *self.compare.properties):
            self.declared(code)
        return self

    def declared(self, code: str | None = None) -> Property:
        """The study's property, or another one by code."""
        code = code or self.property
        return self.how(code).declare(code)

    def inverted(self) -> tuple[str, ...]:
        """Codes of the properties that a study of spectra predicts."""
        return self.invert.properties or (self.property,)

    def how(self, code: str | None = None) -> PropertyConfig:
        """How the samples hold a property."""
        return self.properties.get(code or self.property, PropertyConfig())


def load_study(path: PathLike, **flags: Any) -> Study:
    """Read a study file; flags that are not None win over it.

    Parameters
    ----------
    path : path
        TOML. Paths inside it are relative to its folder.
    **flags
        ``table__key=value`` or ``key=value``, such as ``model__kind="rf"`` or ``property="pb"``.

    Raises
    ------
    UsageError
        ``GS-STUDY``: the file does not parse, or a key is unknown or has a wrong value.
    InputError
        ``GS-FILE-MISSING``: there is no such file.
    """
    path = Path(path).expanduser()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(
            f"{path.name} is not a study file that can be read",
            code="GS-FILE-MISSING",
            details=[error.strerror or str(error)],
        ) from error
    except (ValueError, RecursionError) as error:  # no text, no TOML, or numbers and lists beyond what Python reads
        raise UsageError(
            f"{path.name[:60]} is not TOML", code="GS-STUDY", details=[f"file: {path}", str(error)[:300]]
        ) from error
    for flag, value in flags.items():
        if value is None:
            continue
        *parents, key = flag.split("__")
        inner = table
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise UsageError(f"{path.name}: {parent} is not a table", code="GS-STUDY", hint=f"write [{parent}]")
        inner[key] = value
    return _check(_anchor(table, path.parent), path)


def _anchor(table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Paths of the table made relative to the study's folder."""

    def anchored(value: Any) -> Any:
        if isinstance(value, list):
            return [anchored(one) for one in value]
        if not isinstance(value, str) or "://" in value or value.startswith("/vsi") or value in WAVELENGTH_UNITS:
            return value
        return str(folder / Path(value).expanduser())

    places = (
        ("samples", ("path", "sites")),
        ("scene", ("path", "align", "wavelengths")),
        ("spectra", ("laboratory", "satellite", "like")),
        ("masks", ("land_use",)),
        ("library", ("path", "tables", "cache")),
        ("transfer", ("net",)),
    )
    for section, keys in places:
        if isinstance(table.get(section), dict):
            table[section] = {k: anchored(v) if k in keys else v for k, v in table[section].items()}
    zones = table.get("compare", {}).get("zones") if isinstance(table.get("compare"), dict) else None
    if isinstance(zones, str) and Path(zones).suffix:
        table["compare"] = {**table["compare"], "zones": anchored(zones)}
    return table


def _check(table: Mapping[str, Any], path: Path) -> Study:
    try:
        return Study(**table)
    except UsageError as error:
        raise UsageError(
            f"{path.name}: {error.message}", code=error.code, details=error.details, hint=error.hint
        ) from error


def _keys(place: tuple[int | str, ...]) -> list[str]:
    model: Any = Study
    for part in place:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return list(PropertyConfig.model_fields) if place[:1] == ("properties",) else []
        # A table that may be left out is a union with None.
        model = next((one for one in get_args(field.annotation) if one is not NoneType), field.annotation)
    return list(getattr(model, "model_fields", {}))
