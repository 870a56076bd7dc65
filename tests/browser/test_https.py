"""The page over https with a home-made certificate, as a phone in the same network needs it: it opens, listens, classifies, answers."""

import datetime
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pytest

from app.examples import example_paths
from benchmarks.live_browser import ROOT, browser_with, noise_wav, open_live, start, stats, stop

pytestmark = pytest.mark.browser
NAME = "asm-rh.test"  # unlike localhost, browsers trust it with a microphone only over https
FLAGS = ("--use-fake-ui-for-media-stream", f"--host-resolver-rules=MAP {NAME} 127.0.0.1")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """(certificate, private key) as files, made on the spot and signed by nobody else."""
    x509 = pytest.importorskip("cryptography.x509", reason="cryptography makes the certificate")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name, day = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)]), datetime.timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False).sign(key, hashes.SHA256())
    folder = tmp_path_factory.mktemp("certificate")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))  # fmt: skip
    return folder / "cert.pem", folder / "key.pem"


@contextmanager
def served_over_https(certificate, folder):
    """The port of `python app.py` with the certificate."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    flags = ["--port", str(port), "--ssl-certfile", str(certificate[0]), "--ssl-keyfile", str(certificate[1])]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRADIO_")}
    environment |= {"GRADIO_TEMP_DIR": str(folder / "gradio"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with open(folder / "log.txt", "wb") as log:
        process = subprocess.Popen([sys.executable, "app.py", *flags], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(480):
            assert process.poll() is None, (folder / "log.txt").read_text()
            try:
                context = ssl.create_default_context(cafile=certificate[0])
                context.check_hostname = False  # it names another one; that it is this very certificate is checked
                urllib.request.urlopen(f"https://127.0.0.1:{port}/", timeout=5, context=context).close()
                break
            except OSError:
                time.sleep(0.25)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_the_page_works_over_https(playwright, certificate, tmp_path):
    gradio_client = pytest.importorskip("gradio_client")
    noise, lost = tmp_path / "noise.wav", []
    noise_wav(noise, 30)
    with served_over_https(certificate, tmp_path) as port, browser_with(playwright, noise, *FLAGS) as browser:
        page = open_live(browser, f"https://{NAME}:{port}/", ignore_https_errors=True)
        page.on("request", lambda request: lost.append(request.url) if request.url.startswith("http:") else None)
        page.on("response", lambda answer: lost.append(answer.url) if answer.status >= 400 else None)
        assert page.evaluate("window.isSecureContext && location.protocol") == "https:"
        start(page)
        page.wait_for_timeout(2000)
        stop(page)
        assert stats(page)["lost"] == 0 and len(stats(page)["steps"]) > 2
        page.get_by_role("tab", name="File").click()
        page.click("#example-1")
        page.wait_for_function("document.querySelector('#status').innerText.includes('left-right')")
        assert lost == []

        client = gradio_client.Client(f"https://127.0.0.1:{port}/", ssl_verify=False, verbose=False)
        sound = gradio_client.handle_file(str(example_paths()[0]))
        assert client.predict(sound, 1, api_name="/classify")[0]["score"] > 0.5
