"""Losses and the figures of a step, summed over the rows of a batch.

Loss of a row: mean over its valid tokens of the cross entropy, plus half the binary cross entropy of q_halt against
"the whole row is right" (arXiv 2510.04871, figure 3); for HRM also half that of q_continue against its target. The
trainer divides by the global batch size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = -100  # label of a token that does not count

METRICS = ("count", "accuracy", "exact_accuracy", "q_halt_accuracy", "steps", "lm_loss", "q_halt_loss")
CONTINUE_METRICS = (*METRICS, "q_continue_loss")  # of a network that learns q_continue


def stablemax_scores(x: Tensor) -> Tensor:
    """s(x) = x + 1 for x >= 0 and 1 / (1 - x) below: what stands for exp(x) (arXiv 2501.04697)."""
    return torch.where(x < 0, 1 / (1 - x.clamp(max=0)), x + 1)


def stablemax_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p of the labels [B, n] under p = s / sum s, s the stablemax scores; in float64. Ignored tokens give 0."""
    s = stablemax_scores(logits.to(widest(logits.device)))
    chosen = s.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return torch.where(labels == IGNORE, 0.0, s.sum(-1).log() - chosen.log())


def softmax_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p of the labels [B, n] under the softmax, in float32. Ignored tokens give 0."""
    losses = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="none")
    return losses.view(labels.shape)


def widest(device: torch.device) -> torch.dtype:
    """The type to add up in: float64, but Apple's GPUs have none."""
    return torch.float32 if device.type == "mps" else torch.float64


TOKEN_LOSSES = {
    "stablemax_cross_entropy": stablemax_cross_entropy,
    "softmax_cross_entropy": softmax_cross_entropy,
}


def confidence(loss_type: str, logits: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest token at each position, by logits [B, n, vocab], under the probability that the loss is of.

    Returns that probability, float32 [B, n], and the token.
    """
    logits = logits.float()
    scores = stablemax_scores(logits) if loss_type == "stablemax_cross_entropy" else logits.softmax(-1)
    tokens = logits.argmax(-1)
    return scores.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) / scores.sum(-1), tokens


def loss_and_metrics(
    loss_type: str,
    logits: Tensor,
    q: Tensor,
    labels: Tensor,
    halted: Tensor,
    steps: Tensor,
    continue_target: Tensor | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Loss of a batch, and its figures as one float64 vector in the order of METRICS; both are sums over rows.

    The figures up to `steps` count the rows that halted at this step and have a label; the losses count all rows.
    With `continue_target` [B] for q_continue the figures are CONTINUE_METRICS. `weights` [B] are those of the rows in
    the loss; the figures are without them.
    """
    valid = labels != IGNORE
    tokens = valid.sum(-1)
    token_loss = TOKEN_LOSSES[loss_type](logits, labels)
    lm_losses = token_loss / tokens.clamp(min=1).unsqueeze(-1)  # [B, n]

    with torch.no_grad():
        right = (valid & (logits.argmax(-1) == labels)).sum(-1)
        exact = right == tokens
    q_halt = q[:, 0]
    q_losses = [F.binary_cross_entropy_with_logits(q_halt, exact.to(q_halt.dtype), reduction="none")]  # [B] each
    if continue_target is not None:
        q_losses.append(F.binary_cross_entropy_with_logits(q[:, 1], continue_target, reduction="none"))
    losses = [part.sum() for part in (lm_losses, *q_losses)]

    with torch.no_grad():
        counted = halted & (tokens > 0)
        per_row = (
            torch.ones_like(q_halt),
            right / tokens.clamp(min=1),
            exact,
            (q_halt >= 0) == exact,
            steps,
        )
        wide = widest(logits.device)
        sums = [torch.where(counted, value.to(wide), 0.0).sum() for value in per_row]
        metrics = torch.stack([*sums, *(loss.detach().to(wide) for loss in losses)])
    if weights is not None:
        losses = [lm_losses.sum(-1) @ weights.to(lm_losses.dtype), *(part @ weights for part in q_losses)]
    lm_loss, *q_losses = losses
    return lm_loss + 0.5 * sum(q_losses), metrics
