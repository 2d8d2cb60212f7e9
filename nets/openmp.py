"""How long PyTorch's threads on a CPU wait awake for each other; to be imported before torch, which reads it once.

GNU's OpenMP lets a thread spin for milliseconds before it sleeps. Beside another busy program that takes the core from
the very thread that is waited for, at each operator: a small net trains a hundred times slower. A tenth of that still
bridges the time between two operators (``benchmarks/busy.py``).
"""

import os

SPINS = 30_000  # of 300,000; fewer cost something on a machine of one's own

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
