"""The two optimisers, the learning rate and the moving average, each as the published runs used it."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from trm.config import Training
from trm.models.layers import PuzzleEmbedding


class AdamATan2:
    """Adam with atan2 in place of the division, hence no epsilon and no sensitivity to the gradient's scale.

    arXiv 2407.05872, with decoupled weight decay on every parameter:
        p *= 1 - lr*wd;  m = lerp(m, g, 1-b1);  v = lerp(v, g*g, 1-b2)
        p -= lr / (1-b1^t) * atan2(m, sqrt(v) / sqrt(1-b2^t))
    """

    def __init__(self, parameters: Iterable[Tensor], beta1: float, beta2: float, weight_decay: float):
        self.parameters = list(parameters)
        self.m = [torch.zeros_like(p) for p in self.parameters]
        self.v = [torch.zeros_like(p) for p in self.parameters]
        self.beta1, self.beta2, self.weight_decay = beta1, beta2, weight_decay

    @torch.no_grad()
    def step(self, t: int, lr: float) -> None:
        """Update the parameters from their gradients; `t` counts steps from 1."""
        gradients = [p.grad for p in self.parameters]
        torch._foreach_lerp_(self.m, gradients, 1 - self.beta1)
        torch._foreach_mul_(self.v, self.beta2)
        torch._foreach_addcmul_(self.v, gradients, gradients, 1 - self.beta2)
        deviations = torch._foreach_sqrt(self.v)
        torch._foreach_div_(deviations, math.sqrt(1 - self.beta2**t))
        updates = [torch.atan2(m, d, out=d) for m, d in zip(self.m, deviations, strict=True)]
        torch._foreach_mul_(self.parameters, 1 - lr * self.weight_decay)
        torch._foreach_add_(self.parameters, updates, alpha=-lr / (1 - self.beta1**t))


class SignSGD:
    """Sign descent on the rows of a puzzle embedding that the batch has used; the other rows are not touched.

    Gradients of equal rows are summed first, then p = p*(1 - lr*wd) - lr*sign(g).
    """

    def __init__(self, embedding: PuzzleEmbedding, weight_decay: float):
        self.weights = embedding.weights
        self.weight_decay = weight_decay

    @torch.no_grad()
    def step(self, puzzle_identifiers: Tensor, gradients: Tensor, lr: float) -> None:
        """Update from the batch's identifiers [B] and the gradients of its rows [B, puzzle_emb_ndim]."""
        same = puzzle_identifiers[:, None] == puzzle_identifiers  # [B, B]; `unique` would wait for the GPU
        sums = same.to(gradients.dtype) @ gradients
        rows = self.weights[puzzle_identifiers]
        self.weights[puzzle_identifiers] = rows * (1 - lr * self.weight_decay) - lr * sums.sign()


class EMA:
    """Exponential moving average of the parameters, from their initial values on."""

    def __init__(self, parameters: Iterable[Tensor], rate: float):
        self.parameters = list(parameters)
        self.shadow = [p.detach().clone() for p in self.parameters]
        self.rate = rate

    @torch.no_grad()
    def update(self) -> None:
        torch._foreach_mul_(self.shadow, self.rate)
        torch._foreach_add_(self.shadow, self.parameters, alpha=1 - self.rate)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the average and the parameters, in place; a second call undoes it."""
        for shadow, parameter in zip(self.shadow, self.parameters, strict=True):
            kept = parameter.clone()
            parameter.copy_(shadow)
            shadow.copy_(kept)


def learning_rate(config: Training, base: float, step: int, total_steps: int) -> float:
    """Rate of a step (counted from 1): linear warm-up, then a cosine from `base` to lr_min_ratio * base."""
    if step < config.lr_warmup_steps:
        return base * step / config.lr_warmup_steps
    progress = (step - config.lr_warmup_steps) / max(1, total_steps - config.lr_warmup_steps)
    share = 0.5 * (1 + math.cos(math.pi * progress))
    return base * (config.lr_min_ratio + (1 - config.lr_min_ratio) * share)
