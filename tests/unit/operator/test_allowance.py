from trainyard_operator.allowance import Allowance


def test_some_times_at_once_then_one_for_every_period() -> None:
    one = Allowance(burst=3, seconds=10)
    done = []
    for now in range(100):
        if one.wait(now) == 0:
            one.take(now)
            done.append(now)
    assert done == [0, 1, 2, 10, 20, 30, 40, 50, 60, 70, 80, 90]


def test_what_was_not_used_is_kept_up_to_the_burst() -> None:
    one = Allowance(burst=2, seconds=10)
    for now in (0, 0, 1000, 1000):
        assert one.wait(now) == 0
        one.take(now)
    assert one.wait(1000) == 10
