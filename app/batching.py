"""Windows of several listeners in one forward pass."""

import queue
import threading
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
    reaches the callers whose waves were in that batch, and nobody else. `prepare()` is called once in the worker's thread before.
    """

    def __init__(self, score, prepare=None):
        self._score, self._orders = score, queue.Queue()
        self._worker = threading.Thread(target=self._work, args=(prepare,), name="scores", daemon=True)
        self._worker.start()

    def __call__(self, waves: np.ndarray, rate: int) -> np.ndarray:
        order = _Order(waves, rate)
        self._orders.put(order)
        return order.done.result()

    def _work(self, prepare):
        if prepare:
            prepare()
        while True:
            for orders in _by_kind(self._gather()):
                self._answer(orders)

    def _gather(self):
        orders = [self._orders.get()]
        while sum(len(order.waves) for order in orders) < MOST_WINDOWS:
            try:
                orders.append(self._orders.get(timeout=GATHER_SECONDS))
            except queue.Empty:
                break
        return orders

    def _answer(self, orders):
        try:
            rows = self._score(np.concatenate([order.waves for order in orders]), orders[0].rate)
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
