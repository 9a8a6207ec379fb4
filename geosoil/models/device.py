"""Patch networks on another device: blocks go there and back through pinned memory, on a stream for each thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geosoil.errors import ResourceError
from geosoil.models.bundle import Bundle
from geosoil.models.cnn import PatchPredictor
from geosoil.models.dense import DenseNets
from geosoil.models.loop import device_of
from geosoil.models.threads import SharedSetting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float32

__all__ = ["HALF_ERROR", "OnDevice", "find_device", "half_error", "on_device"]

#: Largest relative error of a mapped value for which half precision is taken.
HALF_ERROR = 1e-3
#: Cells that go through 1 x 1 convolutions at once there: a whole block.
_PIECE = 2**15


def find_device(name: str) -> tuple[torch.device, str]:
    """The device for ``auto``, ``cpu`` or ``cuda``, and what it calls itself; raises ResourceError ``GS-DEVICE``."""
    device = device_of(name)
    return device, torch.cuda.get_device_name(device) if device.type == "cuda" else ""


class _Lane:
    """A thread's way to a device: memory that both can reach, and a stream. On the CPU it is plain memory."""

    def __init__(self, device: torch.device, goes: tuple[int, ...], comes: tuple[int, ...]) -> None:
        pinned = device.type == "cuda"
        self.goes = torch.empty(goes, pin_memory=pinned)
        self.comes = torch.empty(comes, pin_memory=pinned)
        self._stream = torch.cuda.Stream(device) if pinned else None  # type: ignore[no-untyped-call]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Put work on the stream, and wait for all of it at the end."""
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            yield
        self._stream.synchronize()


@dataclass(frozen=True, eq=False)
class OnDevice:
    """A predictor of patch networks whose blocks are predicted on a device; made by `OnDevice.of`.

    Attributes
    ----------
    plain : PatchPredictor
        The same on the CPU; patches go there.
    device : torch.device
        Where blocks go.
    nets : DenseNets
        The folded networks, there.
    half : bool
        Whether in half precision, their last layers apart.
    """

    plain: PatchPredictor
    device: torch.device
    nets: DenseNets
    half: bool
    _lanes: threading.local

    kind = PatchPredictor.kind

    @classmethod
    def of(cls, plain: PatchPredictor, device: torch.device, *, half: bool = False) -> OnDevice:
        """Take the networks to a device."""
        with _told(device):
            nets = plain.folded.to(device, half=half, piece=_PIECE)
            if device.type == "cuda":
                # Threads have streams of their own, which do not wait for the one that the weights came by.
                torch.cuda.synchronize(device)
        return cls(plain, device, nets, half, threading.local())

    @property
    def patch(self) -> int:
        """Width of the patch, cells."""
        return self.plain.patch

    @property
    def targets(self) -> int:
        """Number of depths."""
        return self.plain.targets

    def predict(self, features: Float32) -> Float32:
        """Patches (n, w, w, F) to (n, T), on the CPU."""
        return self.plain.predict(features)

    def predict_tile(self, features: Float32) -> Float32:
        """A tile with its halo, (h + w - 1, w + w - 1, F), to (T, h, w).

        Raises
        ------
        ResourceError
            ``GS-DEVICE``: the device has too little memory, or fails.
        """
        height, width = (edge - self.patch + 1 for edge in features.shape[:2])
        with _told(self.device), _exact(self.device), torch.inference_mode():
            lane = self._lane(features.shape, (self.targets, height, width))
            lane.goes.copy_(torch.from_numpy(features))
            with lane.running():
                # Pixels come with their channels beside each other, which is channels-last memory.
                tile = lane.goes.to(self.device, non_blocking=True).permute(2, 0, 1).unsqueeze(0)
                found = self.nets(tile.half() if self.half else tile, height, width)
                lane.comes.copy_(found, non_blocking=True)
            return self.plain.standard.keep(lane.comes.numpy().copy())

    def _lane(self, goes: tuple[int, ...], comes: tuple[int, ...]) -> _Lane:
        """This thread's; blocks of a run have one shape."""
        lanes: dict[tuple[int, ...], _Lane] = self._lanes.__dict__.setdefault("lanes", {})
        if goes not in lanes:
            lanes.clear()
            lanes[goes] = _Lane(self.device, goes, comes)
        return lanes[goes]

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """As of the predictor on the CPU."""
        return self.plain.state()

    @classmethod
    def restore(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> OnDevice:
        """A predictor that has not left the CPU."""
        return cls.of(PatchPredictor.restore(meta, arrays), torch.device("cpu"))


def on_device(
    bundle: Bundle, device: torch.device, raw: Float32, places: Sequence[int] | None = None
) -> tuple[Bundle, str]:
    """A model with its networks on a device, in half precision where that is exact enough.

    Parameters
    ----------
    bundle : Bundle
        The model.
    raw : (B, h + patch - 1, w + patch - 1) float32
        A block of the scene to map, by which the precision is chosen: half, where its mapped values differ from those
        in single precision by less than `HALF_ERROR` of the value.
    places : sequence of int, optional
        Where the model's bands are in `raw`.

    Returns
    -------
    Bundle, str
        The model, and ``half`` or ``single``; itself and nothing, where it has no patch networks.
    """
    if not isinstance(bundle.predictor, PatchPredictor):
        return bundle, ""
    single = replace(bundle, predictor=OnDevice.of(bundle.predictor, device))
    half = replace(bundle, predictor=OnDevice.of(bundle.predictor, device, half=True))
    if half_error(half, single, raw, places) < HALF_ERROR:
        return half, "half"
    return single, "single"


def half_error(half: Bundle, single: Bundle, raw: Float32, places: Sequence[int] | None = None) -> float:
    """Largest relative difference of mapped values; infinite where a block has none, or one is no number."""
    found, expected = (one.predict_block(raw, unseen="missing", places=places) for one in (half, single))
    valid = np.isfinite(expected)
    if not valid.any() or not np.isfinite(found[valid]).all():
        return float("inf")
    size = np.maximum(np.abs(expected[valid]), np.finfo(np.float32).tiny)
    return float((np.abs(found[valid] - expected[valid]) / size).max())


@contextmanager
def _told(device: torch.device) -> Iterator[None]:
    """Errors of a device in words of geosoil."""
    try:
        yield
    except RuntimeError as error:
        if device.type == "cpu":
            raise
        full = isinstance(error, torch.cuda.OutOfMemoryError)
        raise ResourceError(
            f"device {device.type!r} {'has too little memory' if full else 'failed'}",
            code="GS-DEVICE",
            details=[str(error).strip().splitlines()[0][:300]],
            hint="take --device cpu, or fewer workers (-j), and go on with a new run",
        ) from error


_exact_convolutions = SharedSetting(
    lambda: torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
)


def _exact(device: torch.device) -> AbstractContextManager[None]:
    """Convolutions in true single precision, the same ones each time; torch's settings return when all have left."""
    return nullcontext() if device.type == "cpu" else _exact_convolutions.held()
