"""Nets and solvers read from files and written to them, as prototxt or in protobuf's binary form.

What is read comes back in the current format, whichever format it was written in (`protos.upgrade`).

>>> net = parse_net('layer { name: "relu" type: "ReLU" bottom: "x" top: "x" }')
>>> net.layer[0].type
'ReLU'
>>> parse_net('layer { name: "relu" tipe: "ReLU" }', path="net.prototxt")
Traceback (most recent call last):
protos.errors.UnknownFieldError: net.prototxt:1:22: unknown field 'tipe' in LayerParameter, did you mean type?
"""

import codecs
import os
import re
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from protos import files
from protos.errors import CaffeWarning, ParseError, UnknownFieldError, listing
from protos.scan import Edit, Fault, Findings, balanced, descriptor_of, mended, plain, scan, tokens
from protos.schema import BlobProto, NetParameter, SolverParameter, VerbatimParameter
from protos.upgrade import upgrade_net, upgrade_solver

Path = str | os.PathLike[str]
M = TypeVar("M", bound=Message)

REMEDY = "allow_unknown=True (--allow-unknown) ignores unknown fields and values"
_KIND = {"NetParameter": "net", "SolverParameter": "solver"}
_OTHER: dict[str, Descriptor] = {
    "NetParameter": descriptor_of(SolverParameter),
    "SolverParameter": descriptor_of(NetParameter),
}
# What may stand behind a backslash.
_ESCAPE = re.compile(r"[\\\"'?abfnrtv0-7]|[xX][0-9a-fA-F]|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}")
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r"))


def parse_net(s: str, *, path: Path | None = None, allow_unknown: bool = False) -> NetParameter:
    """The net in the prototxt *s*, upgraded to the current format.

    *path* is named in errors. Fields and enum values that the schema does not know raise an UnknownFieldError that
    lists all of them; with *allow_unknown* they are left out, and one CaffeWarning lists them.
    """
    return _upgraded(upgrade_net, _parse(s, NetParameter, path, allow_unknown), path)


def parse_solver(s: str, *, path: Path | None = None, allow_unknown: bool = False) -> SolverParameter:
    """The solver in the prototxt *s*, upgraded to the current format; options as for `parse_net`.

    Of ``device_id: [2, 3]`` the first is ``device_id``, and all are ``device_ids``.
    """
    return _upgraded(upgrade_solver, _parse(s, SolverParameter, path, allow_unknown), path)


def read_net(path: Path, *, allow_unknown: bool = False) -> NetParameter:
    """The net in the file at *path*, a prototxt or a binary NetParameter, upgraded to the current format.

    CaffeError where there is no such file, ParseError where it does not parse; options as for `parse_net`.
    """
    return _upgraded(upgrade_net, _read(path, NetParameter, allow_unknown), path)


def read_solver(path: Path, *, allow_unknown: bool = False) -> SolverParameter:
    """The solver in the file at *path*; all else as for `read_net`."""
    return _upgraded(upgrade_solver, _read(path, SolverParameter, allow_unknown), path)


def to_text(message: Message) -> str:
    """*message*, of any type, as prototxt, without the fields that are not set; it parses back as equal."""
    return text_format.MessageToString(message, as_utf8=True, message_formatter=_as_it_stood)


def write(message: Message, path: Path, *, binary: bool = False) -> None:
    """Write *message* to *path*, as prototxt or as protobuf's binary form; the file is replaced whole."""
    _check_complete(message, path)
    content = message.SerializeToString() if binary else to_text(message).encode()
    with files.replacing(path) as f:
        f.write(content)


def _upgraded(upgrade: Callable[[M], M], message: M, path: Path | None) -> M:
    try:
        return upgrade(message)
    except ParseError as error:
        raise ParseError(f"{_shown(path)}: {error}") from error


def _shown(path: Path | None) -> str:
    return "prototxt" if path is None else os.fspath(path)


def _read(path: Path, kind: type[M], allow_unknown: bool) -> M:
    content = files.read(path)
    if not content.strip():
        raise ParseError(f"{_shown(path)}: the file is empty")
    if _is_binary(content):
        return _parse_binary(content, kind, path, allow_unknown)
    return _parse(_decoded(content), kind, path, allow_unknown)


