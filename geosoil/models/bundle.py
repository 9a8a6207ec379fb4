"""Bundle: all that was fitted, and the card that says on what; one safe file on disk.

The file is safetensors: arrays, and as metadata a JSON card. Nothing in it can run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from geosoil.errors import InputError, ModelError, UsageError
from geosoil.io.atomic import check_output, replacing
from geosoil.kernels.decode import in_line, pick_lines
from geosoil.models.threads import Scratch, one_blas_thread
from geosoil.prep.encode import Encoder
from geosoil.prep.target import BackTransform, TargetTransform
from geosoil.registry import predictor as predictor_class
from geosoil.soil import Depth, Property, Target
from geosoil.types import CellPredictor, Cells, PathLike, Predictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Bool, Float32, Float64, Int64

__all__ = ["Bundle", "Card", "Output", "load_model"]

_MOST_HEADER_BYTES = 100 * 2**20
_TOLERANCE = 1e-5
# Largest patches on which a model is tried when it is read, bytes together.
_MOST_CHECKED = 2**30
#: Columns of the cells that models of single cells take at a time, rows to choose from, and bytes that fit in a cache.
_COLUMNS, _ROWS, _GROUP = 128, (128, 64, 32, 16), 2.5 * 2**20
#: Groups side by side that are read together.
_SIDE = 2


@dataclass(frozen=True, slots=True)
class Output:
    """One map: a property at a depth, and which statistic of it."""

    target: Target
    statistic: str = "mean"

    @property
    def stem(self) -> str:
        """File stem, such as ``soc_0-5cm_mean``."""
        return self.target.stem(self.statistic)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PropertyCard(_Record):
    """One of the mapped properties: as it was declared when the model was trained, and what was fitted for it."""

    code: str
    name: str
    unit: str
    lowest: float
    highest: float
    usual: tuple[float, float]
    colours: tuple[str, ...] = ()
    depths: tuple[tuple[int, int], ...]
    transform: dict[str, Any]
    scores: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(
        cls,
        soil: Property,
        depths: Sequence[Depth],
        transform: TargetTransform,
        scores: Sequence[dict[str, Any]] = (),
    ) -> PropertyCard:
        """The card of a property."""
        return cls(
            code=soil.code,
            name=soil.name,
            unit=soil.unit,
            lowest=soil.lowest,
            highest=soil.highest,
            usual=soil.usual,
            colours=soil.colours,
            depths=tuple((depth.top_cm, depth.bottom_cm) for depth in depths),
            transform=transform.to_meta(),
            scores=tuple(scores),
        )

    def declared(self) -> Property:
        """The property."""
        shown = {"code", "name", "unit", "lowest", "highest", "usual", "colours"}
        return Property(**self.model_dump(include=shown))


class Card(_Record):
    """What a model file says of itself; all of it is checked when it is read."""

    schema_version: Literal[1] = 1
    name: str
    model: str = Field(description="rf, cnn, mtcnn, transfer; or plsr, svr ... for a model of spectra")
    kind: str = Field(description="class of the fitted model, in the registry")
    properties: tuple[PropertyCard, ...] = Field(min_length=1)
    crs: str = Field(description="WKT2 of the training scene")
    extent: tuple[float, float, float, float] = Field(description="of the training profiles: west, south, east, north")
    cell: tuple[float, float] = Field(description="size of the training scene's cells, in units of its CRS")
    encoder: dict[str, Any]
    predictor: dict[str, Any]
    quantity: str = Field("", description="what the bands hold, where it matters: reflectance")
    level: str = Field("", description="of reflectance: top of the atmosphere, or nothing for the ground")
    wavelength_nm: tuple[float, ...] = Field((), description="centres of the model's bands, where it knows them")
    fwhm_nm: tuple[float, ...] = ()
    counts: dict[str, Any] = {}
    selection: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    seed: int = 0
    versions: dict[str, str] = {}
    created: str = ""


@dataclass(frozen=True)
class Bundle:
    """A fitted model and everything that is needed to use it.

    Attributes
    ----------
    card : Card
        What was fitted on what.
    encoder : Encoder
        Raw bands to features.
    predictor : Predictor
        Features to values on the transformed scale.
    transforms : tuple of TargetTransform
        Each property's unit to that scale.
    residuals : tuple of (n,) float64
        Cross-validation residuals (observed minus predicted, transformed scale), one array a target.
    """

    card: Card
    encoder: Encoder
    predictor: Predictor
    transforms: tuple[TargetTransform, ...]
    residuals: tuple[Float64, ...]

    @cached_property
    def soil_properties(self) -> tuple[Property, ...]:
        """The mapped properties; one for a model of covariates."""
        return tuple(one.declared() for one in self.card.properties)

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """Each property at each of its depths, shallow to deep: what the predictor gives, in its order."""
        return tuple(
            Target(soil, Depth(top, bottom))
            for soil, part in zip(self.soil_properties, self.card.properties, strict=True)
            for top, bottom in part.depths
        )

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the scene's bands that the model takes, in its order."""
        return self.encoder.bands

    @property
    def patch(self) -> int:
        """Width of the patch, cells."""
        return self.predictor.patch

    def outputs(self, statistics: Sequence[str] = ("mean",)) -> tuple[Output, ...]:
        """The maps that the model makes, target by target."""
        return tuple(Output(target, statistic) for target in self.targets for statistic in statistics)

    def predict(self, raw: Float32, statistic: str = "mean") -> Float32:
        """Values of patches in the property's unit.

        Parameters
        ----------
        raw : (n, B, patch, patch) float32
            The model's bands, NaN where there is no data.
        statistic : str
            ``mean``, or a quantile of the predictive distribution such as ``Q0.05``.

        Returns
        -------
        (n, T) float32
            NaN where the centre cell is not valid.
        """
        self._check_bands(raw.shape[1])
        scaled = self.predictor.predict(self.encoder.encode(raw))
        values = np.empty_like(scaled)
        for place, back in enumerate(self._back(statistic)):
            back(scaled[:, place], out=values[:, place])
        middle = self.patch // 2
        values[~self.encoder.valid(raw)[:, middle, middle]] = np.nan
        return values

    def predict_block(
        self,
        raw: Float32 | Cells,
        statistics: Sequence[str] = ("mean",),
        *,
        unseen: Literal["error", "missing"] = "error",
        places: Sequence[int] | None = None,
        wanted: Bool | None = None,
    ) -> Float32:
        """A block of the map.

        Parameters
        ----------
        raw : (B, h + patch - 1, w + patch - 1) float32, or Cells
            The model's bands with a halo of half a patch, NaN where there is no data. A model that `takes_cells` also
            takes a window whose cells are read as they are asked for.
        places : sequence of int, optional
            Where the model's bands are in `raw`, which may then hold more.
        statistics : sequence of str
            As in `predict`.
        unseen : {"error", "missing"}
            What to do with a class code that training did not see.
        wanted : (h, w) bool, optional
            Cells to predict; the others are NaN, and models of single cells do no work for them.

        Returns
        -------
        (T * len(statistics), h, w) float32
            In the order of `outputs`; NaN where a cell is not valid.
        """
        self._check_bands(raw.shape[0] if places is None else len(places))
        tables = [self._back(statistic) for statistic in statistics]
        halo = self.patch // 2
        height, width = raw.shape[1] - 2 * halo, raw.shape[2] - 2 * halo
        maps = np.full((len(self.targets) * len(statistics), height, width), np.nan, np.float32)
        if self.takes_cells and isinstance(self.predictor, CellPredictor):
            own_places = np.arange(raw.shape[0]) if places is None else np.asarray(places, np.int64)
            with one_blas_thread():
                scaled, valid = self._cell_by_cell(self.predictor, raw, own_places, wanted)
        elif not isinstance(raw, np.ndarray):
            raise TypeError("this model takes whole blocks")
        else:
            own = raw if places is None else raw[list(places)]
            valid = self.encoder.valid(own)[halo : halo + height, halo : halo + width]
            if wanted is not None:
                valid = valid & wanted
            if not valid.any():
                return maps
            scaled = self.predictor.predict_tile(self.encoder.encode(own, unseen=unseen))
        for target in range(len(self.targets)):
            for place, table in enumerate(tables):
                out = maps[target * len(statistics) + place]
                table[target](scaled[target], out=out)
                out[~valid] = np.nan
        return maps

    @property
    def takes_cells(self) -> bool:
        """Whether single cells are all that it looks at, as they are in the scene."""
        return self.encoder.as_is and isinstance(self.predictor, CellPredictor)

    def _check_bands(self, count: int) -> None:
        """The kernels trust the number of bands."""
        if count != len(self.bands):
            raise ModelError(
                f"the model takes {len(self.bands)} bands, and {count} are given",
                code="GS-MODEL-FEATURES",
                hint="give the bands of `bundle.bands`, in their order",
            )

    def _cell_by_cell(
        self, predictor: CellPredictor, raw: Float32 | Cells, places: Int64, wanted: Bool | None
    ) -> tuple[Float32, Bool]:
        """Predictions on the transformed scale (T, h, w) and where they are valid, for models of single cells.

        In groups of cells whose hundreds of bands stay in cache until they are read. Which cells are a group does not
        depend on the window: sums of other groups would be rounded otherwise. Groups side by side are read together.
        """
        height, width = raw.shape[1:]
        scaled = np.full((len(self.targets), height, width), np.nan, np.float32)
        valid = np.zeros((height, width), np.bool_)
        most = next((rows for rows in _ROWS if 4 * rows * _COLUMNS * len(places) <= _GROUP), _ROWS[-1])
        for top, left in product(range(0, height, most), range(0, width, _COLUMNS * _SIDE)):
            here = np.s_[top : top + most, left : left + _COLUMNS * _SIDE]
            asked = np.ones(valid[here].shape, np.bool_) if wanted is None else wanted[here]
            group, row, column = _grouped(asked)
            edges = np.searchsorted(group, np.arange(-(-asked.shape[1] // _COLUMNS) + 1))
            taken = _taken(raw, places, row + top, column + left, edges)
            for cells, first, last in zip(taken, edges[:-1], edges[1:], strict=True):
                if first < last:
                    found, good = predictor.predict_cells(cells)
                    _put(found, scaled[:, *here], row[first:last], column[first:last])
                    _put(good, valid[here], row[first:last], column[first:last])
        return scaled, valid

    def _back(self, statistic: str) -> tuple[BackTransform, ...]:
        """One back-transformation a target, made once."""
        found = self._tables.get(statistic)
        if found is None:
            places = [place for place, part in enumerate(self.card.properties) for _ in part.depths]
            found = tuple(
                _back_table(self.transforms[place], self.soil_properties[place], statistic, residuals)
                for place, residuals in zip(places, self.residuals, strict=True)
            )
            self._tables[statistic] = found
        return found

    @cached_property
    def _tables(self) -> dict[str, tuple[BackTransform, ...]]:
        return {}

    def _content(self) -> tuple[str, dict[str, NDArray[Any]]]:
        """The card and the arrays of the model file."""
        _, arrays = self.predictor.state()
        tensors = {f"predictor.{name}": np.ascontiguousarray(array) for name, array in arrays.items()}
        tensors.update({f"residuals.{place}": array for place, array in enumerate(self.residuals)})
        card = json.dumps(self.card.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, allow_nan=True)
        return card, tensors

    @cached_property
    def sha256(self) -> str:
        """Hash of the card and the arrays; equal models have equal hashes, saved or not."""
        return _digest(*self._content())

    def save(self, path: PathLike, *, overwrite: bool = False) -> Path:
        """Write the model file, whole or not at all; raises OutputError."""
        path = check_output(path, overwrite=overwrite)
        card, tensors = self._content()
        with replacing(path) as part:
            # safetensors itself would make a file that none but its owner may read.
            part.write_bytes(save(tensors, metadata={"geosoil": card, "sha256": self.sha256}))
        return path


def _grouped(asked: Bool) -> tuple[Int64, Int64, Int64]:
    """The cells that are asked for, group by group and within each by rows: the group, row and column of each."""
    height, width = asked.shape
    count = -(-width // _COLUMNS)
    if width % _COLUMNS:
        asked = np.pad(asked, ((0, 0), (0, count * _COLUMNS - width)))
    group, row, column = np.nonzero(asked.reshape(height, count, _COLUMNS).transpose(1, 0, 2))
    return group, row, column + group * _COLUMNS


def _put(values: NDArray[Any], onto: NDArray[Any], row: Int64, column: Int64) -> None:
    """Values (..., cells) of a group to their cells of an array (..., h, w); those of a whole group at once."""
    height = onto.shape[-2]
    if len(row) == height * _COLUMNS:
        onto[..., column[0] : column[0] + _COLUMNS] = values.reshape(*onto.shape[:-1], _COLUMNS)
    else:
        onto[..., row, column] = values


_scratch = Scratch()


def _taken(raw: Float32 | Cells, places: Int64, row: Int64, column: Int64, edges: Int64) -> list[Float32]:
    """Bands at groups of cells of a window, (b, cells) each; what this thread took before is lost.

    See `types.Cells.pick`.
    """
    b = len(places)
    flat = _scratch.take(0, b, len(row)).reshape(-1)
    if not isinstance(raw, np.ndarray):
        raw.pick(places, row, column, edges, flat)
    else:
        none, one, zero = (np.full(b, value) for value in (np.nan, 1.0, 0.0))
        line, apart, by_band = in_line(raw, by_band=True)
        some = (edges, edges[:-1], edges[1:])
        pick_lines(line, apart, by_band, places, row, column, *some, none, one, zero, flat)
    return [flat[b * first : b * last].reshape(b, -1) for first, last in pairwise(edges)]


def _back_table(transform: TargetTransform, soil: Property, statistic: str, residuals: Float64) -> BackTransform:
    """From the transformed scale to a statistic in the property's unit."""
    if statistic == "mean":
        return transform.back_table(residuals, lowest=soil.lowest, highest=soil.highest)
    if statistic.startswith("Q") and 0 < _number(statistic[1:]) < 1:
        quantile = conformal_quantile(residuals, _number(statistic[1:]))
        return transform.quantile_table(quantile, lowest=soil.lowest, highest=soil.highest)
    raise UsageError(
        f"statistic {statistic!r} is not known", code="GS-STATISTIC", hint="give mean, or a quantile such as Q0.05"
    )


def conformal_quantile(residuals: Float64, level: float) -> float:
    """The residual at a level, with the finite-sample correction of split conformal prediction.

    The k-th smallest with k = ceil((n + 1) level) above the median, mirrored below it (Lei et al. 2018).

    >>> conformal_quantile(np.arange(1.0, 20.0), 0.95)
    19.0
    """
    if level < 0.5:
        return -conformal_quantile(-residuals, 1 - level)
    rank = int(np.ceil((len(residuals) + 1) * level))
    return float(np.sort(residuals)[min(rank, len(residuals)) - 1])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _digest(card: str, tensors: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of the card and of every tensor with its name, type and shape."""
    total = hashlib.sha256(card.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        total.update(f"{name} {array.dtype.str} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def load_model(path: PathLike) -> Bundle:
    """Read a model file.

    Raises
    ------
    InputError
        ``GS-FILE-MISSING``: there is no such file.
    ModelError
        ``GS-MODEL-UNSAFE``: the file is of a kind that can run code, and is not opened.
        ``GS-MODEL-DAMAGED``: it is cut off, changed, or its parts do not fit.
    """
    path = Path(path).expanduser()
    _check_header(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, TypeError) as error:
        raise _damaged(path, str(error)) from error
    if "geosoil" not in metadata:
        raise ModelError(
            f"{path.name} is a safetensors file, but not a model of geosoil",
            code="GS-MODEL-FOREIGN",
            hint="give a .gsm file that `geosoil train` wrote",
        )
    digest = _digest(metadata["geosoil"], tensors)
    if metadata.get("sha256") != digest:
        raise _damaged(path, "its content does not match its checksum")
    try:
        card = Card.model_validate_json(metadata["geosoil"])
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(path, f"card: {'.'.join(str(p) for p in first['loc'])}: {first['msg']}") from error
    return _restore(path, card, tensors)


def _restore(path: Path, card: Card, tensors: Mapping[str, NDArray[Any]]) -> Bundle:
    arrays = {name.removeprefix("predictor."): a for name, a in tensors.items() if name.startswith("predictor.")}
    try:
        targets = sum(len(part.depths) for part in card.properties)
        residuals = tuple(tensors[f"residuals.{place}"].astype(np.float64) for place in range(targets))
        if any(one.ndim != 1 or not len(one) for one in residuals):
            raise ValueError("residuals are lists of numbers")
        predictor = cast("Predictor", predictor_class(card.kind).restore(card.predictor, arrays))
        encoder = Encoder.from_meta(card.encoder)
        transforms = tuple(TargetTransform.from_meta(part.transform) for part in card.properties)
        bundle = Bundle(card, encoder, predictor, transforms, residuals)
        if predictor.targets != targets or len(bundle.targets) != targets:
            raise ValueError(f"it predicts {predictor.targets} targets, its card lists {targets}")
        _spot_check(path, bundle)
    except ModelError as error:
        named = error.message if error.message.startswith(path.name) else f"{path.name}: {error.message}"
        raise ModelError(named, code=error.code, details=error.details, hint=error.hint) from error
    except Exception as error:  # values that nobody writes reach NumPy, torch and numba, and each fails in its way
        raise _damaged(path, f"its parts do not fit ({type(error).__name__}: {str(error)[:300]})") from error
    return bundle


def _spot_check(path: Path, bundle: Bundle) -> None:
    """Whole-tile and patch-by-patch prediction agree on a few random cells."""
    size = 3
    edge = size + bundle.patch - 1
    needed = 4 * bundle.encoder.features * (size * bundle.patch) ** 2
    if needed > _MOST_CHECKED:
        raise ValueError(f"patches of {bundle.patch} cells and {bundle.encoder.features} features")
    tile = np.random.default_rng(0).random((edge, edge, bundle.encoder.features), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(tile, (bundle.patch, bundle.patch), axis=(0, 1))
    patches = np.ascontiguousarray(windows.transpose(0, 1, 3, 4, 2)).reshape(
        -1, bundle.patch, bundle.patch, bundle.encoder.features
    )
    dense = bundle.predictor.predict_tile(tile).reshape(bundle.predictor.targets, -1).T
    naive = bundle.predictor.predict(patches)
    spread = max([float(np.std(one)) for one in bundle.residuals if len(one) > 1] + [1e-3])
    worst = float(np.max(np.abs(dense - naive)))
    if not worst <= 10 * _TOLERANCE * max(spread, float(np.abs(naive).max())):
        raise ModelError(
            f"{path.name}: whole-tile and patch-by-patch prediction differ by {worst:.2g}",
            code="GS-MODEL-CHECK",
            hint="the model cannot be trusted on this machine; please report it",
        )


def _check_header(path: Path) -> None:
    """Refuse what is not safetensors before any library sees it."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise InputError(f"{path} cannot be read", code="GS-FILE-MISSING", details=[error.strerror or ""]) from error
    header = int.from_bytes(head[:8], "little")
    # The length of a header may begin like a pickle, so what stands behind it counts more.
    ours = head[8:9] == b"{" and 2 <= header <= min(_MOST_HEADER_BYTES, size - 8)
    if not ours and (head[:1] == b"\x80" or head[:2] == b"PK"):
        raise ModelError(
            f"{path.name} is a pickle or a zip of pickles, which can run code; it was not opened",
            code="GS-MODEL-UNSAFE",
            hint="give a .gsm file that `geosoil train` wrote",
        )
    if len(head) < 16 or head[8:9] != b"{":
        raise _damaged(path, "it does not begin like a model file")
    if not 2 <= header <= min(_MOST_HEADER_BYTES, size - 8):
        raise _damaged(path, f"its header claims {header} bytes, the file has {size}")


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(
        f"{path.name} is not a whole, unchanged model file",
        code="GS-MODEL-DAMAGED",
        details=[why],
        hint="copy it again, or train it again",
    )
