"""How the page looks: theme, style sheet, and the light/dark switch."""

from pathlib import Path

import gradio as gr

from asm_rh import look

HERE = Path(__file__).resolve().parent
FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
MONO = ("ui-monospace", "SF Mono", "Menlo", "Consolas", "monospace")
KEEP_MODE = """
try {
  const kept = localStorage.getItem("asm-rh-mode");
  if (kept) document.body.classList.toggle("dark", kept === "dark");
} catch (error) {}
"""
SWITCH_MODE = """() => {
  const dark = document.body.classList.toggle("dark");
  try { localStorage.setItem("asm-rh-mode", dark ? "dark" : "light"); } catch (error) {}
}"""


class System(gr.themes.Font):
    """A font the visitor's system has: nothing is fetched."""

    def stylesheet(self):
        return {"url": None, "css": None}


def theme() -> gr.themes.Base:
    """Calm greys, one accent, generous corners."""
    base = gr.themes.Base(
        primary_hue=gr.themes.colors.cyan, neutral_hue=gr.themes.colors.slate, radius_size=gr.themes.sizes.radius_lg,
        font=[System(name) for name in FONT], font_mono=[System(name) for name in MONO],
    )  # fmt: skip
    return base.set(
        body_background_fill="#f6f8fa", body_background_fill_dark="#0d1218",
        body_text_color="#16202b", body_text_color_dark="#e4eaf1",
        body_text_color_subdued="#566473", body_text_color_subdued_dark="#93a1b1",
        background_fill_primary="#ffffff", background_fill_primary_dark="#151c25",
        background_fill_secondary="#f1f4f7", background_fill_secondary_dark="#1b2430",
        block_background_fill="#ffffff", block_background_fill_dark="#151c25",
        border_color_primary="#dde4ea", border_color_primary_dark="#2a3542",
        block_border_color="#dde4ea", block_border_color_dark="#2a3542",
        block_shadow="none", block_label_background_fill="transparent", block_label_background_fill_dark="transparent",
        color_accent="#0e7490", link_text_color="#0e7490", link_text_color_dark="#67d8ee",
        button_primary_background_fill="#0e7490", button_primary_background_fill_dark="#4cc9e0",
        button_primary_background_fill_hover="#0b5d74", button_primary_background_fill_hover_dark="#7fdcec",
        button_primary_text_color="#ffffff", button_primary_text_color_dark="#0d1218",
        slider_color="#0e7490", slider_color_dark="#22b8d4",
        button_secondary_background_fill="#ffffff", button_secondary_background_fill_dark="#1b2430",
        button_secondary_background_fill_hover="#e8f4f7", button_secondary_background_fill_hover_dark="#22303e",
        button_secondary_border_color="#dde4ea", button_secondary_border_color_dark="#2a3542",
        input_background_fill="#ffffff", input_background_fill_dark="#10161e",
    )  # fmt: skip


def css() -> str:
    """The style sheets."""
    own = [(HERE / name).read_text(encoding="utf-8") for name in ("style.css", "live.css", "inside.css")]
    return "\n".join([look.style(), *own])


def script(name: str) -> str:
    """The browser's half of a component."""
    return (HERE / name).read_text(encoding="utf-8")
