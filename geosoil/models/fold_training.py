"""The networks of all folds trained together: one pass, and for each fold its own weights, batches and end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from geosoil.errors import InputError, ModelError, UsageError
from geosoil.models.convnet import ConvNet1D, ConvSpec
from geosoil.models.fold_stack import FoldStack, turned
from geosoil.models.loop import device_of, one_thread
from geosoil.prep.pls import checked, fold_numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from geosoil.types import Float32, Float64, Int64

__all__ = ["OPTIMIZERS", "FoldFit", "FoldParts", "FoldSchedule", "fold_parts", "train_folds"]

Watch = Literal["part", "held-out"]

#: Optimizers by name, and whether torch has a fused step of them.
OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], bool]] = {
    "adam": (torch.optim.Adam, True),
    "adamw": (torch.optim.AdamW, True),
    "nadam": (torch.optim.NAdam, False),
    "rmsprop": (torch.optim.RMSprop, False),
}
#: Rows of each fold that are predicted at once.
_BLOCK = 512
#: How much the watched error must fall to count.
_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class FoldSchedule:
    """How long and how fast to train.

    Attributes
    ----------
    optimizer : str
        One of `OPTIMIZERS`, with torch's defaults but for what is given here.
    learning_rate, weight_decay : float
        The decay is as the optimizer has it: added to the gradient, or apart from it for AdamW.
    batch : int
        Samples a step, about: an epoch is cut in equal steps.
    epochs, patience : int
        Most epochs; epochs without a better error on what is watched.
    watch : str
        What early stopping watches. ``part``: a part of the fold's training samples that is not trained on.
        ``held-out``: the fold that is held out, as published work often has it; its error is then too small.
    share : float
        Of the training samples that ``part`` takes.
    """

    optimizer: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch: int = 16
    epochs: int = 300
    patience: int = 30
    watch: Watch = "part"
    share: float = 0.15

    def __post_init__(self) -> None:
        counts = ("batch", "epochs", "patience")
        wrong = [name for name in counts if getattr(self, name) < 1]
        wrong += ["learning_rate"] if not 0 < self.learning_rate < 10 else []
        wrong += ["weight_decay"] if not 0 <= self.weight_decay < 10 else []
        wrong += ["share"] if not 0 < self.share <= 0.5 else []
        wrong += ["optimizer"] if self.optimizer not in OPTIMIZERS else []
        wrong += ["watch"] if self.watch not in get_args(Watch) else []
        if wrong:
            raise UsageError(f"training settings are out of range: {', '.join(wrong)}", code="GS-TRAIN-SETTINGS")

    def to_meta(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> FoldSchedule:
        """Inverse of `to_meta`; raises ModelError ``GS-MODEL-DAMAGED``."""
        try:
            return cls(
                optimizer=str(meta["optimizer"]),
                learning_rate=float(meta["learning_rate"]),
                weight_decay=float(meta["weight_decay"]),
                batch=int(meta["batch"]),
                epochs=int(meta["epochs"]),
                patience=int(meta["patience"]),
                watch=meta["watch"],
                share=float(meta["share"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelError("training settings are damaged", code="GS-MODEL-DAMAGED", details=[str(error)]) from error


@dataclass(frozen=True, slots=True)
class FoldParts:
    """Rows of one fold: trained on, watched, and held out. The three share no row, unless the held-out is watched."""

    train: Int64
    watch: Int64
    out: Int64

    @property
    def known(self) -> Int64:
        """Rows that standardisation learns from: all but those held out."""
        return np.setdiff1d(np.union1d(self.train, self.watch), self.out)


@dataclass(frozen=True, eq=False)
class FoldFit:
    """What training the folds left.

    Attributes
    ----------
    spec : ConvSpec
        Shape of the networks.
    folds : (K,) int64
        Numbers of the folds that were trained.
    weights : dict of (K, ...) float32
        Of the best epoch of each fold, by their name in `ConvNet1D`.
    centre, spread : (K,) float64
        Of the response among each fold's training samples.
    predictions : (n,) float64
        Of the samples held out, in the unit of the response; NaN for samples that no trained fold holds out.
    fold_rmse : (K,) float64
        Error of each fold on what it holds out.
    rmse : float
        Over all samples held out.
    best_epoch : (K,) int64
        Epoch of the weights, from 0.
    train, watched : (epochs, K) float64
        Mean squared errors in units of `spread` squared; NaN after a fold's end.
    """

    spec: ConvSpec
    folds: Int64
    weights: dict[str, Float32]
    centre: Float64
    spread: Float64
    predictions: Float64
    fold_rmse: Float64
    rmse: float
    best_epoch: Int64
    train: Float64
    watched: Float64

    def network(self, place: int) -> ConvNet1D:
        """The network of one fold, in evaluation mode; its values times `spread` plus `centre` are predictions."""
        net = ConvNet1D(self.spec)
        state = net.state_dict()
        state.update({name: torch.from_numpy(one[place].copy()) for name, one in self.weights.items()})
        net.load_state_dict(state)
        return net.eval()


Report = Callable[[int, "Float64"], None]


def fold_parts(
    y: Float64, fold: Int64, schedule: FoldSchedule, *, groups: ArrayLike | None = None, seed: int = 0
) -> dict[int, FoldParts]:
    """The rows of each fold; the watched part is spread over the range of the response, and whole groups.

    Raises
    ------
    InputError
        ``GS-SAMPLES-FEW``: fewer than two samples would be left to train on.
    """
    members = np.arange(len(y)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    found = {}
    for one in np.unique(fold[fold >= 0]):
        inside, out = np.flatnonzero(fold != one), np.flatnonzero(fold == one)
        count = len(np.unique(members[inside]))
        if schedule.watch == "part" and count >= 2:
            parts = min(max(2, round(1 / schedule.share)), count)
            part = fold_numbers(len(inside), parts, order="interleaved", groups=members[inside], along=y[inside])
            watched = part == (int(one) + seed) % parts
            found[int(one)] = FoldParts(inside[~watched], inside[watched], out)
        else:
            found[int(one)] = FoldParts(inside, out, out)
        if len(found[int(one)].train) < 2:
            raise InputError(f"fold {one} leaves fewer than two samples to train on", code="GS-SAMPLES-FEW")
    return found


def train_folds(
    spec: ConvSpec,
    X: ArrayLike,
    y: ArrayLike,
    folds: ArrayLike,
    schedule: FoldSchedule | None = None,
    *,
    seed: int = 0,
    only: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    device: str = "auto",
    report: Report | None = None,
) -> FoldFit:
    """Train one network a fold, all at once: grouped convolutions and batched products.

    Each fold has its own weights, batches, dropout, batch norms and early stopping, all from its own number and the
    seed. So a fold's network is the same, up to rounding, whichever folds are trained beside it. A fold that stopped
    leaves the pass; the others go on.

    Parameters
    ----------
    spec : ConvSpec
        With one output.
    X : (n, F) array-like
        Features; standardised with what each fold may know.
    y : (n,) array-like
        Response.
    folds : (n,) array-like of int
        Fold that holds a sample out; -1 for samples that all folds may train on.
    schedule : FoldSchedule, optional
        How to train.
    only : array-like of int, optional
        Folds to train; by default all.
    groups : (n,) array-like, optional
        Samples of one group are never split between training and what is watched.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    report : callable, optional
        ``report(epoch, watched)`` after each epoch, with the least watched error (K,) of each fold so far.

    Raises
    ------
    InputError
        ``GS-SPECTRA-SHAPE``, ``GS-SPECTRA-NAN``, ``GS-TARGET-CONSTANT``, ``GS-FOLDS``, ``GS-SAMPLES-FEW``.
    ModelError
        ``GS-TRAIN-DIVERGED``: a fold never had a finite error.
    """
    schedule = schedule if schedule is not None else FoldSchedule()
    X, y = checked(X, y)
    fold, wanted = _wanted(folds, len(y), only)
    if spec.outputs != 1 or spec.bands != X.shape[1]:
        raise InputError(
            "the network does not fit the spectra",
            code="GS-SPECTRA-SHAPE",
            details=[f"it takes {spec.bands} features and gives {spec.outputs}; found {X.shape[1]} features and one"],
        )
    every = fold_parts(y, fold, schedule, groups=groups, seed=seed)
    # Steps are counted over all folds, trained here or not: a fold's batches must not depend on its company.
    smallest = min(len(one.train) for one in every.values())
    steps = max(1, round(smallest / schedule.batch))
    place = device_of(device)
    with one_thread(), torch.random.fork_rng(devices=[]):
        run = _Run(spec, X, y, [every[one] for one in wanted], wanted, schedule, seed, place)
        run.train(steps, smallest // steps, report)
        return run.fit()


def _wanted(folds: ArrayLike, n: int, only: ArrayLike | None) -> tuple[Int64, list[int]]:
    fold = np.asarray(folds)
    if fold.shape != (n,) or fold.dtype.kind not in "iu":
        raise InputError(f"{n} samples need a whole number of a fold each", code="GS-FOLDS")
    there = np.unique(fold[fold >= 0]).tolist()
    wanted = there if only is None else [int(one) for one in np.asarray(only).ravel()]
    if not wanted or len(set(wanted)) != len(wanted) or not set(wanted) <= set(there):
        raise InputError("folds that hold no sample out cannot be trained", code="GS-FOLDS")
    return fold.astype(np.int64), wanted


class _Run:
    """One training: data on the device, the stack of networks, and the best weights so far."""

    def __init__(
        self,
        spec: ConvSpec,
        X: Float64,
        y: Float64,
        parts: list[FoldParts],
        numbers: list[int],
        schedule: FoldSchedule,
        seed: int,
        device: torch.device,
    ) -> None:
        self.spec, self.schedule, self.parts, self.numbers, self.device = spec, schedule, parts, numbers, device
        self.y = y
        known = [one.known for one in parts]
        self.centre = np.array([y[rows].mean() for rows in known])
        spread = np.array([y[rows].std() for rows in known])
        self.spread = np.where(spread > 0, spread, 1.0)
        self.X = torch.from_numpy(X.astype(np.float32)).to(device)
        scaled = (y - self.centre[:, None]) / self.spread[:, None]
        self.target = torch.from_numpy(scaled.astype(np.float32)).to(device)
        self.stack = FoldStack.made(spec, [_number(seed, one) for one in numbers], device)
        self.stack.standardise([self.X[torch.from_numpy(rows).to(device)] for rows in known])
        self.active = torch.arange(len(parts))
        self.orders = [torch.Generator().manual_seed(_number(seed, one, 1)) for one in numbers]
        self.drops = [np.random.SFC64(_number(seed, one, 2)) for one in numbers]
        self.optimizer = self._new_optimizer()
        self.best = {name: one.detach().clone() for name, one in self.stack.tensors().items()}
        self.least = np.full(len(parts), np.inf)
        self.best_epoch = np.full(len(parts), -1)
        self.losses: list[Float64] = []
        self.watched: list[Float64] = []

    def train(self, steps: int, batch: int, report: Report | None) -> None:
        """Epochs until all folds have stopped."""
        watch = _padded([one.watch for one in self.parts], self.device)
        for epoch in range(self.schedule.epochs):
            loss = self._epoch(steps, batch)
            error = self._error(watch)
            self._note(loss, error)
            better = error < self.least[self.active.numpy()] - _LEAST
            self._keep(better, error, epoch)
            if report is not None:
                report(epoch, self.least.copy())
            waited = epoch - self.best_epoch[self.active.numpy()]
            self._leave(np.isfinite(error) & (waited < self.schedule.patience))
            if not len(self.active):
                break

    def fit(self) -> FoldFit:
        """What is returned: best weights, and predictions of what each fold holds out."""
        lost = [number for number, error in zip(self.numbers, self.least, strict=True) if not np.isfinite(error)]
        if lost:
            raise ModelError(
                f"the loss was never finite in fold {lost[0]}",
                code="GS-TRAIN-DIVERGED",
                hint="take a lower learning rate, or another transform of the target",
            )
        self.stack = FoldStack(self.spec, self.best)
        self.active = torch.arange(len(self.parts))
        rows, there = _padded([one.out for one in self.parts], self.device)
        found = self._predict(rows).cpu().numpy().astype(np.float64) * self.spread[:, None] + self.centre[:, None]
        predictions, fold_rmse = np.full(len(self.y), np.nan), np.empty(len(self.parts))
        for place, part in enumerate(self.parts):
            predictions[part.out] = found[place, there[place].cpu().numpy() > 0]
            fold_rmse[place] = np.sqrt(np.mean((predictions[part.out] - self.y[part.out]) ** 2))
        out = np.isfinite(predictions)
        return FoldFit(
            spec=self.spec,
            folds=np.array(self.numbers, np.int64),
            weights={name: one.detach().cpu().numpy() for name, one in turned(self.best).items()},
            centre=self.centre,
            spread=self.spread,
            predictions=predictions,
            fold_rmse=fold_rmse,
            rmse=float(np.sqrt(np.mean((predictions[out] - self.y[out]) ** 2))),
            best_epoch=self.best_epoch.astype(np.int64),
            train=np.array(self.losses),
            watched=np.array(self.watched),
        )

    def _new_optimizer(self) -> torch.optim.Optimizer:
        kind, fused = OPTIMIZERS[self.schedule.optimizer]
        settings: dict[str, Any] = {"lr": self.schedule.learning_rate, "weight_decay": self.schedule.weight_decay}
        settings |= {"fused": True} if fused else {"foreach": True}
        return kind(list(self.stack.parameters.values()), **settings)

    def _epoch(self, steps: int, batch: int) -> Float64:
        """One epoch of the folds that are left; mean loss of each."""
        orders = [
            torch.from_numpy(self.parts[one].train)[
                torch.randperm(len(self.parts[one].train), generator=self.orders[one])[: steps * batch]
            ]
            for one in self.active.tolist()
        ]
        rows = torch.stack(orders).view(len(orders), steps, batch).to(self.device)
        total = torch.zeros(len(orders), device=self.device)
        drops = [self.drops[one] for one in self.active.tolist()]
        for step in range(steps):
            loss = self._loss(rows[:, step], drops)
            self.optimizer.zero_grad(set_to_none=True)
            loss.sum().backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total += loss.detach()
        return (total / steps).cpu().numpy().astype(np.float64)

    def _loss(self, rows: Tensor, drops: list[np.random.SFC64]) -> Tensor:
        found = self.stack.forward(self.X[rows], drops)
        return ((found - self._targets(rows)) ** 2).mean(dim=1)

    def _targets(self, rows: Tensor) -> Tensor:
        return self.target[self.active.to(self.device)].gather(1, rows)

    def _predict(self, rows: Tensor) -> Tensor:
        with torch.inference_mode():
            blocks = [rows[:, start : start + _BLOCK] for start in range(0, rows.shape[1], _BLOCK)]
            return torch.cat([self.stack.forward(self.X[block]) for block in blocks], dim=1)

    def _error(self, watch: tuple[Tensor, Tensor]) -> Float64:
        """Mean squared error on what is watched, of the folds that are left."""
        active = self.active.to(self.device)
        rows, weight = watch[0][active], watch[1][active]
        squared = (self._predict(rows) - self._targets(rows)) ** 2 * weight
        return (squared.sum(dim=1) / weight.sum(dim=1)).cpu().numpy().astype(np.float64)

    def _note(self, loss: Float64, error: Float64) -> None:
        for history, values in ((self.losses, loss), (self.watched, error)):
            row = np.full(len(self.parts), np.nan)
            row[self.active.numpy()] = values
            history.append(row)

    def _keep(self, better: Any, error: Float64, epoch: int) -> None:
        """Copy the weights of the folds that improved."""
        if not better.any():
            return
        here = torch.from_numpy(np.flatnonzero(better))
        there = self.active[here]
        self.least[there.numpy()], self.best_epoch[there.numpy()] = error[better], epoch
        here, there = here.to(self.device), there.to(self.device)
        for name, one in self.stack.tensors().items():
            self.best[name][there] = one.detach()[here]

    def _leave(self, goes_on: Any) -> None:
        """Take the folds that stopped out of the pass, with what the optimizer remembers of them."""
        if goes_on.all():
            return
        keep = torch.from_numpy(np.flatnonzero(goes_on))
        self.active = self.active[keep]
        if not len(keep):
            return
        keep = keep.to(self.device)
        before, states = list(self.stack.parameters.values()), self.optimizer.state
        self.stack = self.stack.take(keep)
        optimizer = self._new_optimizer()
        for old, new in zip(before, self.stack.parameters.values(), strict=True):
            optimizer.state[new] = {
                name: one[keep] if one.shape == old.shape else one for name, one in states[old].items()
            }
        self.optimizer = optimizer


def _number(seed: int, fold: int, use: int = 0) -> int:
    """A seed for one use of one fold."""
    return int(np.random.SeedSequence([abs(seed), fold, use]).generate_state(1)[0])


def _padded(rows: list[Int64], device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows of each fold (K, m), filled up with the first, and 1 where they count."""
    most = max(len(one) for one in rows)
    filled = np.stack([np.concatenate([one, np.full(most - len(one), one[0])]) for one in rows])
    weight = np.stack([np.arange(most) < len(one) for one in rows]).astype(np.float32)
    return torch.from_numpy(filled).to(device), torch.from_numpy(weight).to(device)
