"""Megapixels per second of processor time that the nets predict, and how far a core could go.

    # what a core can do, what the U-Net asks of it, and what comes out: a minute
    python benchmarks/bench_nets.py roof
    # ours beside plain PyTorch, torch.compile (--compile), ONNX Runtime and OpenVINO, if installed
    python benchmarks/bench_nets.py unet
    # time and score of the number of views and of the precision
    python benchmarks/bench_nets.py views
    # the whole `predict` of every net
    python benchmarks/bench_nets.py nets

Processor seconds of one thread count, the least of some rounds in turns. So other programs on the
machine disturb little. Nets but the U-Net are trained for one epoch on two patches: their speed is
that of a net that finds next to nothing, and sources cost more.
"""

import argparse
import importlib.util
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from galaxysegment import DETRSegmenter, MaskRCNNSegmenter, UNetSegmenter, metrics
from galaxysegment.datasets import make_field
from galaxysegment.export import net_inputs, to_onnx
from galaxysegment.nets.common._memory import kept_memory
from galaxysegment.structures import remove_small

PRECISIONS = ("bfloat16", "float32")
LEAST_PIXELS = 10
FEW = {"max_epochs": 1, "batch_size": 2, "validation_fraction": 0, "random_state": 0}
NETS = {
    "U-Net, 1 view": lambda: UNetSegmenter(weights="vis", n_views=1),
    "U-Net, 4 views": lambda: UNetSegmenter(weights="vis"),
    "Mask R-CNN": lambda: MaskRCNNSegmenter(**FEW),
    "Mask2Former on a U-Net": lambda: DETRSegmenter(**FEW),
    "DETR on a U-Net": lambda: DETRSegmenter(architecture="detr", **FEW),
    "Mask2Former, published": lambda: DETRSegmenter(backbone="light", **FEW),
    "DETR, published": lambda: DETRSegmenter(architecture="detr", backbone="light", **FEW),
}


def in_turns(functions, rounds):
    """Return the least processor seconds of each function of a dict, after a round to warm up."""
    least = dict.fromkeys(functions, np.inf)
    for number in range(rounds + 1):
        for name, function in functions.items():
            start = time.process_time()
            function()
            if number:
                least[name] = min(least[name], time.process_time() - start)
    return least


def make_image(side, seed=0):
    field = make_field((side, side), random_state=seed)
    return np.asarray(field.image, dtype=np.float32).reshape(side, side), field.labels


def find_peak(dtype, rounds):
    """Return the most GFLOP/s of 3×3 convolutions whose maps stay in the cache, by channels."""
    rates = {}
    for channels, side in ((16, 256), (32, 128), (64, 128), (128, 64), (256, 32)):
        x, weight = torch.randn(1, channels, side, side), torch.randn(channels, channels, 3, 3)
        x, weight = (part.to(dtype, memory_format=torch.channels_last) for part in (x, weight))

        def convolve(x=x, weight=weight):
            for _ in range(10):
                functional.conv2d(x, weight, padding=1)

        seconds = in_turns({"": convolve}, rounds)[""] / 10
        rates[channels] = 18 * channels**2 * side**2 / seconds / 1e9
    return rates


def ready_unet(side):
    """Return the skorch net of the shipped U-Net, and a batch of one scaled image."""
    unet = UNetSegmenter(weights="vis", n_views=1)
    (scaled,) = net_inputs(unet, make_image(side)[0][None])
    return unet, torch.from_numpy(np.nan_to_num(scaled))[None]


def runners(net, batch):
    """Return functions that run the module on a batch as it is, and folded, in each precision."""
    functions = {}
    for precision in PRECISIONS:

        def plain(precision=precision):
            net.precision = precision
            return net.evaluation_step((batch, None))

        def folded(precision=precision):
            net.precision = precision
            return net.predictor()(batch)

        functions |= {f"torch, {precision}": plain, f"galaxysegment, {precision}": folded}
    return functions


