"""The File tab: give a sound, see the result on one time axis, look inside a moment. Layout and wiring only."""

import gradio as gr

from . import analysis, files, theme
from .examples import EXAMPLES, example_paths
from .page import PRIVATE, Page

TITLES = {
    "csv": "Events, CSV",
    "audacity": "Audacity labels",
    "raven": "Raven table",
    "jsonl": "All scores, JSONL",
    "json": "All scores, JSON",
}
POLITE = "element.setAttribute('aria-live', 'polite');"
QUIET = {"show_progress": "hidden", **PRIVATE}


def file_tab(page: Page, model: gr.State, tabs: gr.Tabs, live=None):
    """Builds the tab inside the current Blocks; returns the handler for a visitor who leaves, the result's state and the moment.

    `model` holds the key of the visitor's model. `live` is the Live tab's (component, server): its last seconds are one more way to give a
    sound.
    """
    handlers = files.FileHandlers(page)
    first, moment = first_result(page)
    limit_value = page.config.threshold
    state, wish = gr.State(first, time_to_live=3600), gr.State(first.request)
    with gr.Row(elem_classes="result-head"):
        heard = gr.HTML(analysis.headline(first, limit_value), elem_id="heard", js_on_load=POLITE)
        with gr.Column(elem_classes="work", min_width=240):
            status = gr.HTML(analysis.facts(first), elem_id="status", js_on_load=POLITE)
            cancel = gr.Button("Cancel", size="sm", visible=False, elem_id="cancel", variant="stop")
    with gr.Row(elem_classes="desk"):
        with gr.Column(scale=1, min_width=300):
            sound, buttons = sound_inputs()
            hop, limit, sentence = settings(page)
        with gr.Column(scale=3, min_width=320):
            view = files.draw(page, first, limit_value, moment)
            axis = gr.HTML(view, elem_id="timeline", elem_classes="card", js_on_load=theme.script("timeline.js"))
            at, inside = moment_controls(moment)
            downloads = download_buttons(first, limit_value)
    results = [state, heard, status, axis, at, cancel, *downloads]
    starts = start_events(handlers, sound, buttons, model, [wish, sound, status, cancel])
    starts.append(hop_event(handlers, hop, wish, [wish, sentence, status, cancel]))
    if live:
        starts.append(replay_event(handlers, *live, model, [wish, sound, status, cancel, tabs]))
    settled = [wish, hop, limit, sentence, status, cancel]
    starts.append(model.change(handlers.model_changed, [model, wish], settled, queue=False, **QUIET))
    wire_analysis(handlers, starts, [wish, hop, limit], results)
    wire_looking(handlers, axis, [state, limit, at], [heard, axis, *downloads])
    inside.click(lambda: gr.Tabs(selected="inside"), None, tabs, queue=False, **QUIET)
    cancel.click(handlers.cancel, None, [status, cancel], queue=False, **PRIVATE)
    return handlers.leave, state, at


def first_result(page: Page) -> tuple[analysis.Analysis, float]:
    """The example that is there when the page opens, analysed, and the moment to show."""
    path = example_paths()[0]
    request = analysis.Request(str(path), path.name, 0)
    first = analysis.analyse(page.classifier, request, page.hop_seconds, page.max_seconds)
    return first, analysis.best_moment(first.scores, first.scores.events(page.config.threshold))


# ---------------------------------------------------------------------------------------------- layout


def sound_inputs():
    """Drop zone and recorder, and a button per example."""
    sound = gr.Audio(
        sources=["upload", "microphone"],
        type="filepath",
        format=None,
        label="Drop a sound file, or record",
        elem_id="sound",
        buttons=[],
        editable=False,
    )
    gr.HTML('<p class="small-head">or try an example</p>')
    with gr.Row(elem_classes="examples"):
        buttons = [
            gr.Button(f"{title}\n{kind}", size="sm", min_width=130, elem_classes="example", elem_id=f"example-{i}")
            for i, (_, title, kind) in enumerate(EXAMPLES)
        ]
    return sound, buttons


def settings(page: Page):
    """Hop and threshold with unit and meaning, and the computed sentence."""
    window, threshold = page.config.window_seconds, page.config.threshold
    with gr.Group():
        words = "time from one window to the next; smaller is finer and slower"
        hop = gr.Slider(
            0.05, window, page.hop_seconds, step=0.05, label="Hop (seconds)", info=words, elem_id="hop", buttons=[]
        )
        words = "a score from here on is an event; it ends 0.15 below"
        limit = gr.Slider(
            0, 1, threshold, step=0.01, label="Threshold (0 to 1)", info=words, elem_id="threshold", buttons=[]
        )
    return hop, limit, gr.HTML(files.hop_note(page, page.hop_seconds), elem_id="hop-sentence")


def download_buttons(first: analysis.Analysis, threshold: float) -> list[gr.DownloadButton]:
    """One button per format."""
    paths = files.download_paths(first, threshold)
    gr.HTML('<p class="small-head">download</p>')
    with gr.Row(elem_classes="downloads"):
        return [
            gr.DownloadButton(TITLES[kind], value=path, size="sm", min_width=120, elem_id=f"download-{kind}")
            for (kind, _), path in zip(analysis.FORMATS, paths, strict=True)
        ]


def moment_controls(moment: float):
    """The moment on the time axis, and the way to look inside it."""
    with gr.Row(elem_classes="moment-row"):
        words = "click the time axis, or type it"
        at = gr.Number(round(moment, 3), label="Moment (seconds)", info=words, minimum=0, step=0.05, elem_id="moment")
        inside = gr.Button("Look inside this moment", variant="primary", elem_id="look-inside", min_width=200)
    return at, inside


# ---------------------------------------------------------------------------------------------- wiring


def start_events(handlers, sound, buttons, model, outputs) -> list:
    """Every way to give a sound: upload, recording, example."""
    starts = [
        sound.upload(handlers.uploaded, [sound, model], outputs, queue=False, **PRIVATE),
        sound.stop_recording(handlers.recorded, [sound, model], outputs, queue=False, **PRIVATE),
    ]
    for button, path in zip(buttons, example_paths(), strict=True):
        starts.append(button.click(handlers.example(path), model, outputs, queue=False, **PRIVATE))
    return starts


def hop_event(handlers, hop, wish, outputs):
    """Another hop for the same sound."""
    return hop.input(handlers.hop_changed, [wish, hop], outputs, queue=False, trigger_mode="always_last", **PRIVATE)


def replay_event(handlers, microphone, server, model, outputs):
    """The last seconds of the microphone, in the File tab."""
    return microphone.select(handlers.replay(server), model, outputs, queue=False, **PRIVATE)


def wire_analysis(handlers, starts, inputs, results) -> None:
    """After every start: the analysis."""
    for start in starts:
        work = {"concurrency_limit": 2, "concurrency_id": "model", "show_progress_on": [results[2]], **PRIVATE}
        start.then(handlers.analyse, inputs, results, **work)


def wire_looking(handlers, axis, inputs, views) -> None:
    """What looks at a finished result: threshold and moment."""
    newest = {"trigger_mode": "always_last", "concurrency_limit": 2, **QUIET}
    inputs[1].input(handlers.threshold_changed, inputs, views, **newest)
    axis.select(handlers.moment, None, inputs[2], queue=False, **QUIET)
