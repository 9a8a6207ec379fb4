"""Names of preprocessing steps as users write them, such as ``sg(window=11, degree=2, derivative=1)``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias

from geosoil.errors import UsageError, listing

__all__ = ["KNOWN", "Step", "parse_steps"]

Option: TypeAlias = float | int | str

#: Steps, their options and what these are when nothing is said; an option is of the type of its default.
KNOWN: dict[str, dict[str, Option]] = {
    "absorbance": {"floor": 1e-4, "ceiling": 1.5},
    "snv": {},
    "detrend": {"degree": 2},
    "sg": {"window": 11, "degree": 2, "derivative": 1, "edges": "drop"},
    "gapder": {"derivative": 1, "gap": 11, "segment": 5},
    "movav": {"window": 11},
    "msc": {},
    "continuum": {"floor": 1e-4},
    "scale": {"by": "sd"},
    "resample": {"step": 10.0},
}

#: What an option that is a word may be.
_WORDS = {("sg", "edges"): ("drop", "keep"), ("scale", "by"): ("sd", "none")}
#: Least value of an option that is a number; all others are above 0.
_LEAST: dict[tuple[str, str], int] = {
    ("sg", "degree"): 0,
    ("sg", "derivative"): 0,
    ("detrend", "degree"): 0,
}
#: Options that have to be odd.
_ODD = {("sg", "window"), ("movav", "window"), ("gapder", "gap"), ("gapder", "segment")}
#: Largest whole number that makes sense in any of them.
_MOST = 10_000

_SHAPE = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:\((.*)\))?\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Step:
    """One step and all its options.

    Attributes
    ----------
    name : str
        A name in `KNOWN`.
    options : tuple of (str, number or str)
        All options of the step, in the order of `KNOWN`.

    >>> str(Step.parse("sg(window=7)"))
    'sg(window=7, degree=2, derivative=1, edges=drop)'
    """

    name: str
    options: tuple[tuple[str, Option], ...] = ()

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={value}" for name, value in self.options)
        return f"{self.name}({inside})" if inside else self.name

    def number(self, name: str) -> float:
        """An option that is a number."""
        return float(dict(self.options)[name])

    def whole(self, name: str) -> int:
        """An option that is a whole number."""
        return int(dict(self.options)[name])

    def word(self, name: str) -> str:
        """An option that is a word."""
        return str(dict(self.options)[name])

    @classmethod
    def parse(cls, text: str) -> Step:
        """Read a step.

        Raises
        ------
        UsageError
            ``GS-STEP``: unknown name or option, or a value that the step does not take.
        """
        shape = _SHAPE.fullmatch(text)
        if not shape:
            raise _wrong(text, "is no step", f"written as in: {Step.parse('sg')}")
        name = shape[1].lower()
        if name not in KNOWN:
            near = get_close_matches(name, KNOWN, n=1)
            raise _wrong(text, "is not known", f"perhaps {near[0]!r}" if near else "")
        given = _given(text, name, shape[2] or "")
        step = cls(name, tuple((option, given.get(option, default)) for option, default in KNOWN[name].items()))
        _check(text, step)
        return step


def parse_steps(steps: str | Sequence[str | Step]) -> tuple[Step, ...]:
    """Steps from texts, or from one text that names them with commas between.

    >>> [step.name for step in parse_steps("absorbance, sg(window=7, degree=2), snv")]
    ['absorbance', 'sg', 'snv']
    """
    if isinstance(steps, str):
        steps = [one for one in re.split(r",(?![^(]*\))", steps) if one.strip()]
    return tuple(one if isinstance(one, Step) else Step.parse(one) for one in steps)


def _wrong(text: str, problem: str, *details: str) -> UsageError:
    return UsageError(
        f"preprocessing step {text.strip()[:50]!r} {problem}",
        code="GS-STEP",
        details=[*(one for one in details if one), f"known: {listing(list(KNOWN))}"],
    )


def _given(text: str, name: str, inside: str) -> dict[str, Option]:
    """The options in the brackets, as numbers or words."""
    known = KNOWN[name]
    found: dict[str, Option] = {}
    for part in filter(str.strip, inside.split(",")):
        option, equals, value = (one.strip() for one in part.partition("="))
        takes = f"{name} takes: {listing(list(known)) or 'no options'}"
        if not equals:
            raise _wrong(text, f"has {option!r} without a name", takes)
        if option not in known:
            raise _wrong(text, f"has no option {option!r}", takes)
        if option in found:
            raise _wrong(text, f"has {option!r} twice")
        try:
            found[option] = type(known[option])(value)
        except ValueError:
            kind = "a whole number" if isinstance(known[option], int) else "a number"
            raise _wrong(text, f"needs {kind} for {option}", f"found: {value!r}") from None
    return found


def _check(text: str, step: Step) -> None:
    for option, value in step.options:
        key = (step.name, option)
        if isinstance(value, str):
            if value not in _WORDS[key]:
                raise _wrong(text, f"does not know {option}={value}", f"{option} is one of: {listing(_WORDS[key])}")
        elif not (value >= _LEAST[key] if key in _LEAST else value > 0) or not value <= _MOST:
            raise _wrong(text, f"cannot have {option}={value:g}")
        elif key in _ODD and value % 2 == 0:
            raise _wrong(text, f"needs an odd {option}", f"found: {value}")
    if step.name == "sg":
        window, degree, derivative = step.whole("window"), step.whole("degree"), step.whole("derivative")
        if degree >= window:
            raise _wrong(text, "needs a window wider than its degree", f"window {window}, degree {degree}")
        if derivative > degree:
            raise _wrong(text, "needs a degree not below its derivative", f"degree {degree}, derivative {derivative}")
    if step.name == "gapder" and step.whole("derivative") > 4:
        raise _wrong(text, "goes up to the fourth derivative")
