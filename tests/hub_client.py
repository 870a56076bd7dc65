"""Runs on its own: reads cases as JSON from standard input, drives the real client through them, writes what came of each.

A case is a list of steps [action, arguments]; cases run side by side, their steps one after the other.
"""

import hashlib
import json
import os
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from asm_rh import hub
from asm_rh.checkpoint import load
from asm_rh.info import describe, describe_text
from asm_rh.model import AudioMixer
from asm_rh.transfer import own_config
from asm_rh.weight_files import HUB_IDS, read_weights


def requests():
    try:
        with urllib.request.urlopen(f"{os.environ['HF_ENDPOINT']}/control/requests", timeout=5) as answer:
            return json.load(answer)
    except OSError:
        return []


def fingerprint(model):
    """One hash of every bit of the weights."""
    parts = [name.encode() + tensor.numpy().tobytes() for name, tensor in sorted(model.state_dict().items())]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def do_load(source, **options):
    model = load(source, **options)
    return {"weights": fingerprint(model), "commit": model.source.commit, "repo": model.source.repo, "folder": str(model.source.folder)}


def do_pretrained(source, **options):
    return {"weights": fingerprint(AudioMixer.from_pretrained(source, **options))}


def do_progress(source):
    """[bytes there, bytes in all, seconds since the beginning] at every call, and how long it took."""
    began, told = time.monotonic(), []
    load(source, progress=lambda done, total: told.append([done, total, time.monotonic() - began]))
    return {"told": told, "seconds": time.monotonic() - began}


def do_give_up(source):
    """A download that its own progress ends."""
    def progress(done, total):
        raise InterruptedError("enough")

    load(source, progress=progress)


def do_weights(source):
    """Weights of others: {name: numbers}, and whether they brought a configuration of ours."""
    found = read_weights(source)
    tensors = {name: tensor.tolist() for name, tensor in found.tensors.items() if tensor.numel() < 100}
    return {"tensors": tensors, "file": found.path.name, "commit": found.path.parent.name, "ours": own_config(found) is not None}


def do_info(source):
    found = describe(source)
    return {"repo": found["repo"], "commit": found["commit"], "text": describe_text(found)}


def do_push(source, repo, **options):
    return hub.push(source, repo, **options)


def do_push_model(source, repo, **options):
    return str(load(source).push_to_hub(repo, **options))


def do_damage(repo, name):
    """What a failing disk does to every cached copy of a file."""
    folder = Path(os.environ["HF_HOME"]) / "hub" / f"models--{repo.replace('/', '--')}" / "snapshots"
    for path in folder.glob(f"*/{name}"):
        blob = path.resolve()
        blob.write_bytes(bytes([blob.read_bytes()[0] ^ 1]) + blob.read_bytes()[1:])


def do_forget(repo, name):
    """Takes a file out of every snapshot, as if it had never been downloaded."""
    for path in (Path(os.environ["HF_HOME"]) / "hub" / f"models--{repo.replace('/', '--')}" / "snapshots").glob(f"*/{name}"):
        path.unlink()


def step(action, arguments):
    began, before = time.monotonic(), len(requests())
    try:
        found = {"value": globals()[f"do_{action}"](**arguments)}
    except Exception as error:
        found = {"error": str(error), "type": type(error).__name__}
    words = [str(arguments.get(name, "")).partition("@")[0] for name in ("source", "repo")]
    words = [HUB_IDS.get(word, word) for word in words]
    mine = [line for line in requests()[before:] if any(word and f"/{word}/" in line for word in words)]
    return {**found, "seconds": time.monotonic() - began, "requests": mine}


def main():
    torch.set_num_threads(1)
    cases = json.load(sys.stdin)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda steps: [step(*one) for one in steps], cases.values()))
    json.dump(dict(zip(cases, results)), sys.stdout)


if __name__ == "__main__":
    main()
