"""The errors that geosoil raises: what is wrong, a stable code, a hint, and the command's exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

__all__ = [
    "GeosoilError",
    "InputError",
    "InterruptedRunError",
    "ModelError",
    "OutputError",
    "PartialError",
    "ResourceError",
    "UsageError",
    "listing",
]


# Longest first line, and what is left of a longer one in the details.
_MOST_FIRST, _MOST_QUOTED = 99, 500


class GeosoilError(Exception):
    """Base of all errors that a user can act on.

    Parameters
    ----------
    message : str
        What is wrong and where, in one line of under 100 characters.
    code : str
        Stable identifier such as ``GS-CRS-MISMATCH``; tests and scripts may rely on it.
    details : sequence of str
        Further lines: found and expected, one fact a line.
    hint : str
        What to do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, code: str, details: Sequence[str] = (), hint: str = "") -> None:
        first = _one_line(message)
        super().__init__(first)
        self.message = first
        self.code = code
        # What a file holds may be quoted in a message, at any length.
        self.details = tuple(details) if len(first) >= len(message) else (*details, message[:_MOST_QUOTED])
        self.hint = hint

    def __str__(self) -> str:
        # A traceback is all that some users see; the first line alone is `message`.
        return self.render()

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and errors cross process borders.
        return _rebuild, (type(self), self.message, self.code, self.details, self.hint)

    def render(self) -> str:
        """The message with its code, details and hint, as the command line and a traceback show it.

        >>> print(InputError("a.tif has no CRS", code="GS-CRS-MISSING", hint="name one: --crs EPSG:32755").render())
        a.tif has no CRS [GS-CRS-MISSING]
          name one: --crs EPSG:32755
        """
        lines = [f"{self.message} [{self.code}]", *self.details]
        if self.hint:
            lines.extend(self.hint.splitlines())
        return "\n  ".join(lines)


def _one_line(message: str) -> str:
    """The message without line breaks and control characters, cut in the middle where it is too long.

    >>> _one_line("unit 'g/k" + chr(10) + "g' is not known"), len(_one_line(100 * "ab"))
    ("unit 'g/k g' is not known", 99)
    """
    shown = message if message.isprintable() else "".join(one if one.isprintable() else " " for one in message)
    half = (_MOST_FIRST - 3) // 2
    return shown if len(shown) <= _MOST_FIRST else f"{shown[:half]}...{shown[-half:]}"


def _rebuild(kind: type[GeosoilError], message: str, code: str, details: tuple[str, ...], hint: str) -> GeosoilError:
    return kind(message, code=code, details=details, hint=hint)


class UsageError(GeosoilError, ValueError):
    """The call or the study file is wrong (exit code 2)."""

    exit_code = 2


class InputError(GeosoilError, ValueError):
    """A raster, a sample table or another input cannot be used (exit code 3)."""

    exit_code = 3


class OutputError(GeosoilError, OSError):
    """The output exists, is locked, has no room or cannot be written (exit code 4)."""

    exit_code = 4


class ModelError(GeosoilError, ValueError):
    """A model file is unsafe or damaged, or does not fit the data (exit code 5)."""

    exit_code = 5


class ResourceError(GeosoilError, RuntimeError):
    """Memory or a device that was asked for is not there (exit code 6)."""

    exit_code = 6


class PartialError(GeosoilError, RuntimeError):
    """The work ended in part; what is missing is listed (exit code 7)."""

    exit_code = 7


def listing(items: Sequence[object], most: int = 10) -> str:
    """Join items for a message, cut after `most` of them.

    >>> listing(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    shown = ", ".join(str(item) for item in items[:most])
    rest = len(items) - most
    return f"{shown} and {rest} more" if rest > 0 else shown


class InterruptedRunError(GeosoilError, RuntimeError):
    """A signal ended the work; what was done is kept (exit code 130 or 143)."""

    def __init__(self, message: str, *, code: str, details: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(message, code=code, details=details, hint=hint)

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """128 and the signal's number."""
        return 143 if self.code == "GS-TERMINATED" else 130
