"""Computation: nets and solvers.

>>> import nets, protos, torch
>>> param = protos.text.parse_net('''
...     layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
...     layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 4 } }
... ''')
>>> net = nets.Net(nets.graph.build(param))
>>> {name: tuple(blob.shape) for name, blob in net(data=torch.ones(2, 3)).items()}
{'ip': (2, 4)}
"""

import nets.openmp  # noqa: F401  # in front of torch
from nets import graph, layers
from nets.layer import LAYERS, Layer
from nets.model import load
from nets.net import Net
from nets.solver import Solver

__all__ = ["LAYERS", "Layer", "Net", "Solver", "graph", "layers", "load"]
