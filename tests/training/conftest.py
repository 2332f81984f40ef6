import sys
import time
from pathlib import Path

import pytest

START_TRIES = 3


@pytest.fixture(scope="module")
def ray_session(monkeypatch_module):
    """A Ray of its own for the module, whose workers can import the tests' environments."""
    import ray

    for attempt in range(1, START_TRIES + 1):
        try:
            ray.init(num_cpus=4, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
            break
        except Exception as error:
            # Ray gives a node 30 s to start, which a machine that is busy with other tests may not keep.
            if "timed out during startup" not in str(error) or attempt == START_TRIES:
                raise
            ray.shutdown()
            time.sleep(5)
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        # By default Ray's workers yield to everything else on the machine.
        patch.setenv("RAY_worker_niceness", "0")
        folder = str(Path(__file__).parent)
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", folder, prepend=":")
        yield patch
    sys.modules.pop("environments", None)
