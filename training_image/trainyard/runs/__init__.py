"""One run on disk and in memory: its identity, counters, storage, checkpoints, packages and stop criteria.

What belongs here: what every kind of work (algorithm, trainable, program) has. What does not: RLlib, Tune, callbacks.
May import: progress, spec and below.
"""
