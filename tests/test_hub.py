"""The Hub, through its real client against a loopback server: there and back to the bit, and one clear line for what goes wrong."""

import json
from pathlib import Path

import hub_client
import pytest
from hub_driver import built, command, dead_endpoint, driven, refusal, value
from hub_server import TOKEN, Fault, git_hash, serving
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load

from asm_rh.checkpoint import save

pytestmark = pytest.mark.network


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---------------------------------------------------------------------------------------- pulling


def status(kind, where=".", times=10**6):
    return [Fault(kind, where, times)]


FAULTS = {
    "forbidden": status("403"),
    "unauthorised": status("401"),
    "gated": status("403 GatedRepo"),
    "busy": status("429"),
    "stumbles": status("500", "/revision/", 1),
    "stumbles-later": status("500", "GET .*/resolve/.*config.json", 1),
    "broken": status("500", "/revision/"),
    "broken-later": status("500", "GET .*/resolve/.*safetensors"),
    "vanished": status("404 EntryNotFound", "/resolve/.*safetensors"),
    "cut": [Fault("truncated", "GET .*safetensors")],
    "corrupt-once": [Fault("corrupt", "GET .*safetensors", 1)],
    "corrupt-config-once": [Fault("corrupt", "GET .*config.json", 1)],
    "corrupt": [Fault("corrupt", "GET .*safetensors")],
    "slow": [Fault("slow", "/revision/")],
    "hotel": [Fault("html", "/revision/")],
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Two models with their folders' files and what their bits hash to."""
    models = {}
    for seed, name in enumerate(("first", "second")):
        folder, model = tmp_path_factory.mktemp(name), built(seed)
        save(model, folder)
        models[name] = (files_of(folder), hub_client.fingerprint(model))
    return models


def hostile(files):
    """Repositories that mean harm, by name."""
    config = json.loads(files["config.json"])
    header = (10 * 2**30).to_bytes(8, "little") + b"{" * 1000

    def with_config(**changes):
        return {**files, "config.json": json.dumps({**config, **changes}).encode()}

    return {
        "pickle": {"config.json": files["config.json"], "pytorch_model.bin": b"\x80\x04cos\nsystem\n(S'touch harm'\ntR."},
        "no-weights": {"config.json": files["config.json"]},
        "no-config": {"model.safetensors": files["model.safetensors"]},
        "empty": {},
        "wrong-types": with_config(depth="two"),
        "wrong-labels": with_config(id2label=[1, 2]),
        "gigantic": with_config(width=2**40),
        "endless": with_config(depth=10**9),
        "infinite": with_config(window_seconds=1e308),
        "nested": {**files, "config.json": b"[" * 200_000},
        "long": {**files, "config.json": b" " * 3_000_000 + files["config.json"]},
        "header": {**files, "model.safetensors": header},
    }


@pytest.fixture(scope="module")
def hub(weights, tmp_path_factory):
    """A hub with repositories that are well, that fail, and that mean harm -> (Hub, address, home)."""
    first, second = weights["first"][0], weights["second"][0]
    with serving() as (found, endpoint):
        for name in ("well", "again", "local", "tagged", "pinned", "worn", "offline", "offline-pinned", "worn-offline", "infos"):
            found.add(f"me/{name}", {**first, "README.md": b"# mine\n", "notes.txt": b"not wanted"})
        for name in ("tagged", "pinned"):
            found.repos[f"me/{name}"].commit(second, "v1")
        found.add("me/secret", first, needs_token=True)
        for name, faults in FAULTS.items():
            found.add(f"me/{name}", first, faults=faults)
        for name, files in hostile(first).items():
            found.add(f"me/{name}", files)
        found.add("me/traversal", first, listed={"../x": 1, "../../config.json": 1, "/etc/x": 1})
        yield found, endpoint, tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def pulled(hub):
    """What came of every case, driven in one process."""
    server, endpoint, home = hub
    pin = server.repos["me/pinned"].refs["v1"]
    one = [*FAULTS, *hostile({"config.json": b"{}", "model.safetensors": b""}), "traversal", "nowhere"]
    cases = {name: [["load", {"source": f"me/{name}"}]] for name in one}
    cases |= {
        "well": [["load", {"source": "me/well"}], ["pretrained", {"source": "me/well"}]],
        "again": [["load", {"source": "me/again"}]] * 2,
        "local": [["load", {"source": "me/local", "local_files_only": x}] for x in (True, False, True)]
                 + [["forget", {"repo": "me/local", "name": "README.md"}], ["load", {"source": "me/local", "local_files_only": True}],
                    ["forget", {"repo": "me/local", "name": "config.json"}], ["load", {"source": "me/local", "local_files_only": True}]],
        "tagged": [["load", {"source": "me/tagged@v1"}], ["load", {"source": "me/tagged", "revision": "v1"}],
                   ["load", {"source": "me/tagged"}], ["load", {"source": "me/tagged@v1", "revision": "main"}],
                   ["load", {"source": "me/tagged@v9"}]],
        "pinned": [["load", {"source": f"me/pinned@{pin}"}]] * 2 + [["load", {"source": f"me/pinned@{'0' * 40}"}]],
        "secret": [["load", {"source": "me/secret"}], ["load", {"source": "me/secret", "token": TOKEN}]],
        "worn": [["load", {"source": "me/worn"}], ["damage", {"repo": "me/worn", "name": "model.safetensors"}],
                 ["load", {"source": "me/worn"}]],
        "worn-offline": [["load", {"source": "me/worn-offline"}], ["damage", {"repo": "me/worn-offline", "name": "model.safetensors"}],
                         ["load", {"source": "me/worn-offline", "local_files_only": True}]],
        "offline": [["load", {"source": "me/offline"}]],
        "infos": [["info", {"source": "me/infos"}]],
    }  # fmt: skip
    return driven(cases, endpoint, home)


def test_weights_come_to_the_bit_with_their_commit(pulled, weights, hub):
    found = value(pulled["well"][0])
    assert found["weights"] == value(pulled["well"][1])["weights"] == weights["first"][1]
    assert found["repo"] == "me/well" and found["commit"] == hub[0].repos["me/well"].refs["main"]
    folder = Path(found["folder"])
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_a_branch_is_asked_again_and_downloaded_once(pulled):
    first, second = pulled["again"]
    assert any("GET" in line and "/resolve/" in line for line in first["requests"])
    assert second["requests"] and not any("/resolve/" in line for line in second["requests"])
    assert value(first) == value(second)


def test_local_files_only_asks_nothing(pulled, weights):
    before, _, after, _, without_card, _, without_config = pulled["local"]
    assert refusal(before).startswith("me/local is not on this machine and the Hub cannot be reached")
    assert value(after)["weights"] == weights["first"][1]
    assert value(without_card) == value(after) and refusal(without_config) == refusal(before)
    assert before["requests"] == after["requests"] == without_card["requests"] == without_config["requests"] == []


def test_revisions(pulled, weights):
    tagged, same, main, both, none = pulled["tagged"]
    assert value(tagged)["weights"] == value(same)["weights"] == weights["second"][1] != weights["first"][1]
    assert value(main)["weights"] == weights["first"][1]
    assert "names revision 'v1' and the argument names 'main'" in refusal(both)
    assert refusal(none) == "me/tagged has no revision 'v9' on the Hub: check its branches and tags"


def test_a_pinned_commit_that_is_here_is_not_asked_for(pulled, weights, hub):
    first, second, unknown = pulled["pinned"]
    assert value(first) == value(second) and value(first)["weights"] == weights["second"][1]
    assert value(first)["commit"] == hub[0].repos["me/pinned"].refs["v1"]
    assert first["requests"] and second["requests"] == []
    assert "has no revision '0000" in refusal(unknown)


def test_info_says_the_commit(pulled, hub):
    found, commit = value(pulled["infos"][0]), hub[0].repos["me/infos"].refs["main"]
    assert found["repo"] == "me/infos" and found["commit"] == commit
    assert f"from        me/infos at commit {commit}" in found["text"]


def test_a_repository_that_needs_a_token(pulled, weights):
    without, with_token = pulled["secret"]
    assert "it is private and the token is missing" in refusal(without) and "hf auth login" in refusal(without)
    assert value(with_token)["weights"] == weights["first"][1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "no repository 'me/nowhere' on the Hub, or it is private and the token is missing or not valid (404): check the name"),
        ("forbidden", "the Hub refuses me/forbidden (403): give a token that may read it"),
        ("unauthorised", "no repository 'me/unauthorised' on the Hub, or it is private and the token is missing or not valid (401): check"),
        ("gated", "me/gated is gated (403): accept its conditions"),
        ("busy", "the Hub asks to wait before it hands out me/busy (429)"),
        ("broken", "the Hub failed on me/broken (500, twice): try again later"),
        ("broken-later", "the Hub failed on me/broken-later (500, twice): try again later"),
        ("vanished", "me/vanished: a file that the Hub lists is not there (404)"),
        ("cut", "the transfer of me/cut broke off or stands still (3 tries brought nothing new): check the connection and try again"),
        ("corrupt", "me/corrupt: model.safetensors is not what its hash says; downloaded anew it still is not"),
        ("slow", "cannot be reached, and me/slow is not on this machine: check the connection and HF_ENDPOINT"),
        ("hotel", "me/hotel: what answers is no Hub: check HF_ENDPOINT and the proxy"),
    ],
)
def test_what_goes_wrong_is_one_clear_line_within_seconds(pulled, name, words):
    assert words in refusal(pulled[name][0])
    assert pulled[name][0]["seconds"] < 15


