"""How often a verdict finds what is not there, and how often what is: `python -m tests.bench.verdict_rates`.

Prints the tables of docs/analysis.md. Null curves are what a run gives whose policy no longer changes: every point is
the mean of an iteration's own episodes, or, where the name says so, of the last 100 as in `train/return_mean`.
tests/unit/test_verdict_rates.py holds the bounds on a sample of the same curves.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from scipy.signal import lfilter

from trainyard.analysis import Gap, Overfitting, Trend, convergence, generalisation, overfitting
from trainyard.metrics import WINDOW_EPISODES

Maker = Callable[[np.random.Generator, int], np.ndarray]
"""Curves, shape (how many, points), all without a trend in their last third."""


def white(points: int, episodes: int = 1) -> Maker:
    """Means of an iteration's own episodes, whose return has a standard deviation of 1."""
    return lambda rng, curves: rng.normal(0, episodes**-0.5, (curves, points))


def autoregressive(points: int, keeps: float) -> Maker:
    def make(rng: np.random.Generator, curves: int) -> np.ndarray:
        before = 100
        return lfilter([1.0], [1.0, -keeps], rng.normal(size=(curves, before + points)))[:, before:]

    return make


def moving_average(points: int, episodes: int, window: int = WINDOW_EPISODES) -> Maker:
    """After every iteration the mean of the last `window` episodes, of all while there are fewer."""

    def make(rng: np.random.Generator, curves: int) -> np.ndarray:
        sums = np.pad(np.cumsum(rng.normal(size=(curves, points * episodes)), axis=1), ((0, 0), (1, 0)))
        end = np.arange(1, points + 1) * episodes
        start = np.maximum(0, end - window)
        return (sums[:, end] - sums[:, start]) / (end - start)

    return make


def heavy(points: int, degrees: float) -> Maker:
    return lambda rng, curves: rng.standard_t(degrees, (curves, points))


def skewed(points: int) -> Maker:
    return lambda rng, curves: -np.exp(1.5 * rng.normal(size=(curves, points)))


def dips(points: int) -> Maker:
    """At its highest value but for one point in twenty."""
    return lambda rng, curves: -1.0 * (rng.random((curves, points)) < 0.05)


def spreading(points: int, first: float, last: float) -> Maker:
    """Noise whose standard deviation goes from `first` to `last`."""
    return lambda rng, curves: rng.normal(size=(curves, points)) * np.linspace(first, last, points)


def levelled(points: int, rise: Callable[[np.ndarray], np.ndarray]) -> Maker:
    """Ten standard deviations of noise up, and there by the end of the first half."""
    return lambda rng, curves: rng.normal(size=(curves, points)) + 10 * rise(np.arange(points) / points)


def steadily(share: np.ndarray) -> np.ndarray:
    return np.minimum(3 * share, 1)


def saturating(share: np.ndarray) -> np.ndarray:
    return 1 - np.exp(-30 * share)


NULL: dict[str, Maker] = {
    "white noise, 8 points": white(8),
    "white noise, 12 points": white(12),
    "white noise, 30 points": white(30),
    "white noise, 300 points": white(300),
    "white noise, 1,000 points": white(1000),
    "own episodes, 30 x 5": white(30, 5),
    "own episodes, 60 x 10": white(60, 10),
    "own episodes, 200 x 10": white(200, 10),
    "own episodes, 100 x 200": white(100, 200),
    "moving average, 30 x 5": moving_average(30, 5),
    "moving average, 60 x 10": moving_average(60, 10),
    "moving average, 200 x 10": moving_average(200, 10),
    "moving average, 100 x 200": moving_average(100, 200),
    "AR(1) 0.3, 60 points": autoregressive(60, 0.3),
    "AR(1) 0.6, 30 points": autoregressive(30, 0.6),
    "AR(1) 0.6, 200 points": autoregressive(200, 0.6),
    "AR(1) 0.9, 30 points": autoregressive(30, 0.9),
    "AR(1) 0.9, 200 points": autoregressive(200, 0.9),
    "Student's t, 2 degrees, 60 points": heavy(60, 2),
    "Cauchy, 60 points": heavy(60, 1),
    "skewed (log-normal), 60 points": skewed(60),
    "rare dips, 100 points": dips(100),
    "noise grows fivefold, 60 points": spreading(60, 1, 5),
    "noise shrinks fivefold, 60 points": spreading(60, 5, 1),
    "steady rise, then flat, 60 points": levelled(60, steadily),
    "saturating, then flat, 30 points": levelled(30, saturating),
    "saturating, then flat, 90 points": levelled(90, saturating),
}


def rising(points: int, episodes: int, over: int = 30) -> Maker:
    """A straight rise by one standard deviation of an episode's return over `over` points."""
    return lambda rng, curves: white(points, episodes)(rng, curves) + np.arange(points) / (over - 1)


