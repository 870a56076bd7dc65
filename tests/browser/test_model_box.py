"""The model box in a real Chromium, its models from a Hub on this machine: progress, trouble, and visitors with models of their own."""

import json

import pytest
from small_models import BATS, LARGE, OWLS, files, slow_hub

from app.examples import example_paths
from app.text import clock, shown
from asm_rh.classifier import Classifier
from benchmarks.live_browser import browser_with, noise_wav, open_live, served, start, stats, stop

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
CARD = "---\nlicense: cc0-1.0\n---\n# Owls of this garden\n"
HUB_ID = "#hub-id input"
CLASSES = {"me/owls": 3, "me/bats": 5, "me/late": 2}


@pytest.fixture(scope="module")
def hub():
    """(Hub, its address, its server, files of the owls)."""
    with slow_hub() as (hub, url, server):
        owls = files(1, CARD, **OWLS)
        hub.add("me/owls", owls)
        for seed, (name, kind) in enumerate((("me/bats", BATS), ("me/large", LARGE), ("me/late", LARGE)), 2):
            hub.add(name, files(seed, **kind))
        yield hub, url, server, owls


@pytest.fixture(scope="module")
def page_url(hub, tmp_path_factory):
    """The address of a page that may load anything from that Hub."""
    home = tmp_path_factory.mktemp("hub")
    with served(0.0, threads=1, HF_ENDPOINT=hub[1], HF_HOME=str(home), HF_HUB_OFFLINE="0") as (url, _):
        yield url


@pytest.fixture(scope="module")
def owls(hub, tmp_path_factory):
    """The library's own classifier with the owls' weights."""
    folder = tmp_path_factory.mktemp("owls")
    for name, data in hub[3].items():
        (folder / name).write_bytes(data)
    return Classifier(str(folder), "cpu")


def ask(page, wanted):
    page.fill(HUB_ID, wanted)
    page.click("#load-model")


def load(page, wanted):
    """Loads a model by its id and waits until the File tab shows its result."""
    ask(page, wanted)
    said(page, "is loaded; all tabs show it")
    shows(page, wanted.partition("@")[0])
    page.wait_for_function(f"document.querySelectorAll('#timeline .tl-name').length === {CLASSES[wanted]}")


def said(page, words):
    page.wait_for_function(f"document.querySelector('#model-said').innerText.includes({json.dumps(words)})")


def shows(page, name):
    page.wait_for_function(f"document.querySelector('#model-status dd').innerText === {json.dumps(name)}")


def events(page):
    rows = page.locator("#timeline table.events tbody tr")
    return [row.locator("th, td").all_inner_texts() for row in rows.all()]


def expected(classifier, path):
    found = classifier.windows(path, hop_seconds=0.25).events(classifier.config.threshold)
    return [[shown(e.label), clock(e.start), clock(e.end), f"{e.score:.2f}", clock(e.peak)] for e in found]


def labels(page):
    """The classes that each of three tabs knows."""
    live = page.evaluate("JSON.parse(document.querySelector('.live').dataset.facts).labels")
    rows = page.locator(".lv-numbers tbody th").all_text_contents()
    facts = dict(row.locator("th, td").all_inner_texts() for row in page.locator("table.about tr").all())
    return live, rows, facts["Labels"]


# ---------------------------------------------------------------------------------------------- from the Hub


def test_a_download_is_seen_to_come_and_the_page_can_be_used_meanwhile(open_page, hub):
    page = open_page()
    hub[2].gate.clear()
    ask(page, "me/large")
    page.wait_for_function("/[1-9][0-9.]* of [0-9.]+ MB/.test(document.querySelector('#model-said').innerText)")
    assert 0 < page.locator("#model-said progress").evaluate("bar => bar.position") < 1
    assert page.locator("#model-status dd").first.inner_text() == "asm-rh-keywords"
    page.click("#example-2")
    page.wait_for_function("document.querySelector('#timeline .tl').dataset.source.includes('on-off')")
    hub[2].gate.set()
    said(page, "is loaded; all tabs show it")
    shows(page, "me/large")
    page.wait_for_function("document.querySelector('#heard').innerText.match(/LEFT|RIGHT/)")
    assert "on-off" in page.inner_text("#status"), "the sound stays, the model is another"


