import shutil
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from data import lmdb_pages, lmdb_records, stores
from data.stores import create_store, open_store
from protos import temporary
from protos.errors import DataError
from tests.backends import BACKENDS, needs_leveldb
from tests.folders import no_text

GOLDEN = Path(__file__).parents[1] / "golden"
RECORDS = {b"%08d_%d" % (k, k * k): b"value %d" % k * (k + 1) for k in range(50)}


def build(path, backend="lmdb", records=RECORDS, **options):
    with create_store(path, backend, **options) as store:
        for key, value in records.items():
            store.put(key, value)
    return path


@BACKENDS
def test_a_store_is_a_mapping_in_the_order_of_its_keys(tmp_path, backend):
    build(tmp_path / "s", backend, dict(reversed(RECORDS.items())))
    with open_store(tmp_path / "s") as store:
        assert dict(store) == RECORDS
        assert list(store) == sorted(RECORDS)
        assert list(store.scan(48)) == list(RECORDS.items())[48:]
        assert list(store.scan(50)) == []
        assert len(store) == 50
        assert b"nothing" not in store


def test_a_store_that_this_process_has_open_is_read(tmp_path):
    """Scripts write an LMDB and train on it, without closing it."""
    env = lmdb.open(str(tmp_path / "s"), map_size=1 << 30)
    with open_store(tmp_path / "s") as store:
        assert (dict(store), len(store), list(store.scan())) == ({}, 0, [])
    records = {b"%06d" % k: b"%d" % k * (1 + k % 7 * 500) for k in range(3000)}
    for part in (0, 1):
        with env.begin(write=True) as transaction:
            transaction.cursor().putmulti([*records.items()][part::2])
    with open_store(tmp_path / "s") as store:
        assert (dict(store), list(store), len(store)) == (records, sorted(records), 3000)
        assert list(store.scan(2990)) == list(records.items())[2990:]
        assert [key in store for key in (b"000001", b"", b"0000011", b"9")] == [True, False, False, False]
    env.close()


def test_a_script_may_open_a_store_that_is_read(tmp_path):
    build(tmp_path / "s")
    (tmp_path / "none").write_bytes(b"no LMDB" * 100)
    (tmp_path / "short").write_bytes(b"")
    (tmp_path / "cut").write_bytes((tmp_path / "s/data.mdb").read_bytes()[:4200])
    with stores.beside_scripts(), open_store(tmp_path / "s") as store:
        lmdb.open(str(tmp_path / "s"), readonly=True).close()
        assert (dict(store), store[b"00000007_49"]) == (RECORDS, RECORDS[b"00000007_49"])
        with pytest.raises(KeyError):
            store[b"nothing"]
        for name in ("none", "short"):
            with pytest.raises(DataError, match=f"{name}: cannot be read: it is no LMDB"):
                open_store(tmp_path / name)
        with pytest.raises(DataError, match="cut: "):
            open_store(tmp_path / "cut")


@BACKENDS
def test_a_folder_may_have_a_name_that_is_no_text(tmp_path, backend):
    folder = no_text(tmp_path)
    with open_store(build(folder / "s", backend)) as store:
        assert dict(store) == RECORDS


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("formats/raw_lmdb", 12),
        ("formats/encoded_lmdb", 12),
        pytest.param("formats/gray_resized_leveldb", 12, marks=needs_leveldb),
        ("formats/features_lmdb", 12),
        ("solvers/digits_lmdb", 240),
        pytest.param("solvers/digits_leveldb", 240, marks=needs_leveldb),
    ],
)
def test_the_stores_of_the_original_are_read_and_not_touched(path, count):
    folder = GOLDEN / path
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with open_store(folder) as one, open_store(folder) as two:
        assert len(one) == len(list(two.scan())) == count
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


@BACKENDS
def test_a_read_only_folder_is_read(tmp_path, backend):
    path = build(tmp_path / "s", backend)
    (path / "lock.mdb").unlink(missing_ok=True)
    path.chmod(0o555)
    try:
        with open_store(path) as store:
            assert len(store) == 50
        assert not (path / "lock.mdb").exists()
    finally:
        path.chmod(0o755)


def test_the_map_grows_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(stores.LmdbWriter, "_MAP", 1 << 16)
    records = {b"%08d" % k: bytes(10_000) for k in range(2500)}
    with open_store(build(tmp_path / "s", records=records)) as store:
        assert len(store) == 2500


