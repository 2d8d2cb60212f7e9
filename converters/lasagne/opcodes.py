"""A look at a pickle before it is read: sizes that no honest one has."""

import pickletools

from protos.errors import WeightsError

LENGTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: (1, False), pickletools.TAKEN_FROM_ARGUMENT4: (4, True),
    pickletools.TAKEN_FROM_ARGUMENT4U: (4, False), pickletools.TAKEN_FROM_ARGUMENT8U: (8, False),
}  # fmt: skip
LINES = {"GLOBAL": 2, "INST": 2}
KINDS = {ord(kind.code): kind for kind in pickletools.opcodes}
PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
NESTING = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET")  # what can be a key, whose hash goes down to the leaves
CONTAINERS = ("MARK", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET")  # a byte each in the file, 64 and more in memory
DEEPEST = 1_000_000
MOST = 5_000_000
SHALLOW = 10_000


def nesting(content: bytes, where: str) -> int:
    """How many tuples and frozen sets the pickle makes, which is how deep they may be nested.

    Raises WeightsError for a pickle that is cut off, numbers what it remembers beyond what it has, nests too deep or
    makes too many containers.
    """
    position, count, nested, made = 0, 0, 0, 0
    while position < len(content):
        kind = KINDS.get(content[position])
        if kind is None:
            raise WeightsError(f"{where}: not a readable pickle (no opcode at byte {position})")
        start = position + 1
        position = _end(content, start, kind)
        count += 1
        if position > len(content):
            raise WeightsError(f"{where}: not a readable pickle (it is cut off)")
        if kind.name in PUTS and _number(content[start:position], kind.name) > count:
            raise WeightsError(f"{where}: the pickle claims memory that it does not need: it is not read")
        nested += kind.name in NESTING
        if nested > DEEPEST:
            raise WeightsError(f"{where}: the pickle nests more than {DEEPEST} tuples: it is not read")
        made += kind.name in CONTAINERS
        if made > MOST:
            raise WeightsError(f"{where}: the pickle makes more than {MOST} containers: it is not read")
        if kind.name == "STOP":
            return nested
    raise WeightsError(f"{where}: not a readable pickle (it is cut off)")


def _end(content: bytes, start: int, kind: pickletools.OpcodeInfo) -> int:
    """Where the argument of an opcode ends; beyond the content where that is cut off."""
    if kind.arg is None:
        return start
    size = kind.arg.n
    if size >= 0:
        return start + size
    if size == pickletools.UP_TO_NEWLINE:
        for _ in range(LINES.get(kind.name, 1)):
            found = content.find(b"\n", start)
            start = len(content) + 1 if found < 0 else found + 1
        return start
    width, signed = LENGTHS[size]
    return start + width + max(0, int.from_bytes(content[start : start + width], "little", signed=signed))


def _number(argument: bytes, name: str) -> int:
    if name != "PUT":
        return int.from_bytes(argument, "little")
    digits = argument.strip()
    return int(digits) if digits.isdigit() and len(digits) < 19 else 1 << 63
