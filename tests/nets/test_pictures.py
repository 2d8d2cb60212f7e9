"""What shows a net: the table of its layers, its graph, its curves and its weights."""

import builtins
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

import nets
from nets import draw, plot, summary
from nets.plot import read_log
from nets.weights import save_weights
from protos import text
from protos.errors import CaffeError, CaffeWarning

GOLDEN = Path(__file__).parents[1] / "golden"
LENET = "protos/zoo/lenet/train_val.prototxt"
SHAPE = ["--shape", "data=64,1,28,28"]
LOG = str(GOLDEN / "formats" / "train.log")

NET = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 6 kernel_size: 3 stride: 2 pad: 1 group: 3 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer { name: "relu" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "up" type: "Deconvolution" bottom: "conv1" top: "up"
  convolution_param { num_output: 2 kernel_size: 2 stride: 2 bias_term: false } }
layer { name: "pool" type: "Pooling" bottom: "conv1" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "branch" type: "TanH" bottom: "fc" top: "branch" }
layer { name: "late" type: "ReLU" bottom: "fc" top: "rectified" }
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    save_weights(nets.load("net.prototxt"), "net.caffemodel")
    return tmp_path


def test_the_summary_counts(work):
    rows = {row.name: row for row in summary.rows(nets.load("net.prototxt"))}
    assert rows["conv1"].parameters == 6 * 9 + 6
    assert rows["conv1"].multiply_adds == 2 * 16 * 6 * 9
    assert rows["conv1"].memory == 4 * 2 * 6 * 16
    assert rows["bn"].multiply_adds == 2 * 6 * 16
    assert rows["relu"].memory == 0
    assert rows["up"].multiply_adds == 2 * 16 * 6 * 2 * 4
    assert rows["fc"].multiply_adds == 2 * 6 * 5
    assert rows["data"].memory == 4 * 2 * 3 * 64


def test_the_summary_of_lenet(capsys):
    assert summary.main([LENET, *SHAPE]) == 0
    said = capsys.readouterr().out
    assert "431,080" in said
    assert "146,752,000" in said
    assert all(len(line) <= 100 for line in said.splitlines())


def test_the_graph_folds_what_is_in_place(work):
    found = draw.boxes_and_edges(nets.graph.build(nets.load("net.prototxt").to_proto()), {"conv1": (2, 6, 4, 4)})
    boxes = {box.lines[0]: box.lines[1:] for box in found[0]}
    assert boxes["conv1"] == ["Convolution 6, 3x3 /2 pad 1", "+ bn (BatchNorm)", "+ relu (ReLU)"]
    assert boxes["pool"] == ["AVE pooling, whole image"]
    assert boxes["late"] == ["ReLU"]
    keys = {box.key: box.lines[0] for box in found[0]}
    edges = {(keys[edge.start], keys[edge.end]): edge.label for edge in found[1]}
    assert edges["conv1", "up"] == "2x6x4x4"
    assert edges["data", "conv1"] == ""


@pytest.mark.parametrize("kind", ["svg", "png", "dot"])
def test_the_graph_is_drawn(work, kind):
    assert draw.main([LENET, f"net.{kind}", "--phase", "TRAIN", *SHAPE]) == 0
    content = (work / f"net.{kind}").read_bytes()
    if kind == "png":
        Image.open(work / "net.png").verify()
    else:
        assert b"Convolution 20, 5x5" in content
        assert b"64x20x24x24" in content
        assert b"relu1" in content


def test_an_svg_shows_all_of_the_graph(work):
    assert draw.main(["net.prototxt", "net.svg"]) == 0
    said = (work / "net.svg").read_text()
    width, height = map(float, re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', said).groups())
    box = [float(part) for part in re.search(r'viewBox="([^"]+)"', said)[1].split()]
    assert box == pytest.approx([0, 0, width, height], abs=1)


def test_names_with_signs_of_markup_are_drawn(work):
    signs = '<a<b>&"\\n>'
    (work / "net.prototxt").write_text(
        "layer { name: 'd' type: 'Input' top: '%s' input_param { shape { dim: 2 } } }"
        "layer { name: 's' type: 'Slice' bottom: '%s' top: 'x%s' top: 'y' slice_param { axis: 0 } }"
        "layer { name: 't' type: 'TanH' bottom: 'x%s' top: 't' }".replace("%s", signs.replace("\\", "\\\\"))
    )
    assert draw.main(["net.prototxt", "net.svg"]) == 0
    said = "".join(ElementTree.parse(work / "net.svg").getroot().itertext())
    assert signs in said
    assert f"x{signs}" in said


def test_a_graph_without_its_store_is_drawn_without_shapes(work):
    (work / "net.prototxt").write_text(
        'layer { name: "data" type: "Data" top: "data" data_param { source: "nowhere" batch_size: 2 } }'
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 5 } }'
    )
    assert draw.main(["net.prototxt", "net.dot"]) == 0
    assert "InnerProduct 5" in (work / "net.dot").read_text()


