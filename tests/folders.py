"""Folders whose names are in another encoding than the system's, as on disks from other machines."""

import os
from pathlib import Path

import pytest


def no_text(parent: Path) -> Path:
    """A new folder in *parent* whose name is not UTF-8."""
    folder = parent / os.fsdecode(b"m\xfcll")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("the file system takes names that are text alone")
    return folder
