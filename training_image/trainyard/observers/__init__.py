"""Callbacks that only watch: the progress channel, the terminal, curves as files, verdicts on curves.

What belongs here: one module per concern; none changes the run itself. What does not: the recording in a database
and the report, which have their own rooms. May import: recording, training and below.
"""
