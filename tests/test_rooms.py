"""The map of rooms in CONTRIBUTING.md is the imports as they are."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROW = re.compile(r"^\| `asm_rh/(\w+)\.py` \|[^|]*\|([^|]*)\|$", re.MULTILINE)
FORBIDDEN = {"app", "gradio", "matplotlib", "plotly", "pandas"}


def drawn_map():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return {room: {name.strip() for name in used.split(",") if name.strip()} for room, used in ROW.findall(text)}


def imports(path):
    """(names of rooms, names of packages) that a module imports anywhere, also inside functions."""
    rooms, packages = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            rooms |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            packages.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
    return rooms - {"__version__"}, packages


def test_every_module_is_on_the_map():
    modules = {path.stem for path in (ROOT / "asm_rh").glob("*.py")} - {"__init__"}
    assert modules == set(drawn_map())


def test_rooms_use_exactly_what_the_map_says():
    found = {path.stem: imports(path)[0] for path in (ROOT / "asm_rh").glob("*.py") if path.stem != "__init__"}
    assert found == drawn_map()


def test_the_library_never_imports_the_page_or_a_plotting_package():
    for path in (ROOT / "asm_rh").glob("*.py"):
        assert not imports(path)[1] & FORBIDDEN, path.name


def test_torchaudio_stays_where_it_belongs():
    users = {path.stem for path in (ROOT / "asm_rh").glob("*.py") if "torchaudio" in imports(path)[1]}
    assert users == {"audio"}


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, asm_rh; print(sorted({'torch', 'torchaudio', 'gradio', 'sounddevice', 'app'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_committed_text_names_a_machine_path():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        return
    unwanted = [re.compile(pattern) for pattern in (r"/(?:work|home|root|Users)/\w", r"/tmp/\w")]
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".json", ".js", ".css"} and path != Path(__file__):
            text = path.read_text(encoding="utf-8")
            assert not any(pattern.search(text) for pattern in unwanted), name
