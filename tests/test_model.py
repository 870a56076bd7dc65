"""The whole model: sizes by formula, every kind and reading, and a forward pass computed again in NumPy."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch import nn

from asm_rh.activations import record, switches, taps
from asm_rh.config import HERMITS, PRESETS, ROLLS, ConfigError, FrontendConfig, ModelConfig, preset
from asm_rh.mixers import KINDS
from asm_rh.model import AudioMixer, DropPath, count_macs, count_parameters

VARIANTS = list(itertools.product(KINDS, ROLLS, HERMITS))


def small(**changes):
    sizes = dict(width=32, depth=3, token_hidden=8, channel_hidden=24, frames=48, stride=(16, 16), window_seconds=0.4)
    return ModelConfig(**{"labels": ("a", "b", "c"), **sizes, **changes})


def built(seed=0, **changes):
    """A small model in evaluation mode whose every weight is random, layer norms and biases included."""
    torch.manual_seed(seed)
    model = AudioMixer(small(**changes)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, 1.0, 0.2)
    return model


def waves(clips=2, samples=6400, seed=0):
    return 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------------------- sizes


def formula(classes, tokens, width, token_hidden, channel_hidden, depth, patch):
    """Trainable numbers: stem, blocks of two norms and two MLPs, last norm, head norm and linear layer."""
    stem = patch * patch * width + width
    token = tokens * token_hidden + token_hidden + token_hidden * tokens + tokens
    channel = width * channel_hidden + channel_hidden + channel_hidden * width + width
    return stem + depth * (2 * 2 * width + token + channel) + 2 * width + 2 * width + width * classes + classes


def on_paper(config):
    """A model without memory for its weights."""
    with torch.device("meta"):
        return AudioMixer(config)


def test_the_base_model_has_624_million_parameters_and_383_billion_macs():
    config = preset("asm-rh-base", labels=map(str, range(35)))
    parameters = count_parameters(on_paper(config))
    assert parameters == formula(35, 600, 768, 384, 3072, 12, 16)
    assert round(parameters / 1e6, 1) == 62.5  # with the 35 words of Speech Commands; 62.4 with two classes
    assert round(count_parameters(on_paper(preset("asm-rh-base"))) / 1e6, 1) == 62.4
    mixing = 12 * (2 * 600 * 384 * 768 + 2 * 768 * 3072 * 600)
    assert count_macs(config) == 16 * 16 * 768 * 600 + mixing + 768 * 35
    assert round(count_macs(config) / 1e9, 1) == 38.3


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_and_answers(name):
    config = preset(name, labels=("a", "b", "c"))
    model = on_paper(config)
    sizes = (config.width, config.token_hidden, config.channel_hidden, config.depth)
    assert count_parameters(model) == formula(3, config.tokens, *sizes, 16)
    assert model.forward_features(torch.empty(2, config.frames, config.frontend.bands, device="meta")).shape == (2, 3)


def test_counted_macs_are_those_of_the_layers():
    model, config = AudioMixer(small()), small()
    rows = {"fc1": 0, "fc2": 0, "1": 0}
    macs = 16 * 16 * 32 * 24  # the stem: every weight once for each token
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            rows[name.split(".")[-1]] += 1
            repeats = 1 if name == "head.1" else 32 if ".hermit." in name else 24
            macs += module.weight.numel() * repeats
    assert rows == {"fc1": 6, "fc2": 6, "1": 1}
    assert count_macs(config) == macs


def test_unknown_parts_list_the_known():
    with pytest.raises(ConfigError, match="no kind 'rnn'; available: asm-rh, asm-h, asm-r, asm"):
        AudioMixer(small(kind="rnn"))
    with pytest.raises(ConfigError, match="no frontend 'cqt'; available: logmel"):
        AudioMixer(small().replace(frontend={"name": "cqt"}))


# ---------------------------------------------------------------------------------------- the paper, in NumPy


def layer_norm(x, weights, name):
    centred = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return centred / scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def mlp(x, weights, name):
    hidden = x @ weights[f"{name}.fc1.weight"].T + weights[f"{name}.fc1.bias"]
    hidden = hidden * 0.5 * (1 + erf(hidden / math.sqrt(2)))
    return hidden @ weights[f"{name}.fc2.weight"].T + weights[f"{name}.fc2.bias"]


def cosine_matrix(width):
    """DCT-I as its textbook sum, scaled by the square root of n = 2 (D - 1): it is its own inverse."""
    j, k = np.arange(width)[:, None], np.arange(width)[None]
    twice = np.where((j == 0) | (j == width - 1), 1.0, 2.0)
    return twice * np.cos(np.pi * j * k / (width - 1)) / math.sqrt(2 * (width - 1))


def truncated_matrices(width):
    """hfft(n=D) and irfft(n=D) as sums over complex exponentials; width even."""
    j, k = np.arange(width)[:, None], np.arange(width)[None]
    once = np.where((j == 0) | (j == width // 2), 1.0, 2.0) * (j <= width // 2)
    both = once * np.exp(-2j * np.pi * j * k / width).real / math.sqrt(width)
    return both, both  # real input: the inverse sums the same cosines


def rolled_listing(x, a, depth):
    tokens, width = x.shape
    height, length = tokens // 4, width // 4
    flat, moved = x.ravel(), np.empty(x.size)
    g, step = int(16 / (1 + a)), depth - a
    for place in range(x.size):
        c, i, j = place // (height * length), place // length % height, place % length
        up, right = {0: (0, step), 1: (0, -step), 2: (step, 0), 3: (-step, 0)}.get(c // g, (0, 0))
        moved[(c * height + (i + up) % height) * length + (j + right) % length] = flat[place]
    return moved.reshape(x.shape)


def rolled_grid(x, a, depth, grid):
    picture = x.reshape(*grid, 16, -1)
    moved = picture.copy()
    g, time = min(int(16 / (1 + a)), 4), math.ceil((depth - a) / 4)
    for group in range(16):
        f, t = {0: (0, time), 1: (0, -time), 2: (1, 0), 3: (-1, 0)}.get(group // g, (0, 0))
        for row, column in np.ndindex(*grid):
            moved[(row + f) % grid[0], (column + t) % grid[1], group] = picture[row, column, group]
    return moved.reshape(x.shape)


def recomputed(model, features):
    """Features (frames, bands) of one clip -> what is at each named place, in float64, by the paper's equations."""
    config = model.config
    weights = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    kernel, bias = weights["stem.weight"][:, 0], weights["stem.bias"]  # (width, 16 bands, 16 frames)
    tokens = []
    for f in range(config.grid[0]):
        for t in range(config.grid[1]):
            low, start = f * config.stride[0], t * config.stride[1]
            patch = features[start : start + 16, low : low + 16].T
            tokens.append((kernel * patch).sum((1, 2)) + bias)
    x = np.stack(tokens)
    seen = {"features": features, "patches": x}
    if config.class_tokens:
        x = np.concatenate([weights["pooling.tokens"][0], x]) + weights["pooling.positions"][0]
    there, back = {
        "lossless": (cosine_matrix(config.width),) * 2,
        "truncated": truncated_matrices(config.width),
        "off": (np.eye(config.width),) * 2,
    }[config.hermit]
    for a in range(config.depth):
        block = f"blocks.{a}"
        seen[f"{block}.hermit.in"] = normed = layer_norm(x, weights, f"{block}.norm1")
        seen[f"{block}.hermit.spectrum"] = spectrum = normed @ there
        seen[f"{block}.hermit.mixed"] = mixed = mlp(spectrum.T, weights, f"{block}.hermit.mlp").T
        seen[f"{block}.hermit.out"] = out = mixed @ back
        u = x + out
        seen[f"{block}.roll.in"] = normed = layer_norm(u, weights, f"{block}.norm2")
        roll = {
            "paper": lambda n, a: rolled_listing(n, a, config.depth),
            "grid": lambda n, a: rolled_grid(n, a, config.depth, config.grid),
            "off": lambda n, a: n,
        }[config.roll]
        seen[f"{block}.roll.out"] = moved = roll(normed, a)
        seen[f"{block}.out"] = x = u + mlp(moved, weights, f"{block}.roll.mlp")
    read = layer_norm(x, weights, "norm")
    seen["embedding"] = embedding = read[: config.class_tokens].mean(0) if config.class_tokens else read.mean(0)
    seen["logits"] = layer_norm(embedding, weights, "head.0") @ weights["head.1.weight"].T + weights["head.1.bias"]
    return seen


