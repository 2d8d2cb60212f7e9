"""What the commands share: the form of log lines, flags, devices and signals."""

import argparse
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nets import cli, console
from nets.solver import Action
from protos.errors import CaffeError, CaffeWarning


def test_log_lines_have_the_form_that_parsers_know() -> None:
    record = logging.LogRecord("caffe", logging.WARNING, "/x/solver.py", 45, "Iteration %d", (7,), None)
    line = console.LogFormatter().format(record)
    assert re.fullmatch(r"W\d{8} \d\d:\d\d:\d\d\.\d{6} +\d+ solver\.py:45\] Iteration 7", line)


def test_a_warning_is_one_line_without_our_code() -> None:
    assert console.format_warning(CaffeWarning("a: b"), CaffeWarning, "x.py", 3) == "warning: a: b\n"
    assert console.format_warning("a: b", UserWarning, "x.py", 3).startswith("x.py:3: UserWarning: a: b")


@pytest.mark.parametrize("word", ["--sigint-effect", "-sigint-effect", "--sigint_effect", "-sigint_effect"])
def test_flags_in_all_spellings(word: str) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    console.flag(parser, "sigint_effect", "")
    assert console.parse(parser, [word, "stop"]).sigint_effect == "stop"
    assert console.parse(parser, [f"{word}=stop"]).sigint_effect == "stop"


def test_help_as_the_original_spells_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        console.parse(console.parser("nets.x", "Does x."), ["-help"])
    assert left.value.code == 0
    assert "Does x." in capsys.readouterr().out


def test_devices_that_are_not_there() -> None:
    assert console.devices(None) == []
    for text in ("99", "0,99"):
        with pytest.raises(CaffeError, match=f"--gpu {text}: there"):
            console.devices(text)
    with pytest.raises(CaffeError, match="give numbers separated by commas, or 'all'"):
        console.devices("first")


def test_signals_become_actions_in_their_order() -> None:
    with console.Signals("snapshot", "none").caught() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGHUP)
        assert (signals.poll(), signals.poll()) == (Action.SNAPSHOT, Action.NONE)
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.poll() == Action.STOP
        assert signals.stopped


def test_a_second_interrupt_ends_at_once() -> None:
    with console.Signals().caught() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.poll() == Action.STOP
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (CaffeError("a: is bad"), 2, "error: a: is bad\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (torch.OutOfMemoryError("no room\nat all"), 2, "error: the device is out of memory: no room\n"),
        (torch.AcceleratorError("CUDA error: assert\nhints"), 2,
         "error: the GPU stopped: CUDA error: assert; if a label or an index is out of range, the same command on a "
         "CPU names its layer\n"),
    ],
)  # fmt: skip
def test_exit_statuses(error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise error

    with pytest.raises(SystemExit) as left:
        console.run(main)
    assert left.value.code == status
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    "words",
    [
        ["nets.layers"],
        ["nets.summary", "protos/zoo/lenet/deploy.prototxt"],
        ["data.inspect", "tests/golden/solvers/digits_lmdb"],
    ],
)
def test_a_reader_who_goes_away_is_no_error(words: list[str]) -> None:
    command = [sys.executable, "-m", *words]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_flags_of_the_originals_other_commands_are_taken(capfd: pytest.CaptureFixture[str]) -> None:
    """gflags knows all flags in all commands, and those of the logging library; old scripts give them."""

    def parsed(*words: str) -> argparse.Namespace:
        parser = console.parser("nets.x", "Does x.")
        console.flag(parser, "model", "m")
        return console.parse_original(parser, words)

    words = [
        "-model=m",
        "-phase",
        "TRAIN",
        "-logtostderr",
        "-nolog_prefix",
        "--alsologtostderr=1",
        "-log_dir=/tmp",
        "-v",
        "2",
    ]
    assert parsed(*words).model == "m"
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith(
        "flags of the original that have no effect here: -phase, -logtostderr, -nolog_prefix, -alsologtostderr, "
        "-log_dir, -v"
    )
    parsed("-model=m")
    assert capfd.readouterr().err == ""
    with pytest.raises(SystemExit) as left:
        parsed("-modle=m")
    assert left.value.code == 2


def test_no_gpu_is_named_by_an_empty_flag() -> None:
    assert console.devices("") == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs")
def test_all_gpus_where_there_are_none() -> None:
    with pytest.raises(CaffeError, match="--gpu all: there are 0 GPUs"):
        cli.dispatch(["device_query"])


def test_the_command_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.dispatch([]) == 2
    said = capsys.readouterr().out
    assert said.startswith("usage: caffe COMMAND [flags]")
    assert all(f"  {command} " in said for command in cli.COMMANDS)
    assert cli.dispatch(["-help"]) == 0
    assert capsys.readouterr().out == said
