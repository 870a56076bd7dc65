"""How long a window takes on the processor: a fact about one machine at one moment, for reports."""

import copy
import os
import statistics
import time

import numpy as np
import torch

from .classifier import Classifier

MOST_CALLS, MOST_SECONDS = 15, 1.0


def cpu_milliseconds(classifier: Classifier, threads=(1, 2)) -> dict:
    """{"cores", "milliseconds": {"1": ..., "2": ...}}: the median over repeated calls with one window of noise, after a first one.

    A model on another device is copied to the CPU for it. The number of threads is afterwards what it was.
    """
    if classifier.device.type != "cpu":
        classifier = Classifier(copy.deepcopy(classifier.model), "cpu")
    config, before = classifier.config, torch.get_num_threads()
    wave = np.random.default_rng(0).standard_normal((1, config.window_samples)).astype(np.float32) * 0.1
    try:
        found = {str(count): _median(classifier, wave, count) for count in threads}
    finally:
        torch.set_num_threads(before)
    return {"cores": os.cpu_count(), "milliseconds": found}


def _median(classifier, wave, threads):
    torch.set_num_threads(threads)
    classifier.score(wave, classifier.config.sample_rate)
    taken, until = [], time.perf_counter() + MOST_SECONDS
    while len(taken) < MOST_CALLS and (not taken or time.perf_counter() < until):
        began = time.perf_counter()
        classifier.score(wave, classifier.config.sample_rate)
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)
