"""What errors become: words for tables and failures."""

import pytest

from trainyard.errors import described, out_of_memory

# Shortened from Ray 2.60.
RAYS_WORDS = """2 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 10.0.0.7, ID: \
694f134c) was 9.53GB used / 10.00GB limit (0.953)
OOM kill reason: Memory usage 9713561600B exceeded threshold of 9500000000B (95.0% of 10000000000B limit)
Object store memory usage: [- objects spillable: 0
]
Ray killed 2 worker(s) based on the killing policy
Considered workers: [
Selected to kill: (Task: job ID=01000000, lease ID=7f17, task name=EnvRunner:A.__init__, required resources={}, \
pid=14880, actual memory used=3.14GB, worker ID=3e21)
Selected to kill: (Task: job ID=01000000, lease ID=0000, task name=play, required resources={CPU: 1}, pid=14878, \
actual memory used=2.09GB, worker ID=1e8f)
]
Refer to the documentation on how to address the out of memory issue."""


def ray_error(text):
    """Named as Ray's own, which cannot be made without Ray."""
    return type("OutOfMemoryError", (Exception,), {"__module__": "ray.exceptions"})(text)


@pytest.mark.parametrize("wrap", ["plain", "cause of Ray", "cause of Python"])
def test_a_process_that_ray_ended_for_its_memory_is_told_in_one_line(wrap):
    error = ray_error(RAYS_WORDS)
    if wrap == "cause of Ray":
        error = type("RayTaskError", (Exception,), {"cause": error})("remote traceback")
    elif wrap == "cause of Python":
        outer = RuntimeError("the trial failed")
        outer.__cause__ = error
        error = outer
    told = out_of_memory(error)
    assert told is not None
    assert "9.53GB of 10.00GB were used on the node 10.0.0.7" in told
    assert "it ended EnvRunner:A.__init__ with 3.14GB, play with 2.09GB" in told
    assert "raise spec.cluster.head.memory or spec.cluster.worker.memory" in told
    assert "\n" not in told
    assert described(error) == f"OOMKilled: {told}"


def test_an_error_of_the_users_own_that_speaks_of_memory_is_none():
    assert out_of_memory(MemoryError("the node running low on memory")) is None
    assert described(MemoryError("no more")) == "MemoryError: no more"
