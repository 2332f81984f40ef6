"""Starting a run: locally or as the operator's driver, connecting to Ray, and what every end means.

What belongs here: what happens once per process. What does not: the work itself. May import: everything but the
command.
"""
