"""What a solver message says for the whole run, checked before anything is built."""

import logging
from pathlib import Path

import torch

from nets import lr_policy
from nets.lasagne_updates import UPDATES
from nets.precision import VERSIONS
from nets.updates import OF_FORKS
from protos.errors import CaffeError, listing
from protos.schema import SolverParameter

log = logging.getLogger("caffe")

LEAST = {
    "max_iter": 0, "display": 0, "snapshot": 0, "test_interval": 0, "device_id": 0, "average_loss": 1, "iter_size": 1,
}  # fmt: skip
FIRST_FORK_FIELD = 200
# Options of forks that a solver honours: rates, momentum and decay, the judgement of boxes, and the devices (--gpu).
HONOURED = {
    "warmup_iter", "warmup_start_lr", "rampup_interval", "rampup_lr", "min_lr", "stagelr", "stageiter",
    "plateau_winsize", "device_ids", "eval_type", "ap_version", "momentum_policy", "momentum_power", "max_momentum",
    "weight_decay_policy", "weight_decay_power", "max_weight_decay", "larc", "larc_eta", "larc_policy",
}  # fmt: skip


def check(param: SolverParameter) -> None:
    """Raise CaffeError that lists the numbers which have no meaning; warn of a stepvalue out of its order."""
    problems = [
        f"{name} must be at least {least}, not {getattr(param, name)}"
        for name, least in LEAST.items()
        if getattr(param, name) < least
    ]
    if param.ap_version not in VERSIONS:
        problems.append(f"unknown ap_version '{param.ap_version}': there are {', '.join(VERSIONS)}")
    problems += [f"test_iter must be at least 0, not {count}" for count in param.test_iter if count < 0]
    if problems:
        raise CaffeError(f"solver: {listing(problems)}")
    UPDATES[param.type].examine(param)
    lr_policy.check(param)
    values = list(param.stepvalue)
    if param.lr_policy == "multistep" and values != sorted(values):
        log.warning("stepvalue is not in rising order: as in the original, each waits for the one before it")


def choose_device(param: SolverParameter, device: str | torch.device | None) -> torch.device:
    """*device* if given, else a GPU if the solver asks for one and there is one, else the CPU."""
    if device is not None:
        return torch.device(device)
    if param.solver_mode != SolverParameter.GPU:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        log.warning("solver_mode is GPU, and no GPU is found: running on the CPU")
        return torch.device("cpu")
    if param.device_id >= torch.cuda.device_count():
        raise CaffeError(f"device_id {param.device_id}: there are {torch.cuda.device_count()} GPUs")
    return torch.device("cuda", param.device_id)


def warn_of_hints(param: SolverParameter) -> None:
    """Warn once of the options of forks that are set and change nothing here."""
    known = {field.name for field in SolverParameter.DESCRIPTOR.fields if field.number < FIRST_FORK_FIELD}
    known |= HONOURED | set(OF_FORKS)
    ignored = [field.name for field, _ in param.ListFields() if field.name not in known]
    if ignored:
        log.warning("solver options of forks that have no effect here: %s", ", ".join(ignored))


def snapshot_prefix(param: SolverParameter, path: Path | None) -> str:
    """What snapshot names begin with: ``snapshot_prefix``, and where that is a folder the solver file's name in it."""
    stem = path.stem if path is not None else "snapshot"
    prefix = param.snapshot_prefix
    if not prefix:
        return str(path.with_suffix("")) if path is not None else stem
    return str(Path(prefix) / stem) if prefix.endswith("/") or Path(prefix).is_dir() else prefix
