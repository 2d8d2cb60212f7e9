"""The table of layer cases: one or a few layers, what goes in, and what must come out.

Most were computed by the original (tests/golden/layers, tests/golden/layers_more), or after the sources of forks
(tests/golden/forks). Where the original cannot be asked,
because it computes on a GPU only, by chance, or through a file, the wanted values are worked out here with NumPy.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protos import text
from protos.schema import NetParameter
from tests.nets.cases_detection import detection_cases
from tests.nets.cases_forks import fork_cases
from tests.nets.cases_lasagne import lasagne_cases
from tests.nets.cases_multibox import multibox_cases
from tests.nets.cases_resampling import resampling_cases
from tests.nets.cases_rois import roi_cases

Values = Mapping[str, NDArray[np.float32]]

GOLDEN = Path(__file__).parents[1] / "golden"
FOLDERS = ("layers", "layers_more", "layers_forks", "forks")


@dataclass(frozen=True)
class Case:
    """``values`` has the keys of the golden files: bottom/BLOB, param/LAYER/I, top/BLOB, top_diff/BLOB and so on."""

    name: str
    phase: str
    prototxt: str
    values: Values

    @property
    def param(self) -> NetParameter:
        return text.parse_net(self.prototxt)

    def part(self, kind: str) -> dict[str, NDArray[np.float32]]:
        """The values of one kind, without it in their names."""
        return {key.removeprefix(f"{kind}/"): value for key, value in self.values.items() if key.startswith(f"{kind}/")}


# ---- cases of the original in which it ran no backward pass: no loss, and force_backward is false. Their gradients are
# zeros that nobody computed. The formulas take their place.


def _batchreindex(v: Values) -> Values:
    dx = np.zeros_like(v["bottom/x"])
    np.add.at(dx, v["bottom/idx"].astype(int), v["top_diff/y"])
    return {"bottom_diff/x": dx, "param_diff/gate/0": (dx * v["bottom/x"]).sum()}


def _embed(v: Values) -> Values:
    dw = np.zeros_like(v["param/embed/0"])
    np.add.at(dw, v["bottom/x"].astype(int), v["top_diff/y"])
    return {"param_diff/embed/0": dw, "param_diff/embed/1": v["top_diff/y"].sum((0, 1))}


def _filter(v: Values) -> Values:
    dx = np.zeros_like(v["bottom/x"])
    dx[v["bottom/sel"] != 0] = v["top_diff/y"]
    return {"bottom_diff/x": dx, "param_diff/gate/0": (dx * v["bottom/x"]).sum()}


NO_BACKWARD: Mapping[str, Callable[[Values], Values]] = {
    "batchreindex": _batchreindex,
    "embed": _embed,
    "filter": _filter,
}


@cache
def golden() -> tuple[Case, ...]:
    return tuple(_read(path) for folder in FOLDERS for path in sorted((GOLDEN / folder).glob("*.prototxt")))


def _read(path: Path) -> Case:
    prototxt = path.read_text()
    with np.load(path.with_suffix(".npz")) as stored:
        values = dict(stored)
    if path.stem in NO_BACKWARD:
        assert not any(value.any() for key, value in values.items() if key.startswith(("bottom_diff/", "param_diff/")))
        values |= NO_BACKWARD[path.stem](values)
    phase = re.match(r"# phase: (\w+)", prototxt)
    assert phase is not None, path
    return Case(path.stem, phase[1], prototxt, values)


# ---- own cases


def _input(name: str, shape: tuple[int, ...]) -> str:
    return f'layer {{ name: "in_{name}" type: "Input" top: "{name}" input_param {{ shape {{ {_dims(shape)} }} }} }}\n'


def _dims(shape: tuple[int, ...]) -> str:
    return " ".join(f"dim: {size}" for size in shape)


def _own(name: str, layers: str, phase: str = "TRAIN", **values: NDArray[np.float32]) -> Case:
    """A case of *layers* behind inputs; in the names of *values* "__" stands for "/"."""
    by_key = {key.replace("__", "/"): np.asarray(value, np.float32) for key, value in values.items()}
    inputs = "".join(_input(key[7:], value.shape) for key, value in by_key.items() if key.startswith("bottom/"))
    return Case(name, phase, f'name: "{name}"\n{inputs}{layers}', by_key)


def _random(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def _filter_two() -> Case:
    a, b, chosen = _random(5, 2, 3), _random(5, 4), np.array([[0], [2], [0], [-1], [1]], np.float32)
    places = [1, 3, 4]
    da, db = _random(3, 2, 3), _random(3, 4)
    back_a, back_b = np.zeros_like(a), np.zeros_like(b)
    back_a[places], back_b[places] = da, db
    return _own(
        "filter_two",
        'layer { name: "filter" type: "Filter" bottom: "a" bottom: "b" bottom: "chosen" top: "fa" top: "fb" }',
        bottom__a=a, bottom__b=b, bottom__chosen=chosen, top__fa=a[places], top__fb=b[places],
        top_diff__fa=da, top_diff__fb=db, bottom_diff__a=back_a, bottom_diff__b=back_b,
    )  # fmt: skip


def _filter_none() -> Case:
    x = _random(3, 2)
    return _own(
        "filter_none",
        'layer { name: "filter" type: "Filter" bottom: "x" bottom: "chosen" top: "y" }',
        bottom__x=x, bottom__chosen=np.zeros(3), top__y=x[:0],
        top_diff__y=x[:0], bottom_diff__x=np.zeros_like(x),
    )  # fmt: skip


def _hdf5_output() -> Case:
    x, label = _random(3, 2), np.arange(3)
    return _own(
        "hdf5_output",
        'layer { name: "out" type: "HDF5Output" bottom: "x" bottom: "label" '
        'hdf5_output_param { file_name: "out.h5" } }\n'
        'layer { name: "twice" type: "Power" bottom: "x" top: "y" power_param { scale: 2 } }',
        bottom__x=x, bottom__label=label, top__y=2 * x, top_diff__y=x, bottom_diff__x=2 * x,
    )  # fmt: skip


def _infogain_file() -> Case:
    """The matrix of infogain_3bottoms in a file, with the shape C x C."""
    case = next(case for case in golden() if case.name == "infogain_3bottoms")
    layers = case.prototxt.split("\n", 6)[-1]  # without the phase, the name, and the inputs
    source = GOLDEN / "layers_more" / "infogain.binaryproto"
    given = f'infogain_loss_param {{ source: "{source}" }} }}'
    values = {key.replace("/", "__"): value for key, value in case.values.items() if key != "bottom/H"}
    return _own("infogain_file", layers.replace('bottom: "H"', "").rstrip().removesuffix("}") + given, **values)


def _batchnorm_eps_zero() -> Case:
    x, dy = _random(4, 3), _random(3, 4).T
    deviation = x.std(0)
    y = (x - x.mean(0)) / deviation
    return _own(
        "batchnorm_eps_zero",
        'layer { name: "bn" type: "BatchNorm" bottom: "x" top: "y" batch_norm_param { eps: 0 } }',
        bottom__x=x, top__y=y, top_diff__y=dy, bottom_diff__x=(dy - dy.mean(0) - y * (dy * y).mean(0)) / deviation,
    )  # fmt: skip


def _user(name: str, bottoms: str, tops: str, options: str = "") -> str:
    ends = "".join(f'bottom: "{b}" ' for b in bottoms.split()) + "".join(f'top: "{t}" ' for t in tops.split())
    said = f'python_param {{ module: "tests.nets.user_layers" layer: "{name}" {options} }}'
    return f'layer {{ name: "user" type: "Python" {ends} {said} }}\n'


def _python_scaled() -> Case:
    x, dy = _random(2, 3), _random(3, 2).T
    return _own(
        "python_scaled", _user("Scaled", "x", "y", "param_str: '{\"factor\": 3}' share_in_parallel: true"),
        bottom__x=x, top__y=3 * x, top_diff__y=dy, bottom_diff__x=3 * dy,
    )  # fmt: skip


def _python_affine() -> Case:
    x, dy, w, b = _random(4, 3), _random(3, 4).T, _random(3), _random(1, 3)[0]
    return _own(
        "python_affine", _user("Affine", "x", "y phase"), "TEST",
        bottom__x=x, param__user__0=w, param__user__1=b, top__y=w * x + b, top__phase=np.ones(1),
        top_diff__y=dy, top_diff__phase=np.zeros(1), bottom_diff__x=w * dy,
        param_diff__user__0=(dy * x).sum(0), param_diff__user__1=dy.sum(0),
    )  # fmt: skip


def _python_loss() -> Case:
    a, b = _random(4, 3), _random(3, 4).T
    return _own(
        "python_loss", _user("Pairs", "a b", "loss").replace("python_param", "loss_weight: 2 python_param"),
        bottom__a=a, bottom__b=b, top__loss=[((a - b) ** 2).sum() / 8],
        bottom_diff__a=(a - b) / 2, bottom_diff__b=(b - a) / 2,
    )  # fmt: skip


def _stochastic_test(kind: str, options: str, windows: list[list[tuple[slice, slice]]]) -> Case:
    x = np.abs(_random(2, 3, 5, 5))
    x[0, 0, :2, :2] = 0
    y = np.stack([[_weighted_mean(x[:, :, rows, columns]) for rows, columns in line] for line in windows])
    y = y.transpose(2, 3, 0, 1)
    layer = f'layer {{ name: "pool" type: "{kind}" bottom: "x" top: "y" {options} }}'
    return _own(f"{kind.lower()}_stochastic_test", layer, "TEST", bottom__x=x, top__y=y.reshape(2, 3, *y.shape[2:]))


def _weighted_mean(window: NDArray[np.float32]) -> NDArray[np.float32]:
    total = window.sum((2, 3))
    return np.where(total > 0, (window**2).sum((2, 3)) / np.where(total > 0, total, 1), 0)


def _slices(starts: list[int], kernel: int) -> list[list[tuple[slice, slice]]]:
    return [[(slice(a, a + kernel), slice(b, b + kernel)) for b in starts] for a in starts]


@cache
def own() -> tuple[Case, ...]:
    return (
        _filter_two(),
        _filter_none(),
        _hdf5_output(),
        _infogain_file(),
        _batchnorm_eps_zero(),
        _python_scaled(),
        _python_affine(),
        _python_loss(),
        _stochastic_test(
            "Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }", _slices([0, 2, 4], 2)
        ),
        _stochastic_test("SPP", "spp_param { pool: STOCHASTIC pyramid_height: 1 }", [[(slice(0, 5), slice(0, 5))]]),
    )


CASES: tuple[Case, ...] = (
    *golden(),
    *own(),
    *lasagne_cases(_own),
    *detection_cases(_own),
    *roi_cases(_own),
    *multibox_cases(_own),
    *fork_cases(_own),
    *resampling_cases(_own),
)
