"""A study of five short runs, and what its environment holds that nobody may find again."""

CANARY = "canary-5b1f"
SECRET = ("WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "PGPASSWORD", "MY_NOTES")

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
