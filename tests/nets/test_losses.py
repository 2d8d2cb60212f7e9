"""Losses beside their formulas in NumPy, where labels are ignored or weigh differently."""

import numpy as np
import pytest
import torch

from nets.layers.loss import InfogainLoss
from protos.errors import NetError
from tests.nets.test_refusals import load

IGNORED = 255
BY_LABEL = {
    "MultinomialLogisticLoss": "",
    "HingeLoss": "",
    "CenterLoss": "center_loss_param { num_output: 4 }",
    "MarginInnerProduct": "margin_inner_product_param { num_output: 4 }",
}
SCORES = np.random.default_rng(3).standard_normal((2, 3, 4))
LABELS = np.array([[0, 2, IGNORED, 0], [0, IGNORED, 2, 2]])
KEPT = LABELS != IGNORED
DIVISORS = {"VALID": 6, "FULL": 8, "BATCH_SIZE": 2, "NONE": 1}
LOSS_PARAM = f"loss_param {{{{ ignore_label: {IGNORED} normalization: {{}} {{}} }}}}"


def softmax() -> np.ndarray:
    """The probabilities, positions first: 2 x 4 x 3."""
    exp = np.exp(SCORES)
    return np.moveaxis(exp / exp.sum(1, keepdims=True), 1, -1)


def weighed(gains: np.ndarray) -> tuple[float, np.ndarray]:
    """The sum of -gains x log p where labels count, and its gradient; *gains*: for each position, 2 x 4 x 3."""
    p, gains = softmax(), gains * KEPT[..., None]
    return -(gains * np.log(p)).sum(), np.moveaxis(p * gains.sum(-1, keepdims=True) - gains, -1, 1)


def check(net, wanted: float, gradient: np.ndarray, *more: torch.Tensor) -> None:
    x = torch.from_numpy(SCORES).requires_grad_()
    loss = net.double()(x, torch.from_numpy(LABELS), *more)["y0"]
    assert loss.item() == pytest.approx(wanted, rel=1e-6)
    loss.backward()
    np.testing.assert_allclose(x.grad, gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("mode", DIVISORS)
def test_segnets_weights_are_one_over_how_many_labels_that_count_there_are(mode):
    net = load("SoftmaxWithLoss", [(2, 3, 4), (2, 4)], 1, LOSS_PARAM.format(mode, "weight_by_label_freqs: true"))
    shares = np.array([1 / 3, 0, 1 / 3])  # 3 labels 0, none 1, 3 labels 2
    loss, gradient = weighed(np.eye(3)[LABELS * KEPT] * shares)
    check(net, loss / DIVISORS[mode], gradient / DIVISORS[mode])


@pytest.mark.parametrize("mode", DIVISORS)
def test_segnets_given_weights_leave_the_divisor_alone(mode):
    options = LOSS_PARAM.format(mode, "weight_by_label_freqs: true class_weighting: [0.5, 3, 4]")
    loss, gradient = weighed(np.eye(3)[LABELS * KEPT] * [0.5, 3, 4])
    net = load("SoftmaxWithLoss", [(2, 3, 4), (2, 4)], 1, options)
    check(net, loss / DIVISORS[mode], gradient / DIVISORS[mode])


@pytest.mark.parametrize("mode", DIVISORS)
def test_infogain_gains_nothing_where_a_label_is_ignored(mode):
    matrix = np.array([[1.0, 0.5, 0], [0, 2, 0.25], [-0.5, 1, 3]])
    net = load("InfogainLoss", [(2, 3, 4), (2, 4), (3, 3)], 1, LOSS_PARAM.format(mode, ""))
    loss, gradient = weighed(matrix[LABELS * KEPT])
    check(net, loss / DIVISORS[mode], gradient / DIVISORS[mode], torch.from_numpy(matrix))


def test_without_a_matrix_there_is_no_gain():
    with pytest.raises(NetError, match="needs its matrix"):
        InfogainLoss(1, "VALID", None, False)(torch.zeros(2, 3), torch.zeros(2))


@pytest.mark.parametrize("kind", BY_LABEL)
def test_a_batch_needs_a_label_for_each_item(kind):
    net = load(kind, [(2, 4), (2,)], 1, BY_LABEL[kind])
    for labels in (1, 3):
        with pytest.raises(NetError, match="its bottoms must have the same number of items"):
            net(torch.full((2, 4), 0.25), torch.zeros(labels))
