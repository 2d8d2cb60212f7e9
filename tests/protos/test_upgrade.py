from pathlib import Path

import pytest

from protos import text
from protos.errors import CaffeWarning, ParseError
from protos.schema import NetParameter, SolverParameter, V1LayerParameter
from protos.upgrade import DATA_PARAMS, upgrade_net, upgrade_solver, v1_type

PAIRS = Path(__file__).parents[1] / "golden" / "formats" / "upgrade"


@pytest.mark.parametrize("path", sorted(PAIRS.glob("*.in.prototxt")), ids=lambda path: path.name.split(".")[0])
def test_agrees_with_the_upgrade_tools_of_the_original(path):
    read = text.read_solver if "solver" in path.name else text.read_net
    upgraded = read(path)
    assert upgraded == read(path.with_name(path.name.replace(".in.", ".out.")))
    upgrade = upgrade_solver if "solver" in path.name else upgrade_net
    assert upgrade(upgraded) == upgraded


def layers(source):
    return text.parse_net(source).layer


def refused(source, message):
    with pytest.raises(ParseError, match=message):
        text.parse_net(source)


# ---- V0


def test_v0_padding_goes_into_the_pooling_and_blobs_stay():
    pool = layers(
        'layers { layer { name: "pad" type: "padding" pad: 3 } bottom: "x" top: "p" }'
        'layers { layer { name: "pool" type: "pool" pool: AVE kernelsize: 2 blobs { data: 5 } } bottom: "p" }'
    )
    assert [layer.name for layer in pool] == ["pool"]
    assert list(pool[0].bottom) == ["x"]
    assert (pool[0].pooling_param.pad, pool[0].blobs[0].data[0]) == (3, 5)


def test_v0_images_and_windows():
    images, windows = layers(
        'layers { layer { name: "i" type: "images" source: "s" batchsize: 4 new_height: 7 '
        'shuffle_images: true meanfile: "m" } top: "x" }'
        'layers { layer { name: "w" type: "window_data" det_fg_threshold: 0.25 det_crop_mode: "square" '
        'cropsize: 9 } top: "w" }'
    )
    assert text.to_text(images) == text.to_text(
        layers(
            'layer { name: "i" type: "ImageData" top: "x" transform_param { mean_file: "m" } '
            'image_data_param { source: "s" batch_size: 4 new_height: 7 shuffle: true } }'
        )[0]
    )
    assert (windows.window_data_param.fg_threshold, windows.window_data_param.crop_mode) == (0.25, "square")
    assert windows.transform_param.crop_size == 9


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            'layers { layer { name: "r" type: "relu" stride: 2 } }',
            "layer 'r': a V0 layer of type 'relu' has no stride",
        ),
        ('layers { layer { name: "r" type: "rely" } }', "layer 'r': no layer type 'rely' in the V0 format"),
        (
            'layers { layer { name: "p" type: "padding" pad: 3 } bottom: "x" top: "p" }'
            'layers { layer { name: "r" type: "relu" } bottom: "p" top: "y" }',
            "padding layer 'p' feeds 'r', which is neither a convolution nor a pooling",
        ),
        (
            'layers { layer { name: "p" type: "padding" pad: 3 } bottom: "x" top: "p" }'
            'layers { layer { name: "c" type: "conv" pad: 1 } bottom: "p" top: "y" }',
            "padding layer 'p' feeds 'c', which has a pad of its own",
        ),
    ],
)
def test_v0_without_a_current_form_is_refused(source, message):
    refused(source, message)


# ---- V1


@pytest.mark.parametrize("name", V1LayerParameter.LayerType.keys())
def test_v1_every_type_has_a_name(name):
    upgraded = layers(f'layers {{ name: "x" type: {name} }}')[0].type
    assert upgraded == v1_type(name)
    assert "_" not in upgraded


