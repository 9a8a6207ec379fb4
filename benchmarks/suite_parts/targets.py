"""The targets of the suite, each reached or not, with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Mark", "marks"]

#: Least shares and ratios, and most seconds and shares, that the engine is to reach.
LIMIT_SHARE, OVERHEAD, START_S, GROWTH = 0.6, 0.05, 3.0, 1.1
#: Share of the time that cores are to be at work, in cases whose tiles take as many seconds as can be told apart.
BUSY, _LONG_S = 0.9, 0.3
#: Share of the time in which threads can work that they may wait for a core; twice as many as cores wait for half.
QUEUED = 0.1
#: Share of the tiles' time from which on what takes it is told.
_TOLD = 0.05
#: Workload to how many times as fast as the best peer it is to be.
RATIOS = {"cnn": 80.0, "plsr": 2.0, "svr": 5.0}


@dataclass(frozen=True)
class Mark:
    """A target.

    Attributes
    ----------
    case : str
        What was measured.
    target : str
        What was to be reached.
    seen : str
        What was.
    reached : bool
        Whether it was.
    reason : str
        What bounds it, where it was not.
    """

    case: str
    target: str
    seen: str
    reached: bool
    reason: str = ""


def marks(cases: Mapping[str, Mapping[str, Any]]) -> list[Mark]:
    """All targets for which there is a measurement."""
    whole = {key: found for key, found in cases.items() if "failed" not in found}
    return [*(mark for key, found in whole.items() for mark in _marks(key, found)), *_of_cores(whole)]


def _of_cores(cases: Mapping[str, Mapping[str, Any]]) -> Iterator[Mark]:
    """Whether cores wait while something is read or written, and whether more threads work than there are cores."""
    runs = {key: found["ours"] for key, found in cases.items() if "ours" in found}
    long = {key: one for key, one in runs.items() if one["tiles_s"] >= _LONG_S}
    if not long:
        return
    idlest, one = min(long.items(), key=lambda item: float(item[1]["busy"]))
    reached = one["busy"] >= BUSY
    yield Mark(
        f"{len(long)} cases whose tiles take {_LONG_S:g} s and more",
        f"reading, computing and writing overlap: cores at work {BUSY:.0%} of the time",
        f"least {one['busy']:.0%}, {idlest}",
        reached,
        "" if reached else f"{_told(one['phases'])}; what is left is waiting: for the interpreter, a lock or the disk",
    )
    told = {key: one for key, one in long.items() if one["queued"] is not None}
    if not told:
        return
    fullest, one = max(told.items(), key=lambda item: float(item[1]["queued"]))
    reached = one["queued"] <= QUEUED
    why = "" if reached else "threads of a library beside those that make tiles"
    yield Mark(
        f"{len(told)} cases whose tiles take {_LONG_S:g} s and more",
        f"no more threads than cores: at most {QUEUED:.0%} of the time in which they could work is waited for a core",
        f"at most {one['queued']:.1%}, {fullest}",
        reached,
        why,
    )


def _marks(key: str, found: Mapping[str, Any]) -> Iterator[Mark]:
    workload = key.split(":")[0]
    if workload == "start":
        for name in sorted(found.keys() & RATIOS.keys()):
            seen = found[name]
            why = "" if seen < START_S else "loading of the libraries, see the profile of a start: python -X importtime"
            yield Mark(f"{key}, {name}", f"first tile within {START_S:g} s", f"{seen:.2f} s", seen < START_S, why)
    elif workload == "tiles":
        seen = found["phases"]["engine"]
        reached = seen < OVERHEAD
        each = 1000 * seen * found["tiles_s"] * found["num_workers"] / found["tiles"]
        text = f"{seen:.1%}, {each:.2f} ms of a thread a tile"
        yield Mark(key, f"engine below {OVERHEAD:.0%}", text, reached, "" if reached else _phases(found))
    elif workload == "sizes":
        yield _flat(key, found)
    elif workload == "memory":
        yield from (_bound(key, row, found["limit"]) for row in found["cases"])
    else:
        yield _limit(key, workload, found)
        if workload in RATIOS and found["ratios"]:
            yield _against_peers(key, RATIOS[workload], found)


def _flat(key: str, found: Mapping[str, Any]) -> Mark:
    rows = found["sizes"]
    growth = rows[-1]["tiles_s"] / rows[0]["tiles_s"]
    text = f"{growth:.2f} times the cost a cell from {rows[0]['mpixels']:.3g} to {rows[-1]['mpixels']:.3g} Mpixel"
    reached = growth <= GROWTH
    return Mark(key, f"no more than {GROWTH:g} times", text, reached, "" if reached else "the tiles' times grow")


def _bound(key: str, row: Mapping[str, Any], way: str) -> Mark:
    """A run under a limit of the system, in which also the values are those of the smaller scenes."""
    reached = bool(row["ok"] and row["same_corner"])
    return Mark(
        f"{key}: {row['model']}, {row['edge']:,} x {row['edge']:,} cells",
        f"ends below {row['limit_mb']:,} MB, its limit ({way})",
        f"{row['peak_mb']:,} MB resident, {row['kills']} kills, exit code {row['exit_code']}",
        reached,
        "" if reached else f"planned were {row['planned_mb']:,} MB",
    )


def _limit(key: str, workload: str, found: Mapping[str, Any]) -> Mark:
    """Forests are to be as fast as scikit-learn, all others at a share of the floor."""
    seen = found["shares"]["tiles"]
    if workload == "forest":
        reached = seen >= 1
        text = f"{seen:.2f} times scikit-learn's parallel predict in memory"
        return Mark(key, "no slower than scikit-learn on a tile", text, reached, "" if reached else _phases(found))
    reached = seen >= LIMIT_SHARE
    why = "" if reached else _why_below(found)
    return Mark(key, f"at least {LIMIT_SHARE:.0%} of the limit", f"{seen:.0%}", reached, why)


def _why_below(found: Mapping[str, Any]) -> str:
    """What takes the time that the limit does not hold."""
    limit, ours = found["limit"], found["ours"]
    parts = [_phases(found)]
    floor = max(limit["read_s"], limit["compute_s"])
    more, words = 0.0, []
    if limit["decode_s"] > _TOLD * ours["tiles_s"]:
        # Where the library is slower than our own decoding, that is what the format costs.
        spent = min(limit["decode_s"], ours["phases"]["read"] * ours["tiles_s"])
        more += spent
        words.append(f"decoding the format takes the cores {spent:.2f} s")
    if limit.get("exponentials_s", 0.0) > _TOLD * ours["tiles_s"]:
        more += limit["exponentials_s"]
        words.append(f"exponentials take them {limit['exponentials_s']:.2f} s")
    if words:
        share = min(1.0, (floor + more) / ours["tiles_s"])
        parts.append(
            f"{' and '.join(words)}, which the limit of {floor:.2f} s does not hold and no program is spared: "
            f"{share:.0%} of a limit that does"
        )
    again = ours["phases"]["read"] * ours["tiles_s"] / limit["decode_s"]
    if found["patch"] > 1 and again > 1.5:
        parts.append(
            f"reading takes {again:.1f} times what it takes to decode the file once: blocks are decoded again for the "
            "halos of the tiles beside"
        )
    if ours["tiles_s"] < 1:
        parts.append(f"the tiles take {ours['tiles_s']:.2f} s in all")
    return "; ".join(parts)


def _phases(found: Mapping[str, Any]) -> str:
    return _told(found["ours"]["phases"] if "ours" in found else found["phases"])


def _told(phases: Mapping[str, float]) -> str:
    told = ", ".join(f"{name} {share:.0%}" for name, share in sorted(phases.items(), key=lambda one: -one[1]))
    return f"of the threads' time {told}"


def _against_peers(key: str, least: float, found: Mapping[str, Any]) -> Mark:
    name, ratio = min(found["ratios"].items(), key=lambda one: one[1])
    reached = ratio >= least
    why = ""
    if not reached:
        ours = found["ours"]
        rest = ours["run_s"] - ours["tiles_s"] - ours["maps_s"]
        why = (
            f"of our {ours['run_s']:.2f} s tiles take {ours['tiles_s']:.2f}, finished maps with overviews, read back, "
            f"{ours['maps_s']:.2f}, and model, scene and plan {rest:.2f}; "
            f"{found['ratios_finished'][name]:.1f} times where the peer makes such maps too; "
            f"were the tiles at their limit {ratio * ours['run_s'] / _at_limit(found):.0f} times"
        )
    return Mark(key, f"{least:g} times the best peer", f"{ratio:.1f} times {name}", reached, why)


def _at_limit(found: Mapping[str, Any]) -> float:
    """Seconds of the run, were its tiles as quick as bytes can be read, decoded and multiplied."""
    ours, limit = found["ours"], found["limit"]
    decoding = min(limit["decode_s"], ours["phases"]["read"] * ours["tiles_s"])
    return float(ours["run_s"] - ours["tiles_s"] + max(limit["read_s"], limit["compute_s"] + decoding))
