"""What each row of the tables is, in a sentence or two."""

#: System to text. A test demands one for each system.
ABOUT = {
    "photutils_2022": (
        "The cleaning of [Saverese2022]_: 1.5 times the background RMS, 10 pixels, mesh of 50, "
        "no deblending."
    ),
    "photutils": "Constructor without arguments, but for the RMS band: 1 RMS, 10 pixels.",
    "photutils_tuned": (
        "Threshold, kernel, pixels, contrast, how blends are split and whether objects are masked "
        "chosen on 16 training patches (60 in B, 8 in C8), mesh of 50. In C and C8 from a finer "
        "grid."
    ),
    "photutils_refined": (
        "PhotutilsSegmenter, then the light divided among its sources: "
        "``SegmentThenSeparate(refine=True)``."
    ),
    "sep": (
        "Our class on sep's detection, constructor without arguments, but for the RMS band: 1 RMS, "
        "8 pixels. The plain library is the row *sep*."
    ),
    "sep_tuned": "The same, tuned on the patches of PhotutilsSegmenter, tuned.",
    "photutils_common": "PhotutilsSegmenter on the common grid alone, as the peers have it in C.",
    "sep_common": "SEPSegmenter on the common grid alone, as the peers have it in C.",
    "kmeans": "Two clusters of pixels, 10 starts. *smooth* is our preprocessing, not the study's.",
    "random_forest": "Trained on 64 patches (200 in B, 16 in C).",
    "random_forest_2022": (
        "1000 pixels of each of 500 patches, binary patterns of 192 points at a radius of 24, 250 "
        "trees of depth 12, threshold .5, no deblending. Not compared with the peers."
    ),
    "unet_shipped": (
        "Weights that ship with the package, trained on 800 other fields, not on these. One band: "
        "in C the r band, in which the truth is defined, or the mean of the bands, which is deeper "
        "than the truth."
    ),
    "unet_shipped_tuned": (
        "The same with threshold, least pixels and deblending chosen on 16 training patches."
    ),
    "unet_sky": (
        "As the row before, the weights that tell stars, galaxies and artefacts apart, trained on "
        "560 other fields."
    ),
    "mask_rcnn_blends": (
        "Weights that ship with the package, trained on 600 other fields with blends and crowds. "
        "One band, as the two rows before."
    ),
    "unet": "Our U-Net with flips, views and deblending, 1024 patches.",
    "unet_long": "The same on 4096 patches: not compared with the peers, which have 1024.",
    "mask_rcnn": (
        "torchvision's parts on a ResNet-18 of ours, from scratch: anchors from the training "
        "truth, first convolution without stride, soft suppression."
    ),
    "mask_rcnn_stages": (
        "The same with the schedule of [Shah2020]_ in short: momentum SGD, the heads first, then "
        "all layers, rates that fall in four stages of one epoch each (50 epochs in the study)."
    ),
    "mask2former": (
        "Our U-Net with a query at each peak of a learnt centre map, and masked attention. It is "
        "not the published Mask2Former."
    ),
    "detr": (
        "The same U-Net with peak queries and DETR's heads. It is not the published DETR, "
        "which is a ResNet-50 with 100 learnt queries."
    ),
    "plain_photutils": "The script of photutils' documentation: 1.5 RMS, 10 pixels, mesh of 50.",
    "plain_photutils_tuned": "The same, threshold, kernel and pixels tuned on training patches.",
    "plain_sep": "The lines of sep's tutorial: 1.5 RMS, 5 pixels, matched filter.",
    "plain_sep_tuned": "The same with filter, threshold, kernel, pixels and contrast tuned.",
    "sextractor": "The program with its own defaults (``-d``).",
    "sextractor_tuned": "The same with threshold, kernel and pixels tuned.",
    "plain_photutils_common": "photutils, tuned on the common grid of C.",
    "plain_sep_common": "sep, tuned on the common grid of C.",
    "sextractor_common": "SExtractor, tuned on the common grid of C.",
    "noisechisel": "NoiseChisel and Segment of the GNU Astronomy Utilities, small tiles.",
    "noisechisel_tuned": "The same, masks cut at an isophote; three parameters tuned.",
    "smp_unet": (
        "U-Net of segmentation_models_pytorch on a ResNet-18, the loop of its examples: the "
        "patches of ours, no flips, no views, no deblending."
    ),
}
