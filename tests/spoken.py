"""What tests of spoken words share."""

import numpy as np


def in_order(wanted, found):
    """How many of the wanted words are found in their order (longest common subsequence)."""
    table = np.zeros((len(wanted) + 1, len(found) + 1), int)
    for i, a in enumerate(wanted):
        for j, b in enumerate(found):
            table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
    return table[-1, -1]
