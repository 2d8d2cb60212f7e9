"""``python -m nets.train SOLVER``: train a net as its solver prototxt says."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from nets import console, launch
from nets.console import log
from nets.net import Net
from nets.ranks import Ranks
from nets.solver import Solver
from nets.step import PRECISIONS, Options
from nets.summary import multiply_adds
from protos import files, text
from protos.errors import CaffeError
from protos.schema import SolverParameter

LOSS_SHOWN_EVERY = 50  # iterations; reading a loss waits for the GPU
SMALL = 4_000_000  # multiply-adds of a pass; in a smaller one threads wait more for each other than they save


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    made = console.parser("nets.train", "Train a net as its solver prototxt says.")
    made.add_argument("path", nargs="?", metavar="SOLVER", help="the solver prototxt")
    console.flag(made, "solver", "the same, as in the original", metavar="SOLVER")
    console.flag(made, "weights", "weights to start from, files separated by commas", metavar="W[,W2]")
    console.flag(made, "snapshot", "solver state to go on from", metavar="S.solverstate")
    console.flag(
        made, "sigint_effect", "on an interrupt: stop, snapshot or none", default="stop", choices=console.EFFECTS
    )
    console.flag(
        made, "sighup_effect", "on a hang-up: stop, snapshot or none", default="snapshot", choices=console.EFFECTS
    )
    console.flag(made, "precision", "of the arithmetic; default: fp32", default="fp32", choices=PRECISIONS)
    console.flag(made, "compile", "run the net through torch.compile", action="store_true")
    threads = "CPU threads; default: 1 for small batches of small nets, else as PyTorch likes"
    console.flag(made, "threads", threads, type=int, metavar="N")
    console.flag(made, "deterministic", "use only algorithms that repeat bit for bit", action="store_true")
    console.net_flags(made)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    args = console.parse_original(parser(), argv)
    _check(args)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    gpus = console.devices(args.gpu)
    launch.stop_with_launcher()
    ranks = Ranks.from_environment()
    if len(gpus) > 1 and not ranks.together:
        words = _without(sys.argv[1:] if argv is None else argv, "gpu")
        seen = launch.visible([gpu.index for gpu in gpus])
        return launch.launch(len(gpus), words, {**os.environ, "CUDA_VISIBLE_DEVICES": seen})
    if not ranks.is_first:
        log.setLevel(logging.WARNING)
    found = files.find(args.path or args.solver)
    param = text.read_solver(found, allow_unknown=args.allow_unknown)
    param.train_state.level = args.level or param.train_state.level
    param.train_state.stage.extend(console.stages(args.stage))
    solver = _solver(param, found, args, _device(param, ranks, gpus), ranks)
    if args.threads is None and solver.device.type == "cpu":
        choose_threads(solver.net)
    with console.Signals(args.sigint_effect, args.sighup_effect).caught() as signals:
        solver.poll = signals.poll
        log.info("Starting Optimization")
        _solve(solver, bar=ranks.is_first)
    solver.close()
    return console.INTERRUPTED if signals.stopped and solver.iter < param.max_iter else 0


def _check(args: argparse.Namespace) -> None:
    """Raise CaffeError where flags do not go together."""
    if bool(args.path) == bool(args.solver):
        raise CaffeError("name one solver prototxt: python -m nets.train protos/solver.prototxt")
    if args.weights and args.snapshot:
        raise CaffeError("give --weights to start anew or --snapshot to go on, not both")
    if args.threads is not None and args.threads < 1:
        raise CaffeError("--threads must be at least 1")


def _device(param: SolverParameter, ranks: Ranks, gpus: list[torch.device]) -> torch.device | None:
    """The device of this process: of the GPUs asked for the one of its number; None leaves it to the solver message.

    Raises CaffeError where there are fewer GPUs than processes on this machine.
    """
    if not ranks.together:
        return gpus[0] if gpus else None
    wanted = gpus or launch.launched() or param.solver_mode == SolverParameter.GPU
    if not wanted or not torch.cuda.is_available():
        return None
    choice = gpus or [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    if ranks.local_rank >= len(choice):
        raise CaffeError(f"process {ranks.local_rank} on this machine has no GPU: there are {len(choice)} for it")
    return choice[ranks.local_rank]


def _without(argv: Sequence[str], flag: str) -> list[str]:
    """*argv* without *flag* and its value, in any spelling."""
    kept: list[str] = []
    skip = False
    for word in argv:
        name, _, value = word.lstrip("-").partition("=")
        if skip or (word.startswith("-") and name == flag):
            skip = not skip and not value
        else:
            kept.append(word)
    return kept


def _solver(
    param: SolverParameter, path: Path, args: argparse.Namespace, device: torch.device | None, ranks: Ranks
) -> Solver:
    log.info("Initializing solver from parameters:\n%s", text.to_text(param).rstrip())
    options = Options(args.precision, args.compile, args.deterministic)
    solver = Solver(param, device, path, args.allow_unknown, args.allow_python, options, ranks)
    log.info("Use %s.", "CPU" if solver.device.type == "cpu" else f"GPU with device ID {solver.device.index}")
    if args.snapshot:
        solver.restore(args.snapshot)
    elif args.weights:
        solver.load_weights(args.weights)
    return solver


def choose_threads(net: Net) -> None:
    """One thread for a small net, unless the environment says how many. The choice is the same in each run of a net."""
    count = multiply_adds(net)
    if count is not None and count < SMALL and "OMP_NUM_THREADS" not in os.environ:
        log.info("Using one thread, since the net is small; --threads says otherwise")
        torch.set_num_threads(1)


def _solve(solver: Solver, bar: bool) -> None:
    """Solve, with a progress *bar* where there is a terminal to draw it on."""
    with tqdm(
        total=solver.param.max_iter, initial=solver.iter, unit="iter", disable=None if bar else True, dynamic_ncols=True
    ) as shown:

        def advance(running: Solver) -> None:
            if running.iter % LOSS_SHOWN_EVERY == 0 and not shown.disable:
                shown.set_postfix(loss=f"{running.losses[-1]:.4g}", refresh=False)
            shown.update()

        solver.on_iteration = advance
        with logging_redirect_tqdm([log]):
            solver.solve()


if __name__ == "__main__":
    console.run(main)
