"""Seeded simulators of fields with exact truth, and a sample field that ships with the package.

`make_field` simulates a deep field seen from space, `write_field` one of any size into a file,
`make_blends` small images of galaxies that overlap; they need GalSim, ``pip install
"galaxysegment[simulate]"``. `load_sample_field` needs nothing.
"""

from ._blends import make_blends
from ._field import make_field
from ._sample import load_sample_field
from ._stream import write_field

__all__ = ["load_sample_field", "make_blends", "make_field", "write_field"]
