"""Transfer: every tensor against networks that timm and transformers built, adaptations against float64 loops, the report by hand."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from asm_rh import transfer as room
from asm_rh.checkpoint import Source
from asm_rh.config import FrontendConfig, ModelConfig, preset
from asm_rh.model import AudioMixer
from asm_rh.transfer import TransferError, keep_sum, own_config, resample, transfer
from asm_rh.weight_files import WeightFile, read_weights

WIDTH, ROWS, COLUMNS = 32, 2, 3
AST_PREFIX = "audio_spectrogram_transformer."
ROOT = Path(__file__).resolve().parent.parent


def config(**changes):
    """Two blocks on a grid of 2 x 3 patches."""
    sizes = dict(
        labels=("yes", "no"), window_seconds=0.4, frames=48, patch=(16, 16), stride=(16, 16), width=WIDTH, depth=2, token_hidden=16,
        channel_hidden=4 * WIDTH, roll="off", frontend=FrontendConfig(bands=32),
    )  # fmt: skip
    return ModelConfig(**{**sizes, **changes})


def randomised(network):
    """The network with every number random, so that no two tensors agree by being ones or zeros."""
    torch.manual_seed(3)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape) * 0.05)
    return network.eval()


def timm_network(name, **changes):
    timm = pytest.importorskip("timm", reason="timm, of requirements-dev.txt, builds the networks to take from")
    return randomised(timm.create_model(name, embed_dim=WIDTH, depth=3, num_heads=2, img_size=32, num_classes=5, **changes))


@pytest.fixture(scope="module")
def deit():
    return timm_network("deit_base_distilled_patch16_384")


@pytest.fixture(scope="module")
def ast():
    transformers = pytest.importorskip("transformers", reason="transformers, of requirements-dev.txt, builds the AST to take from")
    sizes = dict(
        hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=3, num_attention_heads=2, num_mel_bins=32, max_length=48,
        frequency_stride=16, time_stride=16,
    )  # fmt: skip
    return randomised(transformers.ASTForAudioClassification(transformers.ASTConfig(**sizes)))


@pytest.fixture(scope="module")
def ast_folder(ast, tmp_path_factory):
    """The AST as transformers saves it."""
    folder = tmp_path_factory.mktemp("ast")
    ast.save_pretrained(folder)
    return folder


def mixer(side, **changes):
    module = pytest.importorskip("timm.models.mlp_mixer", reason="timm, of requirements-dev.txt, builds the Mixer to take from")
    sizes = dict(img_size=16 * side, patch_size=16, num_blocks=2, embed_dim=WIDTH, num_classes=5)
    return randomised(module.MlpMixer(**{**sizes, **changes}))


def weights_of(tensors, name="given", path="nowhere/model.safetensors"):
    return WeightFile(name, dict(tensors), Path(path))


def fitted(found, settings):
    """Our network with what was found."""
    torch.manual_seed(8)
    model = AudioMixer(settings).eval()
    model.load_state_dict(found.tensors, strict=False)
    return model


def spectrogram(rows=32, columns=48):
    return torch.randn(2, 1, rows, columns, generator=torch.Generator().manual_seed(5))


def tokens(seed=6):
    return torch.randn(2, ROWS * COLUMNS, WIDTH, generator=torch.Generator().manual_seed(seed))


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def assert_transformer_blocks(found, names, tensors, settings):
    """The blocks' tensors are those under the given names ({i}: block, {p}: weight or bias), to the bit."""
    checked = set()
    for ours, theirs in names.items():
        for i in range(settings.depth if "{i}" in ours else 1):
            for p in ("weight", "bias"):
                name = ours.format(i=i, p=p)
                assert torch.equal(found.tensors[name], tensors[theirs.format(i=i, p=p)]), name
                checked.add(name)
    assert set(found.tensors) - checked == {"stem.weight", "stem.bias"}