def test_v1_fork_layers_keep_their_parameters():
    (layer,) = layers("layers { type: CONVOLUTION3D convolution3d_param { num_output: 3 } blobs { data: 1 } }")
    assert (layer.type, layer.convolution3d_param.num_output) == ("Convolution3D", 3)
    assert layer.blobs[0].data[0] == 1


def test_v1_types_and_fields_mixed_with_current_ones():
    """Some forks renamed `layers` before they changed what is inside, and some the other way round."""
    (layer,) = layers('layer { name: "c" type: CONVOLUTION blobs_lr: 2 weight_decay: 0 }')
    assert (layer.type, layer.param[0].lr_mult, layer.param[0].decay_mult) == ("Convolution", 2, 0)
    assert not layer.blobs_lr
    assert layers('layers { name: "s" type: "Softmax" }')[0].type == "Softmax"


def test_words_of_deeplab_become_current_ones():
    (conv,) = layers('layers { name: "c" type: CONVOLUTION convolution_param { kernel_size: 3 hole: 2 } }')
    assert (list(conv.convolution_param.dilation), conv.convolution_param.HasField("hole")) == ([2], False)
    (conv,) = layers('layer { name: "c" type: "Convolution" convolution_param { hole_h: 2 hole_w: 4 } }')
    assert list(conv.convolution_param.dilation) == [2, 4]
    (loss,) = layers('layers { name: "l" type: SOFTMAX_LOSS softmaxloss_param { ignore_label: 255 } }')
    assert (loss.loss_param.ignore_label, loss.HasField("softmaxloss_param")) == (255, False)
    found = layers("layers { type: INTERP } layers { type: SEG_ACCURACY } layers { type: PRELU }")
    assert [layer.type for layer in found] == ["Interp", "SegAccuracy", "PReLU"]


@pytest.mark.parametrize(
    "given",
    [
        *[f"convolution_param {{ {holes} }}" for holes in ("hole: 2 dilation: 2", "hole_h: 2", "hole: 2 hole_w: 2")],
        *[f"softmaxloss_param {{ {it} }}" for it in ("ignore_label: 1 ignore_label: 2", 'weight_source: "w"')],
    ],
)
def test_words_that_the_current_format_has_none_for_stay(given):
    (layer,) = layers(f'layer {{ name: "x" {given} }}')
    assert [field.name for field, _ in layer.ListFields()] == ["name", given.split()[0]]


def test_options_of_forks_that_say_what_is_so_anyway_go():
    three = "param { lr_mult: 0 } " * 3
    options = "batch_norm_param { eps: 0.1 filler { value: 1 } bias_filler { value: 0 } }"
    (layer,) = layers(f'layer {{ name: "b" type: "BatchNorm" {three} {options} }}')
    assert [field.name for field, _ in layer.batch_norm_param.ListFields()] == ["eps"]
    (layer,) = layers(f'layer {{ name: "b" type: "BatchNorm" {options} }}')
    assert layer.batch_norm_param.HasField("filler")
    for dilation, kept in (([1, 1], []), ([1, 2], [1, 2])):
        (layer,) = layers(f'layer {{ name: "p" type: "Pooling" pooling_param {{ dilation: {dilation} }} }}')
        assert list(layer.pooling_param.dilation) == kept


def test_an_input_of_a_net_for_films_has_five_axes():
    dims = " ".join(f"input_dim: {size}" for size in (1, 3, 16, 112, 112))
    found = layers(f'input: "data" {dims} layers {{ name: "c" type: CONVOLUTION3D bottom: "data" top: "c" }}')
    assert list(found[0].input_param.shape[0].dim) == [1, 3, 16, 112, 112]
    short = 'input: "data" input_dim: [1, 3, 16, 112] layer { name: "p" type: "Pooling3D" bottom: "data" top: "p" }'
    refused(short, "each takes one input_shape or five input_dim")


def test_v1_parameter_names_of_a_v0_layer_are_kept():
    (layer,) = layers('layers { layer { name: "c" type: "conv" blobs_lr: 2 } param: "w" }')
    assert (layer.param[0].name, layer.param[0].lr_mult) == ("w", 2)


