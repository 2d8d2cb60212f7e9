"""Cases by formulas: their gradients are difference quotients, so that nobody has to derive them."""

import numpy as np

STEP = 1e-5


def random(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def quotients(formula, tops, values, i):
    """The gradient of sum(top * random) to *values*[i]; of each top that *formula* gives as a list."""
    gradient = np.zeros(values[i].size)
    for k in range(values[i].size):
        ends = []
        for step in (STEP, -STEP):
            moved = [value.copy() for value in values]
            moved[i].reshape(-1)[k] += step
            ends.append(sum((g * y).sum() for g, y in zip(tops, formula(*moved), strict=True)))
        gradient[k] = (ends[0] - ends[1]) / (2 * STEP)
    return gradient.reshape(values[i].shape)


def stated(values):
    """*values* as the layers get them: rounded to single precision."""
    return [np.asarray(value, np.float32).astype(float) for value in values]


def layer_case(make_case, name, kind, options, formula, bottoms, params=(), *, fixed=(), phase="TEST", more=None):
    """A case of one layer: *formula*(*bottoms, *params) gives its tops; no gradient goes to the bottoms *fixed*."""
    values = stated([*bottoms, *params])
    tops = formula(*values)
    names = "xabcd"[: len(bottoms)]
    said = "".join(f'bottom: "{b}" ' for b in names) + "".join(f'top: "y{i}" ' for i in range(len(tops)))
    layer = f'layer {{ name: "layer" type: "{kind}" {said} {options} }}'
    given = {f"bottom__{b}": value for b, value in zip(names, values, strict=False)}
    given |= {f"param__layer__{i}": value for i, value in enumerate(values[len(bottoms) :])}
    given |= {f"top__y{i}": y for i, y in enumerate(tops)}
    flows = [np.float32(random(*y.shape, seed=1)) for y in tops]
    for i, b in enumerate(names):
        if i not in fixed:
            given[f"bottom_diff__{b}"] = quotients(formula, flows, values, i)
    for i in range(len(params)):
        if len(bottoms) + i not in fixed:
            given[f"param_diff__layer__{i}"] = quotients(formula, flows, values, len(bottoms) + i)
    if any("_diff__" in key for key in given):
        given |= {f"top_diff__y{i}": flow for i, flow in enumerate(flows)}
    return make_case(name, layer, phase, **given, **(more or {}))
