"""What was asked: a study file becomes settings and runs, and a search its draws. Knows no torch until it must."""
