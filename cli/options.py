"""Options that several commands share, and what they do with them: progress, log, output."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

#: How a line of a log begins, as `logging` writes its time.
_STARTED = b"0000-00-00 00:00:00,000 "

__all__ = [
    "as_json",
    "device",
    "emit",
    "log_options",
    "pairs",
    "progress_bar",
    "run_training",
    "seed",
    "start_logging",
    "workers",
]


def log_options(function: F) -> F:
    """-v, -q and --log-file."""
    for option in (
        click.option("--log-file", type=click.Path(path_type=Path), help="Write the log to this file too."),
        click.option("-q", "--quiet", is_flag=True, help="No progress, only errors."),
        click.option("-v", "--verbose", count=True, help="More log; -vv with tracebacks."),
    ):
        function = option(function)
    return function


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
seed = click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Seed of all random steps.")
device = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where networks run.")
workers = click.option("-j", "--num-workers", type=click.IntRange(1), help="Threads; default: all cores.")


def pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Values of a repeatable NAME=VALUE option."""
    found = {}
    for text in values:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", ctx, param)
        found[name.strip()] = value.strip()
    return found


def listed(text: str) -> tuple[str, ...]:
    """The words of a list with commas."""
    return tuple(one.strip() for one in text.split(",") if one.strip())


def start_logging(verbose: int, quiet: bool, log_file: Path | None) -> None:
    """Send geosoil's log to stderr, and to a file when one is named."""
    logger = logging.getLogger("geosoil")
    logger.setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(logging.Formatter("%(message)s"))
    stream.setLevel(
        logging.ERROR if quiet else logging.DEBUG if verbose > 1 else logging.INFO if verbose else logging.WARNING
    )
    logger.addHandler(stream)
    if log_file is not None:
        try:
            wrong = _why_no_log(log_file)
            if wrong:
                raise click.BadParameter(wrong, param_hint="--log-file")
            handler = logging.FileHandler(log_file, encoding="utf-8")
        except OSError as error:
            told = f"{log_file} cannot be written ({error.strerror}); name another file"
            raise click.BadParameter(told, param_hint="--log-file") from error
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        logger.addHandler(handler)


def _why_no_log(path: Path) -> str:
    """Why no log can be added to a path; empty for a new file, one without a line, a log, or a device as /dev/null."""
    if path.is_dir():
        return f"{path} is a folder; name a file in it: {path / 'run.log'}"
    if not path.parent.is_dir():
        there = path.parent.exists()
        return f"{path.parent} is {'no folder' if there else 'not there'}; name a folder that is, or make it first"
    named = path.suffix.lower() in {".log", ".txt", ""}
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(len(_STARTED))
        if not named or (start and _shape(start) != _STARTED):
            return f"{path} is there and is no log; name a .log or .txt that is new, or an earlier log"
    elif not named and not path.exists():
        return f"{path} would be no name for a log; end it in .log or .txt"
    return ""


def _shape(start: bytes) -> bytes:
    """The start of a line, with 0 for each digit."""
    return bytes(ord("0") if one in b"123456789" else one for one in start)


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Callable[[int, int, str], None]]:
    """A progress callback: a bar on a terminal, else a line each 10 %.

    A new message is a new step; `done` counts up to `total` within it.
    """
    if quiet:
        yield lambda done, total, message: None
        return
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
        ) as bars:
            tasks: dict[str, Any] = {}

            def show(done: int, total: int, message: str) -> None:
                if message not in tasks:
                    tasks[message] = bars.add_task(message, total=total)
                bars.update(tasks[message], completed=done, total=total)

            yield show
        return
    tenths: dict[str, int] = {}

    def tell(done: int, total: int, message: str) -> None:
        tenth = 10 * done // max(total, 1)
        if tenths.get(message, -1) < tenth:
            tenths[message] = tenth
            click.echo(f"{message}: {10 * tenth} %", err=True)

    yield tell


def run_training(
    job: Callable[..., Any],
    tell: Callable[..., str],
    settings: Any,
    target: Path | None,
    outputs: Mapping[str, Any],
    *,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run the training of a study, with what it writes beside the model; or print the settings and stop."""
    if dry_run:
        emit({"study": settings.model_dump(mode="json")}, settings.model_dump_json(indent=2), as_json)
        return
    if target is None:
        raise click.UsageError("name the model file to write: -o MODEL.gsm")
    with progress_bar(quiet) as progress:
        bundle = job(settings, target, progress=progress, **outputs)
    emit({"model": str(target), "card": bundle.card.model_dump(mode="json")}, tell(bundle, target), as_json)


def emit(document: dict[str, Any], text: str, as_json: bool) -> None:
    """The result, for people or as one JSON document with its schema's version."""
    if as_json:
        text = json.dumps(_finite({"schema": 1, **document}), indent=2, ensure_ascii=False, allow_nan=False)
    click.echo(text)


def _finite(value: Any) -> Any:
    """The value with null for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
