"""One loop over a cohort: step, feed, recipes, checkpoints, augmentation. Imports no torch by itself."""
