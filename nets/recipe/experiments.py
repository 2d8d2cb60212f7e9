"""The experiments that recipes are of."""

from collections.abc import Sequence

from nets.recipe import source
from nets.recipe.experiment import Conversion, Experiment
from nets.recipe.results import Results
from nets.report import Figure

OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DIGITS = tuple("0123456789")
PRODUCTS = tuple(f"Class_{k}" for k in range(1, 10))


def _of_cifar10_tutorial(run: Results) -> Sequence[Figure]:
    loss = [value for _, value in run.curves().loss]
    return (
        run.figure("accuracy on the test images", run.accuracy(), 0.54, "54%"),
        Figure("training loss, first and last", f"{loss[0]:.2f} and {loss[-1]:.2f}", "2.2 and 1.3"),
        Figure("time of training", run.minutes(), "5 minutes on a CPU, 3 on a V100"),
    )


def _of_mnist_mlp(run: Results) -> Sequence[Figure]:
    return (
        run.figure("accuracy on what is held out", run.last_test("accuracy"), 0.95, "95% expected"),
        Figure("loss on what is held out", f"{run.last_test('loss'):.4f}"),
        Figure("accuracy on the test digits", f"{100 * run.accuracy():.2f}%"),
        Figure("time of training", run.minutes()),
    )


def _of_lenet_32(run: Results) -> Sequence[Figure]:
    return (
        run.figure("accuracy on the test digits", run.accuracy(), 0.99, "99% expected"),
        run.figure("accuracy with EuclideanLoss", run.accuracy("_euclidean"), 0.99, "99% expected"),
        Figure("time of training", run.minutes()),
        Figure("time of training with EuclideanLoss", run.minutes("train_euclidean")),
    )


def _of_otto(run: Results) -> Sequence[Figure]:
    return (
        run.figure("log loss on the products held out", run.log_loss(), 0.60, "below 0.60 expected", percent=False),
        run.figure(
            "log loss when trained from HDF5", run.log_loss("_hdf5"), 0.60, "below 0.60 expected", percent=False
        ),
        Figure("accuracy on the products held out", f"{100 * run.accuracy():.2f}%"),
        Figure("time of training", run.minutes()),
    )


def _of_gray_mlp(run: Results) -> Sequence[Figure]:
    return (
        run.figure("accuracy on the test images", run.accuracy(), 0.41, "41%"),
        Figure("time of training", run.minutes(), "a GPU 3 times as fast as 32 cores"),
    )


def _of_gray_conv(run: Results) -> Sequence[Figure]:
    return (
        run.figure("accuracy on the test images", run.accuracy(), 0.61, "61%"),
        Figure("time of training", run.minutes(), "a GPU 15 times as fast as 32 cores"),
    )


CIFAR_STORES = ("cifar10_train_lmdb", "cifar10_test_lmdb")
GRAY = (Conversion("cifar10", ("--gray",), CIFAR_STORES),)
OTTO_FLAGS = ("--holdout", "0.1", "--log1p", "--standardize", "--shuffle", "--seed", "1")

