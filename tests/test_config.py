"""Configurations: JSON there and back, refusals that name the numbers and a way out that works, no heavy imports."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from asm_rh.config import PRESETS, ConfigError, FrontendConfig, ModelConfig, preset

ROOT = Path(__file__).resolve().parent.parent
NAN, INFINITY = float("nan"), float("inf")

# ---------------------------------------------------------------------------------------- sizes and presets


def test_the_default_model_is_the_papers():
    config = preset("asm-rh-base")
    assert (config.depth, config.width, config.token_hidden, config.channel_hidden) == (12, 768, 384, 3072)
    assert (config.patch, config.stride, config.frames, config.frontend.bands) == ((16, 16), (10, 10), 512, 128)
    assert (config.kind, config.roll, config.hermit) == ("asm-rh", "paper", "lossless")
    assert config.grid == (12, 50) and config.tokens == 600
    assert (config.frontend.mean, config.frontend.std) == (-4.2677393, 4.5689974)  # AudioSet


def test_one_second_presets_have_the_ast_grid():
    for size in ("base", "small", "tiny"):
        config = preset(f"asm-rh-{size}-1s")
        assert config.grid == (12, 12) and config.tokens == 144 and config.window_samples == 16000


SHIPPED = ["asm-rh-keywords", "asm-rh-environment", "asm-rh-emotion"]


def test_preset_names_are_frozen():
    sizes = ["asm-rh-base", "asm-rh-small", "asm-rh-tiny", "asm-rh-base-1s", "asm-rh-small-1s", "asm-rh-tiny-1s"]
    assert list(PRESETS) == [*sizes, *SHIPPED]


def test_presets_named_after_the_paper_keep_its_readings():
    for name in PRESETS:
        if name not in SHIPPED:
            assert (preset(name).roll, preset(name).hermit) == ("paper", "lossless")


def test_an_unknown_preset_lists_the_known():
    with pytest.raises(ConfigError, match="no preset 'asm-huge'.*asm-rh-base.*asm-rh-keywords"):
        preset("asm-huge")


def test_preset_takes_labels_and_changes():
    config = preset("asm-rh-tiny-1s", labels=["yes", "no"], depth=4, frontend={"centre": True})
    assert (config.labels, config.depth, config.width, config.frontend.centre) == (("yes", "no"), 4, 192, True)
    front = preset("asm-rh-keywords", frontend={"bands": 64}).frontend
    assert (front.bands, front.centre, front.mean, front.std) == (64, True, 0.0, 2.2)  # what is not named stays


def test_window_frames_are_whole_frames():
    config = ModelConfig(window_seconds=1.0, frames=128)
    assert config.window_samples == 16000 and config.window_frames == 98  # 1 + (16000 - 400) // 160
    assert config.replace(window_seconds=0.025).window_frames == 1
    assert ModelConfig().window_frames == 512  # the paper's 512 frames are filled exactly


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0, 3.333, 10])
def test_a_new_window_brings_the_fewest_whole_frames_along(name, seconds):
    config = preset(name, window_seconds=seconds)
    natural = 1 + (round(seconds * 16000) - 400) // 160
    (patch, stride), rows = (config.patch[1], config.stride[1]), config.grid[0]
    fitting = (n for n in range(patch, 2000, stride) if n >= natural and rows * ((n - patch) // stride + 1) % 4 == 0)
    assert config.frames == next(fitting) and config.window_seconds == seconds
    assert preset(name, window_seconds=0.3, frames=304).frames == 304  # unless they are given


@pytest.mark.parametrize("seconds", [NAN, INFINITY, 0, -1.0, "2 s", None])
def test_a_window_that_is_no_length_is_refused(seconds):
    with pytest.raises(ConfigError, match="window_seconds=.*expected a number above 0"):
        preset("asm-rh-keywords", window_seconds=seconds)


def test_reserved_labels_are_background():
    config = ModelConfig(labels=("yes", "_silence_", "no", "_unknown_", "_background_noise_"))
    assert config.background_labels == ("_silence_", "_unknown_", "_background_noise_")


def test_a_configuration_is_frozen():
    with pytest.raises(AttributeError):
        ModelConfig().depth = 3


# ---------------------------------------------------------------------------------------- JSON there and back

VARIED = [
    ModelConfig(),
    *(preset(name) for name in PRESETS),
    ModelConfig(labels=("é", "日本", "a b"), roll="off", hermit="truncated", output="sigmoid", threshold=0.25),
    ModelConfig(kind="asm", patch=(8, 4), stride=(8, 4), frontend=FrontendConfig(bands=64, centre=True, mean=0, std=1)),
]


@pytest.mark.parametrize("config", VARIED)
def test_dict_and_json_round_trip(config):
    assert ModelConfig.from_dict(config.to_dict()) == config
    assert ModelConfig.from_dict(json.loads(config.to_json())) == config


def test_json_carries_labels_as_other_libraries_write_them():
    fields = json.loads(ModelConfig(labels=("é", "b")).to_json())
    assert fields["id2label"] == {"0": "é", "1": "b"} and fields["label2id"] == {"é": 0, "b": 1}
    assert fields["model_type"] == "asm-rh" and "labels" not in fields
    assert fields["frontend"]["bands"] == 128 and fields["patch"] == [16, 16]


def test_more_than_ten_labels_keep_their_order():
    labels = tuple(f"label {i}" for i in range(35))  # "10" sorts before "2"
    assert ModelConfig.from_dict(json.loads(ModelConfig(labels=labels).to_json())).labels == labels


def edited(**changes):
    fields = ModelConfig(labels=("a", "b")).to_dict()
    fields["frontend"].update(changes.pop("frontend", {}))
    return {**fields, **changes}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "list, expected an object"),
        (edited(model_type="bert"), "another model_type"),
        (edited(dept=3), "unknown key 'dept' in ModelConfig; known: .*depth"),
        (edited(frontend={"mels": 3}), "unknown key 'mels' in FrontendConfig; known: .*bands"),
        (edited(depth="12"), r"ModelConfig.depth='12': expected int like 12"),
        (edited(depth=12.0), r"ModelConfig.depth=12.0: expected int"),
        (edited(depth=True), r"ModelConfig.depth=True: expected int"),
        (edited(threshold="0.5"), r"ModelConfig.threshold='0.5': expected float"),
        (edited(kind=3), r"ModelConfig.kind=3: expected str"),
        (edited(kind=None), r"ModelConfig.kind=None: expected str"),
        (edited(patch=[16]), r"ModelConfig.patch=\[16\]: expected tuple like \(16, 16\)"),
        (edited(patch=[16, 16.0]), r"ModelConfig.patch=\[16, 16.0\]: expected tuple"),
        (edited(frontend={"centre": 1}), r"FrontendConfig.centre=1: expected bool"),
        ({**edited(), "frontend": "logmel"}, r"ModelConfig.frontend='logmel': expected object"),
        (edited(id2label=["a", "b"], label2id=None), 'expected the keys "0" to "n-1"'),
        (edited(id2label={"0": "a", "2": "b"}), 'expected the keys "0" to "n-1"'),
        (edited(id2label={"1": "a", "2": "b"}), 'expected the keys "0" to "n-1"'),
        (edited(id2label={0: "a", 1: "b"}), 'expected the keys "0" to "n-1"'),
        (edited(id2label={"0": ["a"], "1": "b"}), "expected a string for each label"),
        (edited(id2label={"0": 1, "1": "b"}, label2id=None), "expected a string for each label"),
        (edited(id2label={"0": "b", "1": "a"}), "label2id does not agree with id2label"),
        (edited(id2label={"0": "a", "1": "a"}, label2id=None), "at least one label, each once"),
        (edited(id2label={}, label2id=None), "at least one label, each once"),
    ],
)
def test_a_dict_that_is_no_configuration_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_dict(fields)


# ---------------------------------------------------------------------------------------- refusals

REFUSED = [
    (dict(labels=("a", "b", "a")), r"labels=\['a', 'b', 'a'\]: expected at least one label, each once"),
    (dict(labels=()), r"labels=\[\]: expected at least one label"),
    (dict(labels=("a", "")), "non-empty strings"),
    (dict(roll="both"), "roll='both': expected one of paper, grid, off"),
    (dict(hermit="half"), "hermit='half': expected one of lossless, truncated, off"),
    (dict(output="relu"), "output='relu': expected one of softmax, sigmoid"),
    (dict(depth=0), "depth=0: expected a number above 0"),
    (dict(width=-4), "width=-4: expected a number above 0"),
    (dict(window_seconds=NAN), "window_seconds=nan"),
    (dict(window_seconds=INFINITY), "window_seconds=inf"),
    (dict(sample_rate="16k"), "sample_rate='16k'"),
    (dict(dropout=1.0), "dropout=1.0: expected 0 <= dropout < 1"),
    (dict(drop_path=-0.1), "drop_path=-0.1"),
    (dict(threshold=1.5), "threshold=1.5: expected 0..1"),
    (dict(patch=(0, 16)), "expected at least 1 bands"),
    (dict(stride=(10, 0)), "expected at least 1 frames"),
    (dict(frames=15), "15 frames are fewer than one patch of 16: give at least 16 frames"),
    (dict(frontend={"bands": 12}), "12 bands are fewer than one patch of 16: give at least 16 bands"),
    (dict(frontend={"std": 0.0}), "std=0.0: expected a number above 0"),
    (dict(frontend={"low_hz": 5000.0, "high_hz": 4000.0}), "low_hz=5000.0, high_hz=4000.0"),
    (dict(frontend={"mean": NAN}), "mean=nan: expected a finite number"),
    (dict(frontend={"padding": INFINITY}), "padding=inf: expected a finite number"),
    (dict(frontend={"hop_seconds": 1e-9}), "hop_seconds=1e-09 is less than one sample at 16000 Hz"),
    (dict(window_seconds=0.02), "window_seconds=0.02 is shorter than one frame of 0.025 s: give at least 0.025"),
    (dict(width=770), "width=770 cannot be divided by 4, which roll='paper' needs: .* is 768 or 772"),
    (dict(width=3), "width=3 cannot be divided by 4, .* is 4$"),
    (dict(width=100, roll="grid"), "width=100 cannot be divided by 16, which roll='grid' needs: .* is 96 or 112"),
    (dict(window_seconds=6.0), "window of 6.0 s has 598 frames, more than frames=512: .* or frames=606"),
    (dict(stride=(20, 10), frames=504, window_seconds=5.0), r"294 tokens \(6 x 49\) cannot .* by 4, .* is frames=506"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_sizes_no_model_can_have_are_refused_with_the_numbers(changes, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig().replace(**changes)


def test_the_readings_ask_only_for_what_they_need():
    ModelConfig(width=100)  # a multiple of 4 is enough for the listing
    ModelConfig(width=7, roll="off", stride=(20, 10), frames=504, window_seconds=5.0)  # anything goes without a roll
    ModelConfig(roll="grid", stride=(20, 10), frames=504, window_seconds=5.0)  # the grid takes any number of tokens


def refusal(**changes):
    with pytest.raises(ConfigError) as caught:
        ModelConfig().replace(**changes)
    return str(caught.value)


@pytest.mark.parametrize("roll", ["paper", "grid"])
@pytest.mark.parametrize("width", [1, 2, 5, 17, 99, 770])
def test_every_suggested_width_works(roll, width):
    suggested = re.search(r"works is (\d+)(?: or (\d+))?$", refusal(roll=roll, width=width))
    for number in filter(None, suggested.groups()):
        assert ModelConfig(roll=roll, width=int(number)).width == int(number)


def works(frames, **changes):
    try:
        return bool(ModelConfig(frames=frames, **changes))
    except ConfigError:
        return False


@pytest.mark.parametrize(("window_seconds", "least"), [(0.1, 16), (0.6, 58)])  # 8 frames, less than a patch, and 58
@pytest.mark.parametrize("stride", [(20, 10), (16, 7), (40, 40), (5, 3), (11, 16)])
def test_every_suggested_number_of_frames_works_and_none_is_nearer(stride, window_seconds, least):
    sizes = dict(stride=stride, window_seconds=window_seconds)
    possible = {frames for frames in range(16, 300) if works(frames, **sizes)}
    refused = [frames for frames in range(least, 120) if frames not in possible]
    for frames in refused[::2]:
        suggested = int(re.search(r"frames=(\d+)$", refusal(frames=frames, **sizes))[1])
        assert suggested in possible
        assert abs(suggested - frames) == min(abs(n - frames) for n in possible)
    assert refused or (128 - 16) // stride[0] % 4 == 3  # rows that are a multiple of 4 are never refused


@pytest.mark.parametrize("window_seconds", [0.6, 1.0, 7.77])
@pytest.mark.parametrize("stride", [(20, 10), (16, 7), (40, 40)])
def test_the_suggested_frames_for_a_window_work(window_seconds, stride):
    sizes = dict(stride=stride, window_seconds=window_seconds)
    suggested = int(re.search(r"more than frames=48: .* or frames=(\d+)$", refusal(frames=48, **sizes))[1])
    assert ModelConfig(frames=suggested, **sizes).frames == suggested


def test_the_suggested_window_for_a_patch_and_for_a_frame_works():
    message = refusal(frames=15)
    frames, seconds = re.search(r"at least (\d+) frames \(a window of ([\d.]+) s\)", message).groups()
    assert ModelConfig(frames=int(frames), window_seconds=float(seconds)).window_frames == 16
    seconds = float(re.search(r"at least ([\d.]+)$", refusal(window_seconds=0.001))[1])
    assert ModelConfig(window_seconds=seconds).window_frames == 1
    least = float(re.search(r"at least ([\d.e-]+)$", refusal(frontend={"hop_seconds": 1e-9}))[1])
    ModelConfig(window_seconds=0.1, frames=1204).replace(frontend={"hop_seconds": least})


# ---------------------------------------------------------------------------------------- imports


@pytest.mark.parametrize("module", ["asm_rh", "asm_rh.config"])
def test_importing_loads_nothing_heavy(module):
    heavy = ["torch", "torchaudio", "gradio", "sounddevice", "safetensors", "huggingface_hub"]
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "[]", result.stderr
