"""What a run says while it works: the progress channel, `trainyard.report`, and numbers as people read them.

What belongs here: writing snapshots and formatting. What does not: deciding what a run does. May import: spec and
below.
"""
