r"""Train the shipped weights "vis" on, with the background that nets see and with harder fields.

    python benchmarks/train_shipped_weights.py --output first.safetensors
    python -m benchmarks.train_shipped_sources --weights first.safetensors \
        --output last.safetensors --folder training
    python benchmarks/calibrate_shipped_weights.py fit --weights last.safetensors \
        --output vis.safetensors

The first command made version 1.1 of "vis", all three made version 1.2. Half of the fields are as
in that first course; the others are of what its net is weak at, see `source_fields`. Steps, rates
and checkpoints are those of `train_shipped_classes`. The last weights are drawn back to those that
the course began with, as of Wortsman et al. (2022, CVPR, "Robust fine-tuning of zero-shot
models"), and the statistics of the normalization are measured again. `LEARNT` was chosen among .5,
.7, .85 and 1 by source F1 and pixel IoU on other simulated fields, by false sources on real images
times −1, and by pictures.
"""

import numpy as np
import torch

from galaxysegment import UNetSegmenter
from galaxysegment.nets.common._losses import BCEDiceLoss
from galaxysegment.structures import GALAXY

from .source_fields import Fields, make_seen
from .train_shipped_classes import logits_of, parse_options, pull_back, train
from .train_shipped_weights import keep

HELD_OUT = range(16)  # indices of the fields that the net is scored on meanwhile
HELD_OUT_SEED = 7_500_000
LEARNT = 0.85  # share of the last weights in those of the shipped net
N_MEASURED = 60  # fields, and batches of them, that measure the normalization


def main():
    defaults = {"steps": 1600, "fields": 240, "begin_with": 50, "lr": 1e-3, "every": 200}
    options = parse_options(__doc__.splitlines()[0], **defaults, seed=2029)
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    unet, start = (beginning(options.weights, options.seed) for _ in range(2))
    fields = Fields(unet, options.folder, options.seed * 100_000)
    test = [make_seen(unet, index, HELD_OUT_SEED, options.folder) for index in HELD_OUT]
    train(unet, options, fields, test, loss_of, score)
    pull_back(unet, start, LEARNT)
    fields.fields = fields.fields[:N_MEASURED]
    measure_norms(unet.net_.module_, fields)
    print(f"{LEARNT:.0%} learnt; {score(unet.net_.module_, test)}", flush=True)
    keep(unet, options.output)


def beginning(weights, seed):
    """Return the net of the first course, not calibrated."""
    unet = UNetSegmenter(weights=weights or "vis", rms_band=-1, n_views=1, random_state=seed)
    unet._ready_net()
    unet._drop_calibration()
    unet.threshold_ = 0.5
    return unet


def loss_of(logits, classes):
    """Return the loss that `UNetSegmenter.fit` has, and a list of it."""
    target = torch.stack([(classes == GALAXY).float(), (classes >= 0).float()], dim=1)
    loss = BCEDiceLoss()(logits, target)
    return loss, [loss]


def score(module, fields):
    """Describe how the net does on held-out fields, of the first course and harder ones."""
    texts = []
    for name, part in (("known", fields[::2]), ("hard", fields[1::2])):
        shared, union, false, empty = np.zeros(4)
        for logits, truth, valid in predicted(module, part):
            light = (logits > 0) & valid
            shared += (light & truth).sum()
            union += ((light | truth) & valid).sum()
            if not truth.any():
                false, empty = false + light.sum(), empty + valid.sum()
        texts.append(f"{name} IoU {shared / union:.4f}, false {1e6 * false / max(empty, 1):.0f}")
    return "held out: " + "; ".join(texts)


def predicted(module, fields):
    """Yield the logits of each field, its truth, and which of its pixels count."""
    module.eval()
    for scaled, classes in fields:
        with torch.inference_mode():
            logits = logits_of(module, torch.from_numpy(scaled[None]))[0, 0].numpy()
        yield logits, classes == GALAXY, classes >= 0


def measure_norms(module, fields):
    """Measure means and variances of the normalization anew, for weights that are a mean."""
    norms = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
    module.train()
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for _ in range(N_MEASURED):
            logits_of(module, fields.batch(rng)[0])
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    module.eval()


if __name__ == "__main__":
    main()
