"""The page of results: what it says, that it needs no network, and that a browser shows it at all widths."""

import html
import re
import shutil
import subprocess
from html.parser import HTMLParser
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch

import nets
from nets.plot import filter_tiles
from nets.report import Figure, Report, Weights, machine, write_report
from nets.report.chart import Axis, Line, lines, number
from nets.weights import save_weights
from protos.errors import CaffeError, DataError, WeightsError

LOG = Path(__file__).parents[1] / "golden" / "formats" / "train.log"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
VOID = {"meta", "img", "br", "link", "input", "hr"}

NET = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 6 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "fc" type: "InnerProduct" bottom: "conv1" top: "fc"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
# Of ten records: label, probabilities of the classes cat, dog and <b>.
RECORDS = [
    *[(0, (0.8, 0.1, 0.1))] * 4,
    *[(1, (0.2, 0.7, 0.1))] * 2,
    (1, (0.9, 0.05, 0.05)),
    *[(2, (0.1, 0.3, 0.6))] * 2,
    (2, (0.25, 0.5, 0.25)),
]
NAMES = ["cat", "dog", "<b>"]


class Page(HTMLParser):
    """The text and the elements of a page, by the section they are in ("" outside of all)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text()
        self.texts: dict[str, str] = {}
        self.tags: list[tuple[str, str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self._section = ""
        self.feed(self.source)
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        if tag == "section":
            self._section = dict(attrs)["id"]
        self.tags.append((self._section, tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        if tag == "section":
            self._section = ""

    def handle_data(self, data):
        if "style" not in self._open:
            self.texts[self._section] = self.texts.get(self._section, "") + data

    def all(self, tag, section=None):
        return [attrs for where, name, attrs in self.tags if name == tag and section in (None, where)]


@pytest.fixture
def folder(tmp_path):
    """The files that a report shows."""
    (tmp_path / "net.prototxt").write_text(NET)
    save_weights(nets.load(tmp_path / "net.prototxt"), tmp_path / "net.caffemodel")
    labels, probabilities = zip(*RECORDS, strict=True)
    images = np.random.default_rng(0).integers(0, 256, (len(RECORDS), 8, 8, 3), np.uint8)
    arrays = {"labels": labels, "probabilities": probabilities, "class_names": NAMES}
    np.savez(tmp_path / "images.npz", images=images, **arrays)
    np.savez(tmp_path / "table.npz", **arrays)
    (tmp_path / "net.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="3000" height="90"></svg>')
    return tmp_path


def written(folder, **contents):
    report = Report(**{"title": "An <experiment> & more", **contents})
    write_report(report, folder / "report.html")
    return Page(folder / "report.html")


def test_paths_that_are_no_text_do_not_hinder(folder):
    page = written(folder, commands=["cd m\udcfcll"])
    assert "cd m?ll" in " ".join(page.texts.values())


def full(folder, **contents):
    return written(
        folder,
        **{
            "description": 'It said "<script>alert(1)</script>"',
            "figures": [
                Figure("accuracy", "61.2%", "61%", True),
                Figure("log loss", "0.71", "below <0.60>", False, "too few & too short epochs"),
                Figure("time", "3 s"),
            ],
            "graph_svg": folder / "net.svg",
            "logs": [("first <run>", LOG)],
            "epoch": 5,
            "predictions": folder / "images.npz",
            "weights": Weights(folder / "net.prototxt", folder / "net.caffemodel"),
            "times": [("convert", 1.5), ("train", 75.0)],
            "machine": machine(),
            "commands": ["cd work && ls", "python -m nets.train solver.prototxt"],
            "files": [("weights", folder / "net.caffemodel"), ("gone", folder / "gone.onnx")],
        }
        | contents,
    )


def test_a_page_has_all_sections_and_links_them(folder):
    page = full(folder)
    expected = ["figures", "training", "classes", "confusion", "images", "calibration", "net", "weights", "times"]
    assert [attrs["id"] for attrs in page.all("section")] == [*expected, "repeat"]
    assert [attrs["href"] for attrs in page.all("a")] == [f"#{attrs['id']}" for attrs in page.all("section")]
    assert len(page.all("h1")) == 1
    assert len(page.all("h2")) == len(page.all("section"))
    assert len(page.source) < 1_500_000


def test_what_users_wrote_is_text(folder):
    page = full(folder)
    assert not page.all("script")
    assert not page.all("b")
    assert not page.all("experiment")
    assert "An <experiment> & more" in page.texts[""]
    assert 'It said "<script>alert(1)</script>"' in page.texts[""]
    assert "first <run>" in page.texts["training"]
    assert "<b>" in page.texts["classes"]
    assert "below <0.60>" in page.texts["figures"]


def test_nothing_is_fetched(folder):
    page = full(folder)
    for _, _, attrs in page.tags:
        for name in ("src", "href", "srcset", "data", "poster", "action"):
            assert name not in attrs or attrs[name].startswith(("data:image/", "#"))
        assert not {name for name in attrs if name.startswith("on")}
    assert not re.search(r"url\(|@import|https?:", page.source)
    policy = next(attrs["content"] for attrs in page.all("meta") if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_figures_reached_and_missed(folder):
    page = full(folder)
    assert "1 of 2 figures reached; missed: log loss." in page.texts[""]
    said = page.texts["figures"]
    assert said.index("✓ reached") < said.index("✗ missed")
    assert "too few & too short epochs" in said
    assert written(folder, figures=[Figure("a", "1", "2", False)]).texts["figures"].count("no reason is known") == 1


def test_curves_are_drawn_by_epoch(folder):
    page = full(folder)
    said = page.texts["training"]
    assert "epoch (5 iterations)" in said
    assert "0.6625" in said  # of the log's last test, at iteration 20
    assert [attrs["aria-label"].split(" by ")[0] for attrs in page.all("svg", "training")] == [
        "loss",
        "test score",
        "learning rate",
    ]
    for attrs in page.all("polyline", "training"):
        points = [tuple(map(float, point.split(","))) for point in attrs["points"].split()]
        assert all(0 <= x <= 440 and 0 <= y <= 260 for x, y in points)
    assert "iteration" in written(folder, logs=[("run", LOG)]).texts["training"]


def test_a_curve_with_a_nan_is_broken_and_says_so(folder):
    (folder / "x.log").write_text(
        "".join(
            f"Iteration {i}, loss = {'nan' if i == 3 else 2 - 0.1 * i}\nIteration {i}, lr = 0.1\n" for i in range(7)
        )
    )
    page = written(folder, logs=[("x", folder / "x.log")])
    assert len(page.all("polyline", "training")) == 2
    assert "1 values are no numbers" in page.texts["training"]
    assert "The learning rate was 0.1 throughout" in page.texts["training"]


def test_a_long_curve_is_drawn_as_means(folder):
    (folder / "x.log").write_text("".join(f"Iteration {i}, loss = {1 + i % 2}\n" for i in range(2000)))
    page = written(folder, logs=[("x", folder / "x.log")])
    points = page.all("polyline", "training")[0]["points"].split()
    assert 200 < len(points) <= 300
    assert "means of 7 values" in page.texts["training"]


def test_accuracy_and_confusion(folder):
    page = full(folder)
    said = page.texts["classes"]
    assert "8 of 10 are right: an accuracy of 80.00%" in said
    reference = -(4 * log(0.8) + 2 * log(0.7) + log(0.05) + 2 * log(0.6) + log(0.25)) / 10
    assert f"log loss is {reference:.4f}" in said
    for share in ("100.0%", "66.7%"):
        assert share in said
    assert "cat (1)" in said
    cells = [attrs for attrs in page.all("span", "confusion") if "--v" in (attrs.get("style") or "")]
    assert [attrs["class"].split()[0] for attrs in cells] == ["right" if k % 4 == 0 else "wrong" for k in range(9)]
    assert "cat4··dog12·<b>·12" in page.texts["confusion"]


def test_pictures_of_both_kinds(folder):
    page = full(folder)
    assert "Right: 8 of 8" in page.texts["images"]
    assert "Wrong: 2 of 2" in page.texts["images"]
    marks = [attrs["class"] for attrs in page.all("figure", "images")]
    assert marks == ["right"] * 8 + ["wrong"] * 2
    alts = [attrs["alt"] for attrs in page.all("img", "images")]
    assert alts[:3] == ["cat, predicted right", "dog, predicted right", "<b>, predicted right"]
    assert alts[-2:] == ["dog, predicted cat", "<b>, predicted dog"]  # the surest mistake first
    assert page.texts["images"].count("✗") == 2
    assert all(attrs.get("alt") for attrs in page.all("img"))


def test_a_table_has_calibration_and_no_pictures(folder):
    page = full(folder, predictions=folder / "table.npz")
    assert "images" not in page.texts
    # by tenths: 0.5 wrong once, 0.6 right twice, 0.7 right twice, 0.8 right four times, 0.9 wrong once
    error = (0.5 + 2 * 0.4 + 2 * 0.3 + 4 * 0.2 + 0.9) / 10
    assert f"(expected calibration error) is {100 * error:.1f} percentage points" in page.texts["calibration"]
    assert len(page.all("svg", "calibration")) == 2


def test_outputs_that_are_no_probabilities(folder):
    np.savez(folder / "x.npz", labels=[0, 1], probabilities=[[2.0, 0.5], [-0.1, 0.9]], class_names=["a", "b"])
    page = written(folder, predictions=folder / "x.npz")
    assert "no probabilities" in page.texts["calibration"]
    assert "log loss" not in page.texts["classes"]


def test_many_classes_have_their_mistakes_listed(folder):
    labels = np.arange(40)
    np.savez(
        folder / "x.npz",
        labels=labels,
        probabilities=np.eye(40)[(labels + (labels == 7)) % 40],
        class_names=[f"kind {k}" for k in labels],
    )
    said = written(folder, predictions=folder / "x.npz").texts["confusion"]
    assert "The 1 commonest mistakes among 40 classes" in said
    assert "kind 7kind 81" in said


def test_the_net_and_its_weights(folder):
    page = full(folder)
    assert "Convolution" in page.texts["net"]
    assert "2x6x6x6" in page.texts["net"]
    assert "6 filters of 3 x 3 pixels, in colour" in page.texts["weights"]
    assert len(page.all("img", "weights")) == 6
    assert "162 values" in page.texts["weights"]
    assert "648 values" in page.texts["weights"]
    graph = page.all("img", "net")[0]
    assert graph["src"].startswith("data:image/svg+xml;base64,")


def test_filters_of_a_dense_layer_on_images(folder):
    (folder / "fc.prototxt").write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 8 dim: 8 } } }'
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 5 } }'
    )
    save_weights(nets.load(folder / "fc.prototxt"), folder / "fc.caffemodel")
    page = written(folder, weights=Weights(folder / "fc.prototxt", folder / "fc.caffemodel"))
    assert "Filters of fc5 filters of 8 x 8 pixels, in grey" in page.texts["weights"]
    assert {attrs["width"] for attrs in page.all("img", "weights")} == {"8"}


def test_times_machine_and_commands(folder):
    page = full(folder)
    assert "1 min 15 s" in page.texts["times"]
    assert "1 min 16 s" in page.texts["times"]
    for name in ("device", "processor", "threads", "Python", "torch", "caffetorch"):
        assert name in page.texts["times"]
    said = page.texts["repeat"]
    assert "cd work && ls\npython -m nets.train solver.prototxt\n" in said
    assert "net.caffemodel" in said
    assert str(folder) not in said
    assert "not there" in said


def test_what_is_not_given_is_said(folder):
    page = written(folder, graph_missing="the program dot is not installed")
    assert [attrs["id"] for attrs in page.all("section")] == [
        "figures", "training", "classes", "net", "weights", "times", "repeat",
    ]  # fmt: skip
    assert "There is no picture of the graph: the program dot is not installed." in page.texts["net"]
    for section, said in {
        "figures": "No figures were given.",
        "training": "No training log was given.",
        "classes": "No predictions were given.",
        "net": "No model was given.",
        "weights": "No weights were given.",
        "times": "No times were taken.",
        "repeat": "No commands were given.",
    }.items():
        assert said in page.texts[section]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": [0]}, "there is no probabilities, class_names in it"),
        ({"labels": [0, 1], "probabilities": [[1.0]], "class_names": ["a"]}, "the shapes do not fit together: labels"),
        ({"labels": [3], "probabilities": [[1.0]], "class_names": ["a"]}, "label 3 is out of range"),
        ({"labels": [], "probabilities": np.zeros((0, 1)), "class_names": ["a"]}, "do not fit together"),
        (
            {"labels": [0], "probabilities": [[1.0]], "class_names": ["a"], "images": np.zeros((1, 3, 8, 8))},
            "uint8, not .1, 3, 8, 8. of float64",
        ),
    ],
)
def test_predictions_that_do_not_fit(folder, arrays, message):
    np.savez(folder / "x.npz", **arrays)
    with pytest.raises(DataError, match=message):
        written(folder, predictions=folder / "x.npz")
    assert not (folder / "report.html").exists()


def test_files_that_are_not_what_they_should_be(folder):
    with pytest.raises(DataError, match=r"net\.svg: no \.npz file"):
        written(folder, predictions=folder / "net.svg")
    with pytest.raises(CaffeError, match="cannot be read"):
        written(folder, graph_svg=folder / "gone.svg")
    with pytest.raises(WeightsError, match="layer 'fc' has no filters"):
        written(folder, weights=Weights(folder / "net.prototxt", folder / "net.caffemodel", "fc"))
    with pytest.raises(CaffeError, match=r"gone/report\.html: cannot be written"):
        write_report(Report("x"), folder / "gone" / "report.html")


@pytest.mark.parametrize(
    ("low", "high", "logarithmic", "expected"),
    [
        (0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-0.3, 0.4, False, [-0.2, 0, 0.2, 0.4]),
        (0, 25000, False, [0, 5000, 10000, 15000, 20000, 25000]),
        (0.01, 2, True, [0.01, 0.03, 0.1, 0.3, 1]),
        (1e-6, 1e6, True, [1e-6, 1e-3, 1, 1e3, 1e6]),
    ],
)
def test_ticks_are_round_values(low, high, logarithmic, expected):
    assert Axis(low, high, 0, 100, logarithmic).ticks(5) == pytest.approx(expected)


def test_an_axis_is_logarithmic_where_most_would_be_hidden():
    assert "logarithmic axis" in lines([Line("loss", [(0, 90.0), (1, 0.5), (2, 0.4)])], "loss", "iteration")
    assert "logarithmic axis" not in lines([Line("loss", [(0, 2.3), (1, 0.5), (2, 0.4)])], "loss", "iteration")
    assert not lines([Line("loss", [(0, float("nan"))])], "loss", "iteration")


# ---- in a browser


WRAPPER = """<!DOCTYPE html><body><pre id="said"></pre>{frames}
<script>
window.onload = () => {{
  const said = [];
  for (const frame of document.querySelectorAll("iframe")) {{
    const root = frame.contentDocument.documentElement;
    for (const one of frame.contentDocument.querySelectorAll("body *"))
      if (!one.closest(".scroll") && one.getBoundingClientRect().right > root.clientWidth + 1)
        said.push(`too wide: ${{one.tagName}} ${{one.className}}`);
    said.push(`width ${{frame.width}}: ${{root.clientWidth}} ${{root.scrollWidth}}`);
    for (const image of frame.contentDocument.images)
      if (!image.complete || !image.naturalWidth) said.push("broken: " + image.alt);
  }}
  document.getElementById("said").textContent = said.join("\\n");
}};
</script>"""


def chromium(folder, page):
    """What the browser prints, and what it says of it."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
    command += [f"--user-data-dir={folder / 'browser'}", "--enable-logging=stderr", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_shows_it_at_all_widths_without_a_complaint(folder):
    names = [f"a_class_of_an_uncommonly_long_name_{k}" for k in range(25)]
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(25), 400)
    np.savez(folder / "x.npz", labels=rng.integers(0, 25, 400), probabilities=probabilities, class_names=names,
             images=rng.integers(0, 256, (400, 8, 8), np.uint8))  # fmt: skip
    long = "x" * 300
    page = full(folder, title=long, description=long, predictions=folder / "x.npz", logs=[(long, LOG)],
                figures=[Figure(long, long, long, False, long)], commands=[long, f"--{long}"],
                files=[(long, folder / "net.svg")], machine=[("processor", long)])  # fmt: skip
    frames = "".join(
        f'<iframe width="{width}" height="900" srcdoc="{html.escape(page.source)}"></iframe>'
        for width in (360, 768, 1600)
    )
    (folder / "wrapper.html").write_text(WRAPPER.format(frames=frames))
    out, complaints = chromium(folder, folder / "wrapper.html")
    said = html.unescape(re.search(r'<pre id="said">(.*?)</pre>', out, re.DOTALL)[1]).splitlines()
    assert len(said) == 3, said
    for line, width in zip(said, (360, 768, 1600), strict=True):
        assert line == f"width {width}: {width} {width}"
    assert complaints == []
    assert chromium(folder, folder / "report.html")[1] == []


