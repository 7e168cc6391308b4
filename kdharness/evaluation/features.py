"""A student's features in two dimensions, by t-SNE (Logit Standardization, Figure 4)."""

import torch

from kdharness.evaluation.judged import Found, Judged

IMAGES = 2000
"""At most so many, evenly over the split: t-SNE of ten times as many takes minutes and shows no more."""
PERPLEXITY = 30.0


def features(judged: Judged) -> Found:
    """The pooled features of up to 2,000 images, (n, 2), with their labels; nothing is measured.

    scikit-learn's t-SNE: begun with the principal components, perplexity 30 (less for few images), random state 0.
    """
    from sklearn.manifold import TSNE

    chosen = torch.linspace(0, len(judged.labels) - 1, min(IMAGES, len(judged.labels))).long()
    perplexity = min(PERPLEXITY, (len(chosen) - 1) / 3)
    embed = TSNE(perplexity=perplexity, init="pca", random_state=0)
    points = embed.fit_transform(judged.pooled[chosen].flatten(1).float().numpy())
    return Found({}, {"points": points.astype("float32"), "labels": judged.labels[chosen].numpy()})
