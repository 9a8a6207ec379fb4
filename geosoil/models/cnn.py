"""Patch networks as estimators: one a depth, one for all depths, and the multi-task network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from geosoil.errors import InputError, ModelError
from geosoil.models.dense import DenseNets, compile_nets
from geosoil.models.loop import Fit, Part, Schedule, device_of, one_thread, train_network
from geosoil.models.nets import NetSpec, PatchNet
from geosoil.types import Layers, Progress, quiet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float32, Float64, Int64

__all__ = ["PatchCNN", "PatchPredictor", "Standard", "new_net", "patches_tensor", "split_profiles"]

#: Depth that counts as 1 at a network's input, cm.
DEPTH_SCALE_CM = 200.0
#: Patches that are predicted at once.
_BATCH = 4096


@dataclass(frozen=True, slots=True)
class Standard:
    """Mean, SD and range of each depth's training values.

    Predictions are kept within the range, as those of a forest are by nature: a network extrapolates without bound, and
    the way back from a logarithm would make absurd values of it.
    """

    centre: Float64
    spread: Float64
    lowest: Float64
    highest: Float64

    @classmethod
    def bare(cls, centre: Float64, spread: Float64) -> Standard:
        """Without a range."""
        return cls(centre, spread, np.full(len(centre), -np.inf), np.full(len(centre), np.inf))

    @classmethod
    def of(cls, layers: Layers, targets: int) -> Standard:
        """From the layers; a depth with a single or constant value takes spread 1."""
        made = cls.bare(np.zeros(targets), np.ones(targets))
        for target in range(targets):
            values = layers.value[layers.target == target]
            if values.size:
                made.centre[target] = values.mean()
                sd = values.std()
                made.spread[target] = sd if sd > 0 else 1.0
                made.lowest[target], made.highest[target] = values.min(), values.max()
        return made

    def scale(self, layers: Layers) -> Float64:
        """Standardised values."""
        return (layers.value - self.centre[layers.target]) / self.spread[layers.target]

    def keep(self, found: Float32) -> Float32:
        """Predictions (T, ...) within the range."""
        shape = (-1, *[1] * (found.ndim - 1))
        bounds = (np.asarray(edge, np.float32).reshape(shape) for edge in (self.lowest, self.highest))
        kept: Float32 = np.clip(found, *bounds, out=found)
        return kept


def split_profiles(layers: Layers, share: float, seed: int) -> tuple[Int64, Int64]:
    """Rows of the layers to train on and to validate on; all layers of a profile fall on one side."""
    profiles = np.unique(layers.profile)
    if len(profiles) < 4:
        raise InputError(
            f"{len(profiles)} profiles are too few for a network", code="GS-SAMPLES-FEW", hint="take the random forest"
        )
    count = min(max(2, round(share * len(profiles))), len(profiles) - 2)
    held = np.random.default_rng(seed).permutation(profiles)[:count]
    outside = np.isin(layers.profile, held)
    return np.flatnonzero(~outside), np.flatnonzero(outside)


def patches_tensor(features: Float32, device: torch.device) -> Tensor:
    """Channels-last patches (n, w, w, F) as the networks take them, (n, F, w, w); no copy on the CPU."""
    return torch.from_numpy(np.require(features, requirements=["C", "W"])).to(device).permute(0, 3, 1, 2)


def new_net(spec: NetSpec, seed: int, device: torch.device) -> PatchNet:
    """A network with the weights of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = PatchNet(spec)
    return net.to(device)


