"""Loops give the same bits in the process that compiled them as in all that read them from their cache."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import torch

from tests.nn.test_attention import random_pass, run

ROOT = Path(__file__).parents[2]


def tell_bits() -> None:
    made = hashlib.sha256()
    for seed in range(20):
        torch.manual_seed(seed)
        out, grads = run(*random_pass(seed, 3, 3 * seed, 12, width=16, codec="float16", shift=True, raw=True), "fused")
        for each in (out, *grads.values()):
            if each is not None:
                made.update(each.detach().numpy().tobytes())
    print(made.hexdigest())


def test_a_process_that_compiles_rounds_like_one_that_reads(tmp_path: Path) -> None:
    """Where loops are compiled, what they call comes before them; where they are read, each brings its own."""
    own = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.run([sys.executable, "-m", __name__], cwd=ROOT, env=own, capture_output=True, check=True).stdout
        for _ in range(2)
    ]
    assert list(tmp_path.rglob("*.nbc"))
    assert said[0] == said[1]


if __name__ == "__main__":
    tell_bits()
