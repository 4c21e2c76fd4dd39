"""The patch: forwards of one denoiser and of its targets, wrapped on the instances.

The wrapped forwards only read flags and tensors that are set between steps, so that
`torch.compile(denoiser, fullgraph=True)` traces each kind of step once and never breaks.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from frdiff.adapters import find_targets, grouped
from frdiff.network.calls import copied, outline, sample_in
from frdiff.network.halves import guided
from frdiff.network.hollow import settings_of
from frdiff.network.layout import Layout
from frdiff.network.ranks import within_ranks
from frdiff.network.trees import filled, form_of, tensors_in
from frdiff.network.wrapped import Wrapped
from frdiff.plan import Action
from frdiff.policy import Policy
from frdiff.run.halving import half_step
from frdiff.run.progress import Progress
from frdiff.run.stand_in import StandIn

if TYPE_CHECKING:
    from frdiff.run.applying import Run

__all__ = ["DenoiserPatch", "patch_of", "unpatched"]

_MARK = "_frdiff_patch"


class DenoiserPatch:
    """One denoiser with its targets wrapped; what it does is up to the progress of a run.

    Args:
        denoiser: its `forward` and its targets' are replaced on the instances until `detach`.
        policy: which targets in which groups, and whether features are kept.

    Attributes:
        progress: of the run whose calls come now; to be set before the first.
        thread: that alone may call now; None for any.
        attached: whether the forwards do anything but compute.
        groups: of each target.
        generation: how often other modules have taken the places of targets, or what is set on
            modules has changed.
        layout: what is stored of each target.
        stand_ins: one per target.
        outer: gives what `torch.compile` has made of the denoiser, as far as that is known.
        run: that it was made for.

    Raises:
        ValueError: already patched, or nothing to hook.
    """

    progress: Progress

    def __init__(self, denoiser: nn.Module, policy: Policy, run: "Run | None" = None) -> None:
        self.denoiser = denoiser
        self.run = run
        self.targets = find_targets(denoiser, policy.targets) if policy.targets else []
        self.groups = grouped(self.targets, policy.groups) if self.targets else []
        self.stores = policy.reuses
        self.thread: int | None = None
        self.attached = False
        self.generation = 0
        self.layout = Layout.alone(len(self.targets))
        self.stand_ins: list[StandIn] = []
        self.outer: Callable[[], Iterable[nn.Module]] = tuple
        self._known: set[Any] = set()
        self._settings = 0
        self._entrances: list[Wrapped] = []
        self.separable: dict[Any, bool] = {}
        self._entered = False
        self._version = 0
        self._patterns = policy.targets
        self._wrapped: list[Wrapped] = []
        self.attach()

    def attach(self) -> None:
        """Wrap the forwards.

        Raises:
            ValueError: a policy is already applied to the denoiser.
        """
        if patch_of(self.denoiser) is not None:
            raise ValueError(
                f"a policy is already applied to this {type(self.denoiser).__name__}; "
                "call run.remove() or leave its `with` block first"
            )
        setattr(self.denoiser, _MARK, self)
        self.attached = True
        self._wrap_targets()
        self._wrap_denoiser()

    def renew(self) -> None:
        """Wrap again what was set anew since.

        Model offloading takes its hook off after every pipeline call, ours with it, and puts it on
        again. LoRA puts layers of its own in the place of others, and takes them away.

        Raises:
            RuntimeError: what stands in the place of targets cannot be hooked as they were.
        """
        wrapped = getattr(self.denoiser.forward, _MARK, None) is self
        if not wrapped and not self._enters_alone:
            self._wrapped = [row for row in self._wrapped if row.owner is not self.denoiser]
            self._wrap_denoiser()
        now = dict(self.denoiser.named_modules())
        if any(now.get(name) is not module for name, module in self._places.items()):
            self._follow()
        self._look_again(now)
        self.wrap_entrances()

    def _look_again(self, modules: Mapping[str, nn.Module]) -> None:
        """Forget what need be stored, if anything is set otherwise than when that was looked at."""
        settings = settings_of(modules) if self.stores else 0
        if settings != self._settings:
            self._settings = settings
            self.generation += 1
            self._known.clear()

    def _follow(self) -> None:
        """Hook what stands now where targets stood."""
        names = [target.name for target in self.targets]
        rows = [row for row in self._wrapped if row.owner is not self.denoiser]
        free = True
        for row in reversed(rows):
            free &= row.on_top
            row.restore()
            self._wrapped.remove(row)
        with self.idle():
            self.targets = find_targets(self.denoiser, self._patterns)
        if not free or [target.name for target in self.targets] != names:
            raise RuntimeError(
                f"modules of {type(self.denoiser).__name__} were replaced while a policy is "
                "applied to it; call run.remove() and apply the policy again"
            )
        self.generation += 1
        self._known.clear()
        self._wrap_targets()

    def detach(self) -> None:
        """Give every module its own forward back.

        One that another library set over ours stays; ours beneath it computes only.
        """
        for wrapped in reversed(self._wrapped + self._entrances):
            wrapped.restore()
        self._wrapped.clear()
        self._entrances.clear()
        if self.attached:
            delattr(self.denoiser, _MARK)
        self.attached = False

    def knows(self, shapes: Any) -> bool:
        """Whether calls with this outline keep to the layout."""
        return not self.stores or shapes in self._known

    def lay_out(self, shapes: Any, layout: Layout) -> None:
        """Keep to what such calls allow, too: what was stored otherwise does not fit any more."""
        found = self.layout.refined(layout) if self._known else layout
        self._known.add(shapes)
        if found != self.layout:
            self.layout = found
            self._version += 1

    @contextmanager
    def idle(self) -> Iterator[None]:
        """While it lasts, the denoiser computes in full and stores nothing."""
        before = self.attached, self.progress.reusing
        self.attached = self.progress.reusing = False
        try:
            yield
        finally:
            self.attached, self.progress.reusing = before

    def __deepcopy__(self, memo: dict[int, Any]) -> "DenoiserPatch":
        # A copy of the denoiser keeps a mark of ours, but it is patched by nobody.
        return self

    def __reduce__(self) -> Any:
        return type(None), ()

    def _wrap(self, module: Any, forward: Callable) -> Wrapped:
        wrapped = Wrapped(module, "forward", forward)
        self._wrapped.append(wrapped)
        return wrapped

    def _wrap_targets(self) -> None:
        self.stand_ins = [
            StandIn(self, index, target, group, self.groups[:index].count(group))
            for index, (target, group) in enumerate(zip(self.targets, self.groups, strict=True))
        ]
        # A policy that never reuses has no use for them.
        parts = zip(self.stand_ins, self.targets, strict=True) if self.stores else ()
        for part, target in parts:
            source, module = within_ranks(target.source), within_ranks(target.module)
            self._wrap(source, part.source(source.forward))
            self._wrap(module, part.module(module.forward))  # on top, where both are one
            for number, idle in enumerate(target.idle):
                self._wrap(idle, part.idle(number, idle.forward))
        hooked = {id(row.owner) for row in self._wrapped}
        modules = self.denoiser.named_modules()
        self._places = {name: module for name, module in modules if id(module) in hooked}

    @property
    def _enters_alone(self) -> bool:
        """Whether all that the policy does is done outside of compiled graphs."""
        return bool(self._entrances) and not self.stores

    def wrap_entrances(self) -> None:
        """Wrap what calls the compiled denoiser, outside of all graphs.

        Where no target is stored the denoiser's own forward is left alone then, and the graphs that
        it has been compiled to still serve.
        """
        doors = [(part, "forward") for part in self.outer() if part is not self.denoiser]
        if getattr(self.denoiser, "_compiled_call_impl", None) is not None:
            doors.append((self.denoiser, "_compiled_call_impl"))
        for owner, name in doors:
            if getattr(getattr(owner, name), _MARK, None) is not self:
                wrapped = Wrapped(owner, name, self._entrance(getattr(owner, name)))
                setattr(wrapped, _MARK, self)
                self._entrances.append(wrapped)
        if self._enters_alone:
            for row in self._wrapped:
                row.restore()
            self._wrapped.clear()

    def _entrance(self, compiled: Callable) -> Callable:
        """What calls the compiled denoiser: all but the targets is done outside of its graphs."""

        def enter(*args: Any, **kwargs: Any) -> Any:
            if not self.attached:
                return compiled(*args, **kwargs)
            self._entered = True
            try:
                return self._called(compiled, args, kwargs)
            finally:
                self._entered = False

        return enter

    def _wrap_denoiser(self) -> None:
        compute = self.denoiser.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            if self._entered or not self.attached:
                return compute(*args, **kwargs)
            return self._called(compute, args, kwargs)

        setattr(self._wrap(self.denoiser, forward), _MARK, self)

    def _called(self, compute: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
        """A call of the denoiser under the policy."""
        now = self.progress
        if not torch.compiler.is_compiling():
            if not now.on_call(now, args, kwargs):
                with self.idle():
                    return compute(*args, **kwargs)
        elif now.source is not None and now.source.scheduler is not now.scheduler:
            raise RuntimeError(
                "the pipeline's scheduler was replaced while its compiled denoiser is patched; "
                "call run.remove() and apply the policy again"
            )
        context = now.context
        now.context = context.next
        context.example = copied((args, kwargs))  # some denoisers empty the lists they get
        shapes = self._version, outline((args, kwargs))
        # Read only where it matters: what a keyframe reads would split its compiled graph.
        fits = now.action != Action.KEYFRAME and context.fits(shapes)
        earlier = context.scores.value(0) if fits and now.keeps_scores else None
        blends = now.blends and (now.opens or context.fits(shapes))
        now.current = context
        now.reusing = now.action == Action.REUSE and fits
        now.turns = [0] * len(self.targets)
        # Set before the network runs: where it holds flexible attention, a compiled graph
        # loses what is set afterwards on an object on which something was set before.
        context.called = True
        if now.action == Action.JUMP and earlier is not None:
            form, scores = earlier
            return filled(form, _leant(scores, (args, kwargs), now.sample_weight))
        if now.action == Action.HALF and earlier is not None:
            return half_step(self, compute, (args, kwargs), earlier)
        if not now.reusing:
            context.stored, context.outline = True, shapes
        result = compute(*args, **kwargs)
        if self._entered and not torch.compiler.is_compiling():
            context.own()
        if now.reusing:
            return result if earlier is None else _mixed(earlier[1], result, now.mixing_weight)
        if now.keeps_scores:
            scores = tuple(score.clone() for score in tensors_in(result))
            context.scores.slots[0].store(form_of(result), scores)
        blended = context.scores.blended(0, now.first_weight) if blends else None
        if blended is None:
            return result
        if now.guidance_weight is not None:
            sample = sample_in((args, kwargs))
            blended = guided(blended, tensors_in(result), sample, now.guidance_weight)
        leant = _leant(blended, (args, kwargs), now.sample_weight)
        return filled(form_of(result), leant)


def patch_of(denoiser: nn.Module) -> DenoiserPatch | None:
    """The patch of a denoiser that a policy is applied to; None without."""
    found: DenoiserPatch | None = vars(denoiser).get(_MARK)
    # A copy of a patched denoiser has the mark as well.
    return found if found is not None and found.denoiser is denoiser else None


@contextmanager
def unpatched(denoiser: nn.Module) -> Iterator[None]:
    """While it lasts, the denoiser computes in full and stores nothing, patched or not."""
    patch = getattr(denoiser.forward, _MARK, None)
    with patch.idle() if patch is not None else nullcontext():
        yield


def _mixed(earlier: tuple[Tensor, ...], result: Any, weight: Tensor) -> Any:
    """The result with its scores mixed with earlier ones."""
    pairs = zip(earlier, tensors_in(result), strict=True)
    return filled(form_of(result), [torch.lerp(old, new, weight.to(new)) for old, new in pairs])


def _leant(
    scores: tuple[Tensor, ...], inputs: Any, weight: Tensor | float | None
) -> tuple[Tensor, ...]:
    """The score with so much of the sample added, the first of a call's inputs.

    Where one has more channels or positions than the other, those that lead are meant.
    """
    if weight is None:
        return scores
    sample = sample_in(inputs)
    if sample is None or len(scores) != 1 or sample.dim() != scores[0].dim():
        shape = None if sample is None else tuple(sample.shape)
        raise ValueError(
            f"the policy adds the sample to the score, but the scores of shape "
            f"{[tuple(score.shape) for score in scores]} have no like among the inputs, whose "
            f"first has shape {shape}"
        )
    leading = tuple(slice(min(pair)) for pair in zip(scores[0].shape, sample.shape, strict=True))
    leant = scores[0].clone()
    leant[leading] += (sample[leading] * weight).to(leant)
    return (leant,)
