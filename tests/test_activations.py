"""Recording and switching off: exact in meaning, for the asking call only, safe when threads share a model."""

import asyncio
import contextvars
import gc
import threading
import weakref

import pytest
import torch

from asm_rh.activations import record, switched_off, switches, taps
from asm_rh.config import ModelConfig
from asm_rh.model import AudioMixer

DEPTH = 8


def small(**changes):
    sizes = dict(width=48, depth=DEPTH, token_hidden=8, channel_hidden=24, frames=48, stride=(16, 16))
    return ModelConfig(**{"labels": ("a", "b", "c"), "window_seconds": 0.4, **sizes, **changes})


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = AudioMixer(small()).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False).add_(0.2 * torch.randn_like(parameter))
    return model


def wave(seed=0):
    return 0.1 * torch.randn(1, 6400, generator=torch.Generator().manual_seed(seed))


def twin(model, **changes):
    """The same weights under a changed configuration."""
    other = AudioMixer(small(**changes)).eval()
    other.load_state_dict(model.state_dict())
    return other


# ---------------------------------------------------------------------------------------- record


def test_record_captures_the_named_tensors_of_the_call(model):
    with record(model, ["logits", "embedding", "blocks.3.out"]) as seen:
        assert seen == {}
        logits = model(wave())
    assert sorted(seen) == ["blocks.3.out", "embedding", "logits"]
    assert torch.equal(seen["logits"], logits)
    assert torch.equal(seen["embedding"], model.embed(wave()))
    assert seen["blocks.3.out"].shape == (1, 24, 48)


def test_record_takes_one_name_a_list_or_anything_that_iterates(model):
    for names in ("logits", ["logits"], ("logits",), {"logits": 1}, (name for name in ["logits"]), iter(["logits"])):
        with record(model, names) as seen:
            model(wave())
        assert list(seen) == ["logits"]
    with record(model, []) as seen:
        model(wave())
    assert seen == {}


def test_calls_after_the_block_change_nothing(model):
    with record(model, "logits") as seen:
        first = model(wave(0))
    model(wave(1))
    assert torch.equal(seen["logits"], first) and list(seen) == ["logits"]


def test_the_latest_call_wins(model):
    with record(model, "logits") as seen:
        model(wave(0))
        last = model(wave(1))
    assert torch.equal(seen["logits"], last)


def test_recordings_nest(model):
    with record(model, ["logits", "patches"]) as outer:
        first = model(wave(0))
        with record(model, ["logits", "features"]) as inner:
            second = model(wave(1))
        assert torch.equal(outer["logits"], second) and torch.equal(inner["logits"], second)
        third = model(wave(2))
    assert sorted(outer) == ["logits", "patches"] and sorted(inner) == ["features", "logits"]
    assert torch.equal(outer["logits"], third) and torch.equal(inner["logits"], second)
    assert not torch.equal(first, second) and not torch.equal(second, third)


def test_recordings_belong_to_their_model(model):
    other = twin(model)
    with record(model, "logits") as seen:
        other(wave())
    assert seen == {}


def test_an_exception_ends_the_recording(model):
    with pytest.raises(RuntimeError, match="stop"), record(model, "logits") as seen:
        raise RuntimeError("stop")
    model(wave())
    assert seen == {}


def test_unknown_names_list_the_known(model):
    available = "available: .*features.*blocks.0.hermit.in"
    with pytest.raises(ValueError, match=f"no tap 'blocks.9.out' in this model; {available}"):
        record(model, ["logits", "blocks.9.out"]).__enter__()
    with pytest.raises(ValueError, match="no switch 'logits' in this model; available: blocks.0, blocks.0.hermit"):
        switched_off(model, "logits").__enter__()
    with record(model, "logits") as seen:  # a refusal leaves nothing behind
        plain = model(wave())
    assert list(seen) == ["logits"] and torch.equal(plain, model(wave()))


def test_captured_tensors_keep_their_graph():
    model = AudioMixer(small(depth=2))
    with record(model, "blocks.0.out") as seen:
        logits = model(wave())
    (gradient,) = torch.autograd.grad(logits.sum(), seen["blocks.0.out"])
    assert gradient.count_nonzero() > 0


def test_recording_does_not_change_the_answer(model):
    plain = model(wave())
    with record(model, taps(model)):
        assert torch.equal(model(wave()), plain)


def state(model):
    return {name: {key: id(value) for key, value in vars(module).items()} for name, module in model.named_modules()}


def tensors_alive():
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def test_nothing_is_kept_when_nobody_records(model):
    model(wave())
    with record(model, taps(model)) as seen:
        model(wave())
    del seen
    before, alive = state(model), tensors_alive()
    for seed in range(3):
        model(wave(seed))
    assert state(model) == before and tensors_alive() == alive
    with record(model, taps(model)), switched_off(model, switches(model)):
        model(wave())
    assert state(model) == before and tensors_alive() == alive


def test_a_recording_is_freed_with_its_dict(model):
    with record(model, "blocks.2.out") as seen:
        model(wave())
    captured = weakref.ref(seen["blocks.2.out"])
    assert captured() is not None
    del seen
    gc.collect()
    assert captured() is None


# ---------------------------------------------------------------------------------------- switched off


def test_rolls_off_is_the_same_weights_without_roll(model):
    plain, without = model(wave()), twin(model, roll="off")(wave())
    with switched_off(model, [f"blocks.{i}.roll" for i in range(DEPTH)]):
        assert torch.equal(model(wave()), without)
    assert not torch.allclose(plain, without) and torch.equal(model(wave()), plain)


