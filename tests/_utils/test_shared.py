import gc
import sys

import pytest

from galaxysegment._utils.shared import NO_COLLECTION, set_aside


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


def young_objects_after(change):
    """How many of 1000 new objects are among the young ones after a change."""
    gc.collect()
    made = [[] for _ in range(1000)]
    change()
    young = {id(thing) for thing in gc.get_objects(generation=0)}
    return sum(id(thing) in young for thing in made)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="young objects are others there")
def test_objects_that_are_set_aside_are_old():
    with NO_COLLECTION:
        assert young_objects_after(lambda: None) == 1000
        assert young_objects_after(set_aside) == 0
    assert gc.get_freeze_count() == 0


def test_objects_that_the_user_has_frozen_stay_so():
    gc.freeze()
    try:
        n_frozen = gc.get_freeze_count()
        set_aside()
        assert gc.get_freeze_count() == n_frozen > 0
    finally:
        gc.unfreeze()