@pytest.mark.parametrize("hermit", HERMITS)
@pytest.mark.parametrize("roll, class_tokens", [*((roll, 0) for roll in ROLLS), ("off", 1), ("off", 2)])
def test_the_whole_forward_pass_equals_the_papers_equations(roll, hermit, class_tokens):
    model = built(roll=roll, hermit=hermit, stride=(16, 8), class_tokens=class_tokens)
    features = torch.randn(2, 48, 128, generator=torch.Generator().manual_seed(5))
    with record(model, taps(model)) as seen, torch.no_grad():
        logits = model.forward_features(features)
    for clip in range(2):
        wanted = recomputed(model, features[clip].double().numpy())
        assert sorted(wanted) == sorted(seen)
        for name, value in wanted.items():
            got = seen[name][clip].double().numpy()
            np.testing.assert_allclose(got, value, rtol=0, atol=1e-5 * max(1, np.abs(value).max()), err_msg=name)
        np.testing.assert_allclose(logits[clip].numpy(), wanted["logits"], rtol=0, atol=1e-5)


def test_class_tokens_are_asts_two_tokens_and_positions():
    """The paper's ASM: N + 2 tokens with positions, and a token MLP as long (arXiv 2401.11102, after AST)."""
    plain, config = small(kind="asm", roll="off"), small(kind="asm", roll="off", class_tokens=2)
    assert config.tokens == plain.tokens + 2 == 26 and config.grid == plain.grid == (8, 3)
    model = AudioMixer(config)
    assert model.pooling.tokens.shape == (1, 2, 32) and model.pooling.positions.shape == (1, 26, 32)
    assert count_parameters(model) - count_parameters(AudioMixer(plain)) == 2 * 32 + 26 * 32 + 3 * (2 * 8 * 2 + 2)
    assert count_macs(config) - count_macs(plain) == 3 * (2 * 2 * 8 * 32 + 2 * 32 * 24 * 2)
    model(waves()).sum().backward()
    assert all(p.grad.abs().max() > 0 for p in model.pooling.parameters())


