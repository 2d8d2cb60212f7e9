"""caffe.coord_map: the Crop layers of fully convolutional nets."""

import pytest

from protos.errors import NetError


def conv(caffe, bottom, kernel=3, pad=1, outputs=2, **more):
    return caffe.layers.Convolution(bottom, kernel_size=kernel, pad=pad, num_output=outputs, **more)


def pool(caffe, bottom):
    return caffe.layers.Pooling(bottom, kernel_size=2, stride=2)


def up(caffe, bottom, stride):
    more = {"num_output": 2, "kernel_size": 2 * stride, "stride": stride, "bias_term": False}
    return caffe.layers.Deconvolution(bottom, convolution_param=more)


def test_the_crops_of_fcn_8s(caffe):
    """Its published prototxt has 5, 9 and 31: a VGG net whose first convolution is padded by 100."""
    from caffe.coord_map import crop  # noqa: PLC0415  # the fixture puts it there

    n = caffe.NetSpec()
    n.data = caffe.layers.Input(shape=[{"dim": [1, 3, 500, 400]}])
    x, pools = n.data, []
    for stage in range(5):
        x = caffe.layers.ReLU(conv(caffe, x, pad=100 if stage == 0 else 1), in_place=True)
        x = pool(caffe, conv(caffe, x))
        pools.append(x)
    score = conv(caffe, conv(caffe, x, kernel=7, pad=0), kernel=1, pad=0)
    twice = up(caffe, score, 2)
    n.score_pool4c = crop(conv(caffe, pools[3], kernel=1, pad=0), twice)
    fused = caffe.layers.Eltwise(twice, n.score_pool4c)
    again = up(caffe, fused, 2)
    n.score_pool3c = crop(conv(caffe, pools[2], kernel=1, pad=0), again)
    n.score = crop(up(caffe, caffe.layers.Eltwise(again, n.score_pool3c), 8), n.data)
    crops = [layer.crop_param for layer in n.to_proto().layer if layer.type == "Crop"]
    assert [(p.axis, list(p.offset)) for p in crops] == [(2, [5]), (2, [9]), (2, [31])]


def test_sides_and_dilation_of_their_own(caffe):
    from caffe.coord_map import crop  # noqa: PLC0415  # the fixture puts it there

    data = caffe.layers.Input(shape=[{"dim": [1, 3, 50, 50]}])
    x = caffe.layers.Convolution(data, kernel_h=3, kernel_w=5, pad_h=4, pad_w=2, num_output=1)
    x = conv(caffe, x, pad=7, dilation=2)
    cut = crop(x, data).fn.message().crop_param
    assert list(cut.offset) == [4 - 1 + 7 - 2, 2 - 2 + 7 - 2]


def test_crops_that_cannot_be(caffe):
    from caffe.coord_map import crop  # noqa: PLC0415  # the fixture puts it there

    data = caffe.layers.Input(shape=[{"dim": [1, 3, 50, 50]}])
    for made, message in (
        (conv(caffe, data, stride=2), "a pixel of the one is 1/2 of the other's"),
        (conv(caffe, data, pad=0), "offsets of -1 pixels are not possible"),
        (up(caffe, conv(caffe, data, pad=9, stride=2), 2), "offsets of 19/2 pixels are not possible"),
        (caffe.layers.InnerProduct(data, num_output=3), "no blob is above both tops"),
        (caffe.layers.Pooling(data, global_pooling=True), "no blob is above both tops"),
        (caffe.layers.Crop(conv(caffe, data), data, axis=1), "no blob is above both tops"),
    ):
        with pytest.raises(NetError, match=message):
            crop(made, data)
