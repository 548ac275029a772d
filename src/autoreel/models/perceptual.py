"""LPIPS (Zhang et al. 2018): distance of pictures in the features of a classifier, from a weights file of one's own.

Nothing is shipped or downloaded. The file holds the tensors of the `lpips` package under the names they have there:

    net.slice1.0.weight   net.slice1.0.bias ...   the convolutions of VGG16 or AlexNet, by their place in the network
    lin0.model.1.weight   ... lin4.model.1.weight  how much each channel counts, (1, C, 1, 1)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoreel.config import LPIPS_LEAST, ObjectiveConfig
from autoreel.errors import RunError
from autoreel.runs import layout_of, read_weights

# Mean and deviation of the classifiers' training pictures, for values in [-1, 1].
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


@dataclass(frozen=True)
class Layer:
    """A convolution with its rectifier.

    Args:
        place: in the classifier's list of layers; its name in the file.
        width: channels out.
        kernel: side.
        stride, padding: pixels.
        pool: side of the maximum pooling before it, step 2; 0 for none.
    """

    place: int
    width: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    pool: int = 0


# Slices after which features are compared.
NETWORKS: Mapping[str, tuple[tuple[Layer, ...], ...]] = {
    "vgg": (
        (Layer(0, 64), Layer(2, 64)),
        (Layer(5, 128, pool=2), Layer(7, 128)),
        (Layer(10, 256, pool=2), Layer(12, 256), Layer(14, 256)),
        (Layer(17, 512, pool=2), Layer(19, 512), Layer(21, 512)),
        (Layer(24, 512, pool=2), Layer(26, 512), Layer(28, 512)),
    ),
    "alex": (
        (Layer(0, 64, kernel=11, stride=4, padding=2),),
        (Layer(3, 192, kernel=5, padding=2, pool=3),),
        (Layer(6, 384, pool=3),),
        (Layer(8, 256),),
        (Layer(10, 256),),
    ),
}


class Perceptual(nn.Module):
    """The LPIPS distance; its weights do not learn. Use `open` for a file.

    Args:
        network: "vgg" or "alex".
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, network: str = "vgg") -> None:
        super().__init__()
        self.network = network
        self.net, before = nn.ModuleDict(), 3
        for number, layers in enumerate(NETWORKS[network]):
            part = nn.ModuleDict()
            for layer in layers:
                part[str(layer.place)] = nn.Conv2d(before, layer.width, layer.kernel, layer.stride, layer.padding)
                before = layer.width
            self.net[f"slice{number + 1}"] = part
            weigh = nn.ModuleDict({"model": nn.ModuleDict({"1": nn.Conv2d(before, 1, 1, bias=False)})})
            self.add_module(f"lin{number}", weigh)
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None], persistent=False)
        self.requires_grad_(False)

    @classmethod
    def open(cls, path: Path, network: str = "vgg") -> Self:
        """Load a weights file.

        Args:
            path: safetensors, with exactly the tensors named above.
            network: "vgg" or "alex".

        Raises:
            RunError: absent, damaged, or of another network.
        """
        made = cls(network)
        try:
            made.load_state_dict(read_weights(Path(path), layout_of(made.state_dict())))
        except RunError as error:
            raise RunError(f"the LPIPS weights for {network}: {error}") from error
        return made.eval()

    @classmethod
    def of(cls, objective: ObjectiveConfig) -> Self | None:
        """The network of an objective's LPIPS term; None where that has no weight.

        Raises:
            RunError: as `open`; or the file is another than the objective names by its hash.
        """
        path = objective.lpips_weights
        if not objective.lpips_weight or path is None:
            return None
        made = cls.open(path, objective.lpips_network)
        if objective.lpips_sha256 not in (None, hash_of(path)):
            raise RunError(
                f"{path} is not the file that this run was begun with; put the old one back, or name its place as "
                "'lpips_weights' in the run's config.toml"
            )
        return made

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Mean distance.

        Args:
            made: (B, 3, T, H, W) in [-1, 1], at least 16 pixels a side (alex: 31).
            real: the same shape.

        Returns:
            A scalar, 0 for equal pictures.
        """
        if min(made.shape[-2:]) < LPIPS_LEAST[self.network]:
            raise ValueError(f"LPIPS with {self.network} needs pictures of at least {LPIPS_LEAST[self.network]} pixels")
        total = made.new_zeros(())
        for number, (a, b) in enumerate(zip(self._features(made), self._features(real), strict=True)):
            weight = self.get_parameter(f"lin{number}.model.1.weight").float()
            total = total + F.conv2d((_unit(a.float()) - _unit(b.float())).square(), weight).mean()
        return total

    def _features(self, video: Tensor) -> list[Tensor]:
        x = (video.transpose(1, 2).flatten(0, 1) - self.shift) / self.scale
        found = []
        for number, layers in enumerate(NETWORKS[self.network]):
            for layer in layers:
                if layer.pool:
                    x = F.max_pool2d(x, layer.pool, 2)
                x = F.relu(self.net.get_submodule(f"slice{number + 1}.{layer.place}")(x))
            found.append(x)
        return found


def hash_of(path: Path) -> str:
    """SHA-256 of a weights file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unit(x: Tensor) -> Tensor:
    """Each position's channels as a vector of length one."""
    return x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
