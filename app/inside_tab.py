"""The Inside tab: why the model said what it said of one moment. Layout and wiring only."""

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder

from asm_rh import look, signals
from asm_rh.attribution import METHODS
from asm_rh.audio import AudioError
from asm_rh.checkpoint import CheckpointError
from asm_rh.explain import explain
from asm_rh.markup import element
from asm_rh.report import files

from . import analysis, text
from .page import PRIVATE, Page
from .zerogpu import file_sized

WINNER = "the winning class"
FILES = ("report.html", "maps.npz", "summary.json")
PROOFS = {"Click at 0.50 s": signals.click, "Chirp": signals.chirp, "Two tones": signals.tones}
RATE = signals.RATE
LENT_SECONDS = 30.0
INTRODUCTION = (
    '<p class="note">Takes the window around the moment chosen in the File tab, or a computed signal whose place is known, and measures: '
    "what each block's RollBlock moved, what its frequency mixing passed from patch to patch, and how far the score falls when each is "
    "switched off. The report is the same page as a file.</p>"
)
GONE = "The sound is no longer on the server; give it again in the File tab to look inside."
CHANGED = "Another model was loaded: press the button to explain the moment with it, or take a computed signal."
ATTACH = "lookInside(element);"


def inside_tab(page: Page, model: gr.State, tab: gr.Tab, state: gr.State, moment: gr.Number) -> None:
    """Builds the tab inside the current Blocks; nothing is computed before it is opened or a button is pressed."""
    handlers = InsideHandlers(page)
    gr.HTML(INTRODUCTION)
    with gr.Row(elem_classes="inside-controls"):
        go = gr.Button("Explain the File tab's moment", variant="primary", elem_id="explain", min_width=240)
        proofs = [gr.Button(name, size="sm", min_width=110, elem_id=f"proof-{i}") for i, name in enumerate(PROOFS)]
    with gr.Row(elem_classes="inside-controls"):
        label = gr.Dropdown(choices(page), value="", label="Class to explain", elem_id="explain-label", min_width=280)
        method = gr.Radio(list(METHODS), value=METHODS[0], label="Attribution", elem_id="explain-method", min_width=280)
    shown = gr.HTML(elem_id="why", elem_classes="why", js_on_load=look.script() + ATTACH)
    with gr.Row(elem_classes="downloads"):
        downloads = [gr.DownloadButton(name, visible=False, size="sm", min_width=120, elem_id=f"why-{i}") for i, name in enumerate(FILES)]
    seen = gr.State(None)
    # One at a time, in their order: what was asked last is what stays.
    outputs, work = [shown, *downloads, seen], {"concurrency_limit": 1, "concurrency_id": "inside", **PRIVATE}
    asked = [state, moment, label, method]
    go.click(handlers.moment, asked, outputs, show_progress_on=[shown], **work)
    tab.select(handlers.opened, [*asked, seen], outputs, show_progress_on=[shown], **work)
    for button, make in zip(proofs, PROOFS.values(), strict=True):
        button.click(handlers.proof(make), [label, method, model], outputs, show_progress_on=[shown], **work)
    model.change(handlers.model_changed, model, [label, *outputs], queue=False, show_progress="hidden", **PRIVATE)


def choices(page: Page) -> list[tuple[str, str]]:
    """(words, label) of what can be explained."""
    return [(WINNER, ""), *((text.shown(label), label) for label in page.classifier.labels)]


@file_sized(lambda *_: LENT_SECONDS)
def explained(classifier, wave, rate: int, start: float, label: str | None, method: str, name: str) -> tuple[str, dict[str, bytes]]:
    """One window explained: the view as HTML, and its files."""
    found = explain(classifier, wave, rate, start, label, method, name)
    view = look.body(found)
    return view, files(found, view)


class InsideHandlers:
    """The handlers of one page; they keep nothing between calls."""

    def __init__(self, page: Page):
        self.page = page

    def opened(self, result: analysis.Analysis, at: float | None, label: str, method: str, seen):
        """Explains the moment of the File tab, unless it is what the tab already shows."""
        return [gr.skip()] * (2 + len(FILES)) if seen == _asked(result, at) else self.moment(result, at, label, method)

    def moment(self, result: analysis.Analysis, at: float | None, label: str, method: str):
        """Explains the window nearest to a moment of the File tab's sound."""
        try:
            number = analysis.window_near(result.scores, at or 0.0)
            middle = float(result.scores.start[number] + result.scores.end[number]) / 2
            page = self.page.of(result.request.model)
            start, wave, rate = page.classifier.window_at(result.request.path, middle, result.hop_seconds)
        except AudioError:
            return empty(GONE)
        except CheckpointError as error:
            return empty(str(error))
        return self.explained(page, wave, rate, start, label, method, _asked(result, at))

    def proof(self, make):
        """The handler of one computed signal's button."""

        def explain_signal(label: str, method: str, model: str):
            page = self.page.of(model)
            # Long enough for the click at half a second; what is longer than the window is cut.
            wave = make(seconds=max(1.0, page.config.window_seconds))[: round(RATE * page.config.window_seconds)]
            return self.explained(page, wave, RATE, 0.0, label, method, None)

        return explain_signal

    def model_changed(self, model: str):
        """The classes of another model; what was explained is gone with the one it was about."""
        return [gr.update(choices=choices(self.page.of(model)), value=""), *empty(CHANGED)]

    def explained(self, page: Page, wave, rate: int, start: float, label: str, method: str, asked):
        """The explanation as HTML, its files as downloads, and what was asked."""
        # The File tab's result may be one model behind, and then the class is not its own.
        label = label if label in page.classifier.labels else None
        view, documents = explained(page.classifier, wave, rate, start, label, method, page.name)
        paths = [save_bytes_to_cache(data, name, get_upload_folder()) for name, data in documents.items()]
        return [view, *(gr.update(value=path, visible=True) for path in paths), asked]


def empty(words: str) -> list:
    """A tab that shows nothing but a line."""
    return [element("p", text.escape(words), kind="note"), *(gr.update(visible=False) for _ in FILES), None]


def _asked(result, at):
    return result.request.ticket, result.request.path, result.hop_seconds, at