def test_who_changes_their_mind_is_not_overtaken_by_the_first_wish(open_page, hub):
    page = open_page()
    load(page, "me/bats")  # in memory from now on: the newer wish is answered before the older one has noticed
    hub[2].gate.clear()
    ask(page, "me/late")
    said(page, "me/late")
    ask(page, "me/bats")
    said(page, "is loaded; all tabs show it")
    shows(page, "me/bats")
    page.wait_for_timeout(1000)
    assert "me/bats" in page.inner_text("#model-said"), "the older wish must not say anything when it ends"
    hub[2].gate.set()
    page.wait_for_timeout(4000)
    assert "me/bats" in page.inner_text("#model-said") and "me/bats" in page.input_value("#model input")
    shows(page, "me/bats")
    load(page, "me/late")


def test_every_tab_follows_the_model(open_page, hub, owls):
    page = open_page()
    load(page, "me/owls")
    commit = hub[0].repos["me/owls"].refs["main"]
    value = page.locator("#model-status dd").nth(1)
    assert value.inner_text() == commit[:8] and value.get_attribute("title") == commit
    assert page.input_value("#model input") == f"me/owls@{commit[:8]}" and page.input_value(HUB_ID) == ""
    assert page.get_attribute("#hop input[type=range]", "max") == "0.5" and page.input_value("#threshold input[type=number]") == "0.4"
    assert "A window of 0.50 s" in page.inner_text("#hop-sentence")
    page.wait_for_function("document.querySelector('#heard').innerText.includes('OWL')")
    assert events(page) == expected(owls, example_paths()[0])
    page.get_by_role("tab", name="Live").click()
    page.click(".lv-settings summary")
    assert page.get_attribute("[data-setting=hop_seconds]", "max") == "0.5" and page.input_value("[data-setting=threshold]") == "0.4"
    page.wait_for_function("document.querySelector('.lv-sentence').innerText.includes('A window of 0.50 s')")
    page.get_by_role("tab", name="About").click()
    page.wait_for_selector("table.about", state="visible")
    names = ["barn owl", "tawny owl", "silence"]
    assert labels(page) == (names, names, ", ".join(names)) and commit in page.inner_text("table.about")
    assert "Owls of this garden" in page.inner_text(".model-card") and "cc0" not in page.inner_text(".model-card")
    page.get_by_role("tab", name="Inside").click()
    page.wait_for_function("document.querySelector('#why').innerText.includes('Model: me/owls.')")
    page.click("#explain-label input")
    assert page.get_by_role("option").all_inner_texts()[-3:] == names


def test_going_back_by_the_list_and_by_keyboard_alone(open_page):
    page = open_page()
    page.focus(HUB_ID)
    page.keyboard.type("me/owls")
    page.keyboard.press("Enter")
    said(page, "is loaded")
    shows(page, "me/owls")
    page.wait_for_function("document.querySelector('#model input').value.startsWith('me/owls@')")
    page.focus("#model input")
    page.keyboard.press("Control+a")
    page.keyboard.type("asm-rh-key")
    page.wait_for_function("document.querySelectorAll('[role=option]').length === 1")  # the list is narrowed to it
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#model input').value === 'asm-rh-keywords'")
    page.focus("#load-model")
    page.keyboard.press("Enter")
    shows(page, "asm-rh-keywords")
    page.wait_for_function("document.querySelector('#heard').innerText.includes('YES')")
    assert page.locator("#model-status dt").nth(1).inner_text() == "window", "no commit where there is none"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [("me/nobody", "no repository 'me/nobody' on the Hub"), ("me/owls@v9", "no revision 'v9'"), ("owls", "'owls' is no Hub id: expected")],
)
def test_what_cannot_be_loaded_is_one_line_and_the_model_stays(open_page, wanted, words):
    page = open_page()
    load(page, "me/bats")
    before = page.inner_text("#heard"), page.input_value("#model input"), page.inner_text("#model-status")
    ask(page, wanted)
    line = page.locator("#model-said [role=alert]")
    line.wait_for()
    assert words in line.inner_text() and "The model that was here stays." in line.inner_text()
    assert (page.inner_text("#heard"), page.input_value("#model input"), page.inner_text("#model-status")) == before
    assert page.input_value(HUB_ID) == wanted, "to be corrected"
    load(page, "me/owls")
    assert page.locator("#model-said [role=alert]").count() == 0


