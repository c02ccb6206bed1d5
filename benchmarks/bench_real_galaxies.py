"""Whether real galaxies stay whole, and stars and companions in front of them come apart.

Run ``GALAXYSEGMENT_DATA=data python -m benchmarks.bench_real_galaxies``. Points of nine galaxies
were labelled by eye: knots, arms and outskirts that must share the label of the galaxy's centre,
and stars and companions that must have labels of their own. Points that could be both, such as a
compact knot at the end of an arm, are not in the list.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from galaxysegment import PhotutilsSegmenter, SEPSegmenter

from .real_sky import list_fields, open_field


@dataclass(frozen=True)
class LabelledGalaxy:
    """Pixels (y, x) of a galaxy, and of other sources beside it or in front of it."""

    field: str
    centre: tuple
    galaxy: tuple
    others: tuple


GALAXIES = (
    LabelledGalaxy(
        field="hsc_spiral_1",
        centre=(258, 273),
        galaxy=(
            *((230, 254), (240, 266), (290, 290), (288, 303), (259, 323)),
            *((250, 301), (270, 252), (215, 300), (268, 342), (225, 310)),
        ),
        others=((239, 220), (203, 277), (188, 266), (165, 203), (147, 402)),
    ),
    LabelledGalaxy(
        field="hsc_spiral_2",
        centre=(360, 358),
        galaxy=(
            *((300, 335), (290, 275), (310, 245), (287, 380), (321, 384), (405, 320), (425, 335)),
            *((450, 352), (412, 405), (425, 435), (480, 405), (490, 390), (310, 476), (340, 472)),
            *((380, 450), (500, 265), (460, 283), (370, 265), (390, 240)),
        ),
        others=(
            *((261, 462), (359, 440), (549, 282), (434, 575), (477, 488)),
            *((422, 527), (234, 535), (559, 190), (383, 217)),
        ),
    ),
    LabelledGalaxy(
        field="kids_G278109",
        centre=(167, 80),
        galaxy=((100, 80), (125, 78), (210, 82), (240, 88), (200, 78)),
        others=((137, 82),),
    ),
    LabelledGalaxy(
        field="kids_G267199",
        centre=(106, 98),
        galaxy=((75, 115), (130, 70), (135, 80), (90, 110)),
        others=((77, 145), (71, 150)),
    ),
    LabelledGalaxy(
        field="kids_G266662",
        centre=(138, 84),
        galaxy=((90, 100), (110, 95), (170, 72), (195, 60)),
        others=((97, 141), (129, 133)),
    ),
    LabelledGalaxy(
        field="decals_cluster",
        centre=(319, 202),
        galaxy=((300, 200), (335, 215), (310, 185), (340, 195)),
        others=((289, 158), (176, 333), (237, 312)),
    ),
    LabelledGalaxy(
        field="kpno_coma_int16",
        centre=(545, 170),
        galaxy=((520, 170), (570, 190), (545, 215), (545, 130)),
        others=((492, 167), (311, 399), (354, 400), (384, 383), (386, 394)),
    ),
    LabelledGalaxy(
        field="subaru_act-img_suprimecam_i",
        centre=(167, 69),
        galaxy=((140, 70), (190, 75), (120, 60), (200, 60)),
        others=((118, 27), (129, 110), (71, 67), (83, 46)),
    ),
    LabelledGalaxy(
        field="legacy_testcase8_r_ls9.N6_171113_060340",
        centre=(162, 130),
        galaxy=((120, 120), (200, 140), (160, 180), (190, 100)),
        others=((116, 142), (225, 113)),
    ),
)


def errors(galaxy, labels):
    """Points of the galaxy that lie outside its label, and other sources without a label."""
    own = labels[galaxy.centre]
    outside = [point for point in galaxy.galaxy if labels[point] != own]
    taken, missed = {0, int(own)}, []
    for y, x in galaxy.others:
        near = labels[y - 1 : y + 2, x - 1 : x + 2].ravel().tolist()
        numbers = [number for number in (near[4], *near) if number not in taken]
        if not numbers:
            missed.append((y, x))
        taken.update(numbers[:1])
    return outside, missed


def labels_of(segmenter, data, name):
    """Label map of a field of `real_sky`."""
    fields = {field.name: field for field in list_fields(data)}
    image, rms = open_field(data, fields[name])
    if rms is None:
        return segmenter().predict(image[np.newaxis])[0]
    return segmenter(rms_band=-1).predict(np.stack([image, rms])[np.newaxis])[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--segmenter", choices=["photutils", "sep"], default="photutils")
    arguments = parser.parse_args()
    data = Path(os.environ["GALAXYSEGMENT_DATA"])
    segmenter = {"photutils": PhotutilsSegmenter, "sep": SEPSegmenter}[arguments.segmenter]
    for galaxy in GALAXIES:
        outside, missed = errors(galaxy, labels_of(segmenter, data, galaxy.field))
        print(
            f"{galaxy.field:40} {len(outside)} of {len(galaxy.galaxy)} points outside {outside}; "
            f"{len(missed)} of {len(galaxy.others)} others missed {missed}"
        )


if __name__ == "__main__":
    main()