def test_hermits_off_is_the_same_weights_without_the_transform(model):
    plain, without = model(wave()), twin(model, hermit="off")(wave())
    with switched_off(model, [f"blocks.{i}.hermit" for i in range(DEPTH)]):
        assert torch.equal(model(wave()), without)
    assert not torch.allclose(plain, without) and torch.equal(model(wave()), plain)


def test_both_off_nested_or_together_is_the_plain_mixer(model):
    rolls, hermits = ([f"blocks.{i}.{part}" for i in range(DEPTH)] for part in ("roll", "hermit"))
    without = twin(model, roll="off", hermit="off")(wave())
    with switched_off(model, rolls + hermits):
        assert torch.equal(model(wave()), without)
    with switched_off(model, rolls):
        with switched_off(model, hermits):
            assert torch.equal(model(wave()), without)
        assert torch.equal(model(wave()), twin(model, roll="off")(wave()))


@pytest.mark.parametrize("index", [0, 3, DEPTH - 1])
def test_one_mechanism_off_is_that_block_alone_without_it(model, index):
    for part, reading in (("roll", "roll"), ("hermit", "hermit")):
        donor, mixed = twin(model, **{reading: "off"}), twin(model)
        mixed.blocks[index] = donor.blocks[index]
        with switched_off(model, f"blocks.{index}.{part}"):
            assert torch.equal(model(wave()), mixed(wave()))


@pytest.mark.parametrize("index", [0, 3, DEPTH - 1])
def test_a_block_off_is_the_model_without_that_block(model, index):
    shorter = twin(model)
    del shorter.blocks[index]
    names = [f"blocks.{index}.out", f"blocks.{index}.roll.in"]
    with switched_off(model, f"blocks.{index}"), record(model, [*names, "patches"]) as seen:
        assert torch.equal(model(wave()), shorter(wave()))
    assert names[0] in seen and names[1] not in seen  # what did not run is not captured
    if index == 0:
        assert torch.equal(seen["blocks.0.out"], seen["patches"])


def test_all_blocks_off_leaves_stem_and_head(model):
    with switched_off(model, (f"blocks.{i}" for i in range(DEPTH))), record(model, ["patches", "logits"]) as seen:
        model(wave())
    assert torch.equal(seen["logits"], model.head(model.norm(seen["patches"]).mean(1)))


def test_every_switch_matters_and_scores_come_back_exactly(model):
    plain = model(wave())
    for name in switches(model):
        with switched_off(model, name):
            assert not torch.allclose(model(wave()), plain, atol=1e-5), name
        assert torch.equal(model(wave()), plain), name


def test_an_exception_switches_on_again(model):
    plain = model(wave())
    with pytest.raises(RuntimeError, match="stop"), switched_off(model, switches(model)):
        raise RuntimeError("stop")
    assert torch.equal(model(wave()), plain)


# ---------------------------------------------------------------------------------------- threads and tasks

THREADS, REPETITIONS = 8, 25


def in_threads(work):
    """Runs work(i, barrier) in eight threads at once and hands back what each returned; raises what any raised."""
    barrier, results, errors = threading.Barrier(THREADS, timeout=30), [None] * THREADS, []

    def run(i):
        try:
            results[i] = work(i, barrier)
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def test_eight_threads_each_capture_their_own(model):
    parts = ("out", "roll.out", "hermit.spectrum")
    names = [[*(f"blocks.{i}.{part}" for part in parts), "logits"] for i in range(THREADS)]
    wanted = []
    for i in range(THREADS):
        with record(model, names[i]) as seen:
            model(wave(i))
        wanted.append(seen)

    def work(i, barrier):
        wrong = 0
        for _ in range(REPETITIONS):
            with record(model, names[i]) as seen:
                barrier.wait()
                model(wave(i))
                barrier.wait()  # every thread is still recording when the last one is done
            wrong += sorted(seen) != sorted(names[i]) or any(not torch.equal(seen[n], wanted[i][n]) for n in names[i])
        return wrong

    assert in_threads(work) == [0] * THREADS


def test_what_a_thread_switches_off_stays_on_for_the_others(model):
    off = [(), ("blocks.0",), ("blocks.1.roll",), ("blocks.2.hermit",), (), tuple(switches(model)), ("blocks.7",), ()]
    wanted = []
    for i in range(THREADS):
        with switched_off(model, off[i]):
            wanted.append(model(wave(9)))
    assert len({tuple(logits[0].tolist()) for logits in wanted}) == 6  # five choices and three times none

    def work(i, barrier):
        wrong = 0
        for _ in range(REPETITIONS):
            with switched_off(model, off[i]):
                barrier.wait()
                wrong += not torch.equal(model(wave(9)), wanted[i])
                barrier.wait()
            wrong += not torch.equal(model(wave(9)), wanted[0])
        return wrong

    assert in_threads(work) == [0] * THREADS


def test_tasks_of_one_thread_do_not_mix(model):
    async def work(i):
        with record(model, "logits") as seen, switched_off(model, f"blocks.{i}"):
            await asyncio.sleep(0)
            logits = model(wave(i))
            await asyncio.sleep(0)  # the other tasks run here, inside this task's block
        return torch.equal(seen["logits"], logits), logits

    async def together():
        return await asyncio.gather(*(work(i) for i in range(4)))

    for i, (own, logits) in enumerate(asyncio.run(together())):
        with switched_off(model, f"blocks.{i}"):
            assert own and torch.equal(logits, model(wave(i)))


def test_nothing_is_set_outside_the_blocks(model):
    before = {variable: value for variable, value in contextvars.copy_context().items()}
    with record(model, "logits"), switched_off(model, "blocks.0"):
        model(wave())
    after = contextvars.copy_context()
    assert all(not value for variable, value in after.items() if variable not in before)
