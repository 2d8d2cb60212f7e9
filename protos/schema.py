"""The message classes of ``caffe.proto``, an attribute for each message and enum.

They live in a descriptor pool of their own, so that a process may also import the ``caffe_pb2`` of a real
Caffe, which registers the same names in protobuf's default pool. Change ``caffe.proto``, then run
``python -m protos.compile``.

>>> net = NetParameter(name="LeNet")
>>> net.state.phase == TEST
True
>>> Phase.Name(TRAIN), PoolingParameter.PoolMethod.Value("AVE")
('TRAIN', 1)
"""

from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

_files = descriptor_pb2.FileDescriptorSet.FromString(Path(__file__).with_name("caffe.desc").read_bytes())
_pool = descriptor_pool.DescriptorPool()
for _file in _files.file:
    _pool.AddSerializedFile(_file.SerializeToString())

DESCRIPTOR = _pool.FindFileByName("caffe.proto")


def _describe(message: Descriptor, prefix: str) -> None:
    """The descriptors by the names that old protobufs gave them, such as ``_POOLINGPARAMETER_POOLMETHOD``."""
    name = f"{prefix}_{message.name.upper()}"
    globals()[name] = message
    globals().update((f"{name}_{enum.name.upper()}", enum) for enum in message.enum_types)
    for inner in message.nested_types:
        _describe(inner, name)


for _name, _message in DESCRIPTOR.message_types_by_name.items():
    globals()[_name] = message_factory.GetMessageClass(_message)
    globals()[_name].__module__ = __name__  # so that messages pickle
    _describe(_message, "")
for _name, _enum in DESCRIPTOR.enum_types_by_name.items():
    globals()[_name] = EnumTypeWrapper(_enum)
    globals()[f"_{_name.upper()}"] = _enum
    globals().update((value.name, value.number) for value in _enum.values)
