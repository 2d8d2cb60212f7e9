"""The cases of layers as nets to export, with what is known of their batches."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import cache

import numpy as np
import torch

import nets
from nets.predictions import plan
from protos.errors import NetError
from tests.nets.cases import CASES, Case

LOOSE = ("lrn", "exp", "lstm", "rnn", "log")  # 1e-4, all others 1e-5
# What fixes the batch of these: a blob or an axis that is as long as it.
FIXED_BATCH = {
    "parameter_eltwise", "scale_all_axes", "bias_axis0_all", "ip_axis0", "lstmunit", "scale_axis0", "slice_axis0",
    "continuation_indicator", "ctc_loss", "ctc_loss_weight", "other_lstm_2", "other_squeeze_1",
    *(case.name for case in CASES if case.name.startswith("other_yolo")),
}  # fmt: skip
# What counts the items of the whole batch, so that its inputs cannot be made longer alike.
WHOLE_BATCH = {"crop_all_axes", "lstm_fork_clip", "other_lstm_3", "other_lstm_4", "other_lstm_5"} | {
    case.name for case in CASES if "batchreindex" in case.name or case.name.endswith("_of_items")
}


def load(case: Case) -> nets.Net:
    net = nets.load(case.param, phase=case.phase, allow_python=True).eval()
    with torch.no_grad():
        for key, value in case.part("param").items():
            layer, i = key.rsplit("/", 1)
            net.layer(layer).blobs[int(i)].copy_(torch.from_numpy(value))
    return net


def kinds(case: Case) -> set[str]:
    return {layer.type for layer in case.param.layer}


def predicting(without: Collection[str]) -> list[Case]:
    """The cases that have none of these types, and more than losses of their own inputs."""
    return [case for case in CASES if case.name in _predict() and not kinds(case) & {*without}]


def some_of_each_type(cases: Iterable[Case], most: int) -> list[Case]:
    """Of *cases* no more than so many for each type, those with the fewest layers."""
    count: Counter[str] = Counter()
    found = []
    for case in sorted(cases, key=lambda case: len(kinds(case))):
        if any(count[kind] < most for kind in kinds(case)):
            found.append(case)
            count.update(kinds(case))
    return found


@cache
def _predict() -> frozenset[str]:
    return frozenset(case.name for case in CASES if _predicts(case))


def _predicts(case: Case) -> bool:
    try:
        return bool(plan(load(case)).predictions)
    except NetError:
        return False


def tolerance(name: str) -> float:
    return 1e-4 if name.startswith(LOOSE) or "_exp" in name or "_log" in name else 1e-5


def inputs_of(case: Case) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value.copy()) for name, value in case.part("bottom").items()}


def resized(inputs: dict[str, torch.Tensor], sizes: dict[str, tuple], batch: int) -> dict[str, torch.Tensor]:
    """The inputs with another batch, where theirs is open."""
    return {
        name: torch.cat([x] * batch)[:batch].clone() if sizes.get(name, (0,))[0] == "N" else x
        for name, x in inputs.items()
    }


def assert_same(found: Mapping[str, np.ndarray], wanted: Mapping[str, torch.Tensor], limit: float) -> None:
    """The same outputs, in the same order and shape, with the same values to *limit*."""
    assert list(found) == list(wanted)
    for name, values in found.items():
        expected = wanted[name].numpy()
        assert values.shape == expected.shape, name
        scale = max(np.abs(expected).max(initial=0), 1e-30)
        np.testing.assert_allclose(values / scale, expected / scale, rtol=limit, atol=limit / 10, err_msg=name)
