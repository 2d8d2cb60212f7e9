"""What NeuralNet prints, keeps and hands on in odd cases; each was compared with the original."""

import copy
import pickle
import sys

import numpy as np
import pytest

import converters.lasagne as L
from converters.lasagne import installing, layers
from converters.lasagne.nolearn import NeuralNet, TrainSplit
from converters.lasagne.nonlinearities import softmax
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
