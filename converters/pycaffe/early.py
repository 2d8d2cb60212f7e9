"""What nets could do in 2014: the phase and the device of a net, and the images for its inputs."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.pycaffe import io, mode
from converters.pycaffe.structure import Structure


class Early(Structure):
    """``set_phase_test``, ``set_mode_gpu``, ``set_mean``, ``preprocess`` and their like."""

    def set_phase_train(self) -> None:
        """Let dropout and its like do what they do in training; the layers stay those of the net's own phase."""
        self.module.train()

    def set_phase_test(self) -> None:
        """Let them do what they do in testing."""
        self.module.eval()

    def set_mode_cpu(self) -> None:
        """Compute on the CPU."""
        mode.set_mode_cpu()
        self.move()

    def set_mode_gpu(self) -> None:
        """Compute on the GPU."""
        mode.set_mode_gpu()
        self.move()

    def set_device(self, number: int) -> None:
        """Choose a GPU by its number, from 0."""
        mode.set_device(number)
        self.move()

    def move(self) -> None:
        """Go where the mode says; the blobs are new ones there."""
        raise NotImplementedError

    @cached_property
    def transformer(self) -> io.Transformer:
        """What makes inputs of images, whose channels come first in it."""
        made = io.Transformer({name: self.blobs[name].shape for name in self.inputs})
        for name in self.inputs:
            if len(self.blobs[name].shape) == 4:
                made.set_transpose(name, (2, 0, 1))
        return made

    def set_mean(self, input_: str, mean: Any, mode: str = "elementwise") -> None:
        """The mean to take away, an array or the file of one; with *mode* ``channel`` that of each channel."""
        values: NDArray[Any] = mean if isinstance(mean, np.ndarray) else np.load(mean)
        self.transformer.set_mean(input_, values if mode == "elementwise" else values.mean((1, 2)))

    def set_input_scale(self, input_: str, scale: float) -> None:
        """What values are multiplied by behind the mean."""
        self.transformer.set_input_scale(input_, scale)

    def set_raw_scale(self, input_: str, scale: float) -> None:
        """What values are multiplied by before the mean."""
        self.transformer.set_raw_scale(input_, scale)

    def set_channel_swap(self, input_: str, order: tuple[int, ...]) -> None:
        """The order of the channels in the input."""
        self.transformer.set_channel_swap(input_, order)

    def preprocess(self, input_name: str, input_: NDArray[Any]) -> NDArray[np.float32]:
        """An image as an input."""
        return self.transformer.preprocess(input_name, input_)

    def deprocess(self, input_name: str, input_: NDArray[Any]) -> NDArray[Any]:
        """The image that an input was made of."""
        return self.transformer.deprocess(input_name, input_)
