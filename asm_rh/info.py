"""What a model is, in numbers and words."""

from dataclasses import asdict
from pathlib import Path

import torch

from .checkpoint import CheckpointError, find, read_config
from .config import PRESETS, ModelConfig, preset
from .model import AudioMixer, count_macs, count_parameters


def describe(source) -> dict:
    """Facts of a folder, shipped name, Hub id or preset: origin, kind, sizes, labels, front end, parameters, GMAC per window."""
    found = None
    if str(source) in PRESETS and not _has_weights(source):
        config = preset(str(source))
    else:
        try:
            found = find(source)
        except CheckpointError as error:
            raise CheckpointError(f"{error}; presets: {', '.join(PRESETS)}") from error
        config = read_config(found.folder)
    origin = {"repo": found and found.repo, "commit": found and found.commit}
    return {"model": str(source), "weights": found is not None, **origin, **facts(config)}


def facts(config: ModelConfig) -> dict:
    """The same from a configuration alone."""
    with torch.device("meta"):
        parameters = count_parameters(AudioMixer(config))
    return {
        "kind": config.kind, "roll": config.roll, "hermit": config.hermit, "output": config.output,
        "depth": config.depth, "width": config.width, "tokens": config.tokens, "grid": list(config.grid),
        "patch": list(config.patch), "stride": list(config.stride), "frames": config.frames,
        "token_hidden": config.token_hidden, "channel_hidden": config.channel_hidden,
        "window_seconds": config.window_seconds, "sample_rate": config.sample_rate, "threshold": config.threshold,
        "parameters": parameters, "gmac": count_macs(config) / 1e9,
        "labels": list(config.labels), "frontend": asdict(config.frontend),
    }  # fmt: skip


def describe_text(found: dict) -> str:
    """`describe` for people."""
    rows, columns = found["grid"]
    front = found["frontend"]
    lines = [
        f"{found['model']}" + ("" if found["weights"] else "  (preset: sizes only, no weights)"),
        *([f"  from        {found['repo']} at commit {found['commit']}"] if found["repo"] else []),
        f"  kind        {found['kind']}, roll {found['roll']}, hermit {found['hermit']}, {found['output']}",
        f"  sizes       {found['depth']} blocks, width {found['width']}, {found['tokens']} tokens "
        f"({rows} in frequency x {columns} in time), "
        f"hidden {found['token_hidden']} / {found['channel_hidden']}",
        f"  window      {found['window_seconds']} s at {found['sample_rate']} Hz, "
        f"patches {_by(found['patch'])} every {_by(found['stride'])} (bands x frames)",
        f"  front end   {front['name']}: {front['bands']} bands, {front['low_hz']:.0f} to {front['high_hz']:.0f} Hz, "
        f"{front['frame_seconds'] * 1000:.0f} ms every {front['hop_seconds'] * 1000:.0f} ms"
        + (", each window centred" if front["centre"] else ""),
        f"  parameters  {found['parameters']:,}",
        f"  work        {found['gmac']:.3f} GMAC a window",
        f"  labels      {len(found['labels'])}: {', '.join(found['labels'])}",
    ]
    return "\n".join(lines)


def _by(pair):
    return f"{pair[0]} x {pair[1]}"


def _has_weights(source):
    from .checkpoint import shipped_models

    return str(source) in shipped_models() or Path(source).is_dir()
