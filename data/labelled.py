"""Sources of labelled records: Data (stores) and ImageData (list files)."""

from abc import abstractmethod
from typing import Any

from torch import Tensor

from data import chance
from data.chance import Draws
from data.digits import ensure_shipped_store
from data.feed import Feed, Recipe, open_feed
from data.order import Order
from data.records import ImageRecords, Records, StoreRecords
from data.source import SOURCES, Place, Shape, Shapes, Source, check_batch_size, check_options, check_tops
from data.transform import HONOURED, Transform
from protos.errors import DataError
from protos.schema import LayerParameter


class LabelledSource(Source):
    """Batches of transformed records: tops data (B x C x H x W) and, where there is a second top, label (B,).

    Under several ranks in TRAIN, record i of the run goes to rank i mod world_size; in TEST every rank reads
    all. A store that fits into the budget is loaded at the first batch and stays on the device.
    """

    def __init__(self, layer: LayerParameter, phase: str, place: Place) -> None:
        super().__init__(layer, phase, place)
        self._place = place
        self._dealt = (place.rank, place.world_size) if phase == "TRAIN" else (0, 1)
        self._batch_size, self._skip, self._shuffle = self._plan(layer)
        if self._shuffle and self._dealt[1] > 1 and place.seed is None:
            raise DataError(f"layer {layer.name!r}: shuffling for several ranks needs a common seed (random_seed)")
        self._records = self._open_records(layer)
        self._feed: Feed | None = None
        try:
            shape = self._records.first[0].shape
            self._transform, self.shapes = self._treat(layer, phase, self._batch_size, shape)
        except DataError:
            self._records.close()
            raise
        self.records = len(self._records)

    @classmethod
    @abstractmethod
    def _plan(cls, layer: LayerParameter) -> tuple[int, int, bool]:
        """Checks the options; batch size, rand_skip, shuffle."""

    @classmethod
    @abstractmethod
    def _open_records(cls, layer: LayerParameter) -> Records[Any]: ...

    @classmethod
    def peek(cls, layer: LayerParameter, phase: str) -> Shapes:
        """See :meth:`Source.peek`."""
        batch_size, _, _ = cls._plan(layer)
        records = cls._open_records(layer)
        records.close()
        return cls._treat(layer, phase, batch_size, records.first[0].shape)[1]

    @classmethod
    def _treat(cls, layer: LayerParameter, phase: str, batch_size: int, shape: Shape) -> tuple[Transform, Shapes]:
        """The transform of records of this *shape*, and the shapes of the tops."""
        transform = Transform(layer.transform_param, phase, shape[0])
        tops = (batch_size, *transform.shape(shape)), (batch_size,)
        return transform, dict(zip(layer.top, tops, strict=False))

    def _batch(self, number: int) -> dict[str, Tensor]:
        if self._feed is None:
            self._feed = self._open_feed()
        return dict(zip(self.tops, self._feed[number], strict=False))

    def _open_feed(self) -> Feed:
        rank, world_size = self._dealt
        start = int(chance.generator(self.seed, chance.SKIP).integers(self._skip)) if self._skip else 0
        shuffle_seed = self.seed if self._shuffle else None
        order = Order(len(self._records), start=start, rank=rank, world_size=world_size, shuffle_seed=shuffle_seed)
        recipe = Recipe(
            records=self._records,
            order=order,
            transform=self._transform,
            draws=Draws((3, self._batch_size), self.seed, rank),
            batch_size=self._batch_size,
            device=self._place.device,
        )
        return open_feed(recipe, self._place.budget)

    def _reseed(self) -> None:
        self._close_feed()

    def _close_feed(self) -> None:
        if self._feed is not None:
            self._feed.close()
            self._feed = None

    def close(self) -> None:
        """See :meth:`Source.close`."""
        self._close_feed()
        self._records.close()


@SOURCES("Data")
class DataSource(LabelledSource):
    """Data: the Datums of an LMDB or LevelDB, whichever is there, in the order of the keys."""

    _OPTIONS = ("source", "batch_size", "rand_skip", "backend", "force_encoded_color", "prefetch")
    _HINTS = ("cache", "threads", "parser_threads", "precache")  # of forks; how fast, not what

    @classmethod
    def _plan(cls, layer: LayerParameter) -> tuple[int, int, bool]:
        param = layer.data_param
        check_tops(layer, 1, 2)
        check_options(layer, param, (*cls._OPTIONS, *cls._HINTS, "shuffle"))
        check_options(layer, layer.transform_param, HONOURED)
        return check_batch_size(layer, param.batch_size), param.rand_skip, param.shuffle

    @classmethod
    def _open_records(cls, layer: LayerParameter) -> StoreRecords:
        ensure_shipped_store(layer.data_param.source)
        transform = layer.transform_param
        color = transform.force_color or layer.data_param.force_encoded_color
        if color and transform.force_gray:
            raise DataError(f"layer {layer.name!r}: force_color and force_gray exclude each other")
        return StoreRecords(layer.data_param.source, True if color else False if transform.force_gray else None)


@SOURCES("ImageData")
class ImageDataSource(LabelledSource):
    """ImageData: the images that a list file names, ``path label`` a line, below root_folder."""

    _OPTIONS = (
        "source",
        "batch_size",
        "rand_skip",
        "shuffle",
        "new_height",
        "new_width",
        "is_color",
        "root_folder",
    )

    @classmethod
    def _plan(cls, layer: LayerParameter) -> tuple[int, int, bool]:
        param = layer.image_data_param
        check_tops(layer, 1, 2)
        check_options(layer, param, (*cls._OPTIONS, "cache"))
        check_options(layer, layer.transform_param, HONOURED)
        if bool(param.new_height) != bool(param.new_width):
            raise DataError(f"layer {layer.name!r}: new_height and new_width go together; one of them is missing")
        return check_batch_size(layer, param.batch_size), param.rand_skip, param.shuffle

    @classmethod
    def _open_records(cls, layer: LayerParameter) -> ImageRecords:
        param = layer.image_data_param
        size = (param.new_height, param.new_width) if param.new_height else None
        return ImageRecords(param.source, param.root_folder, param.is_color, size)
