"""The one training loop: seeded, early stopping on a validation part, best weights kept, resumable."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from geosoil.errors import ModelError, ResourceError
from geosoil.io.atomic import replacing
from geosoil.prep.pls import fold_numbers
from geosoil.types import Progress, quiet

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from geosoil.types import Bool

__all__ = ["Fit", "Part", "Schedule", "device_of", "one_thread", "stopping_parts", "train_network"]

#: Epochs between two checkpoints.
_CHECKPOINT_EVERY = 20
#: One group in so many watches when to stop.
_VALIDATION = 5


@dataclass(frozen=True, slots=True)
class Part:
    """Training or validation samples, on one device.

    Attributes
    ----------
    inputs : tuple of (n, ...) tensors
        What the network is called with.
    target, weight : (n, outputs) tensors
        Standardised values, and 1 where observed, 0 where not.
    """

    inputs: tuple[Tensor, ...]
    target: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.target)

    def take(self, rows: Tensor) -> Part:
        """Some of the samples."""
        return Part(tuple(one[rows] for one in self.inputs), self.target[rows], self.weight[rows])


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to train."""

    epochs: int = 600
    patience: int = 50
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0


@dataclass(slots=True)
class Fit:
    """What a training left: mean squared error a epoch, and the best epoch."""

    train: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best_epoch: int = -1
    best: float = float("inf")


