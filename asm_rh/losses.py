"""What training minimises."""

from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy


def classification_loss(logits, targets, output: str, label_smoothing: float = 0.0):
    """Mean loss of logits (B, classes) against target shares (B, classes): cross-entropy for "softmax", binary for "sigmoid".

    Label smoothing moves that share of each target to all classes alike ("softmax") or towards one half ("sigmoid").
    """
    if output == "sigmoid":
        targets = targets * (1 - label_smoothing) + label_smoothing / 2
        return binary_cross_entropy_with_logits(logits, targets)
    return cross_entropy(logits, targets, label_smoothing=label_smoothing)
