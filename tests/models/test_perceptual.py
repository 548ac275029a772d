"""LPIPS from a weights file that the test makes: the names and sizes are those of the `lpips` package."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from autoreel.errors import RunError
from autoreel.models.perceptual import Perceptual
from autoreel.runs import write_weights

CONVOLUTIONS = {  # slice, place in the classifier, (out, in, kernel)
    "alex": {
        "1.0": (64, 3, 11), "2.3": (192, 64, 5), "3.6": (384, 192, 3), "4.8": (256, 384, 3), "5.10": (256, 256, 3),
    },
    "vgg": {
        "1.0": (64, 3, 3), "1.2": (64, 64, 3), "2.5": (128, 64, 3), "2.7": (128, 128, 3), "3.10": (256, 128, 3),
        "3.12": (256, 256, 3), "3.14": (256, 256, 3), "4.17": (512, 256, 3), "4.19": (512, 512, 3),
        "4.21": (512, 512, 3), "5.24": (512, 512, 3), "5.26": (512, 512, 3), "5.28": (512, 512, 3),
    },
}  # fmt: skip
WIDTHS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}


def _weights(network: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    found = {}
    for place, (out, width, kernel) in CONVOLUTIONS[network].items():
        scale = (2 / (width * kernel**2)) ** 0.5
        found[f"net.slice{place}.weight"] = scale * torch.randn(out, width, kernel, kernel, generator=generator)
        found[f"net.slice{place}.bias"] = 0.1 * torch.randn(out, generator=generator)
    for number, width in enumerate(WIDTHS[network]):
        found[f"lin{number}.model.1.weight"] = torch.rand(1, width, 1, 1, generator=generator)
    return found


def _pictures(seed: int) -> Tensor:
    return torch.rand(1, 3, 2, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def _by_hand(weights: dict[str, Tensor], a: Tensor, b: Tensor) -> float:
    """AlexNet's LPIPS, written out."""
    stride, padding, pooled = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1), (False, True, True, False, False)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    x = torch.cat([a, b]).transpose(1, 2).flatten(0, 1)
    x = (x - shift.view(-1, 1, 1)) / scale.view(-1, 1, 1)
    total = 0.0
    for i, place in enumerate(CONVOLUTIONS["alex"]):
        if pooled[i]:
            x = F.max_pool2d(x, 3, 2)
        weight, bias = weights[f"net.slice{place}.weight"], weights[f"net.slice{place}.bias"]
        x = F.conv2d(x, weight, bias, stride[i], padding[i]).relu()
        unit = F.normalize(x, dim=1)
        total += float(((unit[:2] - unit[2:]).square() * weights[f"lin{i}.model.1.weight"]).sum(1).mean())
    return total


@torch.no_grad()
def test_alexnets_distance_is_the_published_one(tmp_path: Path) -> None:
    weights = _weights("alex")
    write_weights(tmp_path / "alex.safetensors", weights, {})
    network = Perceptual.open(tmp_path / "alex.safetensors", "alex")
    a, b = _pictures(0), _pictures(1)
    assert float(network(a, b)) == pytest.approx(_by_hand(weights, a, b), rel=1e-4)
    assert float(network(a, a)) == 0.0


def test_vgg_takes_its_own_names_and_passes_a_gradient_to_the_picture_only() -> None:
    network = Perceptual("vgg")
    assert {name: value.shape for name, value in network.state_dict().items()} == {
        name: value.shape for name, value in _weights("vgg").items()
    }
    made = _pictures(0)[..., :16, :16].clone().requires_grad_()
    torch.autograd.backward(network(made, _pictures(1)[..., :16, :16]))
    assert made.grad is not None and bool(made.grad.any())
    assert not any(p.requires_grad for p in network.parameters())
    with pytest.raises(ValueError, match="at least 16 pixels"):
        network(made[..., :8, :8], made[..., :8, :8])


def test_another_networks_file_is_refused_in_one_line(tmp_path: Path) -> None:
    write_weights(tmp_path / "alex.safetensors", _weights("alex"), {})
    with pytest.raises(RunError, match=r"LPIPS weights for vgg: .*holds other weights"):
        Perceptual.open(tmp_path / "alex.safetensors", "vgg")
    with pytest.raises(RunError, match=r"LPIPS weights for vgg: .*cannot be read"):
        Perceptual.open(tmp_path / "absent.safetensors")
