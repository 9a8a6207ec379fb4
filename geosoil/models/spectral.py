"""Models of spectra: preprocessing, a translator to laboratory-like spectra, and a head a target, as one predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.errors import ModelError
from geosoil.models.fusion_translators import Translator, restore_translator
from geosoil.models.heads import Head, restore_head
from geosoil.models.spectral_dense import DenseSpectra, Readout
from geosoil.prep.spectra import Preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Bool, Float32, Float64, Int64

__all__ = ["SpectralPredictor", "TargetHead"]


@dataclass(frozen=True, eq=False)
class TargetHead:
    """A head with the features that it takes.

    Attributes
    ----------
    support : (k,) int64
        Places among the 2 q features: the q preprocessed satellite bands, then the q generated ones.
    head : Head
        From these features to the transformed scale.
    lowest, highest : float
        Range of the training values there; predictions are kept within it, since a linear model extrapolates without
        bound and the way back from a logarithm would make absurd values of it.
    """

    support: Int64
    head: Head
    lowest: float
    highest: float

    def __call__(self, features: Float64) -> Float64:
        """Features (n, 2 q) to values (n,)."""
        return np.clip(self.head.predict(features[:, self.support]), self.lowest, self.highest)


@dataclass(frozen=True, eq=False)
class SpectralPredictor:
    """A fitted model of spectra; takes reflectance of its bands, cell by cell.

    Attributes
    ----------
    preprocess : Preprocess
        From the p bands to the q that the rest works on.
    translator : Translator or None
        Generates laboratory-like spectra on the q bands; None where no head reads them.
    heads : tuple of TargetHead
        One a target.
    """

    preprocess: Preprocess
    translator: Translator | None
    heads: tuple[TargetHead, ...]

    kind = "spectral"
    patch = 1

    @property
    def targets(self) -> int:
        """Number of targets, T."""
        return len(self.heads)

    @property
    def bands(self) -> int:
        """Number of bands that it takes, p."""
        return len(self.preprocess.source_nm)

    def features(self, spectra: NDArray[Any]) -> Float64:
        """Spectra (n, p) to all features (n, 2 q); those generated are 0 where nothing is."""
        satellite = np.asarray(self.preprocess.apply(np.asarray(spectra, np.float64)), np.float64)
        return np.hstack([satellite, self.generate(satellite)])

    def generate(self, satellite: NDArray[Any]) -> Float64:
        """Preprocessed satellite spectra (n, q) to laboratory-like ones."""
        if self.translator is None:
            return np.zeros(satellite.shape)
        return np.asarray(self.translator.generate(np.asarray(satellite, np.float32)), np.float64)

    def predict_spectra(self, spectra: NDArray[Any]) -> Float64:
        """Spectra (n, p) to values (n, T) on the transformed scale."""
        features = self.features(spectra)
        return np.stack([head(features) for head in self.heads], axis=1)

    def predict(self, features: Float32) -> Float32:
        """Patches of one cell, (n, 1, 1, p), to (n, T)."""
        return self.predict_spectra(features[:, 0, 0]).astype(np.float32)

    def predict_tile(self, features: Float32) -> Float32:
        """A block (h, w, p) to (T, h, w)."""
        height, width, bands = features.shape
        found, _ = self.predict_cells(np.ascontiguousarray(features.reshape(-1, bands).T))
        return found.reshape(self.targets, height, width)

    def predict_cells(self, cells: Float32) -> tuple[Float32, Bool]:
        """Spectra in a scene's own order, bands by cells.

        Parameters
        ----------
        cells : (p, n) float32
            NaN where there is no data.

        Returns
        -------
        (T, n) float32, (n,) bool
            Values on the transformed scale, and where all bands have one.
        """
        if self.preprocess.steps:
            cells = self.preprocess.apply(np.ascontiguousarray(cells.T)).T
        found, whole = self._dense(cells)
        for values, head in zip(found, self.heads, strict=True):
            np.clip(values, head.lowest, head.highest, out=values)
        return found, whole

    @cached_property
    def _dense(self) -> DenseSpectra:
        chains = None if self.translator is None else self.translator.chains()
        readouts = [Readout(one.support, one.head) for one in self.heads]
        return DenseSpectra.of(len(self.preprocess.wavelength_nm), self.translator, chains, readouts)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON values and arrays."""
        first, arrays = self.preprocess.state()
        named = {f"preprocess.{name}": array for name, array in arrays.items()}
        translator = None
        if self.translator is not None:
            meta, arrays = self.translator.state()
            translator = {"kind": self.translator.kind, **meta}
            named |= {f"translator.{name}": array for name, array in arrays.items()}
        heads = []
        for place, one in enumerate(self.heads):
            meta, arrays = one.head.state()
            heads.append({"kind": one.head.kind, "lowest": one.lowest, "highest": one.highest, "head": meta})
            named |= {f"{place}.{name}": array for name, array in arrays.items()}
            named[f"{place}.in.support"] = one.support
        return {"preprocess": first, "translator": translator, "heads": heads}, named

    @classmethod
    def restore(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> SpectralPredictor:
        """Inverse of `state`; raises ModelError ``GS-MODEL-DAMAGED`` where the parts do not fit."""
        preprocess = Preprocess.restore(meta["preprocess"], _under(arrays, "preprocess"))
        bands = len(preprocess.wavelength_nm)
        translator = None
        if meta["translator"] is not None:
            translator = restore_translator(
                str(meta["translator"]["kind"]), meta["translator"], _under(arrays, "translator")
            )
            if translator.bands != bands:
                raise ModelError("the translator's bands are not those of the spectra", code="GS-MODEL-DAMAGED")
        heads = tuple(_restored(one, _under(arrays, str(place)), bands) for place, one in enumerate(meta["heads"]))
        if not heads or (translator is None and any((one.support >= bands).any() for one in heads)):
            raise ModelError("the heads read spectra that nothing generates", code="GS-MODEL-DAMAGED")
        return cls(preprocess, translator, heads)


def _under(arrays: Mapping[str, NDArray[Any]], name: str) -> dict[str, NDArray[Any]]:
    """The arrays of a part, by their names in it."""
    return {one.removeprefix(f"{name}."): array for one, array in arrays.items() if one.startswith(f"{name}.")}


def _restored(meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], bands: int) -> TargetHead:
    support = np.asarray(arrays["in.support"])
    head = restore_head(str(meta["kind"]), meta["head"], arrays)
    lowest, highest = float(meta["lowest"]), float(meta["highest"])
    fits = (
        support.ndim == 1
        and support.dtype == np.int64
        and len(support) == head.features
        and bool((support >= 0).all() and (support < 2 * bands).all())
        and lowest <= highest
    )
    if not fits:
        raise ModelError("a head and its features do not fit", code="GS-MODEL-DAMAGED")
    return TargetHead(support, head, lowest, highest)


def used_features(heads: Sequence[TargetHead]) -> Int64:
    """The features that any head reads, in order."""
    return np.unique(np.concatenate([one.support for one in heads]))
