"""Limits on what a small file may unpack to, and on its number of HDUs."""

# The largest files of slitless spectra hold some thousand HDUs.
MOST_HDUS = 10_000
# A mosaic of noise packs by a factor of 2, a label map by a factor of 60.
_ALWAYS_ALLOWED = 2**28
_LARGEST_RATIO = 100


def check_n_hdus(path, n_hdus):
    """Refuse a file with more HDUs than instruments write."""
    if n_hdus > MOST_HDUS:
        raise OSError(
            f"{path} has more than {MOST_HDUS} HDUs: pass limits=False if you trust the file."
        )


def check_unpacked(name, n_bytes, n_packed):
    """Refuse to unpack `n_packed` bytes to so many that they may fill the memory."""
    if n_bytes > max(_ALWAYS_ALLOWED, _LARGEST_RATIO * n_packed):
        raise OSError(
            f"{name} unpacks to {n_bytes} bytes or more, over {_LARGEST_RATIO} times its size: "
            "if you trust the file, unpack it first, or pass limits=False."
        )
