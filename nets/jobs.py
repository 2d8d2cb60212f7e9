"""Which nets a solver trains and tests, in all the ways in which a solver message can name them."""

from collections.abc import Callable
from dataclasses import dataclass

from protos.errors import CaffeError
from protos.schema import NetParameter, NetState, SolverParameter

Read = Callable[[str], NetParameter]


@dataclass(frozen=True)
class NetJob:
    """A net to build: its declaration, the state its layers are chosen by, and what to say about it."""

    param: NetParameter
    is_training: bool
    level: int
    stages: tuple[str, ...]
    title: str


def train_job(solver: SolverParameter, read: Read) -> NetJob:
    """The training net: exactly one of net_param, net, train_net_param, train_net. *read* reads a net file."""
    fields = ("net_param", "net", "train_net_param", "train_net")
    given = [field for field in fields if solver.HasField(field)]
    if len(given) != 1:
        said = f", not {' and '.join(given)}" if given else ""
        raise CaffeError(f"solver: needs exactly one of {', '.join(fields)}{said}")
    param, origin = _resolve(solver, given[0], read)
    return _job(param, solver.train_state, True, f"Creating training net {origin}")


def test_jobs(solver: SolverParameter, read: Read) -> list[NetJob]:
    """The test nets: test_net_param, then test_net, then as many instances of net(_param) as test_iter asks for."""
    found = [(param, "specified by test_net_param") for param in solver.test_net_param]
    found += [(read(path), f"specified by test_net file: {path}") for path in solver.test_net]
    generic = [field for field in ("net_param", "net") if solver.HasField(field)]
    wanted = len(solver.test_iter)
    if wanted < len(found) or (wanted > len(found) and not generic):
        raise CaffeError(f"solver: has {wanted} test_iter for {len(found)} test nets: give one test_iter for each")
    if generic and wanted > len(found):
        found += [_resolve(solver, generic[0], read)] * (wanted - len(found))
    if len(solver.test_state) not in (0, len(found)):
        raise CaffeError(f"solver: has {len(solver.test_state)} test_state for {len(found)} test nets")
    if found and solver.test_interval <= 0:
        raise CaffeError("solver: needs a test_interval above 0, since it has test nets")
    states = list(solver.test_state) or [NetState()] * len(found)
    return [
        _job(param, state, False, f"Creating test net (#{i}) {origin}")
        for i, ((param, origin), state) in enumerate(zip(found, states, strict=True))
    ]


def _resolve(solver: SolverParameter, field: str, read: Read) -> tuple[NetParameter, str]:
    value = getattr(solver, field)
    return (read(value), f"from {field} file: {value}") if isinstance(value, str) else (value, f"specified in {field}")


def _job(param: NetParameter, state: NetState, is_training: bool, title: str) -> NetJob:
    return NetJob(param, is_training, state.level, tuple(state.stage), title)
