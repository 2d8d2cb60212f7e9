"""Training as Caffe does it: a solver message, a training net, test nets that share its weights."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nets import lasagne_updates, lr_policy, resume, schedule, snapshot
from nets.averages import Averages
from nets.debug import DebugInfo
from nets.graph import Graph
from nets.inputs import Inputs
from nets.jobs import NetJob, test_jobs, train_job
from nets.layer import shape_text
from nets.lines import log_net, output_lines
from nets.model import read, with_shapes
from nets.net import Net
from nets.placement import place
from nets.ranks import Ranks
from nets.settings import check, choose_device, snapshot_prefix, warn_of_hints
from nets.step import Options, Result, Step
from nets.trace import Trace
from nets.weights import load_weights, save_weights, weights_paths
from protos import files, text
from protos.errors import CaffeError, NetError, WeightsError
from protos.schema import NetParameter, SolverParameter

log = logging.getLogger("caffe")

LOSSES_KEPT = 10_000
FP32 = Options()
ALONE = Ranks()
CHECKED_EVERY = 100  # iterations between two looks for a loss that is no number


class Action(Enum):
    """What is asked of a running solver between two iterations."""

    NONE = 0
    SNAPSHOT = 1
    STOP = 2


class Solver:
    """Trains a net as its SolverParameter says: ``Solver.load("solver.prototxt").solve()`` does all that the file asks.

    ``net`` is the training net, ``test_nets`` share its blobs; ``inputs`` and ``test_inputs`` feed them. ``iter`` says
    how many are done. ``losses`` are the raw training losses of the last 10,000 iterations that this object ran,
    each that of the last micro-batch.
    ``poll`` is called between iterations; ``on_iteration`` after each one, with the solver.

    *options* say how to compute. Files named in the message are looked for in the working folder, then beside the
    solver file.
    Raises CaffeError of one kind or another for everything that is wrong with the files.
    """

    def __init__(
        self,
        param: SolverParameter,
        device: str | torch.device | None = None,
        path: Path | None = None,
        allow_unknown: bool = False,
        allow_python: bool = False,
        options: Options = FP32,
        ranks: Ranks = ALONE,
    ) -> None:
        if not isinstance(param, SolverParameter):
            raise TypeError(f"a Solver is made of a SolverParameter: nets.Solver.load({param!r}) reads a file")
        self.param = param
        self.path = path
        check(param)
        self.device = choose_device(param, device)
        self._ranks = ranks
        ranks.join(self.device)
        self.iter = 0
        self.poll: Callable[[], Action] = lambda: Action.NONE
        self.on_iteration: Callable[[Solver], None] | None = None
        warn_of_hints(param)
        options.apply(self.device)
        self._allow_unknown = allow_unknown
        self._allow_python = allow_python
        self._seed = ranks.agreed_seed(param.random_seed if param.random_seed >= 0 else None)
        if self._seed is not None:
            torch.manual_seed(self._seed + ranks.rank)
        self.net, self.inputs = self._open(train_job(param, self._read), ranks)
        for blob in self.net.learnable:
            if blob.lr_mult == 0 and param.clip_gradients < 0:  # what force_backward asks for counts for the norm alone
                blob.tensor.requires_grad_(False)
        self.test_nets: list[Net] = []
        self.test_inputs: list[Inputs] = []
        for job in test_jobs(param, self._read) if ranks.is_first else ():
            net, inputs = self._open(job, ALONE)
            self.share(net)
            self.test_nets.append(net)
            self.test_inputs.append(inputs)
        update = lasagne_updates.UPDATES[param.type].from_proto(param, self.net.learnable, param.base_lr)
        self._plateau = lr_policy.Plateau()
        self._update = update
        spread = ranks.spread(self.net, self.device)
        run = torch.compile(spread) if options.compile else spread if ranks.together else self.net.forward_with_loss
        graph = options.graph and not ranks.together
        self._step = Step(self.net, run, self.inputs, update, param, self.device, replace(options, graph=graph))
        self._losses = Trace(LOSSES_KEPT)
        self._displayed = Trace(param.average_loss)
        self._unchecked = 0
        self._warned = False
        self._unsaved = False  # the last snapshot could not be written
        for weights in param.weights:
            self.load_weights(weights)
        log.info("Solver scaffolding done.")

    @classmethod
    def load(
        cls,
        path: str | Path | SolverParameter,
        device: str | torch.device | None = None,
        allow_unknown: bool = False,
        allow_python: bool = False,
        options: Options = FP32,
    ) -> "Solver":
        """The solver of a solver prototxt. *device* None: a GPU if there is one and the file asks for it."""
        if isinstance(path, SolverParameter):
            return cls(path, device, None, allow_unknown, allow_python, options)
        found = files.find(path)
        param = text.read_solver(found, allow_unknown=allow_unknown)
        return cls(param, device, found, allow_unknown, allow_python, options)

    # ---- setting up

    def _read(self, path: str) -> NetParameter:
        return read(files.find(path, self.path), self._allow_unknown)

    def _open(self, job: NetJob, ranks: Ranks) -> tuple[Net, Inputs]:
        log.info("%s", job.title)
        phase = "TRAIN" if job.is_training else "TEST"
        found = with_shapes(job.param, phase, job.level, job.stages, {}, self._allow_python)
        net = place(Net(found), self.device)
        log_net(net)
        return net, self.feed(found, ranks)

    def feed(self, graph: Graph, ranks: Ranks) -> Inputs:
        """What feeds the net of *graph*."""
        return Inputs(graph, self.device, self._seed, ranks.rank, ranks.world_size)

    def share(self, net: Net) -> None:
        """Let the new test net *net* use the blobs of the training net."""
        share_blobs(net, self.net)

    def load_weights(self, paths: str) -> None:
        """Finetune from weights files, separated by commas."""
        for path in weights_paths(paths):
            log.info("Finetuning from %s", path)
            load_weights(self.net, files.find(path, self.path))

    def close(self) -> None:
        """Let go of the stores, and of the other ranks."""
        self._ranks.leave()
        for inputs in (self.inputs, *self.test_inputs):
            inputs.close()

    # ---- training

    def solve(self) -> None:
        """Train from where it stands to ``max_iter``, with all tests and snapshots that the message asks for."""
        log.info("Solving %s", self.net.graph.name)
        log.info("Learning Rate Policy: %s", self.param.lr_policy)
        stopped = not self._run(self.param.max_iter)
        every = self.param.snapshot
        saved = every and self.iter % every == 0 and self.iter > 0 and not self._unsaved
        if self.param.snapshot_after_train and not saved:
            self.snapshot()
        if stopped:
            log.info("Optimization stopped early.")
            return
        if self.param.display and self.iter % self.param.display == 0 and self._ranks.is_first:
            batch = self.inputs.next()
            with torch.no_grad(), nullcontext() if self._step.debug is None else self._step.debug.watching(batch):
                _, loss = self.net.forward_with_loss(batch)
            self._displayed.append(loss)
            log.info("Iteration %d, loss = %g", self.iter, self._smoothed_loss())
        if self.param.test_interval and self.iter % self.param.test_interval == 0:
            self.test()
        log.info("Optimization Done.")

    def step(self, iterations: int = 1) -> None:
        """Run *iterations* training iterations, with the tests and snapshots that fall among them."""
        self._run(self.iter + iterations)

    def apply_update(self) -> None:
        """Update the blobs by the gradients that they hold, which makes an iteration of its own."""
        self._tune()
        self._step.update(self._rate(None))
        self.iter += 1

    def _run(self, end: int) -> bool:
        """Train up to iteration *end*; False when it was stopped before."""
        started, since = time.perf_counter(), self.iter
        while self.iter < end:
            if self._test_is_due() and not self._test_all():
                return False
            display = bool(self.param.display) and self.iter % self.param.display == 0
            self._step.debug = DebugInfo(self.net) if display and self.param.debug_info else None
            self._tune()
            result = self._step(self._rate)
            self._losses.append(result.loss)
            self._displayed.append(result.mean_loss)
            if display:
                now = time.perf_counter()
                self._show(result, now - started, self.iter - since)
                started, since = now, self.iter
            if self._ranks.is_first:
                self._log_update(result.rate, display)
            self.iter += 1
            if self.on_iteration is not None:
                self.on_iteration(self)
            self._watch()
            action = self.poll()
            if self._ranks.together:
                action = Action(self._ranks.agreed(action.value))
            if action == Action.SNAPSHOT or (self.param.snapshot and self.iter % self.param.snapshot == 0):
                self._snapshot_in_passing()
            if action == Action.STOP:
                self._look_for_bad_loss()
                return False
        self._look_for_bad_loss()
        return True

    def _tune(self) -> None:
        """Set what ``nets.schedule`` says for this iteration."""
        if not schedule.is_fixed(self.param):
            momentum = schedule.momentum(self.param, self.iter)
            self._update.tune(momentum, schedule.weight_decay(self.param, self.iter))

    def _rate(self, loss: Tensor | None) -> float:
        """The rate of this iteration; plateau looks at its mean *loss*, smoothed with those before."""
        if self.param.lr_policy == "plateau" and loss is not None:
            values = [*self._displayed.last(self.param.average_loss - 1), float(loss)]
            return self._plateau.rate(self.param, self.iter, sum(values) / len(values))
        return lr_policy.rate(self.param, self.iter)

    def _smoothed_loss(self) -> float:
        values = self._displayed.last(self.param.average_loss)
        return sum(values) / len(values)

    @property
    def losses(self) -> list[float]:
        """The raw training losses of the last 10,000 iterations that this object ran."""
        return self._losses.last(LOSSES_KEPT)

    def _watch(self) -> None:
        self._unchecked += 1
        if self._unchecked >= CHECKED_EVERY:
            self._look_for_bad_loss()

    def _look_for_bad_loss(self) -> None:
        ago = None if self._warned else self._losses.first_bad(self._unchecked)
        self._unchecked = 0
        if ago is not None:
            self._warned = True
            log.warning(
                "Iteration %d: the loss is not a number; a lower base_lr or clip_gradients may help", self.iter - ago
            )

    def _show(self, result: Result, seconds: float, iterations: int) -> None:
        per_second = iterations / seconds if iterations and seconds > 0 else 0.0
        log.info(
            "Iteration %d (%g iter/s, %gs/%d iters), loss = %g",
            self.iter, per_second, seconds, self.param.display, self._smoothed_loss(),
        )  # fmt: skip
        for line in output_lines("Train", self.net, result.outputs):
            log.info("%s", line)

    def _log_update(self, rate: float, display: bool) -> None:
        """Log what the original says of an update; on a GPU, which a look at the norm holds up, when displayed."""
        if self.param.lr_policy == "multistep":
            step = lr_policy.step_index(self.param, self.iter)
            if step > lr_policy.step_index(self.param, self.iter - 1):
                log.info("MultiStep Status: Iteration %d, step = %d", self.iter, step)
        if display:
            log.info("Iteration %d, lr = %g", self.iter, rate)
        norm, clip = self._update.norm, self.param.clip_gradients
        if norm is not None and (display or norm.device.type == "cpu") and float(norm) > clip:
            log.info(
                "Gradient clipping: scaling down gradients (L2 norm %g > %g) by scale factor %g",
                float(norm), clip, clip / float(norm),
            )  # fmt: skip

    # ---- testing

    def _test_is_due(self) -> bool:
        every = self.param.test_interval
        return bool(every) and self.iter % every == 0 and (self.iter > 0 or self.param.test_initialization)

    def _test_all(self) -> bool:
        """Run all tests; False when a stop was asked for in the middle."""
        return all(self.run_test(i) is not None for i in range(len(self.test_nets)))

    def test(self) -> list[dict[str, Any]]:
        """Run each test net over its ``test_iter`` batches: for each, the mean of every top, as nested lists.

        Of DetectionEvaluate it is the mean average precision over the classes, as ``ap_version`` says.
        """
        results = [self.run_test(i) for i in range(len(self.test_nets))]
        return [result for result in results if result is not None]

    @torch.no_grad()
    def run_test(self, i: int) -> dict[str, Any] | None:
        """Run test net *i*, as ``test`` runs them all; None when a stop was asked for in the middle."""
        log.info("Iteration %d, Testing net (#%d)", self.iter, i)
        net, batches = self.test_nets[i], self.param.test_iter[i]
        averages = Averages(net)
        total: Tensor | None = None
        for _ in range(batches):
            action = Action.NONE if self._ranks.together else self.poll()
            if action == Action.SNAPSHOT:
                self._snapshot_in_passing()
            elif action == Action.STOP:
                log.info("Test interrupted.")
                return None
            batch = self.test_inputs[i].next()
            with DebugInfo(net).watching(batch) if self.param.debug_info else nullcontext():
                outputs, loss = net.forward_with_loss(batch)
            total = loss if total is None else total + loss
            averages.add(outputs)
        if self.param.test_compute_loss and total is not None:
            log.info("Test loss: %g", float(total) / batches)
        means = averages.means(self.param.ap_version, self.param.show_per_class_result)
        for line in output_lines("Test", net, means):
            log.info("%s", line)
        return {top: value.tolist() for top, value in means.items()}

    def _tests_so_far(self) -> int:
        every = self.param.test_interval
        done = (self.iter - 1) // every if every and self.iter > 0 else 0
        return done + (1 if every and self.iter > 0 and self.param.test_initialization else 0)

    # ---- snapshots

    def _snapshot_in_passing(self) -> None:
        """Snapshot, and train on where that fails: what is gained by then is worth more than the snapshot."""
        try:
            self.snapshot()
            self._unsaved = False
        except CaffeError as error:
            self._unsaved = True
            log.error("Iteration %d: no snapshot, training goes on: %s", self.iter, error)

    def snapshot_stem(self) -> Path:
        """The path of a snapshot at this iteration, without its ending."""
        return Path(f"{snapshot_prefix(self.param, self.path)}_iter_{self.iter}")

    def snapshot(self) -> Path:
        """Write the weights, then the state that goes with them; each appears whole or not at all. The state's path.

        All ranks have to call it at once: each has a part of the state, and rank 0 writes.
        """
        extra = self._extra()
        if not self._ranks.is_first:
            return self.snapshot_stem()
        ending = ".h5" if self.param.snapshot_format == SolverParameter.HDF5 else ""
        stem = self.snapshot_stem()
        weights, state = Path(f"{stem}.caffemodel{ending}"), Path(f"{stem}.solverstate{ending}")
        kind = "HDF5" if ending else "binary proto"
        try:
            stem.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WeightsError(f"{stem.parent}: cannot be made: {files.reason(error)}") from error
        log.info("Snapshotting to %s file %s", kind, weights)
        save_weights(self.net, weights, diff=self.param.snapshot_diff)
        log.info("Snapshotting solver state to %s file %s", kind, state)
        step = (
            self._plateau.step if self.param.lr_policy == "plateau" else lr_policy.step_index(self.param, self.iter - 1)
        )
        snapshot.write(state, snapshot.State(self.iter, str(weights), step, self._update.history, extra))
        return state

    def _extra(self) -> dict[str, Any]:
        """What the original forgets, see ``nets.resume``; whole on rank 0."""
        own = self._ranks.gathered({**resume.chance(self.device), "carried": resume.carried(self.net)})
        return {
            **own[0],
            "others": own[1:],
            "inputs": self.inputs.state(),
            "test_inputs": [inputs.state() for inputs in self.test_inputs],
            "test_carried": [resume.carried(net) for net in self.test_nets],
            "displayed": self._displayed.last(self.param.average_loss),
            "plateau": [self._plateau.step, self._plateau.last_event, self._plateau.minimum_loss],
        }

    def restore(self, path: str | Path) -> None:
        """Go on from a solver state, and the weights that it names: exactly, where it is one of ours.

        The weights may have moved along with the state: then they are looked for beside it.

        A state of the original does not say where the data was: it is taken to be where an unbroken run has it.
        """
        found = files.find(path, self.path)
        log.info("Restoring previous solver status from %s", found)
        state = snapshot.read(found)
        if state.learned_net:
            load_weights(self.net, snapshot.weights_of(state, found))
        self._update.load_history(state.history, state.iter)
        self.iter = state.iter
        self._displayed = Trace(self.param.average_loss)
        self._plateau = lr_policy.Plateau(state.current_step)
        for net in (self.net, *self.test_nets):
            net.forget()
        if state.extra:
            self._restore_extra(state.extra, found)
            return
        self.inputs.seek(self.iter * self.param.iter_size)
        for inputs, batches in zip(self.test_inputs, self.param.test_iter, strict=False):
            inputs.seek(self._tests_so_far() * batches)

    def _restore_extra(self, extra: Mapping[str, Any], path: Path) -> None:
        rank = self._ranks.rank
        try:
            self.inputs.restore(extra["inputs"])
            own = [extra, *extra.get("others", ())][rank : rank + 1]  # none where there were fewer ranks
            for one in own:
                resume.restore_chance(one, self.device)
                resume.restore_carried(self.net, one.get("carried", {}))
            if not self._ranks.is_first:
                return
            for inputs, cursors in zip(self.test_inputs, extra["test_inputs"], strict=True):
                inputs.restore(cursors)
            for net, states in zip(self.test_nets, extra.get("test_carried", ()), strict=False):
                resume.restore_carried(net, states)
            for value in extra["displayed"]:
                self._displayed.append(float(value))
            self._plateau = lr_policy.Plateau(*extra["plateau"])
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise WeightsError(f"{path}: its data cursors do not fit this solver: {error}") from error


def share_blobs(net: Net, owner: Net) -> None:
    """Let the layers of *net* use the blobs of the layers of the same name in *owner*, not copies of them."""
    owners = {node.name: layer for node, layer in reversed(owner.nodes)}
    for node, layer in net.nodes:
        if node.name not in owners:
            continue
        theirs = dict(owners[node.name].blob_items)
        for name, blob in layer.blob_items:
            if name not in theirs or theirs[name].shape != blob.shape:
                there = shape_text(theirs[name].shape) if name in theirs else "nothing"
                raise NetError(
                    f"test net: {node} has {name} {shape_text(blob.shape)} where the training net has {there}"
                )
            if theirs[name] is not blob and name in {**layer._parameters, **layer._buffers}:
                setattr(layer, name, theirs[name])