def _is_binary(content: bytes) -> bool:
    """Tags and lengths are control characters, of which a text has none, or a stray one in a comment."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):  # the mark of UTF-16
        return False
    controls = len(content) - len(content.translate(None, _CONTROLS))
    return b"\0" in content or controls * 100 > len(content)


def _decoded(content: bytes) -> str:
    """A text in any encoding: the words of prototxt are ASCII, others stand in comments and file names."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    return files.decoded(content.removeprefix(codecs.BOM_UTF8))


def _parse_binary(content: bytes, kind: type[M], path: Path, allow_unknown: bool) -> M:
    try:
        message = kind.FromString(content)
    except DecodeError as error:
        what = f"neither prototxt nor a whole binary {kind.DESCRIPTOR.name}: damaged or cut short?"
        raise ParseError(f"{_shown(path)}: {what}") from error
    _check_complete(message, path)
    if any(_has_raw_bytes(inner) for inner in _within(message)):
        raise ParseError(f"{_shown(path)}: a string in it is not UTF-8")
    unknown = dict.fromkeys(number for inner in _within(message) for number in _unknown_numbers(inner))
    if unknown and not allow_unknown:
        raise UnknownFieldError(f"{_shown(path)}: unknown {listing(list(unknown))}; {REMEDY}")
    if unknown:
        warnings.warn(f"{_shown(path)}: ignored unknown {listing(list(unknown))}", CaffeWarning, stacklevel=4)
        message.DiscardUnknownFields()
    return message


def _within(message: Message) -> Iterator[Message]:
    """*message* and all messages below it, weights aside."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type is not BlobProto.DESCRIPTOR:
            for inner in value if field.is_repeated else [value]:
                yield from _within(inner)


def _unknown_numbers(message: Message) -> Iterator[str]:
    """The fields that *message* was read with and the schema does not have."""
    for unknown in UnknownFieldSet(message):  # type: ignore[attr-defined]  # its stub lacks __iter__
        yield f"field number {unknown.field_number} in {message.DESCRIPTOR.name}"


def _has_raw_bytes(message: Message) -> bool:
    """Whether a string field holds bytes, as protobuf gives them back where they are no UTF-8."""
    return any(
        isinstance(text, bytes)
        for field, value in message.ListFields()
        if field.type == field.TYPE_STRING
        for text in (value if field.is_repeated else [value])
    )


def _parse(text: str, kind: type[M], path: Path | None, allow_unknown: bool) -> M:
    text = _escaped(text.removeprefix("\ufeff"))
    try:
        text.encode()
        message = text_format.Parse(text, kind())
    except (text_format.ParseError, RecursionError):
        message = _parse_mended(text, kind, path, allow_unknown)
    except UnicodeEncodeError as error:
        raise ParseError(f"{_shown(path)}:{_place(text, error.start)}: not valid Unicode") from error
    _check_complete(message, path)
    return message


def _escaped(text: str) -> str:
    """*text* with every backslash doubled that begins no escape, so that it stands for itself.

    Hexadecimal digits behind an X go behind an x, as protobuf's parser for Python knows no other.
    """

    def doubled(match: re.Match[str]) -> str:
        if not _ESCAPE.match(text, match.start() + 1):
            return "\\" + match[0]
        return match[0].replace("X", "x")

    return re.sub(r"\\.", doubled, text, flags=re.DOTALL)


def _parse_mended(text: str, kind: type[M], path: Path | None, allow_unknown: bool) -> M:
    """Parse after mending what can be mended; ParseError with all that cannot."""
    findings = scan(text, kind)
    _check_kind(descriptor_of(kind), findings, path)
    if findings.faults:
        faults = findings.faults + ([] if allow_unknown else findings.unknown)
        raise ParseError(f"{_shown(path)}:{_described(text, faults)}")
    if findings.unknown and not allow_unknown:
        remedy = "" if _looks_like_a_slip(findings.unknown) else f"; {REMEDY}"
        raise UnknownFieldError(f"{_shown(path)}:{_described(text, findings.unknown)}{remedy}")
    message = _parse_edited(text, kind, path, _edits(findings))
    if findings.unknown:
        what = f"{_shown(path)}: ignored {_described(text, findings.unknown)}"
        warnings.warn(what, CaffeWarning, stacklevel=5)
    return message


def _looks_like_a_slip(unknown: list[Fault]) -> bool:
    """Whether one name is unknown, and another is near it: a fork has several, or what nobody else has."""
    return len(unknown) == 1 and "did you mean" in unknown[0].message


def _edits(findings: Findings) -> list[Edit]:
    """The mending edits, and the removal of all that is unknown, which may have mended parts within."""
    removed = {(fault.start, fault.end) for fault in findings.unknown}
    kept = [edit for edit in findings.edits if not any(start <= edit.start < end for start, end in removed)]
    return kept + [Edit(start, end, "") for start, end in removed]


def _parse_edited(text: str, kind: type[M], path: Path | None, edits: list[Edit]) -> M:
    edited = mended(text, edits)
    try:
        return text_format.Parse(edited.text, kind())
    except RecursionError as error:
        raise ParseError(f"{_shown(path)}: nested too deeply") from error
    except text_format.ParseError as error:
        offset = _offset(edited.text, error.GetLine() or 1, error.GetColumn() or 1)
        found = next(tokens(edited.text[offset:]))
        where = _place(text, edited.original(offset + found.start))
        raise ParseError(f"{_shown(path)}:{where}: {_reason(error, edited.text)}, at {found}") from error


def _reason(error: text_format.ParseError, text: str) -> str:
    """What protobuf's parser says, without the place and the line, which it puts in front."""
    message = re.sub(r"^\d+:\d+ : ", "", str(error))
    line_number = error.GetLine()
    if line_number:
        line = text.split("\n")[line_number - 1]
        message = message.removeprefix(f"'{line}': ").removeprefix("'': ")
    return re.sub(r"\s+", " ", message).replace('"caffe.', '"').rstrip(".")


