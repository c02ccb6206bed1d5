import gc

import pytest

from galaxysegment._utils.shared import NO_COLLECTION


@pytest.fixture
def collector():
    was_enabled = gc.isenabled()
    yield
    (gc.enable if was_enabled else gc.disable)()


@pytest.mark.parametrize("is_on", [True, False])
def test_the_search_for_garbage_pauses_and_goes_on_as_before(collector, is_on):
    (gc.enable if is_on else gc.disable)()
    with pytest.raises(ImportError), NO_COLLECTION:
        with NO_COLLECTION:
            pass
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled() == is_on
