"""Starting a run, locally or as the operator's driver: connecting to Ray, and the meaning of every end.

What belongs here: code that runs once per process. What does not: the work itself. May import: everything except the
command.
"""