def test_a_class_without_records_is_left_out_of_the_accuracies(folder):
    labels, shares = zip(*[record for record in RECORDS if record[0] != 1], strict=True)
    np.savez(folder / "two.npz", labels=labels, probabilities=shares, class_names=NAMES)
    page = written(folder, predictions=folder / "two.npz")
    assert "6 of 7 are right: an accuracy of 85.71%" in page.texts["classes"]
    table = page.source.split('class="classes"')[1].split("</table>")[0]
    assert ">cat</th>" in table
    assert ">dog</th>" not in table


@pytest.mark.parametrize(
    ("count", "said"), [(1, "648 values, mean 0, deviation 0, 1 are no numbers"), (648, "fc: no weight is a number")]
)
def test_weights_that_are_no_numbers_are_told(folder, count, said):
    net = nets.load(folder / "net.prototxt")
    with torch.no_grad():
        net.layer("fc").blobs[0].zero_().view(-1)[:count] = np.inf
    save_weights(net, folder / "net.caffemodel")
    page = written(folder, weights=Weights(folder / "net.prototxt", folder / "net.caffemodel"))
    assert said in page.texts["weights"]


def test_weights_that_are_missing_are_named(folder):
    (folder / "net.prototxt").write_text(NET.replace('"fc"', '"other"'))
    with pytest.raises(WeightsError, match=r"net.caffemodel: there are no weights for other$"):
        written(folder, weights=Weights(folder / "net.prototxt", folder / "net.caffemodel"))


def test_weights_that_are_no_numbers_have_the_colour_of_0():
    weight = np.array([[-1, np.nan, np.inf, 1]], np.float32).reshape(1, 1, 2, 2)
    assert filter_tiles(weight)[0].ravel().tolist() == [0, 0.5, 0.5, 1]


@pytest.mark.parametrize(("value", "said"), [(np.nan, "nan"), (-np.inf, "-inf"), (3e13, "3e+13"), (-2.5e6, "-2.5 M")])
def test_figures_that_are_no_or_large_numbers(value, said):
    assert number(value) == said
