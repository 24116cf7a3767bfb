"""How a reward model reads a question and its steps: text template, head, calibration, ensembles, the zoo."""
