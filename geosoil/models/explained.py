"""What of a fitted model is explained: the inputs that get a contribution, and how these are found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from geosoil.models.attributions import (
    Attribution,
    expected_gradients,
    linear_attribution,
    permutation_attribution,
    tree_attribution,
)
from geosoil.models.cnn import DEPTH_SCALE_CM, PatchPredictor
from geosoil.models.dnn import DnnHead
from geosoil.models.forest import ForestPredictor
from geosoil.models.gradients import (
    Chain,
    Dense,
    Join,
    Layer,
    Sum,
    Take,
    Traced,
    chains_layer,
    dnn_layer,
    resnet_layer,
    scaled,
    svr_layer,
    together,
)
from geosoil.models.linear import LinearHead
from geosoil.models.mixture_head import MixtureHead
from geosoil.models.net_head import NetHead
from geosoil.models.pooled_head import PooledHead
from geosoil.models.pooled_layers import pooled_layer, weighted_layer
from geosoil.models.resnet import ResNet1D
from geosoil.models.spectral_forest import ForestHead
from geosoil.models.svr import SvrHead
from geosoil.prep.fractional import fractional_derivative
from geosoil.types import Progress, quiet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.models.fusion_layers import Chains
    from geosoil.models.heads import Head
    from geosoil.models.spectral import SpectralPredictor, TargetHead
    from geosoil.prep.encode import Encoder
    from geosoil.types import Bool, Float32, Float64, Predictor

__all__ = ["Drawing", "Subject", "covariate_subject", "spectral_subject"]

#: Preprocessing that is a weighted sum of bands.
_LINEAR_STEPS = {"sg", "gapder", "movav", "scale", "resample"}
#: Blocks of neighbouring inputs that a model without gradients is asked about.
_BLOCKS = 24
#: Rows of the background that forests are compared with; their work grows with it.
_TREE_BACKGROUND = 100
#: Orders in which the blocks of a sample are switched; each takes a prediction a block.
_MOST_ORDERS = 25


@dataclass(frozen=True, slots=True)
class Drawing:
    """How much is drawn, and by how many threads.

    Attributes
    ----------
    draws : int
        Points a sample, of expected gradients.
    seed : int
    num_workers : int, optional
    """

    draws: int = 200
    seed: int = 0
    num_workers: int | None = None


_Explain: TypeAlias = Callable[["Float64", "Float64", Drawing, Progress], Attribution]


@dataclass(frozen=True, eq=False)
class Subject:
    """One output of a model as a function of inputs that have names.

    Attributes
    ----------
    names : tuple of str
        Of the inputs that get a contribution: bands, or covariates.
    quantity : str
        What the inputs are: ``reflectance``, ``preprocessed spectra``, ``covariates``.
    method : str
        How contributions are found, in words.
    rows : callable
        What a model file takes, spectra (n, p) or encoded patches (n, w, w, F), to the inputs (n, inputs).
    wavelength_nm : (inputs,) float64, optional
    source : tuple of str
        For each input ``satellite`` or ``generated``; empty where all are of one kind.
    read : (inputs,) bool
        Whether the model looks at it at all.
    width : int
        Neighbouring inputs that the model joins before anything else, and cannot tell apart.
    why : str
        What keeps the contributions from being those of reflectance; empty where nothing does.
    """

    names: tuple[str, ...]
    quantity: str
    method: str
    rows: Callable[[NDArray[Any]], Float64]
    run: _Explain
    read: Bool
    wavelength_nm: Float64 | None = None
    source: tuple[str, ...] = ()
    width: int = 1
    why: str = ""
    notes: tuple[str, ...] = field(default=())

    def attribute(self, X: Float64, background: Float64, drawing: Drawing, progress: Progress = quiet) -> Attribution:
        """Contributions of the inputs ``rows`` made, (n, inputs), against a background (m, inputs)."""
        return self.run(X, background, drawing, progress)


def spectral_subject(predictor: SpectralPredictor, target: int) -> Subject:
    """What is explained of a target of a model of spectra.

    Contributions are those of reflectance where preprocessing is a weighted sum of bands, and else those of the
    preprocessed spectra. They go through a translator that is a chain of layers, so that what a model draws from
    generated bands falls to the satellite bands behind them.
    """
    head = predictor.heads[target]
    bands = len(predictor.preprocess.wavelength_nm)
    generated = bool((head.support >= bands).any())
    chains = predictor.translator.chains() if generated and predictor.translator is not None else None
    layer = None if isinstance(head.head, LinearHead) else _layer_of(head.head)
    smooth = layer is not None or isinstance(head.head, LinearHead)
    if generated and (chains is None or not smooth):
        why = (
            f"a model of kind {head.head.kind} has no gradient that could be followed through the translator"
            if not smooth
            else "the translator averages draws, and is no chain of layers"
        )
        return _of_features(predictor, head, layer, why)
    if not smooth:
        return _of_bands(predictor, head)
    steps = [step.name for step in predictor.preprocess.steps]
    bent = [str(step) for step in predictor.preprocess.steps if step.name not in _LINEAR_STEPS]
    back = _matrix(predictor) if steps and not bent else None
    if isinstance(head.head, LinearHead) and (chains is None or not chains.members):
        run: _Explain = partial(_linear, predictor, head, back)
        method = "closed form: coefficient times distance to the background's mean"
        slope = _coefficients(predictor, head, back)
        read = slope != 0
    else:
        run = partial(_smooth, _assembled(head, layer, chains, bands, back))
        method = "expected gradients"
        read = np.ones(bands, np.bool_) if generated else np.isin(np.arange(bands), head.support)
        read = read if back is None else (np.abs(back[0]) @ read.astype(float)) > 0
        if chains is None and back is None and len(head.support) < bands:
            run = partial(_scattered, partial(_smooth, layer or _dense(head.head)), head.support)
    whole = not generated and back is None and np.array_equal(head.support, np.arange(bands))
    return Subject(
        names=_band_names(predictor, reflectance=not bent),
        quantity="preprocessed spectra" if bent else "reflectance",
        method=method,
        rows=_as_float if not bent else predictor.preprocess.apply,
        run=run,
        read=read,
        wavelength_nm=predictor.preprocess.wavelength_nm if bent or not steps else predictor.preprocess.source_nm,
        width=_window(head.head) if whole else 1,
        why=f"{', '.join(bent)} is no weighted sum of bands" if bent else "",
        notes=("what generated bands contribute is given to the satellite bands behind them",) if generated else (),
    )


def covariate_subject(encoder: Encoder, predictor: Predictor, target: int) -> Subject:
    """What is explained of a depth of a model of covariates: each band, summed over a patch's cells and classes."""
    join = _band_of_column(encoder)
    names = (*encoder.bands, *(("missing",) if encoder.mask_channel else ()))
    every = np.tile(join, (predictor.patch**2, 1))
    rows: Callable[[NDArray[Any]], Float64] = _flat
    if isinstance(predictor, PatchPredictor):
        net = _PatchValue(predictor, target)
        run: _Explain = partial(_smooth, Traced(net.eval()), join=every)
        method = "expected gradients"
    elif isinstance(predictor, ForestPredictor):
        run, rows = partial(_joined, partial(_forest_cells, predictor, target), join), _centre
        method = f"shap.TreeExplainer against up to {_TREE_BACKGROUND} cells of the background"
    else:
        blocks = [np.flatnonzero(column > 0).tolist() for column in every.T]
        shape = (predictor.patch, predictor.patch, len(join))
        run = partial(_joined, partial(_permuted, partial(_of_patches, predictor, target, shape), blocks), every)
        method = "sampled permutations of covariates"
    return Subject(
        names=names,
        quantity="covariates",
        method=method,
        rows=rows,
        run=run,
        read=np.ones(len(names), np.bool_),
    )


