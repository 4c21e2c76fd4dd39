"""A block for modular pipelines of diffusers, within which a policy is applied.

    from diffusers import ModularPipeline
    from frdiff.modular import Reusing

    blocks = Reusing(ModularPipeline.from_pretrained("...").blocks)
    pipe = blocks.init_pipeline("...")
    pipe.load_components()
    pipe(prompt="red apple", policy="policy.json", num_inference_steps=25)

Or put it in the place of one block only: `blocks.sub_blocks["denoise"] = Reusing(...)`.
"""

import inspect
from pathlib import Path
from typing import Any

from diffusers import ModularPipeline, ModularPipelineBlocks
from diffusers.modular_pipelines import ComponentSpec, ConfigSpec, InputParam, OutputParam
from diffusers.modular_pipelines.modular_pipeline import PipelineState

from frdiff.enabling import enable
from frdiff.policy import Policy

__all__ = ["Reusing"]


class Reusing(ModularPipelineBlocks):  # type: ignore[misc]
    """A block that runs another one, or a whole sequence, with a policy on its denoisers.

    It takes and gives what that one does, and one input more, `policy`: a policy, a file's path or
    a name, see `frdiff.enable`; None runs the block as it is. The pipeline is as it was afterwards,
    however the block ends, and so is its scheduler.

    A policy that a search has found may ask for a solver or noise levels of its own. The block must
    set the timesteps then: wrap the whole sequence, or its core, rather than the loop alone.

    Args:
        block: any block, or its class; one that holds the denoising loop.
        max_bytes: that the bank of a run may take, see `frdiff.apply`.

    Raises:
        TypeError: it is none.
    """

    def __init__(
        self,
        block: ModularPipelineBlocks | type[ModularPipelineBlocks],
        max_bytes: int | None = None,
    ) -> None:
        super().__init__()
        self.block: Any = block() if inspect.isclass(block) else block
        self.max_bytes = max_bytes
        if not isinstance(self.block, ModularPipelineBlocks):
            raise TypeError(
                f"block must be a block of a modular pipeline, got {type(self.block).__name__}; "
                "of a pipeline take pipe.blocks"
            )

    @property
    def model_name(self) -> str | None:
        """Of the model that the block is for."""
        return self.block.model_name

    @property
    def description(self) -> str:
        """What the block does."""
        return f"{self.block.description}\nWith `policy`, features are reused between steps."

    @property
    def expected_components(self) -> list[ComponentSpec]:
        """Those of the block."""
        return self.block.expected_components

    @property
    def expected_configs(self) -> list[ConfigSpec]:
        """Those of the block."""
        return self.block.expected_configs

    @property
    def inputs(self) -> list[InputParam]:
        """Those of the block, and `policy`."""
        told = "What to compute, reuse and jump: a policy of frdiff, a file's path or a name."
        policy = InputParam("policy", type_hint=Policy | str | Path, description=told)
        return [*self.block.inputs, policy]

    @property
    def intermediate_outputs(self) -> list[OutputParam]:
        """Those of the block."""
        return self.block.intermediate_outputs

    @property
    def outputs(self) -> list[OutputParam]:
        """Those of the block."""
        return self.block.outputs

    @property
    def available_workflows(self) -> list[str]:
        """Those of the block."""
        return self.block.available_workflows

    def get_workflow(self, workflow_name: str) -> "Reusing":
        """The block pruned to a workflow, with a policy as before."""
        return Reusing(self.block.get_workflow(workflow_name), self.max_bytes)

    def get_execution_blocks(self, **kwargs: Any) -> "Reusing":
        """The block pruned to what runs with these inputs, with a policy as before."""
        return Reusing(self.block.get_execution_blocks(**kwargs), self.max_bytes)

    def __call__(
        self, pipeline: ModularPipeline, state: PipelineState
    ) -> tuple[ModularPipeline, PipelineState]:
        """The pipeline, and its state after the block.

        Raises:
            FileNotFoundError, ValueError: the policy does not fit or its file is none, see
                `frdiff.enable`.
        """
        policy = state.get("policy")
        if policy is None:
            return self.block(pipeline, state)
        scheduler = pipeline.scheduler
        with enable(pipeline, policy, max_bytes=self.max_bytes) as run:
            changed = pipeline.scheduler is not scheduler or run.policy.noise_levels is not None
            if changed and self._too_late:
                raise ValueError(
                    f"the policy asks for a solver or noise levels of its own, but "
                    f"{type(self.block).__name__} gets timesteps that were set before; wrap the "
                    "blocks that set them too: Reusing(pipe.blocks)"
                )
            return self.block(pipeline, state)

    @property
    def _too_late(self) -> bool:
        """Whether the timesteps are set before the block."""
        return any(one.name == "timesteps" and one.required for one in self.block.inputs)
