"""Train the Mask R-CNN that ships, ``MaskRCNNSegmenter(weights="blends")``, on simulations alone.

    python -m benchmarks.train_shipped_instances --output blends.safetensors --folder training

Its U-Net begins with the shipped weights "sky", its heads with fresh ones. New fields of
`instance_fields` join during the training. The training has a budget of processor minutes: the rate
rises over the first tenth and falls along a cosine. Every two minutes the weights are written to
the folder with the optimizer; started again, the training goes on from there. At the end the
thresholds, what scores are worth, and how sources are compared to tell stars from galaxies, are
chosen on images that the net has not seen.

Version 1.2 has a second training behind it, from the state of the first, on the fields of
`instance_mix` and with larger anchors. The weights that ship are the average of both, three parts
in ten of the first:

    python -m benchmarks.train_shipped_instances --output blends.safetensors --folder second
        --begin training/state.pt --core-minutes 22 --fields 240 --begin-with 200 --lr 5e-4
        --seed 2030

Version 1.3 has the weights and thresholds of 1.2. It lowers the scores of second masks, and puts
companions that stand out on top of their galaxy (`NESTED_SOURCES`).

A third training of 21 minutes (``--course 3``, from the average, 156 fields) finds more peaks of
real blends (.76 for .73) and as many companions of large galaxies, but more second masks of them,
and takes clouds of faint sources for giant ones: it does not ship.

Version 1.4 has a fourth training behind it, from the file of 1.3, and is no average:

    python -m benchmarks.train_shipped_instances --output blends.safetensors --folder fourth
        --begin MaskRCNNSegmenter-blends-1.3.safetensors --course 4 --core-minutes 84 --fields 720
        --begin-with 300 --lr 5e-4 --seed 2060

Version 1.5 has the weights and thresholds of 1.4, and ``large_sources="connected"``.
"""

import argparse
import itertools
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.special import logit
from sklearn.linear_model import LogisticRegression

from galaxysegment import MaskRCNNSegmenter, UNetSegmenter
from galaxysegment._utils.model_file import read_model_file, write_model_file
from galaxysegment.datasets import make_blends, make_field
from galaxysegment.metrics import detection_scores
from galaxysegment.metrics._matching import find_overlaps, greedy_pairs
from galaxysegment.nets.common._memory import kept_memory
from galaxysegment.nets.common._net import autocast_dtype
from galaxysegment.persistence import load, save
from galaxysegment.segmenters._mask_rcnn import _best_mask
from galaxysegment.segmenters._scaling import Scaler
from galaxysegment.segmenters._score_scale import check_score_scale

from .instance_fields import BATCH, PATCH, Fields
from .instance_mix import MixedFields
from .leaderboard.clock import TrainingClock
from .leaderboard.scores import count_sources
from .tune_shipped_instances import settle_rule

HELD_OUT = 8_000_000  # seed of the first field that thresholds are chosen on
N_HELD_OUT = 16
SURVEY = {"pixel_scale": 0.2, "psf_fwhm": 0.8, "star_fraction": 0.2}
LEAST = 10  # pixels of a source that counts when thresholds are chosen
SETS = ("as in training", "spread", "pairs", "fields")
SPREAD_SIDES = 100, 150  # pixels of the cut-outs of "spread"
LOWEST = 0.2  # score from which on scores are calibrated
THRESHOLDS = np.round(np.arange(0.2, 0.71, 0.05), 2)
ANCHORS = [6.0, 12.0, 24.0, 48.0, 96.0]
SECOND_ANCHORS = [6.0, 12.0, 24.0, 60.0, 160.0]
KEPT = {2: 0.3, 3: 0.3, 4: 0.0}  # share of the weights that a training began with, in the average
NESTED_SOURCES = 0.6  # factor of the scores of second masks
N_SAMPLES = 64  # boxes of a patch that the heads are trained on
MOST_NORM = 5.0  # of the gradients
HALF_MAX = float(np.finfo(np.float16).max)
CHECKPOINT = 120.0  # processor seconds between two


