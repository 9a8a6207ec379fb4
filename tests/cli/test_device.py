"""A device that is not there is told before any work, whatever the model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from .conftest import Command, Edit, Refused

COMMANDS = [
    ("train", "study.toml", "-o", "new.gsm", "--model", "rf", "-q", "-j", 1),
    ("compare", "study.toml", "comparison", "-q", "-j", 1),
    ("map", "new.gsm", "stack.tif", "maps", "-q", "-j", 1),
]


@pytest.mark.parametrize("command", COMMANDS, ids=["train", "compare", "map"])
def test_a_device_that_is_not_there_is_refused(
    command: tuple[object, ...], farm: Path, edit: Edit, typed: Command, refused: Refused
) -> None:
    edit('["rf", "mtcnn"]', '["rf"]')
    edit("repeats = 2", "repeats = 1")
    asked = (*command, "--device", "cuda")
    if torch.cuda.is_available():
        if command[0] == "map":  # which takes what training makes
            assert typed(*COMMANDS[0]).code == 0
        assert typed(*asked).code == 0
    else:
        (farm / "stack.tif").write_bytes(b"not read")
        assert "--device auto or cpu" in refused(*asked, exit=6, code="GS-DEVICE")
