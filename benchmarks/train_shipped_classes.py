r"""Train a U-Net that tells galaxies, stars and artefacts apart, from simulations alone.

    python -m benchmarks.train_shipped_classes --output sky.safetensors --folder training
    python -m benchmarks.train_shipped_classes --output second.safetensors --folder second \
        --weights training/step_05600.safetensors --steps 3600 --fields 420 --begin-with 150 \
        --lr 1e-3 --every 200

It begins with the shipped weights "vis" and a head for more classes; those that ship began with
version 1.1. Every few steps a new field of `class_fields` joins those that patches are drawn from.
The rate rises over the first steps and falls along a cosine. Every few hundred steps the net is
scored on held-out fields and written to the folder with the optimizer; started again, the training
goes on from there. At the end `tune_shipped_classes` chooses thresholds and calibrates.

The weights that ship are of both commands: the second begins with the last checkpoint of the first.
Half of its fields are of what that net is weak at, see `class_fields.simulate_weak`. The weights
that it ends with are drawn back to those that it began with, as of Wortsman et al. (2022, CVPR,
"Robust fine-tuning of zero-shot models"), because alone they lose faint sources of fields that are
unlike those of the training. `LEARNT` was chosen among .5, .7 and .85 by pictures, by false sources
on images times −1, and by the GalSim field, where source F1 is the higher the less is learnt.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from galaxysegment import UNetSegmenter
from galaxysegment.nets.common._net import autocast_dtype
from galaxysegment.persistence import save
from galaxysegment.structures import ARTEFACT, GALAXY, STAR

from .class_fields import CLASSES, Fields, cached, prepared
from .tune_shipped_classes import tune, write

HELD_OUT = range(7_000_000, 7_000_012)  # seeds of the fields that the net is scored on meanwhile
LEARNT = 0.7  # share of the last weights in those of the net of a second course


# ---- the loss ----


def loss_of(logits, classes, weights):
    """Cross-entropy in three questions, plus soft Dice coefficients.

    Sources or not, of all pixels; galaxy or star, of the pixels of sources; sky or artefact, of the
    others. Of one cross-entropy over four classes the few pixels of stars would be a small part.

    Parameters
    ----------
    logits : tensor of shape (n, 4, height, width)
    classes : tensor of int8, shape (n, height, width)
    weights : tensor of shape (n, height, width)
        Of the second question.
    """
    valid = classes >= 0
    is_thing = (classes == GALAXY) | (classes == STAR)
    things, others = (torch.logsumexp(logits[:, part], dim=1) for part in ([1, 2], [0, 3]))
    proba = torch.sigmoid(things - others)
    entropy = functional.binary_cross_entropy_with_logits
    light = entropy(things - others, is_thing.float(), valid.float(), reduction="sum")
    kind = entropy(logits[:, 2] - logits[:, 1], (classes == STAR).float(), weights, reduction="sum")
    empty = valid & ~is_thing
    defect = entropy(
        logits[:, 3] - logits[:, 0],
        (classes == ARTEFACT).float(),
        empty.float(),
        reduction="sum",
    )
    artefacts = torch.softmax(logits, dim=1)[:, 3]
    losses = (
        light / valid.sum().clamp(min=1),
        kind / weights.sum().clamp(min=1),
        defect / empty.sum().clamp(min=1),
        dice(proba, is_thing, valid),
    )
    return sum(losses) + 0.3 * dice(artefacts, classes == ARTEFACT, valid), losses


def dice(proba, truth, valid):
    """One minus the soft Dice coefficient of the pixels that count."""
    proba, truth = proba * valid, truth & valid
    return 1 - (2 * (proba * truth).sum() + 1) / (proba.sum() + truth.sum() + 1)


# ---- training ----


def parse_options(description, *, steps, fields, begin_with, lr, every, seed):
    """Read the options of a training, whose defaults these are, and make its folder."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="fields and checkpoints")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--stop", type=int, help="stop after this step, to go on another time")
    parser.add_argument("--fields", type=int, default=fields, help="all that are simulated")
    parser.add_argument(
        "--begin-with", type=int, default=begin_with, help="fields before the first step"
    )
    parser.add_argument("--lr", type=float, default=lr, help="highest learning rate")
    parser.add_argument("--every", type=int, default=every, help="steps between two checkpoints")
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--weights", type=Path, help="net of the first course, for the second")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    return options


def main():
    defaults = {"steps": 5600, "fields": 560, "begin_with": 217, "lr": 2e-3, "every": 400}
    options = parse_options(__doc__.splitlines()[0], **defaults, seed=2027)
    torch.manual_seed(options.seed)
    second = options.weights is not None
    unet = UNetSegmenter(
        weights=str(options.weights) if second else "vis",
        classes=CLASSES,
        rms_band=-1,
        n_views=1,
        random_state=options.seed,
    )
    unet._ready_net()
    unet._drop_calibration()
    unet.threshold_ = 0.5
    fields = Fields(unet, options.folder, options.seed * 100_000, second)
    test = [prepared(unet, *cached(seed, options.folder)) for seed in HELD_OUT]
    train(unet, options, fields, test)
    if second:
        start = UNetSegmenter(weights=str(options.weights), n_views=1)
        start._ready_net()
        pull_back(unet, start, LEARNT)
        print(score(unet.net_.module_, test), flush=True)
    tune(unet, options.folder)
    write(unet, options.output)


