"""The suite's workloads: a model file of geosoil, the same model as its makers' own object, and what it must cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from dense import multiplications, networks
from inversion import chain_rows, unavoidable
from inversion import make_model as make_fusion_model
from made import SHARED, make_bundle, make_predictor
from numpy.typing import NDArray
from sklearn.cross_decomposition import PLSRegression
from sklearn.ensemble import RandomForestRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from geosoil.models.bundle import Bundle, load_model
from geosoil.models.cnn import Standard
from geosoil.models.forest import ForestPredictor, Trees
from geosoil.models.linear import LinearHead
from geosoil.models.nets import NetSpec
from geosoil.models.spectral import SpectralPredictor, TargetHead
from geosoil.models.svr import SvrHead
from geosoil.prep.encode import Encoder
from geosoil.prep.spectra import Preprocess
from geosoil.prep.target import TargetTransform

from .scenes import RANGE, names_of, samples

if TYPE_CHECKING:
    from geosoil.types import Float32

__all__ = ["DEPTHS", "Workload", "cnn", "forest", "fusion", "plsr", "svr"]

#: Depths of the patch networks.
DEPTHS = 6
#: Samples that the models of single cells are fitted on; those of the forest make trees of some 2,500 nodes.
_FEW, _MANY = 150, 2000
_TREES, _FEW_TREES = 100, 10
_BATCH = 4096

Products = tuple[tuple[int, tuple[tuple[int, int], ...]], ...]
#: Cells (n, B), or patches (n, w, w, B), to values (n, T).
Rows = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class Workload:
    """A model, and what the peers run.

    Attributes
    ----------
    model : Path
        geosoil's model file.
    bundle : Bundle
        The same.
    rows : callable
        Cells, or patches, as they are in the scene, to values; what a user of scikit-learn or torch would call.
    targets : int
        Values a cell.
    patch : int
        Width of the patches, cells.
    products : tuple of (int, tuple of (int, int))
        Multiplications and additions that a cell cannot do without, by the shapes (in, out) of the matrix products
        behind them; none for a forest.
    estimator : Any
        scikit-learn's object, where there is one.
    fit_on : ((n, B), (n,)) or None
        What another program can fit its own model on.
    exact : bool
        Whether that other model is the same one.
    exponentials : int
        Those that a cell cannot do without.
    """

    model: Path
    bundle: Bundle
    rows: Rows
    targets: int
    patch: int
    products: Products
    estimator: Any = None
    fit_on: tuple[Float32, NDArray[Any]] | None = None
    exact: bool = True
    exponentials: int = 0


def plsr(folder: Path, bands: int, quick: bool = False) -> Workload:
    """Partial least squares on the cell's bands."""
    X, y = _training(bands, _FEW)
    model = PLSRegression(min(10, bands), scale=False).fit(X, y)
    coef = np.asarray(model.coef_, np.float64).ravel()
    intercept = float(np.ravel(model.predict(np.zeros((1, bands))))[0])
    head = LinearHead(coef, intercept, min(10, bands), np.ones(bands))
    # Values that are the linear model's to the last digit, so that an unbounded fit finds it again.
    line = X @ coef + intercept
    return _of_cells(
        folder, "plsr", head, bands, _column(model.predict), ((2 * bands, ((bands, 1),)),), model, (X, line)
    )


def svr(folder: Path, bands: int, quick: bool = False) -> Workload:
    """Support vectors with a Gaussian kernel."""
    X, y = _training(bands, _FEW)
    model = make_pipeline(StandardScaler(), SVR(C=10.0, gamma=1 / bands, epsilon=0.05)).fit(X, y)
    scaler, machine = model[0], model[1]
    head = SvrHead(
        mean=np.asarray(scaler.mean_),
        sd=np.asarray(scaler.scale_),
        support=np.ascontiguousarray(machine.support_vectors_, np.float64),
        dual=np.asarray(machine.dual_coef_[0], np.float64),
        gamma=1 / bands,
        intercept=float(machine.intercept_[0]),
        c=10.0,
        epsilon=0.05,
    )
    vectors = len(head.dual)
    products = ((2 * vectors * (bands + 1), ((bands, vectors),)),)
    made = _of_cells(folder, "svr", head, bands, _column(model.predict), products, model, None)
    return replace(made, exponentials=vectors)


