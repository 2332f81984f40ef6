"""Searches and trainables: many trials, their table, their files and the best trial.

What belongs here: starting trials (on Tune or as plain tasks), comparing them, keeping their results. What does not:
training one algorithm. May import: reports and below.
"""