@pytest.mark.parametrize("name", ["stumbles", "stumbles-later", "corrupt-once", "corrupt-config-once"])
def test_what_goes_wrong_once_is_tried_again(pulled, weights, name):
    assert value(pulled[name][0])["weights"] == weights["first"][1]


def test_a_worn_disk_is_noticed_and_healed(pulled, weights):
    assert value(pulled["worn"][2])["weights"] == weights["first"][1]
    message = refusal(pulled["worn-offline"][2])
    assert message.endswith("model.safetensors is not what its hash says; load it again while online")
    assert pulled["worn-offline"][2]["requests"] == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pickle", "has no model.safetensors; it has 'pytorch_model.bin', a pickle, which could run any program and is never loaded"),
        ("no-weights", "me/no-weights has no model.safetensors: expected a repository as `asm-rh push` writes it"),
        ("no-config", "me/no-config has no config.json: expected a repository as"),
        ("empty", "me/empty has no config.json and no model.safetensors"),
        ("wrong-types", "ModelConfig.depth='two': expected int"),
        ("wrong-labels", 'expected the keys "0" to "n-1"'),
        ("gigantic", "it does not belong to the config.json beside it"),
        ("endless", "1000000000 blocks of width 32 need"),
        ("infinite", "config.json: cannot convert float infinity to integer"),
        ("nested", "recursion"),
        ("long", "me/long: config.json has 3,0"),
        ("header", "is not a whole safetensors file"),
    ],
)
def test_hostile_repositories_are_refused(pulled, name, words):
    assert words in refusal(pulled[name][0])
    assert pulled[name][0]["seconds"] < 10


