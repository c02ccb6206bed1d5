"""Categories of sources and of pixels, as in ``Instances.classes`` and in panoptic maps.

Galaxies and stars are *things*, which are counted. The others are *stuff*, which is not.
"""

#: Category of a pixel without a truth or without data.
VOID = -1
#: Category of the empty sky.
SKY = 0
#: Category of a galaxy.
GALAXY = 1
#: Category of a star.
STAR = 2
#: Category of diffraction spikes, bleeding trails, ghosts and cosmic rays.
ARTEFACT = 3
#: Category of the trails of satellites.
TRAIL = 4
#: Category of light between galaxies, and around stars and galaxies where it fades.
DIFFUSE = 5
#: Category of Galactic cirrus.
CIRRUS = 6

#: Name of each category but `VOID`.
CLASS_NAMES = {
    SKY: "sky",
    GALAXY: "galaxy",
    STAR: "star",
    ARTEFACT: "artefact",
    TRAIL: "trail",
    DIFFUSE: "diffuse light",
    CIRRUS: "cirrus",
}
#: Categories whose sources are counted.
THINGS = (GALAXY, STAR)
#: Categories of which all pixels of an image are one segment.
STUFF = (SKY, ARTEFACT, TRAIL, DIFFUSE, CIRRUS)