TIMM_BLOCK = {
    "blocks.{i}.norm1.{p}": "blocks.{i}.norm1.{p}", "blocks.{i}.norm2.{p}": "blocks.{i}.norm2.{p}",
    "blocks.{i}.roll.mlp.fc1.{p}": "blocks.{i}.mlp.fc1.{p}", "blocks.{i}.roll.mlp.fc2.{p}": "blocks.{i}.mlp.fc2.{p}",
    "norm.{p}": "norm.{p}",
}  # fmt: skip
HUB_BLOCK = {
    "blocks.{i}.norm1.{p}": AST_PREFIX + "encoder.layer.{i}.layernorm_before.{p}",
    "blocks.{i}.norm2.{p}": AST_PREFIX + "encoder.layer.{i}.layernorm_after.{p}",
    "blocks.{i}.roll.mlp.fc1.{p}": AST_PREFIX + "encoder.layer.{i}.intermediate.dense.{p}",
    "blocks.{i}.roll.mlp.fc2.{p}": AST_PREFIX + "encoder.layer.{i}.output.dense.{p}",
    "norm.{p}": AST_PREFIX + "layernorm.{p}", "head.0.{p}": "classifier.layernorm.{p}",
}  # fmt: skip


# ---------------------------------------------------------------------------------------------- DeiT and ViT


@pytest.mark.parametrize("nest", [None, "model", "state_dict"])
def test_deit_gives_stem_norms_and_channel_mlps(deit, tmp_path, nest):
    tensors = deit.state_dict()
    torch.save({nest: tensors, "epoch": 3} if nest else tensors, tmp_path / "deit.pth")
    found = transfer(read_weights(tmp_path / "deit.pth"), config())
    assert found.layout == "DeiT or ViT, timm's names"
    assert_transformer_blocks(found, TIMM_BLOCK, tensors, config())
    assert found.adapted == {"stem.weight"}
    expected = [[[[sum(float(c) for c in tensors["patch_embed.proj.weight"][d, :, y, x])
                   for x in range(16)] for y in range(16)]] for d in range(WIDTH)]  # fmt: skip
    close(found.tensors["stem.weight"], torch.tensor(expected))
    assert {name for name in found.unused if ".2." not in name} == {
        "cls_token", "dist_token", "pos_embed", "head.weight", "head.bias", "head_dist.weight", "head_dist.bias",
        *(f"blocks.{i}.attn.{part}.{p}" for i in range(2) for part in ("qkv", "proj") for p in ("weight", "bias")),
    }  # fmt: skip
    assert sum(".2." in name for name in found.unused) == 12, "a third block that we do not have"


@pytest.mark.parametrize("kind", ["asm-rh", "asm"])
def test_features_are_those_of_deit(deit, kind):
    settings = config(kind=kind)
    model = fitted(transfer(weights_of(deit.state_dict()), settings), settings)
    with torch.no_grad():
        picture = spectrogram()
        close(model.stem(picture), deit.patch_embed.proj(picture.expand(-1, 3, -1, -1)))
        for ours, theirs in zip(model.blocks, deit.blocks):
            channel = ours.roll if kind == "asm-rh" else ours.channel
            close(channel(ours.norm2(tokens())), theirs.mlp(theirs.norm2(tokens())))
            close(ours.norm1(tokens()), theirs.norm1(tokens()))
        close(model.norm(tokens()), deit.norm(tokens()))


def test_plain_vit_is_known_and_of_fewer_blocks_the_first_are_filled():
    vit = timm_network("vit_tiny_patch16_224")
    found = transfer(weights_of(vit.state_dict()), config(depth=5))
    filled = {name.split(".")[1] for name in found.tensors if name.startswith("blocks.")}
    assert filled == {"0", "1", "2"}
    assert torch.equal(found.tensors["blocks.2.roll.mlp.fc2.weight"], vit.blocks[2].mlp.fc2.weight)


def test_grey_weighs_the_colours_as_bt_601_does(deit):
    found = transfer(weights_of(deit.state_dict()), config(), "grey")
    red, green, blue = deit.patch_embed.proj.weight.detach().double().unbind(1)
    close(found.tensors["stem.weight"][:, 0], (0.299 * red + 0.587 * green + 0.114 * blue).float())
    with pytest.raises(TransferError, match="colours='max': expected one of sum, grey"):
        transfer(weights_of(deit.state_dict()), config(), "max")