def test_a_pickle_is_not_even_downloaded(pulled, hub):
    assert not any("/resolve/" in line for line in pulled["pickle"][0]["requests"])
    assert not any("/resolve/" in line for line in pulled["long"][0]["requests"])  # nor a configuration of megabytes
    assert not list(hub[2].rglob("harm"))


def test_a_listing_with_paths_out_of_the_folder_writes_nothing_there(pulled, weights, hub):
    assert value(pulled["traversal"][0])["weights"] == weights["first"][1]
    assert not any("resolve" in line and (".." in line or "etc" in line) for line in pulled["traversal"][0]["requests"])
    cache = hub[2] / "hub" / "models--me--traversal"
    assert not (cache / "snapshots" / "x").exists() and not (cache / "x").exists() and not (cache / "config.json").exists()


# ---------------------------------------------------------------------------------------- without a Hub


@pytest.mark.parametrize("more", [{}, {"HF_HUB_OFFLINE": "1"}])
def test_without_a_hub_what_is_here_loads_and_the_rest_says_so_at_once(hub, pulled, weights, more):
    server, endpoint, home = hub
    pin = server.repos["me/pinned"].refs["v1"]
    cases = {
        "branch": [["load", {"source": "me/offline"}]], "pin": [["load", {"source": f"me/pinned@{pin}"}]],
        "new": [["load", {"source": "me/never-seen"}]], "new-pin": [["load", {"source": f"me/never-seen@{pin}"}]],
        "push": [["push", {"source": value(pulled["well"][0])["folder"], "repo": "me/never-seen", "token": TOKEN}]],
    }  # fmt: skip
    requests = len(server.requests)
    found = driven(cases, endpoint if more else dead_endpoint(), home, **more)
    assert value(found["branch"][0])["weights"] == weights["first"][1]
    assert value(found["branch"][0])["commit"] == server.repos["me/offline"].refs["main"]
    assert value(found["pin"][0])["weights"] == weights["second"][1]
    for name in ("new", "new-pin", "push"):
        assert "cannot be reached" in refusal(found[name][0]) and (name == "push" or "not on this machine" in refusal(found[name][0]))
        assert found[name][0]["seconds"] < 10  # the client alone takes 23
    assert len(server.requests) == requests


