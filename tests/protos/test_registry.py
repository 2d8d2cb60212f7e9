import pytest

from protos.registry import Registry


def test_a_name_is_taken_once():
    shapes = Registry[type]("shape")
    shapes("Circle")(int)
    with pytest.raises(ValueError, match="shape 'Circle' is registered twice"):
        shapes("Circle")(float)
    assert shapes["Circle"] is int
