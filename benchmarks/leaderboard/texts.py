"""The prose of the page."""

INTRODUCTION = """\
Every segmenter on the same images, beside the numbers of published studies and beside programs of
others (*in italics*), each called as its own documentation does.

- **Setting A**, field patches, imitates [Saverese2022]_; **setting B**, blends, imitates
  [Kamath2019]_; **setting C**, stars and galaxies in three bands, imitates [Shah2020]_. **Setting
  C8** is C at the seeing of a survey from the ground. The images of these studies are not public.
  Ours are simulations of the same setting, so that a comparison with a reported number compares
  images as well as systems. The :doc:`bibliography` has the titles.
- **Variants 1 to 4** are the preprocessing of [Saverese2022]_. Variant 1 normalizes the image; 2
  stretches it as the FITS Liberator does, then normalizes; 3 adds the normalized RMS map to 2; 4
  adds the RMS map after a logarithmic stretch. See `~galaxysegment.preprocessing.make_variant`.
- Numbers are means over seeds ± their standard deviation. A seed draws other training fields, other
  test fields and other initial weights. The best of a column is bold.
- Sources under 10 pixels are ignored in scoring. A source matches if the IoU of the masks is at
  least 0.5.
- † marks rows of ours that were run on 20 November 2026, by the code of that day. Their commands
  run the installed code, which gives other numbers.
- Average precision ranks sources by the scores of ``predict(X, output="instances")``. Programs
  without scores are ranked by the signal-to-noise ratio of the pixels of each source. So were
  k-means, forests and U-Nets with a †, whose runs are older than their scores.
- *Tuned* means: with the parameters that have the best sum of pixel IoU and source F1 on training
  patches. Threshold, kernel and filter are chosen together, the others one by one.
- The RMS map holds the photon noise of the sources and has no noise of its own, as in
  [Saverese2022]_. Systems that see it as a band (variants 3 and 4, and the U-Net on image and RMS
  map) can read faint light from it. Real RMS maps carry less information about sources. All other
  systems at most divide by the map, and only they are compared with the programs of others.

"""

OLD_ROWS = "†: run on 20 November 2026, by the code of that day."

FORMER_ROWS = (
    "‡: by a former version of weights that ship with the package, or by a version that the row "
    "does not name; the installed version may give other numbers."
)

CONDITIONS = """\
Patches of setting A under changed conditions, with the truth changed alike. Rows that were run with
``--short`` are missing here. †: run on 20 November 2026, by the code of that day. *Sky gradient*:
the sky doubles across a field of 1024² pixels; its background is
``BackgroundSubtractor(plane=True)``, a mesh on top of a plane.
"""

UNSEEN = """\
Completeness at equal purity, matched by position, so that no convention of masks matters. A
predicted and a true source match if their centres are at most 3 pixels apart, or half the radius of
a large source. A prediction is pure if it lies on any real source, labelled or too faint for a
label. Thresholds (or scores) are varied. *ground*: pixels of 0.2″, PSF of 0.7″, brighter sky,
stars; *galsim*: HST galaxies drawn by another simulator, with cosmic rays.
"""

CALIBRATION = """\
The shipped U-Net is calibrated, on other fields; the others are as the training left them. Most of
the sky is easy, so the error over all pixels is small for every system; the first column counts the
uncertain pixels alone. ``calibrate`` does the same for your own nets: see :doc:`measured`.
Cross-entropy was not computed on 20 November.
"""

COSTS = """\
Wall-clock seconds on a machine that did other work as well; processor seconds belong to the run
alone. Memory is the growth of this process, without the memory of the program SExtractor.
"""

COMMANDS = """\
Every number stands in a table in ``benchmarks/leaderboard/results``. Each row was written by one of
these commands, at the date beside it. ``python -m benchmarks.leaderboard check`` repeats our rows
that need no training by the installed code, and names those that differ. The recipe of each net in
each setting is a file in ``benchmarks/leaderboard/train_recipes``. This page is made from the
tables each time the documentation is built. ``make benchmark`` runs a small round of all systems.
"""

DUELS = """\
Only equals meet, in their main variants. *tuned*: programs that learn no weights, as they are or
with parameters chosen on the same few training patches. *trained*: nets on the same number of
patches. Where others have no trained net, :doc:`leaderboard_equal` has one. Both meet on the seeds
that the best peer has, because another seed has other fields. The largest deficit comes first.
Tuned programs choose on the same patches, each from a grid of thresholds, kernels,
least sizes and contrasts. Setting C has a common grid, and ours and the peers have a row with it.
The peers have a second row with a grid of their own. Ours have a second row that also chooses how
blends are split (``deblend``) and whether the background leaves objects out (``mask_objects``).

"""

