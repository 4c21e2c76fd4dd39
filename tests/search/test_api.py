import dataclasses
import json
from types import MappingProxyType

import diffusers
import pytest
import torch

import frdiff
from conftest import EMBED, ddim, loop, make_dit_pipe, make_pipe, make_unet
from frdiff.engines import Place
from frdiff.search.journal import Journal
from frdiff.search.options import Goal, Options, Words
from frdiff.search.samples import halves_of, scales_of
from frdiff.search.subject import Batch, PipelineSubject
from pipelines_zoo import zoo

PROMPTS = ["1", "2", "3", "4"]
QUICK = {"num_steps": 12, "speedup": 2, "samples": 2, "evaluations": 6}
FEW = {"samples": 1, "evaluations": 4}


def tuned(**options):
    return frdiff.tune(make_dit_pipe(), PROMPTS, **(QUICK | options))


def test_a_policy_fits_its_budget_and_its_pipeline():
    policy = tuned()
    assert policy.origin.figures["cost"] <= 6
    pipe = make_dit_pipe()
    with frdiff.apply(pipe, policy) as run:
        pipe([1], num_inference_steps=policy.origin.num_inference_steps)
    assert run.stats.macs_ratio * run.stats.steps <= policy.origin.figures["cost"] + 1e-3
    # What a run says is against the full run, whose steps are not the policy's.
    assert run.stats.speedup == pytest.approx(12 / (run.stats.macs_ratio * run.stats.steps))
    assert "fewer than the full run" in str(run.stats)


