"""1D convolutional networks as a regression head: one network a fold, and their mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.errors import InputError, UsageError
from geosoil.models.convnet import ConvBlock, ConvSpec, DenseBlock
from geosoil.models.features import damaged
from geosoil.models.fold_training import FoldSchedule, train_folds
from geosoil.models.net_head import NetHead
from geosoil.prep.pls import fold_numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from geosoil.models.heads import HeadSettings
    from geosoil.types import Float64, PathLike

__all__ = ["CnnSettings", "fit_cnn"]


@dataclass(frozen=True, slots=True)
class CnnSettings:
    """Shape and training of a 1D-CNN, for spectra of any number of bands that it fits.

    The defaults are the best of twelve shapes in cross-validation on five real sets of 93 to 130 soils, by the mean
    ratio of their RMSE to that of PLSR. `fitting` shrinks them where spectra are short.

    Attributes
    ----------
    conv, dense
        As `ConvSpec` has them.
    schedule : FoldSchedule
        How to train.
    """

    conv: tuple[ConvBlock, ...] = (
        ConvBlock(32, 8, 4, "same", activation="elu"),
        ConvBlock(64, 4, 2, "same", activation="elu"),
    )
    dense: tuple[DenseBlock, ...] = (DenseBlock(64, dropout=0.1, activation="elu"),)
    schedule: FoldSchedule = field(
        default_factory=lambda: FoldSchedule(learning_rate=2e-3, epochs=500, patience=60, share=0.1)
    )

    def spec(self, bands: int) -> ConvSpec:
        """The network for so many bands; raises UsageError where it does not fit."""
        return ConvSpec(bands, self.conv, self.dense)

    @classmethod
    def fitting(cls, bands: int) -> CnnSettings:
        """The default, with fewer convolutions and smaller kernels where spectra are short.

        >>> [len(CnnSettings.fitting(bands).conv) for bands in (211, 20, 1)]
        [2, 2, 2]
        """
        default = cls()
        conv = list(default.conv)
        length = bands
        for place, block in enumerate(conv):
            stride = block.stride if length >= 8 * block.stride else 1
            conv[place] = replace(block, kernel=min(block.kernel, length), stride=stride)
            length = conv[place].left(length)
        return replace(default, conv=tuple(conv))

    def to_meta(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "conv": [asdict(one) for one in self.conv],
            "dense": [asdict(one) for one in self.dense],
            "schedule": self.schedule.to_meta(),
        }

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> CnnSettings:
        """Inverse of `to_meta`; raises ModelError ``GS-MODEL-DAMAGED``."""
        conv, dense = ConvSpec.parts_of(meta)
        schedule = meta.get("schedule")
        if not isinstance(schedule, Mapping):
            raise damaged("the training settings")
        return cls(conv, dense, FoldSchedule.from_meta(schedule))

    @classmethod
    def load(cls, path: PathLike) -> CnnSettings:
        """The best settings of a file that `SearchResult.save` wrote; raises InputError ``GS-SEARCH-FILE``."""
        try:
            meta = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls.from_meta(meta["best"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{Path(path).name} is not what a search of networks leaves",
                code="GS-SEARCH-FILE",
                details=[f"file: {path}", str(error).splitlines()[0]],
                hint="give best.json of the search's folder",
            ) from error


def fit_cnn(
    X: Float64,
    y: Float64,
    settings: HeadSettings,
    groups: ArrayLike | None,
    seed: int,
    *,
    net: CnnSettings | None = None,
    device: str = "auto",
) -> NetHead:
    """Train a network a fold, each on the others, and keep all: the prediction is their mean (Shen et al. 2022).

    Parameters
    ----------
    X, y : (n, F), (n,) float64
        Features and response.
    settings : HeadSettings
        `folds` (by default 10, and 5 below 60 samples) and the most `epochs`.
    groups : (n,) array-like, optional
        Samples of one group share a fold.
    seed : int
        Of folds, weights, batches and dropout.
    net : CnnSettings, optional
        Shape and training, as a search found them, instead of those of `settings`; the default fits itself to the
        bands.

    Returns
    -------
    NetHead
        Its `rmsecv` is the error on what the networks did not see.
    """
    fold = fold_numbers(len(y), settings.folds, groups=groups, seed=seed)
    net = net if net is not None else settings.net
    chosen = net if net is not None else CnnSettings.fitting(X.shape[1])
    if net is None:
        chosen = replace(chosen, schedule=replace(chosen.schedule, epochs=min(settings.epochs, chosen.schedule.epochs)))
    try:
        spec = chosen.spec(X.shape[1])
    except UsageError as error:
        raise InputError(
            f"the network that was searched does not fit spectra of {X.shape[1]} bands",
            code="GS-NET-LENGTH",
            hint="search one for these spectra, or take the default",
        ) from error
    fit = train_folds(spec, X, y, fold, chosen.schedule, seed=seed, groups=groups, device=device)
    # Each network has its own centre and spread; the last layer takes them over, so that one pair serves all.
    centre, spread = float(y.mean()), float(y.std())
    weights = dict(fit.weights)
    factor, shift = fit.spread / spread, (fit.centre - centre) / spread
    weights["head.weight"] = (weights["head.weight"] * factor[:, None, None]).astype(np.float32)
    weights["head.bias"] = (weights["head.bias"] * factor[:, None] + shift[:, None]).astype(np.float32)
    return NetHead("cnn", spec, weights, centre, spread, fit.rmse)
