"""Seeded simulators of fields with exact truth, and a sample field that ships with the package.

`make_field` simulates a deep field seen from space, `write_field` a field of any size into a file,
`make_blends` small images of galaxies that overlap. `make_sky` adds spirals, saturated stars,
artefacts, cirrus and gaps, with the class of every pixel; `stream_skies` yields many such fields.
All need GalSim, ``pip install "galaxysegment[simulate]"``. `load_sample_field` needs nothing.
"""

from ._blends import make_blends
from ._field import make_field
from ._sample import load_sample_field
from ._sky import make_sky
from ._sky_stream import stream_skies
from ._stream import write_field

__all__ = [
    "load_sample_field",
    "make_blends",
    "make_field",
    "make_sky",
    "stream_skies",
    "write_field",
]
