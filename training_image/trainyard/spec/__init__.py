"""The document: a TrainingRun as people write it, read, checked and counted.

What belongs here: reading YAML, the sections of a spec, faults in them, presets, units, the points of a search, and how
much a run needs. What does not: anything that needs Ray, torch or a file system. May import: errors, metrics, loading.
"""
