"""Parameters that the systems have, begin their tuning with, and are tuned over."""

SIGMAS = (0.7, 0.85, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 6.0)
PROBABILITIES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)
# Where tuning begins: what photutils and SExtractor recommend.
THRESHOLD = {"n_sigma": 1.5, "n_pixels": 10, "box_size": 50}
# The number of pixels moves alone, after threshold and kernel. From the 5 of sep and SExtractor the
# search does not find what it finds from the 10 that the others begin with.
BEGIN = {"n_pixels": 10}
# The cleaning of [Saverese2022]: its thresholds, its mesh, and no part of ours that it lacks.
STUDY = {
    "n_sigma": 1.5,
    "n_pixels": 10,
    "box_size": 50,
    "deblend": False,
    "level_seams": False,
    "correlated_noise": False,
    "mask_objects": False,
}
# Its forest: 1000 pixels of each of 500 patches, and patterns of 192 points at radius 24.
STUDY_FOREST = {"lbp_radius": 24, "lbp_points": 192, "n_samples": 500_000}
# Pixels of a source differ in number between the settings, and with them what is worth trying.
SEP_GRID = {
    "n_sigma": (0.5, 0.65, 0.8, 1.0, 1.2, 1.5),
    "fwhm": (1.5, 2.0, 2.5, 3.0),
    "n_pixels": (5, 10),
}
PEER_GRID = {
    "n_sigma": (0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0),
    "fwhm": (1.5, 2.0, 3.0),
    "n_pixels": (5, 10),
}
MATCHED = (0.65, 0.8, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0)
CONTRAST = {"contrast": (0.0005, 0.005, 0.02)}
SEP_FILTERS = {"filter_type": ("matched", "conv")}
# The grid that all have in setting C. There the peers divide the RMS map by the root of three bands
# and ours do not: 2.0 of theirs is 1.15 of ours.
GRID = {
    "n_sigma": (0.65, 0.8, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0),
    "fwhm": (1.5, 2.0, 2.5, 3.0),
    "n_pixels": (5, 10),
    **CONTRAST,
}
#: What ours have beside it.
OUR_GRID = {"deblend": (True, "galaxy"), "mask_objects": (True, False)}
PHOTUTILS = {"fwhm": 3.0, "n_pixels": 10, "contrast": 0.001}
NOISECHISEL_GRID = {
    "qthresh": (0.3, 0.6),
    "hdu": ("OBJECTS", "CLUMPS"),
    "isophote": (1.0, 1.3, 1.6),
}
CANDIDATES = ("scores", {"score_threshold": 0.005})
SAMPLE = {"A": 64, "B": 200, "C": 16}
FEW = {"A": 16, "B": 60, "C": 16, "C8": 8}