# ---------------------------------------------------------------------------------------------- AST


def test_ast_of_the_hub_gives_every_tensor_but_attention_tokens_and_classes(ast_folder):
    tensors = load_file(ast_folder / "model.safetensors")
    found = transfer(read_weights(ast_folder), config())
    assert found.layout == "AST, the Hub's names" and not found.adapted
    assert_transformer_blocks(found, HUB_BLOCK, tensors, config())
    for p in ("weight", "bias"):
        assert torch.equal(found.tensors[f"stem.{p}"], tensors[f"{AST_PREFIX}embeddings.patch_embeddings.projection.{p}"])
    kept = {re.sub(r"\.\d\.", ".*.", name) for name in found.unused if ".2." not in name}
    assert kept == {
        *(f"{AST_PREFIX}embeddings.{name}" for name in ("cls_token", "distillation_token", "position_embeddings")),
        *(f"{AST_PREFIX}encoder.layer.*.attention.{part}.{p}" for p in ("weight", "bias")
          for part in ("attention.query", "attention.key", "attention.value", "output.dense")),
        "classifier.dense.weight", "classifier.dense.bias",
    }  # fmt: skip


def test_features_are_those_of_ast(ast, ast_folder):
    model = fitted(transfer(read_weights(ast_folder), config()), config())
    source = ast.audio_spectrogram_transformer
    with torch.no_grad():
        picture = spectrogram()[:, 0].transpose(1, 2)  # (B, frames, bands), as both take it
        ours = model.stem(picture.transpose(1, 2).unsqueeze(1)).flatten(2).transpose(1, 2)
        close(ours, source.embeddings.patch_embeddings(picture))
        for block, layer in zip(model.blocks, source.layers):
            close(block.roll(tokens()), layer.mlp(tokens()))
        close(model.norm(tokens()) * 1, torch.nn.functional.layer_norm(
            tokens(), (WIDTH,), source.layernorm.weight, source.layernorm.bias, 1e-6))  # fmt: skip
        close(model.head[0](tokens()), torch.nn.functional.layer_norm(
            tokens(), (WIDTH,), ast.classifier.layernorm.weight, ast.classifier.layernorm.bias, 1e-6))  # fmt: skip


ORIGINAL = {  # the Hub's name -> the name in the checkpoints of AST's authors; query, key and value lie in one matrix there
    "embeddings.cls_token": "v.cls_token", "embeddings.distillation_token": "v.dist_token", "embeddings.position_embeddings": "v.pos_embed",
    "embeddings.patch_embeddings.projection": "v.patch_embed.proj", "layernorm_before": "norm1", "layernorm_after": "norm2",
    "intermediate.dense": "mlp.fc1", "attention.output.dense": "attn.proj",
}  # fmt: skip


def as_the_authors_name_it(tensors):
    found = {}
    for name, tensor in tensors.items():
        short = name.removeprefix(AST_PREFIX)
        if ".attention.attention." in short:
            layer, p = short.split(".")[2], short.split(".")[-1]
            parts = [tensors[f"{AST_PREFIX}encoder.layer.{layer}.attention.attention.{part}.{p}"] for part in ("query", "key", "value")]
            found[f"module.v.blocks.{layer}.attn.qkv.{p}"] = torch.cat(parts)
            continue
        for hub, original in ORIGINAL.items():
            short = short.replace(hub, original)
        short = re.sub(r"^encoder\.layer\.(\d+)\.", r"v.blocks.\1.", short).replace(".output.dense.", ".mlp.fc2.")
        short = re.sub(r"^layernorm\.", "v.norm.", short)
        short = short.replace("classifier.layernorm", "mlp_head.0").replace("classifier.dense", "mlp_head.1")
        found[f"module.{short}"] = tensor
    return found


