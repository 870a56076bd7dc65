"""How a transfer with the Hub gets on: bytes counted as they come, a bar in a terminal, and no waiting for what never comes."""

import sys
from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock

TRIES = 3  # of one request that brings nothing new; the client's own count begins anew whenever a byte comes, also one it had before
_watch, _lock = ContextVar("watch", default=None), Lock()


class Stalled(Exception):
    """A transfer that does not get on."""


class Watch:
    """Counts the bytes of files that come one after the other for `progress(done, total)`, and refuses to ask for ever.

    `done` never falls, also where the client begins a file anew. No request waits longer than `seconds` for the next byte, and none is
    made more than `tries` times without a new one.
    """

    def __init__(self, seconds: float, progress=None, tries: int = TRIES):
        self.seconds, self.progress, self.tries = seconds, progress or (lambda done, total: None), tries
        self.total = self.done = self.before = self.size = self.part = 0
        self.asked = Counter()

    def expect(self, size: int) -> None:
        """So many bytes more will come."""
        self.total += size

    @contextmanager
    def file(self, size: int):
        """One file of the expected ones; at the end it counts as whole, as it may have been here under another name."""
        self.size, self.part = size, 0
        yield self.bar_class()
        self.before, self.size, self.part = self.before + size, 0, 0
        self._reach(self.before)

    def bar_class(self) -> type:
        """What the client takes for a class of progress bars."""
        return type("Bar", (_Bar,), {"watch": self})

    def add(self, count: int) -> None:
        """So many bytes of the present file came, or, below zero, were thrown away to come once more."""
        self.part += count
        self._reach(self.before + min(self.part, self.size))

    def _reach(self, place):
        if place > self.done:
            self.done = place
            self.asked.clear()
            self.progress(self.done, self.total)

    def before_request(self, request) -> None:
        """Shortens the waits of a request; raises Stalled for one that was made too often since the last new byte."""
        waits = request.extensions.get("timeout", {})
        waits.update({name: self.seconds if wait is None else min(wait, self.seconds) for name, wait in waits.items()})
        self.asked[request.method, str(request.url)] += 1
        if max(self.asked.values()) > self.tries:
            raise Stalled(f"{self.tries} tries brought nothing new")


class _Bar:
    """What the client needs of a tqdm; Xet tells apart what came (`update_transfer`) and what is written (`update`)."""

    watch: Watch

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def update(self, count=1):
        self.watch.add(int(count or 0))

    def _ignore(self, *_, **__):
        pass

    update_transfer = set_postfix_str = set_transfer_postfix_str = refresh = close = _ignore


@contextmanager
def watched(seconds: float, progress=None, tries: int = TRIES):
    """A Watch over all requests that this thread makes through the Hub's client within."""
    from huggingface_hub.utils import get_session

    with _lock:
        hooks = get_session().event_hooks["request"]
        if _before_request not in hooks:
            hooks.append(_before_request)
    watch = Watch(seconds, progress, tries)
    token = _watch.set(watch)
    try:
        yield watch
    finally:
        _watch.reset(token)


def _before_request(request):
    if watch := _watch.get():
        watch.before_request(request)


@contextmanager
def terminal_bar(label: str):
    """A `progress(done, total)` that draws a bar on standard error, from the first byte on; None where that is no terminal.

    What switches the client's own bars off (HF_HUB_DISABLE_PROGRESS_BARS) switches this one off.
    """
    from huggingface_hub.utils import are_progress_bars_disabled
    from tqdm import tqdm

    if are_progress_bars_disabled() or not (sys.stderr and sys.stderr.isatty()):
        yield None
        return
    bars = []

    def draw(done, total):
        if not bars:
            bars.append(tqdm(desc=label, total=total, unit="B", unit_scale=True, file=sys.stderr, leave=False))
        bars[0].total = total
        bars[0].update(done - bars[0].n)

    try:
        yield draw
    finally:
        for bar in bars:
            bar.close()
