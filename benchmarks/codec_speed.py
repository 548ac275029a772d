"""How fast a codec trains, encodes and decodes: operations per second against the machine's best, frames per second.

Peak memory, which Linux tells, is that of a process of its own:
`python benchmarks/codec_speed.py NAME WIDTH T,S,C SIDE` measures one case.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from peer_models import Layout, Peer, parameters_of
from torch.utils.flop_counter import FlopCounterMode

from autoreel.config import PRESETS, CodecConfig, Config
from autoreel.models.codec import Codec
from autoreel.models.compute import autocast, matrix_dtype
from autoreel.models.memory import forget_peak, peak_bytes
from autoreel.training.codec_stage import CodecStage
from autoreel.training.measure import NoiseFootage

CPU = torch.device("cpu")
FRAMES = 17
# Channels and side of the convolutions that are tried, over 16 pictures or a volume of 16 frames.
DENSE_2D = ((64, 32), (128, 32), (256, 16), (256, 32), (512, 16))
DENSE_3D = ((64, 32), (128, 32), (256, 16))
PICTURES = 16


def best_dense_flops(repeats: int = 4) -> float:
    """Operations per second of this machine's best dense convolution, 3x3 or 3x3x3, forward and backward."""
    best = 0.0
    kinds = (
        (DENSE_2D, F.conv2d, torch.channels_last, (3, 3), lambda c, s: (PICTURES, c, s, s)),
        (DENSE_3D, F.conv3d, torch.channels_last_3d, (3, 3, 3), lambda c, s: (1, c, PICTURES, s, s)),
    )
    for sizes, convolve, layout, kernel, shape in kinds:
        for channels, side in sizes:
            x = torch.randn(shape(channels, side)).to(memory_format=layout).requires_grad_()
            weight = torch.randn(channels, channels, *kernel).to(memory_format=layout).requires_grad_()
            operations = 3 * 2 * PICTURES * side * side * channels * channels * math.prod(kernel)
            for _ in range(repeats):
                began = time.perf_counter()
                with autocast(CPU, matrix_dtype(CPU)):
                    convolve(x, weight, padding=1).float().sum().backward()
                best = max(best, operations / (time.perf_counter() - began))
    return best


def training_efficiency(config: Config, peak: float) -> dict[str, float]:
    """Operations per second of whole training steps, and as a share of the best convolution's, in both parts.

    Matrix products and convolutions of the networks are counted; what else is done, the optimizer's products among it,
    takes time and counts as nothing.
    """
    found = {}
    for part, progress in (("reconstruction", 0.0), ("adversarial", 1.0)):
        stage = CodecStage(config, NoiseFootage(config), CPU, fit=False)
        stage.step(0, progress)
        with FlopCounterMode(display=False) as counter, ExitStack() as without:
            for optimizer in stage.optimizers().values():
                without.enter_context(patch.object(optimizer, "step"))
            stage.step(1, progress)
        times = []
        for step in range(2, 5):
            began = time.perf_counter()
            stage.step(step, progress)
            times.append(time.perf_counter() - began)
        rate = counter.get_total_flops() / min(times)
        found |= {f"{part}_gflops": rate / 1e9, f"{part}_share": rate / peak, f"{part}_step_s": min(times)}
    return found


def build(name: str, width: int, layout: Layout) -> tuple[Any, Any, int]:
    """A codec with random weights: its encoding, its decoding and its size."""
    torch.manual_seed(0)
    if name == "ours":
        preset = PRESETS["tiny" if layout.spatial == 8 else "small"].codec
        config = CodecConfig.model_validate({
            **preset.model_dump(), "temporal_stride": layout.temporal, "latent_channels": layout.channels,
        })  # fmt: skip
        codec = Codec(config).eval()
        return lambda video: codec.encode(video).mode(), codec.decode, parameters_of(codec)
    peer = Peer(name, width, layout).eval()
    return lambda video: peer.moments(video)[0], peer.decode, parameters_of(peer)


@torch.no_grad()
def one_case(name: str, width: int, layout: Layout, side: int) -> dict[str, float]:
    """Frames per second of encoding and of decoding at a size, and this process's peak memory in each, with one clip.

    Small pictures are measured two clips at a time too, and the better rate is given: torch's convolutions of one clip
    of few channels can be ten times slower than those of two.
    """
    encode, decode, parameters = build(name, width, layout)
    found: dict[str, float] = {"parameters": parameters, "encode_fps": 0.0, "decode_fps": 0.0}
    for clips in (1, 2) if side <= 128 else (1,):
        video = torch.rand(clips, 3, FRAMES, side, side) * 2 - 1
        with autocast(CPU, matrix_dtype(CPU)):
            latent = encode(video).float()
            for label, run, x in (("encode", encode, video), ("decode", decode, latent)):
                forget_peak()
                for _ in range(2):
                    began = time.perf_counter()
                    run(x)
                    took = time.perf_counter() - began
                    found[f"{label}_fps"] = max(found[f"{label}_fps"], clips * FRAMES / took)
                    if took > 60:
                        break
                found.setdefault(f"{label}_peak_mib", peak_bytes() / (1 << 20))
    return found


def in_own_process(name: str, width: int, layout: Layout, side: int, limit_s: float) -> dict[str, float] | str:
    """`one_case` in a process of its own; why not, when it does not end well or in time."""
    strides = f"{layout.temporal},{layout.spatial},{layout.channels}"
    command = [sys.executable, "-W", "ignore", str(Path(__file__)), name, str(width), strides, str(side)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return f"longer than {limit_s:.0f} s"
    if done.returncode:
        return "out of memory" if done.returncode < 0 else (done.stderr.strip().splitlines() or ["failed"])[-1][:120]
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    given_name, given_width, given_strides, given_side = sys.argv[1:5]
    print(json.dumps(one_case(
        given_name, int(given_width), Layout(*map(int, given_strides.split(","))), int(given_side)
    )))  # fmt: skip
