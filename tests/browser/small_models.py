"""Small models with random weights, other labels and other windows, and a Hub on this machine that hands them out as slowly as asked."""

import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import torch
from hub_server import Handler, Hub, Server

from asm_rh.config import FrontendConfig, ModelConfig
from asm_rh.model import AudioMixer

SMALL = dict(
    frames=48, patch=(16, 16), stride=(16, 16), width=32, depth=2, token_hidden=16, channel_hidden=32, frontend=FrontendConfig(bands=32),
    window_seconds=0.5, roll="grid",
)  # fmt: skip
OWLS = dict(labels=("barn_owl", "tawny_owl", "_silence_"), threshold=0.4)
BATS = dict(labels=("noctule", "pipistrelle", "serotine", "long_eared", "_noise_"), threshold=0.3, depth=1)
LARGE = dict(labels=("left", "right"), width=512, channel_hidden=1536, depth=4)  # 25 MB: the client tells of every 10


def files(seed: int = 0, card: str = "", **changes) -> dict[str, bytes]:
    """What a repository with such a model holds, name -> bytes."""
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        AudioMixer(ModelConfig(**{**SMALL, **changes})).save_pretrained(folder)
        found = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    return {**found, **({"README.md": card.encode()} if card else {})}


class Slow(Handler):
    """Sends weights in pieces, with a pause before each while the server's `gate` is closed."""

    def send(self, status, data, headers, **options):
        if self.command != "GET" or not self.path.endswith(".safetensors"):
            return super().send(status, data, headers, **options)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        for start in range(0, len(data), self.server.piece_bytes):
            if start and not self.server.gate.is_set():
                self.server.gate.wait(self.server.pause_seconds)
            self.wfile.write(data[start : start + self.server.piece_bytes])
            self.wfile.flush()
        return None


@contextmanager
def slow_hub():
    """A running Hub -> (Hub, its address, its server): `server.gate` is open until a test clears it."""
    server = Server(("127.0.0.1", 0), Slow)
    server.hub, server.gate, server.piece_bytes, server.pause_seconds = Hub(), threading.Event(), 2**20, 0.3
    server.gate.set()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.hub, f"http://127.0.0.1:{server.server_port}", server
    finally:
        server.gate.set()
        time.sleep(0.1)
        server.shutdown()
        server.server_close()
