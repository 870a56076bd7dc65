"""The endpoints that other programs call, through the real client of Gradio against the real page."""

import base64
import importlib.util
import json
import re
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app.examples import example_paths
from asm_rh.classifier import Classifier
from asm_rh.explain import explain
from asm_rh.sentences import sentences
from benchmarks.live_browser import served

gradio_client = pytest.importorskip("gradio_client")
pytestmark = pytest.mark.network
WORDS = example_paths()[0]
MCP = ["--mcp"] if importlib.util.find_spec("mcp") else []


@pytest.fixture(scope="module")
def url():
    with served(0.0, "--max-minutes", "1", "--max-file-mb", "5", *MCP, threads=1) as (url, _):
        yield url


@pytest.fixture(scope="module")
def client(url):
    return gradio_client.Client(url, verbose=False)


@pytest.fixture(scope="module")
def classifier():
    return Classifier("asm-rh-keywords", "cpu")


def test_three_endpoints_are_named_typed_and_documented(client):
    found = client.view_api(return_format="dict")["named_endpoints"]
    assert set(found) == {"/classify", "/classify_windows", "/explain"}
    names = {name: [p["parameter_name"] for p in one["parameters"]] for name, one in found.items()}
    assert names == {
        "/classify": ["audio", "top_k"], "/classify_windows": ["audio", "hop_seconds", "threshold"],
        "/explain": ["audio", "at_seconds", "label"],
    }  # fmt: skip
    for one in found.values():
        assert one["description"].startswith("Tell ")
        assert all(p["parameter_has_default"] for p in one["parameters"][1:]), "only the sound must be given"


def test_classify_gives_what_the_library_gives(client, classifier):
    found = client.predict(gradio_client.handle_file(str(WORDS)), 3, api_name="/classify")
    assert [set(row) for row in found] == [{"label", "score"}] * 3
    wanted = classifier.predict(WORDS, top_k=3)
    assert [row["label"] for row in found] == [row["label"] for row in wanted]
    assert [row["score"] for row in found] == pytest.approx([row["score"] for row in wanted], abs=1e-5)
    assert len(client.predict(gradio_client.handle_file(str(WORDS)), 0, api_name="/classify")) == 12
    assert len(client.predict(gradio_client.handle_file(str(WORDS)), api_name="/classify")) == 5


def test_windows_and_events_are_those_of_the_library(client, classifier):
    found = client.predict(gradio_client.handle_file(str(WORDS)), 0.25, 0.6, api_name="/classify_windows")
    wanted = classifier.windows(WORDS, hop_seconds=0.25)
    assert [w["start"] for w in found["windows"]] == pytest.approx(wanted.start.tolist())
    scores = [[w["scores"][label] for label in wanted.labels] for w in found["windows"]]
    np.testing.assert_allclose(scores, wanted.scores, atol=1e-5)
    events = wanted.events(0.6)
    assert [(e["label"], e["start"], e["end"]) for e in found["events"]] == [(e.label, e.start, e.end) for e in events] and events


def test_explain_gives_the_sentences_and_the_report(client, classifier):
    told, path = client.predict(gradio_client.handle_file(str(WORDS)), 0.75, "no", api_name="/explain")
    start, wave, rate = classifier.window_at(WORDS, 0.75)
    assert told["sentences"] == sentences(explain(classifier, wave, rate, start, "no", name="asm-rh-keywords"))
    assert Path(path).read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "endpoint", "words"),
    [
        ((WORDS, -1), "/classify", "top_k: got -1"),
        ((WORDS, 0.25, 3.0), "/classify_windows", "threshold"),
        ((WORDS, 0.0, 0.5), "/classify_windows", "hop"),
        ((WORDS, 99.0, ""), "/explain", "at 99 s: the sound lasts from 0 to 4.11 s"),
        ((WORDS, 1.0, "maybe"), "/explain", "no class 'maybe' in this model; available: down"),
        (("long.wav",), "/classify", "longer than 1 minutes, the most taken here"),
        (("long.wav", 0.5), "/classify_windows", "longer than 1 minutes, the most taken here"),
        (("long.wav", 1.0, ""), "/explain", "longer than 1 minutes, the most taken here"),
        (("long.wav", None, ""), "/explain", "longer than 1 minutes, the most taken here"),
        ((WORDS, 0.0001, 0.5), "/classify_windows", "more than 20000 windows, the most taken here"),
        (("words.wav",), "/classify", "the file"),
    ],
)
def test_bad_input_is_said_in_one_line(client, tmp_path, arguments, endpoint, words):
    path, *rest = arguments
    if path == "long.wav":
        path = tmp_path / path
        soundfile.write(path, np.zeros(70 * 8000), 8000, subtype="PCM_U8")
    elif path == "words.wav":
        path = tmp_path / path
        path.write_text("no sound at all")
    with pytest.raises(gradio_client.exceptions.AppError, match=re.escape(words)) as raised:
        client.predict(gradio_client.handle_file(str(path)), *rest, api_name=endpoint)
    assert "/tmp" not in str(raised.value) and "\n" not in str(raised.value).strip()


def test_files_of_the_server_cannot_be_named(url, tmp_path):
    """The client of Gradio would upload the file; this asks the server for a path of its own."""
    secret = tmp_path / "secret.wav"
    soundfile.write(secret, np.zeros(16000), 16000)
    data = json.dumps({"data": [{"path": str(secret), "meta": {"_type": "gradio.FileData"}}, 3]}).encode()
    asked = urllib.request.Request(f"{url}gradio_api/call/classify", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{url}gradio_api/call/classify/{event}") as answer:
        told = answer.read().decode()
    assert "event: error" in told and "label" not in told


def test_an_mcp_client_lists_and_calls_the_tools(url):
    pytest.importorskip("mcp")
    import asyncio

    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def ask():
        async with streamable_http_client(f"{url}gradio_api/mcp/") as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            tools = (await session.list_tools()).tools
            name = next(tool.name for tool in tools if tool.name.endswith("classify"))
            sound = "data:audio/wav;base64," + base64.b64encode(WORDS.read_bytes()).decode()
            return tools, await session.call_tool(name, {"audio": sound, "top_k": 2})

    tools, answer = asyncio.run(ask())
    assert {name for tool in tools for name in ("classify", "classify_windows", "explain") if tool.name.endswith(name)} and len(tools) == 3
    assert all(tool.description.startswith("Tell ") for tool in tools)
    told = " ".join(part.text for part in answer.content)
    assert not answer.isError and told.count("label") == told.count("score") == 2, told
