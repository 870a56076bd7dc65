"""Downloads that are large, slow, cut or stuck, through the Hub's real client: told as they come, ended when nothing comes."""

import io
import os
import pty
import subprocess
import sys
import termios
from types import SimpleNamespace

import hub_client
import pytest
import torch
from hub_driver import built, command, dead_endpoint, driven, environment, refusal, value
from hub_server import TOKEN, Fault, serving
from safetensors.torch import save

from asm_rh.checkpoint import save as save_model
from asm_rh.downloads import Stalled, Watch
from asm_rh.weight_files import HUB_IDS

pytestmark = pytest.mark.network
MEGABYTE = 10**6
WEIGHTS = "GET .*safetensors"
TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.tensor([1.0, -1.0])}
LISTED = {name: tensor.tolist() for name, tensor in TENSORS.items()}


def files_of(model, folder):
    save_model(model, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The files of a model of 40 MB, and what its weights hash to."""
    model = built(3, width=512, channel_hidden=4800)
    files = files_of(model, tmp_path_factory.mktemp("large"))
    assert 38 * MEGABYTE < len(files["model.safetensors"]) < 44 * MEGABYTE
    return files, hub_client.fingerprint(model)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return files_of(built(0), tmp_path_factory.mktemp("small"))


LARGE = {
    "slow-line": ([Fault("throttled 4", WEIGHTS)], False),
    "unwanted": ([Fault("throttled 4", WEIGHTS)], False),
    "cut-once": ([Fault("cut 30e6", WEIGHTS, 1)], False),
    "cut-once-resumes": ([Fault("cut 30e6", WEIGHTS, 1)], True),
    "cut-often-resumes": ([Fault("cut 15e6", WEIGHTS, 1), Fault("cut 26e6", WEIGHTS, 1), Fault("cut 37e6", WEIGHTS, 1)], True),
    "cut-always": ([Fault("cut 30e6", WEIGHTS)], False),
    "cut-always-there": ([Fault("cut 30e6", WEIGHTS)], True),
    "worn-on-the-way": ([Fault("corrupt", WEIGHTS, 1)], False),
}  # what goes wrong, and whether the server can go on where it stopped
STUCK = {
    "hangs": Fault("hang", "/resolve/"),
    "hangs-on-get": Fault("hang", "GET /.*/resolve/"),
    "stuck": Fault("stuck", WEIGHTS),
    "stuck-then-well": Fault("stuck", WEIGHTS, 1),
}


@pytest.fixture(scope="module")
def hub(large, small, tmp_path_factory):
    """A hub with all of these, and with weights of others -> (Hub, address, home)."""
    with serving() as (found, endpoint):
        for name, (faults, ranges) in LARGE.items():
            found.add(f"me/{name}", large[0], faults=faults, ranges=ranges)
        for name, fault in STUCK.items():
            found.add(f"me/{name}", small, faults=[fault])
        for name in ("bar", "quiet", "push-hangs", "card"):
            found.add(f"me/{name}", large[0] if name == "bar" else small)
        found.repos["me/push-hangs"].faults.append(Fault("hang", "POST"))
        tensors, pickled = save(TENSORS), pickle_of(TENSORS)
        for repo in HUB_IDS.values():
            found.add(repo, {"model.safetensors": tensors, "pytorch_model.bin": pickled, "config.json": b"{}"})
        others = {
            "both": {"model.safetensors": tensors, "pytorch_model.bin": pickle_of({"other": torch.ones(1)})},
            "pickled": {"pytorch_model.bin": pickled}, "neither": {"tf_model.h5": b"x"}, "harmful": {"pytorch_model.bin": HARM},
            "header": {"model.safetensors": (10 * 2**30).to_bytes(8, "little") + b"{" * 1000},
            "worn": {"model.safetensors": tensors}, "ours": small, "offline": {"pytorch_model.bin": pickled},
            "old": {"model.safetensors": tensors},
        }  # fmt: skip
        for name, files in others.items():
            found.add(f"them/{name}", files)
        found.repos["them/old"].commit({"model.safetensors": save({"new": torch.zeros(1)})})
        found.repos["them/old"].refs["v1"] = next(iter(found.repos["them/old"].commits))
        yield found, endpoint, tmp_path_factory.mktemp("home")


def pickle_of(tensors):
    held = io.BytesIO()
    torch.save(tensors, held)
    return held.getvalue()


HARM = b"\x80\x04cos\nsystem\n(S'touch harm'\ntR."


@pytest.fixture(scope="module")
def pulled(hub):
    """What came of every download that is slow, cut or stuck."""
    _, endpoint, home = hub
    cases = {name: [["progress" if name == "slow-line" else "load", {"source": f"me/{name}"}]] for name in [*LARGE, *STUCK]}
    cases["slow-line"] += [["progress", {"source": "me/slow-line"}]]
    cases["unwanted"] = [["give_up", {"source": "me/unwanted"}]]
    cases["worn-on-the-way"] = [["progress", {"source": "me/worn-on-the-way"}]]
    cases["push"] = [["push", {"source": "asm-rh-keywords", "repo": "me/push-hangs", "token": TOKEN}]]
    return driven(cases, endpoint, home)


# ---------------------------------------------------------------------------------------- progress


def test_bytes_are_told_while_they_come(pulled, large):
    found = value(pulled["slow-line"][0])
    done, totals, seconds = zip(*found["told"])
    assert set(totals) == {sum(map(len, large[0].values()))}, "the whole is known from the beginning"
    assert list(done) == sorted(set(done)) and done[-1] == totals[0] and len(done) >= 4
    early = [at for bytes_, at in zip(done, seconds) if MEGABYTE < bytes_ < 25 * MEGABYTE]
    assert early and max(early) < 0.75 * found["seconds"], "not all of it is told at the end"
    assert found["seconds"] > 3.5


def test_nothing_is_told_of_what_is_here(pulled):
    assert value(pulled["slow-line"][1])["told"] == []


def test_what_is_downloaded_once_more_is_added_to_the_whole(pulled, large):
    done, totals, _ = zip(*value(pulled["worn-on-the-way"][0])["told"])
    assert list(done) == sorted(set(done)) and done[-1] == totals[-1]
    assert totals[-1] - totals[0] == len(large[0]["model.safetensors"])


def test_a_progress_that_raises_ends_the_download(pulled, hub):
    assert "could not load me/unwanted: enough" in refusal(pulled["unwanted"][0])
    blobs = hub[2] / "hub" / "models--me--unwanted" / "blobs"
    assert sum(path.stat().st_size for path in blobs.iterdir()) < MEGABYTE, "nothing half remains"


def test_xet_tells_what_is_written_and_nothing_twice():
    from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter

    told, watch = [], Watch(1.0, lambda done, total: told.append((done, total)))
    watch.expect(100)
    with watch.file(100) as bar, XetDownloadProgressReporter(reconstruction_desc="x", total=100, log_level=30, tqdm_class=bar) as report:
        for written, came in ((0, 30), (40, 60), (40, 70), (90, 90)):
            report.update_progress(SimpleNamespace(
                total_bytes_completed=written, total_transfer_bytes_completed=came, total_bytes=100, total_bytes_completion_rate=1.0,
                total_transfer_bytes_completion_rate=1.0,
            ))  # fmt: skip
    assert told == [(40, 100), (90, 100), (100, 100)]


def test_patience_counts_tries_that_bring_nothing_new():
    watch = Watch(7.0)
    watch.expect(10)

    def ask(waits):
        request = SimpleNamespace(method="GET", url="x", extensions={"timeout": waits})
        watch.before_request(request)
        return request.extensions["timeout"]

    with watch.file(10):
        assert ask({"connect": None, "read": 60, "write": 2}) == {"connect": 7.0, "read": 7.0, "write": 2}
        for count in (4, -4, 4):  # the same four bytes twice
            watch.add(count)
            ask({})
        watch.add(1)
        ask({})
        ask({})
        ask({})
        with pytest.raises(Stalled, match="3 tries brought nothing new"):
            ask({})


def terminal(arguments, endpoint, home, **more):
    """The command line with a terminal for standard error -> what it wrote there."""
    home.mkdir(exist_ok=True)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = subprocess.Popen(
        [sys.executable, "-m", "asm_rh", *arguments], env=environment(endpoint, home, **more), cwd=home, stderr=theirs,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # what Linux says of a terminal that nobody holds any more
            break
        text += part
        if not part:
            break
    os.close(ours)
    assert process.communicate(timeout=60)[0] and process.returncode == 0, text
    return text.decode()


def test_a_terminal_sees_a_bar_and_nothing_else_does(hub, tmp_path):
    server, endpoint, _ = hub
    server.repos["me/bar"].faults.append(Fault("throttled 3", WEIGHTS))
    seen = terminal(["info", "me/bar"], endpoint, tmp_path / "one", HF_HUB_DISABLE_PROGRESS_BARS="0")
    assert "me/bar:" in seen and "%" in seen and "B/s" in seen
    assert terminal(["info", "me/bar"], endpoint, tmp_path / "one", HF_HUB_DISABLE_PROGRESS_BARS="0") == "", "it is here by now"
    assert terminal(["info", "me/quiet"], endpoint, tmp_path / "two", HF_HUB_DISABLE_PROGRESS_BARS="1") == "", "as the user wishes"
    done = command(["info", "me/quiet"], endpoint, tmp_path, HF_HUB_DISABLE_PROGRESS_BARS="0")
    assert done.returncode == 0 and done.stderr == "", "a pipe is no terminal"


# ---------------------------------------------------------------------------------------- cut and stuck


@pytest.mark.parametrize("name", ["cut-once", "cut-once-resumes", "cut-often-resumes"])
def test_a_large_file_that_was_cut_comes_whole(pulled, large, name):
    assert value(pulled[name][0])["weights"] == large[1]
    asked = [line for line in pulled[name][0]["requests"] if line.startswith("GET") and "safetensors" in line]
    assert len(asked) == (4 if "often" in name else 2)


@pytest.mark.parametrize("name", ["cut-always", "cut-always-there"])
def test_a_large_file_that_is_always_cut_ends_in_one_line_and_leaves_no_half(pulled, hub, name):
    words = f"the transfer of me/{name} broke off or stands still (3 tries brought nothing new): check the connection and try again"
    assert refusal(pulled[name][0]) == words
    assert pulled[name][0]["seconds"] < 40
    snapshots = hub[2] / "hub" / f"models--me--{name}" / "snapshots"
    assert not list(snapshots.glob("*/model.safetensors"))
    assert sum(path.stat().st_size for path in (snapshots.parent / "blobs").iterdir()) < MEGABYTE


@pytest.mark.parametrize("name", ["hangs", "hangs-on-get", "stuck"])
def test_a_hub_that_falls_silent_costs_less_than_a_minute(pulled, name):
    assert f"the transfer of me/{name} broke off or stands still" in refusal(pulled[name][0])
    assert pulled[name][0]["seconds"] < 60  # the client alone waits six minutes, or for ever


def test_a_hub_that_falls_silent_once_is_asked_again(pulled, small):
    assert value(pulled["stuck-then-well"][0])


def test_a_push_to_a_hub_that_falls_silent_ends(pulled):
    assert "the transfer of me/push-hangs broke off or stands still (2 tries" in refusal(pulled["push"][0])
    assert pulled["push"][0]["seconds"] < 60  # the client alone waits for ever


# ---------------------------------------------------------------------------------------- weights of others


@pytest.fixture(scope="module")
def others(hub):
    """What came of every repository of weights of others."""
    _, endpoint, home = hub
    one = ["deit", "ast", "mixer", *(f"them/{name}" for name in ("both", "pickled", "neither", "harmful", "header", "ours", "gone"))]
    cases = {name: [["weights", {"source": name}]] for name in one}
    cases |= {
        "old": [["weights", {"source": "them/old@v1"}], ["weights", {"source": "them/old"}], ["weights", {"source": "them/old@v9"}]],
        "worn": [["weights", {"source": "them/worn"}], ["damage", {"repo": "them/worn", "name": "model.safetensors"}],
                 ["weights", {"source": "them/worn"}]],
        "offline": [["weights", {"source": "them/offline"}]],
    }  # fmt: skip
    return driven(cases, endpoint, home)


def downloads(step):
    return [line.rsplit("/", 1)[1] for line in step["requests"] if line.startswith("GET") and "/resolve/" in line]


@pytest.mark.parametrize("name", ["deit", "ast", "mixer", "them/both"])
def test_short_names_and_hub_ids_fetch_one_file(others, name):
    assert value(others[name][0])["tensors"] == LISTED
    assert downloads(others[name][0]) == ["model.safetensors"]


def test_a_repository_without_safetensors_gives_its_other_file(others):
    assert value(others["them/pickled"][0])["tensors"] == LISTED
    assert downloads(others["them/pickled"][0]) == ["pytorch_model.bin"]


def test_a_revision_of_weights_of_others(others, hub):
    tagged, newest, unknown = others["old"]
    assert value(tagged)["tensors"] == LISTED and value(newest)["tensors"] == {"new": [0.0]}
    assert value(tagged)["commit"] == hub[0].repos["them/old"].refs["v1"]
    assert refusal(unknown) == "them/old has no revision 'v9' on the Hub: check its branches and tags"


def test_weights_of_others_that_a_disk_wore_are_fetched_anew(others):
    assert value(others["worn"][2])["tensors"] == LISTED
    assert downloads(others["worn"][2]) == ["model.safetensors"]


def test_our_own_weights_bring_their_configuration(others):
    assert value(others["them/ours"][0])["ours"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("them/neither", "them/neither has none of model.safetensors, pytorch_model.bin: expected a repository with weights for torch"),
        ("them/gone", "no repository 'them/gone' on the Hub, or it is private"),
    ],
)
def test_repositories_without_weights_are_refused(others, name, words):
    assert words in refusal(others[name][0])
    assert downloads(others[name][0]) == []


def test_weights_of_others_that_mean_harm_are_refused(others, hub):
    assert "holds more than tensors" in refusal(others["them/harmful"][0], "TransferError")
    assert "is not a whole safetensors file" in refusal(others["them/header"][0], "TransferError")
    assert not list(hub[2].rglob("harm"))


@pytest.mark.parametrize("more", [{}, {"HF_HUB_OFFLINE": "1"}])
def test_weights_of_others_without_a_network(others, hub, more):
    cases = {name: [["weights", {"source": name}]] for name in ("ast", "them/offline", "them/never-seen")}
    found = driven(cases, hub[1] if more else dead_endpoint(), hub[2], **more)
    assert value(found["ast"][0]) == value(others["ast"][0])
    assert value(found["them/offline"][0])["tensors"] == LISTED, "not the file that it lacks is waited for"
    assert "them/never-seen is not on this machine" in refusal(found["them/never-seen"][0])
    assert all(step["seconds"] < 10 for step, in found.values())
