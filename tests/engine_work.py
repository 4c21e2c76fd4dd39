"""What workers of the tests do; in a module, so that any process finds it."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

import frdiff


@dataclass(frozen=True)
class Square:
    """Squares numbers, and notes in a folder who was asked for which."""

    folder: Path

    def __call__(self, job: int) -> tuple[int, int]:
        """The square, and the threads that it was computed with."""
        (self.folder / f"{job}-{os.getpid()}-{time.monotonic_ns()}").touch()
        if job < 0:
            raise ValueError(f"{job} is negative")
        if job == 13 and not (self.folder / "spared").exists():
            (self.folder / "spared").touch()
            os.kill(os.getpid(), 9)
        if job == 99:
            os.kill(os.getpid(), 9)
        time.sleep(0.02)
        return job**2, torch.get_num_threads()

    def asked(self) -> dict[int, int]:
        """How often each job was begun."""
        jobs = [int(path.name.split("-")[0]) for path in self.folder.glob("[0-9]*-*")]
        return {job: jobs.count(job) for job in sorted({*jobs})}

    def processes(self) -> set[int]:
        """Who was asked."""
        return {int(path.name.split("-")[1]) for path in self.folder.glob("[0-9]*-*")}


def load_digits():
    """A pipeline as somebody's own function loads it."""
    return frdiff.load_model("digits")