# ---------------------------------------------------------------------------------------- pushing


METRICS = {
    "labels": ["yes", "no", "_silence_"], "groups": 7, "clips": 40, "accuracy": 0.9, "accuracy_interval": [0.77, 0.96],
    "macro_f1": 0.89, "auc": 0.98, "skipped": [],
    "per_class": [{"label": x, "clips": 13, "precision": 0.9, "recall": 0.8, "f1": 0.85} for x in ("yes", "no", "_silence_")],
    "confusion": [[12, 1, 0], [1, 12, 0], [2, 0, 12]],
}  # fmt: skip


@pytest.fixture(scope="module")
def pushing(tmp_path_factory):
    """Folders to push, an empty hub, and what came of pushing -> (Hub, results, folders)."""
    place = tmp_path_factory.mktemp("pushing")
    plain, judged, carded = (place / name for name in ("plain", "judged", "carded"))
    for seed, folder in enumerate((plain, judged, carded)):
        save(built(seed), folder)
    (judged / "metrics.json").write_text(json.dumps(METRICS))
    (carded / "README.md").write_text("---\nlicense: mit  # mine\ntags: [owls]\n---\n\n# Owls\n\nMy own words.\n", encoding="utf-8")
    dry = place / "dry"
    with serving() as (server, endpoint):
        server.add("me/busy", {}, faults=[Fault("500", "/commit/")])
        cases = {
            "judged": [["push", {"source": str(judged), "repo": "me/judged", "token": TOKEN, "license": "cc-by-4.0"}],
                       ["load", {"source": "me/judged"}], ["push", {"source": str(judged), "repo": "me/judged", "token": TOKEN}]],
            "private": [["push", {"source": str(plain), "repo": "me/private", "private": True, "token": TOKEN}]],
            "branch": [["push", {"source": str(carded), "repo": "me/branch@trial", "token": TOKEN}],
                       ["load", {"source": "me/branch@trial"}], ["load", {"source": "me/branch"}]],
            "model": [["push_model", {"source": str(plain), "repo": "me/model", "token": TOKEN}], ["load", {"source": "me/model"}]],
            "dry": [["push_model", {"source": str(plain), "repo": "me/dry", "dry_run": str(dry)}]],
            "anonymous": [["push", {"source": str(plain), "repo": "me/anonymous"}]],
            "foreign": [["push", {"source": str(plain), "repo": "them/foreign", "token": TOKEN}]],
            "busy": [["push", {"source": str(plain), "repo": "me/busy", "token": TOKEN}]],
            "commit": [["push", {"source": str(plain), "repo": f"me/x@{'a' * 40}", "token": TOKEN}]],
            "nothing": [["push", {"source": str(place), "repo": "me/nothing", "token": TOKEN}]],
        }  # fmt: skip
        found = driven(cases, endpoint, place)
        yield server, found, {"plain": plain, "judged": judged, "carded": carded, "dry": dry, "place": place, "endpoint": endpoint}


def head(server, repo, branch="main"):
    found = server.repos[repo]
    return found.commits[found.refs[branch]]


def test_push_then_pull_gives_the_same_bits(pushing):
    server, found, folders = pushing
    pushed, loaded, _ = found["judged"]
    files = head(server, "me/judged")
    assert sorted(files) == ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"]
    assert files["model.safetensors"] == (folders["judged"] / "model.safetensors").read_bytes()
    assert files["config.json"] == (folders["judged"] / "config.json").read_bytes()
    assert value(loaded)["weights"] == hub_client.fingerprint(built(1))
    commits = list(server.repos["me/judged"].commits)
    assert value(pushed) == f"me/judged@{value(loaded)['commit']}" == f"me/judged@{commits[1]}"  # empty, then all four files at once
    assert value(found["model"][1])["weights"] == hub_client.fingerprint(built(0))


