"""The classifier: front end, patches, mixing blocks, head. What predicts travels with the weights."""

import torch
from torch import nn
from torch.nn.functional import pad

from .activations import Switch, Tap
from .config import ConfigError, ModelConfig
from .frontends import FRONTENDS, fill_with_pause
from .mixers import KINDS

LAYER_NORM_EPS = 1e-6
POSITION_STD = 0.02


class Block(Switch, nn.Module):
    """Two mixers, each behind a layer norm and inside a residual: X + M1(LN X), then U + M2(LN U) (arXiv 2402.18007, section 3).

    Switched off, the block returns its input.
    """

    def __init__(self, config: ModelConfig, index: int):
        super().__init__()
        first, second = (mixer(config, index) for mixer in KINDS[config.kind])
        self.names = (first.name, second.name)
        self.norm1, self.norm2 = (nn.LayerNorm(config.width, LAYER_NORM_EPS) for _ in range(2))
        self.add_module(first.name, first)
        self.add_module(second.name, second)
        self.drop_path = DropPath(config.drop_path * index / max(1, config.depth - 1))
        self.out = Tap()

    def forward(self, x):
        if self.is_off:
            return self.out(x)
        first, second = (self._modules[name] for name in self.names)
        x = x + self.drop_path(first(self.norm1(x)))
        x = x + self.drop_path(second(self.norm2(x)))
        return self.out(x)


class DropPath(nn.Module):
    """Stochastic depth: in training, leaves the branch out for some clips and scales the others up to keep the mean.

    What the next calls keep can be planned, so that a batch that is computed in parts loses the same branches as one computed at once.
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate, self.planned = rate, iter(())

    def plan(self, chances) -> None:
        """Decides the next calls: one row (clips,) of numbers from 0 to 1 for each; a clip below the rate loses the branch."""
        self.planned = iter(chances)

    def forward(self, x):
        if not self.training or self.rate == 0:
            return x
        chances = next(self.planned, None)
        keep = (torch.rand(len(x)) if chances is None else chances).to(x.device) >= self.rate
        return x * (keep / (1 - self.rate)).to(x.dtype).view(-1, *[1] * (x.ndim - 1))


class MeanOverTokens(nn.Module):
    """Blocks see the patches alone; the embedding is the mean over them (arXiv 2402.18007)."""

    def add(self, x):
        """Patches (B, n, width) -> the tokens that the blocks mix."""
        return x

    def forward(self, x):
        return x.mean(1)


class ClassTokens(nn.Module):
    """AST's way, which the paper's ASM keeps: learned tokens before the patches, positions added; the embedding is the tokens' mean."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.count = config.class_tokens
        self.tokens = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, self.count, config.width), std=POSITION_STD))
        self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, config.tokens, config.width), std=POSITION_STD))

    def add(self, x):
        """Patches (B, n, width) -> (B, count + n, width)."""
        return torch.cat([self.tokens.expand(len(x), -1, -1), x], 1) + self.positions

    def forward(self, x):
        return x[:, : self.count].mean(1)


BRANCHES = 2  # of a block: so often each DropPath is called in a forward pass


def plan_drop_paths(model, chances) -> None:
    """Decides what a training model's next forward pass leaves out: chances (blocks, BRANCHES, clips) from 0 to 1."""
    for block, rows in zip(model.blocks, chances):
        block.drop_path.plan(rows)


