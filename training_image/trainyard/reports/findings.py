"""Sentences that say what the numbers mean, without claiming more. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainyard import metrics as names
from trainyard.analysis import FEWEST_POINTS, SETTLED, Gap, Overfitting, Trend
from trainyard.progress.text import duration
from trainyard.reports import wording
from trainyard.reports.account_episodes import POLICY
from trainyard.reports.folder import RunFolder, TrialResult, finite_points, last_value

Findings = Mapping[str, Any]

# A change below this share of the curve's whole range is called no change.
_SMALL = 0.1


def change(y: np.ndarray, mode: str = "max") -> str:
    """Whether a curve ended better or worse than it began: `rose from 23.0 to 187`."""
    first, last, whole = float(y[0]), float(y[-1]), float(np.ptp(y))
    if whole == 0:
        return f"stayed at {wording.plain(last)}"
    if abs(last - first) < _SMALL * whole:
        return f"ended where it began, at {wording.plain(last)}"
    return f"{'rose' if last > first else 'fell'} from {wording.plain(first)} to {wording.plain(last)}"


def learning_title(run: RunFolder) -> str:
    """The finding above the learning curve."""
    _, y = finite_points(run.curves, names.TIME_ENV_STEPS, names.TRAIN_RETURN_MEAN)
    trend = run.facts.get("findings", {}).get("convergence/trend")
    ending = {
        Trend.IMPROVING: " and is still rising",
        Trend.CONVERGED: " and has levelled off",
        Trend.WORSENING: " and is falling at the end",
    }.get(trend, "")
    return f"The episode return {change(y)}{ending}"


def convergence_words(found: Findings) -> str:
    """The finding about the late part of the learning curve."""
    trend, gain = found.get("convergence/trend"), found.get("convergence/late_gain", math.nan)
    slope, error = found.get("convergence/slope", math.nan), found.get("convergence/slope_standard_error", math.nan)
    numbers = f"(late slope {wording.plain(slope)} ± {wording.plain(error)} per iteration)"
    share = f"{wording.percent(abs(gain))} of the curve's whole range"
    if trend == Trend.IMPROVING:
        returns = found.get("convergence/diminishing_returns", math.nan)
        slower = f", at {wording.percent(returns)} of its early pace" if 0 <= returns < 1 else ""
        doubt = found.get("overfitting/verdict") in (Overfitting.SUSPECTED, Overfitting.YES)
        advice = "" if doubt else " More training may help."
        return f"Still improving{slower}: the last third gained {share} {numbers}.{advice}"
    if trend == Trend.CONVERGED:
        return f"Converged: the last third changed less than {wording.percent(SETTLED)} of the curve's range {numbers}."
    if trend == Trend.UNCLEAR:
        return (
            "Cannot be told: the last third may have changed by noise alone, or by more than "
            f"{wording.percent(SETTLED)} of the curve's range {numbers}. "
            "More iterations, or more episodes in each, would tell."
        )
    if trend == Trend.WORSENING:
        return f"Worsening: the last third lost {share} {numbers}. A lower learning rate may help."
    points = int(found.get("convergence/points", 0))
    return f"Cannot be judged: {wording.count(points, 'point')}, and {2 * FEWEST_POINTS} are needed."


def overfitting_words(found: Findings) -> str:
    """The finding about overfitting."""
    verdict = found.get("overfitting/verdict")
    if verdict is None or verdict == Overfitting.UNKNOWN:
        return f"Cannot be judged: fewer than {2 * FEWEST_POINTS} iterations or evaluations have a value."
    if not {f"overfitting/{name}" for name in ("best_iteration", "fall", "train_change")} <= set(found):
        return f"{verdict}."  # the folder is of another version of Trainyard
    best, fall = int(found["overfitting/best_iteration"]), wording.percent(found["overfitting/fall"])
    train = found["overfitting/train_change"]
    since = f"training has {'gained' if train >= 0 else 'lost'} {wording.percent(abs(train))} of its range since"
    if verdict == Overfitting.YES:
        return (
            f"Yes: validation was best in iteration {best} and has lost {fall} of its range; {since}. "
            "Use the best checkpoint."
        )
    if verdict == Overfitting.SUSPECTED:
        return f"Suspected: validation was best in iteration {best} and ends {fall} of its range below; {since}."
    return f"No sign of it: validation ends {fall} of its range below its best (iteration {best}); {since}."


def gap_words(found: Findings) -> list[str]:
    """The gaps between training and other data, one sentence each."""
    metric = found.get("generalisation/metric")
    sentences = []
    for kind in ("validation", "test"):
        gap = found.get(f"generalisation/{kind}/gap")
        if metric is None or gap is None:
            continue
        relation = "better" if gap > 0 else "worse"
        # Folders of an earlier version have no verdict on it.
        chance = ", which chance explains" if found.get(f"generalisation/{kind}/verdict") == Gap.UNCLEAR else ""
        size = wording.difference(metric, abs(gap))
        sentences.append(
            f"The {wording.label(metric)} is {size} {relation} on training data than in the {kind}{chance}."
        )
    return sentences


def of_missing_episodes(run: RunFolder) -> list[str]:
    """What the means leave out or cut short, one sentence each."""
    sentences = []
    for kind in ("train", "validation", "test"):
        left_out = last_value(run.curves, f"{kind}/{names.NON_FINITE_EPISODES}")
        cut = last_value(run.curves, f"{kind}/{names.CUT_EPISODES}")
        where = {"train": "training", "validation": "the last validation", "test": "the test"}[kind]
        if left_out:
            had = "had a number that is not finite and was left out" if left_out == 1 else (
                "had numbers that are not finite and were left out"
            )  # fmt: skip
            sentences.append(f"In {where}, {wording.count(left_out, 'episode')} {had}.")
        if cut:
            sentences.append(f"In {where}, {wording.count(cut, 'episode')} did not end within maxStepsPerEpisode.")
    return sentences


def validation_title(run: RunFolder, metric: str, y: np.ndarray) -> str:
    """The finding above the validation's curve."""
    best, name = run.facts.get("best"), wording.capital(wording.label(metric))
    if best is not None and run.facts.get("selection", {}).get("metric") == metric:
        stopped = ", then training was stopped early" if stopped_early(run) else ""
        return f"{name} was best in iteration {best['iteration']}: {wording.value(metric, best['value'])}{stopped}"
    return f"{name} in validation {change(y)}"