def _as_float(spectra: NDArray[Any]) -> Float64:
    return np.asarray(spectra, np.float64)


def _flat(patches: NDArray[Any]) -> Float64:
    return np.asarray(patches, np.float64).reshape(len(patches), -1)


def _centre(patches: NDArray[Any]) -> Float64:
    middle = patches.shape[1] // 2
    return np.asarray(patches[:, middle, middle], np.float64)


# Models of spectra ----------------------------------------------------------------------------------------------------


def _layer_of(head: Head) -> Layer | None:
    """A head as layers, features (n, k) to (n, 1); None for one that has no gradient."""
    match head:
        case DnnHead():
            return dnn_layer(head)
        case SvrHead():
            return svr_layer(head)
        case LinearHead():
            return _dense(head)
        case NetHead():
            nets = together([_net_layer(net, head.centre, head.spread) for net in head.networks()])
            return nets if head.slope is None else Sum((nets, _weighted(head.slope)))
        case PooledHead():
            return pooled_layer(head)
        case MixtureHead():
            return _mixture_layer(head)
    return None


def _mixture_layer(head: MixtureHead) -> Layer | None:
    """The parts that have a say; None where one of them has no gradient."""
    said = [(part, float(weight)) for part, weight in zip(head.parts, head.weights, strict=True) if weight > 0]
    layers = [_layer_of(part) for part, _ in said]
    known = [layer for layer in layers if layer is not None]
    return weighted_layer(known, [weight for _, weight in said]) if len(known) == len(layers) else None


