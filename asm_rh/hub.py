"""Weights from the Hugging Face Hub and to it: every file checked against its own hash, one clear line for what goes wrong."""

import hashlib
import json
import re
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .card import CARD_FILE, completed_card, model_card, preprocessor_config, read_evidence
from .checkpoint import CONFIG_FILE, MOST_CONFIG_BYTES, WEIGHTS_FILE, CheckpointError, Source, load, read_config

FILES = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE)
PREPROCESSOR_FILE = "preprocessor_config.json"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
REACH_SECONDS = 5.0  # the client itself waits for ever, or retries for 23 s, where nobody answers
PAUSE_SECONDS = 1.0  # before the one retry of ours


def parse_id(text: str, revision: str | None = None) -> tuple[str, str | None]:
    """`user/repo[@revision]` -> (repo, revision or None); CheckpointError for what is no id, or two revisions that differ."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    repo, at, own = str(text).partition("@")
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise CheckpointError(f"{text!r} is no Hub id: expected user/repo or user/repo@revision") from error
    if repo.count("/") != 1 or (at and not own):
        raise CheckpointError(f"{text!r} is no Hub id: expected user/repo or user/repo@revision")
    if own and revision and own != revision:
        raise CheckpointError(f"{text!r} names revision {own!r} and the argument names {revision!r}: give one of them")
    revision = own or revision
    if revision and (not re.fullmatch(r"\w[\w./-]*", revision) or ".." in revision):
        raise CheckpointError(f"revision {revision!r}: expected a branch, a tag or a commit")
    return repo, revision


@dataclass(frozen=True)
class Wanted:
    """A repository at a revision, with what the client needs to get it."""

    repo: str
    revision: str | None = None
    token: str | None = None
    cache_dir: str | None = None
    progress: object = None

    def __str__(self):
        return f"{self.repo}@{self.revision}" if self.revision else self.repo

    def snapshot(self, **options) -> Path:
        """The client's folder with the files that a model has."""
        from huggingface_hub import snapshot_download

        options = {"allow_patterns": list(FILES), **({"tqdm_class": _told(self.progress)} if self.progress else {}), **options}
        return Path(snapshot_download(self.repo, revision=self.revision, token=self.token, cache_dir=self.cache_dir, **options))

    def cached(self) -> Path | None:
        """The folder of an earlier download, without any request; None where there is none, or not all that a model needs."""
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            folder = self.snapshot(local_files_only=True, allow_patterns=[CONFIG_FILE, WEIGHTS_FILE])
        except LocalEntryNotFoundError:
            return None
        return folder if all((folder / name).is_file() for name in (CONFIG_FILE, WEIGHTS_FILE)) else None


def pull(repo: str, revision=None, token=None, cache_dir=None, local_files_only=False, progress=None) -> Source:
    """The files of `repo` at `revision` on this machine, downloaded where they are not, each checked against its hash.

    A commit that is here is not asked for again. Where the Hub cannot be reached, what an earlier download left is taken. Raises
    CheckpointError.
    """
    from huggingface_hub import constants

    wanted = Wanted(repo, revision, token, cache_dir, progress)
    offline = local_files_only or constants.is_offline_mode()
    with _quiet(), _clear(wanted):
        folder = wanted.cached() if offline or COMMIT.fullmatch(revision or "") else None
        if offline and folder is None:
            raise CheckpointError(f"{wanted} is not on this machine and the Hub cannot be reached: load it once while online")
        if folder is None or (not offline and damaged(folder)):
            folder = _fetch(wanted)
    if bad := damaged(folder):
        todo = "load it again while online" if offline else "downloaded anew it still is not: try again later, or without a proxy"
        raise CheckpointError(f"{wanted}: {' and '.join(bad)} is not what its hash says; {todo}")
    return Source(folder, repo, folder.name)


def _told(progress):
    """A bar of the client that draws nothing and calls `progress(done_bytes, total_bytes)`."""
    from huggingface_hub.utils import tqdm

    class Told(tqdm):
        def __init__(self, *args, **options):
            self.done, self.counts = 0, options.get("name", "").endswith("snapshot_download")
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n=1):
            self.done += n or 0
            if self.counts:
                progress(self.done, self.total or 0)

    return Told


