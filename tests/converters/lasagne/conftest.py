"""What the tests of scripts share."""

import sys

import pytest

from converters.lasagne.theano.config import config


@pytest.fixture
def restored(monkeypatch, tmp_path):
    """Modules and settings are put back behind a test, and no settings of the user's are read."""
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setattr(config, "floatX", "float64")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("THEANO_FLAGS", raising=False)