def device_of(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda``; raises ResourceError ``GS-DEVICE`` when it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ResourceError(
            "device 'cuda' was asked for, and none is here", code="GS-DEVICE", hint="take --device auto or cpu"
        )
    return torch.device(name)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: results then repeat to the bit, and workers do not fight for cores."""
    before = torch.get_num_threads()
    if before != 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if before != 1:
            torch.set_num_threads(before)


def stopping_parts(n: int, members: int, groups: ArrayLike | None, seed: int) -> list[Bool]:
    """For each member which of n samples it stops by: another fifth each, whole groups; every round deals anew."""
    count = n if groups is None else len(np.unique(np.asarray(groups)))
    parts = min(_VALIDATION, count)
    rounds = [fold_numbers(n, parts, groups=groups, seed=seed + one) for one in range(-(-members // parts))]
    return [np.asarray(rounds[member // parts] == member % parts) for member in range(members)]


def train_network(
    net: nn.Module,
    forward: Callable[..., Tensor],
    train: Part,
    validation: Part,
    schedule: Schedule,
    *,
    seed: int,
    frozen: Sequence[nn.Module] = (),
    checkpoint: Path | None = None,
    progress: Progress = quiet,
    message: str = "training",
) -> Fit:
    """Train a network in place; it ends with the weights of its best epoch, in evaluation mode.

    Parameters
    ----------
    net : Module
        What is trained; parameters that do not require a gradient stay.
    forward : callable
        Called with the inputs of a part; usually `net` or a piece of it.
    train, validation : Part
        The validation part decides when to stop and which weights to keep, and is never trained on.
    frozen : sequence of Module
        Kept in evaluation mode, so that frozen batch norms do not drift.
    checkpoint : path, optional
        Where to keep the state; a training that finds it goes on from there to the same end, and one that had ended
        is not repeated.

    Raises
    ------
    ModelError
        ``GS-TRAIN-DIVERGED``: the loss is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = [one for one in net.parameters() if one.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True)
    fit = Fit()
    best = _snapshot(net)
    start = 0
    if checkpoint is not None and checkpoint.exists():
        start, fit, best = _restore(checkpoint, net, optimizer, generator)
    for epoch in range(start, schedule.epochs):
        if epoch >= _last(fit, schedule):
            break
        net.train()
        for one in frozen:
            one.eval()
        with torch.random.fork_rng(devices=[]):
            # Dropout draws from the global generator; its state follows from the seed and the epoch alone.
            torch.manual_seed(seed * 100_003 + epoch)
            fit.train.append(_epoch(forward, train, optimizer, schedule.batch, generator))
        fit.validation.append(_evaluate(net, forward, validation))
        if not fit.validation[-1] < float("inf"):
            raise ModelError(
                f"the loss is not finite in epoch {epoch + 1}",
                code="GS-TRAIN-DIVERGED",
                hint="take a lower learning rate, or another transform of the target",
            )
        if fit.validation[-1] < fit.best - 1e-6:
            fit.best, fit.best_epoch, best = fit.validation[-1], epoch, _snapshot(net)
        progress(epoch + 1, schedule.epochs, message)
        if checkpoint is not None and (epoch + 1) % _CHECKPOINT_EVERY == 0:
            _save(checkpoint, net, optimizer, generator, fit, best, epoch + 1)
    if checkpoint is not None:
        _save(checkpoint, net, optimizer, generator, fit, best, len(fit.validation))
    net.load_state_dict(best)
    net.eval()
    progress(schedule.epochs, schedule.epochs, message)
    return fit


def _last(fit: Fit, schedule: Schedule) -> int:
    """Number of epochs after which to stop, as things stand."""
    return min(schedule.epochs, fit.best_epoch + 1 + schedule.patience)


def _epoch(
    forward: Callable[..., Tensor],
    train: Part,
    optimizer: torch.optim.Optimizer,
    batch: int,
    generator: torch.Generator,
) -> float:
    order = torch.randperm(len(train), generator=generator).to(train.target.device)
    total = torch.zeros((), device=train.target.device)
    for rows in _batches(order, batch):
        part = train.take(rows)
        loss = _loss(forward(*part.inputs), part)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.detach() * len(rows)
    return float(total / len(train))


def _batches(order: Tensor, batch: int) -> list[Tensor]:
    """Batches of about the same size, none of one sample: batch norm needs two."""
    count = max(1, round(len(order) / batch))
    return list(torch.tensor_split(order, min(count, max(1, len(order) // 2))))


def _loss(found: Tensor, part: Part) -> Tensor:
    """Mean squared error over what was observed."""
    return ((found - part.target) ** 2 * part.weight).sum() / part.weight.sum().clamp(min=1)


def _evaluate(net: nn.Module, forward: Callable[..., Tensor], part: Part) -> float:
    net.eval()
    with torch.inference_mode():
        return float(_loss(forward(*part.inputs), part))


def _snapshot(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def _save(
    path: Path,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    fit: Fit,
    best: dict[str, Tensor],
    epoch: int,
) -> None:
    tensors = {f"net.{name}": value.contiguous() for name, value in _snapshot(net).items()}
    tensors.update({f"best.{name}": value.contiguous() for name, value in best.items()})
    tensors["generator"] = generator.get_state()
    for place, state in optimizer.state_dict()["state"].items():
        tensors.update({f"adam.{place}.{name}": value.clone() for name, value in state.items()})
    meta = {"epoch": epoch, "train": fit.train, "validation": fit.validation, "best": [fit.best_epoch, fit.best]}
    with replacing(path) as part:
        save_file(tensors, part, metadata={"loop": json.dumps(meta)})


def _restore(
    path: Path, net: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator
) -> tuple[int, Fit, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {})["loop"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        net.load_state_dict(_under(tensors, "net."))
        state: dict[int, dict[str, Any]] = {}
        for name, value in _under(tensors, "adam.").items():
            place, key = name.split(".", 1)
            state.setdefault(int(place), {})[key] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        generator.set_state(tensors["generator"])
        fit = Fit(list(meta["train"]), list(meta["validation"]), int(meta["best"][0]), float(meta["best"][1]))
        return int(meta["epoch"]), fit, _under(tensors, "best.")
    except (SafetensorError, KeyError, ValueError, RuntimeError, OSError) as error:
        raise ModelError(
            f"checkpoint {path.name} does not belong to this training",
            code="GS-CHECKPOINT",
            details=[str(error)[:200]],
            hint="remove it to start again",
        ) from error


def _under(tensors: dict[str, Tensor], start: str) -> dict[str, Tensor]:
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
