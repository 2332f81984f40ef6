import os
import sys
import time
from pathlib import Path

import pytest

FOLDER = str(Path(__file__).parent)


@pytest.fixture(scope="session")
def ray_nodes():
    """One Ray for all tests: two nodes of this machine, whose workers can import the tests' environments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        # By default Ray's workers yield to everything else on the machine.
        patch.setenv("RAY_worker_niceness", "0")
        patch.syspath_prepend(FOLDER)
        patch.setenv("PYTHONPATH", FOLDER, prepend=os.pathsep)
        nodes = _start_nodes()
        yield nodes
        nodes.shutdown()
    sys.modules.pop("environments", None)


def _start_nodes(tries: int = 3):
    """Ray gives a node 30 s to start, which a machine that is busy with other tests may not keep."""
    from ray.cluster_utils import Cluster

    nodes = Cluster()
    try:
        nodes.add_node(num_cpus=3, include_dashboard=False)
        nodes.add_node(num_cpus=1)
    except Exception as error:
        nodes.shutdown()
        if "timed out during startup" not in str(error) or tries == 1:
            raise
        time.sleep(5)
        return _start_nodes(tries - 1)
    return nodes


@pytest.fixture(scope="session")
def ray_session(ray_nodes):
    """This process, connected to that Ray, with one torch thread as a driver of one CPU has."""
    import ray
    import torch

    torch.set_num_threads(1)
    ray.init(address=ray_nodes.address, logging_level="ERROR", log_to_driver=False)
    yield ray
    ray.shutdown()
