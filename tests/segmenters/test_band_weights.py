"""The weights "bands", which take any number of bands in any order without training."""

import numpy as np
import pytest
from astropy.io import fits

from galaxysegment.cli import main
from galaxysegment.datasets import make_sky
from galaxysegment.io import Field, read_panoptic_map
from galaxysegment.metrics import iou_score
from galaxysegment.segmenters import UNetSegmenter
from galaxysegment.structures import ARTEFACT, GALAXY, SKY, STAR


@pytest.fixture(scope="module")
def field():
    """Four bands of a field with stars, bright ones too; their truth is of the stack."""
    pytest.importorskip("galsim", reason="simulates a field")
    telescope = {"pixel_scale": 0.25, "psf_fwhm": 0.9, "saturation": 30000.0, "bands": "griz"}
    telescope |= {"depth": [25.2, 25.0, 24.6, 23.9], "mosaic": False, "cosmic_rays": 100.0}
    sky = {"density": 60, "star_fraction": 0.4, "large_galaxies": 0.0, "clusters": 0.0}
    return make_sky((384, 352), **telescope, **sky, truth="stack", random_state=2)


@pytest.fixture(scope="module")
def unet():
    return UNetSegmenter(weights="bands", rms_band=-1, n_views=1)


def things(class_map):
    return np.isin(class_map, (GALAXY, STAR))


def test_more_bands_show_more(field, unet):
    sky, class_map = field
    panoptic = unet.predict(sky, output="panoptic")
    together = iou_score(things(class_map), panoptic[1] > 0)
    alone = [
        iou_score(things(class_map), unet.predict(Field(band, rms=rms)) > 0)
        for band, rms in zip(sky.image, sky.rms, strict=True)
    ]
    assert together > 0.7 and together > max(alone) + 0.05
    assert unet.pixel_classes_.tolist() == [SKY, GALAXY, STAR, ARTEFACT]
    named, real = panoptic[0] == ARTEFACT, class_map == ARTEFACT
    assert real.sum() > 100 and (named & real).sum() > 0.6 * named.sum() > 0


def test_stars_are_told_from_galaxies(field, unet):
    sky, class_map = field
    panoptic = unet.predict(sky, output="panoptic")
    right = {GALAXY: [], STAR: []}
    bright = sky.labels * (np.asarray(sky.catalog["snr"]) > 50)[sky.labels - 1]
    for label in np.unique(bright[bright > 0]):
        inside = sky.labels == label
        answers = panoptic[0][inside & (panoptic[1] > 0)]
        if answers.size > inside.sum() / 2:
            kind = class_map[inside].max()
            right[kind].append(np.bincount(answers).argmax() == kind)
    for answers in right.values():
        assert len(answers) > 5 and np.mean(answers) > 0.8


def test_the_order_of_the_bands_does_not_matter(field, unet):
    planes = np.concatenate([field[0].image, field[0].rms[1:2]])
    probas = unet.predict_class_proba(np.stack([planes, planes[[3, 1, 2, 0, 4]]]))
    assert np.abs(probas[0] - probas[1]).max() < 0.1  # sums of half precision
    assert np.abs(probas[0] - probas[1]).mean() < 1e-3


def test_a_cube_goes_through_the_command_line(field, tmp_path, capsys):
    sky, _ = field
    fits.PrimaryHDU(sky.image, sky.header).writeto(tmp_path / "cube.fits")
    words = ["segment", str(tmp_path / "cube.fits"), "--method", "unet", "--set", "n_views=1"]
    words += ["--kind", "panoptic", "--output", str(tmp_path / "map.fits")]
    assert main(words) == 0
    assert "Using the net 'bands'" in capsys.readouterr().out
    expected = UNetSegmenter(weights="bands", n_views=1).predict(sky.image[None], output="panoptic")
    np.testing.assert_array_equal(read_panoptic_map(tmp_path / "map.fits"), expected[0])
    chosen = [*words, "--bands", "2", "--overwrite"]
    assert main(chosen) == 0
    assert "Using the net 'vis'" in capsys.readouterr().out


def test_training_goes_on_from_them(field):
    sky, class_map = field
    truth = np.where(np.isin(class_map, (GALAXY, STAR, ARTEFACT)), class_map, SKY)
    images = np.stack([sky.image[:3, :96, :96], sky.image[:3, 96:192, :96]])
    truths = [np.stack([truth[y : y + 96, :96], sky.labels[y : y + 96, :96]]) for y in (0, 96)]
    unet = UNetSegmenter(weights="bands", max_epochs=1, lr=1e-6, random_state=0)
    unet.set_params(validation_fraction=0)
    assert unet.fit(images, truths).predict(images).shape == (2, 96, 96)
    assert unet.n_bands_in_ == 3 and unet.n_net_bands_ is None


def test_nets_of_one_band_say_which_net_takes_several(field):
    with pytest.raises(ValueError, match="weights='bands'"):
        UNetSegmenter(weights="vis").predict(field[0].image[None])
