"""Markets: prices, features, and the two environments that trade on them.

What belongs here: reading prices, the simulation, its environments, benchmarks and performance figures. What does not:
RLlib, torch, anything that trains. May import: the rest of `environments`, spec and below.
"""
