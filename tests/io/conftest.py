"""What the tests of reading share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from geosoil.errors import InputError
from geosoil.io.raster import open_scene


@pytest.fixture
def refusal() -> Callable[..., InputError]:
    """The error that opening a scene, or else reading it, raises; it obeys the rules of messages."""

    def refused(source: Any, **how: Any) -> InputError:
        with pytest.raises(InputError) as caught:
            open_scene(source, **how).compute(scheduler="synchronous")
        assert len(caught.value.message) < 100
        assert caught.value.code.startswith("GS-")
        return caught.value

    return refused
