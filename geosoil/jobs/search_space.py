"""The networks that a search may draw: ranges that hold all published optima, less those that are too large."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import optuna

from geosoil.errors import UsageError
from geosoil.models.conv_head import CnnSettings
from geosoil.models.convnet import ACTIVATIONS, ConvBlock, ConvSpec, DenseBlock, Padding, Pool, published
from geosoil.models.fold_training import OPTIMIZERS, FoldSchedule

__all__ = ["Space"]

_CONV, _DENSE = 4, 5
_FILTERS, _NODES = (8, 256), (16, 1024)
_KERNEL, _STRIDE, _POOL = (2, 10), (1, 10), (2, 4)
_DROPOUT = (0.0, 0.5)
_RATE = (1e-4, 1e-2)
_BATCHES = (16, 32, 64, 128, 256)
_SWITCH = (False, True)
_PADDINGS: tuple[Padding, ...] = ("valid", "same")
_POOLS: tuple[Pool, ...] = ("none", "max", "average")


@dataclass(frozen=True, slots=True)
class Space:
    """What a trial of optuna may be.

    Attributes
    ----------
    bands : int
        Input columns, F.
    samples : int
        Least number that a fold trains on; a batch takes half of them at most.
    watch : str
        As `FoldSchedule` has it.
    most_multiplications, most_weights : int
        Larger networks are refused.
    epochs, patience : (int, int), int
        Least and most epochs; as `FoldSchedule` has it.
    """

    bands: int
    samples: int
    watch: Literal["part", "held-out"] = "part"
    most_multiplications: int = 5_000_000
    most_weights: int = 2_000_000
    epochs: tuple[int, int] = (50, 500)
    patience: int = 30

    @property
    def batches(self) -> list[int]:
        """Batch sizes that leave two steps an epoch; the least one always."""
        return [one for one in _BATCHES if one <= self.samples // 2] or [_BATCHES[0]]

    def draw(self, trial: optuna.Trial) -> CnnSettings:
        """The settings of a trial.

        Raises
        ------
        UsageError
            ``GS-NET-LENGTH``: the blocks leave no position. ``GS-NET-LARGE``: the network costs too much.
        """
        conv = tuple(self._conv(trial, f"conv{place}") for place in range(1, trial.suggest_int("convs", 1, _CONV) + 1))
        dense = tuple(
            self._dense(trial, f"dense{place}") for place in range(1, trial.suggest_int("denses", 1, _DENSE) + 1)
        )
        schedule = FoldSchedule(
            optimizer=trial.suggest_categorical("optimizer", sorted(OPTIMIZERS)),
            learning_rate=trial.suggest_float("learning_rate", *_RATE, log=True),
            batch=trial.suggest_categorical("batch", self.batches),
            epochs=trial.suggest_int("epochs", *self.epochs, log=True),
            patience=self.patience,
            watch=self.watch,
            share=CnnSettings().schedule.share,
        )
        found = CnnSettings(conv, dense, schedule)
        self._check_size(found.spec(self.bands))
        return found

    def starts(self) -> list[dict[str, Any]]:
        """Trials that a search begins with: the default network, and a published one."""
        default = CnnSettings.fitting(self.bands)
        found = [self.params(default)]
        try:
            small = published(self.bands)["small"]
            found.append(self.params(CnnSettings(small.conv, small.dense, default.schedule)))
        except UsageError:  # too few bands for it
            pass
        return found

    def params(self, settings: CnnSettings) -> dict[str, Any]:
        """Inverse of `draw`, with what lies outside the ranges moved inside."""
        schedule = settings.schedule
        found: dict[str, Any] = {
            "convs": len(settings.conv),
            "denses": len(settings.dense),
            "optimizer": schedule.optimizer,
            "learning_rate": min(max(schedule.learning_rate, _RATE[0]), _RATE[1]),
            "batch": min(self.batches, key=lambda one: abs(one - schedule.batch)),
            "epochs": min(max(schedule.epochs, self.epochs[0]), self.epochs[1]),
        }
        for place, conv in enumerate(settings.conv, 1):
            found |= _conv_params(f"conv{place}", conv)
        for place, dense in enumerate(settings.dense, 1):
            found |= {f"dense{place}_nodes": dense.nodes, **_end_params(f"dense{place}", dense)}
        return found

    def work(self, meta: Mapping[str, Any]) -> int:
        """Multiplications of one spectrum, to sort by."""
        return CnnSettings.from_meta(meta).spec(self.bands).multiplications

    def _conv(self, trial: optuna.Trial, name: str) -> ConvBlock:
        pool = cast("Pool", trial.suggest_categorical(f"{name}_pool", _POOLS))
        return ConvBlock(
            filters=trial.suggest_int(f"{name}_filters", *_FILTERS, log=True),
            kernel=trial.suggest_int(f"{name}_kernel", *_KERNEL),
            stride=trial.suggest_int(f"{name}_stride", *_STRIDE),
            padding=cast("Padding", trial.suggest_categorical(f"{name}_padding", _PADDINGS)),
            pool=pool,
            pool_size=2 if pool == "none" else trial.suggest_int(f"{name}_pool_size", *_POOL),
            **_end(trial, name),
        )

    def _dense(self, trial: optuna.Trial, name: str) -> DenseBlock:
        return DenseBlock(trial.suggest_int(f"{name}_nodes", *_NODES, log=True), **_end(trial, name))

    def _check_size(self, spec: ConvSpec) -> None:
        if spec.multiplications > self.most_multiplications or spec.weights > self.most_weights:
            raise UsageError(
                "the network is larger than the search allows",
                code="GS-NET-LARGE",
                details=[f"{spec.multiplications} multiplications a spectrum, {spec.weights} weights"],
                hint="allow more of them",
            )


def _end(trial: optuna.Trial, name: str) -> dict[str, Any]:
    """What ends a block of either kind."""
    dropped = trial.suggest_categorical(f"{name}_drops", _SWITCH)
    return {
        "activation": trial.suggest_categorical(f"{name}_activation", tuple(ACTIVATIONS)),
        "norm": trial.suggest_categorical(f"{name}_norm", _SWITCH),
        "dropout": trial.suggest_float(f"{name}_dropout", *_DROPOUT) if dropped else 0.0,
    }


def _end_params(name: str, block: ConvBlock | DenseBlock) -> dict[str, Any]:
    found = {f"{name}_drops": block.dropout > 0, f"{name}_activation": block.activation, f"{name}_norm": block.norm}
    return {**found, f"{name}_dropout": block.dropout} if block.dropout else found


def _conv_params(name: str, block: ConvBlock) -> dict[str, Any]:
    found = {
        f"{name}_filters": block.filters,
        f"{name}_kernel": min(max(block.kernel, _KERNEL[0]), _KERNEL[1]),
        f"{name}_stride": block.stride,
        f"{name}_padding": block.padding,
        f"{name}_pool": block.pool,
        **_end_params(name, block),
    }
    return found if block.pool == "none" else {**found, f"{name}_pool_size": block.pool_size}
