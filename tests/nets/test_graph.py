"""The graph: which layers there are in a phase, which blob goes where, and what is wrong with it, all at once."""

import pytest

from nets.graph import build
from protos import text
from protos.errors import NetError

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }\n'


def graph(layers: str, phase: str = "TEST", **options):
    return build(text.parse_net(f'name: "n"\n{layers}'), phase, **options)


def names(layers: str, phase: str = "TEST", **options) -> list[str]:
    return [node.name for node in graph(DATA + layers, phase, **options).layers]


def relu(name: str, rules: str = "", bottom: str = "data", top: str = "") -> str:
    return f'layer {{ name: "{name}" type: "ReLU" bottom: "{bottom}" top: "{top or name}" {rules} }}\n'


def problems(layers: str, phase: str = "TEST", **options) -> list[str]:
    with pytest.raises(NetError) as caught:
        graph(layers, phase, **options)
    assert str(caught.value).startswith("net 'n': ")
    return str(caught.value).removeprefix("net 'n': ").split("; ")


# ---- which layers there are


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("", True),
        ("include { phase: TRAIN }", False),
        ("include { phase: TEST }", True),
        ("include { phase: TRAIN } include { phase: TEST }", True),
        ("exclude { phase: TEST }", False),
        ("exclude { phase: TRAIN }", True),
        ("exclude { phase: TRAIN } exclude { stage: 'deploy' }", False),
        ("include { min_level: 2 }", True),
        ("include { min_level: 3 }", False),
        ("include { max_level: 2 }", True),
        ("include { max_level: 1 }", False),
        ("include { stage: 'deploy' }", True),
        ("include { stage: 'deploy' stage: 'fast' }", True),
        ("include { stage: 'deploy' stage: 'slow' }", False),
        ("include { not_stage: 'slow' }", True),
        ("include { not_stage: 'slow' not_stage: 'fast' }", False),
        ("include { phase: TEST min_level: 1 max_level: 3 stage: 'deploy' not_stage: 'slow' }", True),
        ("include { phase: TRAIN stage: 'deploy' }", False),
        ("exclude { stage: 'deploy' not_stage: 'fast' }", True),
    ],
)
def test_rules_of_phase_level_and_stage(rule, kept):
    assert names(relu("r", rule), level=2, stages=("deploy", "fast")) == ["r"] * kept


def test_the_state_in_the_file_counts_too():
    layers = DATA + relu("level", "include { min_level: 2 }") + relu("stage", "include { stage: 'deploy' }")
    found = graph(f"state {{ level: 3 stage: 'deploy' }}\n{layers}")
    assert [node.name for node in found.layers] == ["level", "stage"]


def test_both_include_and_exclude():
    assert problems(DATA + relu("r", "include { phase: TEST } exclude { phase: TRAIN }")) == [
        "layer 'r' has both include and exclude rules: keep one kind"
    ]


# ---- which blob goes where


def test_a_graph_is_plain_data():
    found = graph(DATA + relu("r") + relu("s", bottom="r", top="r"))
    assert dict(found.inputs) == {"data": (2, 3)}
    assert found.outputs == ("r",)
    assert [(str(node), node.bottoms, node.tops, node.loss_weights) for node in found.layers] == [
        ("layer 'r' (ReLU)", ("data",), ("r",), (0.0,)),
        ("layer 's' (ReLU)", ("r",), ("r",), (0.0,)),
    ]
    with pytest.raises(AttributeError):
        found.name = "other"


def test_the_message_given_is_left_alone():
    param = text.parse_net(f'name: "n"\n{DATA}' + relu("r"))
    before = text.to_text(param)
    build(param, "TRAIN")
    assert text.to_text(param) == before


def test_outputs_come_in_the_order_of_the_original():
    assert graph(DATA + relu("zeta") + relu("alpha") + relu("Beta")).outputs == ("Beta", "alpha", "zeta")


def test_any_number_of_consumers():
    assert graph(DATA + relu("a") + relu("b", bottom="a") + relu("c", bottom="a")).outputs == ("b", "c")


def test_inputs_of_every_age():
    assert dict(graph('input: "data" input_shape { dim: 2 } input: "more" input_shape { dim: 7 }').inputs) == {
        "data": (2,),
        "more": (7,),
    }
    old = 'input: "data" input_dim: 2 input_dim: 3 input_dim: 1 input_dim: 1'
    assert dict(graph(old).inputs) == {"data": (2, 3, 1, 1)}
    two = 'layer { name: "in" type: "Input" top: "a" top: "b" input_param { shape { dim: 4 } } }'
    assert dict(graph(two).inputs) == {"a": (4,), "b": (4,)}
    assert dict(graph('layer { name: "in" type: "Input" top: "a" }').inputs) == {"a": None}


