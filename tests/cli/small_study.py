"""A study of five short runs."""

STUDY = """\
study: small
about: two rows on the digits
dataset: digits
teachers: train
recipe: {from: digits-quick, epochs: 2, milestones: []}
pairs: [resnet8 -> resnet8]
distillers:
  - none
  - {name: kd, temperature: 2, label: KD}
seeds: 2
tables: [{baseline: none}]
"""
