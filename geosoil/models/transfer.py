"""Depth transfer (Han et al. 2025): pre-train on all depths, keep the first layers, tune the rest for each depth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from geosoil.models.cnn import PatchCNN, Standard, new_net, split_profiles
from geosoil.models.loop import Fit, Part, Schedule, device_of, train_network
from geosoil.models.nets import PatchNet
from geosoil.types import Layers, Progress

if TYPE_CHECKING:
    from geosoil.types import Float32, Float64, Int64

__all__ = ["DepthTransfer"]

#: Cells that the frozen layers work on at once.
_BATCH = 4096


@dataclass
class DepthTransfer(PatchCNN):
    """Transfer of what all depths teach to each depth, an estimator.

    One network is trained on the layers of all depths, with the depth as an input. For each depth a copy of it keeps
    its first `frozen` layers (convolutions with their batch norms, then the dense layers) and is tuned on the layers of
    that depth at a low learning rate. Profiles that early stopping looks at are the same in both steps, so that none is
    trained on in one and judged in the other.

    Parameters are those of `PatchCNN`, whose kind is ``pretrained``, and:

    Parameters
    ----------
    frozen : int
        Leading layers that are kept: 1 to 3 are the convolutions, 4 and 5 the dense layers, 6 all, which leaves the
        pre-trained network.
    tune_learning_rate : float
        Of the second step.
    """

    kind: Literal["cnn", "mtcnn", "pretrained"] = "pretrained"
    frozen: int = 2
    tune_learning_rate: float = 1e-4

    @property
    def shared(self) -> int:
        """Leading convolutions that all depths share."""
        return min(self.frozen, 3)

    def _member(
        self,
        member: int,
        features: Float32,
        layers: Layers,
        depths_cm: Float64,
        standard: Standard,
        progress: Progress,
    ) -> tuple[tuple[dict[str, Tensor], ...], list[Fit]]:
        seed = self.seed * 1009 + member
        label = f"training network {member + 1} of {self.members}"
        net = new_net(self.spec(features.shape[-1], len(depths_cm)), seed, device_of(self.device))
        train, held = split_profiles(layers, self.validation, seed)

        def some(rows: Int64, *, augment: bool) -> Part:
            return self.part(features, layers, standard, rows, depths_cm, None, augment=augment)

        whole = some(train, augment=self.augment)
        net.standardise(whole.inputs[0])
        fits = [
            train_network(
                net,
                net,
                whole,
                some(held, augment=False),
                self.schedule,
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
                        some(rows[0], augment=self.augment),
                        some(rows[1], augment=False),
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
