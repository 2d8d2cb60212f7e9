"""The samples of a NeuralNet as HDF5 files, which the net of its solver reads."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from converters.lasagne.nolearn.batches import length
from data.hdf5_writer import Hdf5Writer
from protos import files
from protos.schema import TEST, TRAIN, NetParameter, SolverParameter


def feed(net: Any, solver: SolverParameter, model: NetParameter, base: str, X: Any, y: Any) -> None:
    """Write *X* and *y*, split as ``fit`` does, beside *base*; *model* reads them, and *solver* runs *net*'s epochs.

    A batch that begins before the last sample and ends behind it goes on with the first ones, where ``fit`` has a
    smaller one.
    """
    y = np.asarray(y)
    if net.use_label_encoder:
        y = np.unique(y, return_inverse=True)[1]
    parts = net.train_split(X, y, net)
    inputs = [layer for layer in model.layer if layer.type == "Input"]
    tops = [layer.top[0] for layer in inputs]
    places = [i for i, layer in enumerate(model.layer) if layer.type == "Input"]
    for i in reversed(places):
        del model.layer[i]
    for place, (phase, part) in enumerate(((TRAIN, "train"), (TEST, "valid"))):
        x_part, y_part = parts[place], parts[place + 2]
        size = net.batch_iterator_train.batch_size if phase == TRAIN else net.batch_iterator_test.batch_size
        batches = -(-length(x_part) // size)
        if not batches:
            continue
        made = type(inputs[0])(name=f"data_{part}", type="HDF5Data", top=tops)
        made.include.add().phase = phase
        made.hdf5_data_param.source = _write(f"{base}_{part}", tops, x_part, y_part)
        made.hdf5_data_param.batch_size = size
        model.layer.insert(place, made)
        if phase == TRAIN:
            solver.max_iter, solver.test_interval = net.max_epochs * batches, batches
        else:
            solver.test_iter.append(batches)
    if not solver.test_iter:
        solver.ClearField("test_interval")


def _write(stem: str, tops: list[str], x: Any, y: Any) -> str:
    """An HDF5 file with a dataset for each top, the last of them the label, and the list that names it; the list."""
    values = [x[name] for name in tops[:-1]] if isinstance(x, dict) else [x]
    with Hdf5Writer(f"{stem}.h5") as store:
        store.append({name: np.asarray(value) for name, value in zip(tops, [*values, y], strict=True)})
    with files.replacing(f"{stem}.txt") as file:
        file.write(os.fsencode(f"{Path(stem).resolve()}.h5\n"))
    return f"{stem}.txt"
