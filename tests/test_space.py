"""The assembled Space starts from its own folder, without a home, and answers."""

import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from app.examples import example_paths
from asm_rh.classifier import Classifier
from asm_rh.cli import main
from asm_rh.space import assemble


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
    with pytest.raises(ValueError, match="expected a new or an empty folder"):
        assemble(tmp_path, "asm-rh-keywords")
    assert main(["space", str(tmp_path)]) == 2 and "empty folder" in capsys.readouterr().err


@pytest.mark.network
def test_the_space_starts_without_a_home_and_its_endpoints_answer(tmp_path):
    gradio_client = pytest.importorskip("gradio_client")
    trained = tmp_path / "my-own-words"
    Classifier("asm-rh-keywords", "cpu").model.save_pretrained(trained)
    assemble(tmp_path / "space", str(trained))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV") if name in os.environ}
    environment = {**kept, "HOME": "/dev/null/nobody", "GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1", "SPACES_ZERO_GPU": "1",
                   "GRADIO_TEMP_DIR": str(tmp_path / "temporary"), "OMP_NUM_THREADS": "1"}  # fmt: skip
    before = {path for path in (tmp_path / "space").rglob("*") if "__pycache__" not in path.parts}
    process = subprocess.Popen([sys.executable, "app.py"], cwd=tmp_path / "space", env=environment, stderr=subprocess.PIPE)
    try:
        url = f"http://127.0.0.1:{port}/"
        for _ in range(240):
            assert process.poll() is None, process.stderr.read().decode()
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        client = gradio_client.Client(url, verbose=False)
        sound = gradio_client.handle_file(str(example_paths()[0]))
        assert client.predict(sound, 1, api_name="/classify")[0]["label"] in {"yes", "no", "stop", "go", "_unknown_"}
        assert client.predict(sound, 0.5, 0.8, api_name="/classify_windows")["events"]
        told, report = client.predict(sound, 1.0, "", api_name="/explain")
        assert told["model"] == "my-own-words" and report.endswith(".html")
    finally:
        process.terminate()
        process.wait(timeout=30)
    after = {path for path in (tmp_path / "space").rglob("*") if "__pycache__" not in path.parts}
    assert after == before, "nothing is written outside the temporary folder"