def _net_layer(net: nn.Module, centre: float, spread: float) -> Layer:
    if isinstance(net, ResNet1D):
        return resnet_layer(net, centre, spread)
    for one in net.parameters():
        one.requires_grad = False
    return Chain((Traced(net.eval()), *scaled(1, centre, spread)))


def _dense(head: Any) -> Dense:
    return _weighted(head.coef, head.intercept)


def _weighted(coef: Float64, intercept: float = 0.0) -> Dense:
    """A weighted sum of the features."""
    return Dense(torch.from_numpy(coef[None].astype(np.float32)), torch.tensor([intercept], dtype=torch.float32))


def _window(head: Head) -> int:
    """Bands that a network's first layer joins, where nothing else reads them one by one."""
    return int(getattr(head.spec, "window", 1)) if isinstance(head, NetHead) and head.slope is None else 1


def _assembled(
    head: TargetHead, layer: Layer | None, chains: Chains | None, bands: int, back: tuple[Float64, Float64] | None
) -> Layer:
    """Reflectance, or preprocessed spectra, to the value: preprocessing, translator, choice of features, head."""
    own = layer or _dense(head.head)
    parts: list[Layer] = []
    if back is not None:
        matrix, offset = back
        parts.append(Dense(torch.from_numpy(matrix.T.astype(np.float32)), torch.from_numpy(offset.astype(np.float32))))
    if chains is not None:
        parts.append(Join(chains_layer(chains)))
    if not (chains is None and np.array_equal(head.support, np.arange(bands))):
        parts.append(Take(torch.from_numpy(head.support)))
    return Chain((*parts, own)) if parts else own


def _matrix(predictor: SpectralPredictor) -> tuple[Float64, Float64]:
    """Preprocessing that is a weighted sum of bands: matrix (p, q) and offset (q,)."""
    bands = len(predictor.preprocess.source_nm)
    zero = predictor.preprocess.apply(np.zeros((1, bands)))[0]
    return np.asarray(predictor.preprocess.apply(np.eye(bands)) - zero, np.float64), np.asarray(zero, np.float64)


def _coefficients(predictor: SpectralPredictor, head: TargetHead, back: tuple[Float64, Float64] | None) -> Float64:
    """Slope of a linear head by the inputs that are explained."""
    bands = len(predictor.preprocess.wavelength_nm)
    both = np.zeros(2 * bands)
    both[head.support] = head.head.coef  # type: ignore[attr-defined]
    slope = both[:bands]
    chains = None if predictor.translator is None else predictor.translator.chains()
    if both[bands:].any() and chains is not None and chains.skip is not None:
        slope = slope + both[bands:] @ chains.skip.weight.astype(np.float64)
    return slope if back is None else np.asarray(back[0] @ slope, np.float64)


