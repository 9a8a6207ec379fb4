"""What is wrong with settings, in the words of a study file: what was found, what is expected, at which key."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from .errors import GeosoilError, UsageError

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = ["refusal", "shown"]

# What was expected where pydantic says that it found something else, by its name for the error.
_EXPECTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    **dict.fromkeys(("dict_type", "model_type"), "a table"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    "finite_number": "a finite number",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "a number below {lt}",
    "less_than_equal": "{le} or less",
    "too_short": "{min_length} or more in the list",
    "too_long": "{max_length} or fewer in the list",
    "missing": "one value more in the list",
}
# Members of a union, and keys of a table, have these in their place.
_NO_PLACES = {"str", "tuple[str, ...]", "[key]"}


def refusal(error: ValidationError, keys_of: Callable[[tuple[int | str, ...]], list[str]]) -> UsageError:
    """All that is wrong with settings, ``GS-STUDY``.

    Parameters
    ----------
    error : ValidationError
        As pydantic raises it.
    keys_of : callable
        Known keys of the table at a place.
    """
    hints = []
    found: dict[tuple[int | str, ...], list[dict[str, Any]]] = {}
    members = set()
    for one in error.errors():
        place = tuple(part for part in one["loc"] if part not in _NO_PLACES)
        found.setdefault(place, []).append(dict(one))
        if place != one["loc"]:
            members.add(place)
        cause = one.get("ctx", {}).get("error")
        if isinstance(cause, GeosoilError):
            hints.append(cause.hint)
    # Of the members of a union the one counts that got furthest.
    for place in members:
        if any(other[: len(place)] == place != other for other in found):
            del found[place]
    return UsageError(
        f"{len(found)} setting(s) are wrong",
        code="GS-STUDY",
        details=[f"{_place(place)}: {_told(errors, keys_of)}" for place, errors in list(found.items())[:10]],
        hint="\n".join(dict.fromkeys(filter(None, hints))),
    )


def _place(place: tuple[int | str, ...]) -> str:
    """A key of a study file, such as ``compare.heads, item 2``."""
    key = ".".join(str(part) for part in place if isinstance(part, str)) or "study"
    return ", ".join([key, *(f"item {part + 1}" for part in place if isinstance(part, int))])


def _told(errors: list[dict[str, Any]], keys_of: Callable[[tuple[int | str, ...]], list[str]]) -> str:
    """What is wrong in one place."""
    unknown = [one for one in errors if one["type"] == "literal_error"]
    if unknown:  # of a key that is not known, the value does not matter
        one = unknown[0]
        near = get_close_matches(str(one["input"]), re.findall(r"'([^']*)'", one["ctx"]["expected"]), n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        return f"{str(one['input'])[:30]!r} is not known{meant}; known: {one['ctx']['expected']}"
    if all(one["type"] in _EXPECTED for one in errors):
        expected = " or ".join(_EXPECTED[one["type"]].format(**_round(one.get("ctx", {}))) for one in errors)
        value = errors[0]["input"]
        short = isinstance(value, str) and len(value) <= 30
        example = f" such as [{json.dumps(value, ensure_ascii=False)}]" if short and expected == "a list" else ""
        return f"expected {expected}{example}, found {shown(value)}"
    one = errors[0]
    if one["type"] == "extra_forbidden":
        near = get_close_matches(str(one["loc"][-1]), keys_of(one["loc"][:-1]), n=1)
        return "not a known key" + (f"; did you mean {near[0]!r}?" if near else "")
    cause = one.get("ctx", {}).get("error")
    if isinstance(cause, GeosoilError):
        return "; ".join((cause.message, *cause.details))
    return str(one["msg"]).removeprefix("Value error, ")


def _round(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Limits as a study file writes them: 2 and not 2.0."""
    return {name: int(one) if isinstance(one, float) and one.is_integer() else one for name, one in limits.items()}


def shown(value: object) -> str:
    """A value as a study file has it, cut where it is long.

    >>> shown(["a" * 50])
    "['aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..."
    """
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 40 else f"{text[:37]}..."
