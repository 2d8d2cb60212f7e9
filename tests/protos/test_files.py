import errno
import os
import stat

import pytest

from protos import files
from protos.errors import CaffeError


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_replaces_whole(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with files.replacing(path) as f:
        f.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("problem", [KeyboardInterrupt, ValueError, SystemExit])
def test_exception_leaves_the_old_file_and_no_other(tmp_path, problem):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def write():
        with files.replacing(path) as f:
            f.write(b"half")
            raise problem

    with pytest.raises(problem):
        write()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_full_disk_is_one_line(tmp_path):
    path = tmp_path / "a"
    with (
        pytest.raises(CaffeError, match=r"a: cannot be written: no space left on device$"),
        files.replacing(path),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []


def test_missing_folder_is_one_line(tmp_path):
    expected = "nowhere/a: cannot be written: no such file or directory"
    with pytest.raises(CaffeError, match=expected), files.replacing(tmp_path / "nowhere" / "a"):
        pass


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    with files.replacing(tmp_path / "new"):
        pass
    (tmp_path / "ordinary").touch()
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    (tmp_path / "new").chmod(0o600)
    with files.replacing(tmp_path / "new"):
        pass
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with files.replacing(tmp_path / "link") as f:
        f.write(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"x"


@pytest.mark.parametrize(("name", "reason"), [("missing", "no such file"), (".", "is a directory")])
def test_read_errors_are_one_line(tmp_path, name, reason):
    with pytest.raises(CaffeError, match=f"cannot be read: {reason}"):
        files.read(tmp_path / name)


def test_a_file_is_found_beside_a_link_and_beside_what_it_points_at(tmp_path):
    (tmp_path / "models").mkdir()
    for name in ("models/solver", "models/net", "mine"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "models" / "solver")
    assert files.find("net", tmp_path / "link") == tmp_path / "models" / "net"
    assert files.find("mine", tmp_path / "link") == tmp_path / "mine"
