"""The model box: choose a model or name one of the Hub, watch it come, see which one it is. Layout and wiring only."""

import gradio as gr

from asm_rh.checkpoint import CheckpointError
from asm_rh.markup import element

from . import about
from .analysis import Cancelled, Tickets
from .models import OWN, Fetch, Loaded, Models
from .page import PRIVATE, Page
from .text import escape

PATIENCE_SECONDS = 0.3  # from one line of progress to the next
LOADS_AT_ONCE = 4
QUIET = {"show_progress": "hidden", **PRIVATE}
POLITE = "element.setAttribute('aria-live', 'polite');"


def model_box(page: Page, model: gr.State) -> None:
    """Builds the box and the line of facts inside the current Blocks; `model` holds the key of the visitor's model."""
    models = page.models
    handlers = BoxHandlers(models)
    choices = models.offered()
    with gr.Row(elem_classes="model-box", visible=len(choices) > 1 or models.allowed.any_id):
        chosen = gr.Dropdown(choices, value=OWN, label="Model", elem_id="model", min_width=180, scale=2)
        typed = gr.Textbox(
            label="or a model on the Hugging Face Hub", placeholder="user/repo or user/repo@revision", max_lines=1, max_length=200,
            visible=models.allowed.any_id, elem_id="hub-id", min_width=220, scale=3,
        )  # fmt: skip
        go = gr.Button("Load", elem_id="load-model", min_width=90, scale=0)
    said = gr.HTML(elem_id="model-said", js_on_load=POLITE)
    status = gr.HTML(about.status(page), elem_id="model-status")
    # Again while one is on its way: then the visitor wants another, and the newest wish counts.
    work = {"concurrency_limit": LOADS_AT_ONCE, "concurrency_id": "load", "trigger_mode": "multiple", **QUIET}
    gr.on([go.click, typed.submit], handlers.load, [chosen, typed, model], [model, chosen, typed, said], **work)
    # What was typed wins, so a choice takes it away.
    chosen.input(lambda: "", None, typed, queue=False, **QUIET)
    model.change(lambda key: about.status(page.of(key)), model, status, queue=False, **QUIET)


class BoxHandlers:
    """The handlers of one page; beside what each visitor wanted last they keep nothing between calls."""

    def __init__(self, models: Models):
        self.models, self.tickets = models, Tickets()

    def load(self, chosen: str | None, typed: str | None, key: str, request: gr.Request):
        """Lines of progress, then the new model's key; where there is trouble, one line of it and the model that was there.

        Changes nothing more when the visitor wants another model meanwhile; what is on its way comes all the same, for who asks next.
        """
        wanted, ticket = (typed or "").strip() or (chosen or OWN), self.tickets.draw(request.session_hash)
        try:
            fetch, over = self.models.fetch(wanted), False
            while not over:
                over = fetch.wait(PATIENCE_SECONDS)
                self.tickets.check(request.session_hash, ticket)
                if not over:
                    yield gr.skip(), gr.skip(), gr.skip(), progress(fetch, self.named(wanted))
            loaded = fetch.result()
        except Cancelled:
            # Gradio sends what came last once more when a handler ends: a line of progress would stand over the newer wish's answer.
            yield gr.skip(), gr.skip(), gr.skip(), gr.skip()
            return
        except CheckpointError as error:
            yield gr.skip(), gr.update(value=key), gr.skip(), trouble(str(error))
        else:
            yield loaded.key, gr.update(choices=self.choices(loaded), value=loaded.key), "", welcome(loaded)
        self.tickets.void(request.session_hash)

    def choices(self, loaded: Loaded) -> list[tuple[str, str]]:
        """What can be chosen without typing, and the model that is there now."""
        offered = self.models.offered()
        return offered if loaded.key in [key for _, key in offered] else [*offered, (about.full_name(loaded), loaded.key)]

    def named(self, wanted: str) -> str:
        """What was asked for, as people read it."""
        return wanted or self.models.own.name


def progress(fetch: Fetch, name: str) -> str:
    """How far a model is: megabytes so far of all, a bar where all is known."""
    done, total = fetch.done_bytes / 1e6, fetch.total_bytes / 1e6
    bar = element("progress", max=1, value=round(done / total, 4), aria_label=f"Download of {name}") if total else ""
    words = f"{done:.1f} of {total:.1f} MB" if total else "on its way…"
    if total and done >= total:
        words = f"{total:.1f} MB are here; it is being made ready…"
    # Not read out: a line comes several times a second.
    return element("p", f"<b>{escape(name)}</b> {bar} {words}", kind="model-progress", aria_live="off")


def welcome(loaded: Loaded) -> str:
    """The line of success."""
    return element("p", f"<b>{escape(about.full_name(loaded))}</b> is loaded; all tabs show it.", kind="note", role="status")


def trouble(message: str) -> str:
    """The line of trouble, which stays until the next attempt."""
    return element("p", f"<b>Not loaded.</b> {escape(message)}. The model that was here stays.", kind="trouble", role="alert")