# ---------------------------------------------------------------------------------------------- visitors


def test_each_visitor_has_their_own_model_and_equal_ones_are_shared(open_page, hub, owls):
    first, second, third = (open_page() for _ in range(3))
    load(first, "me/owls")
    load(second, "me/bats")
    load(third, "me/owls")
    fetched = [line for line in hub[0].requests if line.startswith("GET /me/owls/resolve/") and line.endswith("/model.safetensors")]
    assert len(fetched) == 1, "downloaded once for all of these tests"
    for page in (first, second):
        page.click("#example-2")
        page.wait_for_function("document.querySelector('#timeline .tl').dataset.source.includes('on-off')")
    assert events(first) == expected(owls, example_paths()[2])
    assert "bat" not in first.inner_text("#timeline") and "noctule" in second.inner_text("#timeline")
    fresh = open_page()
    shows(fresh, "asm-rh-keywords")
    assert "YES" in fresh.inner_text("#heard"), "a new visitor meets the page's own model"


def test_who_listens_goes_on_with_the_new_model(page_url, playwright, tmp_path):
    noise_wav(tmp_path / "noise.wav", 120)
    with browser_with(playwright, tmp_path / "noise.wav") as browser:
        page, other = open_live(browser, page_url), open_live(browser, page_url)
        troubles = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        for each in (page, other):
            start(each)
        page.wait_for_timeout(1500)
        ask(page, "me/owls")
        page.wait_for_function("document.querySelector('.lv-say').innerText === 'Listening goes on with me/owls.'")
        page.wait_for_function("document.querySelector('.live').stats.steps.length > 4")
        assert page.get_attribute(".live", "data-state") == "listening"
        own = stats(page)
        assert all(len(step["scores"]) == 3 for step in own["steps"]) and own["lost"] == pytest.approx(0, abs=0.01)
        assert {"barn owl", "tawny owl", "silence"} == set(page.locator(".lv-name b").all_inner_texts())
        assert all(len(step["scores"]) == 12 for step in stats(other)["steps"]), "another listener notices nothing"
        page.click(".lv-inside summary")
        page.wait_for_function("document.querySelector('.live').stats.inside")
        page.click(".lv-pause")
        ask(page, "me/bats")
        page.wait_for_selector('.live[data-state="stopped"]')
        page.wait_for_function("document.querySelector('.lv-say').innerText === 'The model is now me/bats: start listening again.'")
        start(page)
        page.click(".lv-replay")
        page.wait_for_function("document.querySelector('#status').innerText.includes('live-from-')")
        page.wait_for_function("document.querySelector('#timeline').innerText.includes('noctule')")
        page.get_by_role("tab", name="Live").click()
        for each in (page, other):
            stop(each)
        assert troubles == []


# ---------------------------------------------------------------------------------------------- looks


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_of_a_phone(open_page, scheme):
    page = open_page(390, 844, color_scheme=scheme)
    load(page, "me/owls")
    ask(page, "me/nobody-with-a-name-that-is-longer-than-any-line-of-a-phone-could-ever-be")
    page.wait_for_selector("#model-said [role=alert]")
    for tab in ("About", "Live", "File"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = [page.locator(name).bounding_box() for name in ("#model", "#hub-id", "#load-model", "#model-said", "#model-status")]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
    assert boxes[2]["height"] >= 36 and boxes[0]["y"] < boxes[1]["y"] < boxes[2]["y"]


def test_what_is_not_offered_cannot_be_typed_and_an_absent_hub_is_one_line(browser):
    with served(0.0, threads=1, ASM_RH_MODELS="me/owls") as (url, _):
        page = browser.new_context().new_page()
        page.goto(url)
        page.wait_for_selector("#timeline .tl")
        assert page.locator(HUB_ID).count() == 0
        page.click("#model input")
        page.get_by_role("option", name="me/owls").click()
        page.click("#load-model")
        page.wait_for_selector("#model-said [role=alert]")
        assert "me/owls@main is not on this machine and the Hub cannot be reached" in page.inner_text("#model-said")
        page.wait_for_function("document.querySelector('#model input').value === 'asm-rh-keywords'")
        assert "asm-rh-keywords" in page.inner_text("#model-status")
        page.context.close()
