"""The Inside tab in a real Chromium: what it says is what the library says, and nothing is computed before it is asked."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from app.examples import example_paths
from asm_rh import signals
from asm_rh.classifier import Classifier
from asm_rh.explain import explain
from asm_rh.report import save
from asm_rh.sentences import column_words, fell, row_words, sentences

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def classifier():
    return Classifier("asm-rh-keywords", "cpu")


def open_inside(open_page, **options):
    page = open_page(**options)
    page.get_by_role("tab", name="Inside").click()
    page.wait_for_selector("#explain")
    return page


def said(page, tmp_path, start="From "):
    """The sentences on the page, the first of which begins with `start`, and the summary that can be downloaded."""
    page.wait_for_function(f"document.querySelector('#why p')?.innerText.startsWith({json.dumps(start)})")
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
    assert page.locator("#why h1").count() == 0, "nothing is computed before it is asked"
    page.click("#look-inside")
    summary = said(page, tmp_path)
    assert page.get_by_role("tab", name="Inside").get_attribute("aria-selected") == "true"
    assert summary["start"] <= moment <= summary["end"]
    start, wave, rate = classifier.window_at(example_paths()[0], moment, 0.25)
    assert start == pytest.approx(summary["start"])
    found = explain(classifier, wave, rate, start, name="asm-rh-keywords")
    assert summary["sentences"] == sentences(found)
    assert page.locator("#why td.cause").count() == len(found.causes)
    assert page.locator("#why audio").count() == 3


@pytest.fixture(scope="module")
def found(classifier):
    start, wave, rate = classifier.window_at(example_paths()[0], 0.75)
    return explain(classifier, wave, rate, start, name="asm-rh-keywords")


@pytest.fixture
def report(browser, found, tmp_path):
    """The report as a file, opened from the disk: the same view as the tab's, without a server."""
    path = save(found, tmp_path)[0]
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    troubles = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert troubles == []


def point(figure, grid, row, column):
    """Where a patch lies in a figure's plot, in pixels from its corner."""
    box = figure.locator(".map-plot").bounding_box()
    return {"x": box["width"] * (column + 0.5) / grid.columns, "y": box["height"] * (1 - (row + 0.5) / grid.rows)}


def test_one_block_is_open_and_the_overview_opens_the_others(report, found):
    falls = found.falls()
    strongest = max(found.causes, key=lambda cause: abs(falls[cause.name])).block
    assert report.locator(".look-block:visible h2").all_inner_texts() == [f"Block {strongest}"]
    report.click('.causes [data-open="3"]')
    assert report.locator(".look-block:visible h2").all_inner_texts() == ["Block 3"]
    report.click(".look-block:visible .step >> nth=1")
    assert report.locator(".look-block:visible h2").all_inner_texts() == ["Block 4"]
    assert report.locator('.causes [aria-pressed="true"]').all_inner_texts() == ["Block 4"]


def test_hovering_marks_the_same_patch_in_all_maps_with_their_numbers(report, found):
    report.click('.causes [data-open="1"]')
    figures = report.locator(".look-block:visible .map.patches")
    figures.first.locator(".map-plot").hover(position=point(figures.first, found.grid, 2, 7))
    place = f"{row_words(found.grid, 2)}, {column_words(found.grid, 7, found.start)}"
    roll, mixing = (found.energies[f"blocks.1.{part}"] for part in ("roll", "hermit"))
    wanted = [getattr(maps, name) for maps in (roll, mixing) for name in ("before", "after", "change")]
    wanted += [reading.energies[1].after for reading in found.readings]
    told = figures.locator(".map-read").all_inner_texts()
    assert len(told) == len(wanted)
    for words, values in zip(told, wanted, strict=True):
        assert words == f"{place}: {values[2, 7]:.2f}".replace("-", "−")
    marks = figures.locator(".cell-mark.over").evaluate_all("marks => marks.map(m => [m.style.display, m.style.left, m.style.bottom])")
    assert len({tuple(mark) for mark in marks}) == 1 and marks[0][0] == "block"


def test_a_patch_is_followed_through_the_blocks(report, found):
    figure = report.locator(".look-evidence .map.patches").first
    token = 1 * found.grid.columns + 4
    figure.locator(".map-plot").click(position=point(figure, found.grid, 1, 4))
    report.wait_for_selector(".follow-maps figure")
    index = found.followed.tokens.tolist().index(token)
    shares = found.followed.shares[index]
    place = f"{row_words(found.grid, 1)}, {column_words(found.grid, 4, found.start)}"
    fall = found.score - float(found.followed.scores[index, found.labels.index(found.label)])
    words = report.inner_text(".follow-say")
    assert words.startswith(f"Without the patch at {place} {found.label} {fell(fall)}.")
    assert [int(x) for x in re.findall(r"(\d+) %", words)] == pytest.approx([100 * shares[1, token], 100 * shares[-1, token]], abs=0.51)
    rows = report.locator(".follow-table tbody tr")
    assert rows.count() == report.locator(".follow-maps figure").count() == len(shares)
    for row, own in zip(rows.all(), shares, strict=True):
        cells = row.locator("td").all_inner_texts()
        other = np.where(np.arange(len(own)) == token, -1, own)
        assert int(cells[0].removesuffix(" %")) == pytest.approx(100 * own[token], abs=0.51)
        assert int(cells[2].removesuffix(" %")) == pytest.approx(100 * other.max(), abs=0.51)
        if other.max() > 0.01:
            r, c = divmod(int(other.argmax()), found.grid.columns)
            assert cells[1] == f"{row_words(found.grid, r)}, {column_words(found.grid, c, found.start)}"


def test_the_keyboard_reaches_a_patch(report, found):
    report.locator(".look-evidence .map-plot").first.focus()
    for key in ("ArrowUp", "ArrowRight", "ArrowRight", "Enter"):
        report.keyboard.press(key)
    place = f"{row_words(found.grid, 1)}, {column_words(found.grid, 2, found.start)}"
    assert report.inner_text(".follow-say").startswith(f"Without the patch at {place} ")


@pytest.mark.parametrize("kind", ["patches", "profile"])
def test_pictures_are_saved_as_png_and_svg(report, kind):
    figure = report.locator(f".look-block:visible .map.{kind}").first
    with report.expect_download() as got:
        figure.locator('[data-save="svg"]').click()
    drawing = got.value.path().read_text(encoding="utf-8")
    assert got.value.suggested_filename.endswith(".svg") and drawing.startswith("<svg") and drawing.count("<text") > 5
    assert ("<image" in drawing) == (kind == "patches") and "http" not in drawing.replace("http://www.w3.org/2000/svg", "")
    with report.expect_download() as got:
        figure.locator('[data-save="png"]').click()
    image = np.asarray(Image.open(io.BytesIO(got.value.path().read_bytes())).convert("RGB"))
    assert image.shape == (2 * 452, 2 * 840, 3) and len(np.unique(image.reshape(-1, 3), axis=0)) > 20


def test_a_computed_signal_is_explained_for_a_class_one_asks_for(open_page, tmp_path, classifier):
    page = open_inside(open_page)
    page.click("#explain-label input")
    page.get_by_role("option", name="stop", exact=True).click()
    page.click("#proof-0")
    summary = said(page, tmp_path, "From 0.00 to 1.00 s")
    found = explain(classifier, signals.click(), signals.RATE, 0.0, "stop", name="asm-rh-keywords")
    assert summary["label"] == "stop" and summary["sentences"] == sentences(found)


def test_it_fits_a_phone(open_page):
    page = open_inside(open_page, width=390)
    page.click("#proof-1")
    page.wait_for_selector("#why h1")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
