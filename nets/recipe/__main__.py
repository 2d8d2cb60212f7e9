"""``python -m nets.recipe NAME --source DIR --work DIR``: an experiment from the publisher's files to its page."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import join

import torch

from nets import console
from nets.recipe import runner
from nets.recipe.experiment import CLASSES, Experiment
from nets.recipe.experiments import EXPERIMENTS
from nets.recipe.results import Results, missed
from nets.recipe.sizes import Size
from nets.recipe.stage import Stage
from nets.recipe.work import Work
from nets.report import Report, Weights, machine, write_report
from protos import files
from protos.errors import CaffeError
from protos.registry import suggest

PAGE = "report.html"


def parser() -> argparse.ArgumentParser:
    """The flags of the command."""
    made = console.parser("nets.recipe", "Run an experiment from the publisher's files to a page of results.")
    made.add_argument("name", nargs="?", metavar="NAME", help="which one; --list names them")
    console.flag(made, "list", "name all recipes", action="store_true")
    console.flag(made, "source", "the folder of the published files", type=Path, metavar="DIR")
    console.flag(made, "work", "the folder for all that is made; to go on, the same again", type=Path, metavar="DIR")
    console.flag(made, "quick", "a trial of a minute: 1,000 records, a few iterations", action="store_true")
    console.flag(made, "gpu", "on the GPUs: the first one, and lenet_32 on all", action="store_true")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    args = console.parse(parser(), argv)
    if args.list:
        width = max(map(len, EXPERIMENTS))
        print("\n".join(f"{one.name:{width}}  {one.line}" for one in EXPERIMENTS.values()))
        return 0
    if sys.platform == "win32":
        raise CaffeError("recipes do not run on Windows itself, but in its Linux subsystem (WSL)")
    if args.name not in EXPERIMENTS:
        said = f"unknown recipe '{args.name}'{suggest(args.name, EXPERIMENTS)}" if args.name else "name a recipe"
        raise CaffeError(f"{said}; --list names them all")
    if args.quick and args.gpu:
        raise CaffeError("--quick and --gpu are two sizes of a run: give one")
    if args.source is None or args.work is None:
        raise CaffeError(f"nets.recipe {args.name}: give --source and --work, two folders")
    experiment = EXPERIMENTS[args.name]
    source = args.source.expanduser().resolve()
    experiment.published.check(source)
    return _run(experiment, source, args.work, _size(args))


def _size(args: argparse.Namespace) -> Size:
    gpus = torch.cuda.device_count() if args.gpu and torch.cuda.is_available() else 0
    if args.gpu and not gpus:
        print("--gpu: no GPU is found, so this runs on the CPU")
    return Size("gpu" if args.gpu else "quick" if args.quick else "default", gpus)


def _run(experiment: Experiment, source: Path, folder: Path, size: Size) -> int:
    work = Work(folder, {"recipe": experiment.name, "size": size.name, "source": str(source)})
    _lay_out(experiment, size, folder)
    stages = experiment.stages(size, source)
    try:
        runner.run(stages, work)
    except runner.InterruptedRunError:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return console.INTERRUPTED
    _report(experiment, size, work, stages)
    return 0


def _lay_out(experiment: Experiment, size: Size, folder: Path) -> None:
    """Write prototxts and class names where they are not yet; what a user changed stays."""
    wanted = {**experiment.prototxts(size), CLASSES: "".join(f"{name}\n" for name in experiment.classes)}
    for name, content in wanted.items():
        path = folder / name
        if not path.exists():
            with files.replacing(path) as file:
                file.write(content.encode())
        elif path.read_bytes() != content.encode():
            print(f"{path}: is not as the recipe has it, and is used as it is")


def _report(experiment: Experiment, size: Size, work: Work, stages: Sequence[Stage]) -> None:
    folder = work.path
    seconds = {stage.name: work.stages[stage.name].seconds for stage in stages}
    results = Results(folder, seconds, size.quick)
    figures = list(experiment.figures(results))
    commands = [join(("cd", str(folder.resolve()))), *(stage.command for stage in stages)]
    report = Report(
        title=experiment.name,
        description=experiment.about + (" This was a trial on few records." if size.quick else ""),
        figures=figures,
        graph_svg=folder / "net.svg" if (folder / "net.svg").exists() else None,
        graph_missing=f"stage draw failed: see {folder / 'logs/draw.log'}",
        logs=[(f"train{variant}", folder / f"logs/train{variant}.log") for variant in experiment.variants],
        epoch=0 if size.quick else experiment.epoch,
        predictions=results.with_images(experiment.tested),
        weights=Weights(
            folder / experiment.deploy(size), folder / experiment.weights(size), channels=experiment.channels
        ),
        times=list(seconds.items()),
        machine=machine("cuda" if size.gpus else "cpu"),
        commands=commands,
        files=[(stage.name, folder / path) for stage in stages for path in stage.makes if (folder / path).is_file()],
    )
    write_report(report, folder / PAGE)
    for figure in figures:
        beside = f" (tutorial: {figure.tutorial})" if figure.tutorial else ""
        print(f"{figure.name}: {figure.ours}{beside}")
    if said := missed(figures):
        print(f"missed: {said}")
    print(f"{folder / PAGE}: the page of results")


if __name__ == "__main__":
    console.run(main)