def roof(side, rounds):
    unet, batch = ready_unet(side)
    net, megapixels = unet._ready_net(), side**2 / 1e6
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.module_.eval()(batch)
    work = counter.get_total_flops() / 1e9 / megapixels
    print(f"U-Net of base width 16: {work:.0f} GFLOP per megapixel")
    with kept_memory():
        seconds = in_turns(runners(net, batch), rounds)
        for precision in PRECISIONS:
            rates = find_peak(getattr(torch, precision), rounds)
            peak, reached = (
                max(rates.values()),
                work * megapixels / seconds[f"galaxysegment, {precision}"],
            )
            by_channels = ", ".join(f"{rate:.0f} ({c})" for c, rate in rates.items())
            print(
                f"{precision}: 3×3 convolutions reach {by_channels} GFLOP/s (channels), so at most "
                f"{peak / work:.2f} Mpx/s; the net reaches {reached:.0f} GFLOP/s, "
                f"{reached / work:.2f} Mpx/s, {reached / peak:.0%} of the roof"
            )


def add_others(functions, unet, batch, with_compile):
    """Add torch.compile, ONNX Runtime and OpenVINO to a dict of functions of one batch."""
    if with_compile:
        start = time.process_time()
        compiled = torch.compile(unet.net_.module_.eval())

        def run_compiled():
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                return compiled(batch.contiguous(memory_format=torch.channels_last))

        run_compiled()
        print(f"torch.compile takes {time.process_time() - start:.0f} s once for each shape")
        functions["torch.compile, bfloat16"] = run_compiled
    kinds = [kind for kind in ("onnxruntime", "openvino") if importlib.util.find_spec(kind)]
    if not kinds:
        return
    path = Path(tempfile.mkdtemp()) / "vis.onnx"
    to_onnx(unet, path)
    if "onnxruntime" in kinds:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        functions["ONNX Runtime, float32"] = lambda: session.run(None, {"image": batch.numpy()})
    if "openvino" in kinds:
        import openvino

        for precision, hint in (("bfloat16", "bf16"), ("float32", "f32")):
            model = openvino.Core().read_model(path)
            model.reshape(list(batch.shape))
            config = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": hint}
            ready = openvino.Core().compile_model(model, "CPU", config)
            functions[f"OpenVINO, {precision}"] = lambda ready=ready: ready(batch.numpy())
    path.unlink()


def compare_unet(side, rounds, with_compile):
    unet, batch = ready_unet(side)
    functions = runners(unet._ready_net(), batch)
    add_others(functions, unet, batch, with_compile)
    with kept_memory():
        seconds = in_turns(functions, rounds)
    for name, value in sorted(seconds.items(), key=lambda pair: pair[1]):
        print(f"{name:26s} {side**2 / 1e6 / value:5.2f} Mpx/s")


def compare_views(side, rounds):
    image, truth = make_image(side, seed=1)
    truth = remove_small(truth, LEAST_PIXELS)
    print(f"{'views':5s} {'precision':9s} Mpx/s  pixel IoU  source F1  (of one view, float32: IoU)")
    reference = None
    for n_views in (1, 2, 4, 8):
        for precision in reversed(PRECISIONS):
            unet = UNetSegmenter(weights="vis", n_views=n_views, precision=precision)
            seconds = in_turns({"": lambda unet=unet: unet.predict(image[None])}, rounds)[""]
            labels = unet.predict(image[None])[0]
            reference = labels if reference is None else reference
            f1 = metrics.detection_scores(truth, labels).f1
            print(
                f"{n_views:5d} {precision:9s} {side**2 / 1e6 / seconds:5.2f}  "
                f"{metrics.iou_score(truth, labels):9.4f}  {f1:9.4f}  "
                f"{metrics.iou_score(reference, labels):.4f}"
            )


def compare_nets(side, rounds):
    image, labels = make_image(side)
    patches = np.stack([image[:128, :128], image[128:256, :128]])
    truth = np.stack([labels[:128, :128], labels[128:256, :128]])
    for name, make in NETS.items():
        net = make()
        if name[:5] != "U-Net":
            net.fit(patches, truth)
        seconds = in_turns({"": lambda net=net: net.predict(image[None])}, rounds)[""]
        print(f"{name:26s} {side**2 / 1e6 / seconds:6.3f} Mpx/s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("roof", "unet", "views", "nets"))
    parser.add_argument("--side", type=int, default=512, help="pixels of a side of the image")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="torch.compile, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    side, rounds = arguments.side, arguments.rounds
    if arguments.what == "unet":
        compare_unet(side, rounds, arguments.compile)
    else:
        {"roof": roof, "views": compare_views, "nets": compare_nets}[arguments.what](side, rounds)


if __name__ == "__main__":
    main()