@pytest.mark.parametrize("changes", [dict(roll="paper"), dict(roll="grid"), dict(roll="off", class_tokens=-1)])
def test_class_tokens_that_a_roll_would_move_are_refused(changes):
    with pytest.raises(ConfigError, match="class_tokens=.*expected 0 or more, and roll='off' with any"):
        small(**{"class_tokens": 2, **changes})


def test_tokens_are_frequency_major():
    model = built(depth=1)
    one = torch.zeros(1, 48, 128)
    one[0, 20, 100] = 1.0  # frame 20 is in time column 1 of 3, band 100 in frequency row 6 of 8
    with record(model, "patches") as seen, torch.no_grad():
        model.forward_features(one)
    lit = (seen["patches"][0] - model.stem.bias).abs().amax(1) > 1e-6
    assert lit.nonzero().flatten().tolist() == [6 * 3 + 1]


# ---------------------------------------------------------------------------------------- every kind and reading


@pytest.mark.parametrize(("kind", "roll", "hermit"), VARIANTS)
def test_gradient_reaches_every_parameter(kind, roll, hermit):
    model = built(kind=kind, roll=roll, hermit=hermit)
    wave = waves().requires_grad_()
    (model(wave) * torch.tensor([[1.0, -2.0, 0.5], [0.3, 1.0, 2.0]])).sum().backward()
    transformed = "hermit" in model.blocks[0].names and hermit != "off"
    for name, parameter in model.named_parameters():
        grad = parameter.grad
        assert grad is not None and grad.isfinite().all(), name
        if not transformed and name.endswith((".token.mlp.fc2.bias", ".hermit.mlp.fc2.bias")):
            assert grad.abs().max() < 1e-6, name  # lifts all features of a token alike: every layer norm takes it out
        elif transformed and hermit == "truncated" and ".norm1." in name:
            assert (grad != 0).tolist() == [True] * 17 + [False] * 15, name  # this reading ignores half of the features
        else:
            assert (grad != 0).all() and grad.abs().max() > 1e-4, name
    assert wave.grad.count_nonzero() > 0.9 * wave.numel()


