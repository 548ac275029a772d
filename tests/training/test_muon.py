from __future__ import annotations

import pytest
import torch
from torch import nn

from autoreel.training import muon
from autoreel.training.muon import Muon, orthogonalised

SHAPES = [(64, 576), (576, 64), (48, 48), (96, 64), (64, 96), (16, 400), (1, 9), (9, 1)]


def matrix(shape: tuple[int, int], smallest: float = 1.0) -> torch.Tensor:
    """Singular values from one down to `smallest`."""
    generator = torch.Generator().manual_seed(0)
    least = min(shape)
    u, _, v = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    found: torch.Tensor = (u * torch.linspace(1, smallest, least)) @ v
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
@pytest.mark.parametrize(("dtype", "exact"), [(torch.float32, 1e-3), (torch.bfloat16, 5e-2)])
def test_singular_values_become_about_one(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], scale: float, dtype: torch.dtype, exact: float
) -> None:
    monkeypatch.setattr(muon, "matrix_dtype", lambda device: dtype)
    x = matrix(shape, 0.3)
    found = orthogonalised(scale * x)
    u, _, v = torch.linalg.svd(x, full_matrices=False)
    values = torch.linalg.svdvals(found)
    assert found.shape == shape and values.min() > 0.6 and values.max() < 1.3
    along = u.mT @ found @ v.mT
    assert torch.allclose(along, torch.diag(along.diagonal()), atol=exact), "the same directions"


@pytest.mark.parametrize("smallest", [1.0, 1e-3, 0.0])
def test_the_gathered_rounds_are_the_rounds(smallest: float) -> None:
    x = matrix((64, 576), smallest)
    x = x / x.norm()
    assert torch.allclose(muon._gathered(x), muon._round_by_round(x), atol=2e-5)


def test_a_gradient_of_zero_moves_nothing() -> None:
    assert not orthogonalised(torch.zeros(8, 32)).any()


@pytest.mark.parametrize("in_bfloat16", [False, True])
def test_steps_are_those_of_torch(monkeypatch: pytest.MonkeyPatch, in_bfloat16: bool) -> None:
    monkeypatch.setattr(muon, "matrix_dtype", lambda device: torch.bfloat16 if in_bfloat16 else torch.float32)
    ours, theirs = (nn.Parameter(matrix((32, 128))) for _ in range(2))
    before = ours.detach().clone()
    one = Muon([ours], lr=0.01)
    other = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for number in range(4):
        gradient = torch.randn(32, 128, generator=torch.Generator().manual_seed(number))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        one.step()
        other.step()  # type: ignore[no-untyped-call]
    moved, wanted = ours.detach() - before, theirs.detach() - before
    assert (moved - wanted).norm() < 0.02 * wanted.norm(), "torch's rounds are in bfloat16"
    assert set(one.state[ours]) == {"momentum_buffer"}
    assert torch.allclose(one.state[ours]["momentum_buffer"], other.state[theirs]["momentum_buffer"])


def test_only_matrices() -> None:
    with pytest.raises(ValueError, match=r"\(3,\)"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1)
