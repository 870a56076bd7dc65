"""The models of a page: which may be loaded, how they are shared, which one leaves, and that nobody is harmed by it."""

import gc
import threading
import time
from types import SimpleNamespace

import gradio as gr
import pytest
import torch

from app import about, files, inside_tab, model_box, models, ui
from app.analysis import Request
from app.examples import example_paths
from app.live import LiveServer
from app.live_tab import facts
from app.models import OWN, Allowed, Fetch, Loaded, Models
from app.page import Page
from asm_rh.attribution import METHODS
from asm_rh.checkpoint import CheckpointError, Source
from asm_rh.classifier import Classifier
from asm_rh.config import FrontendConfig, ModelConfig
from asm_rh.model import AudioMixer

COMMITS = {"me/owls": "0" * 39 + "1", "me/bats": "0" * 39 + "2", "me/newts": "0" * 39 + "3"}


def tiny(*labels, window_seconds=0.5, **changes):
    torch.manual_seed(len(labels))
    return AudioMixer(ModelConfig(
        labels=labels, window_seconds=window_seconds, frames=112, patch=(16, 16), stride=(16, 16), width=32, depth=2, token_hidden=16,
        channel_hidden=32, roll="grid", frontend=FrontendConfig(bands=32), **changes,
    )).eval()  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def temporary_folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Weights by the id under which a download would bring them."""
    root, found = tmp_path_factory.mktemp("models"), {}
    kinds = (("me/owls", ("barn_owl", "_silence_"), 0.25), ("me/bats", ("a", "b", "c"), 1.0), ("me/newts", ("x", "y"), 0.5))
    for name, labels, seconds in kinds:
        found[name] = root / name.replace("/", "-")
        tiny(*labels, window_seconds=seconds, threshold=0.3).save_pretrained(found[name])
    (found["me/owls"] / "README.md").write_text("# Owls of this garden\n", encoding="utf-8")
    return found


class Store:
    """Stands for the downloads, which tests/test_hub.py tests with the real client: counts them, and waits at a gate."""

    def __init__(self, folders):
        self.folders, self.found, self.built, self.gate = folders, [], [], threading.Event()
        self.gate.set()

    def find(self, source, progress=None, **_):
        self.found.append(source)
        if progress:
            progress(3_000_000, 12_000_000)
        self.gate.wait(20)
        repo = source.partition("@")[0]
        if repo not in self.folders:
            raise CheckpointError(f"no repository {repo!r} on the Hub")
        return Source(self.folders[repo], repo, COMMITS[repo])

    def build(self, source, device=None, progress=None):
        self.built.append(source)
        repo = source.partition("@")[0]
        classifier = Classifier(str(self.folders[repo]), "cpu")
        classifier.model.source = Source(self.folders[repo], repo, COMMITS[repo])
        return classifier


@pytest.fixture
def store(folders, monkeypatch):
    store = Store(folders)
    monkeypatch.setattr(models, "find", store.find)
    monkeypatch.setattr(models, "Classifier", store.build)
    return store


@pytest.fixture(scope="module")
def own():
    return Loaded.own("runs/mine", Classifier(tiny("yes", "no"), "cpu"))


def make(own, allowed=Allowed(any_id=True), most=2):  # noqa: B008  frozen
    return Models(own, allowed, "runs/mine", most)


def key_of(name):
    return f"{name}@{COMMITS[name]}"


# ---------------------------------------------------------------------------------------------- what may be loaded


@pytest.mark.parametrize(
    ("environment", "yes", "no"),
    [
        ({}, ["me/owls", "me/owls@v2", "asm-rh-keywords"], []),
        ({"SPACE_ID": "me/space"}, ["asm-rh-keywords"], ["me/owls"]),
        ({"SPACE_ID": "me/space", "ASM_RH_MODELS": "*"}, ["me/owls"], []),
        ({"SPACE_ID": "me/space", "ASM_RH_MODELS": "me/owls"}, ["me/owls", "asm-rh-keywords"], ["me/bats"]),
        ({"ASM_RH_MODELS": "me/owls, me/bats@v2"}, ["me/owls", "me/owls@v7", "me/bats@v2"], ["me/bats", "me/bats@v3", "me/o"]),
        ({"ASM_RH_MODELS": ""}, ["asm-rh-keywords"], ["me/owls"]),
    ],
)
def test_what_the_environment_allows(environment, yes, no):
    allowed = Allowed.read(environment)
    assert [name for name in yes if not allowed.allows(name)] == [] == [name for name in no if allowed.allows(name)]


def test_a_list_with_something_else_in_it_is_refused_at_the_start():
    with pytest.raises(CheckpointError, match="ASM_RH_MODELS: 'runs/mine/last' is no Hub id"):
        Allowed.read({"ASM_RH_MODELS": "me/owls,runs/mine/last"})


def test_what_is_not_allowed_is_refused_with_what_is(own, store):
    held = make(own, Allowed(("asm-rh-keywords", "me/owls")))
    with pytest.raises(CheckpointError, match="'me/bats' may not be loaded on this page: expected one of mine, asm-rh-keywords, me/owls"):
        held.fetch("me/bats")
    assert store.found == [] and held.fetch("me/owls").result().name == "me/owls"
    assert held.offered() == [("mine", OWN), ("asm-rh-keywords", "asm-rh-keywords"), ("me/owls", "me/owls")]


@pytest.mark.parametrize("wanted", ["/etc", "../secret", "checkpoints", "~/x", "a/b/c", "me/owls@", "me/owls@../.."])
def test_no_word_of_a_visitor_is_a_folder(own, store, wanted):
    with pytest.raises(CheckpointError, match="Hub id|expected a branch"):
        make(own).fetch(wanted)
    assert store.found == []


def test_an_id_is_the_hubs_even_where_a_folder_has_its_name(own, store, tmp_path, monkeypatch):
    (tmp_path / "me" / "owls").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert make(own).fetch("me/owls").result().key == key_of("me/owls")
    assert store.found == ["me/owls@main"]


# ---------------------------------------------------------------------------------------------- shared


def test_visitors_who_ask_for_the_same_at_once_share_one(own, store):
    held, found = make(own), []
    store.gate.clear()
    threads = [threading.Thread(target=lambda: found.append(held.fetch("me/owls").result())) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    store.gate.set()
    for thread in threads:
        thread.join(20)
    assert len({id(loaded) for loaded in found}) == 1 and len(found) == 6
    assert store.found == ["me/owls@main"] and store.built == [key_of("me/owls")]


def test_two_names_of_one_commit_are_one_model(own, store):
    held = make(own)
    store.gate.clear()
    fetches = [held.fetch(name) for name in ("me/owls", "me/owls@v2", "me/owls@main")]
    store.gate.set()
    assert len({id(fetch.result()) for fetch in fetches}) == 1 and store.built == [key_of("me/owls")]
    assert held.fetch("me/owls").result() is held.of(key_of("me/owls")), "later, too"
    assert store.built == [key_of("me/owls")]


def test_the_own_model_is_there_under_each_of_its_names(own, store):
    held = make(own)
    assert held.fetch(OWN).result() is held.fetch("runs/mine").result() is held.of(OWN) is own
    assert store.found == []


def test_a_download_tells_how_far_it_is(own, store):
    store.gate.clear()
    fetch = make(own).fetch("me/owls")
    assert not fetch.wait(0.1)
    while not fetch.total_bytes:
        time.sleep(0.01)
    words = model_box.progress(fetch, "me/<b>")
    assert "3.0 of 12.0 MB" in words and 'value="0.25"' in words and "<b>me/&lt;b&gt;</b>" in words and 'aria-live="off"' in words
    store.gate.set()
    assert fetch.wait(20) and fetch.result().classifier.labels == ("barn_owl", "_silence_")
    assert "on its way" in model_box.progress(Fetch("me/owls"), "me/owls")


def test_trouble_is_told_to_all_who_wait_and_then_forgotten(own, store, folders, monkeypatch):
    held = make(own)
    for _ in range(2):
        with pytest.raises(CheckpointError, match="no repository 'me/nobody'"):
            held.fetch("me/nobody").result()

    def broken(source, *_):
        raise MemoryError

    monkeypatch.setattr(models, "Classifier", broken)
    with pytest.raises(CheckpointError, match="me/owls could not be loaded: MemoryError"):
        held.fetch("me/owls").result()
    monkeypatch.setattr(models, "Classifier", store.build)
    assert held.fetch("me/owls").result().name == "me/owls"


def test_folders_of_this_machine_are_not_told(own, store, folders, monkeypatch):
    def broken(source, *_):
        raise CheckpointError(f"{folders['me/owls']}/model.safetensors is not a whole safetensors file")

    monkeypatch.setattr(models, "Classifier", broken)
    with pytest.raises(CheckpointError, match="^me/owls/model.safetensors is not a whole"):
        make(own).fetch("me/owls").result()


# ---------------------------------------------------------------------------------------------- at most so many


def test_the_longest_unused_leaves_and_comes_back_when_it_is_wanted(own, store):
    held = make(own, most=2)
    owls, bats = held.fetch("me/owls").result(), held.fetch("me/bats").result()
    assert held.of(owls.key) is owls
    held.fetch("me/newts").result()
    assert held.of(owls.key) is owls and store.built.count(key_of("me/bats")) == 1, "bats were unused for longest"
    again = held.of(bats.key)
    assert again is not bats and again.classifier.labels == bats.classifier.labels and store.built.count(key_of("me/bats")) == 2
    assert store.found[-1] == key_of("me/bats"), "the same commit"
    assert held.of(OWN) is own, "which never leaves"


def test_a_model_in_use_outlives_its_eviction_and_its_worker_ends_with_the_last_user(own, store):
    held = make(own, most=1)
    server = LiveServer(held)
    sid, settings = "listener-1", {"hop_seconds": 0.1, "smoothing_seconds": 0, "threshold": 0.5, "confirmations": 1}
    before = threading.active_count()
    key = held.fetch("me/owls").result().key
    assert server.open({"sid": sid, "rate": 16_000, "settings": settings, "model": key})["labels"] == ["barn owl", "silence"]
    held.fetch("me/bats").result()
    held.fetch("me/newts").result()
    answer = server.push({"sid": sid, "position": 0, "pcm": "AAAA" * 4000})
    assert answer["steps"] and len(answer["steps"][0]["scores"]) == 2
    server.bye({"sid": sid})
    del answer
    end = time.monotonic() + 10
    while threading.active_count() > before + 1 and time.monotonic() < end:
        gc.collect()
        time.sleep(0.05)
    assert threading.active_count() <= before + 1, "one worker: that of the newts"


def test_many_threads_on_few_places(own, store):
    held, wrong = make(own, most=1), []
    keys = [held.fetch(name).result().key for name in COMMITS]

    def work(number):
        for i in range(6):
            key = keys[(number + i) % len(keys)]
            if held.of(key).key != key:
                wrong.append(key)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == [] and not any(thread.is_alive() for thread in threads) and len(held._held) == 1 and held._fetches == {}


# ---------------------------------------------------------------------------------------------- each visitor their own


@pytest.fixture
def page(own, store):
    held = make(own, most=4)
    return Page(held, own)


def visitor(name="a"):
    return SimpleNamespace(session_hash=name)


def quiet(*_):
    """Progress that nobody watches."""


def test_the_box_yields_the_key_or_one_line_of_trouble(page):
    handlers = model_box.BoxHandlers(page.models)
    key, chosen, typed, said = list(handlers.load(OWN, " me/owls ", OWN, visitor()))[-1]
    assert key == key_of("me/owls") and typed == "" and chosen["value"] == key and "me/owls@00000000" in said
    assert ("me/owls@00000000", key) in chosen["choices"]
    kept, chosen, typed, said = list(handlers.load(OWN, "me/<nobody>", key, visitor()))[-1]
    assert kept == typed == gr.skip() and chosen["value"] == key
    assert 'role="alert"' in said and "me/&lt;nobody&gt;" in said and said.count("<p") == 1
    assert list(handlers.load(OWN, "", key, visitor()))[-1][0] == OWN, "back to the page's own"
    with pytest.raises(CheckpointError, match="load it first"):
        page.of("me/never@" + "0" * 40)


def test_the_newest_wish_of_a_visitor_counts(page, store):
    handlers = model_box.BoxHandlers(page.models)
    store.gate.clear()
    older, other = handlers.load(OWN, "me/owls", OWN, visitor("a")), handlers.load(OWN, "me/owls", OWN, visitor("b"))
    assert "me/owls" in next(older)[3] and "me/owls" in next(other)[3]
    newer = list(handlers.load(OWN, "", OWN, visitor("a")))
    store.gate.set()
    assert newer[-1][0] == OWN and list(older) == [(gr.skip(),) * 4], "Gradio repeats the last output at the end: it must change nothing"
    assert list(other)[-1][0] == key_of("me/owls") and store.built == [key_of("me/owls")], "another visitor gets what came"


def test_every_tab_follows_the_visitors_model(page):
    key = page.models.fetch("me/owls").result().key
    theirs = page.of(key)
    assert 'title="0000000000000000000000000000000000000001">00000000<' in about.status(theirs) and "commit" not in about.status(page)
    assert COMMITS["me/owls"] in about.table(theirs)
    assert ui.about_words(theirs)[1] == gr.update(value="# Owls of this garden", visible=True)
    assert ui.about_words(page)[1] == gr.update(value="", visible=False)
    assert facts(theirs)["labels"] == ["barn owl", "silence"] and facts(theirs)["model"] == key and facts(page)["model"] == OWN
    inside = inside_tab.InsideHandlers(page).model_changed(key)
    assert [label for _, label in inside[0]["choices"]] == ["", "barn_owl", "_silence_"] and "Another model" in inside[1]


def test_the_file_tab_analyses_the_same_sound_with_the_new_model(page, tmp_path):
    handlers, sound = files.FileHandlers(page), example_paths()[2]
    key = page.models.fetch("me/owls").result().key
    wish = Request(str(sound), "mine.wav", 0)
    wish, hop, limit, sentence, status, _ = handlers.model_changed(key, wish, visitor())
    assert (hop["maximum"], hop["value"], limit["value"]) == (0.25, 0.25, 0.3) and "A window of 0.25 s" in sentence
    assert wish.model == key and wish.name == "mine.wav" and "mine.wav" in status
    result = handlers.analyse(wish, 0.25, 0.3, visitor(), quiet)[0]
    assert result.scores.labels == ("barn_owl", "_silence_") and result.request.model == key
    other = handlers.analyse(handlers.example(sound)(OWN, visitor("b"))[0], 0.25, 0.3, visitor("b"), quiet)[0]
    assert other.scores.labels == ("yes", "no"), "another visitor has another model"
    gone = handlers.model_changed(OWN, Request(str(tmp_path / "gone.wav"), "gone.wav", 0), visitor())[0]
    assert gone.path == str(example_paths()[0])


def test_what_is_shown_keeps_to_the_model_that_made_it(page):
    handlers, key = files.FileHandlers(page), page.models.fetch("me/owls").result().key
    wish = handlers.example(example_paths()[2])(key, visitor())[0]
    result = handlers.analyse(wish, 0.25, 0.3, visitor(), quiet)[0]
    _, view, *_ = handlers.threshold_changed(result, 0.0, 0.1)
    assert 'data-window="0.2500"' in view and "barn owl" in view
    told = inside_tab.InsideHandlers(page).moment(result, 0.1, "yes", METHODS[0])
    assert "me/owls" in told[0], "a class of another model is no class of this one: then it is the winning one"


def test_live_listeners_each_have_their_model(page):
    server = LiveServer(page.models)
    settings = {"hop_seconds": 0.1, "smoothing_seconds": 0, "threshold": 0.5, "confirmations": 1}
    key = page.models.fetch("me/bats").result().key
    for sid, model in (("listener-a", OWN), ("listener-b", key)):
        assert "error" not in server.open({"sid": sid, "rate": 16_000, "settings": settings, "model": model})
    steps = {sid: server.push({"sid": sid, "position": 0, "pcm": "AAAA" * 12_000})["steps"] for sid in ("listener-a", "listener-b")}
    assert [len(steps[sid][0]["scores"]) for sid in steps] == [2, 3]
    wide = {**settings, "hop_seconds": 0.9}
    assert "error" not in server.change({"settings": wide, "sid": "listener-b"}) and "hop" in server.change({"settings": wide})["error"]
    refusal = server.open({"sid": "listener-c", "rate": 16_000, "settings": settings, "model": "me/owls"})
    assert refusal["code"] == "bad" and "load it first" in refusal["error"], "a page cannot make the server download through Live"


def test_the_box_shows_only_what_may_be_used(store, tmp_path, monkeypatch):
    tiny("yes", "no").save_pretrained(tmp_path / "tiny")

    def shown(**environment):
        for name in ("ASM_RH_MODELS", "SPACE_ID"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(ui, "Classifier", Classifier)
        demo = ui.build(str(tmp_path / "tiny"))
        assert demo._queue.max_size == ui.MOST_WAITING
        parts = {c["props"].get("elem_id"): c["props"] for c in demo.config["components"]}
        return parts["hub-id"]["visible"], [key for _, key in parts["model"]["choices"]]

    assert shown() == (True, [OWN, *models.shipped_models()])
    assert shown(SPACE_ID="me/space") == (False, [OWN, *models.shipped_models()])
    assert shown(ASM_RH_MODELS="me/owls") == (False, [OWN, *models.shipped_models(), "me/owls"])
