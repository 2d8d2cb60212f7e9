import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from protos import files
from protos.temporary import beside, exchange, remove

KILLED = """
import os, signal, sys
from pathlib import Path
from protos.temporary import beside
with beside(Path(sys.argv[1]), folder=True) as folder, beside(Path(sys.argv[1])) as file:
    (folder / "x").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def killed(target):
    subprocess.run([sys.executable, "-c", KILLED, str(target)], cwd=Path(__file__).parents[2], check=False)


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path):
    killed(tmp_path / "a")
    killed(tmp_path / "b")
    (tmp_path / ".a.mine.tmp").touch()
    assert len(names(tmp_path)) == 5
    with files.replacing(tmp_path / "a") as file:
        file.write(b"whole")
    assert [name for name in names(tmp_path) if not name.startswith(".b.")] == [".a.mine.tmp", "a"]
    assert len(names(tmp_path)) == 4


def test_what_others_are_writing_stays(tmp_path):
    with beside(tmp_path / "a", folder=True) as folder, beside(tmp_path / "a") as file:
        with files.replacing(tmp_path / "a") as other:
            other.write(b"whole")
        assert folder.is_dir()
        assert file.is_file()
    assert names(tmp_path) == ["a"]


def test_many_may_write_the_same_file_at_once(tmp_path):
    def write(number):
        with files.replacing(tmp_path / "a") as file:
            file.write(b"%05d" % number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(200)))
    assert names(tmp_path) == ["a"]
    assert len((tmp_path / "a").read_bytes()) == 5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a call of Linux")
def test_a_file_and_a_folder_exchange_their_names(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    assert exchange(tmp_path / "file", tmp_path / "folder")
    assert (tmp_path / "file").is_dir()
    assert (tmp_path / "folder").is_file()
    assert not exchange(tmp_path / "file", tmp_path / "nowhere")


def test_removing_a_link_spares_what_it_points_at(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    remove(tmp_path / "link")
    assert names(tmp_path) == ["folder"]