TRIED = """\
A source F1 of .91 in setting A from the signal-to-noise ratio alone is not reached. It was tried
with more patches, with other post-processing, with a learnt map of centres, and with boxes.
Splitting alone hardly reaches it: if the truth split the regions of the U-Net (seed 0, F1 .884),
the F1 would be .907 (``run --setting A --system unet --variant snr --seed 0 --budget 11 --keep
nets``, then ``limit nets/A.unet.snr.0.safetensors``). Post-processing chosen on 16 patches is worse
than that of the file. Of sources from 20 pixels on, most rows reach it: what is missed and invented
are sources of 10 to 20 pixels.

"""

ISOPHOTES = """\
Pixel IoU on one more field of 1024², pooled, if the true masks end at half the local RMS, or at 1,
2 and 4 times it. Everywhere else they end at 1 RMS:

"""

LIMITS = """\
- Our images are simulations, and kinder than a survey: no bright stars with spikes, no spirals with
  arms, no seams. A lead over a reported number compares images as well as programs.
- [Kamath2019]_ reports a mean AP of .9 without its IoU; it stands beside our AP50 and our AP.
- Our nets had less training than the studies' nets: U-Nets of variants 1 to 4 one seed and 16, 4, 4
  and 4 epochs (30 in [Saverese2022]_), Mask R-CNN on the image alone and on variants 1 to 3 one
  seed and 864 to 4096 patches seen (26,000 in [Saverese2022]_), the Mask R-CNN of setting B 4000
  blends (20,000 in [Kamath2019]_, each in 4 augmentations, 80 epochs). The forest of the study's
  own recipe has one seed; the other forests have 64 patches where the study has 500.
- The rows of ``DETRSegmenter`` are a U-Net whose queries begin at peaks. The published form (a
  residual net with learned queries) is in the package: it needs pretrained weights or far longer
  training, see its row in :doc:`leaderboard_equal`.
- Setting C has a PSF of 0.17″. The images of [Shah2020]_ have the seeing of a ground-based survey,
  about 0.7″. Setting C8, at the end of :doc:`leaderboard_c`, has that seeing; the only net that was
  trained there is in :doc:`leaderboard_equal`. On a field of GalSim at 0.8″ a Mask R-CNN of setting
  C fell to an AP50 of .31 for stars (.54 after fine-tuning), below the reported .708: see
  :doc:`leaderboard_elsewhere`. The schedule of four stages with SGD has a recipe, ``run --setting
  C8 --system mask_rcnn_stages``, and no row: it needs about 90 core-minutes.
- No program is compared with the shipped nets in settings A, B, C and C8, because the nets were
  trained on more images. Some rows, most of them of C8, have fewer than three seeds: the last
  column of a table counts them.
- Tuned rows choose on 16 patches (60 in B, 8 in C8), each program on the same ones. NoiseChisel, of
  12 choices, has four in C. In setting C each search begins with 10 pixels. From the 5 that sep and
  SExtractor have by default, theirs mostly end at values that lower the F1 of sources of 20 pixels
  or more, from .95 to .90. In settings A, B and C8 theirs began with 5. In setting C ours and the
  peers have two rows each, and the better ones meet: a tie, since most choose the same threshold,
  kernel and pixels.
- The programs of others in settings A and B chose one parameter after the other, in two rounds.
  Newer rows choose threshold, kernel and filter together, and go on until a round changes nothing.
  Going on in this way from the stored parameters changed one of the rows that were tried again.
- The segmentation_models_pytorch U-Net of setting A has the same patches and preprocessing as ours,
  but no flips in training, views, tuned threshold or deblending, and one seed, 0, on which they
  meet. In :doc:`leaderboard_equal` both U-Nets have the same training, post-processing and minutes
  of a quiet core: that contest compares the nets alone.
- Three rows were repeated by their commands: sep, photutils and ``SEPSegmenter`` in C8, seed 1. All
  scores are equal to the last stored digit, except panoptic quality, which differs by up to .0006.
  Since these rows were run, a small source on a large one is painted on top. Rows of settings B, C
  and C8 that are older than this change have the former panoptic quality.
- NoiseChisel looks for light far below the noise of a pixel, and its masks reach there. Ours, and
  the truth, end at 1 RMS. The tuned row cuts its masks at an isophote; the other row measures this
  difference more than the program.
"""
