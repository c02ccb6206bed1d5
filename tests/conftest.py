"""Fixtures that every part of the test suite shares."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# A shell starts background jobs with Ctrl-C ignored, and Python keeps that: tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# how long an example takes says more about what else the machine does
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def data_dir():
    """Folder of real and simulated fields; tests that need it skip where it is absent."""
    folder = os.environ.get("GALAXYSEGMENT_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("GALAXYSEGMENT_DATA does not point at the folder of test fields")
    return Path(folder)
