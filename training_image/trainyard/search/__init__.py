"""Searches, and trainables of one's own: many trials, their table, their files and their best.

What belongs here: starting trials (on Tune or as plain tasks), comparing them, keeping their results. What does not:
training one algorithm. May import: reports and below.
"""
