"""What a Python user sees of an error, and that nothing of it is lost on the way."""

from __future__ import annotations

import pickle  # noqa: TID251  (as errors travel between processes)
import traceback

import pytest

from geosoil.errors import GeosoilError, InputError, InterruptedRunError, OutputError, PartialError

KINDS = [InputError, OutputError, PartialError, InterruptedRunError]


@pytest.mark.parametrize("kind", KINDS)
def test_a_traceback_shows_code_details_and_hint(kind: type[GeosoilError]) -> None:
    error = kind("a.tif has no CRS", code="GS-CRS-MISSING", details=["file: a.tif"], hint="name one")
    shown = "".join(traceback.format_exception(error))
    for piece in ("a.tif has no CRS", "[GS-CRS-MISSING]", "file: a.tif", "name one"):
        assert piece in shown
    assert error.message == "a.tif has no CRS"
    assert str(error) == error.render()


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_that_crosses_processes_is_the_same(kind: type[GeosoilError]) -> None:
    error = kind("a.tif has no CRS", code="GS-CRS-MISSING", details=["file: a.tif"], hint="name one")
    twice = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(error))))  # noqa: S301
    assert type(twice) is kind
    assert str(twice) == str(error)
    assert (twice.message, twice.code, twice.details, twice.hint) == (
        error.message,
        error.code,
        error.details,
        error.hint,
    )
