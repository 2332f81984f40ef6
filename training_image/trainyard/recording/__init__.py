"""Records of a run in a database: runs, attempts, trials, iterations, episodes, steps, trades, evaluations.

What belongs here: the schema with its migrations, the recorder that writes, the code on the env runners, and the
driver's callback. Importing this package imports neither Ray nor SQLAlchemy. docs/database.md explains the tables.
"""
