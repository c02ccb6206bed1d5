"""A sample of the damaged records of unfinished mosaics."""

import zlib

import numpy as np
import pytest
from fuzzing import area

RECORDS = area("records")
N_SEEDS = 3


@pytest.mark.parametrize("seed", range(N_SEEDS))
@pytest.mark.parametrize("kind", RECORDS.KINDS)
def test_a_clear_error_or_the_right_label_map(kind, seed, tmp_path):
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
    assert RECORDS.check(RECORDS.KINDS[kind](rng, tmp_path)) in ("error", "read")