@pytest.mark.parametrize("parallel", [True, False])
def test_ast_as_its_authors_name_it_gives_the_same(ast_folder, tmp_path, parallel):
    renamed = as_the_authors_name_it(load_file(ast_folder / "model.safetensors"))
    assert {"module.v.blocks.0.mlp.fc2.weight", "module.v.norm.bias", "module.mlp_head.0.weight"} < set(renamed)
    if not parallel:
        renamed = {name.removeprefix("module."): tensor for name, tensor in renamed.items()}
    torch.save(renamed, tmp_path / "audioset_10_10.pth")
    found, expected = transfer(read_weights(tmp_path / "audioset_10_10.pth"), config()), transfer(read_weights(ast_folder), config())
    assert found.layout == "AST, its authors' names"
    assert found.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(tensor, expected.tensors[name]) for name, tensor in found.tensors.items())
    assert {"v.cls_token", "v.blocks.1.attn.qkv.bias", "mlp_head.1.weight"} < set(found.unused)
    assert torch.equal(found.tensors["head.0.bias"], renamed["module.mlp_head.0.bias" if parallel else "mlp_head.0.bias"])
    assert "mlp_head.0.weight" not in found.unused and "head.1.weight" not in found.tensors


def test_other_namings_of_ast_give_the_same(ast, ast_folder):
    expected = transfer(read_weights(ast_folder), config())
    saved = load_file(ast_folder / "model.safetensors")
    bare = {name.removeprefix(AST_PREFIX): tensor for name, tensor in saved.items() if name.startswith(AST_PREFIX)}
    head = {"head.0.weight", "head.0.bias"}
    for tensors, missing in ((ast.state_dict(), set()), (bare, head)):
        found = transfer(weights_of(tensors), config())
        assert found.tensors.keys() == expected.tensors.keys() - missing
        assert all(torch.equal(tensor, expected.tensors[name]) for name, tensor in found.tensors.items())


# ---------------------------------------------------------------------------------------------- MLP-Mixer


def test_a_mixer_on_our_grid_gives_everything_but_its_head():
    source, settings = mixer(side=4), config(kind="asm", frontend=FrontendConfig(bands=64), frames=64)
    found = transfer(weights_of(source.state_dict()), settings)
    assert found.layout == "MLP-Mixer, timm's names" and found.adapted == {"stem.weight"}
    assert set(found.wanted) - set(found.tensors) == {f"head.{n}.{p}" for n in (0, 1) for p in ("weight", "bias")}
    assert set(found.unused) == {"head.weight", "head.bias"}
    for name in set(found.tensors) - found.adapted:
        theirs = name.replace(".token.mlp", ".mlp_tokens").replace(".channel.mlp", ".mlp_channels").replace("stem.bias", "stem.proj.bias")
        assert torch.equal(found.tensors[name], source.state_dict()[theirs]), name
    model, picture = fitted(found, settings), spectrogram(64, 64)
    with torch.no_grad():
        expected = source.forward_features(picture.expand(-1, 3, -1, -1)).mean(1)
        close(model.embed_features(picture[:, 0].transpose(1, 2)), expected)  # the whole network, not only its parts


def bilinear(grid, rows, columns):
    """A list of lists resampled between the centres of its cells, in float64, one loop per cell."""
    def mix(position, size):
        position = min(max(position, 0.0), size - 1.0)
        low = int(position)
        return low, min(low + 1, size - 1), position - low

    height, width = len(grid), len(grid[0])
    found = []
    for r in range(rows):
        top, bottom, down = mix((r + 0.5) * height / rows - 0.5, height)
        line = []
        for c in range(columns):
            left, right, along = mix((c + 0.5) * width / columns - 0.5, width)
            above = grid[top][left] * (1 - along) + grid[top][right] * along
            below = grid[bottom][left] * (1 - along) + grid[bottom][right] * along
            line.append(above * (1 - down) + below * down)
        found.append(line)
    return found


def flat(grid):
    return [value for line in grid for value in line]