def make_segmenter(seed, begin=None):
    """Make the segmenter with fresh heads, on the U-Net of the weights "sky".

    `begin` is the state of an earlier training to go on from, with `SECOND_ANCHORS`.
    """
    torch.manual_seed(seed)
    anchors = ANCHORS if begin is None else SECOND_ANCHORS
    segmenter = MaskRCNNSegmenter(
        backbone="unet",
        anchors=anchors,
        n_proposals=150,
        n_samples=N_SAMPLES,
        scores="source",
        scaling="noise",
        rms_band=-1,
        random_state=seed,
    )
    segmenter._seed, segmenter._patch_area = seed, PATCH**2
    segmenter.anchor_sizes_, segmenter.scores_ = anchors, "source"
    segmenter.nested_sources_ = 1.0  # until the thresholds are chosen
    segmenter.large_sources_ = "net"
    segmenter.score_threshold_ = segmenter.mask_threshold_ = 0.5
    segmenter._set_scaler(Scaler("noise", rms_band=-1))
    segmenter._make_net(1, segmenter._module_class(), segmenter._module_params(1))
    if begin is not None:
        module = segmenter.net_.module_
        module.load_state_dict(read_weights(begin))
        renew_statistics(module)
        return segmenter
    begun = UNetSegmenter(weights="sky")._ready_net().module_.state_dict()
    body = segmenter.net_.module_.backbone.body
    body.load_state_dict({key: part for key, part in begun.items() if "head" not in key})
    return segmenter


def read_weights(path):
    """Weights of a checkpoint, or of a segmenter's file."""
    if path.suffix == ".safetensors":
        return load(path)._ready_net().module_.state_dict()
    return torch.load(path, weights_only=True)["module"]


