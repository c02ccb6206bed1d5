"""Fixtures of several files of tests of mosaics."""

import pytest

from tests.mosaic.bells import Bells


@pytest.fixture
def fresh_bells(monkeypatch):
    """Count the calls of `Bells` from 0, and let nothing happen at them."""
    monkeypatch.setattr(Bells, "calls", 0)
    monkeypatch.setattr(Bells, "event", None)
