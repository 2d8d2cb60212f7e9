"""Why a prototxt does not parse: a walk over its text along the descriptors, past the first fault.

`protos.text` calls it only after protobuf's own parser has refused a text. It finds all unknown fields and
enum values at once, names what is no prototxt yet (placeholders of templates, conflicts of git), and mends the few
spellings that public files have and the schema, or protobuf's parser in Python, cannot express:

>>> from protos.schema import NetParameter, SolverParameter
>>> findings = scan('nam: "x" layer { type: CONVOLUTION }', NetParameter)
>>> [(fault.start, fault.message) for fault in findings.unknown]
[(0, "unknown field 'nam' in NetParameter, did you mean name?")]
>>> mended("device_id: [2, 3]", scan("device_id: [2, 3]", SolverParameter).edits).text
'device_id: 2 device_ids: [2, 3]'
"""

import contextlib
import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from protos.registry import suggest
from protos.schema import V1LayerParameter
from protos.upgrade import v1_type

MAX_DEPTH = 100  # as many levels as protobuf's binary format allows

_TOKEN = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)
    |(?P<conflict>^(?:<{7}|={7}|>{7}|\|{7})(?=\s|\Z)[^\r\n]*)
    |(?P<placeholder>(?:
        \$(?:\{[^{}\n]*\}|\([^()\n]*\)|\w+)
        |\{\{[^\n]*?\}\}|\{%[^\n]*?%\}|<%[^\n]*?%>|<<[^<>\n]+>>
        |%(?:\(\w+\))?[\d.]*[a-z]|@\w+@
    )[\w./:-]*)
    |(?P<name>[a-zA-Z_][0-9a-zA-Z_+-]*)
    |(?P<number>(?:[0-9+-]|\.[0-9])[0-9a-zA-Z_.+-]*)
    |(?P<string>"(?:[^"\n\\]|\\.)*"|'(?:[^'\n\\]|\\.)*')
    |(?P<mark>[{}<>[\]:,;])
    |(?P<broken>["'][^\n]*|.)""",
    re.VERBOSE | re.MULTILINE,
)
_PLACEHOLDER_IN_BRACES = re.compile(r"\{\w*\}|<\w+>")  # where a value is wanted; elsewhere they are messages
_PLACEHOLDER_WORD = re.compile(r"_*[A-Z][A-Z0-9_]+|__\w+__")
_UNFILLED = "which looks like a placeholder of a template, to be filled in first"
_CLOSING = {"{": "}", "<": ">", "[": "]"}
_SOUND = ("name", "number", "string", "mark")
_EXPECTED = {
    FieldDescriptor.TYPE_BOOL: "true or false",
    FieldDescriptor.TYPE_BYTES: "a quoted string",
    FieldDescriptor.TYPE_ENUM: "a name",
    FieldDescriptor.TYPE_STRING: "a quoted string",
}
# Loose: the parser has the last word on a value, on its range for one.
_NUMBER = re.compile(r"[-+.]*\d.*|[-+]?(inf|nan).*", re.IGNORECASE)
_UNSIGNED = re.compile(r"[\d.].*|inf(inity)?|nan", re.IGNORECASE)
_WHOLE = re.compile(r"[-+]?(\d+|0x[0-9a-f]+)", re.IGNORECASE)
_QUOTED = re.compile(r"[\"'].*")
_FITS = {
    FieldDescriptor.TYPE_BOOL: re.compile("true|True|t|1|false|False|f|0"),
    FieldDescriptor.TYPE_BYTES: _QUOTED,
    FieldDescriptor.TYPE_STRING: _QUOTED,
}
for _type in ("INT32", "INT64", "UINT32", "UINT64"):
    _EXPECTED[getattr(FieldDescriptor, f"TYPE_{_type}")] = "a whole number"
    _FITS[getattr(FieldDescriptor, f"TYPE_{_type}")] = _WHOLE
_V1_NAMES = V1LayerParameter.LayerType.keys()
_V1_ENUMS = {v1_type(name): name for name in _V1_NAMES}


@dataclass(frozen=True)
class Token:
    """A piece of text: its kind is name, number, string, mark, end, or one of what is no token of a prototxt.

    Those are conflict, placeholder and broken.
    """

    kind: str
    text: str
    start: int
    end: int

    def __str__(self) -> str:
        shown = repr(self.text) if self.text else "the end of the text"
        return f"{shown}, {_UNFILLED}" if self.kind == "placeholder" else shown


@dataclass(frozen=True)
class Fault:
    """Something wrong in the field *name*, which spans the text from *start* to *end*."""

    start: int
    end: int
    message: str
    name: str
    depth: int


@dataclass(frozen=True)
class Edit:
    """*text* in place of what stands from *start* to *end*."""

    start: int
    end: int
    text: str


@dataclass
class Findings:
    """Unknown fields and enum values; other faults that can be named; and what mends known odd spellings."""

    unknown: list[Fault] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)


