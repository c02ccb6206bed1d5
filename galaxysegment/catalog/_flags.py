"""What can go wrong with the photometry of a source, as bits of a number."""

from enum import IntFlag


class CatalogFlags(IntFlag):
    """Bits of the column ``flags`` of `source_catalog`; 0 means that nothing went wrong.

    The bits 1, 2 and 8 mean about the same as in SExtractor's ``FLAGS``.

    Examples
    --------
    >>> from galaxysegment.catalog import CatalogFlags
    >>> CatalogFlags(9)
    <CatalogFlags.NEIGHBOUR|TRUNCATED: 9>
    >>> bool(9 & CatalogFlags.MISSING)
    False
    """

    #: More than 10 % of an aperture's area belongs to other sources.
    NEIGHBOUR = 1
    #: The mask touches or overlaps another source.
    BLENDED = 2
    #: An aperture holds pixels without data: NaN, masked, of weight zero or without an RMS.
    MISSING = 4
    #: An aperture reaches beyond the edge of the image.
    TRUNCATED = 8
    #: The measured Kron radius is below the minimum, or its sums are not positive: the minimum is
    #: taken.
    KRON_MINIMUM = 16
    #: There is no Kron radius: it is beyond the six semi-axes in which it is measured, or no pixel
    #: is left. Kron flux and light radii are NaN.
    KRON_FAILED = 32
    #: No circle within the Kron aperture holds the fraction of the light.
    NO_LIGHT_RADIUS = 64
    #: Fewer than 10 pixels of the local annulus are free of sources; nothing is subtracted.
    NO_LOCAL_BACKGROUND = 128
    #: The apertures need a window of more than 33 million pixels; their columns are NaN.
    TOO_LARGE = 256
    #: The source is thinner than a pixel, as a mask of one pixel is: its shape is widened.
    THIN = 512
    #: No pixel is above zero: centre and shape are those of the mask.
    NO_LIGHT = 1024
