"""Starts the page: flags -> app.ui.build() -> launch."""

import argparse
import os
from pathlib import Path

from app import zerogpu  # noqa: F401  before torch, as the package that lends GPUs wants to be
from app.ui import build, launch_settings


def default_model() -> str:
    """What ASM_RH_MODEL names, else what model.txt beside this file does, as in a Space made for one model."""
    written = Path(__file__).resolve().parent / "model.txt"
    return os.environ.get("ASM_RH_MODEL") or (written.read_text(encoding="utf-8").strip() if written.exists() else "asm-rh-keywords")


def parse(arguments=None) -> argparse.Namespace:
    """The flags of `python app.py`."""
    parser = argparse.ArgumentParser(description="The ASM-RH page: hear, see and question an audio classifier.")
    parser.add_argument("--model", default=default_model(), help="folder, shipped name or Hub id (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (GRADIO_SERVER_NAME wins)")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (GRADIO_SERVER_PORT wins)")
    parser.add_argument("--share", action="store_true", help="also open a public link through Gradio's servers")
    parser.add_argument(
        "--max-file-mb", type=float, default=200, help="largest upload in megabytes (default: %(default)s)"
    )
    parser.add_argument(
        "--max-minutes", type=float, default=120, help="longest sound in minutes (default: %(default)s)"
    )
    parser.add_argument(
        "--max-listeners", type=int, default=8, help="open microphones served at a time (default: %(default)s)"
    )
    parser.add_argument("--mcp", action="store_true", help="offer the three endpoints as tools, at /gradio_api/mcp/")
    parser.add_argument(
        "--auth", action="append", default=[], metavar="USER:PASSWORD", help="who may enter; may be repeated (default: everybody)"
    )
    parser.add_argument("--ssl-certfile", help="certificate, for https://; phones give the microphone to secure pages only")
    parser.add_argument("--ssl-keyfile", help="its private key")
    parser.add_argument("--root-path", help="path under which a proxy shows the page, such as /asm-rh (GRADIO_ROOT_PATH wins)")
    flags = parser.parse_args(arguments)
    if not all(":" in pair for pair in flags.auth):
        parser.error("--auth: expected USER:PASSWORD")
    if bool(flags.ssl_certfile) != bool(flags.ssl_keyfile):
        parser.error("--ssl-certfile and --ssl-keyfile: expected both or neither")
    return flags


if __name__ == "__main__":
    flags = parse()
    demo = build(flags.model, flags.max_file_mb, flags.max_minutes, flags.max_listeners)
    demo.launch(
        server_name=os.environ.get("GRADIO_SERVER_NAME", flags.host),
        server_port=int(os.environ.get("GRADIO_SERVER_PORT", flags.port)),
        share=flags.share,
        mcp_server=flags.mcp,
        auth=[tuple(pair.split(":", 1)) for pair in flags.auth] or None,
        ssl_certfile=flags.ssl_certfile,
        ssl_keyfile=flags.ssl_keyfile,
        ssl_verify=False,  # the page's own first request to itself, whose certificate may be home-made
        root_path=os.environ.get("GRADIO_ROOT_PATH", flags.root_path),
        **launch_settings(flags.max_file_mb),
    )
