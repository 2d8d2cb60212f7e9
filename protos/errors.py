"""The errors a user meets.

Each is one line that says what, where and what to do; commands print it and exit with 2.
"""


class CaffeError(Exception):
    """Something about the user's files or options is wrong. The message is one line, complete in itself."""

    exit_status = 2


class ParseError(CaffeError):
    """A prototxt or a binary message that does not parse."""


class UnknownFieldError(ParseError):
    """A message whose only fault is that it has fields or values that the schema does not know."""


class NetError(CaffeError):
    """A net that does not fit together: blobs, shapes, unknown or unsupported layers and options."""


class DataError(CaffeError):
    """A store, an image or a record that cannot be read or written."""


class WeightsError(CaffeError):
    """A weights file or solver state that cannot be read, written or applied."""


class CaffeWarning(UserWarning):
    """Something that a user should know and that does not stop the work. The message is one line."""


def listing(problems: list[str]) -> str:
    """Join several problems into one line: ``a; b; c``, so that a user mends them all in one go."""
    return "; ".join(problems)