@dataclass
class PatchCNN:
    """Patch networks (Han et al. 2025; Padarian et al. 2019), an estimator.

    Parameters
    ----------
    kind : {"cnn", "mtcnn", "pretrained"}
        One network a depth; one network with a branch a depth and a loss over what was observed; or one network on
        all layers with depth as an input.
    patch : int
        Width of the patches, cells.
    members : int
        Networks that are averaged; each has its own seed and its own validation profiles.
    validation : float
        Share of the profiles that early stopping looks at.
    augment : bool
        Train on the eight flips and rotations of each patch.
    embeddings : mapping
        First column of a class band to (columns, vector length).
    checkpoint : path, optional
        Folder for the state of the training; an interrupted `fit` that finds it goes on.
    """

    kind: Literal["cnn", "mtcnn", "pretrained"] = "cnn"
    patch: int = 9
    epochs: int = 600
    patience: int = 50
    batch: int = 128
    learning_rate: float = 1e-3
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
        histories: list[list[Fit]] = []
        members: list[tuple[dict[str, Tensor], ...]] = []
        with one_thread():
            for member in range(self.members):
                nets, fits = self._member(member, features, layers, depths_cm, standard, progress)
                members.append(nets)
                histories.append(fits)
        return PatchPredictor(
            spec=self.spec(features.shape[-1], len(depths_cm)),
            members=tuple(members),
            depths_cm=np.asarray(depths_cm, np.float64),
            standard=standard,
            shared=self.shared,
            history=tuple(tuple(fits) for fits in histories),
        )

    @property
    def shared(self) -> int:
        """Leading convolutions that all depths share."""
        return 3 if self.kind == "pretrained" else 0

    def spec(self, features: int, targets: int) -> NetSpec:
        """The shape of the networks."""
        return NetSpec(
            features=features,
            patch=self.patch,
            outputs=targets if self.kind == "mtcnn" and targets > 1 else 1,
            depth_input=self.kind == "pretrained",
            dropout=self.dropout,
            embeddings=tuple((first, *shape) for first, shape in sorted(self.embeddings.items())),
        )

    @property
    def schedule(self) -> Schedule:
        """How long and how fast to train."""
        return Schedule(self.epochs, self.patience, self.batch, self.learning_rate, self.weight_decay)

    def _member(
        self,
        member: int,
        features: Float32,
        layers: Layers,
        depths_cm: Float64,
        standard: Standard,
        progress: Progress,
    ) -> tuple[tuple[dict[str, Tensor], ...], list[Fit]]:
        """One member of the ensemble: its networks' weights and histories."""
        seed = self.seed * 1009 + member
        spec = self.spec(features.shape[-1], len(depths_cm))
        train, held = split_profiles(layers, self.validation, seed)
        wholes = [None] if self.kind != "cnn" else list(range(len(depths_cm)))
        nets, fits = [], []
        for target in wholes:
            net = new_net(spec, seed, device_of(self.device))
            parts = [
                self.part(features, layers, standard, rows, depths_cm, target, augment=self.augment and rows is train)
                for rows in (train, held)
            ]
            net.standardise(parts[0].inputs[0])
            path = None
            if self.checkpoint is not None:
                path = self.checkpoint / f"{self.kind}-{member}-{target}.safetensors"
            label = f"training network {member + 1} of {self.members}"
            fits.append(
                train_network(
                    net,
                    net,
                    parts[0],
                    parts[1],
                    self.schedule,
                    seed=seed,
                    checkpoint=path,
                    progress=progress,
                    message=label,
                )
            )
            nets.append({name: value.cpu() for name, value in net.state_dict().items()})
        if self.kind == "pretrained":
            nets = nets * len(depths_cm)
        return tuple(nets), fits

    def part(
        self,
        features: Float32,
        layers: Layers,
        standard: Standard,
        rows: Int64,
        depths_cm: Float64,
        target: int | None,
        *,
        augment: bool,
    ) -> Part:
        """Layers as tensors: of one depth, or of all with depth as an input; or profiles with all their depths."""
        device = device_of(self.device)
        values = standard.scale(layers)
        if self.kind == "mtcnn" and len(depths_cm) > 1:
            profiles, place = np.unique(layers.profile[rows], return_inverse=True)
            wide, weight = np.zeros((2, len(profiles), len(depths_cm)), np.float32)
            # Several layers of one profile in one interval count together.
            np.add.at(wide, (place, layers.target[rows]), values[rows])
            np.add.at(weight, (place, layers.target[rows]), 1.0)
            wide = np.divide(wide, weight, out=wide, where=weight > 0)
            inputs: tuple[Tensor, ...] = (patches_tensor(features[profiles], device),)
            part = Part(inputs, torch.from_numpy(wide).to(device), torch.from_numpy(np.sign(weight)).to(device))
        else:
            if target is not None:
                rows = rows[layers.target[rows] == target]
            inputs = (patches_tensor(features[layers.profile[rows]], device),)
            if self.kind == "pretrained":
                depth = np.asarray(layers.depth_cm[rows] / DEPTH_SCALE_CM, np.float32)
                inputs = (*inputs, torch.from_numpy(depth).to(device))
            column = torch.from_numpy(np.asarray(values[rows, None], np.float32)).to(device)
            part = Part(inputs, column, torch.ones_like(column))
        return _augmented(part) if augment else part