def pull_back(unet, start, share):
    """Let the weights be `share` times the trained ones plus the rest of those of the start."""
    first, module = start.net_.module_.state_dict(), unet.net_.module_
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.lerp_(first[name], 1 - share)


def train(unet, options, fields, test, loss=None, score_of=None):
    """Train from the last checkpoint in the folder, or from the beginning.

    Parameters
    ----------
    unet : UNetSegmenter
    options : argparse.Namespace
    fields : Fields
    test : list of tuple
        Held-out fields, `prepared`.
    loss : callable, optional
        `loss_of`, or what is called like it and returns the like.
    score_of : callable, optional
        `score`, or what is called like it.
    """
    loss, score_of = loss or loss_of, score_of or score
    module = unet.net_.module_
    optimizer = torch.optim.AdamW(module.parameters(), lr=options.lr, weight_decay=0.01)
    begun = resume(module, optimizer, options.folder)
    print(score_of(module, test), flush=True)
    clock, sums = time.process_time(), []
    last = options.stop or options.steps
    for step in range(begun, last):
        wanted = fields_at(step, options)
        while len(fields.fields) < wanted:
            fields.add()
        for group in optimizer.param_groups:
            group["lr"] = float(options.lr * rate(step / options.steps))
        rng = np.random.default_rng([options.seed, step])
        sums.append(take_step(module, optimizer, fields.batch(rng), loss))
        if (step + 1) % 50 == 0:
            means, sums = np.mean(sums, axis=0), []
            parts = " ".join(f"{mean:.4f}" for mean in means)
            spent = time.process_time() - clock
            print(f"step {step + 1}: loss {parts}; {wanted} fields, {spent:.0f} s", flush=True)
        if (step + 1) % options.every == 0 or step + 1 == last:
            print(score_of(module, test), flush=True)
            keep(unet, optimizer, step + 1, options.folder)


def fields_at(step, options):
    """Number of fields that are there at a step; none joins in the last fifth."""
    grown = min(1, step / (0.8 * options.steps))
    return options.begin_with + int(grown * (options.fields - options.begin_with))


def rate(done):
    """Learning rate at a fraction of the steps, relative to the highest: a one-cycle schedule."""
    if done < 0.03:
        return 0.04 + 0.96 * done / 0.03
    return 0.005 + 0.4975 * (1 + np.cos(np.pi * (done - 0.03) / 0.97))


def take_step(module, optimizer, batch, loss_of=loss_of):
    """Take one step; return the parts of the loss."""
    images, *truth = batch
    module.train()
    loss, parts = loss_of(logits_of(module, images), *truth)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(module.parameters(), 2.0)
    optimizer.step()
    return [part.item() for part in parts]


def logits_of(module, images):
    """Run the net in half precision where the processor can."""
    dtype = autocast_dtype("auto", images.device)
    images = images.to(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, dtype, enabled=dtype is not None):
        return module(images).float()


def score(module, fields):
    """Describe how the net does on held-out fields: pixels of sources, kinds, artefacts."""
    module.eval()
    things, artefacts, kinds = np.zeros(2), np.zeros(3), np.zeros((2, 2))
    for scaled, classes, weights in fields:
        with torch.inference_mode():
            logits = logits_of(module, torch.from_numpy(scaled[None]))[0].numpy()
        truth, valid = np.isin(classes, (GALAXY, STAR)), classes >= 0
        light = np.logaddexp(logits[1], logits[2]) > np.logaddexp(logits[0], logits[3])
        things += (light & truth).sum(), ((light | truth) & valid).sum()
        called = (logits.argmax(axis=0) == ARTEFACT) & valid
        real = classes == ARTEFACT
        artefacts += (called & real).sum(), called.sum(), real.sum()
        is_star = logits[2] > logits[1]
        for row, kind in enumerate((GALAXY, STAR)):
            for column, answer in enumerate((~is_star, is_star)):
                kinds[row, column] += weights[(classes == kind) & answer].sum()
    shares = kinds / np.maximum(kinds.sum(axis=1, keepdims=True), 1e-9)
    both, called, real = artefacts
    return (
        f"held out: source IoU {things[0] / things[1]:.3f}; galaxies right {shares[0, 0]:.3f}, "
        f"stars {shares[1, 1]:.3f}; artefact pixels found {both / max(real, 1):.3f}, right "
        f"{both / max(called, 1):.3f}"
    )


def keep(unet, optimizer, step, folder):
    """Write the net and what its training needs to go on."""
    save(unet, folder / f"step_{step:05d}.safetensors")
    part = folder / ".state.pt"
    module = unet.net_.module_.state_dict()
    torch.save({"module": module, "optimizer": optimizer.state_dict(), "step": step}, part)
    part.replace(folder / "state.pt")


def resume(module, optimizer, folder):
    """Load the last checkpoint, if there is one; return the number of steps that are done."""
    path = folder / "state.pt"
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]


if __name__ == "__main__":
    main()