@dataclass(frozen=True)
class Mended:
    """An edited text that knows where each of its characters was before."""

    text: str
    _starts: Sequence[tuple[int, int]]

    def original(self, offset: int) -> int:
        """The place in the text before the edits of the character at *offset*."""
        start, before = max(pair for pair in self._starts if pair[0] <= offset)
        after = next((b for s, b in self._starts if s > start), None)
        return before + offset - start if after is None else min(before + offset - start, after)


def mended(text: str, edits: Sequence[Edit]) -> Mended:
    """*text* after *edits*, which must not overlap.

    >>> m = mended("ab cd", [Edit(0, 2, "xyz")])
    >>> m.text, m.original(4)
    ('xyz cd', 3)
    """
    pieces, starts, length, position = [], [(0, 0)], 0, 0
    for edit in sorted(edits, key=lambda edit: edit.start):
        for piece, before in ((text[position : edit.start], position), (edit.text, edit.start)):
            starts.append((length, before))
            pieces.append(piece)
            length += len(piece)
        position = edit.end
    starts.append((length, position))
    return Mended("".join(pieces) + text[position:], starts)


def scan(text: str, kind: type[Message]) -> Findings:
    """Walk *text* as a message of *kind*, up to its end or the first error of syntax."""
    scanner = _Scanner(text)
    with contextlib.suppress(_StopScanError):
        scanner.message(descriptor_of(kind), closing="", depth=0)
    return scanner.findings


def descriptor_of(kind: type[Message]) -> Descriptor:
    """What *kind* consists of."""
    descriptor: Descriptor = kind.DESCRIPTOR  # type: ignore[assignment]  # the C twin of the same class
    return descriptor


def tokens(text: str) -> Iterator[Token]:
    """The tokens of *text*, without space and comments, then one of kind ``end``."""
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "space":
            yield Token(match.lastgroup or "", match.group(), *match.span())
    yield Token("end", "", len(text), len(text))


def plain(body: Sequence[Token]) -> str:
    """The tokens of a message's body on one line, with a space between any two where one is usual."""
    if not body:
        return ""
    spaced = ("" if token.text in (":", ",", ";") else " " for token in body[1:])
    return body[0].text + "".join(space + token.text for space, token in zip(spaced, body[1:], strict=True))


def balanced(body: Sequence[Token]) -> bool:
    """Whether every brace and quote in *body* is closed by its like."""
    closing: list[str] = []
    for token in body:
        if token.text in _CLOSING:
            closing.append(_CLOSING[token.text])
        elif token.text in _CLOSING.values() and (not closing or closing.pop() != token.text):
            return False
    return not closing and all(token.kind in _SOUND for token in body)


@functools.cache
def _unknown_field(name: str, descriptor: Descriptor) -> str:
    return f"unknown field {name!r} in {descriptor.name}{suggest(name, descriptor.fields_by_name)}"


def _is_placeholder(known: FieldDescriptor, word: str) -> bool:
    """Whether *word* is written as nobody writes a value of this field, but the variable of a template."""
    if known.enum_type is not None or known.type == FieldDescriptor.TYPE_BOOL:
        return False
    return known.full_name != "caffe.LayerParameter.type" and _PLACEHOLDER_WORD.fullmatch(word) is not None


class _StopScanError(Exception):
    """The text is no longer of the form that a prototxt has."""


class _NextLayerError(Exception):
    """A layer begins in a message of this *depth*, which can hold none."""

    def __init__(self, depth: int) -> None:
        super().__init__(depth)
        self.depth = depth


