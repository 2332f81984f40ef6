"""Callbacks that only watch: the progress channel, the terminal, curves as files, verdicts on curves.

What belongs here: one module per concern; none changes what the run does. What does not: the recording in a database
and the report, which have rooms of their own. May import: recording, training and below.
"""
