import pytest

from trainyard_operator.readings.driver_log import exception

LOG = """starting
Traceback (most recent call last):
  File "/home/ray/anaconda3/lib/python3.11/runpy.py", line 198, in _run_module_as_main
    return _run_code(code)
  File "/home/me/train.py", line 12, in <module>
    step(action)
  File "/opt/venv/lib/python3.11/site-packages/gymnasium/core.py", line 3, in step
    raise ValueError(x)
ValueError: no such action
"""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (LOG, "ValueError: no such action (train.py:12)"),
        (
            "Job entrypoint command failed with exit code 1, last available logs:\n" + LOG,
            LOG.splitlines()[-1] + " (train.py:12)",
        ),
        (LOG + LOG.replace("ValueError: no such action", "market.NoPrices"), "market.NoPrices (train.py:12)"),
        (LOG.replace("/home/me/train.py", "/usr/lib/python3.11/x.py"), "ValueError: no such action"),
        ('Traceback (most recent call last):\n  File "a.py", line 1, in f\n', None),
        ("all is well", None),
        ("", None),
    ],
    ids=["the user's line", "in Ray's words", "the last one", "no line of the user", "cut off", "none", "empty"],
)
def test_an_exception_is_found_with_the_users_line(log, expected) -> None:
    assert exception(log) == expected
