"""Replay in flat arrays: what DQN and SAC remember, at a fraction of the cost of RLlib's episode objects.

What belongs here: storage, sampling and saving of transitions, the training step that needs no episode objects on its
way from the buffer to the loss, and the rule when it may be used. What does not: losses, modules, exploration; those
stay RLlib's.
"""

from trainyard.rllib.replay.choice import ReplayChoice, choose_replay, choose_runner

__all__ = ["ReplayChoice", "choose_replay", "choose_runner"]
