"""What is written and read again is equal: for random messages, and for every prototxt in the repository."""

import struct
import tempfile
import warnings
from pathlib import Path

import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor as Field
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from protos import text
from protos.errors import CaffeWarning, ParseError
from protos.schema import LayerParameter, NetParameter, SolverParameter
from protos.upgrade import upgrade_net, upgrade_solver

ROOT = Path(__file__).parents[2]

# Old fields, which reading upgrades away, and a text of its own rules, which has tests of its own.
LEFT_OUT = {
    "caffe.NetParameter.layers",
    "caffe.NetParameter.input",
    "caffe.LayerParameter.blobs_lr",
    "caffe.LayerParameter.weight_decay",
    "caffe.LayerParameter.blob_share_mode",
    "caffe.SolverParameter.solver_type",
    "caffe.VerbatimParameter.text",
}
DEPTH = 3


def float32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def integers(bits, signed):
    low = -(2 ** (bits - 1)) if signed else 0
    return st.integers(low, low + 2**bits - 1)


SCALARS = {
    Field.TYPE_BOOL: st.booleans(),
    Field.TYPE_BYTES: st.binary(max_size=8),
    Field.TYPE_DOUBLE: st.floats(allow_nan=False),
    Field.TYPE_FLOAT: st.floats(allow_nan=False, width=32),
    Field.TYPE_INT32: integers(32, signed=True),
    Field.TYPE_INT64: integers(64, signed=True),
    Field.TYPE_STRING: st.text(st.characters(codec="utf-8"), max_size=8),
    Field.TYPE_UINT32: integers(32, signed=False),
    Field.TYPE_UINT64: integers(64, signed=False),
}


def value_of(draw, field, depth):
    if field.message_type is not None:
        return message_of(draw, field.message_type, depth + 1)
    if field.enum_type is not None:
        return draw(st.sampled_from(sorted(field.enum_type.values_by_number)))
    return draw(SCALARS[field.type])


def message_of(draw, descriptor, depth):
    fields = [f for f in descriptor.fields if f.full_name not in LEFT_OUT]
    fields = [f for f in fields if depth < DEPTH or f.message_type is None]
    chosen = draw(st.lists(st.sampled_from(fields), max_size=4, unique_by=lambda f: f.name)) if fields else []
    message = message_factory.GetMessageClass(descriptor)()
    for field in {f.name: f for f in [*chosen, *(f for f in fields if f.is_required)]}.values():
        assign(draw, message, field, depth)
    return message


def assign(draw, message, field, depth):
    if field.is_repeated:
        values = [value_of(draw, field, depth) for _ in range(draw(st.integers(1, 3)))]
        getattr(message, field.name).extend(values)
    elif field.message_type is not None:
        getattr(message, field.name).SetInParent()
        getattr(message, field.name).CopyFrom(value_of(draw, field, depth))
    else:
        setattr(message, field.name, value_of(draw, field, depth))


@st.composite
def messages(draw, kind):
    """Messages of *kind* in the current format."""
    return message_of(draw, kind.DESCRIPTOR, 0)


quiet = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
ignore_dead_transforms = pytest.mark.filterwarnings("ignore:layer .* has no effect")


@ignore_dead_transforms
@quiet
@given(messages(NetParameter))
def test_any_net_comes_back(net):
    current = upgrade_net(net)
    written = text.to_text(current)
    assert text.parse_net(written) == current
    assert text.to_text(text.parse_net(written)) == written


@ignore_dead_transforms
@quiet
@given(messages(SolverParameter))
def test_any_solver_comes_back(solver):
    current = upgrade_solver(solver)
    assert text.parse_solver(text.to_text(current)) == current


@ignore_dead_transforms
@quiet
@given(messages(NetParameter), st.booleans())
def test_any_net_comes_back_from_a_file(net, binary):
    net = upgrade_net(net)
    net.layer.add(name="so that there is something to tell binary by")
    with tempfile.TemporaryDirectory() as folder:
        text.write(net, Path(folder, "net"), binary=binary)
        assert text.read_net(Path(folder, "net")) == net


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.prototxt")), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_prototxt_of_the_repository_comes_back(path):
    solver = "solver" in path.name
    read, parse = (text.read_solver, text.parse_solver) if solver else (text.read_net, text.parse_net)
    message = read(path)
    assert parse(text.to_text(message)) == message


@quiet
@given(st.data())
def test_damage_is_one_line_or_nothing(data):
    """Whatever is cut out, doubled or put in, the answer is a message or a ParseError."""
    source = (
        'name: "n" input: "x" input_dim: [1, 2, 3, 4] layers { type: LRN blobs_lr: 2 lrn_param < k: 1e-4 > } '
        "layer { multi_stage_meanfield_param { axis: 2 } type: CONVOLUTION pooling_param { pool: MAX; pad: 1, } }"
    )
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(source))] * 2)))
    piece = data.draw(st.sampled_from(["", "{", "}", "[", "<", '"', "'", "\\", ":", "x: y", "\ud800", "é", "0x"]))
    damaged = source[:start] + piece + source[end:] + data.draw(st.sampled_from(["", source]))
    for parse in (text.parse_net, text.parse_solver):
        for options in ({}, {"allow_unknown": True}):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", CaffeWarning)
                    parse(damaged, **options)
            except ParseError as error:
                lines = str(error).splitlines()
                assert len(lines) == 1  # it may as well parse


@given(st.text("ab:{}<>[]\"'\\\n#1 ", max_size=12))
@example("'\\:'")  # no escape
def test_any_verbatim_text_comes_back(content):
    net = NetParameter(layer=[LayerParameter(multi_stage_meanfield_param={"text": content})])
    assert text.parse_net(text.to_text(net)) == net