def _check_kind(wanted: Descriptor, findings: Findings, path: Path | None) -> None:
    other = _OTHER[wanted.name]
    foreign = [f.name for f in findings.unknown if f.depth == 0 and f.name in other.fields_by_name]
    if foreign:
        names = ", ".join(list(dict.fromkeys(foreign))[:3])
        is_, wants = _KIND[other.name], _KIND[wanted.name]
        raise ParseError(f"{_shown(path)}: this is a {is_} (it has {names}), and a {wants} is wanted")


def _check_complete(message: Message, path: Path | None) -> None:
    missing = message.FindInitializationErrors()  # type: ignore[attr-defined]  # not in the stubs
    if missing:
        raise ParseError(f"{_shown(path)}: missing {', '.join(missing)}, required by the schema")


def _described(text: str, faults: list[Fault]) -> str:
    """``line:column: message`` of each fault in the order of the text; equal ones once, with their count."""
    grouped: dict[str, list[Fault]] = {}
    for fault in sorted(faults, key=lambda fault: fault.start):
        grouped.setdefault(fault.message, []).append(fault)
    return listing(
        [
            f"{_place(text, same[0].start)}: {message}" + (f" ({len(same)} times)" if len(same) > 1 else "")
            for message, same in grouped.items()
        ]
    )


def _place(text: str, offset: int) -> str:
    return f"{text.count(chr(10), 0, offset) + 1}:{offset - text.rfind(chr(10), 0, offset)}"


def _offset(text: str, line: int, column: int) -> int:
    return sum(len(before) + 1 for before in text.split("\n")[: line - 1]) + column - 1


def _as_it_stood(message: Message, indent: int, as_one_line: bool) -> str | None:
    """The text of a VerbatimParameter, where it reads back as the same; None for protobuf's own form."""
    if not isinstance(message, VerbatimParameter) or not message.text:
        return None
    body = list(tokens(message.text))[:-1]
    starts_like_ours = [token.text for token in body[:2]] == ["text", ":"]
    if starts_like_ours or not balanced(body) or plain(body) != message.text or _escaped(message.text) != message.text:
        return None
    return message.text
