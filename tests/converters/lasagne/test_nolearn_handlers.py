"""nolearn's handlers, tables, pictures and pickles."""

import pickle

import numpy as np
import pytest

import converters
from converters.lasagne import layers, theano
from converters.lasagne.nolearn import NeuralNet, PrintLayerInfo, TrainSplit, visualize
from converters.lasagne.nolearn.handlers import RememberBestWeights, RestoreBestWeights, SaveWeights
from converters.lasagne.nonlinearities import softmax
from converters.lasagne.theano.config import config
from converters.lasagne.updates import adam
from protos.errors import CaffeError
from tests.converters.lasagne.test_nolearn import data, small


@pytest.fixture(autouse=True)
def _float32(monkeypatch):
    monkeypatch.setattr(config, "floatX", "float32")


def convnet(**options):
    stack = [
        (layers.InputLayer, {"name": "in", "shape": (None, 1, 12, 12)}),
        (layers.Conv2DLayer, {"name": "c1", "num_filters": 4, "filter_size": (5, 3)}),
        (layers.MaxPool2DLayer, {"name": "p1", "pool_size": 2}),
        (layers.Conv2DLayer, {"name": "c2", "num_filters": 2, "filter_size": 3}),
        (layers.DenseLayer, {"name": "out", "num_units": 3, "nonlinearity": softmax}),
    ]
    return NeuralNet(stack, update=adam, update_learning_rate=0.01, max_epochs=2, **options)


def images(n=12):
    rng = np.random.RandomState(0)
    return rng.normal(size=(n, 1, 12, 12)).astype("float32"), (np.arange(n) % 3).astype("int32")


def test_capacities_are_printed_when_asked_for():
    """A filter of 3 behind a pooling by 2 spans 6 pixels; the field grows from 5 x 3 by 2 * 2."""
    net = convnet(verbose=2)
    net.layers_ = {}
    net.__dict__.pop("layers_")
    net.verbose = 0
    net.initialize()
    net.verbose = 2
    lines = PrintLayerInfo().message(net).splitlines()
    assert lines[4].split() == ["name", "size", "total", "cap.Y", "cap.X", "cov.Y", "cov.X"]
    assert lines[6].split() == ["in", "1x12x12", "144", "100.00", "100.00", "100.00", "100.00"]
    assert lines[7].split() == ["c1", "4x8x10", "320", "100.00", "100.00", "41.67", "25.00"]
    assert lines[8].split() == ["p1", "4x4x5", "80", "100.00", "100.00", "41.67", "25.00"]
    assert lines[9].split() == ["c2", "2x2x3", "12", "66.67", "85.71", "75.00", "58.33"]
    assert lines[10].split() == ["out", "3", "3", "100.00", "100.00", "100.00", "100.00"]
    assert lines[12] == "Explanation"
    net.verbose = 3
    detailed = PrintLayerInfo().message(net).splitlines()
    assert detailed[9].split()[-4:] == ["6", "6", "9", "7"]
    low = visualize.get_conv_infos(net, min_capacity=70).splitlines()
    assert low[5].startswith("\x1b[35mc2\x1b[0m")


def test_weights_are_saved_remembered_and_restored(tmp_path, capsys):
    x, y = data()
    best = RememberBestWeights(verbose=1)
    save = SaveWeights(str(tmp_path / "{timestamp}_{epoch}.pickle"), pickle=True, verbose=1)
    net = small(on_epoch_finished=[best, save], on_training_finished=[RestoreBestWeights(best)])
    net.fit(x, y)
    said = capsys.readouterr().out
    assert f"Loaded best weights from epoch {best.best_weights_epoch} where valid_loss was" in said
    paths = sorted(tmp_path.glob("*.pickle"))
    assert len(paths) == 3
    assert all(path.name.startswith("20") for path in paths)
    again = small()
    converters.load_weights(again, paths[best.best_weights_epoch - 1])
    np.testing.assert_array_equal(again.predict_proba(x), net.predict_proba(x))


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("instances", [False, True])
def test_a_net_is_pickled_whole(trained, instances):
    x, y = data()
    if instances:
        hidden = layers.dropout(layers.DenseLayer(layers.InputLayer((None, 4)), 5), 0.2)
        net = NeuralNet(layers.DenseLayer(hidden, 2, nonlinearity=softmax), max_epochs=1,
                        update_learning_rate=theano.shared(np.float32(0.1)))  # fmt: skip
    else:
        net = small(use_label_encoder=True)
    if trained:
        net.fit(x, y)
    again = pickle.loads(pickle.dumps(net, -1))
    assert again.train_history_ == net.train_history_
    if trained:
        np.testing.assert_array_equal(again.predict(x), net.predict(x))
    again.partial_fit(x, y)
    assert len(again.train_history_) == len(net.train_history_) + 1


def test_a_shared_variable_is_pickled_as_an_array():
    rate = theano.shared(np.float32(0.1), "rate")
    pickled = pickle.dumps(rate, -1)
    assert b"torch" not in pickled  # a tensor of a GPU could not be read where there is none
    again = pickle.loads(pickled)
    assert (again.name, again.dtype, again.get_value()) == ("rate", "float32", np.float32(0.1))
    assert again.tensor.requires_grad


def test_an_interrupt_keeps_what_is_trained():
    x, y = data()

    def interrupt(nn, history):
        raise KeyboardInterrupt

    net = small(on_epoch_finished=interrupt).fit(x, y)
    assert len(net.train_history_) == 1


