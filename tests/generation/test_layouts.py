"""Every verb with every layout of codec: strides and backbones, with weights that were never trained."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from autoreel.clip import Frames
from autoreel.config import CodecConfig, Config, DataConfig, PriorConfig
from autoreel.generation.run import Run
from autoreel.models.codec import Codec
from autoreel.models.prior import Prior

SIZE = (32, 48)
ROUNDING = 2  # levels, of other batch and chunk sizes
THREE = {"widths": (8, 8, 8), "encoder_depths": (1, 1, 1), "decoder_depths": (1, 1, 1)}
FOUR = {"spatial_stride": 16, "widths": (8,) * 4, "encoder_depths": (1,) * 4, "decoder_depths": (1,) * 4}
LAYOUTS = {
    "4x16x16": FOUR,
    "1x8x8": {"temporal_stride": 1, **THREE},
    "transformer": {"backbone": "transformer", "attention_window": 4, **THREE},
    "transformer 1x16x16": {"backbone": "transformer", "attention_window": 4, "temporal_stride": 1, **FOUR},
}


def clip(num_frames: int) -> Frames:
    return np.random.default_rng(0).integers(0, 256, (num_frames, *SIZE, 3), np.uint8)


@pytest.fixture(scope="module", params=LAYOUTS)
def run(request: pytest.FixtureRequest) -> Run:
    torch.manual_seed(0)
    codec_config = CodecConfig.model_validate({"latent_channels": 4, **LAYOUTS[request.param]})
    config = Config(
        data=DataConfig(height=SIZE[0], width=SIZE[1]), codec=codec_config,
        prior=PriorConfig(width=32, depth=1, heads=1, patch=1, window=4, steps=2),
    )  # fmt: skip
    codec = Codec(codec_config)
    latent_size = (SIZE[0] // codec.spatial_stride, SIZE[1] // codec.spatial_stride)
    prior = Prior(config.prior, 4, latent_size, 2)
    with torch.no_grad():
        for parameter in (*prior.parameters(), *codec.parameters()):
            parameter.add_(0.02 * torch.randn_like(parameter))
    return Run(config, codec, prior, ("a", "b"), SIZE, Fraction(25), torch.device("cpu"))


def test_every_verb_has_its_length(run: Run) -> None:
    stride = run.config.strides[0]
    assert run.encode(clip(9)).shape[0] == 1 + 8 // stride
    assert run.generate("a", 10, 1).shape == (10, *SIZE, 3)
    assert len(run.continue_(clip(9), 6, "b")) == 15
    assert len(run.animate(clip(1)[0], 9)) == 9
    assert len(run.between(clip(9), clip(9), 6)) == 9 + -(-6 // stride) * stride + 9
    assert len(run.loop(clip(10), 3)) == 10 + -(-3 // stride) * stride
    assert len(run.vary(clip(7), 0.5)) == 7
    assert len(run.morph(clip(5), clip(9), 7)) == 7
    assert len(run.slow(clip(5), 2.0)) == 9
    assert run.rebuild(clip(6), (24, 40)).shape == (6, 24, 40, 3)


def test_given_frames_are_the_codecs_own_and_a_seed_decides(run: Run) -> None:
    frames = clip(9)
    rebuilt = run.rebuild(frames).astype(int)
    assert np.abs(run.continue_(frames, 5, seed=1)[:9] - rebuilt).max() <= ROUNDING
    assert np.abs(run.animate(frames[0], 5)[0] - run.rebuild(frames[:1])[0].astype(int)).max() <= ROUNDING
    one, same, other = (run.generate(None, 9, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
