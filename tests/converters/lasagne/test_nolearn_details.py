"""What NeuralNet prints, keeps and hands on in odd cases; each was compared with the original."""

import copy
import pickle
import sys

import h5py
import numpy as np
import pytest

import converters.lasagne as L
from converters.lasagne import installing, layers
from converters.lasagne.nolearn import NeuralNet, TrainSplit
from converters.lasagne.nonlinearities import softmax
from converters.lasagne.optimizers import optimizer
from converters.lasagne.theano import tensor as T
from converters.lasagne.theano.config import config
from converters.lasagne.updates import sgd
from protos.errors import NetError

X = np.random.RandomState(0).normal(size=(50, 4))
Y = (X[:, 0] > 0).astype("int32")


@pytest.fixture(autouse=True)
def _float64(monkeypatch):
    monkeypatch.setattr(config, "floatX", "float64")
    L.random.set_rng(np.random.RandomState(1))


def net(**options):
    """A classifier of one layer, for two epochs."""
    given = {"update": sgd, "update_learning_rate": 0.1, "max_epochs": 2, **options}
    formats = [("input", layers.InputLayer), ("output", layers.DenseLayer)]
    return NeuralNet(formats, input_shape=(None, 4), output_num_units=2, output_nonlinearity=softmax, **given)


def test_an_epoch_that_ends_the_training_has_no_line_in_the_table(capsys):
    def stop(nn, history):
        print("seen", history[-1]["epoch"])
        if len(history) == 2:
            raise StopIteration

    started = [lambda nn, history: print("started")]
    made = net(verbose=1, max_epochs=9, on_training_started=started, on_epoch_finished=[stop])
    made.initialize()
    assert capsys.readouterr().out == ""
    made.fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "started"
    assert lines[1].startswith("# Neural Network with 10 learnable parameters")
    assert lines[-1] == "seen 2"
    assert [line.split()[0] for line in lines[-3:-1]] == ["-------", "1"]
    made.partial_fit(X, Y)
    assert "# Neural Network" not in capsys.readouterr().out


def test_without_validation_its_best_loss_is_no_number(capsys):
    made = net(verbose=1, train_split=TrainSplit(eval_size=0)).fit(X, Y)
    assert np.isnan([made.train_history_[0][key] for key in ("valid_loss", "valid_loss_best", "valid_accuracy")]).all()
    assert "\x1b[32mnan\x1b[0m" in capsys.readouterr().out


def test_scores_see_probabilities():
    made = net(
        max_epochs=1, custom_scores=[("shape", lambda y, p: p.shape[1] + 0 * len(y))], train_split=TrainSplit(0),
        scores_train=[("sum", lambda p, y: T.mean(T.sum(p, axis=1)))],
    )  # fmt: skip
    made.train_split = TrainSplit(0.2)
    (info,) = made.fit(X, Y).train_history_
    assert info["shape"] == 2.0
    np.testing.assert_allclose(info["sum"], 1.0)


