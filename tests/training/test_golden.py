"""Short loss curves that stay what they are: a change of a loss, a schedule or a draw of numbers shows itself here.

When such a change is meant, `python -m tests.training.test_golden` writes the curves again.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
import torch
from tests.training.test_stage_contracts import SMALL

from autoreel.models.codec import Codec
from autoreel.runs import RunFolder
from autoreel.training import codec_stage, latents, muon, prior_stage
from autoreel.training.budget import Budget
from autoreel.training.codec_stage import CodecStage
from autoreel.training.measure import NoiseFootage
from autoreel.training.prior_stage import PriorStage

GOLDEN = Path(__file__).parents[1] / "golden"
PLACES = (0.1, 0.3, 0.5, 0.9, 0.95)  # shares of the budget: both parts of the codec's training
CPU = torch.device("cpu")


def curve(name: str, folder: Path) -> dict[str, list[float]]:
    """The figures of a few steps, in float32 on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), pytest.MonkeyPatch.context() as patch:
            for module in (codec_stage, latents, muon, prior_stage):
                patch.setattr(module, "matrix_dtype", lambda device: torch.float32)
            torch.manual_seed(0)
            store = NoiseFootage(SMALL)
            stage: CodecStage | PriorStage
            if name == "codec":
                # Principal components of noise are no two times the same: the linear path is left as it begins.
                stage = CodecStage(SMALL, store, CPU, fit=False)
            else:
                run = RunFolder.create(folder / "run", SMALL)
                stage = PriorStage.open(run, store, Codec(SMALL.codec).eval(), CPU, Budget(steps=len(PLACES)))
            found: dict[str, list[float]] = {}
            for step, progress in enumerate(PLACES):
                for key, value in stage.step(step, progress).items():
                    found.setdefault(key, []).append(value)
            return found
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["codec", "prior"])
def test_the_curve_is_the_golden_one(name: str, tmp_path: Path) -> None:
    golden = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    found = curve(name, tmp_path)
    assert found.keys() == golden.keys()
    for key, values in golden.items():
        assert found[key] == pytest.approx(values, rel=1e-3, abs=1e-5), key


def main() -> None:
    """Write the curves."""
    GOLDEN.mkdir(exist_ok=True)
    for name in ("codec", "prior"):
        with tempfile.TemporaryDirectory() as folder:
            text = json.dumps(curve(name, Path(folder)), indent=1) + "\n"
        (GOLDEN / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
