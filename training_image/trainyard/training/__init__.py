"""Training with an algorithm: from the specification to a trained, evaluated, exported policy.

What belongs here: RLlib's configuration, the driver loop, evaluation, early stopping, exporting. What does not: what
only watches a run (observers, recording, reports). May import: rllib and below.
"""
