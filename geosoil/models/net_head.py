"""Networks of spectra as heads: an ensemble of one shape, kept as arrays, that predicts tables and maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from geosoil.models.convnet import ConvNet1D, ConvSpec
from geosoil.models.features import array, damaged, feature_rows, number
from geosoil.models.loop import one_thread
from geosoil.models.resnet import ResNet1D, ResNetSpec

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.types import Float32, Float64

__all__ = ["NETS", "NetHead", "Spec", "arrays_of", "checked_weights", "module_of"]

#: Spectra that go through at once: what a layer of them needs stays in the processor's cache.
_BLOCK = 64
#: Most members of an ensemble in a model file.
_MEMBERS = 1000


class Spec(Protocol):
    """Shape of a network of spectra, a dataclass."""

    @property
    def flat(self) -> int:
        """Columns that the trunk gives."""
        ...

    @property
    def bands(self) -> int:
        """Input columns, F."""
        ...

    @property
    def outputs(self) -> int:
        """Properties that come out at once."""
        ...

    def to_meta(self) -> dict[str, Any]:
        """As JSON values."""
        ...

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> Self:
        """Inverse of `to_meta`; raises ModelError ``GS-MODEL-DAMAGED``."""
        ...


#: Kinds of networks: the class of the shape, and the module. A module takes its shape, maps (n, F) to (n, outputs) and
#: has `standardise(X)` and `folded()`, a copy for predictions.
NETS: dict[str, tuple[type[Any], type[Any]]] = {"resnet": (ResNetSpec, ResNet1D), "cnn": (ConvSpec, ConvNet1D)}


@dataclass(frozen=True, eq=False)
class NetHead:
    """The mean over M networks of one shape, on the scale of the response.

    Attributes
    ----------
    kind : str
        One of `NETS`.
    spec : Spec
        Shape of the networks, with one output.
    weights : dict of (M, ...) float32
        Parameters and buffers by their name in the module.
    centre, spread : float
        Of the response.
    rmsecv : float or None
        Error on the samples that the members stopped by, or of the search.
    slope : (F,) float64, optional
        Coefficients of the features that are added to the networks' mean, in the unit of the response.
    """

    kind: str
    spec: Spec
    weights: dict[str, Float32]
    centre: float
    spread: float
    rmsecv: float | None = None
    slope: Float64 | None = None

    def __post_init__(self) -> None:
        # Folded once, for predictions; not a field, so that neither `state` nor `repr` sees it.
        object.__setattr__(self, "_folded", [net.folded() for net in self.networks()])

    @classmethod
    def of(
        cls,
        kind: str,
        nets: Sequence[nn.Module],
        centre: float,
        spread: float,
        rmsecv: float | None = None,
        *,
        slope: Float64 | None = None,
    ) -> NetHead:
        """A head of trained networks of one shape."""
        states = [arrays_of(net) for net in nets]
        weights = {name: np.stack([one[name] for one in states]) for name in states[0]}
        return cls(kind, nets[0].spec, weights, centre, spread, rmsecv, slope)  # type: ignore[arg-type]

    @property
    def members(self) -> int:
        """Number of networks, M."""
        return len(next(iter(self.weights.values())))

    @property
    def features(self) -> int:
        """Number of features, F."""
        return self.spec.bands

    @property
    def importance(self) -> None:
        """None of its own; explain it."""
        return

    def networks(self) -> list[Any]:
        """The members as modules, in evaluation mode; their values times `spread` plus `centre` are predictions."""
        return [
            module_of(self.kind, self.spec, {name: one[place] for name, one in self.weights.items()})
            for place in range(self.members)
        ]

    def predict(self, X: ArrayLike) -> Float64:
        """Features (n, F) to values (n,); NaN where a feature is."""
        rows = feature_rows(X, self.features)
        whole = np.isfinite(rows).all(axis=1)
        out = np.full(len(rows), np.nan)
        inputs = torch.from_numpy(rows[whole].astype(np.float32))
        found = torch.zeros(len(inputs))
        folded: list[nn.Module] = self._folded  # type: ignore[attr-defined]
        with torch.inference_mode(), one_thread():
            for start in range(0, len(inputs), _BLOCK):
                block = inputs[start : start + _BLOCK]
                for net in folded:
                    found[start : start + _BLOCK] += net(block)[:, 0]
        out[whole] = found.numpy().astype(np.float64) / self.members * self.spread + self.centre
        if self.slope is not None:
            out[whole] += rows[whole] @ self.slope
        return out

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON values and arrays."""
        meta = {
            "net": self.kind,
            "spec": self.spec.to_meta(),
            "members": self.members,
            "centre": self.centre,
            "spread": self.spread,
            "rmsecv": self.rmsecv,
        }
        return meta, {**self.weights, **({} if self.slope is None else {"slope": self.slope})}

    @classmethod
    def restore(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> NetHead:
        """Inverse of `state`; raises ModelError ``GS-MODEL-DAMAGED`` where the arrays do not fit."""
        kind, shape = meta.get("net"), meta.get("spec")
        members = int(number(meta, "members"))
        if kind not in NETS or not isinstance(shape, Mapping) or not 1 <= members <= _MEMBERS:
            raise damaged("the networks")
        spec: Spec = NETS[kind][0].from_meta(shape)
        if spec.outputs != 1:
            raise damaged("the outputs")
        return cls(
            kind,
            spec,
            checked_weights(kind, spec, arrays, members),
            number(meta, "centre"),
            number(meta, "spread"),
            None if meta.get("rmsecv") is None else number(meta, "rmsecv"),
            array(arrays, "slope", spec.bands) if "slope" in arrays else None,
        )


def arrays_of(net: nn.Module) -> dict[str, Float32]:
    """Parameters and buffers of a network; counters of batch norms are not among them."""
    state = net.state_dict()
    return {name: one.detach().cpu().numpy().copy() for name, one in state.items() if one.dtype.is_floating_point}


def module_of(kind: str, spec: Spec, weights: Mapping[str, Float32]) -> Any:
    """The network of this shape with these weights, in evaluation mode."""
    with torch.device("meta"):
        net: nn.Module = NETS[kind][1](spec)
    state: dict[str, Tensor] = {name: torch.from_numpy(one.copy()) for name, one in weights.items()}
    counters = {name: torch.tensor(0) for name, one in net.state_dict().items() if not one.dtype.is_floating_point}
    net.load_state_dict({**state, **counters}, assign=True)
    return net.eval()


def checked_weights(
    kind: str, spec: Spec, arrays: Mapping[str, NDArray[Any]], members: int | None = None
) -> dict[str, Float32]:
    """The arrays that networks of this shape need, with M in front if there are members; raises ModelError."""
    # On the meta device a network has shapes and no memory, however large its shape claims to be.
    with torch.device("meta"):
        wanted = NETS[kind][1](spec).state_dict()
    lead = () if members is None else (members,)
    found = {}
    for name, one in wanted.items():
        if not one.dtype.is_floating_point:
            continue
        values = arrays.get(name)
        if values is None or values.shape != (*lead, *one.shape) or values.dtype.kind != "f":
            raise damaged(f"the arrays {name!r}")
        if not np.isfinite(values).all() or (name.endswith(("running_var", "_sd")) and (values < 0).any()):
            raise damaged(f"the values {name!r}")
        found[name] = np.ascontiguousarray(values, np.float32)
    return found