@pytest.mark.parametrize("kind, first", [("asm", "token"), ("asm-rh", "hermit")])
def test_token_mlps_of_a_mixer_are_resampled_to_our_grid(kind, first):
    source = mixer(side=4).state_dict()
    found = transfer(weights_of(source), config(kind=kind))
    for i in range(2):
        theirs, ours = f"blocks.{i}.mlp_tokens", f"blocks.{i}.{first}.mlp"
        reads = [flat(bilinear(row.double().view(4, 4).tolist(), ROWS, COLUMNS)) for row in source[f"{theirs}.fc1.weight"]]
        close(found.tensors[f"{ours}.fc1.weight"], torch.tensor(reads) * (16 / 6))  # fewer tokens, each stands for more
        writes = [flat(bilinear(row.double().view(4, 4).tolist(), ROWS, COLUMNS)) for row in source[f"{theirs}.fc2.weight"].T]
        close(found.tensors[f"{ours}.fc2.weight"], torch.tensor(writes).T)
        close(found.tensors[f"{ours}.fc2.bias"], torch.tensor(flat(bilinear(source[f"{theirs}.fc2.bias"].view(4, 4).tolist(), 2, 3))))
        assert torch.equal(found.tensors[f"{ours}.fc1.bias"], source[f"{theirs}.fc1.bias"])
        assert {f"{ours}.fc1.weight", f"{ours}.fc2.weight", f"{ours}.fc2.bias"} < found.adapted
        assert f"{ours}.fc1.bias" not in found.adapted


def test_token_mlps_of_another_hidden_size_stay_new_and_the_report_says_why():
    found = transfer(weights_of(mixer(side=4).state_dict()), config(token_hidden=24))
    assert set(found.misfits) == {f"blocks.{i}.hermit.mlp.{t}" for i in range(2) for t in ("fc1.weight", "fc1.bias", "fc2.weight")}
    assert not set(found.misfits) & set(found.tensors)
    assert "does not fit: blocks.*.hermit.mlp.fc1.weight is (16, 16), here (24, 6)" in found.report()


def test_tokens_that_are_no_square_stay_new():
    tensors = mixer(side=4).state_dict()
    for i in range(2):
        sizes = {"fc1.weight": (16, 6), "fc2.weight": (6, 16), "fc2.bias": (6,)}  # as many as we have, in an order that nobody knows
        tensors |= {f"blocks.{i}.mlp_tokens.{name}": torch.zeros(size) for name, size in sizes.items()}
    found = transfer(weights_of(tensors), config())
    assert set(found.misfits) == {f"blocks.{i}.hermit.mlp.{name}" for i in range(2) for name in sizes}


# ---------------------------------------------------------------------------------------------- resampling


@pytest.mark.parametrize("size", [(2, 3), (12, 50), (14, 14), (1, 1), (7, 30)])
def test_resampling_equals_a_loop(size):
    planes = torch.randn(2, 14, 14, generator=torch.Generator().manual_seed(1))
    for plane, found in zip(planes, resample(planes, size)):
        close(found, torch.tensor(bilinear(plane.double().tolist(), *size)))


def test_weights_of_a_sum_keep_their_answer_to_an_even_input():
    planes = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(2))
    close(keep_sum(planes, (10, 14)).sum((1, 2)), planes.sum((1, 2)))
    assert keep_sum(planes, (5, 7)) is planes


@pytest.mark.parametrize("patch", [(8, 16), (8, 8), (32, 32)])
def test_a_kernel_of_another_size_is_resampled(deit, patch):
    found = transfer(weights_of(deit.state_dict()), config(patch=patch, stride=(8, 8)))
    summed = deit.patch_embed.proj.weight.detach().double().sum(1)
    expected = torch.tensor([bilinear(plane.tolist(), *patch) for plane in summed]) * (256 / (patch[0] * patch[1]))
    close(found.tensors["stem.weight"][:, 0], expected)


# ---------------------------------------------------------------------------------------------- our own


def own_folder(folder, **changes):
    torch.manual_seed(4)
    model = randomised(AudioMixer(config(**changes)))
    model.save_pretrained(folder)
    return model


