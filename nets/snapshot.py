"""The state of a solver in files: ``.solverstate`` and ``.solverstate.h5``, exchangeable with the original.

What the original does not keep (random states, data cursors) rides along as ``extra`` where it does not
look: in the field EXTRA of the binary message, in the dataset ``extra`` of the HDF5 file. It is JSON, in
which bytes stand as ``{"$bytes": <base64>}``.
"""

import base64
import contextlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.hdf5_file import reading, writing
from nets.hdf5_weights import SIGNATURE
from protos import files, lens
from protos.errors import CaffeError, WeightsError

ITER, LEARNED_NET, HISTORY, CURRENT_STEP, EXTRA = 1, 2, 3, 4, 60000
BYTES = "$bytes"


@dataclass
class State:
    """A solver between two iterations.

    ``iter`` iterations are done; ``learned_net`` is the path of the weights that belong to it, "" for none;
    ``current_step`` is the step of the learning rate policy, as the original counts it. ``history``: what
    the update rule keeps, a blob for each learnable blob of the net in their order; the rules that keep two
    have all first ones, then all second ones. ``extra``: JSON values and bytes, by name, at any depth.
    """

    iter: int
    learned_net: str = ""
    current_step: int = 0
    history: Sequence[Tensor | NDArray[Any]] = ()
    extra: dict[str, Any] = field(default_factory=dict)


def write(path: str | os.PathLike[str], state: State) -> None:
    """Write *state* to *path*, whole or not at all: as HDF5 where it ends in .h5. Raises CaffeError."""
    if os.fspath(path).endswith(".h5"):
        with writing(path) as file:
            _write_hdf5(file, state)
    else:
        with files.replacing(path) as file:
            _write_binary(file, state)


def read(path: str | os.PathLike[str]) -> State:
    """The state in the file at *path*, of either kind, its history as float32 arrays. Raises WeightsError."""
    with _explained(path):
        buffer = lens.open_buffer(path)
        if buffer[: len(SIGNATURE)] != SIGNATURE:
            return _read_binary(buffer)
        with reading(path) as file:
            return _read_hdf5(file)


def weights_of(state: State, path: Path) -> Path:
    """Where the weights of *state*, read from *path*, are: as it says, or beside it. Raises WeightsError."""
    named = files.find(state.learned_net, path)
    for place in (named, path.parent / named.name):
        if place.exists():
            return place
    raise WeightsError(f"{path}: its weights are neither {named} nor beside it")


@contextlib.contextmanager
def _explained(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what reading *path* raises into a WeightsError that names it."""
    shown = os.fspath(path)
    try:
        yield
    except FileNotFoundError as error:
        raise WeightsError(f"{shown}: there is no such solver state") from error
    except (CaffeError, OSError, KeyError, ValueError, TypeError) as error:
        what = str(error).splitlines()[0].removeprefix(f"{shown}: ") if str(error) else type(error).__name__
        raise WeightsError(f"{shown}: no solver state, or a damaged one: {what}") from error


# ---- binary


def _write_binary(file: IO[bytes], state: State) -> None:
    name = os.fsencode(state.learned_net)
    file.write(lens.varint(ITER << 3) + lens.varint(state.iter))
    if name:
        file.write(lens.header(LEARNED_NET, len(name)) + name)
    for blob in state.history:
        lens.write_blob(file, HISTORY, _values(blob))
    file.write(lens.varint(CURRENT_STEP << 3) + lens.varint(state.current_step))
    if state.extra:
        extra = _packed(state.extra)
        file.write(lens.header(EXTRA, len(extra)) + extra)


def _read_binary(buffer: lens.Buffer) -> State:
    found: defaultdict[tuple[int, int], list[lens.Field]] = defaultdict(list)
    for part in lens.fields(buffer, 0, len(buffer)):
        found[part.number, part.wire].append(part)
    if not found[ITER, lens.VARINT]:
        raise WeightsError("it does not say how many iterations are done")
    state = State(found[ITER, lens.VARINT][-1].start)
    for part in found[LEARNED_NET, lens.BYTES]:
        state.learned_net = os.fsdecode(bytes(buffer[part.start : part.end]))
    for part in found[CURRENT_STEP, lens.VARINT]:
        state.current_step = part.start
    for part in found[EXTRA, lens.BYTES]:
        state.extra = _unpacked(bytes(buffer[part.start : part.end]))
    state.history = [lens.blob(buffer, part.start, part.end).array() for part in found[HISTORY, lens.BYTES]]
    return state


# ---- HDF5


def _write_hdf5(file: h5py.File, state: State) -> None:
    file.create_dataset("iter", data=np.array([state.iter], np.int32))
    if state.learned_net:
        _write_string(file, "learned_net", os.fsencode(state.learned_net))
    file.create_dataset("current_step", data=np.array([state.current_step], np.int32))
    history = file.create_group("history")
    for i, blob in enumerate(state.history):
        history.create_dataset(str(i), data=_values(blob))
    if state.extra:
        file.create_dataset("extra", data=np.frombuffer(_packed(state.extra), np.uint8))


def _write_string(file: h5py.File, name: str, value: bytes) -> None:
    """Write a string that ends in a zero byte: the original reads on up to one."""
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(len(value) + 1)
    kind.set_strpad(h5py.h5t.STR_NULLTERM)
    timeless = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    timeless.set_obj_track_times(False)  # so that the same state gives the same bytes
    dataset = h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR), timeless)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array(value, dtype=f"S{len(value) + 1}"), kind)


def _read_hdf5(file: h5py.File) -> State:
    name = file["learned_net"][()] if "learned_net" in file else b""
    history = file["history"]
    return State(
        iter=int(file["iter"][0]),
        learned_net=os.fsdecode(name),
        current_step=int(file["current_step"][0]),
        history=[np.asarray(history[str(i)], np.float32) for i in range(len(history))],
        extra=_unpacked(file["extra"][()].tobytes()) if "extra" in file else {},
    )


# ---- values


def _values(blob: Tensor | NDArray[Any]) -> NDArray[np.float32]:
    if isinstance(blob, Tensor):
        blob = blob.detach().to("cpu", torch.float32).numpy()
    return np.asarray(blob, np.float32)


def _packed(extra: dict[str, Any]) -> bytes:
    def as_text(value: object) -> dict[str, str]:
        if not isinstance(value, bytes):
            raise TypeError(f"a solver state cannot keep a {type(value).__name__}: {value!r}")
        return {BYTES: base64.b64encode(value).decode()}

    return json.dumps(extra, default=as_text).encode()


def _unpacked(extra: bytes) -> Any:
    def as_bytes(value: dict[str, Any]) -> Any:
        return base64.b64decode(value[BYTES]) if value.keys() == {BYTES} else value

    return json.loads(extra, object_hook=as_bytes)