def curve(values: Iterable[float]) -> list[tuple[float, float]]:
    return list(enumerate(values))


def trends(curves: np.ndarray, among: Sequence[Trend] = (Trend.IMPROVING, Trend.WORSENING)) -> float:
    """The share of curves whose trend is one of `among`."""
    return float(np.mean([convergence(curve(values)).trend in among for values in curves]))


def overfits(
    validation: np.ndarray,
    train: np.ndarray | None = None,
    among: Sequence[Overfitting] = (Overfitting.SUSPECTED, Overfitting.YES),
) -> float:
    """The share of validations whose verdict is one of `among`, beside training that rises without noise or `train`."""
    trained = np.broadcast_to(np.arange(validation.shape[1]), validation.shape) if train is None else train
    verdicts = [overfitting(curve(t), curve(v)).verdict for t, v in zip(trained, validation, strict=True)]
    return float(np.mean([verdict in among for verdict in verdicts]))


def still_rising(points: int, noise: float) -> Maker:
    """Rises to the end, in the last third by at least 15 % of the range that the noise makes: not converged."""

    def make(rng: np.random.Generator, curves: int) -> np.ndarray:
        rise = np.interp(np.arange(points) / points, [0, 2 / 3, 1], [0, 0.75, 1.0])
        return rise + rng.normal(0, noise, (curves, points))

    return make


def early_stop(points: int) -> np.ndarray:
    """Rises by two in its first half and falls as much in its second."""
    return -2 * np.abs(np.linspace(-1, 1, points))


EPISODES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, count: rng.normal(size=count),
    "log-normal": lambda rng, count: np.exp(1.5 * rng.normal(size=count)),
    "Cauchy": lambda rng, count: rng.standard_t(1, count),
    "all or nothing": lambda rng, count: 1.0 * (rng.random(count) < 0.1),
}


def gaps(
    draw: Callable[[np.random.Generator, int], np.ndarray], episodes: int, times: int, shift: float = 0.0
) -> float:
    """The share of gaps found between 100 training episodes, better by `shift`, and `episodes` others."""
    rng = np.random.default_rng(episodes)
    found = [generalisation(draw(rng, 100) + shift, draw(rng, episodes)).verdict for _ in range(times)]
    return float(np.mean([verdict is not Gap.UNCLEAR for verdict in found]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--curves", type=int, default=2000, help="of every shape")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    count = options.curves

    def made(maker: Maker) -> np.ndarray:
        return maker(np.random.default_rng(options.seed), count)

    print(f"{count:,} curves of every shape, seed {options.seed}\n")
    print("| curves without a finding | a trend | overfitting (validation) | training's rise, of true falls |")
    print("|---|---|---|---|")
    for name, maker in NULL.items():
        values = made(maker)
        falling = np.broadcast_to(early_stop(values.shape[1]), values.shape)
        shares = (trends(values), overfits(values), overfits(falling, values, (Overfitting.YES,)))
        print(f"| {name} | " + " | ".join(f"{100 * share:.1f} %" for share in shares) + " |")
    print("\n| still rising by more than 15 % of the range | called Converged |\n|---|---|")
    for points in (30, 90, 300):
        for noise in (0.02, 0.05, 0.1):
            share = trends(made(still_rising(points, noise)), (Trend.CONVERGED,))
            print(f"| {points} points, noise {100 * noise:.0f} % of the rise | {100 * share:.1f} % |")
    print("\n| no gap | a gap of 100 episodes to 2 | to 5 | to 20 | to 100 |\n|---|---|---|---|---|")
    for name, draw in EPISODES.items():
        shares = [gaps(draw, episodes, count) for episodes in (2, 5, 20, 100)]
        print(f"| {name} | " + " | ".join(f"{100 * share:.1f} %" for share in shares) + " |")
    print("\n| what is there | found |\n|---|---|")
    for episodes in (1, 5, 10, 20):
        share = trends(made(rising(90, episodes)), (Trend.IMPROVING,))
        print(f"| rise of 1 standard deviation over 30 late points of {episodes} episodes | {100 * share:.1f} % |")
    for points in (30, 90, 300):
        share = trends(made(levelled(points, steadily)), (Trend.CONVERGED,))
        print(f"| {points} points, ten standard deviations up and then flat: `Converged` | {100 * share:.1f} % |")
    for episodes in (5, 10):
        share = overfits(made(white(90, episodes)) + early_stop(90), among=(Overfitting.YES,))
        print(
            f"| validation of {episodes} episodes falling by 2 in the second half of 90 points | {100 * share:.1f} % |"
        )
    print(f"| a gap of 1 standard deviation, 20 episodes | {100 * gaps(EPISODES['normal'], 20, count, 1.0):.1f} % |")


if __name__ == "__main__":
    main()
