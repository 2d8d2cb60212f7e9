"""``nolearn.lasagne``: NeuralNet, its batches, splits and handlers, on torch."""

from converters.lasagne.nolearn import handlers, visualize
from converters.lasagne.nolearn.batches import BatchIterator
from converters.lasagne.nolearn.handlers import PrintLayerInfo, PrintLog, RememberBestWeights, SaveWeights
from converters.lasagne.nolearn.net import NeuralNet
from converters.lasagne.nolearn.objective import objective
from converters.lasagne.nolearn.split import TrainSplit

__all__ = [
    "BatchIterator", "NeuralNet", "PrintLayerInfo", "PrintLog", "RememberBestWeights", "SaveWeights", "TrainSplit",
    "handlers", "objective", "visualize",
]  # fmt: skip
