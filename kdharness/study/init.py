"""The study file that `kdharness init` writes: it runs as it stands and shows the language in its comments."""

import re

from kdharness.study.spec import STUDY_NAME

_STARTER = """\
# A study: what to compare, on what, how often. Check it with `kdharness check`, see what it would do with
# `kdharness plan`, train it with `kdharness run`; running it again resumes it and trains only what is missing.
study: {name}
about: KD against no distillation on the scikit-learn digits

dataset: digits
teachers: train             # each teacher is trained first, by the dataset's teacher recipe
recipe: digits-quick        # or changed: {{from: digits-quick, epochs: 60}}
pairs:                      # teacher -> student; or all with all: {{teachers: [...], students: [...]}}
  - resnet20 -> resnet8

distillers:                 # one row of the table each
  - none                    # the student alone
  - kd                      # constants: the method's own preset, its authors' values for each pair
  - {{name: kd, preset: sun2024logit, label: KD+LS, against: kd}}
# - {{name: kd, temperature: {{each: [1, 2, 4, 8]}}, label: KD by T}}          # several settings, all reported
# - {{name: dkd, label: DKD searched, temperature: {{float: [1, 16], log: true}}}}  # chosen by `search:`, see below
# - {{name: luminet, at: {{resnet20 -> resnet8: {{temperature: 8}}}}}}           # a constant for one pair
# - {{group: Features, of: [fitnet]}}                                        # rows under one heading

# search:                   # for each row with a range; it sees validation images only, never the test set
#   pairs: [resnet20 -> resnet8]
#   draws: 20

seeds: 3                    # 0, 1, 2; or a list
tables:                     # what `report` prints; without `only` every row
  - {{rows: distiller, columns: pair, select: last, baseline: none}}
# - {{only: [none, kd, KD+LS], baseline: kd, title: Main results}}            # rows by their labels
# - {{only: [KD by T], columns: temperature, title: Temperature}}             # an ablation in a table of its own

# figures:                  # drawn by `run` and by `report --figures DIR`
#   - {{x: KD by T.temperature, lines: pair}}
"""


def starter(name: str) -> str:
    """The text of a new study file; a `name` that cannot be a study's is mended."""
    fitting = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:64]
    return _STARTER.format(name=fitting if re.fullmatch(STUDY_NAME, fitting) else "my-study")
