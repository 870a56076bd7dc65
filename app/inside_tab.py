"""The Inside tab: why the model said what it said of one moment. Layout and wiring only."""

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder

from asm_rh import signals
from asm_rh.attribution import METHODS
from asm_rh.audio import AudioError
from asm_rh.explain import explain
from asm_rh.report import body, files

from . import analysis, insight, text
from .markup import element
from .page import PRIVATE, Page

WINNER = "the winning class"
FILES = ("report.html", "maps.npz", "summary.json")
PROOFS = {"Click at 0.50 s": signals.click, "Chirp": signals.chirp, "Two tones": signals.tones}
RATE = signals.RATE
INTRODUCTION = (
    '<p class="note">Takes the window around the moment chosen in the File tab, or a computed signal whose place is known, and measures: '
    "what each block's RollBlock moved, what its frequency mixing passed from patch to patch, and how far the score falls when each is "
    "switched off.</p>"
)


def inside_tab(page: Page, state: gr.State, moment: gr.Number) -> None:
    """Builds the tab inside the current Blocks; nothing is computed before a button is pressed."""
    handlers = InsideHandlers(page)
    gr.HTML(INTRODUCTION)
    with gr.Row(elem_classes="inside-controls"):
        go = gr.Button("Explain the moment of the File tab", variant="primary", elem_id="explain", min_width=240)
        proofs = [gr.Button(name, size="sm", min_width=110, elem_id=f"proof-{i}") for i, name in enumerate(PROOFS)]
    with gr.Row(elem_classes="inside-controls"):
        names = [(WINNER, ""), *((text.shown(label), label) for label in page.classifier.labels)]
        label = gr.Dropdown(names, value="", label="Class to explain", elem_id="explain-label", min_width=180)
        method = gr.Radio(list(METHODS), value=METHODS[0], label="Attribution", elem_id="explain-method", min_width=260)
    shown = gr.HTML(elem_id="why", elem_classes="why")
    with gr.Row(elem_classes="downloads"):
        downloads = [gr.DownloadButton(name, visible=False, size="sm", min_width=120, elem_id=f"why-{i}") for i, name in enumerate(FILES)]
    outputs, work = [shown, *downloads], {"concurrency_limit": 2, "concurrency_id": "model", **PRIVATE}
    go.click(handlers.moment, [state, moment, label, method], outputs, show_progress_on=[shown], **work)
    for button, make in zip(proofs, PROOFS.values(), strict=True):
        button.click(handlers.proof(make), [label, method], outputs, show_progress_on=[shown], **work)


class InsideHandlers:
    """The handlers of one page; they keep nothing between calls."""

    def __init__(self, page: Page):
        self.page = page

    def moment(self, result: analysis.Analysis, at: float | None, label: str, method: str):
        """Explains the window nearest to a moment of the File tab's sound."""
        number = analysis.window_near(result.scores, at or 0.0)
        start, end = float(result.scores.start[number]), float(result.scores.end[number])
        try:
            wave, rate = insight.window_at(result.request.path, start, end)
        except AudioError:
            words = "The sound is no longer on the server; give it again in the File tab to look inside."
            return [element("p", words, kind="say"), *(gr.update(visible=False) for _ in FILES)]
        return self.explained(wave, rate, start, label, method)

    def proof(self, make):
        """The handler of one computed signal's button."""

        def explain_signal(label: str, method: str):
            # Long enough for the click at half a second; what is longer than the window is cut.
            wave = make(seconds=max(1.0, self.page.config.window_seconds))[: round(RATE * self.page.config.window_seconds)]
            return self.explained(wave, RATE, 0.0, label, method)

        return explain_signal

    def explained(self, wave, rate: int, start: float, label: str, method: str):
        """The explanation as HTML, and its files as downloads."""
        found = explain(self.page.classifier, wave, rate, start, label or None, method, self.page.name)
        folder = get_upload_folder()
        paths = [save_bytes_to_cache(data, name, folder) for name, data in files(found).items()]
        return [body(found), *(gr.update(value=path, visible=True) for path in paths)]
