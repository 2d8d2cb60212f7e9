"""A working folder with the stores and nets of the original's training runs."""

import shutil
from pathlib import Path

import pytest

collect_ignore = ["user_layers.py"]  # it imports caffe, which stands in only while a net asks for it
GOLDEN = Path(__file__).parents[1] / "golden" / "solvers"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the reference runs, as the working folder."""
    for folder in GOLDEN.iterdir():
        if folder.is_dir():
            shutil.copytree(folder, tmp_path / folder.name)
    monkeypatch.chdir(tmp_path)
    return tmp_path
