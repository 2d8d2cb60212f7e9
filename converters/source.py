"""A program of torch.export as the source of a PyTorch module that needs torch alone.

Each layer's operations stand under its name, and its blobs are ``self.conv1.weight``.
"""

import keyword
import math
import operator
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

_INFIX = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.floordiv: "//",
    operator.mod: "%",
    operator.truediv: "/",
    operator.pow: "**",
}
# What of aten stands under `torch`, or is a method of a tensor, with the same arguments.
_FUNCTIONS = frozenset(name for name in dir(torch._C._VariableFunctions) if hasattr(torch, name))
_METHODS = frozenset(name for name in dir(Tensor) if isinstance(getattr(Tensor, name), types.MethodDescriptorType))
_SIZE = torch.ops.aten.sym_size.int
_OF_COURSE: Mapping[str, Any] = {"pin_memory": False, "layout": torch.strided}


def identifier(name: str, taken: Iterable[str] = ()) -> str:
    """*name* as a Python name that is none of *taken*.

    >>> identifier("inception_3a/1x1"), identifier("3d"), identifier("class"), identifier("a", taken=["a"])
    ('inception_3a_1x1', '_3d', 'class_', 'a_2')
    """
    stem = re.sub(r"\W", "_", name, flags=re.ASCII)
    stem = f"_{stem}" if not stem or stem[0].isdigit() else stem
    stem = f"{stem}_" if keyword.iskeyword(stem) else stem
    found, copies, used = stem, 1, frozenset(taken)
    while found in used:
        copies += 1
        found = f"{stem}_{copies}"
    return found