def test_own_weights_of_another_depth_and_kind_keep_their_head_for_the_same_labels(tmp_path):
    source = own_folder(tmp_path, kind="asm-r", depth=1)
    found = transfer(read_weights(tmp_path), config())
    names = {name: name.replace(".hermit.", ".token.") for name, _ in AudioMixer(config()).named_parameters() if ".1." not in name}
    names |= {f"head.1.{p}": f"head.1.{p}" for p in ("weight", "bias")}
    assert set(found.tensors) == set(names) and not found.adapted and not found.unused
    assert all(torch.equal(found.tensors[ours], source.state_dict()[theirs]) for ours, theirs in names.items())


@pytest.mark.parametrize("labels", [("no", "yes"), ("yes", "maybe"), ("yes",)])
def test_the_head_begins_anew_for_other_labels(tmp_path, labels):
    own_folder(tmp_path)
    found = transfer(read_weights(tmp_path), config(labels=labels))
    assert set(found.wanted) - set(found.tensors) == {f"head.{n}.{p}" for n in (0, 1) for p in ("weight", "bias")}
    assert found.counts()["head"] == (0, 0, 2 * WIDTH + (WIDTH + 1) * len(labels)) and not found.misfits


def test_own_token_mlps_go_from_grid_to_grid_also_where_the_number_of_tokens_agrees(tmp_path):
    source = own_folder(tmp_path, frames=32, window_seconds=0.3, frontend=FrontendConfig(bands=48))  # 3 x 2 instead of 2 x 3
    found = transfer(read_weights(tmp_path), config())
    bias = source.state_dict()["blocks.0.hermit.mlp.fc2.bias"]
    close(found.tensors["blocks.0.hermit.mlp.fc2.bias"], torch.tensor(flat(bilinear(bias.view(3, 2).double().tolist(), 2, 3))))
    assert "blocks.0.hermit.mlp.fc1.weight" in found.adapted


def test_own_file_without_its_config_gives_all_but_the_head_and_what_needs_its_grid(tmp_path):
    own_folder(tmp_path)
    (tmp_path / "config.json").unlink()
    weights = read_weights(tmp_path / "model.safetensors")
    assert own_config(weights) is None
    assert not any(name.startswith("head.") for name in transfer(weights, config()).tensors)
    assert "blocks.0.hermit.mlp.fc1.weight" in transfer(weights, config()).tensors
    longer = transfer(weights, config(frames=64))
    assert "blocks.0.hermit.mlp.fc1.weight" in longer.misfits and "blocks.0.hermit.mlp.fc1.bias" in longer.tensors


def test_own_weights_of_the_hub_bring_their_config_along(tmp_path, monkeypatch):
    own_folder(tmp_path / "repo")
    alone = tmp_path / "cache" / "model.safetensors"
    alone.parent.mkdir()
    alone.write_bytes((tmp_path / "repo" / "model.safetensors").read_bytes())
    asked = []
    monkeypatch.setattr(room, "find", lambda name: asked.append(name) or Source(tmp_path / "repo"))
    weights = weights_of(load_file(alone), "some/one", alone)
    assert own_config(weights) == config() and transfer(weights, config()).share == 1
    assert set(asked) == {"some/one"}


def test_shipped_weights_are_a_source():
    weights = read_weights("asm-rh-keywords")
    settings = preset("asm-rh-keywords", labels=own_config(weights).labels)
    assert transfer(weights, settings).share == 1
    assert transfer(weights, settings.replace(labels=("bark", "meow"))).share > 0.99


def test_half_precision_becomes_float32(deit):
    half = {name: tensor.bfloat16() for name, tensor in deit.state_dict().items()}
    found = transfer(weights_of(half), config())
    assert {tensor.dtype for tensor in found.tensors.values()} == {torch.float32}
    assert torch.equal(found.tensors["norm.weight"], half["norm.weight"].float()) and found.adapted == {"stem.weight"}


# ---------------------------------------------------------------------------------------------- refusals