class AudioMixer(nn.Module):
    """Waveforms to class logits, built from a ModelConfig.

    Call with (B, samples) at `config.sample_rate`, up to one window long, in [-1, 1] -> (B, classes) logits.
    """

    source = None  # the `asm_rh.checkpoint.Source` of weights that were loaded

    def __init__(self, config: ModelConfig):
        super().__init__()
        for word, value, table in (("kind", config.kind, KINDS), ("frontend", config.frontend.name, FRONTENDS)):
            if value not in table:
                raise ConfigError(f"no {word} {value!r}; available: {', '.join(table)}")
        self.config = config
        self.frontend = FRONTENDS[config.frontend.name](config.frontend, config.sample_rate)
        self.taps = nn.ModuleDict({name: Tap() for name in ("features", "patches", "embedding", "logits")})
        self.stem = nn.Conv2d(1, config.width, config.patch, config.stride)
        self.pooling = ClassTokens(config) if config.class_tokens else MeanOverTokens()
        self.blocks = nn.ModuleList(Block(config, i) for i in range(config.depth))
        self.norm = nn.LayerNorm(config.width, LAYER_NORM_EPS)
        self.head = nn.Sequential(nn.LayerNorm(config.width, LAYER_NORM_EPS), nn.Linear(config.width, len(config.labels)))

    def features(self, wave):
        """(B, samples) -> normalised (B, frames, bands), padded to the configured number of frames."""
        return self.normalise(self.frontend(wave))

    def normalise(self, features):
        """Raw front-end output (B, frames, bands) -> what the patches see: centred if configured, scaled, padded or cut."""
        settings, frames = self.config.frontend, self.config.frames
        if settings.pause:
            features = fill_with_pause(features, self.config.window_frames)
        if settings.centre:
            features = features - features.mean((1, 2), keepdim=True)
        features = (features[:, :frames] - settings.mean) / (2 * settings.std)
        return pad(features, (0, 0, 0, frames - features.shape[1]), value=settings.padding)

    def embed(self, wave):
        """(B, samples) -> (B, width): the mean over tokens behind the last layer norm."""
        return self.embed_features(self.features(wave))

    def embed_features(self, features):
        """Normalised features (B, frames, bands) -> (B, width)."""
        features = self.taps["features"](features)
        x = self.stem(features.transpose(1, 2).unsqueeze(1))  # (B, width, rows, columns)
        x = self.pooling.add(self.taps["patches"](x.flatten(2).transpose(1, 2)))  # (B, tokens, width), frequency-major
        for block in self.blocks:
            x = block(x)
        return self.taps["embedding"](self.pooling(self.norm(x)))

    def forward_features(self, features):
        """Normalised features (B, frames, bands) -> (B, classes) logits."""
        return self.taps["logits"](self.head(self.embed_features(features)))

    def forward(self, wave):
        return self.forward_features(self.features(wave))

    def probabilities(self, logits):
        """Logits -> scores in 0..1, by the configured softmax or sigmoid, in float32."""
        logits = logits.float()
        return logits.softmax(-1) if self.config.output == "softmax" else logits.sigmoid()

    @classmethod
    def from_pretrained(cls, source, revision=None, token=None, cache_dir=None, local_files_only=False, progress=None) -> "AudioMixer":
        """A model from a folder, a shipped name or a Hub id (`user/repo[@revision]`), in evaluation mode; see `asm_rh.checkpoint.load`."""
        from .checkpoint import load

        return load(source, revision, token, cache_dir, local_files_only, progress)

    def save_pretrained(self, folder) -> None:
        """Writes config.json and model.safetensors into `folder`."""
        from .checkpoint import save

        save(self, folder)

    def push_to_hub(self, repo: str, private=False, revision=None, token=None, license=None, dry_run=None):
        """Uploads the model with its card in one commit -> `user/repo@commit`; see `asm_rh.hub.push`.

        Weights that are still those of the folder they were loaded from go with what it says of them, its card, metrics and history;
        weights that were changed since go with a card that claims no scores. With `dry_run`, a new folder, it writes there what would be
        uploaded and sends nothing -> the folder.
        """
        import tempfile

        from .checkpoint import same_weights
        from .hub import parse_id, prepare, push

        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            if self.source and same_weights(self.source.folder, folder):
                folder = self.source.folder
            if dry_run is not None:
                return prepare(folder, dry_run, parse_id(repo, revision)[0], license)
            return push(folder, repo, private, revision, token, license)


def count_parameters(model: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(p.numel() for p in model.parameters())


def count_macs(config: ModelConfig) -> int:
    """Multiply-accumulates of one window through stem and blocks; the fixed Hermitian transforms are not counted."""
    patch = config.patch[0] * config.patch[1] * config.width * (config.tokens - config.class_tokens)
    token = 2 * config.tokens * config.token_hidden * config.width
    channel = 2 * config.width * config.channel_hidden * config.tokens
    return patch + config.depth * (token + channel) + config.width * len(config.labels)