@pytest.mark.parametrize(("kind", "roll", "hermit"), VARIANTS)
def test_a_batch_of_two_is_two_batches_of_one(kind, roll, hermit):
    model, wave = built(kind=kind, roll=roll, hermit=hermit), waves()
    with torch.no_grad():
        both, single = model(wave), torch.cat([model(wave[:1]), model(wave[1:])])
    assert both.shape == (2, 3) and not torch.allclose(both[0], both[1])
    torch.testing.assert_close(both, single, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("kind", "roll", "hermit"), VARIANTS)
def test_saved_and_loaded_models_agree_to_the_bit(tmp_path, kind, roll, hermit):
    model = built(kind=kind, roll=roll, hermit=hermit)
    model.save_pretrained(tmp_path)
    loaded = AudioMixer.from_pretrained(tmp_path)
    assert loaded.config == model.config and not loaded.training
    assert torch.equal(loaded(waves()), model(waves()))


def test_readings_and_kinds_differ_where_they_should():
    weights = built().state_dict()
    answers = {}
    for roll, hermit in itertools.product(ROLLS, HERMITS):
        model = AudioMixer(small(roll=roll, hermit=hermit)).eval()
        model.load_state_dict(weights)  # one set of names for every reading
        answers[roll, hermit] = model(waves())
    for one, other in itertools.combinations(answers, 2):
        assert not torch.allclose(answers[one], answers[other], atol=1e-4), (one, other)


def test_a_kind_without_a_mechanism_is_the_full_kind_with_it_off():
    kinds = {"asm-h": ("hermit", "channel", "off", "lossless"), "asm-r": ("token", "roll", "paper", "off")}
    kinds["asm"] = ("token", "channel", "off", "off")
    for kind, (first, second, roll, hermit) in kinds.items():
        full = built(roll=roll, hermit=hermit)
        model = AudioMixer(small(kind=kind)).eval()
        for name, tensor in full.state_dict().items():
            name = name.replace(".hermit.", f".{first}.").replace(".roll.", f".{second}.")
            model.get_parameter(name).data.copy_(tensor)
        assert torch.equal(model(waves()), full(waves())), kind


TAPS = {
    "asm-rh": """
        blocks.0.hermit.in blocks.0.hermit.mixed blocks.0.hermit.out blocks.0.hermit.spectrum blocks.0.out
        blocks.0.roll.in blocks.0.roll.out
        blocks.1.hermit.in blocks.1.hermit.mixed blocks.1.hermit.out blocks.1.hermit.spectrum blocks.1.out
        blocks.1.roll.in blocks.1.roll.out
        embedding features logits patches""",
    "asm-h": """
        blocks.0.hermit.in blocks.0.hermit.mixed blocks.0.hermit.out blocks.0.hermit.spectrum blocks.0.out
        blocks.1.hermit.in blocks.1.hermit.mixed blocks.1.hermit.out blocks.1.hermit.spectrum blocks.1.out
        embedding features logits patches""",
    "asm-r": """
        blocks.0.out blocks.0.roll.in blocks.0.roll.out blocks.1.out blocks.1.roll.in blocks.1.roll.out
        embedding features logits patches""",
    "asm": "blocks.0.out blocks.1.out embedding features logits patches",
}
SWITCHES = {
    "asm-rh": "blocks.0 blocks.0.hermit blocks.0.roll blocks.1 blocks.1.hermit blocks.1.roll",
    "asm-h": "blocks.0 blocks.0.hermit blocks.1 blocks.1.hermit",
    "asm-r": "blocks.0 blocks.0.roll blocks.1 blocks.1.roll",
    "asm": "blocks.0 blocks.1",
}
TENSORS = """
    blocks.0.hermit.mlp.fc1.bias blocks.0.hermit.mlp.fc1.weight blocks.0.hermit.mlp.fc2.bias
    blocks.0.hermit.mlp.fc2.weight blocks.0.norm1.bias blocks.0.norm1.weight blocks.0.norm2.bias blocks.0.norm2.weight
    blocks.0.roll.mlp.fc1.bias blocks.0.roll.mlp.fc1.weight blocks.0.roll.mlp.fc2.bias blocks.0.roll.mlp.fc2.weight
    head.0.bias head.0.weight head.1.bias head.1.weight norm.bias norm.weight stem.bias stem.weight"""


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_taps_and_switches_are_frozen(kind):
    model = AudioMixer(small(kind=kind, depth=2))
    assert sorted(taps(model)) == TAPS[kind].split()
    assert sorted(switches(model)) == SWITCHES[kind].split()