@pytest.mark.parametrize("kind", ["Input", "Data"])
def test_data_layers_need_tops(kind):
    assert problems(f'layer {{ name: "d" type: "{kind}" }}') == [
        f"layer 'd' ({kind}): has 0 tops where it takes at least 1"
    ]


def test_data_layers_are_sources_whose_tops_are_inputs():
    data = 'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "nowhere" batch_size: 4 } }'
    found = graph(data + relu("r"), "TRAIN", input_shapes={"data": [4, 1]})
    assert [source.name for source in found.sources] == ["d"]
    assert dict(found.inputs) == {"data": (4, 1), "label": None}
    assert found.outputs == ("label", "r")


def test_losses_weigh_one_unless_they_say_otherwise():
    label = 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } }\n'

    def weights(options: str, kind: str = "SoftmaxWithLoss") -> list[tuple[float, ...]]:
        loss = f'layer {{ name: "loss" type: "{kind}" bottom: "data" bottom: "label" {options} }}'
        return [node.loss_weights for node in graph(DATA + label + loss).layers]

    assert weights('top: "l"') == [(1.0,)]
    assert weights('top: "l" top: "prob"') == [(1.0, 0.0)]
    assert weights('top: "l" loss_weight: 0.5') == [(0.5,)]
    assert weights("") == [(1.0,)]
    assert weights('top: "l"', "Accuracy") == [(0.0,)]


def test_a_loss_without_a_top_gets_one():
    label = 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } }\n'
    loss = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "data" bottom: "label" }\n'
    assert graph(DATA + label + loss).outputs == ("loss",)


# ---- what is wrong


def test_all_problems_are_reported_in_one_go():
    layers = (
        DATA
        + 'layer { name: "a" type: "Convolutoin" bottom: "data" top: "a" }\n'
        + 'layer { name: "b" type: "Warp" bottom: "a" top: "b" }\n'
        + 'layer { name: "c" type: "ReLU" bottom: "dat" top: "c" relu_param { negative_slope: 0.1 } }\n'
        + 'layer { name: "d" type: "BatchNorm" bottom: "b" top: "d" batch_norm_param { relu: true fused_relu: true } }'
    )
    assert problems(layers) == [
        "layer 'a' (Convolutoin): no layer of this type is known, did you mean Convolution or Deconvolution?",
        "layer 'b' (Warp): no layer of this type is known",
        "layer 'c' (ReLU): bottom 'dat' is made by no layer, did you mean data?",
        "layer 'd' (BatchNorm): option batch_norm_param.fused_relu is not supported",
        "layer 'd' (BatchNorm): option batch_norm_param.relu is not supported",
    ]


def test_a_problem_of_several_layers_is_reported_once_with_all_their_names():
    layers = DATA + "".join(
        f'layer {{ name: "{name}" type: "{type}" bottom: "data" top: "{name}" }}\n'
        for name, type in (("a", "Warp"), ("b", "Bend"), ("c", "Warp"))
    )
    assert problems(layers) == [
        "layers 'a', 'c' (Warp): no layer of this type is known",
        "layer 'b' (Bend): no layer of this type is known",
    ]


@pytest.mark.parametrize(
    ("type", "said"),
    [
        ("ReLU5", ", did you mean ReLU or RReLU?"),
        ("SoftmaxWithLos", ", did you mean SoftmaxWithLoss or SoftmaxWithLossOHEM?"),
        ("StripPooling", ""),
        (
            "ROIAlign",
            ": forks give this name to several rules, means and maxima of samples at other places, with one message",
        ),
        ("WeightedSoftmaxWithLoss", ""),
    ],
)
def test_what_an_unknown_layer_type_may_have_meant(type, said):
    layer = f'layer {{ name: "a" type: "{type}" bottom: "data" top: "a" }}'
    assert problems(DATA + layer) == [f"layer 'a' ({type}): no layer of this type is known{said}"]


def test_an_unknown_layer_takes_its_bottoms_and_makes_its_tops():
    unknown = 'layer { name: "q" type: "Qux" bottom: "data" bottom: "nowhere" top: "y" }\n'
    assert problems(DATA + unknown + relu("r", bottom="y")) == [
        "layer 'q' (Qux): no layer of this type is known",
        "layer 'q' (Qux): bottom 'nowhere' is made by no layer",
    ]


