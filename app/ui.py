"""The page: what it is made of, and how it is launched. One function per tab."""

import os

import gradio as gr

from asm_rh.classifier import Classifier

from . import about, api, theme
from .examples import example_paths
from .file_tab import file_tab
from .inside_tab import inside_tab
from .live import LiveServer
from .live_tab import live_tab
from .page import PRIVATE, Page

PROMISE = "Hear what a sound is, and see why: an audio classifier whose every step can be looked at and switched off."


def build(model: str = "asm-rh-keywords", max_file_mb: float = 200, max_minutes: float = 120, max_listeners: int = 8) -> gr.Blocks:
    """The whole page for a model (folder, shipped name or Hub id); loads it and analyses the first example."""
    # A GPU that is lent per call is no help where every window is: there the CPU does it all.
    classifier = Classifier(model, "cpu" if os.environ.get("SPACES_ZERO_GPU") else None)
    page = Page(str(model), classifier, max_file_mb, 60 * max_minutes)
    server = LiveServer(page.classifier, max_listeners)
    gr.set_static_paths(example_paths())
    with gr.Blocks(title="ASM-RH", analytics_enabled=False, delete_cache=(600, 3600)) as demo:
        header(page)
        with gr.Tabs(selected="file") as tabs:
            with gr.Tab("Live", id="live"):
                microphone = live_tab(page, server)
            with gr.Tab("File", id="file"):
                leave, result, moment = file_tab(page, tabs, live=(microphone, server))
            with gr.Tab("Inside", id="inside") as inside:
                inside_tab(page, inside, result, moment)
            with gr.Tab("About", id="about"):
                about_tab(page)
        api.endpoints(page)
        demo.unload(leave)
    return demo


def launch_settings(max_file_mb: float = 200) -> dict:
    """What `launch` needs beside the address."""
    return {
        "theme": theme.theme(),
        "css": theme.css(),
        "ssr_mode": False,
        "run_history": False,
        "footer_links": [],
        "max_file_size": f"{max_file_mb:g}mb",
        "show_error": True,
    }


def header(page: Page) -> None:
    """Name, promise, facts and the light/dark switch."""
    milliseconds = about.window_milliseconds(page.classifier)
    with gr.Row(elem_classes="head"):
        gr.HTML(f"<h1>ASM-RH</h1><p>{PROMISE}</p>", elem_classes="head-words", js_on_load=theme.KEEP_MODE)
        mode = gr.Button("Light / dark", size="sm", elem_classes="mode", min_width=110, scale=0)
    gr.HTML(about.status(page.name, page.classifier, page.hop_seconds, milliseconds))
    mode.click(None, js=theme.SWITCH_MODE, **PRIVATE)


def about_tab(page: Page) -> None:
    """The model's configuration and its card."""
    gr.HTML(about.table(page.name, page.classifier.model), elem_classes="card")
    card = about.card(page.source)
    if card:
        gr.Markdown(card, elem_classes=["card", "model-card"])
