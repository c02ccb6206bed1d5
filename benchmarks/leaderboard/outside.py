"""Peers that need Python environments of their own: StarDist and Cellpose, run as programs.

``STARDIST_PYTHON`` and ``CELLPOSE_PYTHON`` name the interpreters; the default is this one. Both
learn label maps: a pixel in two masks belongs to the last of them, and what they find does not
overlap.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from galaxysegment.base import BaseSegmenter
from galaxysegment.structures import Instances

from .peers import NotInstalledError

SCRIPTS = Path(__file__).parent / "outside_scripts"


class OutsidePeer(BaseSegmenter):
    """A program with ``fit FOLDER`` and ``predict FOLDER``, which read and write arrays there.

    Images are scaled as for our nets: arcsinh of robust deviations. No weights from elsewhere.

    Parameters
    ----------
    core_minutes : float, default=1
        Processor minutes of training.
    patches : int, default=0
        Patches to train on, in place of the minutes; 0 for none.
    checkpoint : path or None, default=None
        Only the time that the training took is noted beside it: these trainings begin anew.
    random_state : int, default=0
    """

    _requires_y = True
    _name = ""
    _package = ""

    def __init__(self, *, core_minutes=1.0, patches=0, checkpoint=None, random_state=0):
        self.core_minutes = core_minutes
        self.patches = patches
        self.checkpoint = checkpoint
        self.random_state = random_state

    def _fit_images(self, images, targets):
        images = np.stack(images).astype(np.float32)
        self.centre_ = np.nanmedian(images, axis=(0, 2, 3))
        deviation = np.abs(images - self.centre_[:, None, None])
        self.scale_ = 1.4826 * np.nanmedian(deviation, axis=(0, 2, 3))
        self.folder_ = tempfile.mkdtemp(prefix=f"{self._name}_")
        labels = np.stack([_label_map(target) for target in targets])
        np.savez(Path(self.folder_) / "train.npz", images=self._scaled(images), labels=labels)
        note = "" if self.checkpoint is None else Path(self.checkpoint).with_suffix(".json")
        if note:
            note.parent.mkdir(parents=True, exist_ok=True)
        words = self.core_minutes, self.patches, self.random_state, note
        self._run("fit", *map(str, words))

    def _segment_images(self, images):
        images = np.stack(images).astype(np.float32)
        folder = Path(self.folder_)
        np.savez(folder / "test.npz", images=self._scaled(images))
        self._run("predict")
        with np.load(folder / "predicted.npz") as predicted:
            ends = np.cumsum(predicted["counts"])[:-1]
            scores = np.split(predicted["scores"], ends)
            return [
                _instances(labels, score)
                for labels, score in zip(predicted["labels"], scores, strict=True)
            ]

    def _scaled(self, images):
        scaled = (images - self.centre_[:, None, None]) / self.scale_[:, None, None]
        return np.arcsinh(np.nan_to_num(scaled)).astype(np.float32)

    def _run(self, verb, *words):
        python = os.environ.get(f"{self._name.upper()}_PYTHON", sys.executable)
        asked = subprocess.run(
            [python, "-c", f"import {self._name}"], capture_output=True, check=False
        )
        if asked.returncode:
            raise NotInstalledError(
                f"{self._name} is not installed for {Path(python).name}: pip install "
                f"{self._package}, or name an interpreter in {self._name.upper()}_PYTHON."
            )
        script = SCRIPTS / f"run_{self._name}.py"
        subprocess.run([python, str(script), verb, self.folder_, *words], check=True)


def _label_map(target):
    return np.asarray(target) if isinstance(target, np.ndarray) else target.to_label_map()


def _instances(labels, scores):
    """Instances of a label map of 1 … n with a score each; labels without pixels are left out."""
    sources = Instances.from_label_map(labels)
    present = np.unique(labels)
    scores = scores[present[present > 0] - 1]
    return Instances(sources.shape, sources.boxes, sources.crops, scores)


class StarDist(OutsidePeer):
    """StarDist [Schmidt 2018]: a probability and the distances to the rim at every pixel."""

    _name, _package = "stardist", "stardist tensorflow-cpu"


class Cellpose(OutsidePeer):
    """Cellpose 3 [Stringer 2021]: flows to the centre of each cell, its net from scratch.

    Version 4 needs weights of its makers and is not used.
    """

    _name, _package = "cellpose", "'cellpose<4'"
