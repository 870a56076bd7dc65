"""The page: what it is made of, and how it is launched. One function per tab."""

import gradio as gr

from asm_rh.classifier import Classifier

from . import about, api, theme, zerogpu
from .examples import example_paths
from .file_tab import file_tab
from .inside_tab import inside_tab
from .live import LiveServer
from .live_tab import live_tab
from .model_box import model_box
from .models import OWN, Allowed, Loaded, Models
from .page import PRIVATE, Page

MOST_WAITING = 100  # events in the queue; one more is told that it is full
PROMISE = "Hear what a sound is, and see why: an audio classifier whose every step can be looked at and switched off."


def build(model: str = "asm-rh-keywords", max_file_mb: float = 200, max_minutes: float = 120, max_listeners: int = 8) -> gr.Blocks:
    """The whole page for a model (folder, shipped name or Hub id); loads it and analyses the first example."""
    # A GPU that is lent per call is no help where every window is: there the CPU does it all.
    device = "cpu" if zerogpu.is_lent() else None
    models = Models(Loaded.own(str(model), Classifier(model, device)), Allowed.read(), str(model), device=device)
    page = Page(models, models.own, max_file_mb, 60 * max_minutes)
    server = LiveServer(models, max_listeners)
    gr.set_static_paths(example_paths())
    with gr.Blocks(title="ASM-RH", analytics_enabled=False, delete_cache=(600, 3600)) as demo:
        model = gr.State(OWN)
        header()
        model_box(page, model)
        with gr.Tabs(selected="file") as tabs:
            with gr.Tab("Live", id="live"):
                microphone = live_tab(page, model, server)
            with gr.Tab("File", id="file"):
                leave, result, moment = file_tab(page, model, tabs, live=(microphone, server))
            with gr.Tab("Inside", id="inside") as inside:
                inside_tab(page, model, inside, result, moment)
            with gr.Tab("About", id="about"):
                about_tab(page, model)
        api.endpoints(page)
        demo.unload(leave)
    return demo.queue(max_size=MOST_WAITING)


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


def header() -> None:
    """Name, promise and the light/dark switch."""
    with gr.Row(elem_classes="head"):
        gr.HTML(f"<h1>ASM-RH</h1><p>{PROMISE}</p>", elem_classes="head-words", js_on_load=theme.KEEP_MODE)
        mode = gr.Button("Light / dark", size="sm", elem_classes="mode", min_width=110, scale=0)
    mode.click(None, js=theme.SWITCH_MODE, **PRIVATE)


def about_tab(page: Page, model: gr.State) -> None:
    """The model's configuration and its card."""
    words = about.card(page.loaded.source)
    table = gr.HTML(about.table(page), elem_classes="card")
    card = gr.Markdown(words, visible=bool(words), elem_classes=["card", "model-card"])
    model.change(lambda key: about_words(page.of(key)), model, [table, card], queue=False, show_progress="hidden", **PRIVATE)


def about_words(page: Page) -> list:
    """The two parts of the tab for another model."""
    words = about.card(page.loaded.source)
    return [about.table(page), gr.update(value=words, visible=bool(words))]