@BACKENDS
def test_an_interrupted_build_leaves_nothing(tmp_path, backend):
    class Interrupting(dict):
        def items(self):
            yield b"a", b"b"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "s", backend, Interrupting())
    assert list(tmp_path.iterdir()) == []


@BACKENDS
def test_an_existing_store_stays_unless_overwritten(tmp_path, backend):
    path = build(tmp_path / "s", backend)
    with pytest.raises(DataError, match="exists already; --overwrite"):
        create_store(path, backend)
    with pytest.raises(ZeroDivisionError), create_store(path, backend, overwrite=True) as store:
        store.put(b"a", b"%d" % (1 // 0))
    with open_store(path) as store:
        assert len(store) == 50
    build(path, backend, {b"a": b"b"}, overwrite=True)
    with open_store(path) as store:
        assert dict(store) == {b"a": b"b"}
    assert [file.name for file in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("swaps", [True, False])
def test_overwriting_goes_without_a_gap_where_the_system_can_swap_names(tmp_path, monkeypatch, swaps):
    path = build(tmp_path / "s")
    seen = []

    def exchange(one, other):
        seen.append(path.exists())
        return swaps and temporary.exchange(one, other)

    monkeypatch.setattr(stores, "exchange", exchange)
    build(path, records={b"a": b"b"}, overwrite=True)
    assert seen == [True]
    with open_store(path) as store:
        assert dict(store) == {b"a": b"b"}
    assert [file.name for file in tmp_path.iterdir()] == ["s"]


def test_overwriting_a_link_writes_what_it_points_at(tmp_path):
    (tmp_path / "disk").mkdir()
    build(tmp_path / "disk" / "s")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "s")
    build(tmp_path / "link", records={b"a": b"b"}, overwrite=True)
    assert (tmp_path / "link").is_symlink()
    with open_store(tmp_path / "disk" / "s") as store:
        assert dict(store) == {b"a": b"b"}


def test_only_a_store_is_overwritten(tmp_path):
    photos, table, empty = tmp_path / "photos", tmp_path / "table.csv", tmp_path / "empty"
    photos.mkdir()
    (photos / "1.jpg").touch()
    table.write_text("a,b")
    empty.mkdir()
    for path in (photos, table):
        with pytest.raises(DataError, match="is no store, and --overwrite replaces nothing else"):
            create_store(path, overwrite=True)
    assert (photos / "1.jpg").exists()
    build(empty, overwrite=True)
    single = tmp_path / "single.mdb"
    (empty / "data.mdb").rename(single)
    build(single, overwrite=True)


FILL_THE_DISK = """
import resource, sys
from data.stores import create_store
from protos import temporary
from protos.errors import DataError
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    with create_store(sys.argv[1], sys.argv[2]) as store:
        for k in range(5000):
            store.put(b"%08d" % k, bytes(2000))
except DataError as error:
    print(error)
"""


@BACKENDS
def test_a_disk_that_takes_no_more_ends_in_one_line(tmp_path, backend):
    command = [sys.executable, "-c", FILL_THE_DISK, str(tmp_path / "s"), backend]
    run = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)
    assert "cannot be written" in run.stdout
    assert run.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_lmdb_is_found_out(tmp_path):
    path = build(tmp_path / "s")
    content = (path / "data.mdb").read_bytes()
    for size in (len(content) - 4096, 6000, 100, 0):
        (path / "data.mdb").write_bytes(content[:size])
        with pytest.raises(DataError, match=r"cut short|cannot be read as an LMDB|its page size cannot be"):
            open_store(path)


def test_a_damaged_lmdb_is_found_out(tmp_path):
    path = build(tmp_path / "s")
    content = bytearray((path / "data.mdb").read_bytes())
    content[8192:] = b"\xaa" * (len(content) - 8192)
    (path / "data.mdb").write_bytes(content)
    with pytest.raises(DataError, match="s: the LMDB is damaged: a page is damaged; copy or build it again"):
        open_store(path)


FLIP_BYTES = """
import random, sys
from pathlib import Path
from data import lmdb_pages
from data.stores import open_store
from protos.errors import DataError
path, chance, good = Path(sys.argv[1]), random.Random(0), 0
content = path.read_bytes()
for _ in range(400):
    damaged = bytearray(content)
    for _ in range(chance.choice([1, 5, 50])):
        page = chance.choice([0, 4096, 4096 * chance.randrange(len(content) // 4096)])
        damaged[page + chance.randrange(200)] = chance.choice([0, 1, 255, chance.randrange(256)])
    path.write_bytes(damaged)
    try:
        with open_store(path) as store:
            good += len(list(store.scan())) == len(store)
    except DataError as error:
        assert "\\n" not in str(error)
print(good)
"""


@pytest.mark.parametrize("size", [20, 3000, 9000])
def test_a_damaged_lmdb_never_ends_the_process(tmp_path, size):
    path = build(tmp_path / "s", records={b"%05d" % k: bytes(size) for k in range(600 if size < 100 else 150)})
    command = [sys.executable, "-c", FLIP_BYTES, str(path / "data.mdb")]
    run = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert run.returncode == 0, run.stderr
    assert 10 < int(run.stdout) < 390


def test_records_that_an_lmdb_does_not_count_are_damage(tmp_path):
    path = build(tmp_path / "s") / "data.mdb"
    content = bytearray(path.read_bytes())
    for meta in (0, 4096):
        content[meta + 120] += 1  # the low byte of the number of entries
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"it has 50 records and counts 5[12]"):
        open_store(path)


