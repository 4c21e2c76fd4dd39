"""The command line that the training scripts share."""

import argparse
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]


def parse_options(about: str | None, name: str, steps: int) -> argparse.Namespace:
    """`steps`, `runs` (made if it is not there) and `output` for a model; sets the threads.

    Args:
        about: what the script does.
        name: of the model, and of its folders.
        steps: default number of updates.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--steps", type=int, default=steps, help="updates")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / name, help="checkpoints")
    parser.add_argument("--output", type=Path, default=ROOT / "src/frdiff/models" / name)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.runs.mkdir(parents=True, exist_ok=True)
    return options
