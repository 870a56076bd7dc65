"""GPUs that are lent per call. No test here meets one: a stand-in for the package forks and pickles as the package's source does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app import zerogpu

ROOT = Path(__file__).resolve().parents[1]
STAND_IN = '''
"""Runs each call in a fork of this process; arguments and results are pickled, of exceptions only the name comes back."""
import multiprocessing
import pickle

asked = []


def GPU(task=None, *, duration=None):
    return (lambda work: lent(work, duration)) if task is None else lent(task, duration)


def lent(task, duration):
    def here(*arguments):
        asked.append((duration(*arguments), pickle.dumps(arguments)))
        fork = multiprocessing.get_context("fork")
        ours, theirs = fork.Pipe(duplex=False)
        process = fork.Process(target=there, args=(theirs,))
        process.start()
        theirs.close()
        good, value = pickle.loads(ours.recv_bytes())
        process.join()
        if not good:
            raise RuntimeError(f"ZeroGPU worker error: {value}")
        return value

    def there(pipe):
        try:
            done = True, task(*pickle.loads(asked[-1][1]))
        except Exception as error:
            done = False, type(error).__name__
        pipe.send_bytes(pickle.dumps(done))

    return here
'''
PROGRAM = '''
from app import zerogpu
import base64, json, os, sys
from pathlib import Path
from types import SimpleNamespace
import gradio as gr
import numpy as np
import spaces
from app import analysis, api, files, inside_tab, ui
from app.examples import example_paths
from app.live import LiveServer
from app.models import OWN, Loaded, Models
from app.page import Page
from asm_rh.attribution import METHODS
from asm_rh.classifier import Classifier

zerogpu.DEVICE = "cpu"  # there is no other here
own = Loaded.own("asm-rh-keywords", Classifier("asm-rh-keywords", "cpu"))
page = Page(Models(own), own, max_seconds=60)
handlers, visitor, sound = files.FileHandlers(page), SimpleNamespace(session_hash="a"), str(example_paths()[0])
told = {"startup": len(spaces.asked)}
result = handlers.analyse(handlers.uploaded(sound, OWN, visitor)[0], 0.25, 0.5, visitor, lambda *_: None)[0]
told["file"] = [float(np.abs(result.scores.scores - own.classifier.windows(sound, hop_seconds=0.25).scores).max()), len(spaces.asked)]
letter = Path(sys.argv[1]) / "letter.wav"
letter.write_text("no sound")
told["trouble"] = handlers.analyse(handlers.uploaded(str(letter), OWN, visitor)[0], 0.25, 0.5, visitor, lambda *_: None)[2]
told["inside"] = [inside_tab.InsideHandlers(page).moment(result, 0.7, "", METHODS[0])[0][:2000], len(spaces.asked)]
calls = api.Endpoints(page)
told["classify"] = [calls.classify(sound, 1), len(spaces.asked)]
told["explain"] = [calls.explain(sound)[0]["model"], len(spaces.asked)]
try:
    calls.explain(sound, 99.0)
except gr.Error as error:
    told["moment"] = str(error)
before = len(spaces.asked)
server = LiveServer(page.models)
settings = {"hop_seconds": 0.25, "smoothing_seconds": 0, "threshold": 0.5, "confirmations": 1}
server.open({"sid": "listener-1", "rate": 16000, "settings": settings})
pcm = base64.b64encode(np.zeros(32000, "<i2").tobytes()).decode()
told["live"] = [len(server.push({"sid": "listener-1", "position": 0, "pcm": pcm})["steps"]), len(spaces.asked) - before]
told["device"] = str(Page(Models(own), own).classifier.device)
told["seconds"] = [seconds for seconds, _ in spaces.asked]
told["bytes"] = max(len(data) for _, data in spaces.asked)
print(json.dumps(told))
'''


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What the page's own handlers and endpoints do where the stand-in is the package."""
    folder = tmp_path_factory.mktemp("lent")
    (folder / "spaces.py").write_text(STAND_IN, encoding="utf-8")
    variables = {"SPACES_ZERO_GPU": "true", "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "GRADIO_TEMP_DIR": str(folder / "gradio")}
    environment = {**os.environ, **variables, "OMP_NUM_THREADS": "2"}  # with one thread a fork would be harmless
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_file_sized_work_is_done_where_the_gpu_is_and_is_the_same(told):
    assert told["startup"] == 0 and told["file"][1] == 1 and told["file"][0] < 1e-5
    assert "What mattered" in told["inside"][0] and told["inside"][1] == 3
    assert told["classify"][0][0]["label"] in {"yes", "no", "stop", "go", "_unknown_"} and told["classify"][1] == 4
    assert told["explain"] == ["asm-rh-keywords", 5]


@pytest.mark.slow
def test_what_is_wrong_with_a_sound_is_still_said(told):
    assert "letter.wav" in told["trouble"] and "This sound could not be used" in told["trouble"]
    assert "at 99 s: the sound lasts from 0 to 4.11 s" in told["moment"]


@pytest.mark.slow
def test_listening_never_waits_for_a_gpu(told):
    assert told["live"] == [5, 0] and told["device"] == "cpu"


@pytest.mark.slow
def test_little_is_asked_for_and_no_model_travels(told):
    assert all(20 <= seconds <= 120 for seconds in told["seconds"]) and told["bytes"] < 1_000_000


def test_elsewhere_work_is_what_it_was(monkeypatch):
    def work(classifier, one, check=None):
        return one, check

    assert zerogpu.file_sized(lambda *_: 5)(work) is work
    for value, lent in (("1", True), ("true", True), ("T", True), ("0", False), ("", False)):
        monkeypatch.setenv("SPACES_ZERO_GPU", value)
        assert zerogpu.is_lent() is lent
