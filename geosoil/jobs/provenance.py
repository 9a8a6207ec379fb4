"""Where maps come from: what a run depends on, its key, and what is written into each file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask.base import tokenize

import geosoil
from geosoil.bands import Bands
from geosoil.io.addresses import is_remote
from geosoil.models.bundle import Bundle, Output
from geosoil.prep.masks import NAMES, MaskPlan

if TYPE_CHECKING:
    import xarray as xr

    from geosoil.jobs.task import Task

__all__ = [
    "changed_inputs",
    "created_now",
    "describe",
    "differences",
    "fingerprint",
    "flag_tags",
    "gather_facts",
    "key_of",
    "map_tags",
]

#: Files up to this size are hashed whole, larger ones at their ends and evenly between, bytes.
_WHOLE = 64 * 2**20
_SAMPLE, _SAMPLES = 2**20, 16


def created_now() -> str:
    """UTC time for records; ``SOURCE_DATE_EPOCH`` wins, for builds that must repeat."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def fingerprint(path: Path) -> str:
    """Hash of a file or folder: of all its bytes, or of its size and samples of it where it is large.

    A raster of many gigabytes is not read twice to name it; together with its time of change this tells one version
    from another.

    Returns
    -------
    str
        ``blake2b:`` or ``blake2b-sampled:`` and the digest.
    """
    if path.is_dir():
        names = sorted(one for one in path.rglob("*") if one.is_file())
        listed = "\n".join(f"{one.relative_to(path).as_posix()} {one.stat().st_size}" for one in names)
        return f"blake2b-listing:{hashlib.blake2b(listed.encode(), digest_size=16).hexdigest()}"
    size = path.stat().st_size
    total = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        if size <= _WHOLE:
            while piece := file.read(_SAMPLE):
                total.update(piece)
            return f"blake2b:{total.hexdigest()}"
        for place in range(_SAMPLES):
            file.seek(place * (size - _SAMPLE) // (_SAMPLES - 1))
            total.update(file.read(_SAMPLE))
    return f"blake2b-sampled:{total.hexdigest()}"


def gather_facts(
    task: Task, stack: xr.DataArray, tile_size: int, nodata: float, options: Mapping[str, str]
) -> dict[str, Any]:
    """All that the files of a run depend on; two runs with equal facts make equal maps.

    Parameters
    ----------
    task : Task
        Models and choices.
    stack : DataArray
        The scene.
    tile_size : int
        Of the finished tiles that are kept; the maps do not depend on it.
    nodata : float
        Value of cells without one.
    options : mapping
        Creation options.
    """
    grid = stack.odc.geobox
    return {
        "geosoil": geosoil.__version__,
        "models": [{"name": model.card.name, "sha256": model.sha256} for model in task.models],
        "inputs": [_input(address) for address in stack.attrs.get("sources", ())] or [{"token": tokenize(stack.data)}],
        "bands": list(Bands.of(stack).names),
        "places": [list(one) for one in task.places],
        "grid": {
            "rows": int(grid.shape[0]),
            "columns": int(grid.shape[1]),
            "transform": [float(one) for one in tuple(grid.affine)[:6]],
            "crs": grid.crs.to_wkt() if grid.crs else None,
        },
        "outputs": [output.stem for output in task.outputs],
        "unseen": task.unseen,
        **({} if task.masking is None else {"masks": _masks(task)}),
        "nodata": repr(float(nodata)),
        "options": dict(sorted(options.items())),
        "tile_size": tile_size,
        # Values of another device differ in their last digits.
        "device": task.device.to_dict(),
    }


def _masks(task: Task) -> dict[str, Any]:
    """The rules of the masks, and the bands that they look at."""
    if task.masking is None:
        return {}
    plan = task.masking.plan
    return {"rules": asdict(plan.rules), "computed": list(plan.computed), "places": list(task.masking.places)}


def _input(address: str) -> dict[str, Any]:
    """Name, size, time and hash of an input."""
    if is_remote(address):
        return {"name": address}
    path = Path(address).resolve()
    try:
        status = path.stat()
    except OSError:  # an array of the user's own, whose attributes name something else
        return {"name": address}
    return {
        "name": path.name,
        "folder": str(path.parent),
        "bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "hash": fingerprint(path),
    }


def changed_inputs(facts: Mapping[str, Any]) -> list[str]:
    """Paths of the inputs whose size or time of change is not what it was when the facts were gathered."""
    known = [one for one in facts["inputs"] if "mtime_ns" in one]
    return [str(path) for one in known if not _as_it_was(path := Path(one["folder"], one["name"]), one)]


def _as_it_was(path: Path, fact: Mapping[str, Any]) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (fact["bytes"], fact["mtime_ns"])


def key_of(facts: Mapping[str, Any]) -> str:
    """The run's key."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what two runs differ, one line each."""
    return [
        f"{name}: {_short(then.get(name))} then, {_short(now[name])} now" for name in now if then.get(name) != now[name]
    ]


def _short(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:78]}...{text[-78:]}"


