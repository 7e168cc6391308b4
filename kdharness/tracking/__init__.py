"""Who else is told about runs: the tracker seam, MLflow as a mirror, and nobody."""
