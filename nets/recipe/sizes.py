"""The sizes of a run, and prototxts with the sizes filled in."""

import re
from dataclasses import dataclass
from math import ceil

QUICK_RECORDS = 1000
SCALED = ("max_iter", "stepvalue", "test_interval", "display", "average_loss", "snapshot")


@dataclass(frozen=True)
class Size:
    """``quick``: on the first 1,000 records of each store, a few iterations; ``gpus``: how many are used, if any."""

    name: str = "default"
    gpus: int = 0

    @property
    def quick(self) -> bool:
        """Whether this is a trial."""
        return self.name == "quick"

    @property
    def limit(self) -> tuple[str, ...]:
        """The flags that keep stores small."""
        return ("--limit", str(QUICK_RECORDS)) if self.quick else ()


def number(prototxt: str, field: str) -> int:
    """The value of the integer *field* in a line of its own.

    >>> number("lr_policy: 'fixed'\\nmax_iter: 25", "max_iter")
    25
    """
    found = re.search(rf"^{field}: (\d+)$", prototxt, re.MULTILINE)
    assert found is not None, field
    return int(found[1])


def shortened(solver: str, iterations: int) -> str:
    """The solver prototxt for that many *iterations*, all its intervals shorter alike; tests see 1,000 records.

    >>> print(shortened("max_iter: 1000\\ndisplay: 100\\ntest_iter: 100\\n# as before", 50))
    max_iter: 50
    display: 5
    test_iter: 10
    # as before
    """
    share = iterations / number(solver, "max_iter")

    def shorter(found: re.Match[str]) -> str:
        return f"{found[1]}: {ceil(int(found[2]) * share)}"

    out = re.sub(rf"^({'|'.join(SCALED)}): (\d+)$", shorter, solver, flags=re.MULTILINE)
    return re.sub(r"^test_iter: \d+$", f"test_iter: {QUICK_RECORDS // 100}", out, flags=re.MULTILINE)


def split(net: str, parts: int) -> str:
    """The net prototxt with the batches of its training stores split into *parts*, one for each GPU.

    >>> split('source: "stores/mnist_train_lmdb" batch_size: 64', 4)
    'source: "stores/mnist_train_lmdb" batch_size: 16'
    """

    def smaller(found: re.Match[str]) -> str:
        return f"{found[1]}{max(1, int(found[2]) // parts)}"

    return re.sub(r"(_train\w*_lmdb\" batch_size: )(\d+)", smaller, net)
