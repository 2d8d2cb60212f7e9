"""Freed memory stays with the process: no page faults from the second time on."""

import subprocess
import sys

import pytest

PROBE = """
import resource
{}
import torch
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        kept = [torch.ones(10_000_000) for _ in range(2)]
        del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a matter of glibc")
def test_blobs_are_not_faulted_in_again():
    def faults(setting: str) -> int:
        done = subprocess.run([sys.executable, "-c", PROBE.format(setting)], capture_output=True, text=True, check=True)
        return int(done.stdout)

    usual = faults("")
    kept = faults("from nets.placement import keep_freed_memory; keep_freed_memory()")
    assert kept < usual / 10