FORK = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 6 kernel_size: 1 } }
layer { name: "mish" type: "Mish" bottom: "conv" top: "conv" }
layer { name: "warp" type: "Warp" bottom: "conv" top: "warp" }
layer { name: "fc" type: "InnerProduct" bottom: "warp" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "side" type: "InnerProduct" bottom: "conv" top: "side" inner_product_param { num_output: 5 } }
layer { name: "user" type: "Python" bottom: "side" top: "user" python_param { module: "none" layer: "None" } }
layer { name: "sum" type: "Eltwise" bottom: "fc" bottom: "side" top: "sum" }
layer { name: "shown" type: "Softmx" bottom: "sum" top: "shown" include { phase: TEST } }
"""


def drawn(name: str, *flags: str) -> tuple[set[str], dict[tuple[str, str], list[str]]]:
    """The labels of dashed boxes, and the words at each edge between two boxes by the first word of their labels."""
    import pygraphviz  # noqa: PLC0415  # an optional dependency

    assert draw.main([name, "net.dot", *flags]) == 0
    found = pygraphviz.AGraph(string=Path("net.dot").read_text())
    words = {box: box.attr["label"].split("\\n") for box in found.nodes()}
    dashed = {" ".join(words[box]) for box in found.nodes() if "dashed" in box.attr["style"]}
    edges = {(words[edge[0]][0], words[edge[1]][0]): edge.attr["label"] or "" for edge in found.edges()}
    return dashed, {key: re.findall(r"[\w.]+", re.sub("<[^>]*>", " ", label)) for key, label in edges.items()}


def test_layers_of_unknown_types_are_drawn(work, caplog):
    (work / "fork.prototxt").write_text(FORK)
    dashed, edges = drawn("fork.prototxt")
    assert dashed == {"mish Mish", "warp Warp", "shown Softmx"}
    assert edges == {
        ("data", "conv"): ["2x3x8x8"],
        ("conv", "mish"): ["2x6x8x8"],
        ("mish", "warp"): ["conv", "2x6x8x8"],
        ("mish", "side"): ["conv", "2x6x8x8"],
        ("warp", "fc"): [],
        ("fc", "sum"): [],
        ("side", "sum"): ["2x5"],
        ("side", "user"): ["2x5"],
        ("user", "user"): [],
        ("sum", "shown"): [],
        ("shown", "shown"): [],
    }
    assert [record.getMessage() for record in caplog.records] == [
        "with a dashed border: layer 'mish' (Mish): no layer of this type is known",
        "with a dashed border: layer 'warp' (Warp): no layer of this type is known",
        "with a dashed border: layer 'shown' (Softmx): no layer of this type is known, did you mean Softmax?",
    ]
    assert drawn("fork.prototxt", "--phase", "TRAIN")[0] == {"mish Mish", "warp Warp"}


def test_shapes_behind_unknown_layers_may_be_said(work):
    (work / "fork.prototxt").write_text(FORK)
    _, edges = drawn("fork.prototxt", "--shape", "warp=2,7")
    assert edges["warp", "fc"] == ["2x7"]
    assert edges["fc", "sum"] == edges["sum", "shown"] == ["2x5"]
    assert edges["shown", "shown"] == []
    with pytest.raises(CaffeError, match="'mish', which is no input"):
        drawn("fork.prototxt", "--shape", "mish=2,7")


def test_unknown_fields_of_unknown_layers_are_ignored_where_one_says_so(work):
    (work / "fork.prototxt").write_text(FORK.replace('top: "warp"', 'top: "warp" warp_param { by: 2 }'))
    with pytest.raises(CaffeError) as error:
        draw.main(["fork.prototxt", "net.dot"])
    assert str(error.value).startswith("fork.prototxt:5:62: unknown field 'warp_param' in LayerParameter")
    assert "no layer of this type" not in str(error.value)
    with pytest.warns(CaffeWarning, match="ignored 5:62: unknown field 'warp_param'"):
        assert "warp Warp" in drawn("fork.prototxt", "--allow-unknown")[0]


def test_a_type_that_is_no_value_of_the_schema_is_drawn_as_unknown(work):
    (work / "v1.prototxt").write_text(
        'input: "x" input_shape { dim: 2 }\nlayers { name: "w" type: WARP bottom: "x" top: "y" }'
    )
    with pytest.warns(CaffeWarning, match="ignored 2:20: unknown value WARP of type"):
        dashed, edges = drawn("v1.prototxt", "--allow-unknown")
    assert dashed == {"w unknown type"}
    assert edges == {("x", "w"): ["2"], ("w", "y"): []}


def test_blobs_that_unknown_layers_lack_are_refused(work):
    (work / "fork.prototxt").write_text(FORK.replace('bottom: "conv" top: "warp"', 'bottom: "cov" top: "data"'))
    with pytest.raises(CaffeError) as error:
        draw.main(["fork.prototxt", "net.dot"])
    assert str(error.value) == (
        "net '': layer 'warp' (Warp): bottom 'cov' is made by no layer, did you mean conv?; "
        "layer 'warp' (Warp): top 'data' is already made by layer 'data'; "
        "layer 'fc' (InnerProduct): bottom 'warp' is made by no layer"
    )
    assert not Path("net.dot").exists()


def test_the_log_of_the_original_is_read():
    found = read_log(Path(LOG))
    assert found.loss[0] == (0, pytest.approx(2.23, abs=0.1))
    assert found.loss[-1] == (20, 1.62214)
    assert found.tests["accuracy"][-1] == (20, 0.6625)
    assert [at for at, _ in found.tests["loss"]] == [0, 5, 10, 15, 20]
    assert found.rate[-1] == (18, 0.044163)


def test_what_a_resumed_run_did_again_counts_once(work):
    lines = "Iteration {0}, Testing net (#0)\n    Test net output #0: loss = {1}\nIteration {0}, loss = {1}\n"
    again = "Restoring previous solver status from snapshots/x_iter_20.solverstate\n"
    (work / "run.log").write_text(lines.format(0, 3) + lines.format(20, 2) + again + lines.format(20, 1))
    found = read_log(work / "run.log")
    assert found.loss == found.tests["loss"] == [(0, 3.0), (20, 1.0)]


def test_our_log_is_read(work):
    (work / "run.log").write_text(
        "I20261121 01:59:05.85  711 solver.py:241] Iteration 200 (95.2 iter/s, 1.05s/100 iters), loss = 0.21\n"
        "I20261121 01:59:05.85  711 solver.py:266] Iteration 200, Testing net (#1)\n"
        "I20261121 01:59:05.85  711 solver.py:285]     Test net output #0: accuracy = 0.9\n"
        "I20261121 01:59:05.85  711 solver.py:241] Iteration 300 (95.2 iter/s, 1.05s/100 iters), loss = nan\n"
        "I20261121 01:59:05.85  711 solver.py:247] Iteration 300, lr = 1e-05\n"
    )
    found = read_log(work / "run.log")
    assert found.loss[0] == (200, 0.21)
    assert np.isnan(found.loss[1][1])
    assert found.tests == {"net 1: accuracy": [(200, 0.9)]}
    assert found.rate == [(300, 1e-5)]
    assert plot.main(["run.log", LOG, "curves.svg"]) == 0


def test_curves_and_weights_are_plotted(work):
    assert plot.main([LOG, "curves.png"]) == 0
    assert plot.main(["--weights", "net.prototxt", "net.caffemodel", "weights.png"]) == 0
    for name in ("curves.png", "weights.png"):
        with Image.open(work / name) as picture:
            assert min(picture.size) > 500
            assert len(set(picture.convert("L").resize((50, 50)).tobytes())) > 10


def test_shapes_on_the_edges_are_those_of_the_level(work):
    (work / "levels.prototxt").write_text(
        'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 3 } } }'
        'layer { name: "ip" type: "InnerProduct" bottom: "d" top: "y" inner_product_param { num_output: 57 }'
        " include { min_level: 2 } }"
    )
    assert draw.main(["levels.prototxt", "levels.dot", "--level", "2"]) == 0
    assert "1x57" in (work / "levels.dot").read_text()


@pytest.mark.parametrize(
    ("command", "argv", "message"),
    [
        (plot, ["net.prototxt", "x.png"], "no line of a training log"),
        (plot, [LOG, "x.txt"], "ends in .png"),
        (plot, ["x.png"], "name at least one log"),
        (plot, ["--weights", LOG, "x.png"], "MODEL WEIGHTS OUT.png"),
        (plot, ["missing.log", "x.png"], "cannot be read"),
        (draw, ["net.prototxt", "x.gif"], "ends in .svg"),
        (draw, ["net.prototxt", "no/x.dot"], "cannot be written"),
        (draw, ["missing.prototxt", "x.dot"], "cannot be read"),
        (summary, ["net.prototxt", "--shape", "data"], "give NAME=N,C,H,W"),
    ],
)
def test_bad_input_is_one_line(work, command, argv, message):
    with pytest.raises(CaffeError, match=message) as error:
        command.main(argv)
    assert "\n" not in str(error.value)
    assert not list(work.glob("x.*"))


@pytest.mark.parametrize(
    ("package", "command", "argv"),
    [("matplotlib", plot, [LOG, "x.png"]), ("pygraphviz", draw, ["net.prototxt", "x.svg"])],
)
def test_an_absent_package_is_one_line(work, monkeypatch, package, command, argv):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(CaffeError, match=rf"needs the {package} package: pip install 'caffetorch\[plot\]'"):
        command.main(argv)


def test_filters_of_a_dense_layer_have_the_shape_of_the_images(work):
    (work / "fc.prototxt").write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 1 dim: 4 dim: 6 } } }'
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 5 } }'
    )
    net = nets.load("fc.prototxt")
    weight = np.random.default_rng(0).normal(size=(5, 24)).astype(np.float32)
    with torch.no_grad():
        net.layer("fc").blobs[0].copy_(torch.from_numpy(weight))
    name, filters = plot.first_filters(net)
    assert name == "fc"
    assert np.array_equal(filters, weight.reshape(5, 1, 4, 6))
    tiles, said = plot.filter_tiles(filters)
    assert tiles.shape == (5, 4, 6, 1)
    assert (tiles.min(), tiles.max()) == (0, 1)
    assert said.startswith("5 filters of 4 x 6 pixels, in grey")


def test_colours_of_filters_are_in_the_nets_order():
    weight = np.zeros((1, 3, 2, 2), np.float32)
    weight[0, 0] = 1
    assert plot.filter_tiles(weight, "BGR")[0][0, 0, 0].tolist() == [0, 0, 1]
    assert plot.filter_tiles(weight, "RGB")[0][0, 0, 0].tolist() == [1, 0, 0]


def test_weights_without_filters_are_plotted(work):
    (work / "fc.prototxt").write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }'
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 5 } }'
    )
    net = nets.load("fc.prototxt")
    with torch.no_grad():
        net.layer("fc").blobs[0].normal_()
    plot.plot_weights(net, Path("fc.png"))
    assert (work / "fc.png").exists()


def test_the_summary_counts_each_step_of_a_sequence():
    options = "recurrent_param { num_output: 4 }"
    net = nets.load(
        text.parse_net(f"""
        layer {{ name: "x" type: "Input" top: "x" top: "cont" top: "gain" input_param {{
          shape {{ dim: [5, 2, 3] }} shape {{ dim: [5, 2] }} shape {{ dim: 3 }} }} }}
        layer {{ name: "scale" type: "Scale" bottom: "x" bottom: "gain" top: "scale" scale_param {{ axis: 2 }} }}
        layer {{ name: "lstm" type: "LSTM" bottom: "scale" bottom: "cont" top: "lstm" {options} }}
        layer {{ name: "rnn" type: "RNN" bottom: "scale" bottom: "cont" top: "rnn" {options} }}""")
    )
    rows = {row.name: row for row in summary.rows(net)}
    assert rows["scale"].multiply_adds == 5 * 2 * 3
    assert rows["lstm"].parameters == 4 * 4 * (3 + 1 + 4)
    assert rows["lstm"].multiply_adds == 5 * 2 * 4 * 4 * (3 + 4)
    assert rows["rnn"].parameters == 4 * (3 + 1 + 4) + 4 * (4 + 1)
    assert rows["rnn"].multiply_adds == 5 * 2 * 4 * (3 + 4 + 4)


def test_windows_that_are_not_square_are_drawn_with_both_sides(work):
    sides = "kernel_h: 3 kernel_w: 1 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0"
    (work / "sides.prototxt").write_text(
        NET.replace("kernel_size: 3 stride: 2 pad: 1", sides).replace("global_pooling: true", sides)
    )
    assert draw.main(["sides.prototxt", "net.dot"]) == 0
    said = (work / "net.dot").read_text()
    assert "Convolution 6, 3x1 /2x1 pad 1x0" in said
    assert "AVE pooling, 3x1 /2x1 pad 1x0" in said


def test_a_net_without_weights_has_none_to_show(work):
    (work / "bare.prototxt").write_text(
        'name: "bare" layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 } } }'
        'layer { name: "t" type: "TanH" bottom: "d" top: "t" }'
    )
    with pytest.raises(CaffeError, match="net 'bare' has no layers with weights to show"):
        plot.plot_weights(nets.load("bare.prototxt"), work / "x.png")