def damaged(folder: Path) -> list[str]:
    """Names of the files in a snapshot whose bytes are not what the Hub's hash says.

    The client keeps a file under its hash and links to it, and does not check it. Where links are impossible, nothing is known.
    """
    return [name for name in FILES if (folder / name).is_file() and not _is_what_it_says((folder / name).resolve())]


def _is_what_it_says(blob: Path) -> bool:
    if SHA256.fullmatch(blob.name):
        with open(blob, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == blob.name
    if COMMIT.fullmatch(blob.name):  # a small file goes by git's name for it
        content = blob.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == blob.name
    return True


def _fetch(wanted):
    """Asks what there is, refuses what is no model, downloads the rest; an earlier download where nobody answers."""
    try:
        listing = _twice(lambda: _listing(wanted))
    except Exception as error:
        folder = wanted.cached() if _is_unreachable(error) else None
        if folder is None or damaged(folder):
            raise
        return folder
    _refuse(wanted, listing)
    folder = _twice(wanted.snapshot)
    if bad := damaged(folder):
        folder = _twice(lambda: wanted.snapshot(allow_patterns=bad, force_download=True))
    return folder


def _listing(wanted):
    """{file name: bytes or None} of the repository; asks with a short patience, so that a dead endpoint costs seconds."""
    from huggingface_hub import HfApi

    try:
        info = HfApi(token=wanted.token).model_info(
            wanted.repo, revision=wanted.revision or "main", timeout=REACH_SECONDS, files_metadata=True
        )
        if not COMMIT.fullmatch(info.sha):
            raise CheckpointError(f"{wanted}: the Hub names commit {info.sha!r}, expected 40 hexadecimal digits")
        return {file.rfilename: file.size for file in info.siblings or []}
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{wanted}: what answers is no Hub: check HF_ENDPOINT and the proxy") from error


def _refuse(wanted, listing):
    """CheckpointError for a repository without the two files, or with a configuration that is none."""
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if name not in listing]
    pickles = sorted(name for name in listing if name.endswith(PICKLES))
    if missing and pickles and WEIGHTS_FILE in missing:
        raise CheckpointError(
            f"{wanted} has no {WEIGHTS_FILE}; it has {pickles[0]!r}, a pickle, which could run any program and is never loaded: "
            "ask its author for safetensors"
        )
    if missing:
        raise CheckpointError(f"{wanted} has no {' and no '.join(missing)}: expected a repository as `asm-rh push` writes it")
    if (listing[CONFIG_FILE] or 0) > MOST_CONFIG_BYTES:
        raise CheckpointError(f"{wanted}: {CONFIG_FILE} has {listing[CONFIG_FILE]:,} bytes, expected at most {MOST_CONFIG_BYTES:,}")


def _twice(action):
    """What `action` returns; a second time, after a pause, where the Hub itself stumbled."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return action()
    except HfHubHTTPError as error:
        if error.response.status_code < 500:
            raise
    time.sleep(PAUSE_SECONDS)
    return action()


def _is_unreachable(error):
    import httpx2  # what the client speaks HTTP with

    return isinstance(error, (httpx2.TransportError, ConnectionError)) or _status(error) >= 500


def _status(error):
    return getattr(getattr(error, "response", None), "status_code", 0)


@contextmanager
def _clear(wanted, doing="load"):
    """Turns what the client raises into one CheckpointError with what to do."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except CheckpointError:
        raise
    except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(_words(wanted, doing, error)) from error


