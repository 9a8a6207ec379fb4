"""Preprocessing of spectra: steps by name, fitted on training spectra, applied to tables and tiles in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from geosoil.errors import InputError, ModelError, UsageError
from geosoil.kernels.spectral import COUNTS, walk

from .axis import LEARN, PLANS, Axis, Operation
from .steps import Step, parse_steps

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geosoil.types import Float64

__all__ = ["Counts", "Preprocess"]

#: Most bands of a model file that is believed.
_MOST_BANDS = 100_000


@dataclass
class Counts:
    """What preprocessing met on its way; adds up over calls.

    Attributes
    ----------
    rows : int
        Spectra.
    missing : int
        Spectra with a missing value; they stay missing.
    floored : int
        Values (not spectra) below the floor of a logarithm or of a continuum, raised to it.
    bright : int
        Spectra with a reflectance above the ceiling; they become missing.
    flat : int
        Spectra without any shape, which SNV and MSC cannot scale; they become missing.
    """

    rows: int = 0
    missing: int = 0
    floored: int = 0
    bright: int = 0
    flat: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    def lines(self) -> list[str]:
        """What is worth saying, in words.

        >>> Counts(rows=10, floored=3).lines()
        ['3 values of 10 spectra were below the floor and raised to it']
        """
        said = {
            "missing": "of {rows} spectra have missing values",
            "floored": "values of {rows} spectra were below the floor and raised to it",
            "bright": "of {rows} spectra are brighter than reflectance can be, and left out",
            "flat": "of {rows} spectra are constant, and left out",
        }
        return [
            f"{getattr(self, name)} {text.format(rows=self.rows)}" for name, text in said.items() if getattr(self, name)
        ]


@dataclass(frozen=True, eq=False)
class _Program:
    """What `kernels.spectral.walk` takes, for one type of float."""

    codes: NDArray[np.int64]
    lengths: NDArray[np.int64]
    layouts: NDArray[np.int64]
    layout_start: NDArray[np.int64]
    constants: NDArray[Any]
    constant_start: NDArray[np.int64]

    @classmethod
    def of(cls, operations: Sequence[Operation], bands: int, dtype: type[np.floating[Any]]) -> _Program:
        constants = [one.constants_for(dtype) for one in operations]
        layouts = [np.asarray(one.layout, np.int64) for one in operations]
        return cls(
            codes=np.array([one.code for one in operations], np.int64),
            lengths=np.array([bands, *(one.length for one in operations)], np.int64),
            layouts=np.concatenate([np.empty(0, np.int64), *layouts]),
            layout_start=np.cumsum([0, *map(len, layouts)]).astype(np.int64),
            constants=np.concatenate([np.empty(0, dtype), *constants]).astype(dtype),
            constant_start=np.cumsum([0, *map(len, constants)]).astype(np.int64),
        )

    def run(self, rows: NDArray[Any], out: NDArray[Any]) -> Counts:
        counts = np.zeros(len(COUNTS), np.int64)
        walk(
            rows,
            self.codes,
            self.lengths,
            self.layouts,
            self.layout_start,
            self.constants,
            self.constant_start,
            out,
            counts,
        )
        return Counts(len(rows), *(int(one) for one in counts))


@dataclass(frozen=True, eq=False)
class Preprocess:
    """Fitted preprocessing: the steps, with what they learned from training spectra. Made by `fit`.

    Attributes
    ----------
    steps : tuple of Step
        In order.
    source_nm : (p,) float64
        Wavelengths of the spectra that it takes, nm.
    joins_nm : tuple of float
        Where detectors join besides what the wavelengths show, nm.
    learned : mapping of int to (m,) float64 arrays
        By the place of a step: the reference of MSC, the centres and gains of scaling.
    wavelength_nm : (q,) float64
        Wavelengths of what it gives, nm.
    notes : tuple of str
        Bands that fell away, and why.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> reflectance = 0.2 + 0.3 * rng.random((20, 50))
    >>> fitted = Preprocess.fit(reflectance, np.arange(400, 900, 10), ["absorbance", "snv", "sg(window=7)"])
    >>> fitted.apply(reflectance).shape
    (20, 44)
    >>> fitted.wavelength_nm[[0, -1]].tolist()
    [430.0, 860.0]
    """

    steps: tuple[Step, ...]
    source_nm: Float64
    joins_nm: tuple[float, ...]
    learned: Mapping[int, Float64]
    wavelength_nm: Float64
    notes: tuple[str, ...]
    _programs: tuple[_Program, _Program]

    kind = "preprocess"

    @classmethod
    def fit(
        cls,
        spectra: ArrayLike,
        wavelength_nm: ArrayLike,
        steps: str | Sequence[str | Step],
        *,
        joins_nm: Sequence[float] = (),
    ) -> Preprocess:
        """Learn from training spectra what the steps need: only MSC and scaling need anything.

        Parameters
        ----------
        spectra : (n, p) array-like
            Reflectance 0 to 1 of training samples; rows with missing values are left aside.
        wavelength_nm : (p,) array-like
            Their wavelengths, nm, in the order of the bands.
        steps : str or sequence of str
            Such as ``["absorbance", "snv", "sg(window=11, degree=2, derivative=1)"]``; none leaves spectra as they are.
        joins_nm : sequence of float
            Wavelengths that no window may reach across, besides gaps, steps back and jumps in the spacing.

        Raises
        ------
        UsageError
            ``GS-STEP``: a step that is not known, with options that it does not take, or after one that it cannot
            follow.
        InputError
            ``GS-SPECTRA-SHAPE``, ``GS-SPACING``, ``GS-WINDOW`` (no segment as wide as a window), ``GS-SPECTRA-FLAT``
            (training spectra of which nothing is left).
        """
        wavelength = np.array(wavelength_nm, np.float64)
        rows = _rows(spectra, len(wavelength)) if wavelength.ndim == 1 else np.empty((0, 0))
        if wavelength.ndim != 1 or not len(wavelength) or not np.isfinite(wavelength).all():
            raise InputError("wavelengths are missing, or not one a band", code="GS-SPECTRA-SHAPE")
        return cls._build(parse_steps(steps), wavelength, tuple(map(float, joins_nm)), rows=rows)

    @classmethod
    def _build(
        cls,
        steps: tuple[Step, ...],
        wavelength: Float64,
        joins: tuple[float, ...],
        *,
        rows: NDArray[Any] | None = None,
        known: Mapping[int, Float64] | None = None,
    ) -> Preprocess:
        """Plan step by step; what a step learns comes from training rows, or is known from a model file."""
        axis = Axis.of(wavelength, joins)
        operations: list[Operation] = []
        learned: dict[int, Float64] = {}
        for place, step in enumerate(steps):
            if step.name in LEARN:
                if rows is not None:
                    learned[place] = LEARN[step.name](step, _training(rows, operations, step))
                elif known is not None:
                    learned[place] = known[place]
            more, axis = PLANS[step.name](step, axis, learned.get(place))
            operations.extend(more)
        single = _Program.of(operations, len(wavelength), np.float32)
        double = _Program.of(operations, len(wavelength), np.float64)
        return cls(steps, wavelength, joins, learned, axis.wavelength_nm, axis.notes, (single, double))

    def apply(
        self, spectra: ArrayLike, *, out: NDArray[Any] | None = None, counts: Counts | None = None
    ) -> NDArray[Any]:
        """Take spectra through all steps, in one pass.

        Parameters
        ----------
        spectra : (n, p) array-like
            Reflectance 0 to 1; a row with a missing value becomes NaN. float32 is computed and returned as float32, all
            else as float64. Contiguous rows are not copied.
        out : (n, q) array, optional
            Filled and returned; contiguous, of the type of the result.
        counts : Counts, optional
            Added to: what was floored, masked or constant.

        Returns
        -------
        (n, q) float32 or float64

        Raises
        ------
        InputError
            ``GS-SPECTRA-SHAPE``.
        """
        rows = _rows(spectra, len(self.source_nm))
        shape = (len(rows), len(self.wavelength_nm))
        if out is None:
            out = np.empty(shape, rows.dtype)
        elif out.shape != shape or out.dtype != rows.dtype or not out.flags.c_contiguous:
            raise UsageError(
                f"out has to be contiguous {rows.dtype} of shape {shape}",
                code="GS-SPECTRA-SHAPE",
                details=[f"found: {out.dtype}, {out.shape}"],
            )
        met = self._programs[int(rows.dtype == np.float64)].run(rows, out)
        if counts is not None:
            for one in fields(met):
                setattr(counts, one.name, getattr(counts, one.name) + getattr(met, one.name))
        return out

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """What a model file holds: JSON values and arrays."""
        meta = {"steps": [str(step) for step in self.steps], "joins_nm": list(self.joins_nm)}
        arrays = {f"{place}.learned": values for place, values in self.learned.items()}
        return meta, {"wavelength_nm": self.source_nm, **arrays}

    @classmethod
    def restore(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Preprocess:
        """Inverse of `state`.

        Raises
        ------
        ModelError
            ``GS-MODEL-DAMAGED`` where the parts do not fit.
        """
        try:
            wavelength = np.array(arrays["wavelength_nm"], np.float64)
            if wavelength.ndim != 1 or not 0 < len(wavelength) <= _MOST_BANDS or not np.isfinite(wavelength).all():
                raise ValueError("wavelengths")
            steps = parse_steps([str(one) for one in meta["steps"]])
            joins = tuple(float(one) for one in meta["joins_nm"])
            places = [place for place, step in enumerate(steps) if step.name in LEARN]
            known = {place: np.array(arrays[f"{place}.learned"], np.float64) for place in places}
            return cls._build(steps, wavelength, joins, known=known)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                "the preprocessing of the model is damaged",
                code="GS-MODEL-DAMAGED",
                details=[f"{type(error).__name__}: {str(error)[:200]}"],
            ) from error


def _rows(spectra: ArrayLike, bands: int) -> NDArray[Any]:
    """The spectra as contiguous rows of float32 or float64."""
    rows = np.asarray(spectra)
    if rows.ndim != 2 or rows.shape[1] != bands:
        raise InputError(
            f"spectra of shape {rows.shape} do not fit {bands} wavelengths",
            code="GS-SPECTRA-SHAPE",
            hint="one row a spectrum, one column a wavelength",
        )
    return np.ascontiguousarray(rows, rows.dtype if rows.dtype == np.float32 else np.float64)


def _training(rows: NDArray[Any], operations: Sequence[Operation], step: Step) -> Float64:
    """Training spectra as a step meets them, without those that got lost on the way."""
    program = _Program.of(operations, rows.shape[1], np.float64)
    out = np.empty((len(rows), int(program.lengths[-1])))
    counts = program.run(np.ascontiguousarray(rows, np.float64), out)
    left = out[np.isfinite(out).all(axis=1)]
    if len(left):
        return left
    raise InputError(
        f"no training spectrum is left for step {step.name}",
        code="GS-SPECTRA-FLAT",
        details=counts.lines() or ["there were no training spectra"],
    )
