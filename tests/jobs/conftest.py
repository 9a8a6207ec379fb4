"""Sites that the tests of several jobs share."""

from __future__ import annotations

from pathlib import Path

import pytest

from .spectra import make_site


@pytest.fixture(scope="session")
def tailings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cube, samples, laboratory spectra and a study file; not to be written to."""
    return make_site(tmp_path_factory.mktemp("tailings"))
