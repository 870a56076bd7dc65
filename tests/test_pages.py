"""Every figure on the pages is the one in benchmarks/results."""

from pathlib import Path

from benchmarks import pages

ROOT = Path(__file__).parent.parent


def test_pages_say_what_the_results_say():
    for path, text in pages.pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is stale: run python -m benchmarks.pages"


def test_a_changed_figure_would_be_noticed():
    before = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb"
    assert pages.filled(before, "x", "new") == "a\n<!-- x:begin -->\nnew\n<!-- x:end -->\nb"
    assert pages.percent(0.95678) == "95.7 %"
    assert pages.interval((0.9412, 0.97)) == "94.1 to 97.0"


def test_readme_commands_are_where_the_check_looks_for_them():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for mark, ending in (("<!-- run -->", "app.py"), ("<!-- test -->", "pytest")):
        block = text.split(mark, 1)[1].split("```")[1].strip()
        assert block.startswith("python3 -m venv .venv && .venv/bin/pip install -r requirements.txt")
        assert block.endswith(ending)
