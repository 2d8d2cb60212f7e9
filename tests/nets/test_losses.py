"""Losses beside their formulas in NumPy, where labels are ignored or weigh differently."""

import numpy as np
import pytest
import torch

from nets.layers import loss
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
    top = net.double()(x, torch.from_numpy(LABELS), *more)["y0"]
    assert top.item() == pytest.approx(wanted, rel=1e-6)
    top.backward()
    np.testing.assert_allclose(x.grad, gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("mode", DIVISORS)
def test_segnets_weights_are_one_over_how_many_labels_that_count_there_are(mode):
    net = load("SoftmaxWithLoss", [(2, 3, 4), (2, 4)], 1, LOSS_PARAM.format(mode, "weight_by_label_freqs: true"))
    shares = np.array([1 / 3, 0, 1 / 3])  # 3 labels 0, none 1, 3 labels 2
    total, gradient = weighed(np.eye(3)[LABELS * KEPT] * shares)
    check(net, total / DIVISORS[mode], gradient / DIVISORS[mode])


@pytest.mark.parametrize("mode", DIVISORS)
def test_segnets_given_weights_leave_the_divisor_alone(mode):
    options = LOSS_PARAM.format(mode, "weight_by_label_freqs: true class_weighting: [0.5, 3, 4]")
    total, gradient = weighed(np.eye(3)[LABELS * KEPT] * [0.5, 3, 4])
    net = load("SoftmaxWithLoss", [(2, 3, 4), (2, 4)], 1, options)
    check(net, total / DIVISORS[mode], gradient / DIVISORS[mode])


@pytest.mark.parametrize("mode", DIVISORS)
def test_infogain_gains_nothing_where_a_label_is_ignored(mode):
    matrix = np.array([[1.0, 0.5, 0], [0, 2, 0.25], [-0.5, 1, 3]])
    net = load("InfogainLoss", [(2, 3, 4), (2, 4), (3, 3)], 1, LOSS_PARAM.format(mode, ""))
    total, gradient = weighed(matrix[LABELS * KEPT])
    check(net, total / DIVISORS[mode], gradient / DIVISORS[mode], torch.from_numpy(matrix))


def test_without_a_matrix_there_is_no_gain():
    with pytest.raises(NetError, match="needs its matrix"):
        InfogainLoss(1, "VALID", None, False)(torch.zeros(2, 3), torch.zeros(2))


@pytest.mark.parametrize("kind", BY_LABEL)
def test_a_batch_needs_a_label_for_each_item(kind):
    net = load(kind, [(2, 4), (2,)], 1, BY_LABEL[kind])
    for labels in (1, 3):
        with pytest.raises(NetError, match="its bottoms must have the same number of items"):
            net(torch.full((2, 4), 0.25), torch.zeros(labels))


def many(channels_last: bool = False, ignored: int | None = IGNORED) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of 18 classes at 2 x 24 x 25 positions, some far apart, and labels of which a fifth is ignored."""
    drawn = np.random.default_rng(4)
    scores = torch.from_numpy(drawn.standard_normal((2, 18, 24, 25)) * 5).float()
    scores[0, :, 0] *= 60
    labels = torch.from_numpy(drawn.integers(0, 18, (2, 24, 25))).float()
    if ignored is not None:
        labels[torch.from_numpy(drawn.random((2, 24, 25)) < 0.2)] = ignored
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return scores.contiguous(memory_format=layout).requires_grad_(), labels


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("ignored", [IGNORED, None])
@pytest.mark.parametrize("mode", DIVISORS)
def test_a_softmax_loss_of_many_positions_is_that_of_each(mode, ignored, channels_last):
    x, labels = many(channels_last, ignored)
    options = f"loss_param {{ normalization: {mode} {'' if ignored is None else f'ignore_label: {ignored}'} }}"
    net = load("SoftmaxWithLoss", [tuple(x.shape), tuple(labels.shape)], 1, options)
    top = net(x, labels)["y0"]
    (3 * top).backward()

    scores, index = np.moveaxis(x.detach().double().numpy(), 1, -1), labels.long().numpy()
    kept = index != IGNORED
    exp = np.exp(scores - scores.max(-1, keepdims=True))
    prob, hot = exp / exp.sum(-1, keepdims=True), np.eye(18)[index * kept]
    losses = -np.log(np.maximum((prob * hot).sum(-1), np.finfo(np.float32).tiny)) * kept
    divisor = {"VALID": kept.sum(), "FULL": kept.size, "BATCH_SIZE": 2, "NONE": 1}[mode]
    assert losses.max() == pytest.approx(87.3365)
    assert top.item() == pytest.approx(losses.sum() / divisor, rel=1e-6)
    gradient = np.moveaxis(3 * (prob - hot) * kept[..., None] / divisor, -1, 1)
    np.testing.assert_allclose(x.grad, gradient, rtol=1e-4, atol=1e-6 * np.abs(gradient).max())
    assert x.grad.stride() == x.stride()


def test_what_is_ignored_among_many_labels_may_be_no_number():
    x, labels = many()
    net = load("SoftmaxWithLoss", [tuple(x.shape), tuple(labels.shape)], 1, LOSS_PARAM.format("VALID", ""))
    with torch.no_grad():
        x[(labels == IGNORED)[:, None].expand_as(x)] = torch.nan
    top = net(x, labels)["y0"]
    top.backward()
    assert top.isfinite()
    assert x.grad[x.isfinite()].isfinite().all()


def test_one_of_many_labels_that_is_no_class_is_named():
    x, labels = many(ignored=None)
    net = load("SoftmaxWithLoss", [tuple(x.shape), tuple(labels.shape)])
    for wrong in (18, -1):
        labels[1, 2, 3] = wrong
        with pytest.raises(NetError, match=f"label {wrong} is out of range: there are 18 classes"):
            net(x, labels)


def test_a_softmax_loss_of_many_positions_can_be_differentiated_twice(monkeypatch):
    x, labels = many(ignored=None)
    with torch.no_grad():
        x[0, :, 0] /= 60  # nothing at the floor, behind which the loss goes on as if there was none
    net = load("SoftmaxWithLoss", [tuple(x.shape), tuple(labels.shape)])
    found = []
    for enough in (1, 10**6):
        monkeypatch.setattr(loss, "MANY", enough)
        (gradient,) = torch.autograd.grad(net(x, labels)["y0"], x, create_graph=True)
        found.append(torch.autograd.grad(gradient.square().sum() * 1e6, x)[0])
    assert found[1].abs().max() > 0.1
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)
