"""Reads other programs' data into the values of `model`: API objects, pods, the driver's progress file. Pure.

Nothing in this data is trusted. Not here: the status that this operator writes itself (`status_form`).
"""
