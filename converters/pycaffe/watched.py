"""What a net calls before and after each of its layers."""

from collections.abc import Callable
from typing import Any

Callback = Callable[[int], Any]


class Watched:
    """Calls the functions of ``_callbacks``, by when they are called, with the numbers of layers."""

    _callbacks: dict[str, list[Callback]]

    def _call_back(self, when: str, i: int) -> None:
        if self._callbacks:
            for function in self._callbacks.get(when, ()):
                function(i)

    @property
    def is_watched(self) -> bool:
        """Whether a script wants to be called between the layers."""
        return bool(self._callbacks)

    def before_forward(self, function: Callback) -> None:
        """Call *function* with a layer's index before it runs forwards."""
        self._callbacks.setdefault("before_forward", []).append(function)

    def after_forward(self, function: Callback) -> None:
        """Call *function* with a layer's index after it ran forwards."""
        self._callbacks.setdefault("after_forward", []).append(function)

    def before_backward(self, function: Callback) -> None:
        """Call *function* with a layer's index before it runs backwards."""
        self._callbacks.setdefault("before_backward", []).append(function)

    def after_backward(self, function: Callback) -> None:
        """Call *function* with a layer's index after it ran backwards."""
        self._callbacks.setdefault("after_backward", []).append(function)
