"""Blends with the true light of their sources, as batches of stamps."""

import numpy as np
import torch
from torch.utils.data import Dataset

__all__ = ["LessonDataset", "collate_lessons"]


class LessonDataset(Dataset):
    """Blends to learn from; in training each is turned and mirrored at random.

    Parameters
    ----------
    lessons : list of `galaxysegment.separation._lessons.Lesson`
    training : bool, default=False
        Whether to turn and mirror.
    """

    def __init__(self, lessons, training=False):
        self.lessons, self.training = lessons, training

    def __len__(self):
        return len(self.lessons)

    def __getitem__(self, index):
        lesson = self.lessons[index]
        if not self.training:
            return lesson
        # torch's stream is seeded by the estimator
        quarters, mirrored = torch.randint(4, ()).item(), torch.randint(2, ()).item()
        lesson = lesson.turned(quarters)
        return lesson.mirrored() if mirrored else lesson


def collate_lessons(lessons):
    """Return the stamps of all sources, and what `ShareLoss` needs besides, padded to one size."""
    height, width = np.max([lesson.light.shape for lesson in lessons], axis=0).tolist()

    def padded(maps):
        pads = [(0, height - maps.shape[-2]), (0, width - maps.shape[-1])]
        return np.pad(maps, [(0, 0)] * (maps.ndim - 2) + pads).astype(np.float32)

    inputs = np.concatenate([lesson.inputs for lesson in lessons]).astype(np.float32)
    blend = np.repeat(np.arange(len(lessons)), [len(lesson.fluxes) for lesson in lessons])
    target = {
        "blend": blend,
        "corners": np.concatenate([lesson.corners for lesson in lessons]),
        "centres": np.concatenate([lesson.centres for lesson in lessons]).astype(np.float32),
        "fluxes": np.concatenate([lesson.fluxes for lesson in lessons]).astype(np.float32),
        "shares": np.concatenate([padded(lesson.shares) for lesson in lessons]),
        "truths": np.concatenate([padded(lesson.truths) for lesson in lessons]),
        "light": np.stack([padded(lesson.light) for lesson in lessons]),
    }
    return torch.from_numpy(inputs), {
        name: torch.from_numpy(array) for name, array in target.items()
    }
