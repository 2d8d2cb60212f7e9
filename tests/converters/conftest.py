"""The cases of all layers live with the tests of nets."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "nets"))
