"""Results made up by hand, for tests of what is concluded from them."""

from frdiff.evaluation.methods import Method
from frdiff.evaluation.results.records import About, Conditions, Distribution, Fidelity

ABOUT = About(hardware="made up", versions={"frdiff": "0"})
CONDITIONS = Conditions(
    pictures=4,
    prompts_hash="0",
    seed=0,
    batch=2,
    guidance=None,
    full_steps=25,
    converged_steps=100,
    converged_scheduler="dpm++karras",
    weights_hash="0",
    device="cpu",
    dtype="float32",
)


def record(family, setting, steps=50):
    return {
        "model": "toy",
        "family": family,
        "setting": setting,
        "steps": steps,
        "scheduler": "ddim",
        "method": Method(family, setting, steps, "ddim").config,
        "policy_hash": None,
        "setup": CONDITIONS,
        "about": ABOUT,
    }


def fidelity(family, setting, macs, psnr, seconds=None, jumps=0, model="toy"):
    """A result of median `psnr` dB, `macs` of 100 and as many seconds of 100, or `seconds`."""
    seconds = macs if seconds is None else seconds
    return Fidelity(
        **record(family, setting) | {"model": model},
        agreement=90.0,
        psnr_converged=[psnr] * 4,
        ssim_converged=[0.5] * 4,
        psnr_full=[psnr] * 4,
        ssim_full=[0.5] * 4,
        lpips_converged=None,
        seconds=[float(seconds)] * 3,
        seconds_full=[100.0] * 3,
        macs=macs,
        macs_full=100,
        nfe=50,
        reuse_steps=0,
        jumps=jumps,
        peak_bytes=0,
        bank_bytes=0,
    )


def distribution(family, setting, point, frechet):
    return Distribution(
        **record(family, setting),
        point=point,
        samples=1000,
        frechet_training=frechet,
        kernel_training=0.0,
        precision=1.0,
        recall=1.0,
        frechet_full=frechet,
        kernel_full=0.0,
        precision_full=1.0,
        recall_full=1.0,
        accuracy=None,
    )
