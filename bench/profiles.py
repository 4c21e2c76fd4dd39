"""Which shipped policy is lossless, high or fast: measured at every guidance of its range.

    python bench/profiles.py [--models emoji emoji-dit] [--pictures 16] [--json]

Draws with the full run and with every policy that ships for it, takes the median PSNR in dB to the
converged solution, and writes `profiles.json` beside each model.
"""

import argparse
import platform

import diffusers
import torch
from guidance import quality
from shipped import At, options_of, track, tuned_setting

from frdiff.evaluation.suites import suite_of
from frdiff.models import shipped_folder, shipped_policies
from frdiff.models.named import Measured, Profiles, chosen
from frdiff.setting import Setting

SEED = 930_000
SCALES = {
    "digits": (None,),
    "emoji": (1, 2, 5, 7.5, 8),
    "emoji-dit": (1, 1.5, 4, 5),
    "emoji-flow": (2, 4, 6),
}


def measure(name: str, pictures: int) -> Profiles:
    """What the full run of a shipped model and its policies reach, and the profiles that follow."""
    scales = SCALES[name]
    full = suite_of(At(name, pictures, SEED).pipe).full
    prefix = f"{full.scheduler}-{full.steps}-"
    policies = {
        stem: policy for stem, policy in shipped_policies(name).items() if stem.startswith(prefix)
    }
    found: dict[str, list[float]] = {"full": [], **{stem: [] for stem in policies}}
    for scale in track(scales, f"measuring {name}"):
        model = At(name, pictures, SEED, scale=scale)
        found["full"].append(quality(model, Setting(full.steps, None, full.scheduler)))
        for stem, policy in policies.items():
            found[stem].append(quality(model, tuned_setting(policy, full.scheduler)))
    whole = Measured(full.steps, found["full"])
    rows = [
        Measured(len(policy.plan(policy.num_steps).keyframes), found[stem], stem, policy.digest)
        for stem, policy in policies.items()
    ]
    about = {
        "pictures": pictures,
        "seed": SEED,
        "dtype": "float32",
        "hardware": f"{platform.machine()} CPU",
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }
    return Profiles(about, scales, whole, rows, chosen(whole, rows))


def main() -> None:
    """Measure, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(SCALES), choices=list(SCALES))
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--json", action="store_true", help="print figures, write nothing")
    options = options_of(parser)
    for name in options.models:
        measured = measure(name, options.pictures)
        if options.json:
            print(measured.to_json(), end="")
        else:
            (shipped_folder(name) / "profiles.json").write_text(measured.to_json())


if __name__ == "__main__":
    main()
