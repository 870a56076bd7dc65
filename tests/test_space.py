"""The assembled Space starts from its own folder, without a home, and answers."""

import asyncio
import base64
import os
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from app.examples import example_paths
from asm_rh.classifier import Classifier
from asm_rh.cli import main
from asm_rh.space import ROOT, assemble


def test_the_folder_holds_what_a_space_needs_and_no_more(tmp_path, capsys):
    assert main(["space", str(tmp_path / "space")]) == 0
    assert "--repo-type space" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "space").iterdir()}
    assert names == {"app.py", "requirements.txt", "packages.txt", "LICENSE", "README.md", "model.txt", "app", "asm_rh", "checkpoints"}
    front = (tmp_path / "space" / "README.md").read_text(encoding="utf-8").split("---")[1]
    assert "sdk: gradio" in front and "app_file: app.py" in front and "title: asm-rh-keywords" in front
    assert 'python_version: "3.12"' in front and "preload_from_hub" not in front
    requirements = (tmp_path / "space" / "requirements.txt").read_text(encoding="utf-8")
    assert f"sdk_version: {requirements.split('gradio')[1].split('==')[1].split()[0]}" in front, "tested with the version it asks for"
    copied = {path.name for path in (tmp_path / "space" / "checkpoints" / "asm-rh-keywords").iterdir()}
    assert copied == {"config.json", "model.safetensors", "README.md"}
    assert not list((tmp_path / "space").rglob("__pycache__"))


def test_a_folder_with_something_in_it_is_refused(tmp_path, capsys):
    (tmp_path / "secret.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="expected a new or an empty folder"):
        assemble(tmp_path, "asm-rh-keywords")
    assert main(["space", str(tmp_path)]) == 2 and "empty folder" in capsys.readouterr().err


@contextmanager
def running(folder, python, home, temporary, *flags, before=()):
    """The address of `python app.py`, started in the Space's folder with nothing of this user's but a home and a temporary folder."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    environment = {**kept, "HOME": str(home), "TMPDIR": str(temporary), "GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1",
                   "SPACES_ZERO_GPU": "1", "OMP_NUM_THREADS": "1"}  # fmt: skip
    with open(temporary / "log.txt", "wb") as log:
        process = subprocess.Popen([*before, str(python), "app.py", *flags], cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}/"
        for _ in range(480):
            assert process.poll() is None, (temporary / "log.txt").read_text()
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def check_endpoints(url, name):
    """The three endpoints answer as the page's model should."""
    gradio_client = pytest.importorskip("gradio_client")
    client = gradio_client.Client(url, verbose=False)
    sound = gradio_client.handle_file(str(example_paths()[0]))
    assert client.predict(sound, 1, api_name="/classify")[0]["label"] in {"yes", "no", "stop", "go", "_unknown_"}
    assert client.predict(sound, 0.5, 0.8, api_name="/classify_windows")["events"]
    told, report = client.predict(sound, 1.0, "", api_name="/explain")
    assert told["model"] == name and report.endswith(".html")


def check_tools(url):
    """The same three are tools that an MCP client lists and calls."""
    mcp, http = pytest.importorskip("mcp"), pytest.importorskip("mcp.client.streamable_http")
    sound = "data:audio/wav;base64," + base64.b64encode(example_paths()[0].read_bytes()).decode()
    given = {"classify": {"top_k": 2}, "classify_windows": {"hop_seconds": 0.5, "threshold": 0.8}, "explain": {"at_seconds": 1.0}}

    async def ask():
        async with http.streamable_http_client(f"{url}gradio_api/mcp/") as (read, write, _), mcp.ClientSession(read, write) as session:
            await session.initialize()
            names = {tool.name: end for tool in (await session.list_tools()).tools for end in given if tool.name.endswith(end)}
            return {end: await session.call_tool(name, {"audio": sound, **given[end]}) for name, end in names.items()}

    answers = asyncio.run(ask())
    assert set(answers) == set(given)
    for end, word in (("classify", "score"), ("classify_windows", "events"), ("explain", "sentences")):
        assert not answers[end].isError and word in " ".join(getattr(part, "text", "") for part in answers[end].content), answers[end]


def files_below(folder):
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.network
def test_the_space_starts_without_a_home_and_its_endpoints_answer(tmp_path):
    trained, temporary = tmp_path / "my-own-words", tmp_path / "temporary"
    Classifier("asm-rh-keywords", "cpu").model.save_pretrained(trained)
    assemble(tmp_path / "space", str(trained))
    temporary.mkdir()
    before = files_below(tmp_path / "space")
    with running(tmp_path / "space", sys.executable, "/dev/null/nobody", temporary) as url:
        check_endpoints(url, "my-own-words")
    assert files_below(tmp_path / "space") == before, "nothing is written outside the temporary folder"


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """An interpreter beside which the Space's requirements are installed and nothing else, or what ASM_RH_SPACE_PYTHON names as one."""
    if named := os.environ.get("ASM_RH_SPACE_PYTHON"):
        yield Path(named)
        return
    place = tmp_path_factory.mktemp("environment")
    assemble(place / "space", "asm-rh-keywords")
    subprocess.run([sys.executable, "-m", "venv", str(place / "venv")], check=True)
    python = place / "venv" / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "-q", "-r", str(place / "space" / "requirements.txt")], check=True)
    yield python
    shutil.rmtree(place)  # gigabytes


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(900)
def test_the_space_runs_on_its_own_requirements_where_it_may_write_nothing_but_temporary_files(bare_python, tmp_path):
    space, home, temporary = tmp_path / "space", tmp_path / "home", tmp_path / "temporary"
    assemble(space, "asm-rh-keywords")
    for folder in (home, temporary):
        folder.mkdir()
    # to root every folder can be written, unless it gives its capabilities away
    before = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.getuid() == 0 and shutil.which("setpriv") else []
    for folder in (home, space, *(path for path in space.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    for folder in (home, space):
        tried = subprocess.run([*before, "touch", str(folder / "mark")], capture_output=True)
        if tried.returncode == 0:
            pytest.skip("this user can write everywhere")
    with running(space, bare_python, home, temporary, "--mcp", before=before) as url:
        check_endpoints(url, "asm-rh-keywords")
        check_tools(url)
    assert "Traceback" not in (log := (temporary / "log.txt").read_text()), log
    assert not list(home.iterdir()) and any(temporary.iterdir())


def test_the_front_matter_is_what_spaces_read():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["sdk"] == "gradio" and front["sdk_version"] == "6.31.0" and front["python_version"] == "3.12"
    assert (ROOT / front["app_file"]).is_file() and len(front["short_description"]) <= 60
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert SpecifierSet(asked).contains(front["python_version"])
    assert (ROOT / "packages.txt").read_text(encoding="utf-8").split() == ["libportaudio2"]
