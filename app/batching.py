"""Windows of several listeners in one forward pass."""

import queue
import threading
import weakref
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

GATHER_SECONDS = 0.003
MOST_WINDOWS = 64


@dataclass(frozen=True)
class _Order:
    waves: np.ndarray
    rate: int
    done: Future = field(default_factory=Future)

    @property
    def kind(self):
        return self.rate, self.waves.shape[1]


class Batcher:
    """Scores waves (B, samples) as `score(waves, rate)` -> (B, labels) does, for any number of threads at once.

    One worker takes what is waiting, joins waves of one rate and length, and hands every caller its own rows. What `score` raises
    reaches the callers whose waves were in that batch, and nobody else. `prepare()` is called once in the worker's thread before. The
    worker ends when nobody holds the batcher any more.
    """

    def __init__(self, score, prepare=None):
        self._orders = queue.SimpleQueue()  # whose put may be called by a finalizer
        threading.Thread(target=_work, args=(self._orders, score, prepare), name="scores", daemon=True).start()
        weakref.finalize(self, self._orders.put, None)

    def __call__(self, waves: np.ndarray, rate: int) -> np.ndarray:
        order = _Order(waves, rate)
        self._orders.put(order)
        return order.done.result()


def _work(waiting, score, prepare):
    """The worker's life; it knows the queue and not the batcher, which could never end otherwise."""
    if prepare:
        prepare()
    while orders := _gather(waiting):
        for alike in _by_kind(orders):
            _answer(score, alike)


def _gather(waiting):
    """Orders to work on; none once the batcher is gone, which nobody can wait for then."""
    orders = [waiting.get()]
    while orders[-1] and sum(len(order.waves) for order in orders) < MOST_WINDOWS:
        try:
            orders.append(waiting.get(timeout=GATHER_SECONDS))
        except queue.Empty:
            break
    return orders if orders[-1] else []


def _answer(score, orders):
    try:
        rows = score(np.concatenate([order.waves for order in orders]), orders[0].rate)
    except Exception as error:  # whatever it is belongs to those who asked
        for order in orders:
            order.done.set_exception(error)
        return
    edges = np.cumsum([len(order.waves) for order in orders])[:-1]
    for order, own in zip(orders, np.split(rows, edges), strict=True):
        order.done.set_result(own)


def _by_kind(orders):
    kinds = {}
    for order in orders:
        kinds.setdefault(order.kind, []).append(order)
    return kinds.values()
