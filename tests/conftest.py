"""Workers of ``pytest -n`` divide the cores: more threads than cores would wait for each other."""

import os

if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):  # before torch is imported, which reads the other
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))
