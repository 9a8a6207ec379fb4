"""How long a run took, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["tell_parts"]


def tell_parts(parts: Sequence[Mapping[str, Any]]) -> str:
    """How long a run took, in all and in its parts.

    >>> tell_parts([{"tiles": 64, "seconds": 330.0}]), tell_parts([{"tiles": 64, "seconds": 4.21, "workers": 3}])
    ('5 min 30 s', '4.2 s on 3 workers')
    >>> tell_parts([{"tiles": 40, "seconds": 330.0, "workers": 2}, {"tiles": 1, "seconds": 4.21}])
    '5 min 34 s in 2 parts, stops not counted: 40 tiles in 5 min 30 s on 2 workers; 1 tile in 4.2 s'
    """
    told = [f"{_duration(one['seconds'])}{_workers(one)}" for one in parts]
    if len(parts) == 1:
        return told[0]
    tiles = [f"{one['tiles']:,} tile{'s' * (one['tiles'] != 1)}" for one in parts]
    each = "; ".join(f"{count} in {time}" for count, time in zip(tiles, told, strict=True))
    whole = _duration(sum(float(one["seconds"]) for one in parts))
    return f"{whole} in {len(parts)} parts, stops not counted: {each}"


def _workers(part: Mapping[str, Any]) -> str:
    count = part.get("workers")
    return f" on {count} worker{'s' * (count != 1)}" if count else ""


def _duration(seconds: float) -> str:
    """A time for people.

    >>> _duration(4.21), _duration(330), _duration(8000)
    ('4.2 s', '5 min 30 s', '2 h 13 min')
    """
    if seconds < 60:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
