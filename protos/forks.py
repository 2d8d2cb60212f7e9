"""Words of forks for what the current format has a word of its own for."""

from protos.schema import LayerParameter, NormalizeParameter

HOLES = ("hole", "hole_h", "hole_w")
SCALING = ("filler", "bias_filler", "use_weight_bias", "bias_term")  # by three param Intel's fork knows to leave it out


def upgrade(layer: LayerParameter) -> None:
    """Bring the options of *layer* into the words of the current format, where that has some for them."""
    if any(layer.convolution_param.HasField(name) for name in HOLES):
        _dilate(layer)
    if layer.HasField("softmaxloss_param"):
        _ignore_label(layer)
    if layer.type == "Normalize" and layer.normalize_param == NormalizeParameter(normalize_type="L2"):
        layer.ClearField("normalize_param")  # what the layer does without
    if layer.type == "BatchNorm" and len(layer.param) == 3 and layer.batch_norm_param.HasField("filler"):
        for name in SCALING:
            layer.batch_norm_param.ClearField(name)
    if set(layer.pooling_param.dilation) == {1}:
        layer.pooling_param.ClearField("dilation")


def _dilate(layer: LayerParameter) -> None:
    """DeepLab's holes: hole, or hole_h and hole_w."""
    p = layer.convolution_param
    given = [name for name in HOLES if p.HasField(name)]
    if not p.dilation and given in (["hole"], ["hole_h", "hole_w"]):
        p.dilation.extend(getattr(p, name) for name in given)
        for name in given:
            p.ClearField(name)


def _ignore_label(layer: LayerParameter) -> None:
    """DeepLab's labels without a loss; the mean is over all others."""
    p = layer.softmaxloss_param
    if not p.HasField("weight_source") and len(p.ignore_label) == 1:
        layer.loss_param.ignore_label = p.ignore_label[0]
        layer.ClearField("softmaxloss_param")
