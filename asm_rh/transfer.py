"""A start from the weights of another network: what fits is copied, what can be adapted is adapted, the rest begins anew.

The paper's "-I" is a start from DeiT (ImageNet), its "-A" one from AST (AudioSet).
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.nn.functional import interpolate

from .checkpoint import CONFIG_FILE, find, read_config
from .config import PRESETS, ModelConfig, preset
from .mixers import KINDS
from .model import AudioMixer
from .weight_files import TransferError, WeightFile

FATES = ("copied", "adapted", "new")
COLOURS = {"sum": (1.0, 1.0, 1.0), "grey": (0.299, 0.587, 0.114)}  # grey: ITU-R BT.601's shares of red, green and blue
ROLES = {mixer.name: role for pair in KINDS.values() for mixer, role in zip(pair, ("token", "channel"))}
PARTS = {"i": r"\d+", "p": "weight|bias", "fc": "fc1|fc2", "n": r"\d+"}
GROUPS = {
    "patch embedding": r"stem\.", "layer norms": r"(blocks\.\d+\.)?norm\d?\.", "token MLPs": r"blocks\.\d+\.token\.",
    "channel MLPs": r"blocks\.\d+\.channel\.", "head": r"head\.",
}  # fmt: skip


# ---------------------------------------------------------------------------------------------- adaptations


@dataclass(frozen=True)
class Fit:
    """What an adaptation may ask for; `grid` is the source's (rows, columns) of patches, None where nobody can know."""

    ours: ModelConfig
    grid: tuple[int, int] | None
    same_labels: bool
    colours: tuple[float, float, float]


def as_is(tensor, shape, fit):
    """The tensor where its shape is the wanted one, else None."""
    return tensor if tensor.shape == shape else None


def labelled(tensor, shape, fit):
    """The tensor where both networks name the same labels in the same order, else None."""
    return as_is(tensor, shape, fit) if fit.same_labels else None


