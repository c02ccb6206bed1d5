"""Neighbours that the segmenter did not see."""

import numpy as np
import pytest
from astropy.table import Table

from galaxysegment import Instances
from galaxysegment.separation import TemplateSeparator

SHAPE = (64, 72)
ROWS, COLUMNS = np.indices(SHAPE)


def galaxy(y, x, flux, width=2.5, stretch=1.0):
    light = np.exp(-np.sqrt(((ROWS - y) ** 2 * stretch + (COLUMNS - x) ** 2) / width**2 + 1))
    return flux * light / light.sum()


def separate(lights, sources, **parameters):
    image = np.sum(lights, axis=0) + 0.1 * np.random.default_rng(0).normal(size=SHAPE)
    separator = TemplateSeparator(find_companions=True, **parameters)
    return image, separator.separate(image[None], [sources], rms=np.full((1, *SHAPE), 0.1))[0]


PAIR = [galaxy(30, 30, 2000, stretch=0.7), galaxy(35, 38, 700, width=1.8)]


def mask_of(lights):
    return Instances.from_masks([np.sum(lights, axis=0) > 0.1], scores=[0.8], classes=[2])


def test_a_neighbour_in_the_same_mask_is_found():
    image, separated = separate(PAIR, mask_of(PAIR))
    assert len(separated) == 2
    assert separated.fluxes == pytest.approx([2000, 700], rel=0.08)
    assert np.allclose(separated.total() + separated.residual, image, atol=1e-4)
    y0, x0, y1, x1 = separated.sources.boxes[1]
    assert y0 <= 35 < y1 and x0 <= 38 < x1
    assert separated.sources.classes.tolist() == [2, 1]


def test_two_neighbours_of_a_given_position():
    lights = [*PAIR, galaxy(22, 24, 600, width=1.5)]
    _, separated = separate(lights, Table({"y": [30], "x": [30]}))
    assert sorted(separated.fluxes) == pytest.approx([600, 700, 2000], rel=0.4)


def test_the_given_source_keeps_its_place_in_the_result():
    _, separated = separate(PAIR, Table({"y": [35], "x": [38]}))
    assert separated.fluxes[0] == pytest.approx(700, rel=0.08)


@pytest.mark.parametrize("stretch", [1.0, 0.3])
def test_a_galaxy_alone_stays_alone(stretch):
    light = [galaxy(30, 30, 3000, stretch=stretch)]
    _, separated = separate(light, mask_of(light))
    assert len(separated) == 1


def test_both_sources_given_stay_two():
    _, separated = separate(PAIR, Table({"y": [30, 35], "x": [30, 38]}))
    assert len(separated) == 2 and separated.fluxes == pytest.approx([2000, 700], rel=0.05)