def describe(output: Output) -> str:
    """Band description, which QGIS shows: property, depth, statistic and unit."""
    soil = output.target.soil_property
    statistic = "" if output.statistic == "mean" else f" {output.statistic}"
    unit = "" if soil.unit == "1" else f" [{soil.unit}]"
    return f"{soil.name} {output.target.depth}{statistic}{unit}"


def map_tags(output: Output, model: Bundle, facts: Mapping[str, Any], created: str) -> dict[str, str]:
    """Dataset tags of a map, CF names where there are some; equal runs write equal tags, wherever they ran."""
    soil, depth = output.target.soil_property, output.target.depth
    version = f"geosoil {facts['geosoil']}"
    inputs = [{key: one[key] for key in ("name", "hash", "token") if key in one} for one in facts["inputs"]]
    return {
        "long_name": f"{soil.name} {depth}",
        "units": soil.unit,
        "depth_top_cm": str(depth.top_cm),
        "depth_bottom_cm": str(depth.bottom_cm),
        "statistic": output.statistic,
        **_interval(output.statistic),
        "model_sha256": model.sha256,
        "recipe_sha256": _recipe(output, model, facts),
        "inputs": json.dumps(inputs, ensure_ascii=False),
        "geosoil_version": str(facts["geosoil"]),
        "created": created,
        "source": f"{model.card.model} model {model.card.name!r} on {model.card.counts.get('profiles', '?')} profiles",
        "history": f"{created}: {version}: mapped {_names(inputs)} with model {model.card.name!r}",
        "Conventions": "CF-1.11",
        "TIFFTAG_IMAGEDESCRIPTION": describe(output),
        "TIFFTAG_SOFTWARE": version,
    }


def flag_tags(plan: MaskPlan, facts: Mapping[str, Any], created: str) -> dict[str, str]:
    """Dataset tags of the flags: CF's way to name bits."""
    inputs = [{key: one[key] for key in ("name", "hash", "token") if key in one} for one in facts["inputs"]]
    return {
        "long_name": "masked cells, a bit for each reason",
        "flag_masks": " ".join(str(NAMES[name]) for name in plan.reasons),
        "flag_meanings": " ".join(name.replace(" ", "_") for name in plan.reasons),
        "rules": json.dumps(asdict(plan.rules)),
        "not_computed": json.dumps(dict(plan.missing)),
        "inputs": json.dumps(inputs, ensure_ascii=False),
        "geosoil_version": str(facts["geosoil"]),
        "created": created,
        "Conventions": "CF-1.11",
        "TIFFTAG_SOFTWARE": f"geosoil {facts['geosoil']}",
    }


def _recipe(output: Output, model: Bundle, facts: Mapping[str, Any]) -> str:
    """Hash of what was done, whatever it was done to: the model, the bands that it took, and the choices."""
    owner = [one["sha256"] for one in facts["models"]].index(model.sha256)
    bands = [facts["bands"][place] for place in facts["places"][owner]]
    done = [model.sha256, output.stem, bands, facts["unseen"], facts["nodata"], facts.get("masks")]
    return hashlib.sha256(json.dumps(done, ensure_ascii=False).encode()).hexdigest()


def _interval(statistic: str) -> dict[str, str]:
    """Width of the central interval that a quantile bounds.

    >>> _interval("Q0.05"), _interval("Q0.5"), _interval("mean")
    ({'interval': '0.90'}, {}, {})
    """
    if not statistic.startswith("Q") or float(statistic[1:]) == 0.5:
        return {}
    return {"interval": f"{abs(1 - 2 * float(statistic[1:])):.2f}"}


def _names(inputs: Sequence[Mapping[str, str]]) -> str:
    names = [one.get("name", "a scene in memory") for one in inputs]
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