def _linear(
    predictor: SpectralPredictor,
    head: TargetHead,
    back: tuple[Float64, Float64] | None,
    X: Float64,
    background: Float64,
    drawing: Drawing,
    progress: Progress,
) -> Attribution:
    rows = np.concatenate([X, background])
    near = rows if back is None else predictor.preprocess.apply(rows)
    features = np.hstack([near, predictor.generate(near)])
    output = head.head.predict(features[:, head.support])
    progress(len(X), len(X), "attributing")
    return linear_attribution(_coefficients(predictor, head, back), output, X, background)


def _smooth(
    layer: Layer,
    X: Float64,
    background: Float64,
    drawing: Drawing,
    progress: Progress,
    join: Float64 | None = None,
) -> Attribution:
    return expected_gradients(
        layer,
        X,
        background,
        draws=drawing.draws,
        seed=drawing.seed,
        join=join,
        num_workers=drawing.num_workers,
        progress=progress,
    )


def _scattered(
    run: _Explain,
    columns: NDArray[np.int64],
    X: Float64,
    background: Float64,
    drawing: Drawing,
    progress: Progress,
) -> Attribution:
    """Explained on the columns that are read; all others contribute nothing."""
    found = run(X[:, columns], background[:, columns], drawing, progress)
    values = np.zeros(X.shape)
    values[:, columns] = found.values
    return replace(found, values=values)


def _of_bands(predictor: SpectralPredictor, head: TargetHead) -> Subject:
    """A head without gradients on preprocessed satellite bands."""
    bands = len(predictor.preprocess.wavelength_nm)
    steps = ", ".join(str(step) for step in predictor.preprocess.steps)
    return Subject(
        names=_band_names(predictor, reflectance=not steps),
        quantity="preprocessed spectra" if steps else "reflectance",
        method=_method(head.head),
        rows=predictor.preprocess.apply,
        run=partial(_scattered, _plain(head.head), head.support),
        read=np.isin(np.arange(bands), head.support),
        wavelength_nm=predictor.preprocess.wavelength_nm,
        why=f"a model of kind {head.head.kind} has no gradient to follow through {steps}" if steps else "",
        notes=_notes(head.head),
    )


def _of_features(predictor: SpectralPredictor, head: TargetHead, layer: Layer | None, why: str) -> Subject:
    """A head on satellite and generated bands, each of which gets its own contribution."""
    bands = len(predictor.preprocess.wavelength_nm)
    names = _band_names(predictor, reflectance=False)
    return Subject(
        names=(*names, *(f"{name} generated" for name in names)),
        quantity="satellite and generated spectra",
        method="expected gradients" if layer is not None else _method(head.head),
        rows=predictor.features,
        run=partial(_scattered, partial(_smooth, layer) if layer is not None else _plain(head.head), head.support),
        read=np.isin(np.arange(2 * bands), head.support),
        wavelength_nm=np.tile(predictor.preprocess.wavelength_nm, 2),
        source=("satellite",) * bands + ("generated",) * bands,
        why=why,
        notes=_notes(head.head),
    )


def _method(head: Head) -> str:
    if isinstance(head, ForestHead):
        return f"shap.TreeExplainer against up to {_TREE_BACKGROUND} spectra of the background"
    return f"sampled permutations of {_BLOCKS} blocks of bands"


def _notes(head: Head) -> tuple[str, ...]:
    if isinstance(head, ForestHead) and head.order:
        return (f"contributions are those of the derivative of order {head.order:g} at each band",)
    return ()


def _plain(head: Head) -> _Explain:
    """How a head without gradients is explained on its own features."""
    if isinstance(head, ForestHead):
        return partial(_forest_bands, head)
    blocks = [one.tolist() for one in np.array_split(np.arange(head.features), min(_BLOCKS, head.features))]
    return partial(_permuted, head.predict, blocks)