def test_a_shared_momentum_counts_in_the_next_step():
    x, y = data(40)
    seen = theano.shared(np.float32(0.9))

    def drop(nn, history):
        nn.update_momentum.set_value(np.float32(0.0))

    nets = [small(update_momentum=momentum, on_epoch_finished=handlers, train_split=TrainSplit(0), max_epochs=2)
            for momentum, handlers in ((seen, [drop]), (0.9, []))]  # fmt: skip
    nets[1].initialize()
    nets[0].load_params_from(nets[1])
    losses = []
    for net in nets:
        net.fit(x, y)
        losses.append([row["train_loss"] for row in net.train_history_])
        net.partial_fit(x, y)
    assert losses[0] == losses[1]  # the loss of an epoch's one batch is that in front of its step
    assert nets[0].train_history_[2]["train_loss"] != nets[1].train_history_[2]["train_loss"]


def test_what_does_not_fit_is_said():
    x, y = data()
    with pytest.raises(ValueError, match="different numbers of samples: 60 and 59"):
        small().fit(x, y[:-1])
    with pytest.raises(ValueError, match="y holds floats: set regression=True"):
        small().fit(x, y.astype("float32"))


def test_pictures(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    x, y = images()
    net = convnet(train_split=TrainSplit(0.25)).fit(x, y)
    axes = visualize.plot_loss(net).gca()
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [row["train_loss"] for row in net.train_history_])
    pyplot.close("all")
    conv = net.layers_["c1"]
    visualize.plot_conv_weights(conv)
    shown = [axes.images[0].get_array() for axes in pyplot.gcf().axes if axes.images]
    np.testing.assert_allclose(shown, conv.W.get_value()[:, 0])
    visualize.plot_conv_activity(conv, x[:1])
    shown = [axes.images[0].get_array() for axes in pyplot.gcf().axes if axes.images]
    np.testing.assert_allclose(shown, layers.get_output(conv, x[:1]).eval()[0], rtol=1e-5)
    heat = visualize.occlusion_heatmap(net, x[:1], 1, square_length=3)
    covered = x[:1].copy()
    covered[:, :, 3:6, 0:2] = 0
    np.testing.assert_allclose(heat[4, 0], net.predict_proba(covered)[0, 1], rtol=1e-5)
    visualize.plot_occlusion(net, x[:2], y[:2], square_length=3)
    visualize.plot_saliency(net, x[:2])
    assert [axes.get_title() for axes in pyplot.gcf().axes[:3]] == ["image", "saliency", "super-imposed"]
    with pytest.raises(ValueError, match="odd number, instead got 4"):
        visualize.occlusion_heatmap(net, x[:1], 1, square_length=4)
    with pytest.raises(ValueError, match="Only one sample"):
        visualize.plot_conv_activity(conv, x)
    pyplot.close("all")


def test_a_net_is_drawn(tmp_path):
    net = convnet()
    shown = visualize.draw_to_notebook(net, verbose=True)
    source = shown.to_string().replace("\\\n", "")
    assert "Output shape: (None, 4, 8, 10)" in source
    assert "num_filters: 4" in source
    assert source.count("->") == 4
    assert "num_filters: 4" in shown._repr_mimebundle_()["image/svg+xml"]
    visualize.draw_to_file(net, tmp_path / "net.svg")
    assert "Output shape: (None, 4, 8, 10)" in (tmp_path / "net.svg").read_text()
    with pytest.raises(CaffeError, match=r'failed on a picture in nothing: .*"nothing" not recognized'):
        visualize.draw_to_file(net, tmp_path / "net.nothing")
    assert not (tmp_path / "net.nothing").exists()


def test_pictures_say_what_they_need(monkeypatch):
    import sys  # noqa: PLC0415

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    with pytest.raises(CaffeError, match="pip install matplotlib"):
        visualize.plot_loss(small())
    with pytest.raises(CaffeError, match="needs the pygraphviz package"):
        visualize.draw_to_notebook(small())


@pytest.mark.parametrize(("options", "epochs"), [({"only_best": True}, "125"), ({"every_n_epochs": 2}, "24")])
def test_weights_of_some_epochs_are_saved(options, epochs, tmp_path):
    net, save, history = small(), SaveWeights(str(tmp_path / "{epoch}_{loss:.1f}"), **options), []
    net.initialize()
    for epoch, loss in enumerate((3.0, 2.0, 2.5, 2.1, 1.0), 1):
        history.append({"epoch": epoch, "valid_loss": loss})
        save(net, history)
    assert "".join(path.name[3] for path in sorted(tmp_path.iterdir())) == epochs
    assert (tmp_path / "0002_2.0").exists()


def test_a_loss_that_is_no_number_is_no_worse(tmp_path):
    net, save, history = small(), SaveWeights(str(tmp_path / "{epoch}"), only_best=True), []
    net.initialize()
    for loss in (float("nan"), 2.0, 3.0):
        history.append({"epoch": len(history) + 1, "valid_loss": loss})
        save(net, history)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["0001", "0002", "0003"]


def test_the_layers_of_a_list_are_drawn(tmp_path):
    net = convnet()
    net.initialize()
    for given in (net.layers_, [net.layers_["p1"], net.layers_["out"]]):
        assert visualize.draw_to_notebook(given).to_string().count("->") == 4


def test_an_occlusion_is_of_one_image():
    with pytest.raises(ValueError, match="requires the input data to be of shape 1 x C x H x W"):
        visualize.occlusion_heatmap(convnet(), images()[0], 1)
