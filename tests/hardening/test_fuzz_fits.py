"""A sample of the fuzzed FITS files.

Benchmarks/fuzz.py reads thousands, under limits of memory and time.
"""

import zlib

import numpy as np
import pytest
from fuzzing import area

FITS = area("fits")
N_SEEDS = 3


@pytest.mark.parametrize("seed", range(N_SEEDS))
@pytest.mark.parametrize("kind", FITS.KINDS)
def test_a_clear_error_or_a_right_answer(kind, seed, tmp_path):
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
    case = FITS.KINDS[kind](rng, tmp_path)
    assert FITS.check(case, thorough=seed == 0) in ("error", "read")