def _forest_bands(
    head: ForestHead, X: Float64, background: Float64, drawing: Drawing, progress: Progress
) -> Attribution:
    rows, far = X, _some(background, _TREE_BACKGROUND)
    if head.order:
        rows, far = (np.asarray(fractional_derivative(one, head.order, pieces=head.pieces)) for one in (rows, far))
    return tree_attribution(head.trees, rows, far, progress=progress)


def _permuted(
    predict: Callable[[Float64], NDArray[Any]],
    blocks: Sequence[Sequence[int]],
    X: Float64,
    background: Float64,
    drawing: Drawing,
    progress: Progress,
) -> Attribution:
    draws = min(drawing.draws, _MOST_ORDERS)
    return permutation_attribution(predict, X, background, blocks, draws=draws, seed=drawing.seed, progress=progress)


def _some(rows: Float64, most: int) -> Float64:
    """Not more rows than `most`, evenly from all."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]


def _band_names(predictor: SpectralPredictor, *, reflectance: bool) -> tuple[str, ...]:
    own = predictor.preprocess
    return tuple(f"{one:.10g}" for one in (own.source_nm if reflectance else own.wavelength_nm))


# Models of covariates -------------------------------------------------------------------------------------------------


def _band_of_column(encoder: Encoder) -> Float64:
    """Encoded columns (F) to bands (B): 1 where a column is of a band. The mask of missing cells stands alone."""
    widths = [1 if codes is None else len(codes) for codes in encoder.categories]
    owner = np.repeat(np.arange(len(widths)), widths)
    if encoder.mask_channel:
        owner = np.append(owner, len(widths))
    return np.eye(int(owner.max()) + 1)[owner]


def _joined(
    run: _Explain, join: Float64, X: Float64, background: Float64, drawing: Drawing, progress: Progress
) -> Attribution:
    """Contributions of cells and columns, summed to those of bands."""
    found = run(X, background, drawing, progress)
    return replace(found, values=found.values @ join)


class _PatchValue(nn.Module):
    """One depth of an ensemble of patch networks: flat patches (n, w w F) to the transformed scale (n, 1)."""

    def __init__(self, predictor: PatchPredictor, target: int) -> None:
        super().__init__()
        several = predictor.spec.outputs > 1
        place = 0 if several else target
        self.nets = nn.ModuleList(member[place] for member in predictor._nets)
        for one in self.nets.parameters():
            one.requires_grad = False
        self.column = target if several else 0
        self.edge = predictor.patch
        self.depth = float(predictor.depths_cm[target]) / DEPTH_SCALE_CM if predictor.spec.depth_input else None
        self.centre = float(predictor.standard.centre[target])
        self.spread = float(predictor.standard.spread[target])

    def forward(self, flat: Tensor) -> Tensor:
        """See the class."""
        patches = flat.view(len(flat), self.edge, self.edge, -1).permute(0, 3, 1, 2)
        level = None if self.depth is None else torch.full((len(flat),), self.depth)
        total = torch.stack([self._one(net, patches, level) for net in self.nets]).mean(0)
        return total * self.spread + self.centre

    def _one(self, net: nn.Module, patches: Tensor, level: Tensor | None) -> Tensor:
        found: Tensor = net(patches, level)
        return found[:, self.column : self.column + 1]


def _forest_cells(
    predictor: ForestPredictor, target: int, X: Float64, background: Float64, drawing: Drawing, progress: Progress
) -> Attribution:
    far = _some(background, _TREE_BACKGROUND)
    if not predictor.depth_as_input:
        return tree_attribution(predictor.forests[target], X, far, progress=progress)
    # The depth is the same in samples and background, so it contributes nothing.
    rows, far = (np.column_stack([one, np.full(len(one), predictor.depths_cm[target])]) for one in (X, far))
    found = tree_attribution(predictor.forests[0], rows, far, progress=progress)
    return replace(found, values=found.values[:, :-1])


def _of_patches(predictor: Predictor, target: int, shape: tuple[int, int, int], rows: Float64) -> Float32:
    """Predictions of flat patches (n,)."""
    patches = np.ascontiguousarray(rows.reshape(len(rows), *shape), np.float32)
    return predictor.predict(patches)[:, target]