def test_every_tap_is_reached():
    for kind in KINDS:
        model = built(kind=kind, depth=2)
        with record(model, taps(model)) as seen:
            model(waves())
        assert sorted(seen) == TAPS[kind].split()


def test_names_of_stored_tensors_are_frozen():
    assert sorted(AudioMixer(small(depth=1)).state_dict()) == TENSORS.split()


# ---------------------------------------------------------------------------------------- training and evaluation


def test_evaluation_is_deterministic_and_training_is_not():
    model = built(dropout=0.3, drop_path=0.5)
    plain = AudioMixer(small()).eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model(waves()), model(waves()))
    assert torch.equal(model(waves()), plain(waves()))  # neither dropout nor drop path is left
    plain.train()
    assert torch.equal(plain(waves()), model(waves()))  # and without them nothing is random
    for changes in (dict(dropout=0.3), dict(drop_path=0.5)):
        model = built(**changes).train()
        assert not torch.equal(model(waves(8)), model(waves(8)))


def test_drop_path_leaves_out_whole_clips_and_keeps_the_mean():
    torch.manual_seed(0)
    drop, x = DropPath(0.2).train(), torch.ones(5000, 3, 2)
    kept = drop(x)
    torch.testing.assert_close(kept[:, 0, 0].unique(), torch.tensor([0.0, 1.25]))
    assert (kept == kept[:, :1, :1]).all()  # a clip as a whole
    assert kept.mean().item() == pytest.approx(1.0, abs=0.02)
    assert torch.equal(drop.eval()(x), x)


def test_drop_path_grows_with_depth():
    rates = [block.drop_path.rate for block in AudioMixer(small(depth=5, drop_path=0.2)).blocks]
    assert rates == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])


@pytest.mark.parametrize("kind", KINDS)
def test_models_run_in_bfloat16(kind):
    model = built(kind=kind)
    with torch.no_grad():
        wanted, features = model(waves()), model.features(waves())
        with torch.autocast("cpu", torch.bfloat16):
            got = model.forward_features(features)
    torch.testing.assert_close(got.float(), wanted, atol=0.1, rtol=0.1)
    assert model.probabilities(got).dtype == torch.float32


def test_probabilities_worked_by_hand():
    logits = torch.tensor([[0.0, math.log(2), math.log(5)]])
    softmax = AudioMixer(small(output="softmax")).probabilities(logits)
    sigmoid = AudioMixer(small(output="sigmoid")).probabilities(logits)
    torch.testing.assert_close(softmax, torch.tensor([[1 / 8, 2 / 8, 5 / 8]]))
    torch.testing.assert_close(sigmoid, torch.tensor([[1 / 2, 2 / 3, 5 / 6]]))


def test_a_shorter_wave_is_padded_and_the_front_end_travels_with_the_model():
    frontend = FrontendConfig(centre=True, mean=0.5, std=3.0, padding=-1.0)
    model = built(frontend=frontend)
    features = model.features(waves(samples=1600))
    assert features.shape == (2, 48, 128) and (features[:, 8:] == -1.0).all()  # 1 + (1600 - 400) // 160 frames
    assert model(waves(samples=1600)).isfinite().all()
