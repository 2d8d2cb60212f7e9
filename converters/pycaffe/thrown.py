"""What the code of Python layers raises, as it comes to scripts."""

from nets.layers.python import UserError
from protos.errors import NetError


class AsRaised:
    """Within it, an exception of a Python layer's code is of its own type, too: scripts catch it as they did."""

    def __enter__(self) -> None:
        """Nothing needs to be prepared."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        own = _own(error)
        if own is None or isinstance(error, type(own)):
            return
        both = _both(type(own))
        made: NetError = both.__new__(both, str(error))
        made.args = (str(error),)
        raise made from own


def _own(error: BaseException | None) -> BaseException | None:
    """What the user's code raised, of which *error* came."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__
    return None if error is None else error.__cause__


def _both(kind: type[BaseException]) -> type[NetError]:
    return type(kind.__name__, (NetError, kind), {"__str__": lambda self: self.args[0], "__init__": _leave})


def _leave(self: NetError, *_: object) -> None:
    """Take no arguments: those that the type would, it has not."""
