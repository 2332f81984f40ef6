"""Episode-asynchronous PPO: runners play whole episodes, the learner takes them as they finish.

    runners (Ray actors, many)            driver (one)
    play episodes, policy in numpy   -->  EpisodeCollector.gather(n)      whichever n episodes finish first
    take new weights when they ask   <--  update, publish weights         corrected for stale episodes

What a runner imports (`policy`, `episodes`, `episode_runner`) imports neither torch nor RLlib: that is what makes a
hundred runners fit on one machine. What belongs here: collection without a barrier and the correction that it needs.
What does not: PPO's loss, modules and checkpoints, which stay RLlib's (`algorithm` plugs in there).
"""