def test_the_tops_of_an_unknown_layer_may_have_a_shape():
    layers = 'layer { name: "d" type: "WarpData" top: "x" }\n' + relu("r", bottom="x")
    assert problems(layers, input_shapes={"x": (1, 2)}) == ["layer 'd' (WarpData): no layer of this type is known"]


@pytest.mark.parametrize(
    ("rule", "where"),
    [
        ("include { phase: TRAIN }", "in phase TRAIN only, by layer 'm'"),
        ("exclude { phase: TEST }", "in phase TRAIN only, by layer 'm'"),
        (
            "include { phase: TEST stage: 'a' } include { min_level: 2 }",
            "by layer 'm', which its rules leave out: include { phase: TEST stage: \"a\" } include { min_level: 2 }",
        ),
        ("exclude { max_level: 3 }", "by layer 'm', which its rules leave out: exclude { max_level: 3 }"),
    ],
)
def test_a_bottom_that_is_made_under_other_rules(rule, where):
    layers = DATA + relu("m", rule) + relu("r", bottom="m")
    assert problems(layers) == [f"layer 'r' (ReLU): bottom 'm' is made {where}"]


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        (relu("r", bottom="s") + relu("s"), "layer 'r' (ReLU): bottom 's' is made only later, by layer 's'"),
        (relu("r", bottom="r"), "layer 'r' (ReLU): bottom 'r' is made only later, by layer 'r'"),
        (
            relu("r", bottom="s") + relu("s", bottom="r"),
            "layer 'r' (ReLU): bottom 's' is made only later, by layer 's'",
        ),
        (relu("r") + relu("s", top="r"), "layer 's' (ReLU): top 'r' is already made by layer 'r'"),
        (
            relu("r") + relu("s", bottom="r") + relu("t", bottom="r", top="r"),
            "layer 't' (ReLU): cannot work in place on 'r', which layer 's' needs: name its top anew",
        ),
        (
            relu("r", "loss_weight: 2") + relu("t", bottom="r", top="r"),
            "layer 't' (ReLU): cannot work in place on 'r', which layer 'r' needs: name its top anew",
        ),
        (
            DATA.replace('name: "data"', 'name: "again"'),
            "layer 'again' (Input): top 'data' is already made by layer 'data'",
        ),
        (
            'layer { name: "r" type: "ReLU" bottom: "data" bottom: "data" top: "r" }',
            "layer 'r' (ReLU): has 2 bottoms where it takes 1",
        ),
        (
            'layer { name: "r" type: "ReLU" bottom: "data" top: "r" top: "s" }',
            "layer 'r' (ReLU): has 2 tops where it takes 1",
        ),
        (
            'layer { name: "c" type: "Eltwise" bottom: "data" top: "c" }',
            "layer 'c' (Eltwise): has 1 bottoms where it takes at least 2",
        ),
        (
            'layer { name: "in" type: "Input" bottom: "data" top: "in" }',
            "layer 'in' (Input): has 1 bottoms where it takes 0",
        ),
        (
            'layer { name: "in" type: "Input" top: "a" top: "b" top: "c" '
            "input_param { shape { dim: 1 } shape { dim: 2 } } }",
            "layer 'in' (Input): has 3 tops but 2 shapes: give one, or one for each",
        ),
        (
            'layer { name: "in" type: "Input" top: "a" input_param { shape { dim: 2 dim: -3 } } }',
            "layer 'in' (Input): a size of its shape is negative: 2x-3",
        ),
        (
            relu("r", "propagate_down: true propagate_down: false"),
            "layer 'r' (ReLU): has 1 bottoms but 2 propagate_down: give none, or one for each",
        ),
        (
            relu("r", "loss_weight: 1 loss_weight: 2"),
            "layer 'r' (ReLU): has 1 tops but 2 loss weights: give none, or one for each",
        ),
        (
            'layer { name: "p" type: "Python" bottom: "data" top: "p" python_param { module: "m" layer: "L" } }',
            "Python layers 'p' run their own code: allow it with allow_python=True or --allow-python",
        ),
    ],
)
def test_what_is_wrong_is_said(layers, problem):
    assert problems(DATA + layers) == [problem]


def test_shapes_of_what_is_no_input():
    assert problems(DATA, input_shapes={"dta": [2, 3]}) == [
        "input_shapes names 'dta', which is no input, did you mean data?"
    ]


def test_an_option_at_its_default_is_no_problem():
    assert names('layer { name: "b" type: "BatchNorm" bottom: "data" top: "b" batch_norm_param { relu: false } }') == [
        "b"
    ]
