"""What a GPU would complain of, where there is none: tensors of two devices, and values that are read back."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nets.layers.normalization import channel_windows, pooled_windows
from nets.step import UNREPEATABLE
from tests.nets.cases import CASES

HERE = Path(__file__).parent
VALUES = ("aten._local_scalar_dense", "aten.nonzero", "aten.is_nonzero", ".numpy() is not supported")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if sys.platform != "linux" or shutil.which("g++") is None:
        pytest.skip("there is no compiler")
    if torch.version.cuda is not None:
        pytest.skip("this PyTorch knows real GPUs: their tests say the same, and more")
    made, root = tmp_path_factory.mktemp("pretended") / "gpu.so", Path(torch.__file__).parent
    words = ["g++", "-std=c++20", "-O1", "-shared", "-fPIC", f"-I{root}/include", str(HERE / "pretended_gpu.cpp")]
    words += ["-o", str(made), f"-L{root}/lib", f"-Wl,-rpath,{root}/lib", "-lc10", "-ltorch_cpu"]
    subprocess.run(words, check=True)
    return made


def test_all_stays_on_the_gpu_and_nothing_waits_for_it(library: Path, tmp_path: Path) -> None:
    """Layers that read values back are run without a CUDA graph, all others and all updates can be captured."""
    found = subprocess.run(
        [sys.executable, "-m", "tests.nets.pretended_gpu"],
        env={**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(HERE.parents[1])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-2000:]
    report = json.loads(found.stdout.splitlines()[-1])
    assert report["ran"] > 2 * len(CASES)
    kinds = {case.name: {layer.type for layer in case.param.layer} for case in CASES}
    unexpected = {
        name: reason
        for name, reason in report["failed"].items()
        if not (kinds.get(name, set()) & UNREPEATABLE and any(words in reason for words in VALUES))
    }
    assert not unexpected


@pytest.mark.parametrize("size", [1, 3, 5, 7])
def test_windows_over_channels_as_a_gpu_takes_them(size: int) -> None:
    x = torch.rand(2, 7, 4, 3)
    torch.testing.assert_close(pooled_windows(x, size), channel_windows(x, size))