def _words(wanted, doing, error):
    """One line: what went wrong and what to do."""
    from huggingface_hub import constants, errors

    if isinstance(error, RuntimeError) and error.__cause__:  # the client wraps what went wrong in an upload
        error = error.__cause__
    status, right = _status(error), "read it" if doing == "load" else "write there"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{wanted.repo} has no revision {wanted.revision or 'main'!r} on the Hub: check its branches and tags"
    if isinstance(error, errors.GatedRepoError):
        return f"{wanted.repo} is gated ({status}): accept its conditions on its page, then give a token (`hf auth login`, or HF_TOKEN)"
    if isinstance(error, errors.RepositoryNotFoundError) or (status == 401 and doing == "load"):  # a missing one is 401 to strangers
        return (
            f"no repository {wanted.repo!r} on the Hub, or it is private and the token is missing or not valid ({status}): "
            "check the name, or give a token (`hf auth login`, or HF_TOKEN)"
        )
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return f"{wanted}: a file that the Hub lists is not there (404): try again later, or another revision"
    if status in (401, 403):
        return f"the Hub refuses {wanted.repo} ({status}): give a token that may {right} (`hf auth login`, or HF_TOKEN)"
    if status == 429:
        return f"the Hub asks to wait before it hands out {wanted.repo} (429): try again in some minutes"
    if status >= 500:
        return f"the Hub failed on {wanted.repo} ({status}{', twice' if doing == 'load' else ''}): try again later"
    if _is_broken_off(error):
        return f"the transfer of {wanted.repo} broke off: check the connection and try again"
    if _is_unreachable(error) or isinstance(error, errors.LocalEntryNotFoundError):
        absent = f", and {wanted} is not on this machine" if doing == "load" else ""
        return f"the Hub at {constants.ENDPOINT} cannot be reached{absent}: check the connection and HF_ENDPOINT"
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"could not {doing} {wanted}: {reason}"


def _is_broken_off(error):
    import httpx2

    return isinstance(error, (httpx2.RemoteProtocolError, httpx2.ReadError)) or "Consistency check failed" in str(error)


@contextmanager
def _quiet():
    """Keeps the client's warnings about its retries off the terminal: what matters comes as an error."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def prepare(source, target, repo: str, license: str | None = None) -> Path:
    """Writes the very folder that a push to `repo` uploads: weights, config.json, preprocessor_config.json and the card.

    `source` is a folder or a shipped name, whose README.md wins where there is one. Raises CheckpointError for weights that do not load,
    CardError for a card or metrics that cannot be read, and FileExistsError where `target` holds something.
    """
    target, folder = Path(target), load(source).source.folder
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} is not empty: expected a new or an empty folder")
    config = read_config(folder)
    written = {
        PREPROCESSOR_FILE: json.dumps(preprocessor_config(config), indent=2) + "\n",
        CARD_FILE: _card(folder, config, repo, license),
    }
    target.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        shutil.copyfile(folder / name, target / name)
    for name, text in written.items():
        (target / name).write_text(text, encoding="utf-8")
    return target


def _card(folder, config, repo, license):
    evidence = read_evidence(folder, config)
    if (folder / CARD_FILE).is_file():
        return completed_card((folder / CARD_FILE).read_text(encoding="utf-8"), config, repo, evidence, license)
    return model_card(config, repo, evidence, license)


def push(source, repo: str, private=False, revision=None, token=None, license=None) -> str:
    """Uploads `source` as `prepare` writes it, in one commit -> `user/repo@commit`, which loads exactly these weights.

    `repo` may name a branch as `user/repo@branch`; repository and branch are made where they are not there. Raises as `prepare` does.
    """
    repo, revision = parse_id(repo, revision)
    if revision and COMMIT.fullmatch(revision):
        raise CheckpointError(f"revision {revision!r} is a commit: expected a branch to write to")
    with tempfile.TemporaryDirectory() as place:
        folder = prepare(source, Path(place) / "upload", repo, license)
        with _quiet(), _clear(Wanted(repo, revision), "write"):
            return f"{repo}@{_upload(folder, repo, private, revision, token)}"


def _upload(folder, repo, private, revision, token):
    """The commit that holds the folder's files."""
    from huggingface_hub import CommitOperationAdd, HfApi, constants
    from huggingface_hub.utils import get_session

    get_session().head(constants.ENDPOINT, timeout=REACH_SECONDS)  # the client would wait for ever for one that does not answer
    api = HfApi(token=token)
    api.create_repo(repo, private=private or None, exist_ok=True)
    if revision:
        api.create_branch(repo, branch=revision, exist_ok=True)
    files = [CommitOperationAdd(path.name, path) for path in sorted(folder.iterdir())]
    return api.create_commit(repo, files, commit_message="ASM-RH weights", revision=revision).oid