def test_the_card_loads_with_its_metrics(pushing, tmp_path):
    path = tmp_path / "README.md"
    path.write_bytes(head(pushing[0], "me/judged")["README.md"])
    fields, card = metadata_load(path), ModelCard.load(path)
    assert fields["library_name"] == "asm-rh" and fields["pipeline_tag"] == "audio-classification"
    assert card.data.model_name == "judged"
    assert {r.metric_type: r.metric_value for r in card.data.eval_results} == {"accuracy": 0.9, "f1": 0.89, "roc_auc": 0.98}
    assert {r.dataset_split for r in card.data.eval_results} == {"test"}
    for part in ("## Labels", "`_silence_`", "## Front end", "16000 Hz", "## Data and split", "40 clips of 7",
                 "95 % interval 0.7700 to 0.9600",
                 "| **yes** | 12 | 1 | 0 |", "## Intended use", "## Limits", "## How to use", 'Classifier("me/judged")'):  # fmt: skip
        assert part in card.text, part


def test_a_card_that_is_there_is_kept_word_for_word(pushing, tmp_path):
    path = tmp_path / "README.md"
    path.write_bytes(head(pushing[0], "me/branch", "trial")["README.md"])
    text = path.read_text(encoding="utf-8")
    assert text.startswith("---\nlicense: mit  # mine\ntags: [owls]\n") and text.endswith("\n---\n\n# Owls\n\nMy own words.\n")
    assert metadata_load(path) == {"license": "mit", "tags": ["owls"], "library_name": "asm-rh", "pipeline_tag": "audio-classification"}


def test_the_front_end_is_written_for_other_tools(pushing):
    fields = json.loads(head(pushing[0], "me/private")["preprocessor_config.json"])
    assert fields["sampling_rate"] == 16000 and fields["num_mel_bins"] == 128 and fields["hop_length"] == 160
    assert fields["feature_extractor_type"] == "AsmRhFeatureExtractor" and fields["frequency_max"] == 8000.0


def test_private_and_branches(pushing):
    server, found, _ = pushing
    assert value(found["private"][0]) and server.repos["me/private"].private and not server.repos["me/judged"].private
    _, on_branch, on_main = found["branch"]
    assert value(on_branch)["weights"] == hub_client.fingerprint(built(2))
    assert "me/branch has no config.json and no model.safetensors" in refusal(on_main)  # main is untouched


def test_a_dry_run_writes_what_would_be_uploaded_and_sends_nothing(pushing):
    server, found, folders = pushing
    assert value(found["dry"][0]) == str(folders["dry"]) and found["dry"][0]["requests"] == [] and "me/dry" not in server.repos
    uploaded = head(server, "me/model")
    card = uploaded["README.md"].replace(b"me/model", b"me/dry").replace(b"# model", b"# dry")  # the two go under different names
    assert files_of(folders["dry"]) == {**uploaded, "README.md": card}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("anonymous", "the Hub refuses me/anonymous (401): give a token that may write there"),
        ("foreign", "the Hub refuses them/foreign (403): give a token that may write there"),
        ("busy", "the Hub failed on me/busy (500)"),
        ("commit", "is a commit: expected a branch to write to"),
        ("nothing", "no config.json in"),
    ],
)
def test_a_push_that_fails_is_one_clear_line(pushing, name, words):
    assert words in refusal(pushing[1][name][0])


def test_the_command_pushes_and_says_what_to_load(pushing, tmp_path):
    server, _, folders = pushing
    endpoint, home = folders["endpoint"], folders["place"]
    done = command(["push", folders["plain"], "me/from-terminal", "--private"], endpoint, home, HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"me/from-terminal@{server.repos['me/from-terminal'].refs['main']}"
    requests = len(server.requests)
    done = command(["push", folders["carded"], "me/none", "--dry-run", tmp_path / "out", "--license", "apache-2.0"], endpoint, home)
    assert done.returncode == 2 and "README.md says license 'mit', you say 'apache-2.0'" in done.stderr
    done = command(["push", folders["carded"], "me/none", "--dry-run", tmp_path / "out"], endpoint, home)
    assert done.returncode == 0 and sorted(map(Path, done.stdout.split())) == sorted((tmp_path / "out").iterdir())
    assert len(server.requests) == requests
    done = command(["push", folders["plain"], "me/dead"], dead_endpoint(), home, HF_TOKEN=TOKEN)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "cannot be reached: check the connection and HF_ENDPOINT" in done.stderr


def test_the_server_names_files_as_git_does():
    assert git_hash(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"  # `echo hello | git hash-object --stdin`
