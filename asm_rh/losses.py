"""What training minimises."""

from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy


def classification_loss(logits, targets, output: str, label_smoothing: float = 0.0, class_weights=None):
    """Mean loss of logits (B, classes) against target shares (B, classes): cross-entropy for "softmax", binary for "sigmoid".

    Label smoothing moves that share of each target to all classes alike ("softmax") or towards one half ("sigmoid"). A clip's loss is
    multiplied by the mean of `class_weights` (classes,) over its targets, where given.
    """
    if output == "sigmoid":
        wanted = targets * (1 - label_smoothing) + label_smoothing / 2
        losses = binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(1)
    else:
        losses = cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="none")
    if class_weights is not None:
        losses = losses * (targets @ class_weights) / targets.sum(1).clamp_min(1e-9)
    return losses.mean()