def test_a_store_of_many_leaves_is_looked_at_whole_only_when_asked(tmp_path, monkeypatch):
    path = build(tmp_path / "s", records={b"%05d" % k: bytes(1500) for k in range(50)}) / "data.mdb"
    content = bytearray(path.read_bytes())
    content[120 : 120 + 8] = content[4096 + 120 : 4096 + 128] = (51).to_bytes(8, "little")
    path.write_bytes(content)
    monkeypatch.setattr(lmdb_pages, "LIMIT", 10)
    with open_store(path):
        pass
    with pytest.raises(DataError, match="it has 50 records and counts 51"):
        open_store(path, thorough=True)


@needs_leveldb
@pytest.mark.parametrize("name", ["000005.ldb", "CURRENT", "MANIFEST-000004"])
def test_a_truncated_leveldb_is_found_out(tmp_path, name):
    path = Path(shutil.copytree(GOLDEN / "formats" / "gray_resized_leveldb", tmp_path / "s"))
    (path / name).write_bytes(b"short")
    with pytest.raises(DataError, match=f"{path}: cannot be read as a LevelDB"), open_store(path) as store:
        list(store.scan())


@needs_leveldb
def test_a_leveldb_whose_names_are_damaged_is_found_out(tmp_path):
    path = Path(shutil.copytree(GOLDEN / "formats" / "gray_resized_leveldb", tmp_path / "s"))
    (path / "CURRENT").write_bytes(b"MANIFEST-\xff\n")
    with pytest.raises(DataError, match=f"{path}: cannot be read as a LevelDB"):
        open_store(path)


def test_what_is_no_store_says_so(tmp_path):
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder").mkdir()
    for name, message in [
        ("none", "no such store"),
        ("folder", r"neither an LMDB .* nor a LevelDB"),
        ("file", "cannot be read as an LMDB"),
    ]:
        with pytest.raises(DataError, match=message):
            open_store(tmp_path / name)
    with pytest.raises(DataError, match="this store is lmdb, not leveldb"):
        open_store(build(tmp_path / "s"), "LEVELDB")
    with pytest.raises(DataError, match="unknown store backend 'sqlite'"):
        create_store(tmp_path / "t", "sqlite")


def test_an_lmdb_that_ends_in_its_second_page_is_cut_short(tmp_path):
    content = (build(tmp_path / "s") / "data.mdb").read_bytes()
    (tmp_path / "cut").write_bytes(content[:4200])
    with pytest.raises(OSError, match="it is cut short"):
        lmdb_records.Records(tmp_path / "cut")


def test_nothing_is_found_in_an_empty_lmdb(tmp_path):
    found = lmdb_records.Records(build(tmp_path / "s", records={}) / "data.mdb")
    assert (found.count, list(found.scan()), found.find(b"key")) == (0, [], None)
    found.close()


def test_a_leveldb_without_its_package_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plyvel", None)
    with pytest.raises(DataError, match=r"need the plyvel package: pip install 'caffetorch\[leveldb\]'"):
        build(tmp_path / "s", "leveldb")
