"""The ways to name the nets of a solver."""

import pytest

from nets.jobs import test_jobs as jobs_of_tests
from nets.jobs import train_job
from protos import text
from protos.errors import CaffeError
from protos.schema import NetParameter


def read(path: str) -> NetParameter:
    return NetParameter(name=path)


@pytest.mark.parametrize(
    ("solver", "name"),
    [
        ('net: "a"', "a"),
        ('train_net: "b"', "b"),
        ('net_param { name: "c" }', "c"),
        ('train_net_param { name: "d" }', "d"),
    ],
)
def test_training_net(solver: str, name: str) -> None:
    job = train_job(text.parse_solver(f"{solver} train_state {{ level: 2 stage: 'x' }}"), read)
    assert (job.param.name, job.level, job.stages, job.is_training) == (name, 2, ("x",), True)


@pytest.mark.parametrize("solver", ["base_lr: 1", 'net: "a" train_net: "b"'])
def test_exactly_one_training_net(solver: str) -> None:
    with pytest.raises(CaffeError, match="needs exactly one of net_param, net, train_net_param, train_net"):
        train_job(text.parse_solver(solver), read)


def test_test_nets_in_their_order() -> None:
    solver = text.parse_solver(
        'net: "generic" test_net: "file" test_net_param { name: "inline" } test_interval: 5 '
        "test_iter: 1 test_iter: 2 test_iter: 3 test_iter: 4 "
        'test_state { stage: "s0" } test_state { } test_state { level: 3 } test_state { }'
    )
    jobs = jobs_of_tests(solver, read)
    assert [job.param.name for job in jobs] == ["inline", "file", "generic", "generic"]
    assert [(job.stages, job.level) for job in jobs] == [(("s0",), 0), ((), 0), ((), 3), ((), 0)]


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        ('train_net: "a" test_net: "b"', "has 0 test_iter for 1 test nets"),
        ('train_net: "a" test_iter: 3', "has 1 test_iter for 0 test nets"),
        ('net: "a" test_iter: 3 test_interval: 1 test_state { } test_state { }', "has 2 test_state for 1 test nets"),
        ('net: "a" test_iter: 3', "needs a test_interval above 0"),
    ],
)
def test_what_does_not_add_up(solver: str, message: str) -> None:
    with pytest.raises(CaffeError, match=message):
        jobs_of_tests(text.parse_solver(solver), read)
