"""The prose of the page."""

INTRODUCTION = """\
Every segmenter on the same images, with the numbers that the studies report whose settings these are, and with
programs of others (*in italics*), each called as its own documentation does. The data of those studies are not
public: these are simulations of the same setting, so that a comparison with a reported number compares data as
well as systems. Numbers are means over seeds ± their standard deviation; a seed draws other training fields,
other test fields and other initial weights. The best of a column is bold.

A source of the truth counts if at least 10 of its pixels lie in the patch; predictions that lie on smaller
ones, cut by the edge, do not count either. A source is found where the IoU of the masks is at least 0.5.
Average precision ranks sources by their score, or by the signal-to-noise ratio of their pixels where a
system gives none. *Tuned* means: with the parameters that have the best sum of pixel IoU and source F1 on
training patches.

The RMS map holds the photon noise of the sources, as that of the study of setting A did, and has no noise of its own.
Where a system sees it as a band (variants 3 and 4, and the U-Net's image and RMS map as they are) it can read faint
light there that the image hides; the RMS map of a real survey tells less. All other systems divide by it at most, and
they alone are compared with the programs of others.
"""

CONDITIONS = """\
Patches of setting A; the truth follows the conditions. *Sky gradient*: the sky doubles across a field of 1024² pixels.
The background of these fields is a mesh on top of a plane: ``BackgroundSubtractor(plane=True)``.
"""

UNSEEN = """\
Completeness at equal purity, by position, so that no convention of masks matters: a predicted and a true
source match where their centres are at most 3 pixels (or half the radius of a large source) apart; a
prediction is pure where any source really is, labelled or too faint for it. Thresholds (or scores) are swept.
*ground*: pixels of 0.2″, PSF of 0.7″, brighter sky, stars; *galsim*: HST galaxies drawn by another simulator,
with cosmic rays.
"""

COSTS = """\
Wall-clock seconds on a machine that did other work as well; processor seconds are those of the run alone.
Memory is what this process grew by; SExtractor's own is not in it.
"""

COMMANDS = """\
Every number stands in a table in ``benchmarks/leaderboard/results``. Each row was written by one of
these commands. This page is made from the tables each time the documentation is built.
``make benchmark`` runs a small round of all systems.
"""
