"""From what others wrote to the values of `model`: the API's objects, pods, the driver's progress file. Pure, no trust.

Not here: the status that this operator writes itself (`status_form`).
"""
