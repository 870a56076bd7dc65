"""The models of a page: which may be loaded, and those that are, shared by its visitors."""

import os
import threading
from collections import OrderedDict
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from asm_rh.checkpoint import CheckpointError, Source, find, shipped_models
from asm_rh.classifier import Classifier, warm_up
from asm_rh.hub import parse_id

from .about import window_milliseconds
from .batching import Batcher

OWN = ""  # the key of the model that the page was started with
MOST_LOADED = 4
QUICK_SECONDS = 0.06  # a quarter of the usual hop


@dataclass(frozen=True)
class Allowed:
    """Which models visitors may load beside the page's own: `names` (shipped, or Hub ids), and whether `any_id` of the Hub."""

    names: tuple[str, ...] = ()
    any_id: bool = False

    @classmethod
    def read(cls, environment=os.environ) -> "Allowed":
        """From ASM_RH_MODELS, names and ids with commas, `*` for all: all by default, none beside the shipped ones in a Space.

        Raises CheckpointError for what is neither a shipped name nor an id.
        """
        shipped = shipped_models()
        told = environment.get("ASM_RH_MODELS", "" if environment.get("SPACE_ID") else "*")
        listed = [word.strip() for word in told.split(",") if word.strip() not in ("", "*", *shipped)]
        for word in listed:
            try:
                parse_id(word)
            except CheckpointError as error:
                raise CheckpointError(f"ASM_RH_MODELS: {error}, or one of {', '.join(shipped)}") from error
        return cls((*shipped, *dict.fromkeys(listed)), "*" in told.split(","))

    def allows(self, wanted: str) -> bool:
        """Whether a name or id is among them; an id without a revision stands for all of its revisions."""
        return self.any_id or wanted in self.names or wanted.partition("@")[0] in self.names


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model in memory, and what those who use it share: `score` joins the windows of listeners, `milliseconds` is what one takes.

    `key` is the word by which the page remembers it, for the Hub with its commit.
    """

    key: str
    name: str
    classifier: Classifier
    score: Batcher
    milliseconds: float

    @classmethod
    def of(cls, key: str, name: str, classifier: Classifier) -> "Loaded":
        """Measures the model and makes it ready for listeners."""
        return cls(key, name, classifier, Batcher(classifier.score, lambda: _prepare(classifier)), window_milliseconds(classifier))

    @classmethod
    def own(cls, source: str, classifier: Classifier) -> "Loaded":
        """The model that a page was started with, `source` as it was named then."""
        repo = getattr(classifier.model.source, "repo", None)
        return cls.of(OWN, repo or Path(source).name, classifier)

    @property
    def source(self) -> Source | None:
        """Where its weights lie; None for a model that was made in memory."""
        return self.classifier.model.source


def _prepare(classifier):
    """In the worker's thread; threads that start later would copy its choice of one thread, so the usual number is put back."""
    config, threads = classifier.config, torch.get_num_threads()
    warm_up(classifier.score, np.zeros((1, config.window_samples), np.float32), config.sample_rate, QUICK_SECONDS)
    other = threading.Thread(target=torch.set_num_threads, args=(threads,))
    other.start()
    other.join()


@dataclass(eq=False)
class Fetch:
    """A model on its way, for all who wait for it: bytes so far and in all (0 while that is not known)."""

    wanted: str
    done_bytes: int = 0
    total_bytes: int = 0
    future: Future = field(default_factory=Future)

    def progress(self, done_bytes: int, total_bytes: int) -> None:
        """What the download tells."""
        self.done_bytes, self.total_bytes = done_bytes, total_bytes

    def wait(self, seconds: float) -> bool:
        """Waits at most so long -> whether it is over."""
        return bool(wait_for([self.future], seconds).done)

    def result(self) -> Loaded:
        """The model, waited for; raises CheckpointError with one line that says why there is none."""
        return self.future.result()


class Models:
    """Loaded models, shared: the page's own for ever, and at most `most` others, the longest unused one leaving first.

    Who still works with a model that left keeps it; who asks for it again has it loaded again, the same commit. Safe across threads.
    """

    def __init__(self, own: Loaded, allowed: Allowed | None = None, own_source: str = OWN, most: int = MOST_LOADED, device=None):
        self.own, self.allowed, self.most, self.device = own, allowed or Allowed(), most, device
        self._own_words = {OWN, own_source}
        self._held: OrderedDict[str, Loaded] = OrderedDict()
        self._known: set[str] = set()
        self._fetches: dict[str, Fetch] = {}
        self._lock, self._building = threading.Lock(), threading.Lock()

    def offered(self) -> list[tuple[str, str]]:
        """(name, key) of what can be chosen without typing."""
        return [(self.own.name, OWN), *((name, name) for name in self.allowed.names if name not in self._own_words)]

    def of(self, key: str) -> Loaded:
        """The model of a key that `fetch` gave out; CheckpointError for any other, or where its files are gone."""
        if key == OWN:
            return self.own
        with self._lock:
            if key not in self._known:
                raise CheckpointError(f"model {key!r} is not loaded here: load it first")
        return self._held_one(key) or self.fetch(key).result()

    def fetch(self, wanted: str) -> Fetch:
        """Begins to load a shipped name or a Hub id, or joins those who wait for the same; CheckpointError where it may not be loaded."""
        self._check(wanted)
        with self._lock:
            fetch = self._fetches.get(wanted)
            if fetch is None:
                fetch = self._fetches[wanted] = Fetch(wanted)
                threading.Thread(target=self._run, args=(fetch,), name="load", daemon=True).start()
        return fetch

    def _check(self, wanted):
        if wanted in self._own_words or wanted in self._known:
            return
        if not self.allowed.allows(wanted):
            names = ", ".join(name for name, _ in self.offered())
            raise CheckpointError(f"{wanted!r} may not be loaded on this page: expected one of {names}")
        if wanted not in self.allowed.names:
            parse_id(wanted)

    def _run(self, fetch):
        try:
            settle = partial(fetch.future.set_result, self._loaded(fetch))
        except CheckpointError as error:
            settle = partial(fetch.future.set_exception, error)
        except Exception as error:  # a lost exception would leave those who wait for ever
            words = f"{fetch.wanted} could not be loaded: {str(error) or type(error).__name__}"
            settle = partial(fetch.future.set_exception, CheckpointError(words))
        with self._lock:  # before it is settled: who asks after a failure begins anew
            del self._fetches[fetch.wanted]
        settle()

    def _loaded(self, fetch):
        if fetch.wanted in self._own_words:
            return self.own
        found = find(_address(fetch.wanted), progress=fetch.progress)
        key = f"{found.repo}@{found.commit}" if found.repo else fetch.wanted
        with self._building:
            return self._held_one(key) or self._built(key, found, fetch)

    def _built(self, key, found, fetch):
        try:
            loaded = Loaded.of(key, found.repo or key, Classifier(key, self.device, fetch.progress))
        except CheckpointError as error:  # folders of this machine are nothing for visitors
            raise CheckpointError(str(error).replace(str(found.folder), found.repo or key)) from error
        with self._lock:
            self._known.add(key)
            self._held[key] = loaded
            while len(self._held) > self.most:
                self._held.popitem(last=False)
        return loaded

    def _held_one(self, key):
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)


def _address(wanted):
    """A Hub id always with its revision, so that no folder of this machine can be meant by it."""
    if wanted in shipped_models():
        return wanted
    repo, revision = parse_id(wanted)
    return f"{repo}@{revision or 'main'}"