def kernel(tensor, shape, fit):
    """A patch kernel (D, colours, h, w) -> (D, 1, h', w'): colours added up by their shares, then resampled bilinearly.

    Added up plainly, the answer to a spectrogram is what the source says to it in all its channels.
    """
    if tensor.shape == shape:
        return tensor
    if tensor.ndim != 4 or len(tensor) != shape[0] or tensor.shape[1] not in (1, 3):
        return None
    if tensor.shape[1] == 3:
        tensor = (tensor * tensor.new_tensor(fit.colours).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return keep_sum(tensor.squeeze(1), shape[2:]).unsqueeze(1)


def token_columns(tensor, shape, fit):
    """A matrix (hidden, tokens) that reads tokens, its columns resampled from grid to grid."""
    if _same_grid(tensor, shape, fit):
        return tensor
    if fit.ours.class_tokens or fit.grid is None or tensor.shape != (shape[0], math.prod(fit.grid)):
        return None
    return keep_sum(tensor.unflatten(1, fit.grid), fit.ours.grid).flatten(1)


def token_rows(tensor, shape, fit):
    """A matrix (tokens, hidden) or a bias (tokens,) that writes tokens, its rows resampled from grid to grid."""
    if _same_grid(tensor, shape, fit):
        return tensor
    if fit.ours.class_tokens or fit.grid is None or tensor.shape != (math.prod(fit.grid), *shape[1:]):
        return None
    planes = tensor.reshape(*fit.grid, -1).permute(2, 0, 1)
    return resample(planes, fit.ours.grid).permute(1, 2, 0).reshape(shape)


def _same_grid(tensor, shape, fit):
    return tensor.shape == shape and fit.grid in (None, fit.ours.grid)


def resample(planes, size):
    """(n, rows, columns) -> (n, *size), bilinear between the centres of the cells, level beyond the outermost."""
    return interpolate(planes.unsqueeze(1), size=tuple(size), mode="bilinear", align_corners=False).squeeze(1)


def keep_sum(planes, size):
    """`resample` for weights of a sum over the cells: scaled by the number of cells, so that an even input gives about the same sum."""
    if planes.shape[1:] == tuple(size):
        return planes
    return resample(planes, size) * (math.prod(planes.shape[1:]) / math.prod(size))


# ---------------------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class Layout:
    """How one family of networks names its tensors: rows of (our name, its name, adaptation), in each of which {i}, {p} ... agree.

    Our names are canonical: `token` and `channel` stand for whatever the kind's mixers are called. `prefix` stands before its names, though
    not before those of its `head`. `square` says that its tokens are a square grid of patches.
    """

    name: str
    prefix: str
    rows: tuple[tuple[str, str, Callable], ...]
    square: bool = False
    head: tuple[tuple[str, str, Callable], ...] = ()

    def names(self, tensors) -> bool:
        """Whether the tensors are named so: every row has its tensors in the first block; heads may be missing."""
        values = {"i": "0", "p": "weight", "fc": "fc1"}
        return all(self.prefix + theirs.format_map(values) in tensors for ours, theirs, _ in self.rows if not ours.startswith("head."))

    def source_of(self, name) -> tuple[str, Callable] | None:
        """The source's name of our canonical tensor and its adaptation, None where it has none."""
        for prefix, rows in ((self.prefix, self.rows), ("", self.head)):
            for ours, theirs, adapt in rows:
                if found := _pattern(ours).fullmatch(name):
                    return prefix + theirs.format_map(found.groupdict()), adapt
        return None


def _pattern(name):
    return re.compile(re.sub(r"\\{(\w+)\\}", lambda found: f"(?P<{found[1]}>{PARTS[found[1]]})", re.escape(name)))


_TRANSFORMER = (
    ("stem.weight", "patch_embed.proj.weight", kernel),
    ("stem.bias", "patch_embed.proj.bias", as_is),
    ("blocks.{i}.norm1.{p}", "blocks.{i}.norm1.{p}", as_is),
    ("blocks.{i}.norm2.{p}", "blocks.{i}.norm2.{p}", as_is),
    ("blocks.{i}.channel.mlp.{fc}.{p}", "blocks.{i}.mlp.{fc}.{p}", as_is),
    ("norm.{p}", "norm.{p}", as_is),
)
_AST_HUB = (
    ("stem.weight", "embeddings.patch_embeddings.projection.weight", kernel),
    ("stem.bias", "embeddings.patch_embeddings.projection.bias", as_is),
    ("blocks.{i}.norm1.{p}", "encoder.layer.{i}.layernorm_before.{p}", as_is),
    ("blocks.{i}.norm2.{p}", "encoder.layer.{i}.layernorm_after.{p}", as_is),
    ("blocks.{i}.channel.mlp.fc1.{p}", "encoder.layer.{i}.intermediate.dense.{p}", as_is),
    ("blocks.{i}.channel.mlp.fc2.{p}", "encoder.layer.{i}.output.dense.{p}", as_is),
    ("norm.{p}", "layernorm.{p}", as_is),
)
_AST_MEMORY = (
    ("stem.weight", "embeddings.patch_embeddings.projection.weight", kernel),
    ("stem.bias", "embeddings.patch_embeddings.projection.bias", as_is),
    ("blocks.{i}.norm1.{p}", "layers.{i}.layernorm_before.{p}", as_is),
    ("blocks.{i}.norm2.{p}", "layers.{i}.layernorm_after.{p}", as_is),
    ("blocks.{i}.channel.mlp.{fc}.{p}", "layers.{i}.mlp.{fc}.{p}", as_is),
    ("norm.{p}", "layernorm.{p}", as_is),
)
_AST_HEAD = (("head.0.{p}", "classifier.layernorm.{p}", as_is),)  # of AST's 527 classes behind it, none is ours
_MIXER = (
    ("stem.weight", "stem.proj.weight", kernel),
    ("stem.bias", "stem.proj.bias", as_is),
    ("blocks.{i}.norm1.{p}", "blocks.{i}.norm1.{p}", as_is),
    ("blocks.{i}.norm2.{p}", "blocks.{i}.norm2.{p}", as_is),
    ("blocks.{i}.token.mlp.fc1.weight", "blocks.{i}.mlp_tokens.fc1.weight", token_columns),
    ("blocks.{i}.token.mlp.fc1.bias", "blocks.{i}.mlp_tokens.fc1.bias", as_is),
    ("blocks.{i}.token.mlp.fc2.{p}", "blocks.{i}.mlp_tokens.fc2.{p}", token_rows),
    ("blocks.{i}.channel.mlp.{fc}.{p}", "blocks.{i}.mlp_channels.{fc}.{p}", as_is),
    ("norm.{p}", "norm.{p}", as_is),
)
_OWN = (
    ("stem.weight", "stem.weight", kernel),
    ("stem.bias", "stem.bias", as_is),
    ("blocks.{i}.norm1.{p}", "blocks.{i}.norm1.{p}", as_is),
    ("blocks.{i}.norm2.{p}", "blocks.{i}.norm2.{p}", as_is),
    ("blocks.{i}.token.mlp.fc1.weight", "blocks.{i}.token.mlp.fc1.weight", token_columns),
    ("blocks.{i}.token.mlp.fc1.bias", "blocks.{i}.token.mlp.fc1.bias", as_is),
    ("blocks.{i}.token.mlp.fc2.{p}", "blocks.{i}.token.mlp.fc2.{p}", token_rows),
    ("blocks.{i}.channel.mlp.{fc}.{p}", "blocks.{i}.channel.mlp.{fc}.{p}", as_is),
    ("norm.{p}", "norm.{p}", as_is),
    ("head.{n}.{p}", "head.{n}.{p}", labelled),
)
OWN = Layout("ASM-RH and its relatives", "", _OWN)
LAYOUTS = (
    Layout("DeiT or ViT, timm's names", "", _TRANSFORMER),
    Layout("AST, its authors' names", "v.", _TRANSFORMER, head=(("head.0.{p}", "mlp_head.0.{p}", as_is),)),
    Layout("AST, the Hub's names", "audio_spectrogram_transformer.", _AST_HUB, head=_AST_HEAD),
    Layout("AST without its head, the Hub's names", "", _AST_HUB),
    Layout("AST, transformers 5's names in memory", "audio_spectrogram_transformer.", _AST_MEMORY, head=_AST_HEAD),
    Layout("MLP-Mixer, timm's names", "", _MIXER, square=True),
    OWN,
)


def canonical(name: str) -> str:
    """Our tensor's name with `token` and `channel` for the mixers of whatever kind."""
    return ".".join(ROLES.get(part, part) for part in name.split("."))


def layout_of(tensors, name: str) -> Layout:
    """The layout whose names the tensors bear; raises TransferError for none."""
    for layout in LAYOUTS:
        if layout.names(tensors):
            return layout
    known = "; ".join(layout.name for layout in LAYOUTS)
    raise TransferError(f"{name}: its tensors ({', '.join(sorted(tensors)[:3])}, ...) bear names of no known network; known: {known}")


# ---------------------------------------------------------------------------------------------- the transfer


@dataclass
class Transfer:
    """What goes from a source into a model: `tensors` by our name; of these, `adapted` were changed.

    `wanted` and `unused` count the numbers of every tensor of ours, and of the source's that had no use; `misfits` are ours whose
    counterpart has an unfit shape: {our name: (shape there, shape here)}.
    """

    source: str
    layout: str
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    adapted: set[str] = field(default_factory=set)
    wanted: dict[str, int] = field(default_factory=dict)
    unused: dict[str, int] = field(default_factory=dict)
    misfits: dict[str, tuple] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """The share of our parameters that were copied or adapted, 0 to 1.

        Every parameter of our model counts, the new token MLPs and head with them; the source's attention, positions and class tokens
        count nowhere. So counted, AST and DeiT give 91 % of the paper's base size: stem, layer norms and channel MLPs.
        """
        return sum(self.wanted[name] for name in self.tensors) / sum(self.wanted.values())

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """{group of tensors: numbers copied, adapted, new}."""
        found = {group: [0, 0, 0] for group in GROUPS}
        for name, size in self.wanted.items():
            fate = 2 if name not in self.tensors else int(name in self.adapted)
            found[next(group for group, pattern in GROUPS.items() if re.match(pattern, canonical(name)))][fate] += size
        return {group: tuple(sizes) for group, sizes in found.items()}

    def report(self) -> str:
        """The counts as a table, what was of no use, and the share, for people."""
        lines = [f"start from {self.source} ({self.layout})", f"{'parameters':<18}" + "".join(f"{w:>12}" for w in FATES)]
        lines += [f"{group:<18}" + "".join(f"{size:>12,}" for size in sizes) for group, sizes in self.counts().items()]
        lines += [f"does not fit: {name} is {there}, here {here}" for name, (there, here) in _alike(self.misfits).items()]
        lines += [f"unused: {name} ({size:,})" for name, size in _added_up(self.unused).items()]
        return "\n".join([*lines, f"{self.share:.1%} of {sum(self.wanted.values()):,} parameters were copied or adapted"])


def transfer(weights: WeightFile, config: ModelConfig, colours: str = "sum") -> Transfer:
    """Everything in `weights` that a model of this configuration can use, adapted where it must be.

    A block takes from the block of the same number; blocks that the source lacks begin anew. Raises TransferError for tensors of no known
    network, and for another width, at which only biases could fit.
    """
    if colours not in COLOURS:
        raise TransferError(f"colours={colours!r}: expected one of {', '.join(COLOURS)}")
    layout = layout_of({canonical(name) for name in weights.tensors}, weights.name)
    theirs = {canonical(name): name for name in weights.tensors}
    found, used = Transfer(weights.name, layout.name), set()
    fit = _fit(weights, layout, config, colours)
    _check_width(len(weights.tensors[theirs[layout.source_of("norm.weight")[0]]]), weights.name, config)
    for name, tensor in _parameters(config):
        found.wanted[name] = tensor.numel()
        source, adapt = layout.source_of(canonical(name)) or (None, None)
        if source not in theirs:
            continue
        given = weights.tensors[theirs[source]].to(tensor.dtype)
        taken = adapt(given, tensor.shape, fit)
        if taken is not None:
            found.tensors[name] = taken.contiguous()
            used.add(theirs[source])
            if taken is not given:
                found.adapted.add(name)
        elif adapt is not labelled:
            found.misfits[name] = tuple(given.shape), tuple(tensor.shape)
    found.unused = {name: t.numel() for name, t in weights.tensors.items() if name not in used}
    return found


def _check_width(width, name, config):
    if width != config.width:
        presets = ", ".join(known for known in PRESETS if preset(known).width == width) or "there is none"
        raise TransferError(f"{name} has width {width}, this model {config.width}: choose a preset of width {width} ({presets})")


def own_config(weights: WeightFile) -> ModelConfig | None:
    """The configuration of weights of our own, None for those of others and for a file with no config.json beside it."""
    if not OWN.names({canonical(name) for name in weights.tensors}):
        return None
    if (weights.path.parent / CONFIG_FILE).is_file():
        return read_config(weights.path.parent)
    return None if Path(weights.name).exists() else read_config(find(weights.name).folder)  # from the Hub only the weights came


def is_same_model(one: ModelConfig | None, other: ModelConfig) -> bool:
    """Whether weights of one are whole weights of the other: all settings agree, except from which score an event is reported."""
    return one is not None and one.replace(threshold=0.5) == other.replace(threshold=0.5)


def _fit(weights, layout, config, colours):
    other = own_config(weights)
    grid = other.grid if other else _square(weights, layout) if layout.square else None
    return Fit(config, grid, other is not None and other.labels == config.labels, COLOURS[colours])


def _square(weights, layout):
    """The square grid of patches that a Mixer's tokens are; where they are none, no token MLP has its size, and all of them stay new."""
    source, _ = layout.source_of("blocks.0.token.mlp.fc1.weight")
    side = math.isqrt(weights.tensors[source].shape[-1])
    return side, side


def _parameters(config):
    with torch.device("meta"):  # names and shapes; no memory is taken
        return list(AudioMixer(config).named_parameters())


def _alike(found):
    """One entry for tensors that differ in the block's number alone."""
    alike = {}
    for name, value in found.items():
        alike.setdefault(_any_block(name), value)
    return alike


def _added_up(sizes):
    """Sizes added over blocks, and over the weight and the bias of one layer."""
    sums = {}
    for name, size in sizes.items():
        layer = _any_block(re.sub(r"\.(weight|bias)$", "", name))
        sums[layer] = sums.get(layer, 0) + size
    return sums


def _any_block(name):
    return re.sub(r"\.\d+\.", ".*.", name, count=1)
