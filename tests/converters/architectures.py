"""Nets of the kinds that people have: written at any width and image size, with weights that keep values in range."""

from collections.abc import Callable

import torch

import nets
from protos import text
from protos.schema import NetParameter


class Prototxt:
    """A prototxt that grows layer by layer; every method gives the name of its top."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        dims = " ".join(f"dim: {size}" for size in shape)
        self.text = f'name: "{name}"\n' + self._layer(
            "data", "Input", (), ("data",), f"input_param {{ shape {{ {dims} }} }}"
        )

    @staticmethod
    def _layer(name, kind, bottoms, tops, options="") -> str:
        ends = "".join(f'bottom: "{b}" ' for b in bottoms) + "".join(f'top: "{t}" ' for t in tops)
        return f'layer {{ name: "{name}" type: "{kind}" {ends}{options} }}\n'

    def add(self, name: str, kind: str, *bottoms: str, top: str = "", options: str = "") -> str:
        self.text += self._layer(name, kind, bottoms, (top or name,), options)
        return top or name

    def conv(self, name: str, x: str, n: int, kernel: int, stride: int = 1, pad: int = 0, more: str = "") -> str:
        said = (
            f"num_output: {n} kernel_size: {kernel} stride: {stride} pad: {pad} {more} weight_filler {{ type: 'msra' }}"
        )
        return self.add(name, "Convolution", x, options=f"convolution_param {{ {said} }}")

    def relu(self, x: str, name: str = "") -> str:
        return self.add(name or f"relu_{x}", "ReLU", x, top=x)

    def pool(self, name: str, x: str, kernel: int, stride: int, pad: int = 0, kind: str = "MAX") -> str:
        said = f"pool: {kind} kernel_size: {kernel} stride: {stride} pad: {pad}"
        return self.add(name, "Pooling", x, options=f"pooling_param {{ {said} }}")

    def ip(self, name: str, x: str, n: int) -> str:
        said = f"num_output: {n} weight_filler {{ type: 'xavier' }}"
        return self.add(name, "InnerProduct", x, options=f"inner_product_param {{ {said} }}")

    def dropout(self, x: str) -> str:
        return self.add(f"drop_{x}", "Dropout", x, top=x)

    def bn(self, x: str) -> str:
        self.add(f"bn_{x}", "BatchNorm", x, top=x)
        return self.add(f"scale_{x}", "Scale", x, top=x, options="scale_param { bias_term: true }")

    def lrn(self, name: str, x: str) -> str:
        return self.add(name, "LRN", x, options="lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")

    def softmax(self, x: str) -> str:
        return self.add("prob", "Softmax", x)


def caffenet(width: float = 1, size: int = 227, classes: int = 1000) -> str:
    n = Prototxt("CaffeNet", (1, 3, size, size))
    w = [max(4, round(width * c) // 4 * 4) for c in (96, 256, 384, 384, 256, 4096, 4096)]
    x = n.lrn("norm1", n.pool("pool1", n.relu(n.conv("conv1", "data", w[0], 11, 4)), 3, 2))
    x = n.lrn("norm2", n.pool("pool2", n.relu(n.conv("conv2", x, w[1], 5, 1, 2, "group: 2")), 3, 2))
    x = n.relu(n.conv("conv3", x, w[2], 3, 1, 1))
    x = n.relu(n.conv("conv4", x, w[3], 3, 1, 1, "group: 2"))
    x = n.pool("pool5", n.relu(n.conv("conv5", x, w[4], 3, 1, 1, "group: 2")), 3, 2)
    x = n.dropout(n.relu(n.ip("fc6", x, w[5])))
    x = n.dropout(n.relu(n.ip("fc7", x, w[6])))
    n.softmax(n.ip("fc8", x, classes))
    return n.text


def cifar10_quick(width: float = 1, size: int = 32, classes: int = 10) -> str:
    n = Prototxt("CIFAR10_quick", (1, 3, size, size))
    c = max(4, round(32 * width))
    x = n.relu(n.pool("pool1", n.conv("conv1", "data", c, 5, 1, 2), 3, 2))
    x = n.pool("pool2", n.relu(n.conv("conv2", x, c, 5, 1, 2)), 3, 2, kind="AVE")
    x = n.pool("pool3", n.relu(n.conv("conv3", x, 2 * c, 5, 1, 2)), 3, 2, kind="AVE")
    n.softmax(n.ip("ip2", n.ip("ip1", x, 2 * c), classes))
    return n.text


def googlenet(width: float = 1, size: int = 224, classes: int = 1000) -> str:
    n = Prototxt("GoogleNet", (1, 3, size, size))

    def c(channels: int) -> int:
        return max(2, round(width * channels))

    def inception(name: str, x: str, a: int, b: int, b3: int, d: int, d5: int, p: int) -> str:
        one = n.relu(n.conv(f"{name}/1x1", x, c(a), 1))
        three = n.relu(n.conv(f"{name}/3x3", n.relu(n.conv(f"{name}/3x3_reduce", x, c(b), 1)), c(b3), 3, 1, 1))
        five = n.relu(n.conv(f"{name}/5x5", n.relu(n.conv(f"{name}/5x5_reduce", x, c(d), 1)), c(d5), 5, 1, 2))
        pooled = n.relu(n.conv(f"{name}/pool_proj", n.pool(f"{name}/pool", x, 3, 1, 1), c(p), 1))
        return n.add(f"{name}/output", "Concat", one, three, five, pooled)

    x = n.lrn("pool1/norm1", n.pool("pool1/3x3_s2", n.relu(n.conv("conv1/7x7_s2", "data", c(64), 7, 2, 3)), 3, 2))
    x = n.relu(n.conv("conv2/3x3", n.relu(n.conv("conv2/3x3_reduce", x, c(64), 1)), c(192), 3, 1, 1))
    x = n.pool("pool2/3x3_s2", n.lrn("conv2/norm2", x), 3, 2)
    x = inception("inception_3a", x, 64, 96, 128, 16, 32, 32)
    x = n.pool("pool3/3x3_s2", inception("inception_3b", x, 128, 128, 192, 32, 96, 64), 3, 2)
    x = inception("inception_4a", x, 192, 96, 208, 16, 48, 64)
    x = n.pool("pool4/3x3_s2", inception("inception_4e", x, 256, 160, 320, 32, 128, 128), 3, 2)
    x = inception("inception_5b", x, 384, 192, 384, 48, 128, 128)
    last = n.pool("pool5/7x7_s1", x, 7 if size >= 224 else 2, 1, kind="AVE")
    n.softmax(n.ip("loss3/classifier", n.dropout(last), classes))
    return n.text


def resnet50(width: float = 1, size: int = 224, classes: int = 1000, blocks: tuple[int, ...] = (3, 4, 6, 3)) -> str:
    n = Prototxt("ResNet-50", (1, 3, size, size))
    bare = "bias_term: false"
    x = n.relu(n.bn(n.conv("conv1", "data", max(4, round(64 * width)), 7, 2, 3, bare)))
    x = n.pool("pool1", x, 3, 2)
    for stage, count in enumerate(blocks, 2):
        inner = max(4, round(64 * width)) * 2 ** (stage - 2)
        for i in range(count):
            name, stride = f"{stage}{chr(97 + i)}", 2 if i == 0 and stage > 2 else 1
            short = n.bn(n.conv(f"res{name}_branch1", x, 4 * inner, 1, stride, 0, bare)) if i == 0 else x
            y = n.relu(n.bn(n.conv(f"res{name}_branch2a", x, inner, 1, stride, 0, bare)))
            y = n.relu(n.bn(n.conv(f"res{name}_branch2b", y, inner, 3, 1, 1, bare)))
            y = n.bn(n.conv(f"res{name}_branch2c", y, 4 * inner, 1, 1, 0, bare))
            x = n.relu(n.add(f"res{name}", "Eltwise", short, y))
    x = n.add("pool5", "Pooling", x, options="pooling_param { pool: AVE global_pooling: true }")
    n.softmax(n.ip("fc1000", x, classes))
    return n.text


def squeezenet(width: float = 1, size: int = 227, classes: int = 1000) -> str:
    n = Prototxt("SqueezeNet", (1, 3, size, size))

    def fire(name: str, x: str, squeeze: int, expand: int) -> str:
        s, e = max(2, round(width * squeeze)), max(2, round(width * expand))
        x = n.relu(n.conv(f"{name}/squeeze1x1", x, s, 1))
        left, right = n.relu(n.conv(f"{name}/expand1x1", x, e, 1)), n.relu(n.conv(f"{name}/expand3x3", x, e, 3, 1, 1))
        return n.add(f"{name}/concat", "Concat", left, right)

    x = n.pool("pool1", n.relu(n.conv("conv1", "data", max(4, round(64 * width)), 3, 2)), 3, 2)
    x = n.pool("pool3", fire("fire3", fire("fire2", x, 16, 64), 16, 64), 3, 2)
    x = n.pool("pool5", fire("fire5", fire("fire4", x, 32, 128), 32, 128), 3, 2)
    x = n.dropout(fire("fire9", x, 64, 256))
    x = n.relu(n.conv("conv10", x, classes, 1))
    n.softmax(n.add("pool10", "Pooling", x, options="pooling_param { pool: AVE global_pooling: true }"))
    return n.text


def fcn(width: float = 1, size: int = 64, classes: int = 21) -> str:
    n = Prototxt("FCN", (1, 3, size, size))
    c = max(4, round(64 * width))
    x = n.pool("pool1", n.relu(n.conv("conv1_1", "data", c, 3, 1, 40)), 2, 2)
    middle = n.pool("pool2", n.relu(n.conv("conv2_1", x, 2 * c, 3, 1, 1)), 2, 2)
    x = n.relu(n.conv("conv3_1", n.pool("pool3", middle, 2, 2), 2 * c, 3, 1, 1))
    x = n.conv("score_fr", n.dropout(n.relu(n.conv("fc6", x, 4 * c, 5))), classes, 1)

    def upsample(name: str, x: str, kernel: int, stride: int) -> str:
        said = f"num_output: {classes} bias_term: false kernel_size: {kernel} stride: {stride}"
        fill = "weight_filler { type: 'bilinear' }"
        return n.add(name, "Deconvolution", x, options=f"convolution_param {{ {said} {fill} }}")

    up = upsample("upscore2", x, 4, 2)
    skip = n.conv("score_pool2", middle, classes, 1)
    skip = n.add("score_pool2c", "Crop", skip, up, options="crop_param { axis: 2 offset: 4 }")
    x = upsample("upscore4", n.add("fuse", "Eltwise", up, skip), 8, 4)
    n.add("score", "Crop", x, "data", options="crop_param { axis: 2 offset: 5 }")
    return n.text


ALL: dict[str, Callable[..., str]] = {
    "caffenet": caffenet,
    "cifar10_quick": cifar10_quick,
    "googlenet": googlenet,
    "resnet50": resnet50,
    "squeezenet": squeezenet,
    "fcn": fcn,
}


def make(prototxt: str | NetParameter, seed: int = 0) -> nets.Net:
    """The net with weights drawn from *seed*, and statistics as training would leave them: neither 0 nor 1."""
    chance = torch.Generator().manual_seed(seed)
    param = text.parse_net(prototxt) if isinstance(prototxt, str) else prototxt
    net = nets.Net(nets.graph.build(param), generator=chance)
    with torch.no_grad():
        for node, layer in net.nodes:
            if node.type == "BatchNorm":
                mean, variance, factor = layer.blobs
                mean.copy_(torch.randn(mean.shape, generator=chance))
                variance.copy_(torch.rand(variance.shape, generator=chance) * 4 + 2)
                factor.fill_(2.0)
            elif node.type == "Scale":
                layer.blobs[0].copy_(torch.rand(layer.blobs[0].shape, generator=chance) / 2 + 0.5)
                layer.blobs[1].copy_(torch.randn(layer.blobs[1].shape, generator=chance) / 4)
            elif len(layer.blobs) == 2:
                layer.blobs[1].copy_(torch.randn(layer.blobs[1].shape, generator=chance) / 10)
    return net


def small(name: str) -> tuple[nets.Net, int]:
    """The net *name* at an eighth of its width, and the height of the images that it takes."""
    size = {"caffenet": 99, "googlenet": 80, "resnet50": 64, "squeezenet": 67, "fcn": 48}.get(name, 32)
    more = {"blocks": (2, 2, 1, 1)} if name == "resnet50" else {}
    return make(ALL[name](width=1 / 8, size=size, classes=12, **more)), size
