"""Depth transfer (Han et al. 2025): pre-train on all depths, keep the first layers, tune the rest for each depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from geosoil.models.cnn import PatchCNN, PatchPredictor, Standard, new_net, split_profiles
from geosoil.models.loop import Fit, Part, Schedule, device_of, one_thread, train_network
from geosoil.models.nets import PatchNet
from geosoil.types import Layers, Progress, quiet

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64, Int64

__all__ = ["DepthTransfer"]

#: Cells that the frozen layers work on at once.
_BATCH = 4096


@dataclass
class DepthTransfer:
    """Transfer of what all depths teach to each depth, an estimator.

    One network is trained on the layers of all depths, with the depth as an input. For each depth a copy of it keeps
    its first `frozen` layers (convolutions with their batch norms, then the dense layers) and is tuned on the layers of
    that depth at a low learning rate. Profiles that early stopping looks at are the same in both steps, so that none is
    trained on in one and judged in the other.

    Parameters are those of `PatchCNN`, and:

    Parameters
    ----------
    frozen : int
        Leading layers that are kept: 1 to 3 are the convolutions, 4 and 5 the dense layers, 6 all, which leaves the
        pre-trained network.
    tune_learning_rate : float
        Of the second step.
    """

    patch: int = 9
    frozen: int = 2
    epochs: int = 600
    patience: int = 50
    batch: int = 128
    learning_rate: float = 1e-3
    tune_learning_rate: float = 1e-4
    weight_decay: float = 0.0
    dropout: float = 0.3
    members: int = 1
    validation: float = 0.15
    augment: bool = False
    embeddings: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"
    checkpoint: Path | None = None

    def fit(self, features: Float32, layers: Layers, depths_cm: Float64, progress: Progress = quiet) -> PatchPredictor:
        """Fit on patches; see `types.Estimator`."""
        standard = Standard.of(layers, len(depths_cm))
        members, histories = [], []
        with one_thread():
            for member in range(self.members):
                nets, fits = self._member(member, features, layers, depths_cm, standard, progress)
                members.append(nets)
                histories.append(tuple(fits))
        source = self._source
        return PatchPredictor(
            spec=source.spec(features.shape[-1], len(depths_cm)),
            members=tuple(members),
            depths_cm=np.asarray(depths_cm, np.float64),
            standard=standard,
            shared=min(self.frozen, 3),
            history=tuple(histories),
        )

    @property
    def _source(self) -> PatchCNN:
        """The estimator of the pre-training."""
        return PatchCNN(
            kind="pretrained",
            patch=self.patch,
            epochs=self.epochs,
            patience=self.patience,
            batch=self.batch,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            members=self.members,
            validation=self.validation,
            augment=self.augment,
            embeddings=self.embeddings,
            seed=self.seed,
            device=self.device,
        )

    def _member(
        self,
        member: int,
        features: Float32,
        layers: Layers,
        depths_cm: Float64,
        standard: Standard,
        progress: Progress,
    ) -> tuple[tuple[dict[str, Tensor], ...], list[Fit]]:
        source, seed = self._source, self.seed * 1009 + member
        label = f"training network {member + 1} of {self.members}"
        net = new_net(source.spec(features.shape[-1], len(depths_cm)), seed, device_of(self.device))
        train, held = split_profiles(layers, self.validation, seed)

        def part(rows: Int64, *, augment: bool) -> Part:
            return source.part(features, layers, standard, rows, depths_cm, None, augment=augment)

        whole = part(train, augment=self.augment)
        net.standardise(whole.inputs[0])
        fits = [
            train_network(
                net,
                net,
                whole,
                part(held, augment=False),
                source.schedule,
                seed=seed,
                checkpoint=self._checkpoint(member, "source"),
                progress=progress,
                message=label,
            )
        ]
        states = []
        for target in range(len(depths_cm)):
            tuned = PatchNet(net.spec).to(device_of(self.device))
            tuned.load_state_dict(net.state_dict())
            rows = [half[layers.target[half] == target] for half in (train, held)]
            if self.frozen < 6 and len(rows[0]) > 1 and len(rows[1]) > 0:
                fits.append(
                    self._tune(
                        tuned,
                        part(rows[0], augment=self.augment),
                        part(rows[1], augment=False),
                        seed,
                        self._checkpoint(member, str(target)),
                    )
                )
            states.append({name: value.cpu() for name, value in tuned.state_dict().items()})
        return tuple(states), fits

    def _checkpoint(self, member: int, step: str) -> Path | None:
        return None if self.checkpoint is None else self.checkpoint / f"transfer-{member}-{step}.safetensors"

    def _tune(self, net: PatchNet, train: Part, held: Part, seed: int, checkpoint: Path | None) -> Fit:
        """Tune what is not frozen; what is frozen runs once, since it does not change any more."""
        kept = min(self.frozen, len(net.convs))
        frozen = [*net.embed, *net.convs[:kept], *net.norms[:kept]] if kept else []
        frozen += [net.dense1, net.norm][: 2 * (self.frozen > 3)]
        frozen += [net.dense2][: self.frozen > 4]
        for module in frozen:
            module.requires_grad_(requires_grad=False)
        net.eval()
        return train_network(
            net,
            net if kept == 0 else lambda x, depth: net.rest(x, kept, depth),
            _through(net, train, kept),
            _through(net, held, kept),
            Schedule(self.epochs, self.patience, self.batch, self.tune_learning_rate, self.weight_decay),
            seed=seed,
            frozen=frozen,
            checkpoint=checkpoint,
        )


def _through(net: PatchNet, part: Part, layers: int) -> Part:
    """A part with its patches behind the frozen layers."""
    patches, *others = part.inputs
    if layers == 0:
        return part
    with torch.no_grad():
        blocks = [net.trunk(block, layers) for block in torch.split(patches, _BATCH)]
    return Part((torch.cat(blocks), *others), part.target, part.weight)
