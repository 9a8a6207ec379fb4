"""Fitted translators of satellite to laboratory-like spectra, as arrays: applied, stored, folded into maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from geosoil.errors import InputError, ModelError
from geosoil.models.fusion_layers import Chains, Dense, pack, unpack
from geosoil.models.fusion_settings import KINDS, LINEAR_KINDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geosoil.types import Float32

__all__ = ["LinearTranslator", "Member", "NetTranslator", "Translator", "restore_translator"]


class Translator(Protocol):
    """A fitted map of satellite spectra to laboratory-like ones on the same bands."""

    @property
    def kind(self) -> str:
        """One of `KINDS`, by which `restore_translator` finds the class again."""
        ...

    @property
    def bands(self) -> int:
        """Number of bands, p."""
        ...

    def generate(self, satellite: Float32) -> Float32:
        """Spectra (n, p) to (n, p); the same spectrum always gives the same one."""
        ...

    def chains(self) -> Chains | None:
        """The translator as dense layers, for a map to fold into what follows; None where draws are averaged."""
        ...

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """What a model file holds: JSON values, and arrays by name."""
        ...


@dataclass(frozen=True, eq=False)
class LinearTranslator:
    """A matrix and an offset.

    Attributes
    ----------
    map : Dense
        ``generated = satellite @ weight.T + bias``.
    """

    kind: str
    map: Dense

    @property
    def bands(self) -> int:
        """Number of bands."""
        return len(self.map.bias)

    def generate(self, satellite: Float32) -> Float32:
        """Spectra (n, p) to (n, p)."""
        return self.map(_spectra(satellite, self.bands))

    def chains(self) -> Chains:
        """The map, and no chain."""
        return Chains((), self.map)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON values and arrays."""
        return {"bands": self.bands}, pack("map", self.map)

    @classmethod
    def restore(cls, kind: str, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> LinearTranslator:
        """Inverse of `state`; raises ModelError ``GS-MODEL-DAMAGED``."""
        bands = int(meta["bands"])
        return cls(kind, unpack(arrays, "map", "linear", bands, bands))


@dataclass(frozen=True, eq=False)
class Member:
    """One network as arrays, scaling folded in.

    Attributes
    ----------
    encoder, decoder : tuple of Dense
    mean : Dense
        Latent means.
    spread : Dense, optional
        Latent log-variances; kept where they are drawn from.
    """

    encoder: tuple[Dense, ...]
    mean: Dense
    decoder: tuple[Dense, ...]
    spread: Dense | None = None

    @property
    def chain(self) -> tuple[Dense, ...]:
        """The layers that the latent mean goes through."""
        return (*self.encoder, self.mean, *self.decoder)

    def draw(self, rows: Float32, noise: Float32) -> Float32:
        """Spectra from the latent mean plus its SD times the noise (latent,)."""
        for layer in self.encoder:
            rows = layer(rows)
        assert self.spread is not None  # noqa: S101 - kept whenever there are draws
        found: Float32 = np.asarray(self.mean(rows) + np.exp(self.spread(rows) / 2) * noise, np.float32)
        for layer in self.decoder:
            found = layer(found)
        return found


@dataclass(frozen=True, eq=False)
class NetTranslator:
    """Networks, whose outputs are averaged, and the linear part that they are added to.

    Attributes
    ----------
    members : tuple of Member
    skip : Dense, optional
        What the networks' mean is added to.
    draws : (k, latent) float32
        Latent noise; without rows the latent mean is decoded.
    sigmoid : bool
        Whether the last activation is a sigmoid.
    """

    kind: str
    members: tuple[Member, ...]
    skip: Dense | None
    draws: Float32
    sigmoid: bool = False

    @property
    def bands(self) -> int:
        """Number of bands."""
        return len(self.members[0].decoder[-1].bias)

    def generate(self, satellite: Float32) -> Float32:
        """Spectra (n, p) to (n, p)."""
        rows = _spectra(satellite, self.bands)
        chains = self.chains()
        if chains is not None:
            return chains(rows)
        total = np.zeros(rows.shape, np.float32) if self.skip is None else self.skip(rows)
        share = np.float32(1 / (len(self.members) * len(self.draws)))
        for member in self.members:
            for noise in self.draws:
                total += member.draw(rows, noise) * share
        return total

    def chains(self) -> Chains | None:
        """The dense layers; None where draws are averaged."""
        return None if len(self.draws) else Chains(tuple(one.chain for one in self.members), self.skip)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON values and arrays."""
        arrays: dict[str, NDArray[Any]] = {"draws": self.draws}
        for place, member in enumerate(self.members):
            for name, layers in (("encoder", member.encoder), ("decoder", member.decoder)):
                for depth, layer in enumerate(layers):
                    arrays |= pack(f"{place}.{name}.{depth}", layer)
            arrays |= pack(f"{place}.mean", member.mean)
            if member.spread is not None:
                arrays |= pack(f"{place}.spread", member.spread)
        if self.skip is not None:
            arrays |= pack("skip", self.skip)
        meta = {
            "bands": self.bands,
            "members": len(self.members),
            "depth": len(self.members[0].encoder),
            "skip": self.skip is not None,
            "sigmoid": self.sigmoid,
        }
        return meta, arrays

    @classmethod
    def restore(cls, kind: str, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> NetTranslator:
        """Inverse of `state`; raises ModelError ``GS-MODEL-DAMAGED``."""
        bands, depth, count = int(meta["bands"]), int(meta["depth"]), int(meta["members"])
        draws, sigmoid = np.asarray(arrays["draws"], np.float32), bool(meta["sigmoid"])
        if not (0 <= depth <= 16 and 1 <= count <= 1000 and draws.ndim == 2 and np.isfinite(draws).all()):
            raise ModelError("the translator's networks do not fit", code="GS-MODEL-DAMAGED")
        members = tuple(_restored_member(arrays, str(place), bands, depth, draws, sigmoid) for place in range(count))
        skip = unpack(arrays, "skip", "linear", bands, bands) if meta["skip"] else None
        return cls(kind, members, skip, draws, sigmoid)


def _restored_member(
    arrays: Mapping[str, NDArray[Any]], name: str, bands: int, depth: int, draws: Float32, sigmoid: bool
) -> Member:
    width, encoder = bands, []
    for place in range(depth):
        encoder.append(unpack(arrays, f"{name}.encoder.{place}", "relu", width))
        width = len(encoder[-1].bias)
    mean = unpack(arrays, f"{name}.mean", "linear", width)
    latent = len(mean.bias)
    spread = None
    if len(draws):
        spread = unpack(arrays, f"{name}.spread", "linear", width, latent)
        if draws.shape[1] != latent:
            raise ModelError("the translator's draws do not fit", code="GS-MODEL-DAMAGED")
    width, decoder = latent, []
    for place in range(depth + 1):
        last = place == depth
        activation: Literal["linear", "relu", "sigmoid"] = "relu" if not last else "sigmoid" if sigmoid else "linear"
        decoder.append(unpack(arrays, f"{name}.decoder.{place}", activation, width, bands if last else None))
        width = len(decoder[-1].bias)
    return Member(tuple(encoder), mean, tuple(decoder), spread)


def restore_translator(kind: str, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Translator:
    """The translator that `state` described; raises ModelError ``GS-MODEL-DAMAGED`` where something does not fit."""
    if kind not in KINDS:
        raise ModelError(f"translator {kind!r} is not known", code="GS-MODEL-DAMAGED")
    try:
        if kind in LINEAR_KINDS:
            return LinearTranslator.restore(kind, meta, arrays)
        return NetTranslator.restore(kind, meta, arrays)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"the translator is damaged: {error}", code="GS-MODEL-DAMAGED") from error


def _spectra(satellite: Float32, bands: int) -> Float32:
    rows = np.ascontiguousarray(satellite, np.float32)
    if rows.ndim != 2 or rows.shape[1] != bands:
        raise InputError(
            f"the translator takes spectra of {bands} bands", code="GS-PAIRS-SHAPE", details=[f"found: {rows.shape}"]
        )
    return rows
