"""The report of an evaluation in a real Chromium, opened from the disk without a server or a network."""

import pytest
from judged import noise, one_label, several_labels, told

from asm_rh.eval_files import eval_files

pytestmark = pytest.mark.browser
LABELS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "a label of many words", "_silence_"]
CASES = {
    "one": lambda: one_label(LABELS, missing=1, background=("_silence_",), root="/data/a folder with a very long name/" + "deep/" * 12),
    "several": lambda: several_labels(LABELS),
    "many": lambda: one_label([f"a class with a name, number {i}" for i in range(60)], clips=500),
}
# Anything drawn outside of what holds it, other than inside a box that scrolls.
OUTSIDE = """() => [...document.querySelectorAll('.judged *')].filter(e => !e.closest('.scroll > *, svg *, details:not([open]) *')
  && e.getClientRects().length && (e.getBoundingClientRect().right > innerWidth + 0.5 || e.getBoundingClientRect().left < -0.5))
  .map(e => e.outerHTML.slice(0, 90))"""


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a report; afterwards nothing may have failed and nothing but the file may have been asked for."""
    contexts, troubles = [], []

    def open_at(case, width, scheme="light"):
        judged = CASES[case]()
        leak = {"protocol": "A split at random.", "leaky": True} if case == "many" else {}
        path = tmp_path / "report.html"
        path.write_bytes(eval_files(judged, told(judged, false_alarms=noise(), **leak))["report.html"])
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: troubles.append(request.url) if not request.url.startswith(("data:", path.as_uri())) else None)
        page.goto(path.as_uri())
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(opened, case, width):
    page = opened(case, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OUTSIDE) == []
    page.locator("summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_pictures_have_a_size_and_every_point(opened):
    page = opened("one", 390)
    boxes = page.locator(".chart-plot svg").evaluate_all("all => all.map(e => [e.clientWidth, e.clientHeight])")
    assert len(boxes) == 3 and all(width > 250 and height > 150 for width, height in boxes)
    curve = page.locator(".chart-plot svg").nth(2).locator(".dots")
    assert curve.get_attribute("d").count("M") == 3
    cells = page.locator("table.matrix td")
    assert cells.count() == len(LABELS) ** 2 and sum(map(int, cells.all_inner_texts())) == 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_and_cells_can_be_read_light_and_dark(opened, scheme):
    page = opened("one", 1280, scheme)
    # relative luminance as of WCAG, of the text and of what lies behind it
    contrast = page.evaluate("""() => {
      const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
      const paint = colour => { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); };
      const rgb = (...colours) => { canvas.clearRect(0, 0, 1, 1); colours.forEach(paint);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3); };
      const light = c => c.map(v => v / 255).map(v => v <= 0.04 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const back = getComputedStyle(document.querySelector('section')).backgroundColor;
      return [...document.querySelectorAll('section p, .key, td.right, td.wrong:not(:has(.none)), .scroll th')].map(e => {
        const style = getComputedStyle(e), behind = [back, style.backgroundColor];
        const a = light(rgb(...behind)), b = light(rgb(...behind, style.color));
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); });
    }""")
    assert len(contrast) > 100 and min(contrast) >= 4.5
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(v => v < 60)")
    assert dark == (scheme == "dark")


def test_the_warning_stands_above_the_figures(opened):
    page = opened("many", 390)
    tops = page.evaluate("['.leak', '.numbers'].map(name => document.querySelector(name).getBoundingClientRect().top)")
    assert tops[0] < tops[1] < 900 and "too good" in page.locator(".leak").inner_text()
