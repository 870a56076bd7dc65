"""What other programs may call: three endpoints with names, types and words; also the tools of an MCP client."""

from contextlib import contextmanager

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder

from asm_rh.attribution import METHODS
from asm_rh.audio import AudioError
from asm_rh.explain import explain
from asm_rh.report import report, summary
from asm_rh.scores import WindowScores

from .analysis import MOST_WINDOWS, check_length, check_size, lent_seconds
from .page import Page
from .zerogpu import file_sized

WORK = {"concurrency_limit": 2, "concurrency_id": "model", "api_visibility": "public"}


def endpoints(page: Page) -> None:
    """Adds /classify, /classify_windows and /explain to the current Blocks; nothing of them is seen on the page."""
    calls = Endpoints(page)
    with gr.Row(visible=False):
        audio = gr.Audio(type="filepath", label="a sound file of any common format")
        hop = gr.Number(page.hop_seconds, label="time from one window to the next in seconds")
        top = gr.Number(5, precision=0, label="how many classes to give, best first; 0 for all")
        threshold = gr.Number(page.config.threshold, label="score from which a window counts for an event, 0 to 1")
        at = gr.Number(None, label="middle of the window in seconds; nothing for the moment that is most certain")
        label = gr.Textbox("", label="class to explain; nothing for the winning one")
        result, report_file = gr.JSON(label="result"), gr.File(label="the explanation as one HTML page")
        buttons = [gr.Button() for _ in range(3)]
    buttons[0].click(calls.classify, [audio, top], result, api_name="classify", **WORK)
    buttons[1].click(calls.classify_windows, [audio, hop, threshold], result, api_name="classify_windows", **WORK)
    buttons[2].click(calls.explain, [audio, at, label], [result, report_file], api_name="explain", **WORK)


@file_sized(lent_seconds)
def scored(classifier, path: str, hop_seconds: float) -> WindowScores:
    """The scores of a whole file."""
    return classifier.windows(path, hop_seconds=hop_seconds)


@file_sized(lent_seconds)
def explained(classifier, path: str, at_seconds: float | None, label: str | None, name: str) -> tuple[dict, bytes]:
    """One moment of a file explained: the numbers and sentences, and the report."""
    start, wave, rate = classifier.window_at(path, at_seconds)
    found = explain(classifier, wave, rate, start, label, METHODS[0], name)
    return summary(found), report(found).encode()


class Endpoints:
    """The calls of one page, always of its own model; they keep nothing between calls."""

    def __init__(self, page: Page):
        self.page = page

    def classify(self, audio: str, top_k: float | None = 5) -> list[dict]:
        """Tell what a sound is: the best classes of the whole clip with their scores, best first.

        Args:
            audio: a sound file of any common format
            top_k: how many classes to give; 0 for all
        """
        count = _whole(top_k, "top_k")
        return self._scores(audio, self.page.config.window_seconds / 2).top(count or None)

    def classify_windows(self, audio: str, hop_seconds: float | None = None, threshold: float | None = None) -> dict:
        """Tell what is heard when: the scores of every class in sliding windows, and the events they make.

        Args:
            audio: a sound file of any common format
            hop_seconds: time from one window to the next in seconds
            threshold: score from which a window counts for an event, 0 to 1
        """
        found = self._scores(audio, self.page.hop_seconds if hop_seconds is None else hop_seconds)
        try:
            events = found.events(self.page.config.threshold if threshold is None else threshold)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error
        told = [{"label": e.label, "start": e.start, "end": e.end, "score": e.score, "peak": e.peak} for e in events]
        return {**found.to_dict(), "events": told}

    def explain(self, audio: str, at_seconds: float | None = None, label: str = "") -> tuple[dict, str]:
        """Tell why the model says what it says of one moment: what each block moved and mixed, what mattered, and the report as a page.

        Args:
            audio: a sound file of any common format
            at_seconds: middle of the window in seconds; nothing for the moment that is most certain
            label: class to explain; nothing for the winning one
        """
        with _in_one_line(audio):
            self._length(audio)
            told, page = explained(self.page.classifier, audio, at_seconds, label or None, self.page.name)
        return told, save_bytes_to_cache(page, "report.html", get_upload_folder())

    def _scores(self, audio, hop_seconds):
        with _in_one_line(audio):
            if self._length(audio) > MOST_WINDOWS * hop_seconds > 0:
                raise AudioError(f"more than {MOST_WINDOWS} windows, the most taken here; give a larger hop_seconds than {hop_seconds:g}")
            return scored(self.page.classifier, audio, hop_seconds)

    def _length(self, audio):
        """Seconds of a sound that is not too much for this page."""
        if not audio:
            raise AudioError("audio: got nothing, expected a sound file")
        check_size(audio, self.page.max_file_mb)
        return check_length(audio, self.page.max_seconds)


@contextmanager
def _in_one_line(audio):
    """What is wrong with the input, as one line for the caller that does not name the server's folders."""
    try:
        yield
    except ValueError as error:
        raise gr.Error(str(error).replace(str(audio), "the file"), print_exception=False) from error


def _whole(value, name):
    if value is None or value != int(value) or value < 0:
        raise gr.Error(f"{name}: got {value}, expected a whole number, 0 for all", print_exception=False)
    return int(value)