def stopped_early(run: RunFolder) -> bool:
    return str(run.facts.get("ended", "")).startswith("early stopping")


def account_title(record: Mapping[str, Any]) -> str:
    """The policy's gain compared with the benchmarks."""
    earned = record["figures"][POLICY].get("total_return", math.nan)
    others = {
        name: figures.get("total_return", math.nan) for name, figures in record["figures"].items() if name != POLICY
    }
    if not others:
        return f"The policy earned {wording.percent(earned, signed=True)}"
    against = [
        f"{wording.BENCHMARKS.get(name, name)} {wording.percent(total, signed=True)}" for name, total in others.items()
    ]
    return f"The policy earned {wording.percent(earned, signed=True)}, {wording.listed(against)}"


def account_verdict(record: Mapping[str, Any]) -> str:
    """Which benchmarks the policy beats, by return and by Sharpe ratio."""
    mine = record["figures"][POLICY]
    where = "out of sample" if record["kind"] == "test" else "in validation"
    sentences = []
    for name, theirs in record["figures"].items():
        if name == POLICY:
            continue
        won = [
            wording.label(figure)
            for figure in ("total_return", "sharpe")
            if mine.get(figure, -math.inf) > theirs.get(figure, math.inf)
        ]
        lost = [wording.label(figure) for figure in ("total_return", "sharpe") if wording.label(figure) not in won]
        benchmark = wording.BENCHMARKS.get(name, name)
        if not won:
            sentences.append(f"The policy did not beat {benchmark} {where}.")
        elif lost:
            sentences.append(
                f"The policy beat {benchmark} {where} by {wording.listed(won)}, but not by {wording.listed(lost)}."
            )
        else:
            sentences.append(f"The policy beat {benchmark} {where} by total return and by Sharpe ratio.")
    days = len(record["value"]) - 1
    caution = "One range of dates is one sample: it says little about the next."
    return " ".join([*sentences, f"The episode has {wording.count(days, 'period')}. {caution}"])


