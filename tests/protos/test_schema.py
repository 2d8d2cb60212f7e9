import csv
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor

from protos import schema

TABLE = Path(__file__).parents[1] / "golden" / "bvlc.tsv"
TYPES = {
    number: name[len("TYPE_") :].lower() for name, number in vars(FieldDescriptor).items() if name.startswith("TYPE_")
}


def rows(of_enums):
    with TABLE.open() as f:
        return [row for row in csv.DictReader(f, delimiter="\t") if (row["label"] == "enum") == of_enums]


def find(name):
    found = schema
    for part in name.split("."):
        found = getattr(found, part)
    return found


def label(field):
    return "required" if field.is_required else "repeated" if field.is_repeated else "optional"


def type_name(field):
    kind = field.message_type or field.enum_type
    return kind.full_name.removeprefix("caffe.") if kind else TYPES[field.type]


def default(field):
    """As the table spells it: empty where the schema states none."""
    if not field.has_default_value:
        return ""
    if field.enum_type:
        return field.enum_type.values_by_number[field.default_value].name
    if field.type == FieldDescriptor.TYPE_BOOL:
        return str(field.default_value).lower()
    return field.default_value


@pytest.mark.parametrize("row", rows(of_enums=False), ids=lambda row: f"{row['message']}.{row['name']}")
def test_field_is_bvlcs(row):
    field = find(row["message"]).DESCRIPTOR.fields_by_name[row["name"]]
    assert (str(field.number), label(field), type_name(field)) == (row["number"], row["label"], row["type"])
    assert field.GetOptions().packed == (row["options"] == "packed")
    value = default(field)
    if isinstance(value, int | float) and row["default"]:
        assert value == pytest.approx(float(row["default"]), rel=1e-7)
    else:
        assert value == row["default"]


@pytest.mark.parametrize("row", rows(of_enums=True), ids=lambda row: f"{row['message']}.{row['name']}")
def test_enum_value_is_bvlcs(row):
    assert find(row["message"]).Value(row["name"]) == int(row["number"])


# What SSD adds to the messages of BVLC, by the first of consecutive numbers.
SSD = {
    ("LayerParameter", 200): [
        "annotated_data_param",
        "multibox_loss_param",
        "permute_param",
        "prior_box_param",
        "detection_output_param",
        "detection_evaluate_param",
        "norm_param",
        "video_data_param",
    ],
    ("TransformationParameter", 8): [
        "resize_param",
        "noise_param",
        "emit_constraint",
        "crop_h",
        "crop_w",
        "distort_param",
        "expand_param",
    ],
    ("SolverParameter", 44): ["show_per_class_result"],
    ("SolverState", 5): ["minimum_loss", "iter_last_event"],
}


def test_no_fork_field_has_a_number_of_bvlc():
    bvlc = {(row["message"], row["name"]) for row in rows(of_enums=False)}
    ssd = {(message, name) for (message, _), names in SSD.items() for name in names}
    for message in {row["message"] for row in rows(of_enums=False)}:
        for field in find(message).DESCRIPTOR.fields:
            assert (message, field.name) in bvlc | ssd or field.number >= 50000, field.full_name


@pytest.mark.parametrize(
    ("message", "first", "names"),
    [
        *((message, first, names) for (message, first), names in SSD.items()),
        ("NormalizeParameter", 1, ["across_spatial", "scale_filler", "channel_shared", "eps"]),
        ("PermuteParameter", 1, ["order"]),
        ("ROIPoolingParameter", 1, ["pooled_h", "pooled_w", "spatial_scale"]),
        ("NormalizedBBox", 1, ["xmin", "ymin", "xmax", "ymax", "label", "difficult", "score", "size"]),
        ("ResizeParameter", 1, ["prob", "resize_mode", "height", "width", "pad_mode", "pad_value", "interp_mode"]),
        ("PriorBoxParameter", 1, ["min_size", "max_size", "aspect_ratio", "flip", "clip", "variance"]),
        ("EmitConstraint", 1, ["emit_type", "emit_overlap"]),
        ("LabelMapItem", 1, ["name", "label", "display_name"]),
    ],
)
def test_numbers_of_ssd(message, first, names):
    fields = find(message).DESCRIPTOR.fields_by_number
    assert [fields[first + place].name for place in range(len(names))] == names


def test_every_field_of_an_old_layer_has_a_place_in_a_current_one():
    old = schema.V1LayerParameter.DESCRIPTOR.fields_by_name
    new = schema.LayerParameter.DESCRIPTOR.fields_by_name
    upgraded = {"layer", "type", "param"}
    assert {
        name for name, field in old.items() if name not in new or type_name(new[name]) != type_name(field)
    } == upgraded


def test_messages_pickle():
    net = schema.NetParameter(name="x", layer=[schema.LayerParameter(name="y")])
    assert pickle.loads(pickle.dumps(net)) == net


def test_lives_beside_another_caffe_pb2():
    """A process registers messages of the same names in protobuf's default pool, before and after."""
    code = """
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
def register(file):
    other = descriptor_pb2.FileDescriptorProto(name=file, package="caffe", syntax="proto2")
    other.message_type.add(name="NetParameter").field.add(name="other", number=1, type=5, label=1)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(other.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))
{first}
{second}
assert theirs.FromString(theirs(other=5).SerializeToString()).other == 5
assert text.parse_net('name: "x"').name == "x"
"""
    ours, theirs = "from protos import text", "theirs = register('caffe.proto')"
    for first, second in [(ours, theirs), (theirs, ours)]:
        script = code.format(first=first, second=second)
        subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)
