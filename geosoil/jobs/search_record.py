"""What a search has found so far, in optuna's journal: a search that was killed goes on from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from geosoil.errors import GeosoilError, InputError, OutputError
from geosoil.io.atomic import output_error
from geosoil.types import PathLike

__all__ = ["JOURNAL", "Record", "fingerprint", "recorded"]

#: Name of the journal in the folder of a search.
JOURNAL = "trials.log"
_STUDY = "geosoil"


def fingerprint(facts: Mapping[str, Any], *arrays: Any) -> str:
    """A hash of settings and data."""
    found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for one in arrays:
        values = np.ascontiguousarray(one)
        found.update(f"{values.dtype.str}{values.shape}".encode())
        found.update(values.tobytes() if values.dtype.kind != "O" else "\0".join(map(str, values.ravel())).encode())
    return found.hexdigest()


class Record:
    """Trials that ended, by the number of their draw; without a study, nothing is kept."""

    def __init__(self, study: optuna.Study | None = None) -> None:
        self._study = study
        trials = [] if study is None else study.get_trials(deepcopy=False)
        self._found = {one.user_attrs["number"]: one for one in trials}

    def find(self, trial: optuna.Trial) -> dict[str, Any] | None:
        """What was recorded of this draw; raises InputError ``GS-SEARCH-OTHER`` where it was another."""
        one = self._found.get(trial.number)
        if one is None:
            return None
        if one.params != trial.params:
            raise _other()
        outcome: dict[str, Any] = json.loads(one.user_attrs["outcome"])
        return {**outcome, "rmse": float("inf") if outcome["rmse"] is None else outcome["rmse"]}

    def add(self, trial: optuna.Trial, network: Mapping[str, Any], outcome: Mapping[str, Any]) -> None:
        """Keep what came of a draw: one line in the journal, on disk when this returns."""
        if self._study is None:
            return
        complete = outcome["state"] == "complete"
        rmse = outcome["rmse"] if np.isfinite(outcome["rmse"]) else None
        self._study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.COMPLETE if complete else optuna.trial.TrialState.PRUNED,
                value=rmse if complete else None,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs={
                    "number": trial.number,
                    "network": json.dumps(network),
                    "outcome": json.dumps({**outcome, "rmse": rmse}),
                },
            )
        )


@contextmanager
def recorded(folder: PathLike | None, key: str) -> Iterator[Record]:
    """The record in a folder, which is made where it is not there, and held; without a folder, none.

    Raises
    ------
    InputError
        ``GS-SEARCH-OTHER``: the folder holds another search. ``GS-SEARCH-FILE``: its journal cannot be read.
    OutputError
        ``GS-LOCKED``, ``GS-NOT-WRITABLE``.
    """
    if folder is None:
        yield Record()
        return
    path = Path(folder) / JOURNAL
    lock = FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputError(
            "another search writes into this folder",
            code="GS-LOCKED",
            details=[f"folder: {folder}"],
            hint="wait for it, or choose another folder",
        ) from error
    except OSError as error:
        raise output_error(folder, error) from error
    try:
        yield _opened(path, key)
    finally:
        lock.release()
        lock_path = path.with_suffix(".lock")
        lock_path.unlink(missing_ok=True)


def _opened(path: Path, key: str) -> Record:
    try:
        _mend(path)
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))), study_name=_STUDY, load_if_exists=True
        )
        if study.user_attrs.get("key", key) != key:
            raise _other()
        study.set_user_attr("key", key)
        return Record(study)
    except GeosoilError:
        raise
    except OSError as error:
        raise output_error(path, error) from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise InputError(
            f"{path.name} is not the record of a search",
            code="GS-SEARCH-FILE",
            details=[f"file: {path}"],
            hint="choose another folder, or remove the file to start anew",
        ) from error


def _mend(path: Path) -> None:
    """Take away a last line that a killed run left unfinished, and its lock, which optuna would wait for."""
    for left in path.parent.glob(f"{path.name}.lock*"):
        left.unlink(missing_ok=True)
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)


def _other() -> InputError:
    return InputError(
        "the folder holds a search of other data or settings",
        code="GS-SEARCH-OTHER",
        hint="choose another folder, or remove trials.log to start anew",
    )
