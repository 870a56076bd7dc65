"""Handlers of the File tab: what happens when a visitor gives a sound, moves a control or clicks the time axis."""

from pathlib import Path
from urllib.parse import quote

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder

from asm_rh.audio import AudioError
from asm_rh.checkpoint import CheckpointError

from . import analysis, text, timeline
from .examples import example_paths
from .live import LiveServer
from .page import Page

DOWNLOADS = len(analysis.FORMATS)


class FileHandlers:
    """The handlers of one page; they keep nothing between calls."""

    def __init__(self, page: Page):
        self.page = page

    # ------------------------------------------------------------------------------------------ starting

    def begin(self, path, name: str, model: str, visitor: str):
        """A wish with a fresh ticket, an empty drop zone, the status line, and the Cancel button shown."""
        wish = analysis.Request(str(path), name, self.page.tickets.draw(visitor), model)
        return wish, None, working(name), gr.update(visible=True)

    def uploaded(self, path: str | None, model: str, request: gr.Request):
        """A file was dropped or chosen."""
        return self.begin(path, Path(path).name, model, request.session_hash) if path else [gr.skip()] * 4

    def recorded(self, path: str | None, model: str, request: gr.Request):
        """A recording was stopped."""
        return self.begin(path, "recording.wav", model, request.session_hash) if path else [gr.skip()] * 4

    def example(self, path: Path):
        """The handler of one example's button."""

        def start(model: str, request: gr.Request):
            return self.begin(path, path.name, model, request.session_hash)

        return start

    def replay(self, server: LiveServer):
        """The handler that takes what a listener's microphone heard last."""

        def start(model: str, event: gr.EventData, request: gr.Request):
            try:
                wav, began = server.last_seconds_wav(str(event.sid))
            except ValueError as error:
                return [gr.skip(), gr.skip(), trouble(str(error)), gr.skip(), gr.Tabs(selected="file")]
            name = f"live-from-{began:.2f}-s.wav"
            path = save_bytes_to_cache(wav, name, get_upload_folder())
            return [*self.begin(path, name, model, request.session_hash), gr.Tabs(selected="file")]

        return start

    def hop_changed(self, wish: analysis.Request, hop: float, request: gr.Request):
        """The same sound again with another hop; also the sentence about it."""
        wish, _, status, cancel = self.begin(wish.path, wish.name, wish.model, request.session_hash)
        return wish, hop_note(self.page.of(wish.model), hop), status, cancel

    def model_changed(self, model: str, wish: analysis.Request, request: gr.Request):
        """The same sound with another model, whose settings these are now; an example where the sound is no longer here."""
        page, path, name = self.page.of(model), wish.path, wish.name
        if not Path(path).is_file():
            path, name = example_paths()[0], example_paths()[0].name
        wish, _, status, cancel = self.begin(path, name, model, request.session_hash)
        hop = gr.update(maximum=page.config.window_seconds, value=page.hop_seconds)
        return wish, hop, gr.update(value=page.config.threshold), hop_note(page, page.hop_seconds), status, cancel

    # ------------------------------------------------------------------------------------------ the work

    def analyse(self, wish, hop: float, limit: float, request: gr.Request, progress=gr.Progress()):  # noqa: B008
        """The whole result of a sound; on any trouble the page keeps what it showed."""
        try:
            analysis.check_size(wish.path, self.page.max_file_mb)
            page = self.page.of(wish.model)
            result = analysis.analysed(
                page.classifier, wish, hop, self.page.max_seconds,
                check=lambda: self.page.tickets.check(request.session_hash, wish.ticket),
                progress=lambda share, words: progress(share, words),
            )  # fmt: skip
            self.page.tickets.check(request.session_hash, wish.ticket)  # on a GPU that is lent nothing could be checked
        except analysis.Cancelled:
            return kept()
        except (AudioError, CheckpointError, OSError) as error:
            return kept(trouble(str(error).replace(wish.path, wish.name)), gr.update(visible=False))
        moment = analysis.best_moment(result.scores, result.scores.events(limit))
        return [
            result,
            analysis.headline(result, limit),
            analysis.facts(result),
            draw(page, result, limit, moment),
            round(moment, 3),
            gr.update(visible=False),
            *download_paths(result, limit),
        ]

    def cancel(self, request: gr.Request):
        """Calls the visitor's work off: it stops at its next batch."""
        self.page.tickets.void(request.session_hash)
        return "<b>Stopped.</b> The earlier result is still shown.", gr.update(visible=False)

    def leave(self, request: gr.Request):
        """Ends the work of a visitor who closed the page."""
        self.page.tickets.void(request.session_hash)

    # ------------------------------------------------------------------------------------------ looking

    def threshold_changed(self, result: analysis.Analysis, limit: float, at: float | None):
        """Events, curves and files for another threshold; nothing is scored again."""
        view = draw(self.page.of(result.request.model), result, limit, at or 0.0)
        return [analysis.headline(result, limit), view, *download_paths(result, limit)]

    def moment(self, event: gr.EventData) -> float:
        """The moment that was clicked on the time axis."""
        return round(float(event.seconds), 3)


def kept(status=None, cancel=None) -> list:
    """Outputs of an analysis that leave the page as it is, but for the status line and the Cancel button."""
    unchanged = [gr.skip()] * (6 + DOWNLOADS)
    unchanged[2] = gr.skip() if status is None else status
    unchanged[5] = gr.skip() if cancel is None else cancel
    return unchanged


def working(name: str) -> str:
    """The status line while a sound is being worked on."""
    return f"<b>{text.escape(name)}</b> · working…"


def trouble(message: str) -> str:
    """A message that stays until the next result."""
    words = f"<b>This sound could not be used.</b> {text.escape(message)}. The earlier result is still shown."
    return f'<p class="trouble" role="alert">{words}</p>'


def hop_note(page: Page, hop: float) -> str:
    """The sentence below the settings."""
    return f'<p class="note">{text.hop_sentence(page.config.window_seconds, hop)}</p>'


def draw(page: Page, result: analysis.Analysis, limit: float, moment: float) -> str:
    """The time axis of a result with the play head at `moment` seconds."""
    moment = min(max(0.0, moment), result.picture.seconds)
    source = "gradio_api/file=" + quote(result.request.path)
    events, window = result.scores.events(limit), page.config.window_seconds
    return timeline.render(result.picture, result.scores, events, limit, page.hz, moment, source, window)


def download_paths(result: analysis.Analysis, limit: float) -> list[str]:
    """The downloads, written into Gradio's own temporary folder."""
    folder, documents = get_upload_folder(), analysis.documents(result, limit)
    return [save_bytes_to_cache(words.encode(), name, folder) for name, words in documents.values()]
