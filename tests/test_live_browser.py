"""The comparison of what was played with what was heard finds every kind of damage, or its zeros would mean nothing."""

import numpy as np
import pytest

from benchmarks.live_browser import DEVICE_RATE, compare, noise_wav

SECONDS = 8


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    return noise_wav(tmp_path_factory.mktemp("noise") / "noise.wav", SECONDS)


def heard(*parts):
    return np.concatenate([np.zeros(500, np.int16), *parts])


def test_an_unbroken_recording_is_found_wherever_it_begins(played):
    found = compare(played, heard(played[1234:]))
    assert (found.different, found.slips) == (0, []) and found.compared > (SECONDS - 1) * DEVICE_RATE


@pytest.mark.parametrize("missing", [128, 441, 4410])
def test_lost_samples_are_found(played, missing):
    found = compare(played, heard(played[:100_000], played[100_000 + missing :]))
    assert found.slips == [(100_000, missing)] and found.different == 0


@pytest.mark.parametrize("doubled", [128, 441, 4410])
def test_doubled_samples_are_found(played, doubled):
    found = compare(played, heard(played[:100_000], played[100_000 - doubled :]))
    assert found.slips == [(100_000, -doubled)] and found.different == 0


def test_changed_samples_are_counted(played):
    changed = played.copy()
    changed[120_000:120_300] += 40
    assert compare(played, heard(changed)).different == 300


def test_swapped_blocks_are_no_match(played):
    swapped = heard(played[:90_000], played[100_000:110_000], played[90_000:100_000], played[110_000:])
    found = compare(played, swapped)
    assert found.slips or found.different > 10_000