def renew_statistics(module):
    """Let normalizations whose variances overflowed begin anew: their channels were silent."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            lost = ~(torch.isfinite(layer.running_var) & torch.isfinite(layer.running_mean))
            layer.running_mean[lost], layer.running_var[lost] = 0.0, 1.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="fields and checkpoints")
    parser.add_argument("--core-minutes", type=float, default=58.0)
    parser.add_argument("--fields", type=int, default=600, help="all that are simulated")
    parser.add_argument("--begin-with", type=int, default=40, help="fields before the first step")
    parser.add_argument("--lr", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=2028)
    parser.add_argument("--begin", type=Path, help="earlier weights to go on from")
    parser.add_argument(
        "--course", type=int, default=2, choices=(2, 3, 4), help="if --begin is given"
    )
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    segmenter = make_segmenter(options.seed, options.begin)
    with kept_memory():
        fields = train(segmenter, options)
        if options.begin is not None:
            average(segmenter.net_.module_, options.begin, fields, KEPT[options.course])
    tune(segmenter, options.folder)
    settle_rule(segmenter)
    segmenter.nested_sources_ = NESTED_SOURCES
    segmenter.large_sources_ = "connected"  # the net alone cuts galaxies over 100 pixels
    write(segmenter, options.output)


def train(segmenter, options):
    """Train from the last checkpoint in the folder, or from the beginning; return the fields."""
    module = segmenter.net_.module_
    body = list(module.backbone.body.parameters())
    known = {id(part) for part in body}
    heads = [part for part in module.parameters() if id(part) not in known]
    groups = [{"params": body, "lr": 0.3 * options.lr}, {"params": heads}]
    optimizer = torch.optim.AdamW(groups, lr=options.lr, weight_decay=0.01, fused=True)
    highest = [group["lr"] for group in optimizer.param_groups]
    clock = TrainingClock(options.core_minutes, options.folder / "state.pt", CHECKPOINT)
    clock.resume(module, optimizer)
    fields = make_fields(segmenter, options)
    parts, start = [], time.monotonic()
    while clock.share < 1:
        wanted = min(1, clock.share / 0.8) * (options.fields - options.begin_with)
        while len(fields.fields) < options.begin_with + wanted:
            fields.add()
        for group, rate in zip(optimizer.param_groups, highest, strict=True):
            group["lr"] = rate * clock.rate
        step = clock.n_seen // BATCH
        torch.manual_seed(options.seed * 1_000_000 + step)
        batch = fields.batch(np.random.default_rng(step), step)
        parts.append(take_step(module, optimizer, batch))
        clock.step(module, optimizer, BATCH, sum(parts[-1].values()))
        if (step + 1) % 50 == 0:
            told = {name: np.mean([part[name] for part in parts]) for name in parts[0]}
            told = ", ".join(f"{name[5:]} {value:.3f}" for name, value in told.items())
            print(
                f"{clock.n_seen} patches, {len(fields.fields)} fields, {clock.used:.0f} processor "
                f"seconds, {time.monotonic() - start:.0f} s: {told}",
                flush=True,
            )
            parts = []
    clock.save(module, optimizer)
    return fields


def make_fields(segmenter, options):
    """Make the `Fields` of the first training, or the `MixedFields` of a later one."""
    where = segmenter, options.folder, options.seed * 100_000
    return Fields(*where) if options.begin is None else MixedFields(*where, options.course)


def average(module, begin, fields, kept, n_batches=16):
    """Average the weights with those that the training began with, and measure the statistics anew.

    `kept` is the share of the old ones. After the second training .3 was the best of 0, .3, .5 and
    .7 on development sets; after the fourth 0 was the best of these and .15.
    """
    before = read_weights(begin)
    after = module.state_dict()
    learnt = [name for name, _ in module.named_parameters()]
    mixed = {name: torch.lerp(after[name], before[name], kept) for name in learnt}
    module.load_state_dict({**after, **mixed})
    layers = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean of all batches
    module.train()
    with torch.no_grad():
        for number in range(n_batches):
            module.backbone(fields.batch(np.random.default_rng(1_000_000 + number), 1).images)
    for layer in layers:
        layer.momentum = 0.1
    module.eval()


def take_step(module, optimizer, batch):
    """Take one step; return the losses by name."""
    module.train()
    dtype = autocast_dtype("auto", "cpu")
    batch = batch.to("cpu", memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        losses = module(batch)
    optimizer.zero_grad()
    sum(losses.values()).backward()
    torch.nn.utils.clip_grad_norm_(module.parameters(), MOST_NORM)
    optimizer.step()
    return {name: loss.item() for name, loss in losses.items()}


def held_out(segmenter, folder, n_fields=N_HELD_OUT):
    """Return scaled patches and cut-outs and their truth, which thresholds are chosen on.

    Every other field holds large galaxies.
    """
    fields = Fields(segmenter, folder, HELD_OUT)
    for number in range(n_fields):
        fields.add(large=number % 2 == 1)
    rng = np.random.default_rng(HELD_OUT)
    items = [fields._patch(field, rng) for field in fields.fields for _ in range(8)]
    return [item[0] for item in items], [item[1] for item in items]


def held_out_spread(segmenter, folder, n_fields=N_HELD_OUT):
    """Return cut-outs of groups and large galaxies, and their truth."""
    fields = MixedFields(segmenter, folder, HELD_OUT + 1000)
    for _ in range(n_fields):
        fields.add("spread")
    rng = np.random.default_rng(HELD_OUT)
    items = [
        fields._patch(field[:3], rng, 1, *SPREAD_SIDES) for field in fields.fields for _ in range(6)
    ]
    return [item[0] for item in items], [item[1] for item in items]


def development(segmenter, folder, n_fields=N_HELD_OUT):
    """Return four sets of scaled images and truth: as in training, spread, pairs, and fields."""
    X, pairs = [], []
    for number, width in enumerate((0.7, 1.0, 1.4)):
        images, truth = make_blends(2 * n_fields, psf_fwhm=width, random_state=HELD_OUT + number)
        X += list(images)
        pairs += truth
    fields = [
        make_field((512, 512), **SURVEY, density=density, random_state=HELD_OUT + density)
        for density in (30, 80)
    ]
    planes = [np.stack([field.image[0], field.rms]).astype(np.float32) for field in fields]
    segmenter._ready_net()
    plain = replace(segmenter._scaler(), rms_band=None)
    return [
        held_out(segmenter, folder, n_fields),
        held_out_spread(segmenter, folder, n_fields),
        ([plain.scale_image(image[None]) for image in X], pairs),
        (segmenter._scale_all(planes), [field.instances for field in fields]),
    ]


def tune(segmenter, folder, n_fields=N_HELD_OUT):
    """Choose the thresholds of scores and masks and the scale of scores; print how well it does.

    The mean F1 of four sets decides about the scores; sources of fewer than `LEAST` pixels do not
    count. `_best_mask` decides about the masks.
    """
    segmenter._score_scale = None
    sets = development(segmenter, folder, n_fields)
    boxes = [segmenter._look(images, 0.05)[0] for images, _ in sets]

    def draw(threshold):
        return [
            segmenter._draw(own, images, threshold)
            for own, (images, _) in zip(boxes, sets, strict=True)
        ]

    targets, drawn = [truth for _, truth in sets], draw(0.5)
    segmenter._score_scale = scale = fit_scale(targets, drawn)
    drawn = [[rescored(image, scale) for image in images] for images in drawn]
    rows = np.array([scan(*pair) for pair in zip(targets, drawn, strict=True)])
    segmenter.score_threshold_ = float(THRESHOLDS[rows.mean(axis=0).argmax()])
    segmenter.mask_threshold_ = _best_mask(
        list(itertools.chain(*targets)),
        lambda threshold: list(itertools.chain(*draw(threshold))),
        scale.undo(segmenter.score_threshold_),
    )
    for name, row in zip(SETS, rows, strict=True):
        print(
            f"{name}: F1 "
            + ", ".join(f"{cut} {f1:.3f}" for cut, f1 in zip(THRESHOLDS, row, strict=True))
        )
    print(f"{scale}; score {segmenter.score_threshold_}, mask {segmenter.mask_threshold_}")


def fit_scale(targets, drawn):
    """Fit what scores from `LOWEST` on are worth; each set of images counts equally."""
    scores, right, weights = [], [], []
    for truth, predicted in zip(targets, drawn, strict=True):
        own, is_true = scores_and_truth(truth, predicted)
        likely = own >= LOWEST
        scores.append(own[likely])
        right.append(is_true[likely])
        weights.append(np.full(np.count_nonzero(likely), 1 / max(np.count_nonzero(likely), 1)))
    values = logit(np.clip(np.concatenate(scores), 1e-6, 1 - 1e-6))[:, None]
    weights = np.concatenate(weights) * len(values) / len(drawn)
    line = LogisticRegression(C=1e3).fit(values, np.concatenate(right), weights)
    return check_score_scale((line.coef_[0, 0], line.intercept_[0]))


def scores_and_truth(targets, predicted):
    """Return the score of each source of `LEAST` pixels, and whether it is a true one.

    From high scores to low ones, each source takes the true source that it has the highest IoU
    with, at least .5, if no other has taken it. A duplicate is not true.
    """
    overlaps = find_overlaps(targets, predicted)
    order = np.argsort(-overlaps.pred.scores, kind="stable")
    (is_true,) = greedy_pairs(overlaps, order, [0.5])
    counted = overlaps.pred.areas[order] >= LEAST
    return overlaps.pred.scores[order][counted], is_true[counted]


def rescored(image, scale):
    return replace(image, scores=scale.apply(image.scores).astype(np.float32))


def scan(targets, predicted):
    """F1 at each score threshold."""
    counted, seen = count_sources(targets, predicted, LEAST)
    targets = [truth.select(keep) for truth, keep in zip(targets, counted, strict=True)]
    return [
        detection_scores(targets, [image.select(image.scores >= cut) for image in seen]).f1
        for cut in THRESHOLDS
    ]


def write(segmenter, path):
    """Write the weights as half floats."""
    save(segmenter, path)
    tree = read_model_file(path)
    tensors = tree["state"]["tensors"]
    for name, tensor in tensors.items():
        if tensor.dtype == np.float32 and np.abs(tensor).max(initial=0) < HALF_MAX:
            tensors[name] = tensor.astype(np.float16)
    write_model_file(path, tree)


if __name__ == "__main__":
    main()