def _augmented(part: Part) -> Part:
    """The eight flips and rotations of each patch."""
    patches, *others = part.inputs
    turned = torch.cat([torch.rot90(one, turns, (2, 3)) for one in (patches, patches.flip(3)) for turns in range(4)])
    return Part(
        (turned, *(torch.cat([one] * 8) for one in others)),
        torch.cat([part.target] * 8),
        torch.cat([part.weight] * 8),
    )


@dataclass(frozen=True, eq=False)
class PatchPredictor:
    """A fitted ensemble of patch networks.

    Attributes
    ----------
    spec : NetSpec
        Shape of the networks.
    members : tuple of tuple of state dicts
        For each member one network a depth, or one multi-task network.
    depths_cm : (T,) float64
        Mid-points of the depths.
    standard : Standard
        Turns standardised outputs back.
    shared : int
        Leading convolutions that are the same for all depths of a member.
    history : tuple
        Errors by epoch; not stored.
    """

    spec: NetSpec
    members: tuple[tuple[dict[str, Tensor], ...], ...]
    depths_cm: Float64
    standard: Standard
    shared: int = 0
    history: tuple[tuple[Fit, ...], ...] = ()

    kind = "patchnet"

    @property
    def patch(self) -> int:
        """Width of the patch, cells."""
        return self.spec.patch

    @property
    def targets(self) -> int:
        """Number of depths."""
        return len(self.depths_cm)

    def predict(self, features: Float32) -> Float32:
        """Patches (n, w, w, F) to (n, T), by the networks themselves."""
        found = np.empty((len(features), self.targets), np.float32)
        with one_thread(), torch.inference_mode():
            for start in range(0, len(features), _BATCH):
                block = patches_tensor(features[start : start + _BATCH], torch.device("cpu"))
                total = torch.stack([self._member(nets, block) for nets in self._nets])
                found[start : start + _BATCH] = total.mean(dim=0).numpy()
        scaled = np.asarray(found * self.standard.spread + self.standard.centre, np.float32)
        return self.standard.keep(scaled.T).T

    def _member(self, nets: Sequence[PatchNet], block: Tensor) -> Tensor:
        if self.spec.outputs > 1:
            found: Tensor = nets[0](block)
            return found
        columns = []
        for net, depth in zip(nets, self.depths_cm, strict=True):
            level = torch.full((len(block),), float(depth) / DEPTH_SCALE_CM) if self.spec.depth_input else None
            columns.append(net(block, level))
        return torch.cat(columns, dim=1)

    def predict_tile(self, features: Float32) -> Float32:
        """A tile with its halo, (h + w - 1, w + w - 1, F), to (T, h, w), by the folded networks."""
        height, width = (edge - self.patch + 1 for edge in features.shape[:2])
        with one_thread(), torch.inference_mode():
            tile = torch.from_numpy(features).permute(2, 0, 1).unsqueeze(0)
            return self.standard.keep(self.folded(tile, height, width).numpy())

    @cached_property
    def folded(self) -> DenseNets:
        """The networks as they run over whole tiles."""
        return compile_nets(
            self.spec,
            self.members,
            [float(depth) / DEPTH_SCALE_CM for depth in self.depths_cm],
            list(self.standard.centre),
            list(self.standard.spread),
            self.shared,
        )

    @cached_property
    def _nets(self) -> tuple[tuple[PatchNet, ...], ...]:
        found = []
        for states in self.members:
            nets = []
            for state in states:
                net = PatchNet(self.spec)
                net.load_state_dict(state)
                nets.append(net.eval())
            found.append(tuple(nets))
        return tuple(found)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON values and arrays; what the depths share is stored once."""
        arrays: dict[str, NDArray[Any]] = {}
        for member, nets in enumerate(self.members):
            for place, state in enumerate(nets):
                for name, value in state.items():
                    if name.endswith("num_batches_tracked"):
                        continue
                    key = f"{member}.shared.{name}" if self._is_shared(name) else f"{member}.{place}.{name}"
                    arrays[key] = value.numpy()
        meta = {
            "spec": self.spec.to_meta(),
            "members": len(self.members),
            "networks": len(self.members[0]),
            "depths_cm": [float(one) for one in self.depths_cm],
            "centre": [float(one) for one in self.standard.centre],
            "spread": [float(one) for one in self.standard.spread],
            # JSON has no infinity.
            "lowest": [float(one) if np.isfinite(one) else None for one in self.standard.lowest],
            "highest": [float(one) if np.isfinite(one) else None for one in self.standard.highest],
            "shared": self.shared,
        }
        return meta, arrays

    def _is_shared(self, name: str) -> bool:
        group, _, rest = name.partition(".")
        if self.shared and group in {"embed", "input_mean", "input_sd"}:
            return True
        return group in {"convs", "norms"} and int(rest.split(".")[0]) < self.shared

    @classmethod
    def restore(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> PatchPredictor:
        """Inverse of `state`; raises ModelError ``GS-MODEL-DAMAGED`` where shapes and values do not fit."""
        spec = NetSpec.from_meta(meta["spec"])
        depths = np.array(meta["depths_cm"], np.float64)
        standard = Standard(
            np.array(meta["centre"], np.float64),
            np.array(meta["spread"], np.float64),
            np.array([-np.inf if one is None else one for one in meta["lowest"]], np.float64),
            np.array([np.inf if one is None else one for one in meta["highest"]], np.float64),
        )
        members, networks, shared = int(meta["members"]), int(meta["networks"]), int(meta["shared"])
        fits = (
            1 <= members <= 1000
            and 0 <= shared <= 3
            and len(depths) == len(standard.centre) == len(standard.spread) >= 1
            and len(depths) == len(standard.lowest) == len(standard.highest)
            and networks == (1 if spec.outputs > 1 else len(depths))
            and spec.outputs in {1, len(depths)}
        )
        if not fits:
            raise ModelError("the networks and their depths do not fit", code="GS-MODEL-DAMAGED")
        empty = cls(spec, (), depths, standard, shared)
        with torch.device("meta"):
            shapes = {name: tuple(value.shape) for name, value in PatchNet(spec).state_dict().items()}
        found = []
        for member in range(members):
            nets = []
            for place in range(networks):
                state: dict[str, Tensor] = {}
                for name, shape in shapes.items():
                    if name.endswith("num_batches_tracked"):
                        state[name] = torch.zeros((), dtype=torch.int64)
                        continue
                    key = f"{member}.shared.{name}" if empty._is_shared(name) else f"{member}.{place}.{name}"
                    if key not in arrays or arrays[key].shape != shape or arrays[key].dtype != np.float32:
                        raise ModelError(f"weights {key!r} are missing or misshapen", code="GS-MODEL-DAMAGED")
                    state[name] = torch.from_numpy(np.ascontiguousarray(arrays[key]))
                nets.append(state)
            found.append(tuple(nets))
        return cls(spec, tuple(found), depths, standard, shared)
