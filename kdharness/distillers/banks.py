"""CRD's memory: what each network said of every training image, and where the images of each class stand."""

import torch
from torch import Tensor, nn

from kdharness.distillers.embedding import Embedding


class Banks(nn.Module):
    """Embeddings, one row per training image for the student (v1) and the teacher (v2), and Z of both (-1: not yet)."""

    memory_v1: Tensor
    memory_v2: Tensor
    Z: Tensor
    by_class: Tensor
    """Positions of the training images, class after class; those that this run does not train on are absent."""
    first: Tensor
    """(K,) where each class begins in it"""
    size: Tensor
    """(K,)"""

    def __init__(self, width: int, teacher_width: int, dimension: int, labels: Tensor, classes: int) -> None:
        super().__init__()
        self.embed_s = Embedding(width, dimension)
        self.embed_t = Embedding(teacher_width, dimension)
        reach = (3 / dimension) ** 0.5
        for name in ("memory_v1", "memory_v2"):
            self.register_buffer(name, torch.empty(len(labels), dimension).uniform_(-reach, reach))
        self.register_buffer("Z", torch.full((2,), -1.0))
        size = torch.bincount(labels[labels >= 0], minlength=classes)
        by_class = labels.argsort(stable=True)[int((labels < 0).sum()) :]
        # known again at every build: no part of a checkpoint
        self.register_buffer("by_class", by_class, persistent=False)
        self.register_buffer("first", size.cumsum(0) - size, persistent=False)
        self.register_buffer("size", size, persistent=False)
        self.fewest_others = len(by_class) - int(size.max())