class Source:
    """The ``text`` of a module that computes what *program* does, and its ``state``: what its ``state_dict`` holds.

    *kinds* are the layers' types by the names of their modules, which Python has to allow; *letters* what open sizes
    are called instead of torch's symbols; *about* the facts for its docstring.
    """

    def __init__(
        self,
        program: ExportedProgram,
        name: str,
        kinds: Mapping[str, str],
        letters: Mapping[str, str],
        about: Mapping[str, str],
    ) -> None:
        self._program = program
        self._graph = _swept(program.graph)
        self._class = identifier(name or "Net", taken=("nn", "torch", "aten", "Tensor", "Path", "load"))
        self._kinds = kinds
        self._letters = letters
        self._about = about
        self._names: dict[fx.Node, str] = {}
        self.state: dict[str, Tensor] = {}
        self._learned: set[str] = set()
        self._inputs: list[fx.Node] = []
        self._take_inputs()
        self._name_values()
        self.text = "\n".join(self._lines()) + "\n"

    # ---- names

    def _take_inputs(self) -> None:
        tensors = {**self._program.state_dict, **self._program.constants}
        placeholders = [node for node in self._graph.nodes if node.op == "placeholder"]
        for node, spec in zip(placeholders, self._program.graph_signature.input_specs, strict=True):
            if spec.kind == InputKind.USER_INPUT:
                self._inputs.append(node)
                self._names[node] = node.name
            elif node.users:  # a blob that layers share stands here under all their names, and is used under one
                assert spec.target is not None
                self._names[node] = f"self.{spec.target}"
                self.state[spec.target] = tensors[spec.target].detach()
                if spec.kind == InputKind.PARAMETER:
                    self._learned.add(spec.target)

    def _name_values(self) -> None:
        """Call the last value of a layer as the layer, the others after it and their operation."""
        values = [node for node in self._graph.nodes if node.op == "call_function" and not self._is_inline(node)]
        last = {_layer(node): node for node in values if _layer(node)}
        taken = {node.name for node in self._inputs} | {"self", "torch", "aten", "nn", "math"}
        self._last = frozenset(last.values())
        for layer, node in last.items():
            self._names[node] = identifier(layer, taken)
            taken.add(self._names[node])
        for node in values:
            if node not in self._names:
                stem = f"{_layer(node)}_{_operation(node)}" if _layer(node) else node.name
                self._names[node] = identifier(stem, taken)
                taken.add(self._names[node])

    def _is_inline(self, node: fx.Node) -> bool:
        return node.target is operator.getitem or node.target is _SIZE or node.target in _INFIX

    # ---- the text

    def _lines(self) -> Iterator[str]:
        yield f'"""{self._class}, as plain PyTorch: needs torch alone.'
        yield ""
        yield from (f"{_plain(key)}: {_plain(value)}" for key, value in self._about.items())
        yield '"""'
        yield ""
        yield "from pathlib import Path"
        yield ""
        yield "import torch"
        yield "from torch import Tensor, nn"
        body = [*self._body(), *self._return()]
        if any("aten." in line for line in body):
            yield from ("", "aten = torch.ops.aten")
        yield from ("", "")
        yield f"class {self._class}(nn.Module):"
        yield "    def __init__(self) -> None:"
        yield "        super().__init__()"
        yield from self._blobs()
        yield ""
        yield f"    def forward(self, {', '.join(f'{x.name}: Tensor' for x in self._inputs)}) -> dict[str, Tensor]:"
        yield from (f"        # {x.name}: {self._size(x)}" for x in self._inputs)
        yield from body
        yield ""
        yield ""
        yield f'def load(weights: str | Path = Path(__file__).with_suffix(".pt")) -> {self._class}:'
        yield '    """The net with its weights, ready to predict."""'
        yield f"    net = {self._class}()"
        yield '    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))'
        yield "    return net.eval()"

    def _blobs(self) -> Iterator[str]:
        made = set()
        for key, tensor in self.state.items():
            layer, _, name = key.rpartition(".")
            if layer and layer not in made:
                made.add(layer)
                yield f"        self.{layer} = nn.Module()"
            owner = f"self.{layer}" if layer else "self"
            of_dtype = "" if tensor.dtype == torch.float32 else f", dtype={tensor.dtype}"
            empty = f"torch.empty({list(tensor.shape)}{of_dtype})"
            if key in self._learned:
                yield f"        {owner}.{name} = nn.Parameter({empty})"
            else:
                yield f'        {owner}.register_buffer("{name}", {empty})'

    def _body(self) -> Iterator[str]:
        counts: dict[str, int] = {}
        for node in self._names:
            counts[_layer(node)] = counts.get(_layer(node), 0) + 1
        before = ""
        for node in self._graph.nodes:
            if node.op != "call_function" or self._is_inline(node):
                continue
            layer = _layer(node)
            if layer and layer != before and counts[layer] > 1:
                yield f"        # {layer}: {self._kinds.get(layer, '')}"
            before = layer
            line = f"        {self._names[node]} = {self._call(node)}"
            yield f"{line}  # {self._size(node)}" if node in self._last and self._size(node) else line

    def _return(self) -> Iterator[str]:
        (output,) = (node for node in self._graph.nodes if node.op == "output")
        keys: Sequence[str] = self._program.call_spec.out_spec.context
        made = ", ".join(f'"{_quoted(key)}": {self._said(x)}' for key, x in zip(keys, output.args[0], strict=True))
        yield f"        return {{{made}}}"

    def _call(self, node: fx.Node) -> str:
        target: Any = node.target
        kwargs = {key: x for key, x in node.kwargs.items() if _OF_COURSE.get(key, "") is not x}
        args = [self._said(x) for x in node.args] + [f"{key}={self._said(x)}" for key, x in kwargs.items()]
        if not isinstance(target, torch._ops.OpOverload):
            return f"{target.__module__.removeprefix('_').partition('.')[0]}.{target.__name__}({', '.join(args)})"
        name = target._overloadpacket.__name__
        if name in _FUNCTIONS:
            return f"torch.{name}({', '.join(args)})"
        if name in _METHODS and target._schema.arguments[0].name == "self" and node.args:
            return f"{args[0]}.{name}({', '.join(args[1:])})"
        return f"aten.{name}({', '.join(args)})"

    def _size(self, node: fx.Node) -> str:
        """The shape of what *node* makes; "" for what is no tensor."""
        value = node.meta.get("val")
        if not isinstance(value, Tensor):
            return ""
        sizes = " x ".join(map(str, value.shape))
        return re.sub(r"\bs\d+\b", lambda symbol: self._letters.get(symbol[0], symbol[0]), sizes)

    def _said(self, x: Any) -> str:
        """An argument as source."""
        if isinstance(x, fx.Node):
            return self._names[x] if x in self._names else self._inline(x)
        if isinstance(x, list | tuple):
            return f"[{', '.join(map(self._said, x))}]"
        if isinstance(x, torch.device):
            return f"{self._inputs[0].name}.device"
        if isinstance(x, float) and not math.isfinite(x):
            return f'float("{x}")'
        return repr(x)

    def _inline(self, node: fx.Node) -> str:
        args = [self._said(x) for x in node.args]
        if node.target is operator.getitem:
            return f"{args[0]}[{args[1]}]"
        if node.target is _SIZE:
            return f"{args[0]}.shape[{args[1]}]"
        return f"({args[0]} {_INFIX[node.target]} {args[1]})"  # type: ignore[index]  # of these alone


def _swept(graph: fx.Graph) -> fx.Graph:
    """The graph without what only looks at values and complains."""
    for node in list(graph.nodes):
        if node.op == "call_function" and not node.users and "assert" in _operation(node):
            graph.erase_node(node)
    graph.eliminate_dead_code()
    return graph


def _operation(node: fx.Node) -> str:
    target: Any = node.target
    return str(getattr(target, "_overloadpacket", target).__name__)


def _layer(node: fx.Node) -> str:
    """The name of the layer's module that made *node*, or ""."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]) if stack else ""


def _plain(said: str) -> str:
    """*said* as a part of a docstring."""
    return said.replace("\\", "\\\\").replace('"', "'").replace("\n", " ")


def _quoted(said: str) -> str:
    return said.replace("\\", "\\\\").replace('"', '\\"')
