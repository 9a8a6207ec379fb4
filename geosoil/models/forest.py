"""Random forests: fitted by scikit-learn, kept and run as flat arrays."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.errors import InputError, ModelError
from geosoil.kernels.forest import NODE
from geosoil.kernels.forest import predict as predict_kernel
from geosoil.prep.split import random_folds
from geosoil.types import Layers, Progress, quiet

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.ensemble import RandomForestRegressor

    from geosoil.types import Float32, Float64

__all__ = ["Forest", "ForestPredictor", "Trees"]

#: Trees while the grid is searched.
_SEARCH_TREES = 100
#: What the arrays of a forest hold; the kernel trusts it.
_DTYPES = {
    "start": "int64", "feature": "int32", "threshold": "float64", "left": "int32", "right": "int32",
    "value": "float64", "importance": "float64",
}  # fmt: skip


@dataclass
class Forest:
    """Random forest (Breiman 2001) on the cell of a profile, one a depth, an estimator.

    Parameters
    ----------
    trees : int
        Number of trees.
    max_features : sequence of float
        Grid of shares of the features that a split looks at.
    min_samples_leaf : sequence of int
        Grid of least leaf sizes.
    depth_as_input : bool
        One forest on all layers, with the depth as a further feature.
    folds : int
        Folds of the grid search where layers share profiles; else it looks at out-of-bag errors. The search is made
        for each forest.
    """

    trees: int = 500
    max_features: Sequence[float] = (1 / 3, 2 / 3, 1.0)
    min_samples_leaf: Sequence[int] = (1, 3, 5, 10)
    depth_as_input: bool = False
    folds: int = 5
    seed: int = 0

    def fit(self, features: Float32, layers: Layers, depths_cm: Float64, progress: Progress = quiet) -> ForestPredictor:
        """Fit on patches, of which the centre cell is used; see `types.Estimator`."""
        middle = features.shape[1] // 2
        cells = np.asarray(features[:, middle, middle], np.float32)
        forests, chosen = [], []
        targets: list[int | None] = [None] if self.depth_as_input else list(range(len(depths_cm)))
        for done, target in enumerate(targets):
            progress(done, len(targets), "training forests")
            here = np.ones(len(layers), bool) if target is None else layers.target == target
            x, y = cells[layers.profile[here]], layers.value[here]
            if target is None:
                x = np.hstack([x, layers.depth_cm[here, None].astype(np.float32)])
            if len(y) < 2:
                raise InputError("a depth with fewer than two layers cannot be trained on", code="GS-SAMPLES-FEW")
            best = self._search(x, y, layers.profile[here])
            chosen.append(best)
            forests.append(Trees.of(self._forest(self.trees, *best).fit(x, y)))
        progress(len(targets), len(targets), "training forests")
        return ForestPredictor(
            forests=tuple(forests),
            depths_cm=np.asarray(depths_cm, np.float64),
            features=features.shape[-1],
            patch=features.shape[1],
            depth_as_input=self.depth_as_input,
            chosen=tuple(chosen),
        )

    def _forest(self, trees: int, share: float, leaf: int, *, oob: bool = False) -> RandomForestRegressor:
        from sklearn.ensemble import RandomForestRegressor  # maps walk arrays, and need no scikit-learn

        return RandomForestRegressor(
            trees, max_features=share, min_samples_leaf=leaf, random_state=self.seed, n_jobs=1, oob_score=oob
        )

    def _search(self, x: Float32, y: Float64, profiles: NDArray[np.int64]) -> tuple[float, int]:
        """The grid point with the least squared error on what its trees did not see."""
        grid = list(product(self.max_features, self.min_samples_leaf))
        if len(grid) == 1 or len(y) < 5:
            return grid[0]
        # A profile with several layers would be in and out of a tree's bag at once: then folds by profile, else out
        # of bag, which costs a fifth.
        measure = self._out_of_bag if len(np.unique(profiles)) == len(profiles) else self._held_out
        return grid[int(np.argmin([measure(x, y, profiles, *point) for point in grid]))]

    def _out_of_bag(self, x: Float32, y: Float64, profiles: NDArray[np.int64], share: float, leaf: int) -> float:
        with warnings.catch_warnings():
            # With few trees a row may be in every bag; it then counts as badly predicted for all grid points alike.
            warnings.simplefilter("ignore", UserWarning)
            forest = self._forest(min(_SEARCH_TREES, self.trees), share, leaf, oob=True).fit(x, y)
        return float(((forest.oob_prediction_ - y) ** 2).sum())

    def _held_out(self, x: Float32, y: Float64, profiles: NDArray[np.int64], share: float, leaf: int) -> float:
        fold = random_folds(profiles, min(self.folds, len(np.unique(profiles))), self.seed)
        total = 0.0
        for one in range(int(fold.max()) + 1):
            out = fold == one
            forest = self._forest(min(_SEARCH_TREES, self.trees), share, leaf).fit(x[~out], y[~out])
            total += float(((forest.predict(x[out]) - y[out]) ** 2).sum())
        return total


@dataclass(frozen=True, eq=False)
class Trees:
    """One forest as flat arrays.

    A row goes left where ``row[feature] <= threshold``; a negative feature marks a leaf. Children are counted from the
    first node of their tree, ``start``.
    """

    start: NDArray[np.int64]
    feature: NDArray[np.int32]
    threshold: Float64
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: Float64
    importance: Float64

    @classmethod
    def of(cls, forest: RandomForestRegressor) -> Trees:
        """The arrays of a fitted scikit-learn forest."""
        trees = [one.tree_ for one in forest.estimators_]
        sizes = np.array([0, *(tree.node_count for tree in trees)])
        feature = np.concatenate([tree.feature for tree in trees]).astype(np.int32)
        return cls(
            start=np.cumsum(sizes).astype(np.int64),
            feature=np.where(feature < 0, -1, feature).astype(np.int32),
            threshold=np.concatenate([tree.threshold for tree in trees]).astype(np.float64),
            left=np.concatenate([tree.children_left for tree in trees]).astype(np.int32),
            right=np.concatenate([tree.children_right for tree in trees]).astype(np.int32),
            value=np.concatenate([tree.value[:, 0, 0] for tree in trees]).astype(np.float64),
            importance=np.asarray(forest.feature_importances_, np.float64),
        )

    def check(self, features: int) -> None:
        """Raise ModelError unless every walk stays inside the arrays and ends."""
        for name, dtype in _DTYPES.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.ndim != 1:
                raise ModelError(
                    "the forest's arrays do not fit",
                    code="GS-MODEL-DAMAGED",
                    details=[f"{name}: {array.ndim} axes of {array.dtype}; expected: one of {dtype}"],
                )
        nodes = len(self.feature)
        sizes = np.diff(self.start)
        lengths = {len(one) for one in (self.threshold, self.left, self.right, self.value)}
        fits = len(self.start) >= 2 and self.start[0] == 0 and self.start[-1] == nodes and lengths == {nodes}
        fits = fits and bool((sizes > 0).all())
        if fits:
            base = np.repeat(self.start[:-1], sizes)
            inner = self.feature >= 0
            place = np.arange(nodes) - base
            size = np.repeat(sizes, sizes)
            # Children come after their parent in scikit-learn's order, so a walk always ends.
            fits = bool(
                (self.feature < features).all()
                and (self.left[inner] > place[inner]).all()
                and (self.right[inner] > place[inner]).all()
                and (self.left[inner] < size[inner]).all()
                and (self.right[inner] < size[inner]).all()
            )
        if not fits:
            raise ModelError("the forest's arrays do not fit", code="GS-MODEL-DAMAGED")

    def predict(self, rows: Float32) -> Float64:
        """Mean over trees for rows (n, F)."""
        out = np.empty(len(rows), np.float64)
        predict_kernel(np.ascontiguousarray(rows, np.float32), self.start[:-1], self._nodes, self.value, out)
        return out

    @cached_property
    def _nodes(self) -> NDArray[np.uint32]:
        """The nodes as the kernel walks them."""
        place = np.arange(len(self.feature))
        leaf = self.feature < 0
        base = np.repeat(self.start[:-1], np.diff(self.start))
        with np.errstate(over="ignore"):
            threshold = self.threshold.astype(np.float32)
        # The largest float32 that is not above it parts float32 features as the threshold itself does.
        above = threshold > self.threshold
        threshold[above] = np.nextafter(threshold[above], np.float32(-np.inf))
        found = np.empty(len(place), NODE)
        found["feature"], found["threshold"] = np.where(leaf, 0, self.feature), threshold
        size = NODE.itemsize // 4
        found["left"] = size * np.where(leaf, place, base + self.left)
        found["right"] = size * np.where(leaf, place, base + self.right)
        return found.view(np.uint32)


@dataclass(frozen=True, eq=False)
class ForestPredictor:
    """Fitted forests, one a depth, or one for all with the depth as its last feature.

    Attributes
    ----------
    chosen : tuple of (max_features, min_samples_leaf)
        What the grid search took, for each forest.
    """

    forests: tuple[Trees, ...]
    depths_cm: Float64
    features: int
    patch: int
    depth_as_input: bool = False
    chosen: tuple[tuple[float, int], ...] = ()

    kind = "forest"

    @property
    def targets(self) -> int:
        """Number of depths."""
        return len(self.depths_cm)

    @property
    def importance(self) -> Float64:
        """Mean decrease in impurity of each feature, (T, F)."""
        rows = [one.importance[: self.features] for one in self.forests]
        return np.array(rows * self.targets if self.depth_as_input else rows)

    def predict(self, features: Float32) -> Float32:
        """Patches (n, w, w, F) to (n, T)."""
        middle = features.shape[1] // 2
        return self._cells(features[:, middle, middle])

    def predict_tile(self, features: Float32) -> Float32:
        """A block with its halo, (h + w - 1, w + w - 1, F), to (T, h, w)."""
        halo = self.patch // 2
        inner = features[halo : features.shape[0] - halo, halo : features.shape[1] - halo]
        height, width, count = inner.shape
        return self._cells(inner.reshape(-1, count)).T.reshape(self.targets, height, width)

    def _cells(self, cells: Float32) -> Float32:
        cells = np.ascontiguousarray(cells, np.float32)
        if cells.shape[1] != self.features:  # the kernel trusts it
            raise ModelError(
                f"the forest reads {self.features} features, and {cells.shape[1]} are given", code="GS-MODEL-FEATURES"
            )
        if not self.depth_as_input:
            return np.stack([one.predict(cells) for one in self.forests], axis=1).astype(np.float32)
        columns = []
        for depth in self.depths_cm:
            level = np.full((len(cells), 1), depth, np.float32)
            columns.append(self.forests[0].predict(np.hstack([cells, level])))
        return np.stack(columns, axis=1).astype(np.float32)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON values and arrays."""
        arrays = {
            f"{place}.{name}": getattr(trees, name)
            for place, trees in enumerate(self.forests)
            for name in Trees.__dataclass_fields__
        }
        meta = {
            "forests": len(self.forests),
            "depths_cm": [float(one) for one in self.depths_cm],
            "features": self.features,
            "patch": self.patch,
            "depth_as_input": self.depth_as_input,
            "chosen": [list(one) for one in self.chosen],
        }
        return meta, arrays

    @classmethod
    def restore(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> ForestPredictor:
        """Inverse of `state`; raises ModelError ``GS-MODEL-DAMAGED`` where the arrays do not fit."""
        depths = np.array(meta["depths_cm"], np.float64)
        depth_as_input = bool(meta["depth_as_input"])
        features, count, patch = int(meta["features"]), int(meta["forests"]), int(meta["patch"])
        if count != (1 if depth_as_input else len(depths)) or features < 1 or patch % 2 == 0 or not 1 <= patch <= 255:
            raise ModelError("the forests and their depths do not fit", code="GS-MODEL-DAMAGED")
        forests = tuple(
            Trees(**{name: arrays[f"{place}.{name}"] for name in Trees.__dataclass_fields__}) for place in range(count)
        )
        for trees in forests:
            trees.check(features + depth_as_input)
        chosen = tuple((float(share), int(leaf)) for share, leaf in meta["chosen"])
        return cls(forests, depths, features, patch, depth_as_input, chosen)