def test_regression_scores_as_the_original():
    """Its accuracy is the loss; R squared is that of the targets as predictions of what was predicted."""
    targets = np.stack([X[:, 0] + X[:, 1], X[:, 2]], 1)
    formats = [("input", layers.InputLayer), ("output", layers.DenseLayer)]
    made = NeuralNet(formats, input_shape=(None, 4), output_num_units=2, output_nonlinearity=None, update=sgd,
                     update_learning_rate=0.1, max_epochs=3, regression=True).fit(X, targets)  # fmt: skip
    assert [info["valid_accuracy"] for info in made.train_history_] == [i["valid_loss"] for i in made.train_history_]
    found = made.predict(X)
    rest, spread = ((targets - found) ** 2).sum(0), ((found - found.mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(made.score(X, targets), (1 - rest / spread).mean())


def test_layers_by_name_with_weights_of_others_and_wrapped(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    installing.install()
    made = NeuralNet(
        [("input", "lasagne.layers.InputLayer"), ("a", "lasagne.layers.DenseLayer"), ("b", layers.DenseLayer),
         ("output", layers.DenseLayer)],
        input_shape=(None, 4), a_num_units=4, a_layer_wrapper=layers.batch_norm, b_num_units=4, b_W="a",
        output_num_units=2, output_nonlinearity=softmax, update=sgd, update_learning_rate=0.1, max_epochs=1,
    )  # fmt: skip
    made.fit(X, Y)
    assert list(made.layers_) == ["input", "a", "a_bn", "LW_a", "b", "output"]
    assert made.layers_["b"].W is made.layers_["a"].W
    assert made.layers_["b"].input_layer is made.layers_["LW_a"]
    made.save_params_to(tmp_path / "w.pkl")
    before = made.predict_proba(X)
    made.partial_fit(X, Y)
    made.load_params_from(tmp_path / "w.pkl")
    np.testing.assert_array_equal(made.predict_proba(X), before)


def test_arguments_that_do_not_fit_are_errors_of_the_original_kinds():
    formats = [("input", layers.InputLayer), ("h", layers.DenseLayer), ("h", layers.DenseLayer)]
    with pytest.raises(ValueError, match="two layers named 'h'"):
        NeuralNet(formats, input_shape=(None, 4), h_num_units=2).initialize()
    with pytest.raises(TypeError, match="layer 'output': DenseLayer does not take num_unit=3, incoming=InputLayer"):
        NeuralNet([("input", layers.InputLayer), ("output", layers.DenseLayer)], input_shape=(None, 4),
                  output_num_unit=3).initialize()  # fmt: skip
    with pytest.raises(TypeError, match="update sgd takes no learning_rat, did you mean learning_rate"):
        net(update_learning_rat=1).initialize()
    with pytest.raises(NetError, match=r"there is no class lasagne\.Dense: give the class itself"):
        NeuralNet([("input", "lasagne.Dense")]).initialize()


def test_what_is_loaded_is_said(tmp_path, capsys):
    made = net(verbose=1)
    made.load_params_from(net().get_all_params_values())
    said = "Loaded parameters to layer 'output' (shape 4x2).\nLoaded parameters to layer 'output' (shape 2).\n"
    assert capsys.readouterr().out == said
    pickle.loads(pickle.dumps(made))
    copy.deepcopy(made)
    made.save_params_to(tmp_path / "w")
    made.load_params_from(tmp_path / "w")
    assert capsys.readouterr().out == said


def test_what_fits_is_loaded_into_another_net(tmp_path, capsys, caplog):
    """From a net with another last layer and one layer less: what the original prints, or a line of the log."""
    deep = [("input", layers.InputLayer), ("hidden", layers.DenseLayer), ("output", layers.DenseLayer)]
    given = {"input_shape": (None, 4), "hidden_num_units": 3, "update": sgd, "update_learning_rate": 0.1}
    more = [("drop", layers.DropoutLayer), ("last", layers.DenseLayer)]  # of the former there is nothing to load
    source = NeuralNet([*deep, *more], output_num_units=2, last_num_units=2, **given)
    made = NeuralNet(deep, output_num_units=5, verbose=1, **given)
    source.save_params_to(tmp_path / "w")
    for kind in (source, tmp_path / "w", source.get_all_params_values()):
        made.load_params_from(kind)
        for mine, other in zip(made.get_all_params()[:2], source.get_all_params()[:2], strict=True):
            np.testing.assert_array_equal(mine.get_value(), other.get_value())
            mine.set_value(0 * mine.get_value())
        assert capsys.readouterr().out.splitlines() == [
            "Loaded parameters to layer 'hidden' (shape 4x3).",
            "Loaded parameters to layer 'hidden' (shape 3).",
            "Could not load parameters to layer 'output' because shapes did not match: 3x5 vs 3x2.",
            "Could not load parameters to layer 'output' because shapes did not match: 5 vs 2.",
            "Could not load parameters to layer 'last' because the net has none of that name.",
        ]
    made.verbose = 0
    made.load_params_from(source)
    assert capsys.readouterr().out == ""
    assert "Could not load parameters to layer 'last'" in caplog.text


class Halves(NeuralNet):
    """A net with a split of its own, as in older nolearns."""

    def train_test_split(self, X, y, eval_size):  # noqa: N803  # nolearn's names
        self.asked = eval_size
        return X[::2], X[1::2], y[::2], y[1::2]


@pytest.mark.parametrize(("options", "asked"), [({}, 0.2), ({"eval_size": 0.3}, 0.3)])
def test_a_net_with_a_split_of_its_own_is_trained_on_it(options, asked):
    seen = []
    made = Halves(
        [("input", layers.InputLayer), ("output", layers.DenseLayer)], input_shape=(None, 4), output_num_units=2,
        output_nonlinearity=softmax, update=sgd, update_learning_rate=0.1, max_epochs=1,
        custom_score=("seen", lambda y, p: seen.append(y) or float(len(y))), **options,
    ).fit(X, Y)  # fmt: skip
    np.testing.assert_array_equal(np.concatenate(seen), Y[1::2])
    assert (made.asked, made.train_history_[0]["seen"]) == (asked, 25.0)


def test_layers_by_place():
    made = net()
    made.initialize()
    assert made.layers_[0] is made.layers_["input"]
    assert list(made.layers_[-1:]) == ["output"]


class OwnInput(layers.InputLayer):
    """An input of the script's own."""


def test_layers_take_those_that_they_name():
    made = NeuralNet(
        [("x", OwnInput), ("mask", layers.InputLayer), ("rnn", layers.RecurrentLayer), ("last", layers.SliceLayer),
         ("all", layers.ConcatLayer), ("output", layers.DenseLayer)],
        x_shape=(None, 3, 4), mask_shape=(None, 3), rnn_incoming="x", rnn_mask_input="mask", rnn_num_units=5,
        last_indices=-1, last_axis=1, all_incomings=["last", "last"], output_num_units=2, update=sgd,
        update_learning_rate=0.1,
    )  # fmt: skip
    made.initialize()
    rnn = made.layers_["rnn"]
    assert rnn.input_layers[:2] == [made.layers_["x"], made.layers_["mask"]]
    assert made.layers_["last"].input_layer is rnn
    assert made.layers_["all"].input_layers == [made.layers_["last"]] * 2


def test_a_net_may_be_a_list_of_its_last_layers():
    source = layers.InputLayer((None, 4), name="in")
    ends = [layers.DenseLayer(source, 3, name="side"), layers.DenseLayer(source, 2, nonlinearity=softmax, name="out")]
    made = NeuralNet(ends, update=sgd, update_learning_rate=0.1)
    assert made.output_layers() is ends
    assert list(made.layers_) == ["in", "side", "out"]


def test_arguments_may_be_added_and_changed():
    made = net()
    made.initialize()
    made.set_params(output_b=None, max_epochs=1)
    assert len(made.fit(X, Y).train_history_) == 1
    assert made.layers_["output"].b is None
    assert made.get_params()["output_b"] is None
    assert [kind._estimator_type for kind in (made, net(regression=True))] == ["classifier", "regressor"]


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: NeuralNet([("a", layers.ConcatLayer)]).initialize(), NetError, "layer 'a' needs incomings"),
        (lambda: NeuralNet([("x", layers.InputLayer), ("d", layers.DenseLayer)], x_shape=(None, 4), d_num_units=2,
                           d_incoming="y").initialize(), NetError, "no layer 'y' before the one that names it"),
        (lambda: NeuralNet(layers.DenseLayer(layers.InputLayer((None, 4), name="a"), 2, name="a")).initialize(),
         ValueError, "NeuralNet has two layers named 'a'"),
        (lambda: net(objective_aggregate=T.mean).to_solver(), NetError, "objective_aggregate has no place in a solver"),
        (lambda: optimizer(sgd, []), NetError, "update sgd needs a learning_rate"),
        (lambda: optimizer(print, [], learning_rate=1), NetError, "update print is none of lasagne.updates"),
    ],
)  # fmt: skip
def test_what_a_net_cannot_be_built_of_is_named(make, kind, words):
    with pytest.raises(kind, match=words):
        make()


def test_an_input_of_ones_own_class_has_no_layer_in_front_of_it():
    class Own(layers.InputLayer):
        pass

    made = NeuralNet(
        [("a", layers.InputLayer), ("b", Own), ("both", layers.ConcatLayer)],
        a_shape=(None, 2), b_shape=(None, 3), both_incomings=["a", "b"], update=sgd, update_learning_rate=1,
    )  # fmt: skip
    made.initialize()
    assert made.layers_["both"].output_shape == (None, 5)


def test_a_solver_gets_numbers_for_labels_and_no_test_without_samples(tmp_path):
    names = np.array(["no", "yes"])[Y]
    made = net(use_label_encoder=True, train_split=TrainSplit(0))
    solver = made.to_solver(tmp_path / "job", X, names)
    assert (solver.max_iter, list(solver.test_iter), solver.HasField("test_interval")) == (2, [], False)
    with h5py.File(tmp_path / "job_train.h5") as file:
        np.testing.assert_array_equal(file["label"], Y)
        np.testing.assert_allclose(file["input"], X, rtol=1e-6)
    assert not (tmp_path / "job_valid.h5").exists()