def test_tensors_of_no_known_network_are_refused():
    with pytest.raises(TransferError, match=r"given: its tensors \(0\.bias, 0\.weight, .*no known network; known: DeiT"):
        transfer(weights_of(torch.nn.Sequential(torch.nn.Linear(2, 2)).state_dict()), config())


def test_another_width_is_refused_with_what_to_do(deit):
    with pytest.raises(TransferError, match=r"given has width 32, this model 64: choose a preset of width 32 \(there is none\)"):
        transfer(weights_of(deit.state_dict()), config(width=64))  # though biases of the hidden layers would fit
    with pytest.raises(TransferError, match=r"ast has width 768, .* 32: choose a preset of width 768 \(asm-rh-base, asm-rh-base-1s\)"):
        transfer(ast_at_base_size(), config())


# ---------------------------------------------------------------------------------------------- the report


def ast_at_base_size():
    """Names and shapes of the AST on the Hub, tensors that take no memory."""
    d, hidden = 768, 3072
    shapes = {"embeddings.cls_token": (1, 1, d), "embeddings.distillation_token": (1, 1, d), "embeddings.position_embeddings": (1, 1214, d),
              "embeddings.patch_embeddings.projection.weight": (d, 1, 16, 16), "embeddings.patch_embeddings.projection.bias": (d,),
              "layernorm.weight": (d,), "layernorm.bias": (d,)}  # fmt: skip
    linear = {"attention.attention.query": (d, d), "attention.attention.key": (d, d), "attention.attention.value": (d, d),
              "attention.output.dense": (d, d), "intermediate.dense": (hidden, d), "output.dense": (d, hidden)}  # fmt: skip
    for i in range(12):
        for name, shape in linear.items():
            shapes |= {f"encoder.layer.{i}.{name}.weight": shape, f"encoder.layer.{i}.{name}.bias": shape[:1]}
        shapes |= {f"encoder.layer.{i}.layernorm_{at}.{p}": (d,) for at in ("before", "after") for p in ("weight", "bias")}
    head = {"layernorm.weight": (d,), "layernorm.bias": (d,), "dense.weight": (527, d), "dense.bias": (527,)}
    shapes = {AST_PREFIX + name: shape for name, shape in shapes.items()} | {f"classifier.{name}": shape for name, shape in head.items()}
    return weights_of({name: torch.empty(shape, device="meta") for name, shape in shapes.items()}, "ast")


def test_ast_gives_91_percent_of_the_papers_base_size():
    found = transfer(ast_at_base_size(), preset("asm-rh-base", labels=tuple(map(str, range(10)))))
    stem, norms, mlps = 768 * 257, (12 * 4 + 2) * 768, 12 * (2 * 768 * 3072 + 768 + 3072)
    token, classes = 12 * (2 * 600 * 384 + 600 + 384), 10 * 769
    assert found.counts() == {
        "patch embedding": (stem, 0, 0), "layer norms": (norms, 0, 0), "token MLPs": (0, 0, token), "channel MLPs": (mlps, 0, 0),
        "head": (2 * 768, 0, classes),
    }  # fmt: skip
    assert found.share == pytest.approx((stem + norms + mlps + 2 * 768) / (stem + norms + mlps + token + 2 * 768 + classes))
    assert round(found.share, 3) == 0.911
    assert sum(found.unused.values()) == 12 * 4 * (768 * 768 + 768) + (1 + 1 + 1214) * 768 + 527 * 769


def test_the_readme_shows_the_report_as_it_is_printed():
    found = transfer(ast_at_base_size(), preset("asm-rh-base", labels=tuple(map(str, range(10)))))
    assert found.report() in (ROOT / "README.md").read_text(encoding="utf-8")


def test_own_config_is_read_only_beside_own_weights(deit, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "deit"}))
    torch.save(deit.state_dict(), tmp_path / "pytorch_model.bin")
    weights = read_weights(tmp_path)
    assert own_config(weights) is None
    assert "norm.weight" in transfer(weights, config()).tensors
