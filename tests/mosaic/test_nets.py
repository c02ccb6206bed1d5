"""A net sees in each tile what it would see in the whole image."""

import numpy as np
import pytest

from galaxysegment.mosaic import segment_mosaic
from galaxysegment.testing import make_images

pytest.importorskip("torch")


@pytest.mark.parametrize("scaling", ["asinh", "noise"])
def test_unet_leaves_no_seam(scaling):
    """Stated tolerance: probabilities of the same pixel may round differently, so one source pixel
    in 10,000.
    """
    from galaxysegment import UNetSegmenter

    X, y = make_images(n_images=4, shape=(64, 64))
    unet = UNetSegmenter(
        base_width=4, depth=2, max_epochs=3, scaling=scaling, n_pixels=3, random_state=0
    ).fit(X, y)
    rng = np.random.default_rng(0)
    image = np.concatenate(
        [np.concatenate([X[rng.integers(4)] for _ in range(5)], axis=1) for _ in range(4)]
    )
    # After so little training no fixed threshold means anything.
    unet.set_params(threshold=float(np.percentile(unet.predict_proba(image[np.newaxis]), 85)))
    whole = unet.predict(image[np.newaxis])[0]
    assert whole.max() > 20
    tiled = segment_mosaic(unet, image, tile_size=100, progress=False)
    assert tiled.max() == whole.max()
    assert np.count_nonzero((tiled > 0) != (whole > 0)) <= 1e-4 * np.count_nonzero(whole)