def test_both_formats_in_one_net_are_refused():
    refused('layer { name: "a" } layers { name: "b" }', r"either 'layer' or 'layers' .*: layer 'a', layers 'b'")


# ---- data


@pytest.mark.parametrize(("kind", "param"), DATA_PARAMS.items())
def test_v1_data_transforms_move(kind, param):
    enum = {"Data": "DATA", "ImageData": "IMAGE_DATA", "WindowData": "WINDOW_DATA"}[kind]
    options = 'scale: 0.5 mirror: true crop_size: 3 mean_file: "m"'
    old = layers(f'layers {{ type: {enum} {param} {{ source: "s" {options} }} }}')
    assert old == layers(f'layer {{ type: "{kind}" {param} {{ source: "s" }} transform_param {{ {options} }} }}')


def test_current_data_transforms_stay_and_are_warned_of():
    """The original reads them from transform_param alone, and moves them for V1 layers alone."""
    with pytest.warns(CaffeWarning, match="layer 'd': scale in data_param has no effect, as in the original"):
        (layer,) = layers('layer { name: "d" type: "Data" data_param { scale: 0.5 } }')
    assert layer.data_param.scale == 0.5


# ---- inputs


def test_input_without_a_shape_is_kept_unless_a_layer_makes_it():
    net = text.parse_net('input: "data" input: "extra" layer { name: "d" type: "Data" top: "data" }')
    assert [(layer.type, list(layer.top)) for layer in net.layer] == [
        ("Input", ["extra"]),
        ("Data", ["data"]),
    ]
    assert not net.input


@pytest.mark.parametrize(
    ("kind", "count", "mults"),
    [("BatchNorm", 3, [(0, 0)] * 3), ("BatchNorm", 2, [(2, 5)] * 2), ("Scale", 3, [(2, 5)] * 3)],
)
def test_the_statistics_of_an_old_batch_norm_do_not_learn(kind, count, mults):
    params = 'param { name: "p" lr_mult: 2 decay_mult: 5 } ' * count
    (layer,) = layers(f'layer {{ name: "l" type: "{kind}" bottom: "x" top: "y" {params} }}')
    assert [(spec.lr_mult, spec.decay_mult) for spec in layer.param] == mults
    assert [spec.name for spec in layer.param] == ["p"] * count


def test_too_few_dims_are_refused():
    message = r"prototxt: 2 inputs \(a, b\) have 0 input_shape and 4 input_dim: each takes one input_shape or four"
    refused('input: "a" input: "b" input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4', message)


def test_dims_beyond_the_inputs_are_ignored_with_a_warning():
    with pytest.warns(CaffeWarning, match="1 inputs .* 2 input_shape"):
        (layer,) = layers('input: "a" input_shape { dim: 1 } input_shape { dim: 2 }')
    assert [list(shape.dim) for shape in layer.input_param.shape] == [[1]]


# ---- solvers


def test_solver_type_may_stand_twice_if_it_agrees():
    assert text.parse_solver('solver_type: ADAM type: "Adam"').type == "Adam"
    with pytest.raises(ParseError, match=r"solver_type: ADAM .the old form. contradicts type: 'SGD'; keep one"):
        text.parse_solver('solver_type: ADAM type: "SGD"')


def test_inline_nets_of_a_solver_are_upgraded():
    old = "layers { type: RELU }"
    solver = text.parse_solver(f"net_param {{ {old} }} train_net_param {{ {old} }} test_net_param {{ {old} }}")
    for net in [solver.net_param, solver.train_net_param, *solver.test_net_param]:
        assert net == text.parse_net('layer { type: "ReLU" }')


def test_the_argument_is_left_alone():
    net, solver = NetParameter(input=["x"], input_dim=[1, 2, 3, 4]), SolverParameter(solver_type="ADAM")
    upgrade_net(net)
    upgrade_solver(solver)
    assert list(net.input) == ["x"]
    assert solver.HasField("solver_type")
