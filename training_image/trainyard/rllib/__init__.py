"""What replaces or extends a part of RLlib: Learners, replay buffers, connectors, env runners, asynchronous collection.

What belongs here: classes that RLlib is told to use, and the names of RLlib's and Ray's that they depend on. What does
not: which of them a run gets (that is `training`). May import: environments, episodes and below.
"""