EXPERIMENTS = {
    one.name: one
    for one in (
        Experiment(
            name="cifar10_tutorial",
            line="conv6k5-pool2-conv16k5-pool2-fc120-fc84-fc10 on CIFAR-10, SGD in batches of 4, 2 epochs",
            about="A small convolutional net on CIFAR-10 in colour, scaled to [-1, 1]: two convolutions with ReLU and "
            "2 x 2 max pooling, three dense layers. SGD with rate 0.001 and momentum 0.9, batches of 4, 2 epochs.",
            published=source.CIFAR10,
            conversions=(Conversion("cifar10", (), CIFAR_STORES),),
            classes=OBJECTS,
            tested="stores/cifar10_test_lmdb",
            treatment=("--mean", "127.5", "--scale", "0.00784313725"),
            epoch=12500,
            quick=400,
            figures=_of_cifar10_tutorial,
            threads=1,
            channels="RGB",
        ),
        Experiment(
            name="mnist_mlp",
            line="784-32-10 on MNIST, plain SGD, 10,000 digits held out by seed, scored after each of 10 epochs",
            about="A dense net of 784, 32 and 10 units with ReLU on digits in [0, 1]. Plain SGD in batches of 128 on "
            "50,000 digits, rate 0.5 for five epochs and 0.1 for five more; 10,000 digits, drawn by a seed, are held "
            "out and scored after every epoch.",
            published=source.MNIST,
            conversions=(
                Conversion(
                    "mnist",
                    ("--holdout", "10000", "--seed", "1"),
                    ("mnist_train_lmdb", "mnist_val_lmdb", "mnist_test_lmdb"),
                    quick_flags=("--holdout", "100", "--seed", "1"),
                ),
            ),
            classes=DIGITS,
            tested="stores/mnist_test_lmdb",
            treatment=("--scale", "0.00392156863"),
            epoch=391,
            quick=200,
            figures=_of_mnist_mlp,
            threads=1,
        ),
        Experiment(
            name="lenet_32",
            line="LeNet 6-16-120-84-10 on MNIST at 32 x 32, softmax and Euclidean loss, split over all GPUs",
            about="LeNet (6 and 16 filters of 5 x 5 with 2 x 2 max pooling, dense layers of 120, 84 and 10) on digits "
            "resized to 32 x 32, trained twice: with SoftmaxWithLoss, and with EuclideanLoss towards one-hot vectors. "
            "SGD in batches of 64, rate 0.02 and two steps down, momentum 0.9, 12 epochs. With several GPUs each takes "
            "its part of every batch.",
            published=source.MNIST,
            conversions=(
                Conversion(
                    "mnist",
                    ("--resize", "32x32", "--one-hot"),
                    ("mnist_train_lmdb", "mnist_train_onehot_lmdb", "mnist_test_lmdb", "mnist_test_onehot_lmdb"),
                ),
            ),
            classes=DIGITS,
            tested="stores/mnist_test_lmdb",
            treatment=("--mean", "33", "--scale", "0.0078125"),
            epoch=938,
            quick=100,
            figures=_of_lenet_32,
            variants=("", "_euclidean"),
            spreads=True,
        ),
        Experiment(
            name="otto",
            line="93-512-9 on the Otto products, from LMDB and from HDF5, to a submission file",
            about="A dense net of 93, 512 and 9 units with ReLU on the counts of a product, as log(1 + count) with "
            "mean 0 and deviation 1; a tenth of each class is held out. SGD in batches of 128, rate 0.05 and two steps "
            "down, momentum 0.9, weight decay 0.001, 15 epochs; from LMDB, and the same again from HDF5.",
            published=source.OTTO,
            conversions=(
                Conversion("otto", OTTO_FLAGS, ("otto_train_lmdb", "otto_val_lmdb", "otto_scaling.json")),
                Conversion(
                    "otto", (*OTTO_FLAGS, "--backend", "hdf5"), ("otto_train.h5", "otto_val.h5"), suffix="_hdf5"
                ),
            ),
            classes=PRODUCTS,
            tested="stores/otto_val_lmdb",
            treatment=(),
            epoch=435,
            quick=200,
            figures=_of_otto,
            threads=1,
            records=6188,
            variants=("", "_hdf5"),
            submits=True,
        ),
        Experiment(
            name="cifar10_gray_mlp",
            line="1024-100-10 on gray CIFAR-10, Nesterov's momentum, 50 epochs",
            about="A dense net of 1024, 100 and 10 units with ReLU on CIFAR-10 in gray, x / 255 - 0.5. Nesterov's "
            "momentum 0.9, rate 0.01, weight decay 0.001, batches of 128, 50 epochs.",
            published=source.CIFAR10,
            conversions=GRAY,
            classes=OBJECTS,
            tested="stores/cifar10_test_lmdb",
            treatment=("--mean", "127.5", "--scale", "0.00392156863"),
            epoch=391,
            quick=200,
            figures=_of_gray_mlp,
            threads=1,
        ),
        Experiment(
            name="cifar10_gray_conv",
            line="three convolutions with 2 x 2 max pooling, dense 200 and 10, on gray CIFAR-10, 50 epochs",
            about="Three stages of 3 x 3 convolution (16, 32 and 64 filters), ReLU and 2 x 2 max pooling, dense layers "
            "of 200 and 10, on CIFAR-10 in gray, x / 255 - 0.5. Nesterov's momentum 0.9, rate 0.01, weight decay "
            "0.001, batches of 128, 50 epochs.",
            published=source.CIFAR10,
            conversions=GRAY,
            classes=OBJECTS,
            tested="stores/cifar10_test_lmdb",
            treatment=("--mean", "127.5", "--scale", "0.00392156863"),
            epoch=391,
            quick=40,
            figures=_of_gray_conv,
        ),
    )
}