class _Scanner:
    """The walk: a position in the tokens, and what was found so far."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(tokens(text))
        self.position = 0
        self.findings = Findings()

    def message(self, descriptor: Descriptor, closing: str, depth: int) -> None:
        """The fields of a message, up to and with its *closing* brace."""
        if depth > MAX_DEPTH:
            raise self.stop(f"messages are nested deeper than {MAX_DEPTH} levels")
        seen: set[str] = set()
        while not self.ends(closing):
            name = self.field_name(closing)
            try:
                self.field(descriptor, name, depth, seen)
            except _NextLayerError as error:
                if depth and descriptor.name != "NetParameter":
                    raise
                self.unclosed(name, error.depth - depth)

    def field(self, descriptor: Descriptor, name: Token, depth: int, seen: set[str]) -> None:
        """What follows the *name* of a field in a message of which the fields *seen* came before."""
        if depth and self.begins_a_layer(descriptor, name):
            self.position -= 1
            raise _NextLayerError(depth)
        known = descriptor.fields_by_name.get(name.text)
        if known is None:
            self.skip_value()
            self.unknown(name, _unknown_field(name.text, descriptor), depth)
        else:
            if known.name in seen and not known.is_repeated:
                self.fault(name, f"{name} stands twice in one {descriptor.name}")
            seen.add(known.name)
            self.known(known, name, depth)
        self.separator()

    def begins_a_layer(self, descriptor: Descriptor, name: Token) -> bool:
        """Whether *name* opens a layer in what holds none: nets do, and V1's layers hold those of V0."""
        after = self.tokens[self.position + (self.next.text == ":")]
        holds_one = descriptor.name == "NetParameter" or (descriptor.name, name.text) == ("V1LayerParameter", "layer")
        return name.text in ("layer", "layers") and after.text in ("{", "<") and not holds_one

    def unclosed(self, name: Token, count: int) -> None:
        """Note that *name* opens a message that lacks *count* closing braces before the next token."""
        line = self.text.count("\n", 0, name.start) + 1
        missing = "a '}' is missing" if count == 1 else f"{count} '}}' are missing"
        self.fault(self.next, f"{missing} before {self.next}: the {name} of line {line} is not closed")

    @property
    def next(self) -> Token:
        return self.tokens[self.position]

    @property
    def last(self) -> Token:
        return self.tokens[self.position - 1]

    def field_name(self, closing: str) -> Token:
        if self.next.kind != "name":
            raise self.expected(f"a field or {closing!r}" if closing else "a field")
        self.position += 1
        return self.last

    def fault(self, token: Token, message: str) -> None:
        self.findings.faults.append(Fault(token.start, token.end, message, token.text, 0))

    def stop(self, message: str) -> _StopScanError:
        """What to raise where the walk cannot go on, after noting why."""
        self.fault(self.next, message)
        return _StopScanError()

    def expected(self, what: str) -> _StopScanError:
        if self.next.kind == "conflict":
            return self.stop(
                f"{self.next} is a conflict marker of git: keep one of the two sides and remove the markers"
            )
        if self.next.kind == "broken" and self.next.text[0] in "\"'":
            return self.stop(f"{self.next} lacks its closing quote")
        return self.stop(f"expected {what}, found {self.next}")

    def found(self, *marks: str) -> bool:
        """Whether the next token is one of *marks*, which is then taken."""
        if self.next.kind == "mark" and self.next.text in marks:
            self.position += 1
            return True
        return False

    def ends(self, closing: str) -> bool:
        return self.found(closing) if closing else self.next.kind == "end"

    def separator(self) -> None:
        self.found(",", ";")

    def unknown(self, name: Token, message: str, depth: int) -> None:
        self.separator()
        self.findings.unknown.append(Fault(name.start, self.last.end, message, name.text, depth))

    def skip_value(self) -> None:
        """Any value: a message or a list with all that is in it, or a scalar."""
        self.found(":")
        if self.found("{", "<", "["):
            self.skip_body(self.last)
        else:
            self.value()

    def skip_body(self, opening: Token) -> list[Token]:
        """The tokens from *opening*, just taken, up to its closing brace, which is taken too."""
        first, closing = self.position, [_CLOSING[opening.text]]
        while closing:
            token = self.next
            if token.kind not in _SOUND:
                raise self.expected(repr(closing[-1]))
            if token.text in _CLOSING:
                closing.append(_CLOSING[token.text])
            elif token.text in _CLOSING.values() and token.text != closing.pop():
                raise self.stop(f"{token} closes nothing")
            self.position += 1
        return self.tokens[first : self.position - 1]

    def value(self, what: str = "a value") -> Token:
        """A scalar, or a placeholder of one: a name, a number, or strings side by side, the last of which is returned.

        A minus and a number apart from it, which the original reads, are joined.
        """
        if braces := _PLACEHOLDER_IN_BRACES.match(self.text, self.next.start):
            self.position += len(list(tokens(braces[0]))) - 1
            return Token("placeholder", braces[0], *braces.span())
        if self.next.kind not in ("name", "number", "string", "placeholder"):
            raise self.expected(what)
        self.position += 1
        if self.last.text == "-" and _UNSIGNED.fullmatch(self.next.text):
            return self.joined(self.last)
        while self.last.kind == self.next.kind == "string":
            self.position += 1
        return self.last

    def joined(self, minus: Token) -> Token:
        """The number from *minus*, just taken, to the end of the next token, without what is between the two."""
        self.position += 1
        self.findings.edits.append(Edit(minus.end, self.last.start, ""))
        return Token("number", minus.text + self.last.text, minus.start, self.last.end)

    def listed(self) -> Iterator[None]:
        """Once where a single value stands, or once for each value of a list in brackets."""
        if not self.found("["):
            yield
        elif not self.found("]"):
            yield
            while self.found(","):
                yield
            if not self.found("]"):
                raise self.expected("',' or ']'")

    def known(self, known: FieldDescriptor, name: Token, depth: int) -> None:
        colon = self.found(":")
        opening = self.next
        if known.message_type is not None:
            for _ in self.listed():
                self.body(known.message_type, depth)
        elif not colon:
            raise self.expected("':'")
        else:
            what = _EXPECTED.get(known.type, "a number")
            faults = [fault for _ in self.listed() if (fault := self.scalar_fault(known, self.value(what)))]
            for fault in dict.fromkeys(faults):
                self.unknown(name, fault, depth)
        if opening.text == "[" and not known.is_repeated:
            self.list_for_one(known, opening)

    def body(self, descriptor: Descriptor, depth: int) -> None:
        if not self.found("{", "<"):
            raise self.expected("'{'")
        if descriptor.name == "VerbatimParameter":
            self.verbatim(self.last)
        else:
            self.message(descriptor, _CLOSING[self.last.text], depth + 1)

    def verbatim(self, opening: Token) -> None:
        body = self.skip_body(opening)
        if body and [token.text for token in body[:2]] != ["text", ":"]:
            quoted = plain(body).replace("\\", "\\\\").replace('"', '\\"')
            self.findings.edits.append(Edit(opening.end, self.last.start, f'text: "{quoted}"'))

    def scalar_fault(self, known: FieldDescriptor, value: Token) -> str | None:
        """What is unknown about *value*; an odd spelling is mended, another fault noted, on the way."""
        if value.kind == "name" and _is_placeholder(known, value.text):
            value = replace(value, kind="placeholder")
        if known.enum_type is not None and value.kind != "placeholder":
            return self.enum_fault(known, known.enum_type, value)
        if known.type == FieldDescriptor.TYPE_STRING and value.kind == "name":
            self.unquoted(known, value)
        elif not _FITS.get(known.type, _NUMBER).fullmatch(value.text):
            self.fault(value, f"{known.name} takes {_EXPECTED.get(known.type, 'a number')}, not {value}")
        return None

    def unquoted(self, known: FieldDescriptor, value: Token) -> None:
        if known.full_name == "caffe.LayerParameter.type" and value.text in _V1_NAMES:
            self.findings.edits.append(Edit(value.start, value.end, f'"{v1_type(value.text)}"'))
        else:
            hint = "the dialect of MyCaffe, without quotes, is not read"
            self.fault(value, f'{known.name} takes a quoted string: {known.name}: "{value.text}" ({hint})')

    def enum_fault(self, known: FieldDescriptor, values: EnumDescriptor, value: Token) -> str | None:
        text = value.text.strip("\"'")
        if value.kind == "string":
            if known.full_name == "caffe.V1LayerParameter.type" and text in _V1_ENUMS:
                self.findings.edits.append(Edit(value.start, value.end, _V1_ENUMS[text]))
            else:
                self.fault(value, f"{known.name} takes a name without quotes, not {value}")
            return None
        if value.kind == "number":
            if not re.fullmatch(r"-?\d+", text) or int(text) in values.values_by_number:
                return None
        elif text in values.values_by_name:
            return None
        where = f"{known.name} in {known.full_name.split('.')[-2]}"
        return f"unknown value {value.text} of {where}{suggest(text, values.values_by_name)}"

    def list_for_one(self, known: FieldDescriptor, opening: Token) -> None:
        """A list for one value: of devices the first stays, and all go to ``device_ids``."""
        first = self.tokens[self.tokens.index(opening) + 1]
        if known.full_name == "caffe.SolverParameter.device_id" and _WHOLE.fullmatch(first.text):
            self.findings.edits.append(Edit(opening.start, opening.start, f"{first.text} device_ids: "))
        else:
            self.fault(opening, f"{known.name} takes one value, not a list")
