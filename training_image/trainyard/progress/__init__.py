"""Reporting while a run works: the progress channel, `trainyard.report`, and numbers in a form for people.

What belongs here: writing snapshots and formatting. What does not: decisions about a run. May import: spec and
below.
"""