def forest(folder: Path, bands: int, quick: bool = False) -> Workload:
    """A hundred trees of some 2,500 nodes."""
    X, y = _training(bands, _MANY // 10 if quick else _MANY)
    model = RandomForestRegressor(_FEW_TREES if quick else _TREES, n_jobs=-1, random_state=0).fit(X, y)
    predictor = ForestPredictor((Trees.of(model),), np.array([2.5]), bands, 1)
    bundle = make_bundle(folder / "forest.gsm", predictor, _as_is(bands, X), "rf", _plain(y))
    return Workload(
        folder / "forest.gsm", bundle, _column(model.predict), 1, 1, (), model, (X, y), exact=False
    )  # fmt: skip


def cnn(folder: Path, bands: int, patch: int) -> Workload:
    """Patch networks of six depths whose first convolutions are shared, as depth transfer leaves them."""
    made = make_predictor(patch, DEPTHS, bands)
    # Away from 0, where values are cut off.
    predictor = replace(made, standard=Standard.bare(np.full(DEPTHS, 20.0), np.ones(DEPTHS)))
    encoder = Encoder.fit(np.array([RANGE]).T.repeat(bands, axis=1).astype(np.float32), names_of(bands))
    path = folder / f"cnn-{bands}-{patch}.gsm"
    bundle = make_bundle(path, predictor, encoder, "transfer", _plain(np.array([0.0, 1.0])))
    nets = networks(predictor)

    def rows(patches: NDArray[Any]) -> NDArray[Any]:
        found = []
        with torch.inference_mode():
            for start in range(0, len(patches), _BATCH):
                scaled = np.ascontiguousarray(patches[start : start + _BATCH], np.float32) / RANGE[1]
                batch = torch.from_numpy(scaled).permute(0, 3, 1, 2)
                found.append(torch.cat([net(batch, torch.full((len(batch),), depth)) for net, depth in nets], dim=1))
        return torch.cat(found).numpy() + 20

    return Workload(path, bundle, rows, DEPTHS, patch, _convolutions(predictor.spec))


def fusion(folder: Path, scene: Path) -> Workload:
    """Satellite spectra mixed with those that the published auto-encoder generates, to three properties by PLSR."""
    path = make_fusion_model(scene, "plsr", folder)
    bundle = load_model(path)
    flops, shapes = unavoidable(bundle)
    chain = chain_rows(bundle)

    def rows(spectra: NDArray[Any]) -> NDArray[Any]:
        scaled = chain(np.asarray(spectra, np.float32)).T
        backs = zip(bundle.transforms, scaled, bundle.residuals, strict=True)
        return np.stack([transform.mean(z, residuals) for transform, z, residuals in backs], axis=1)

    return Workload(path, bundle, rows, len(bundle.targets), 1, ((flops, tuple(shapes)),))


def _training(bands: int, count: int) -> tuple[Float32, NDArray[Any]]:
    """Cells of the scene, and a response between 20 and 80 that is not linear in them."""
    X = samples(bands, count)
    weights = np.random.default_rng(2).normal(size=bands)
    z = (X - 14) / 7 @ weights / np.sqrt(bands)
    return X, 50 + 15 * np.tanh(z) + 5 * np.sin(3 * z) + np.random.default_rng(3).normal(size=count)


def _of_cells(
    folder: Path,
    name: str,
    head: Any,
    bands: int,
    rows: Rows,
    products: Products,
    estimator: Any,
    fit_on: tuple[Float32, NDArray[Any]] | None,
) -> Workload:
    X, y = _training(bands, _FEW)
    preprocess = Preprocess.fit(X.astype(np.float64), 400.0 + 10 * np.arange(bands), [])
    predictor = SpectralPredictor(preprocess, None, (TargetHead(np.arange(bands), head, -1e6, 1e6),))
    path = folder / f"{name}.gsm"
    bundle = make_bundle(path, predictor, _as_is(bands, X), name, _plain(y))
    return Workload(path, bundle, rows, 1, 1, products, estimator, fit_on)


def _as_is(bands: int, X: Float32) -> Encoder:
    return Encoder.identity(names_of(bands), np.asarray(X, np.float64))


def _plain(y: NDArray[Any]) -> TargetTransform:
    return TargetTransform.fit(y, "none")


def _column(predict: Rows) -> Rows:
    """Values as a column, whatever the library makes of one response."""
    return lambda X: np.asarray(predict(X)).reshape(len(X), -1)


def _convolutions(spec: NetSpec) -> Products:
    """The layers of the patch networks as matrix products of a cell: what the depths share, and what each has."""
    channels = (spec.features, *spec.filters)
    found = [(channels[i] * kernel**2, channels[i + 1]) for i, (kernel, _) in enumerate(spec.kernels)]
    found += [(spec.filters[-1] * spec.left**2, spec.dense[0]), spec.dense]
    shared = 2 * multiplications(spec, 0)
    return ((shared, tuple(found[:SHARED])), (2 * multiplications(spec, DEPTHS) - shared, tuple(found[SHARED:])))
