"""What can be chosen by name, in a module that imports nothing.

The command line lists these in its help without waiting for torch and diffusers.
"""

import re
from typing import Any

__all__ = [
    "FLOW_LEVELS",
    "FLOW_NAME",
    "FLOW_SOLVERS",
    "METHODS",
    "OVERHEAD",
    "PARETO",
    "SCHEDULERS",
    "VARIABLES",
    "check_scheduler",
]

# Schedulers by short name: the class of diffusers, and what is set on it.
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "pndm": ("PNDMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "dpm++": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "use_karras_sigmas": False},
    ),
    "dpm++sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {"use_karras_sigmas": False}),
    "unipckarras": ("UniPCMultistepScheduler", {"use_karras_sigmas": True}),
    "dpm++karras": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True},
    ),
}

# Likewise for flow matching, where classes may be of `frdiff.schedulers.flow`, and noise levels
# other than the pipeline's own: `"flow-euler-karras"`, `"flow-unipc-shift-1.5"`.
FLOW_SOLVERS = {
    "flow-euler": "FlowMatchEulerDiscreteScheduler",
    "flow-heun": "FlowHeunScheduler",
    "flow-unipc": "FlowUniPCScheduler",
    "flow-dpm++": "FlowDPMScheduler",
}
FLOW_LEVELS = ("karras", "beta", "exponential")
FLOW_NAME = re.compile(
    rf"(?P<solver>{'|'.join(map(re.escape, FLOW_SOLVERS))})"
    rf"(-(?P<levels>{'|'.join(FLOW_LEVELS)})|-shift-(?P<shift>\d+(\.\d+)?))?"
)


def check_scheduler(name: str) -> None:
    """Refuse what names no scheduler, of diffusion or of flow matching.

    Raises:
        ValueError: unknown name.
    """
    if name in SCHEDULERS or FLOW_NAME.fullmatch(name):
        return
    raise ValueError(
        f"no scheduler {name!r}; choose one of {', '.join(SCHEDULERS)}, or for flow matching "
        f"{', '.join(FLOW_SOLVERS)}, with {', '.join(f'-{level}' for level in FLOW_LEVELS)} or a "
        "shift such as -shift-1.5 after it if the noise levels are to change"
    )


# How `tune` searches, what it varies, and what a step with stored features takes that its MACs do
# not show.
METHODS = ("search", "gates")
VARIABLES = ("keyframes", "steps", "targets", "reuse", "jumps", "weights")
OVERHEAD = 0.05
PARETO = (1.5, 2.0, 2.5, 3.0, 4.0)
