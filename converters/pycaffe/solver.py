"""``caffe.SGDSolver`` and its kin: `nets.Solver`, whose nets are seen as pycaffe's."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

import nets
from converters.pycaffe import mode
from converters.pycaffe.held import Held
from converters.pycaffe.net import Net
from converters.pycaffe.thrown import AsRaised
from nets import lr_policy
from nets.graph import Graph, Node
from nets.inputs import Inputs
from nets.ranks import Ranks
from nets.step import Options
from nets.weights import load_weights, weights_paths
from protos import files, text
from protos.errors import CaffeError
from protos.schema import SolverParameter

Path_ = str | os.PathLike[str]


class _Solver(nets.Solver):
    """Its nets may have inputs without a data layer: scripts fill their blobs between the steps.

    Its test nets have weights of their own up to their first test; ``testing`` is what a test runs within.
    """

    testing: Callable[[int], AbstractContextManager[None]]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.held: list[Held] = []
        super().__init__(*arguments, **options)

    def share(self, net: nets.Net) -> None:
        for paths in self.param.weights:
            for path in weights_paths(paths):
                load_weights(net, files.find(path, self.path))

    def run_test(self, i: int) -> dict[str, Any] | None:
        with self.testing(i):
            return super().run_test(i)

    def feed(self, graph: Graph, ranks: Ranks) -> Inputs:
        self.held.append(Held(graph, self.device))
        return Inputs(graph, self.device, self._seed, held=self.held[-1])


class Solver:
    """``net`` is the training net and ``test_nets`` the others, which use its blobs from their first test on.

    After ``step`` their blobs hold the data and the diffs of the last iteration, or the data of the last test, and the
    diffs of learnable blobs what the last update took from them. It computes where ``caffe.set_mode_gpu`` and
    ``caffe.set_device`` say.
    """

    rule: ClassVar[str] = ""  # the type of solver, whatever the file says; "" for the file's own

    def __init__(self, solver_file: Path_) -> None:
        path = files.find(solver_file)
        self.param = text.read_solver(path)
        if self.rule:
            self.param.type = self.rule
        options = Options(graph=False, diffs=True)  # every pass runs layer by layer, so that it can be watched
        with AsRaised():
            self.solver = _Solver(self.param, mode.device(), path, allow_python=True, options=options)
        held, *held_of_tests = self.solver.held
        self.net = Net.around(self.solver.net, self.solver.inputs, held)
        tests = zip(self.solver.test_nets, self.solver.test_inputs, held_of_tests, strict=True)
        self.test_nets = [Net.around(*test) for test in tests]
        self.solver.testing = self._testing

    @property
    def iter(self) -> int:
        """The number of finished iterations."""
        return self.solver.iter

    @property
    def lr(self) -> float:
        """The rate of the next update."""
        return lr_policy.rate(self.param, self.iter)

    def step(self, iterations: int) -> None:
        """Train for so many iterations, with the tests and snapshots that fall among them."""
        self._watched(partial(self.solver.step, iterations))

    def solve(self, resume_file: Path_ | None = None) -> None:
        """Train to the end that the file names, from the solver state *resume_file* if it is given."""
        if resume_file is not None:
            self.restore(resume_file)
        self._watched(self.solver.solve)

    def _watched(self, train: Callable[[], None]) -> None:
        """Train, and let the blobs of the training net show its last pass."""
        if self.net.is_watched:
            remedy = "call net.forward(), net.backward() and solver.apply_update() instead"
            raise CaffeError(
                f"a solver's step and solve do not call what its net's before_forward and so on hold: {remedy}"
            )
        self.net.bring_parameters()
        with _seen(self.net), AsRaised():
            train()

    @contextmanager
    def _testing(self, i: int) -> Iterator[None]:
        """Test net *i* at work on the blobs of the training net."""
        self.test_nets[i].share_with(self.net)
        with _seen(self.test_nets[i]):
            yield

    def apply_update(self) -> None:
        """Update the learnable blobs by the diffs that they hold."""
        self.net.bring_parameters()
        self.net.bring_gradients()
        self.solver.apply_update()
        self.net.show({}, {})

    def restore(self, state_file: Path_) -> None:
        """Go on from a ``.solverstate``."""
        self.solver.restore(Path(state_file))
        self.net.show({}, {})

    def snapshot(self) -> None:
        """Write the weights and the state."""
        self.net.bring_parameters()
        self.solver.snapshot()

    def share_weights(self, net: Net) -> None:
        """Let *net* use the learnable blobs of the training net."""
        net.share_with(self.net)

    def add_callback(self, *_: Any) -> None:
        """The callbacks of the original's training on several GPUs."""
        raise CaffeError("Solver.add_callback is not supported: call step(1), and what is yours between")


@contextmanager
def _seen(net: Net) -> Iterator[None]:
    """Behind it, the blobs of *net* show the last pass that it made within."""
    nodes = net.module.nodes
    seen = _Seen(nodes)
    with ExitStack() as hooks:
        for node, layer in nodes:
            hooks.callback(layer.register_forward_hook(partial(seen.look, node)).remove)
        yield
    net.show(seen.values, seen.gradients)


class _Seen:
    """What passes through the layers: the ``values`` and ``gradients`` of the last pass, by blob."""

    def __init__(self, nodes: list[tuple[Node, nets.Layer]]) -> None:
        self.values: dict[str, Tensor] = {}
        self.gradients: dict[str, Tensor] = {}
        self._made = {top for node, _ in nodes for top in node.tops}

    def look(
        self, node: Node, layer: nn.Module, bottoms: tuple[Tensor, ...], tops: Tensor | tuple[Tensor, ...]
    ) -> None:
        """A hook of *layer*."""
        inputs = zip(node.bottoms, bottoms, strict=True)
        self.values |= {name: x.detach() for name, x in inputs if name not in self._made}
        for name, top in zip(node.tops, tops if isinstance(tops, tuple) else (tops,), strict=True):
            self.values[name] = top.detach()
            if top.requires_grad:
                top.register_hook(partial(self._note, name))  # type: ignore[no-untyped-call]  # torch's

    def _note(self, name: str, gradient: Tensor | None) -> None:
        if gradient is not None:  # a Python layer may give none to what it was given
            self.gradients[name] = gradient


class SGDSolver(Solver):
    """Stochastic gradient descent with momentum."""

    rule = "SGD"


class NesterovSolver(Solver):
    """Nesterov's accelerated gradient."""

    rule = "Nesterov"


class AdaGradSolver(Solver):
    """AdaGrad."""

    rule = "AdaGrad"


class RMSPropSolver(Solver):
    """RMSProp."""

    rule = "RMSProp"


class AdaDeltaSolver(Solver):
    """AdaDelta."""

    rule = "AdaDelta"


class AdamSolver(Solver):
    """Adam."""

    rule = "Adam"


def get_solver(solver_file: Path_) -> Solver:
    """The solver of the type that the file names."""
    return Solver(solver_file)


__all__ = [
    "AdaDeltaSolver", "AdaGradSolver", "AdamSolver", "NesterovSolver", "RMSPropSolver", "SGDSolver", "Solver",
    "SolverParameter", "get_solver",
]  # fmt: skip