def test_never_worse_on_held_out_samples_than_fewer_steps():
    figures = tuned().origin.figures
    assert figures["held_out_db"] >= figures["fewer_steps_held_out_db"]
    # Fewer steps come less close than more of them; the full run is measured beside both.
    assert figures["full_held_out_db"] > figures["fewer_steps_held_out_db"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_file_and_another_seed_another():
    assert tuned().dumps() == tuned().dumps()
    assert tuned(seed=1).origin.figures != tuned().origin.figures


def test_nothing_is_left_on_the_pipeline():
    pipe = make_dit_pipe()
    scheduler = pipe.scheduler
    before = {name: vars(module).copy() for name, module in pipe.transformer.named_modules()}
    frdiff.tune(pipe, PROMPTS, allow_scheduler=True, **QUICK)
    assert pipe.scheduler is scheduler
    for name, module in pipe.transformer.named_modules():
        assert "forward" not in vars(module)
        assert vars(module).keys() == before[name].keys()


def test_a_journal_of_other_numbers_says_which_and_not_that_prompts_differ(tmp_path):
    path = tmp_path / "journal"
    tuned(journal=path)
    with pytest.raises(ValueError, match="differs in samples; delete it"):
        tuned(journal=path, samples=1)
    with pytest.raises(ValueError, match="differs in prompts; delete it"):
        frdiff.tune(make_dit_pipe(), PROMPTS[:3], **QUICK, journal=path)


class Killed(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("survived", [0, 1, 4])
def test_a_search_that_was_killed_goes_on_and_ends_the_same(tmp_path, monkeypatch, survived):
    path = tmp_path / "journal"
    write = Journal.__setitem__

    def die(journal, question, answer):
        if len(journal) == survived:
            raise Killed
        write(journal, question, answer)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "__setitem__", die)
        with pytest.raises(Killed):
            tuned(journal=path)
    asked = []
    policy = tuned(journal=path, on_event=lambda now: asked.append(now.done))
    assert policy.dumps() == tuned().dumps()
    assert len(path.read_text().splitlines()) > survived


@pytest.mark.slow
def test_another_number_of_workers_gives_the_same_file():
    assert tuned(workers=2).dumps() == tuned().dumps()


def test_a_file_is_read_back_and_refused_elsewhere(tmp_path):
    path = tmp_path / "policy.json"
    policy = tuned(allow_scheduler=True)
    policy.save(path)
    read = frdiff.load_policy(path)
    assert read == policy
    pipe = make_dit_pipe()
    if policy.origin.solver is not None:
        with pytest.raises(ValueError, match=r"call frdiff.set_scheduler\(pipe, "):
            frdiff.apply(pipe, read)
        frdiff.set_scheduler(pipe, policy.origin.solver)
    frdiff.apply(pipe, read).remove()
    pipe.scheduler = pipe.scheduler.from_config(pipe.scheduler.config, prediction_type="sample")
    with pytest.raises(ValueError, match="was tuned with"):
        frdiff.apply(pipe, read)
    other = make_unet()
    with pytest.raises(ValueError, match="was tuned on DiTTransformer2DModel"):
        frdiff.apply(other, read, scheduler=ddim())


@pytest.mark.slow
def test_a_pareto_front_has_a_policy_per_speedup():
    policies = frdiff.tune(
        make_dit_pipe(), PROMPTS, num_steps=12, pareto=True, samples=2, evaluations=3
    )
    costs = [policy.origin.figures["cost"] for policy in policies]
    assert len(costs) == len(frdiff.search.PARETO)
    for cost, speedup in zip(costs, frdiff.search.PARETO, strict=True):
        assert cost <= 12 / speedup + 1e-6


@pytest.mark.slow
def test_a_quality_is_kept_or_said_to_be_out_of_reach():
    few = {"num_steps": 12, "samples": 2, "evaluations": 3}
    policy = frdiff.tune(make_dit_pipe(), PROMPTS, min_psnr=20, **few)
    figures = policy.origin.figures
    assert figures["held_out_db"] >= 20
    most = figures["converged_db"]
    with pytest.raises(ValueError, match="is not reached"):
        frdiff.tune(make_dit_pipe(), PROMPTS, min_psnr=most - 1, **few)
    with pytest.raises(ValueError, match=f"cannot be told: .* agree to {most:.1f} dB"):
        frdiff.tune(make_dit_pipe(), PROMPTS, min_psnr=most + 1, **few)


def hand_written(unet, scheduler):
    def drawn(generator):
        seed = int(torch.randint(1000, (), generator=generator))
        return loop(unet, scheduler, 12, seed=seed, two_calls=True)

    return drawn


def test_a_hand_written_loop_is_tuned_too():
    unet, scheduler = make_unet(), ddim()
    drawn = hand_written(unet, scheduler)
    policy = frdiff.tune(
        drawn, denoiser=unet, scheduler=scheduler, num_steps=12, speedup=1.5, evaluations=4
    )
    assert policy.num_steps == 12
    assert policy.origin.figures["cost"] <= 8
    full = loop(unet, scheduler, 12, two_calls=True)
    with frdiff.apply(unet, policy, scheduler=scheduler):
        fast = loop(unet, scheduler, 12, two_calls=True)
    assert torch.nn.functional.mse_loss(fast, full) < 0.1 * full.var()


@pytest.mark.slow
def test_a_loop_that_takes_the_step_count_is_compared_with_fewer_steps():
    unet, scheduler = make_unet(), ddim()

    def drawn(generator, steps):
        seed = int(torch.randint(1000, (), generator=generator))
        return loop(unet, scheduler, steps, seed=seed)

    policy = frdiff.tune(drawn, denoiser=unet, scheduler=scheduler, **QUICK)
    figures = policy.origin.figures
    assert figures["fewer_steps_cost"] == 6
    assert figures["held_out_db"] >= figures["fewer_steps_held_out_db"]
    assert figures["converged_db"] > figures["fewer_steps_held_out_db"]
    with frdiff.apply(unet, policy, scheduler=scheduler) as run:
        loop(unet, scheduler, policy.origin.num_inference_steps)
    assert run.stats.steps == policy.num_steps


def test_without_reuse_no_targets_are_looked_for():
    policy = tuned(vary=["keyframes", "steps", "jumps"], targets=["nothing"])
    assert policy.targets == ()
    with frdiff.apply(make_dit_pipe(), policy) as run:
        assert run.targets == []


def test_without_jumps_and_steps_the_wildcards_given_are_reused():
    # So small a network's memory traffic would let twice the speed be out of reach.
    asked = {"vary": ["keyframes", "reuse", "weights"], "overhead": 0.05}
    policy = tuned(targets=["*.ff", "*.attn1"], **asked)
    assert policy.targets == ("*.ff", "*.attn1")
    assert policy.num_steps == 12
    assert "jump" not in {step.action for step in policy.plan(12)}


class Plain(torch.nn.Module):
    """A denoiser of no blocks at all."""

    config = MappingProxyType({})

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.mix = torch.nn.Linear(8, 8)

    def forward(self, x, t):
        return torch.tanh(self.mix(x)) * (1 - t / 1000)


def test_where_nothing_can_be_reused_jumps_are_tuned_and_it_is_said():
    net, scheduler = Plain(), ddim()

    @torch.no_grad()
    def drawn(generator, steps):
        scheduler.set_timesteps(steps)
        x = torch.randn(2, 8, generator=generator)
        for t in scheduler.timesteps:
            x = scheduler.step(net(x, t), t, x).prev_sample
        return x

    options = {"denoiser": net, "scheduler": scheduler} | QUICK
    with pytest.warns(UserWarning, match="no features can be reused, so .* jumps only: Plain"):
        policy = frdiff.tune(drawn, **options)
    assert policy.targets == ()
    for given in ({"targets": "residual"}, {"vary": ["keyframes", "reuse"]}):
        with pytest.raises(ValueError, match="Plain"):
            frdiff.tune(drawn, **(options | given))


@pytest.mark.slow
def test_a_run_that_begins_in_the_middle_gets_a_policy_of_its_own_length():
    tiny = zoo()["stable-diffusion-img2img"]()
    policy = frdiff.tune(tiny.pipe, num_steps=20, budget=0.6, inputs=tiny.inputs, **FEW)
    assert policy.origin.figures["full_steps"] == 12
    asked = policy.origin.num_inference_steps
    assert policy.num_steps == int(0.6 * asked) == len(policy.origin.noise_levels)


def test_inputs_that_fix_the_batch_are_drawn_from_as_often_as_needed():
    tiny = zoo()["latent-super-resolution"]()
    subject = PipelineSubject(tiny.pipe, inputs=tiny.inputs).settled(12, Batch(0, ("", "")))
    assert subject.per_call == 1
    twice = tiny.inputs | {"image": tiny.inputs["image"].repeat(2, 1, 1, 1)}
    subject = PipelineSubject(tiny.pipe, inputs=twice).settled(12, Batch(0, ("", "")))
    assert len(subject.run(2, Batch(0, ("", "", "")))) == 3


def test_where_nothing_can_be_decoded_final_latents_are_compared_and_it_is_said():
    tiny = zoo()["stable-diffusion"]()
    tiny.pipe.vae.decode = None
    own = PipelineSubject(tiny.pipe, inputs=tiny.inputs)
    with pytest.warns(UserWarning, match="final latents are compared, for want of samples"):
        subject = own.settled(12, Batch(0, ("", "")))
    assert subject.latents and subject.peak is None


def test_budgets_that_pay_for_no_run_keep_no_quality():
    unet, scheduler = make_unet(), ddim()
    policy = frdiff.tune(
        hand_written(unet, scheduler),
        denoiser=unet,
        scheduler=scheduler,
        num_steps=12,
        min_psnr=1,
        samples=2,
        evaluations=3,
    )
    # A loop cannot take fewer steps, and one step alone leaves nothing to forecast from.
    assert 1 < len(policy.plan(12).keyframes) < 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "method must be one of"),
        ({"method": "gates", "speedup": None, "min_psnr": 30}, "gates without min_psnr"),
        ({"speedup": None}, "give one of budget, speedup, min_psnr and pareto"),
        ({"budget": 0.5}, "give one of"),
        ({"speedup": 0.5}, "speedup must be from 1 to 12, got 0.5"),
        ({"speedup": None, "budget": 2}, "budget must be from 0.08"),
        ({"num_steps": 1}, "num_steps must be from 2"),
        ({"vary": ["keyframes", "magic"]}, r"vary must be some of .*got \['magic'\]"),
        ({"quantile": 2}, "quantile must be from 0 to 1"),
        ({"samples": 0}, "samples must be from 1"),
        ({"workers": 0}, "workers must be from 1"),
        ({"overhead": -1}, "overhead must be from 0"),
        ({"denoiser": make_unet()}, "a pipeline has its own denoiser"),
        ({"targets": ["nothing"]}, "matches no module"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_drawn(options, message, monkeypatch):
    pipe = make_dit_pipe()
    monkeypatch.setattr(type(pipe), "__call__", lambda *a, **k: pytest.fail("drawn"))
    with pytest.raises(ValueError, match=message):
        frdiff.tune(pipe, PROMPTS, **(QUICK | options))


def test_missing_prompts_and_wrong_targets_are_refused():
    with pytest.raises(ValueError, match="give some"):
        frdiff.tune(make_dit_pipe(), **QUICK)
    with pytest.raises(TypeError, match="prompts must be a list, got '1'"):
        frdiff.tune(make_dit_pipe(), "1", **QUICK)
    with pytest.raises(TypeError, match="diffusers pipeline or a function, got int"):
        frdiff.tune(3, **QUICK)
    with pytest.raises(ValueError, match="needs the denoiser and the scheduler"):
        frdiff.tune(lambda generator: None, **QUICK)
    scheduler = ddim()
    unet = make_unet()
    with pytest.raises(ValueError, match="no other scheduler"):
        frdiff.tune(
            lambda g: loop(unet, scheduler),
            denoiser=unet,
            scheduler=scheduler,
            allow_scheduler=True,
            **QUICK,
        )


def test_pipelines_say_what_they_lack_before_anything_is_drawn():
    tiny = zoo()["stable-video-diffusion"]()
    with pytest.raises(ValueError, match="draws nothing without image"):
        frdiff.tune(tiny.pipe, **QUICK)
    with pytest.raises(ValueError, match=r"takes no guidance_scale; .* with inputs="):
        frdiff.tune(tiny.pipe, inputs=tiny.inputs, guidance=3, **QUICK)
    with pytest.raises(ValueError, match="does not take the inputs imgae"):
        frdiff.tune(tiny.pipe, inputs=tiny.inputs | {"imgae": None}, **QUICK)
    tiny.pipe.scheduler = None
    with pytest.raises(ValueError, match="no component `scheduler`; tune a function of"):
        frdiff.tune(tiny.pipe, inputs=tiny.inputs, **QUICK)


def test_the_file_of_a_policy_is_plain_json():
    content = json.loads(tuned().dumps())
    assert content["kind"] == "table"
    assert set(content["origin"]["versions"]) == {"frdiff", "diffusers", "torch"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["HeunDiscreteScheduler", "PNDMScheduler"])
def test_runs_longer_than_num_inference_steps_are_tuned_too(kind):
    pipe = make_pipe()
    options = {"skip_prk_steps": True} if kind == "PNDMScheduler" else {}
    scheduler = getattr(diffusers, kind).from_config(ddim().config, **options)
    pipe.scheduler = scheduler
    embeds = torch.randn(1, 5, EMBED, generator=torch.Generator().manual_seed(0))
    inputs = {"prompt_embeds": embeds, "negative_prompt_embeds": 0 * embeds, "height": 16}
    policy = frdiff.tune(
        pipe,
        num_steps=12,
        budget=0.5,
        inputs=inputs | {"width": 16, "prompt": None},
        samples=1,
        evaluations=6,
        latents=True,
    )
    scheduler.set_timesteps(12)
    assert policy.origin.figures["full_steps"] == len(scheduler.timesteps)
    assert policy.origin.figures["cost"] <= len(scheduler.timesteps) / 2
    scheduler.set_timesteps(policy.origin.num_inference_steps)
    assert policy.num_steps == len(scheduler.timesteps)


@pytest.mark.slow
def test_gates_give_a_policy_of_the_full_runs_steps(tmp_path):
    journal = tmp_path / "journal"
    seen = []
    policy = tuned(method="gates", journal=journal, on_event=seen.append)
    assert (policy.num_steps, policy.forecast, policy.origin.found_by) == (12, 0, "gates")
    assert policy.origin.figures["cost"] <= 6
    assert any(now.doing.startswith("gates, loss") for now in seen)
    again = tuned(method="gates", journal=journal, on_event=pytest.fail)
    assert again.dumps() == policy.dumps()


def test_gates_out_of_reach_are_said_to_be():
    with pytest.raises(ValueError, match=r"12 steps cannot cost 3.00 full ones: .* targets='all'"):
        tuned(method="gates", targets="paper", speedup=4)


def test_samples_are_drawn_from_the_whole_list_and_thehalves_of_share_nothing():
    subject = PipelineSubject(make_pipe())
    names = [str(number) for number in range(100)]
    calibration, held_out = (
        {name for batch in half for name in batch.prompts}
        for half in halves_of(subject, names, 10, seed=0)
    )
    assert len(calibration) == len(held_out) == 10
    assert not calibration & held_out
    assert all(max(map(int, half)) > 50 for half in (calibration, held_out))
    seeds = [batch.seed for half in halves_of(subject, names, 10, seed=0) for batch in half]
    assert len(set(seeds)) == len(seeds)


def test_the_halves_of_a_range_are_drawn_at_other_scales_but_for_its_greatest():
    subject = PipelineSubject(make_pipe())
    halves = halves_of(subject, [str(number) for number in range(40)], 16, 0, scales_of((1, 16)))
    drawn = [[(batch.guidance, len(batch.prompts)) for batch in half] for half in halves]
    assert drawn == [[(16, 6), (1, 6), (4, 4)], [(16, 6), (2, 6), (8, 4)]]


def test_every_word_is_a_field_and_every_field_a_word():
    fields = [field.name for kind in (Goal, Options, Place) for field in dataclasses.fields(kind)]
    assert sorted(fields) == sorted(Words.__annotations__)


def test_unknown_words_are_refused_with_those_that_there_are():
    with pytest.raises(TypeError, match=r"takes no sample; it takes .*\bsamples\b"):
        tuned(sample=3)
