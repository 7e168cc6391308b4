"""What a student's features are worth on another dataset: a linear probe (LumiNet, Figure 3a)."""

from torch import Tensor

ITERATIONS = 1000


def linear_probe(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """Top-1 accuracy (%) on test of a linear classifier learned on train: features (N, D) and labels (N,) of each.

    The features stand still. They are standardized by train, then scikit-learn's logistic regression (L2, C = 1,
    L-BFGS) is run to its end: no learning rate or schedule to choose, so every student gets the best of its kind. The
    paper says "linear probing" and no more; others train the layer by SGD.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=ITERATIONS))
    probe.fit(train.flatten(1).double().numpy(), train_labels.numpy())
    return 100 * float(probe.score(test.flatten(1).double().numpy(), test_labels.numpy()))
