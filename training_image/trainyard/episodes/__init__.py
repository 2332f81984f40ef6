"""Episodes as plain data: what is recorded of them and which figures environments add to them.

What belongs here: data classes and what reads an episode's infos. What does not: playing episodes, writing to a
database. May import: callbacks, runs, progress, spec and below.
"""
