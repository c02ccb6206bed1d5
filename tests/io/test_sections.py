"""Cut-outs of fields: sources move with their pixels; bits of masks are added up."""

import numpy as np
import pytest

from galaxysegment import Instances
from galaxysegment.io import Field
from galaxysegment.io._mask import check_bits


@pytest.mark.parametrize(
    ("rows", "columns"), [((3, 20), (5, 30)), ((0, 9), (7, 8)), ((11, 24), (0, 40))]
)
def test_instances_of_a_section_are_those_of_its_label_map(rows, columns):
    rng = np.random.default_rng(0)
    labels = np.kron(rng.permutation(60).reshape(6, 10), np.ones((4, 4), dtype=int))
    field = Field(rng.normal(size=labels.shape), instances=Instances.from_label_map(labels))
    section = field.section(slice(*rows), slice(*columns))
    window = labels[slice(*rows), slice(*columns)]
    expected = {(window == label).tobytes() for label in np.unique(window) if label}
    assert section.instances.shape == window.shape
    assert {mask.tobytes() for mask in section.instances.masks} == expected


@pytest.mark.parametrize(
    ("bits", "total"), [(4, 4), ([1, 4096], 4097), ((1, 1), 1), (~4, ~4), (None, None), ([], None)]
)
def test_bits_are_added_up(bits, total):
    assert check_bits(bits) == total


@pytest.mark.parametrize("bits", [0, [4, 0], True, 1.0, "4", 2**63, -(2**63) - 1])
def test_bits_that_mask_nothing_are_refused(bits):
    with pytest.raises(ValueError, match="mask_bits must be a whole number"):
        check_bits(bits)


@pytest.mark.parametrize("bits", [2**63 - 1, -(2**63)])
def test_all_64_bits_may_be_asked_for(bits):
    assert check_bits(bits) == bits
