"""The controller of TrainingRuns: watch, observe, decide, act.

Reading order: `model` and `status` (the data), `decide` and `policies` (what happens to a run, pure), `reconcile` (one
pass over one run), `app` (how everything is connected). Only `clients`, `lease`, `watch`, `watchdog`, `reconcile`,
`act`, `web` and `app` do I/O. No Ray, no torch.
"""

__version__ = "0.1.0"
