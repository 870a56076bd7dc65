"""The Inside tab in a real Chromium: what it says is what the library says, and nothing is computed before it is asked."""

import json

import pytest

from app.examples import example_paths
from asm_rh import signals
from asm_rh.classifier import Classifier
from asm_rh.explain import explain, sentences

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def classifier():
    return Classifier("asm-rh-keywords", "cpu")


def open_inside(open_page, **options):
    page = open_page(**options)
    page.get_by_role("tab", name="Inside").click()
    page.wait_for_selector("#explain")
    return page


def said(page, tmp_path):
    """The sentences on the page, and the summary that can be downloaded."""
    page.wait_for_selector("#why h1")
    page.wait_for_selector("#why-2")
    with page.expect_download() as got:
        page.click("#why-2")
    got.value.save_as(tmp_path / "summary.json")
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    shown = [words.strip() for words in page.locator("#why p").all_inner_texts()]
    assert all(words in shown for words in summary["sentences"][1:])
    return summary


def test_the_moment_of_the_file_tab_is_explained(open_page, tmp_path, classifier):
    page = open_page()
    moment = float(page.input_value("#moment input"))
    page.get_by_role("tab", name="Inside").click()
    assert page.locator("#why h1").count() == 0, "nothing is computed before it is asked"
    page.click("#explain")
    summary = said(page, tmp_path)
    assert summary["start"] <= moment <= summary["end"]
    start, wave, rate = classifier.window_at(example_paths()[0], moment)
    assert start == pytest.approx(summary["start"])
    found = explain(classifier, wave, rate, start, name="asm-rh-keywords")
    assert summary["sentences"] == sentences(found)
    assert page.locator("#why td.cause").count() == len(found.causes)
    assert page.locator("#why audio").count() == 3


def test_a_computed_signal_is_explained_for_a_class_one_asks_for(open_page, tmp_path, classifier):
    page = open_inside(open_page)
    page.click("#explain-label input")
    page.get_by_role("option", name="stop", exact=True).click()
    page.click("#proof-0")
    summary = said(page, tmp_path)
    found = explain(classifier, signals.click(), signals.RATE, 0.0, "stop", name="asm-rh-keywords")
    assert summary["label"] == "stop" and summary["sentences"] == sentences(found)


def test_it_fits_a_phone(open_page):
    page = open_inside(open_page, width=390)
    page.click("#proof-1")
    page.wait_for_selector("#why h1")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
