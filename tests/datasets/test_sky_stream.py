"""A stream of skies is the same whoever asks for how many, with however many workers."""

import numpy as np
import pytest

from galaxysegment.datasets import make_sky, stream_skies
from galaxysegment.datasets._sky_stream import draw_telescope

pytest.importorskip("galsim")


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_fields_depend_on_seed_and_number_only(n_jobs):
    first = list(stream_skies(3, (96, 96), random_state=4))
    again = list(stream_skies(2, (96, 96), random_state=4, n_jobs=n_jobs))
    for (field, class_map), (other, other_map) in zip(first, again, strict=False):
        np.testing.assert_array_equal(field.image, other.image)
        np.testing.assert_array_equal(class_map, other_map)
    assert not np.array_equal(first[0][0].image, first[1][0].image)


def test_a_field_can_be_made_again_by_make_sky():
    settings = {"psf_fwhm": 0.7, "pixel_scale": 0.2, "depth": 25.0, "mosaic": False}
    rest = {
        **{"density": 20.0, "star_fraction": 0.1, "sky_level": 300.0, "sky_gradient": 0.0},
        **{"read_noise": 5.0, "large_galaxies": 5.0, "clusters": 0.0, "bright_stars": 5.0},
        **{"cirrus": 0.0, "satellites": 0.0, "cosmic_rays": 0.0, "saturation": 1e5},
        **{"correlation": 0.0, "rms_source_noise": True},
    }
    [(field, class_map)] = stream_skies(1, (128, 128), random_state=1, **settings, **rest)
    seed = field.header["SEED"]
    again, again_map = make_sky((128, 128), **settings, **rest, random_state=seed)
    np.testing.assert_array_equal(field.image, again.image)
    np.testing.assert_array_equal(class_map, again_map)
    assert field.header["SIMULATR"] == "galaxysegment.datasets.make_sky"


def test_telescopes_stay_within_their_limits():
    drawn = [draw_telescope(np.random.default_rng(seed)) for seed in range(500)]
    scale = np.array([settings["pixel_scale"] for settings in drawn])
    fwhm = np.array([settings["psf_fwhm"] for settings in drawn])
    assert 0.03 <= scale.min() < 0.05 and 0.35 < scale.max() <= 0.4
    assert 0.1 <= fwhm.min() < 0.15 and 1.3 < fwhm.max() <= 1.5
    assert (fwhm / scale).min() > 1.3


def test_unknown_settings_are_refused():
    with pytest.raises(TypeError, match=r"'seeing' is no setting of make_sky"):
        stream_skies(1, seeing=0.7)
    with pytest.raises(ValueError, match="'n' parameter"):
        stream_skies(-1)
