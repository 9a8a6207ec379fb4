"""Training of networks of spectra: members of an ensemble, each with another part of the samples to stop by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from geosoil.errors import UsageError
from geosoil.models.loop import Fit, Part, Schedule, one_thread, stopping_parts, train_network
from geosoil.models.net_head import NETS, NetHead, Spec
from geosoil.models.resnet import ResNetSpec
from geosoil.types import Progress, quiet

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from geosoil.models.heads import HeadSettings
    from geosoil.types import Bool, Float64

__all__ = ["Training", "fit_network", "fit_resnet", "new_net", "part_of", "train_member"]

#: Samples up to which a batch has 16 of them, as in the paper's target; 64 beyond, as in its source.
_SMALL = 300


@dataclass(frozen=True, slots=True)
class Training:
    """How long and how fast a network of spectra is trained; the defaults are those of He et al. (2025).

    Attributes
    ----------
    epochs, patience : int
        Most epochs, and epochs without a gain on the validation part after which training ends.
    batch : int, optional
        Samples in a batch; 16 up to 300 samples and 64 beyond.
    learning_rate : float
        Of Adam.
    l2 : float
        Factor of the sum of squared weights that is added to the loss.
    standardise : bool
        Whether the network standardises its bands with the mean and SD of the training spectra.
    """

    epochs: int = 2000
    patience: int = 120
    batch: int | None = None
    learning_rate: float = 1e-3
    l2: float = 4e-4
    standardise: bool = True

    def __post_init__(self) -> None:
        wrong = [name for name in ("epochs", "patience") if getattr(self, name) < 1]
        wrong += ["batch"] if self.batch is not None and self.batch < 2 else []
        wrong += [name for name, least in (("learning_rate", 1e-8), ("l2", 0.0)) if not getattr(self, name) >= least]
        if wrong:
            raise UsageError(f"settings of the training are out of range: {', '.join(wrong)}", code="GS-TRAINING")

    def schedule(self, samples: int) -> Schedule:
        """For the training loop; the gradient of l2 * sum(w^2) is 2 * l2 * w, which is what Adam adds."""
        batch = self.batch if self.batch is not None else 16 if samples <= _SMALL else 64
        return Schedule(self.epochs, self.patience, batch, self.learning_rate, 2 * self.l2)


def fit_resnet(X: Float64, y: Float64, settings: HeadSettings, groups: ArrayLike | None, seed: int) -> NetHead:
    """Train the 1D-ResNet on the samples alone (He et al. 2025), `settings.members` of them."""
    return fit_network(
        "resnet", ResNetSpec(X.shape[1]), X, y, Training(epochs=settings.epochs), settings.members, groups, seed
    )


def fit_network(
    kind: str,
    spec: Spec,
    X: Float64,
    y: Float64,
    training: Training,
    members: int,
    groups: ArrayLike | None,
    seed: int,
) -> NetHead:
    """Train an ensemble of one shape on samples (n, F) and their values (n,)."""
    centre, spread = float(y.mean()), float(y.std())
    target = ((y - centre) / spread)[:, None]
    nets, squared = [], 0.0
    for member, out in enumerate(stopping_parts(len(y), members, groups, seed)):
        net, fit = train_member(kind, spec, X, target, out, training, seed * 1009 + member)
        nets.append(net)
        squared += fit.best / members
    return NetHead.of(kind, nets, centre, spread, float(np.sqrt(squared)) * spread)


def train_member(
    kind: str,
    spec: Spec,
    X: Float64,
    target: Float64,
    out: Bool,
    training: Training,
    seed: int,
    *,
    checkpoint: Path | None = None,
    progress: Progress = quiet,
    message: str = "training",
) -> tuple[Any, Fit]:
    """One network on standardised values (n, outputs), NaN where not observed; `out` are the samples to stop by."""
    with one_thread():
        net = new_net(kind, spec, seed)
        inputs = torch.from_numpy(X.astype(np.float32))
        if training.standardise:
            net.standardise(inputs[torch.from_numpy(~out)])
        fit = train_network(
            net,
            net,
            part_of(inputs, target, ~out),
            part_of(inputs, target, out),
            training.schedule(int((~out).sum())),
            seed=seed,
            checkpoint=checkpoint,
            progress=progress,
            message=message,
        )
    return net, fit


def new_net(kind: str, spec: Spec, seed: int) -> Any:
    """A network with the weights that the seed draws."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net: nn.Module = NETS[kind][1](spec)
    return net


def part_of(inputs: torch.Tensor, target: Float64, rows: Bool) -> Part:
    """Some samples; values that are NaN get no weight."""
    values = torch.from_numpy(target[rows].astype(np.float32))
    seen = torch.isfinite(values)
    return Part((inputs[torch.from_numpy(rows)],), torch.where(seen, values, 0), seen.to(torch.float32))