def trades_title(record: Mapping[str, Any]) -> str:
    """How often the policy traded, and which positions it held for how long."""
    position = np.sign(np.asarray(record.get("position", []))[1:])
    title = wording.count(len(record["trades"]), "trade")
    if not len(position):
        return title
    shares = [(word, float(np.mean(position == sign))) for word, sign in (("long", 1), ("flat", 0), ("short", -1))]
    held = [f"{word} {100 * share:.0f} %" for word, share in shares if share > 0]
    return f"{title}: {wording.listed(held)} of the time"


def weights_title(record: Mapping[str, Any]) -> str:
    """The largest holdings, and how much cash."""
    means = np.asarray(record["weights"])[1:].mean(axis=0)
    order = np.argsort(-means[1:])[:3]
    most = wording.listed(
        [f"{record['assets'][asset]} {100 * means[1 + asset]:.0f}{wording.SPACE}%" for asset in order]
    )
    return f"Held most on average: {most}; cash {100 * means[0]:.0f}{wording.SPACE}%"


def throughput_title(run: RunFolder) -> str:
    _, y = finite_points(run.curves, names.TIME_SECONDS, names.ENV_STEPS_PER_SECOND)
    return f"{wording.plain(float(np.median(y)))} environment steps per second in the median iteration"


def best_trial(run: RunFolder) -> TrialResult | None:
    """The trial that the summary names as the best."""
    wanted = str(run.summary.get("bestTrial", ""))
    return next((trial for trial in run.trials if trial.id == wanted), None)


def search_metric(run: RunFolder) -> str | None:
    return run.spec.get("search", {}).get("metric") or run.summary.get("bestMetric")


def trial_value(run: RunFolder, trial: TrialResult) -> float | None:
    """The value by which trials are compared: the best value if the trial has a curve, otherwise the last value."""
    search, metric = run.spec.get("search", {}), search_metric(run)
    if metric is None:
        return None
    if search.get("best", "BestEver") == "BestEver" and metric in trial.history:
        values = trial.history[metric][np.isfinite(trial.history[metric])]
        if len(values):
            return float(values.max() if search.get("mode", "max") == "max" else values.min())
    return trial.metrics.get(metric)


def search_title(run: RunFolder) -> str:
    metric, best = search_metric(run), best_trial(run)
    if best is None or metric is None:
        return "No trial has a value of the metric"
    parameters = ", ".join(f"{name} {text}" for name, text in best.parameters.items())
    value = float(run.summary.get("bestValue", math.nan))
    equal = [
        trial
        for trial in run.trials
        if (found := trial_value(run, trial)) is not None and math.isclose(found, value, rel_tol=1e-9)
    ]
    tie = f" (equal in {wording.count(len(equal), 'trial')})" if len(equal) > 1 else ""
    return f"{wording.capital(wording.label(metric))} {wording.value(metric, value)} with {parameters}{tie}"


def headline(run: RunFolder) -> str:
    """The one sentence that a reader should remember."""
    if run.is_search:
        of_all = f": the best of {wording.count(len(run.trials), 'trial')}" if best_trial(run) else ""
        return search_title(run) + of_all
    if (record := run.episodes.get("test") or run.episodes.get("validation")) is not None:
        where = "Out of sample" if record["kind"] == "test" else "In validation"
        return f"{where}, {wording.uncapital(account_title(record))}"
    value, test = last_value(run.curves, names.TRAIN_RETURN_MEAN), last_value(run.curves, "test/return_mean")
    if test is not None:
        return f"The best policy's episode return is {wording.plain(test)} in the test"
    if value is not None:
        iterations = run.facts.get("iterations", len(run.curves.get(names.TIME_ITERATION, [])))
        return f"Episode return {wording.plain(value)} after {wording.count(iterations, 'iteration')}"
    return "No episode has finished"


def ending(run: RunFolder) -> str:
    """How the run ended."""
    if "error" in run.facts:
        return f"failed: {str(run.facts['error']).splitlines()[0]}"
    reason = run.facts.get("ended")
    seconds = run.facts.get("seconds") or run.summary.get("seconds")
    took = f" after {duration(float(seconds))}" if seconds else ""
    return f"ended{took}" + (f": {reason}" if reason else "")
