"""The page: its sections of sentences, figures and tables, and their content for this run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import yaml

from trainyard import metrics as names
from trainyard.progress.text import duration
from trainyard.reports import drawing, findings, learning_curves, market, search_section, wording
from trainyard.reports.account_episodes import POLICY
from trainyard.reports.drawing import Drawing
from trainyard.reports.folder import LARGEST_DRAWN, RunFolder, finite_points, last_value, value_at
from trainyard.training.provenance import jumps_in_words

TEMPLATE = "report.html.j2"
# Rows of the table of trials; trials.csv has all.
MOST_TRIALS = 200
# Metrics of evaluations that need no panel of their own.
_IN_OTHER_FIGURES = ("return_min", "return_max", "episode_length_mean")


@dataclass(frozen=True)
class Figure:
    """A drawing on the page; its PNG has the same `name`. `alt` describes it in words."""

    name: str
    title: str
    svg: str
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text; the first column names the row. `marked` is the number of the highlighted row."""

    head: list[str]
    rows: list[list[str]]
    caption: str = ""
    marked: int | None = None


@dataclass
class Section:
    id: str
    title: str
    paragraphs: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    code: str = ""

    @property
    def is_empty(self) -> bool:
        return not (self.paragraphs or self.figures or self.tables or self.code)


class _Gallery:
    """Draws figures: as SVG into the page, as PNG into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(
        self,
        section: Section,
        name: str,
        draw: Callable[[], Drawing | None],
        title: str,
        alt: str,
        caption: str = "",
    ) -> None:
        """Add the figure to the section, unless there is nothing to draw."""
        with drawing.style(salt=name):
            figure = draw()
            if figure is None:
                return
            svg = drawing.as_svg(figure, name)
            # The picture stands alone, so it carries its title itself.
            figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
            drawing.save_png(figure, self._folder / f"{name}.png")
        section.figures.append(Figure(name, title, svg, alt, caption))


def render(run: RunFolder, pictures: Path) -> str:
    """Draw the figures (PNGs into `pictures`) and return the page."""
    gallery = _Gallery(pictures)
    makers = (_search, _learning, _validation, _accounts, _throughput, _trainable, _reproducing)
    sections = [section for make in makers for section in make(run, gallery) if not section.is_empty]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(TEMPLATE).render(
        name=run.facts.get("name", "run"),
        subject=_subject(run),
        headline=findings.headline(run),
        ending=findings.ending(run),
        tiles=_tiles(run),
        sections=sections,
    )
    return page.rstrip() + "\n"


def _subject(run: RunFolder) -> str:
    """What ran: `PPO on CartPole-v1`."""
    spec = run.spec
    algorithm = spec.get("algorithm", {}).get("name") or run.summary.get("algorithm")
    environment = spec.get("environment", {}).get("name") or run.summary.get("environment")
    if algorithm and environment:
        return f"{algorithm} on {environment}"
    return spec.get("trainable", {}).get("function", "")


def _tiles(run: RunFolder) -> list[tuple[str, str]]:
    """Key figures: names and values."""
    tiles: list[tuple[str, str]] = []
    columns = run.curves

    def add(label: str, value: float | None, write: Callable[[float], str] = wording.plain) -> None:
        if value is not None:
            tiles.append((label, write(value)))

    if run.is_search:
        states = [trial.state for trial in run.trials]
        tiles.append(("trials", wording.plain(len(states))))
        if failed := states.count("Failed"):
            tiles.append(("failed trials", wording.plain(failed)))
    add("iterations", last_value(columns, names.TIME_ITERATION))
    add("environment steps", last_value(columns, names.TIME_ENV_STEPS))
    add("episodes", last_value(columns, names.TRAIN_EPISODES))
    add("episode return", last_value(columns, names.TRAIN_RETURN_MEAN))
    best, selection = run.facts.get("best"), run.facts.get("selection", {})
    if best is not None and (metric := selection.get("metric", "")).startswith(names.VALIDATION):
        tiles.append((f"best {wording.label(metric)}, validation", wording.value(metric, best["value"])))
        test = last_value(columns, names.TEST + wording.bare(metric))
        add(f"{wording.label(metric)}, test", test, lambda value: wording.value(metric, value))
    seconds = run.facts.get("seconds") or run.summary.get("seconds")
    add("wall time", seconds, duration)
    return tiles


def _search(run: RunFolder, gallery: _Gallery) -> list[Section]:
    if not run.is_search or not run.trials:
        return []
    section = Section("search", "Search")
    metric = findings.search_metric(run)
    failed = [trial for trial in run.trials if trial.state == "Failed"]
    if failed:
        section.paragraphs.append(
            f"{wording.count(len(failed), 'trial')} of {len(run.trials)} failed; the table has their errors."
        )
    name = wording.label(metric) if metric else "metric"
    gallery.add(
        section, "parallel-coordinates", lambda: search_section.parallel_coordinates(run), findings.search_title(run),
        f"A line per trial through its parameters to its {name}.",
        f"A line is a trial. The best is orange; the stronger a blue line, the better its {name}.",
    )  # fmt: skip
    gallery.add(
        section, "trial-curves", lambda: search_section.trial_curves(run), f"{wording.capital(name)} of every trial",
        f"The {name} of every trial over its iterations.", "The best trial is orange.",
    )  # fmt: skip
    section.tables.append(_trial_table(run))
    return [section]


def _trial_table(run: RunFolder) -> Table:
    metric, best = findings.search_metric(run), findings.best_trial(run)
    found = {name for trial in run.trials for name in trial.metrics} - {metric}
    others = sorted(found - set(run.trials[0].parameters), key=lambda name: (name.count("/"), name))[:4]
    shown = ([metric] if metric else []) + others
    with_errors = any(trial.error for trial in run.trials)
    head = [
        "trial",
        *run.trials[0].parameters,
        *(wording.label(name) for name in shown),
        "epochs",
        "time",
        "host",
        "state",
    ]
    rows = []
    for trial in run.trials[:MOST_TRIALS]:
        values = [findings.trial_value(run, trial) if name == metric else trial.metrics.get(name) for name in shown]
        rows.append(
            [
                trial.id,
                *trial.parameters.values(),
                *(wording.value(name, value) for name, value in zip(shown, values, strict=True)),
                wording.plain(trial.epochs),
                duration(trial.seconds),
                trial.hostname or wording.DASH,
                trial.state,
                *([_first_line(trial.error)] if with_errors else []),
            ]
        )
    caption = "All trials" if len(run.trials) <= MOST_TRIALS else f"The first {MOST_TRIALS} of {len(run.trials)} trials"
    marked = run.trials.index(best) if best in run.trials[:MOST_TRIALS] else None
    return Table([*head, *(["error"] if with_errors else [])], rows, f"{caption}; trials.csv has every metric.", marked)


def _first_line(text: str) -> str:
    return text.splitlines()[0][:200] if text else ""


def _learning(run: RunFolder, gallery: _Gallery) -> list[Section]:
    if not run.curves:
        return []
    section = Section("learning", "Learning")
    if large := [name for name, column in run.curves.items() if (np.abs(column) > LARGEST_DRAWN).any()]:
        section.paragraphs.append(f"Values too large to be drawn are left out of {wording.listed(large)}.")
    _, y = finite_points(run.curves, names.TIME_ENV_STEPS, names.TRAIN_RETURN_MEAN)
    if len(y) > 1:
        gallery.add(
            section, "learning", lambda: learning_curves.learning(run), findings.learning_title(run),
            f"Mean episode return over environment steps: it {findings.change(y)}.",
            f"Line: mean of the last {names.WINDOW_EPISODES} episodes; band: the lowest and the highest of them.",
        )  # fmt: skip
    found = run.facts.get("findings", {})
    section.paragraphs += findings.of_missing_episodes(run)
    if "convergence/trend" in found:
        section.tables.append(_verdicts(run))
    others = [names.TRAIN_LOSS, names.TRAIN_EPISODE_LENGTH_MEAN, names.POLICY_LAG]
    gallery.add(
        section,
        "training-figures",
        lambda: learning_curves.panels(run.curves, names.TIME_ITERATION, "iteration", others),
        "Loss and episode length",
        "Small panels of further figures of training over iterations.",
    )
    return [section]


def _verdicts(run: RunFolder) -> Table:
    found = run.facts.get("findings", {})
    rows = [["Convergence of the return", findings.convergence_words(found)]]
    if "overfitting/verdict" in found:
        rows.append(["Overfitting", findings.overfitting_words(found)])
    if sentences := findings.gap_words(found):
        rows.append(["Generalisation gap", " ".join(sentences)])
    return Table(["question", "answer"], rows, "Verdicts; docs/report.md defines them.")


def _validation(run: RunFolder, gallery: _Gallery) -> list[Section]:
    measured = _evaluated(run)
    if not measured:
        return []
    section = Section("validation", "Validation and test")
    chosen = wording.bare(run.facts.get("selection", {}).get("metric", ""))
    main = chosen if chosen in measured and _is_selected_by_validation(run) else measured[0]
    _, y = finite_points(run.curves, names.TIME_ITERATION, names.VALIDATION + main)
    if len(y) > 1:
        spread = " The band is between its lowest and its highest episode." if main == "return_mean" else ""
        gallery.add(
            section, "validation", lambda: learning_curves.validation(run, main),
            findings.validation_title(run, names.VALIDATION + main, y),
            f"{wording.capital(wording.label(main))} in validation over iterations: it {findings.change(y)}.",
            f"Blue: whole episodes between iterations, which are not used for training.{spread}",
        )  # fmt: skip
    rest = [names.VALIDATION + name for name in measured if name not in (main, *_IN_OTHER_FIGURES)]
    gallery.add(
        section,
        "validation-figures",
        lambda: learning_curves.panels(run.curves, names.TIME_ITERATION, "iteration", rest),
        "Further figures of the validation",
        "Small panels of the other metrics of the validation over iterations.",
    )
    section.tables.append(_evaluation_table(run, measured))
    return [section]


def _is_selected_by_validation(run: RunFolder) -> bool:
    return str(run.facts.get("selection", {}).get("metric", "")).startswith(names.VALIDATION)


def _evaluated(run: RunFolder) -> list[str]:
    """Names of what validation or test measured, the known ones first."""
    found = {
        column.partition("/")[2]
        for column in run.curves
        if column.startswith((names.VALIDATION, names.TEST)) and last_value(run.curves, column) is not None
    }
    order = [
        "return_mean",
        "return_min",
        "return_max",
        "sharpe",
        "total_return",
        "max_drawdown",
        "sortino",
        "calmar",
        "cagr",
        "volatility",
    ]
    return [name for name in order if name in found] + sorted(found - set(order))


def _evaluation_table(run: RunFolder, measured: list[str]) -> Table:
    best = run.facts.get("best")
    head, columns = ["figure"], []
    if best is not None and _is_selected_by_validation(run):
        head.append(f"validation, best (iteration {best['iteration']})")
        columns.append(lambda name: value_at(run.curves, names.VALIDATION + name, best["iteration"]))
    if any(last_value(run.curves, names.VALIDATION + name) is not None for name in measured):
        head.append("validation, last")
        columns.append(lambda name: last_value(run.curves, names.VALIDATION + name))
    if any(last_value(run.curves, names.TEST + name) is not None for name in measured):
        head.append("test")
        columns.append(lambda name: last_value(run.curves, names.TEST + name))
    rows = [[wording.label(name), *(wording.value(name, column(name)) for column in columns)] for name in measured]
    return Table(head, rows, "What the evaluations measured; means over their episodes.")


def _accounts(run: RunFolder, gallery: _Gallery) -> list[Section]:
    titles = {"test": "Out of sample: the test", "validation": "The validation's episode"}
    return [
        _account(run.episodes[kind], titles[kind], gallery) for kind in ("test", "validation") if kind in run.episodes
    ]


def _account(record: dict[str, Any], title: str, gallery: _Gallery) -> Section:
    kind = record["kind"]
    section = Section(f"account-{kind}", title)
    if len(record["figures"]) > 1:
        section.paragraphs.append(findings.account_verdict(record))
    span = f", {record['date'][0]} to {record['date'][-1]}" if "date" in record else ""
    play = "most probable actions" if record.get("greedy", True) else "sampled actions"
    caption = f"One episode with {play}, policy of iteration {record['iteration']}{span}."
    costs = " Benchmarks pay the environment's costs." if record["benchmarks"] else ""
    left_out = market.not_drawable(record)
    gallery.add(
        section, f"account-{kind}", lambda: None if "value" in left_out else market.account(record),
        findings.account_title(record),
        f"Value and drawdown of the account. {findings.account_title(record)}.", caption + costs,
    )  # fmt: skip
    section.tables.append(_performance(record))
    if left_out:
        section.paragraphs.append(f"Not drawn, because values are not finite or too large: {wording.listed(left_out)}.")
    if "price" in record and "price" not in left_out:
        gallery.add(
            section, f"trades-{kind}", lambda: market.trades(record), wording.capital(findings.trades_title(record)),
            f"The price with purchases and sales: {findings.trades_title(record)}.",
            "Triangles up are purchases, down are sales; green and red areas are long and short positions.",
        )  # fmt: skip
    if "weights" not in record or "weights" in left_out or len(record.get("assets", [])) < 2:
        return section
    gallery.add(
        section, f"weights-{kind}", lambda: market.weights(record), findings.weights_title(record),
        "The largest weights of the portfolio over time.",
        "The assets with the largest mean weight, the rest together, and cash.",
    )  # fmt: skip
    return section


def _performance(record: dict[str, Any]) -> Table:
    order = ["total_return", "cagr", "sharpe", "sortino", "calmar", "max_drawdown", "volatility", "turnover"]
    shown = [name for name in order if any(name in figures for figures in record["figures"].values())]
    rows = [
        [wording.BENCHMARKS.get(account, account), *(wording.value(name, figures.get(name)) for name in shown)]
        for account, figures in record["figures"].items()
    ]
    marked = list(record["figures"]).index(POLICY) if len(rows) > 1 else None
    return Table(["account", *(wording.label(name) for name in shown)], rows, "Performance in this episode.", marked)


def _throughput(run: RunFolder, gallery: _Gallery) -> list[Section]:
    section = Section("throughput", "Throughput")
    _, y = finite_points(run.curves, names.TIME_SECONDS, names.ENV_STEPS_PER_SECOND)
    if len(y) > 1:
        title = wording.capital(findings.throughput_title(run))
        gallery.add(
            section, "throughput", lambda: learning_curves.throughput(run), title, f"{title}.",
            "Sampling and learning together, a step of the line per iteration; evaluations are left out.",
        )  # fmt: skip
    return [section]


def _trainable(run: RunFolder, gallery: _Gallery) -> list[Section]:
    """The metrics of a trainable that runs alone."""
    if run.is_search or len(run.trials) != 1:
        return []
    (trial,) = run.trials
    section = Section("metrics", "Metrics")
    metrics = [name for name in trial.history if name in trial.metrics]
    gallery.add(
        section, "metrics", lambda: learning_curves.panels(trial.history, "training_iteration", "iteration", metrics),
        f"What the trainable reported in {wording.count(trial.epochs, 'iteration')}",
        "Small panels of the reported metrics.",
    )  # fmt: skip
    rows = [[name, wording.value(name, value)] for name, value in trial.metrics.items()]
    section.tables.append(Table(["metric", "last value"], rows))
    return [section]


def _reproducing(run: RunFolder, gallery: _Gallery) -> list[Section]:
    facts = run.facts
    section = Section("reproducing", "To reproduce it")
    rows = [["seed", str(facts["seed"])]] if "seed" in facts else []
    if (git := facts.get("git")) is not None:
        changed = " with uncommitted changes" if git["changed"] else ""
        rows.append(["git revision", git["revision"] + changed])
    for data in facts.get("data", []):
        extent = f"{wording.count(data['rows'], 'row')}, {wording.count(data['assets'], 'asset')}"
        span = f"{data['first']} to {data['last']}"
        rows.append(["data", f"{data['source']} ({extent}, {span}); SHA-256 {data['sha256']}"])
        if data.get("reading"):
            rows.append(["read as", data["reading"]])
        if data.get("jumps"):
            rows.append(["jumps", jumps_in_words(data)])
    if versions := facts.get("versions"):
        rows.append(["versions", ", ".join(f"{name} {version}" for name, version in versions.items())])
    rows += _hardware(facts.get("hardware", {}))
    if facts.get("started"):
        rows.append(["time", f"{facts['started']} to {facts.get('finished', 'unknown')}"])
    if facts.get("attempt", 1) > 1 or facts.get("restoredIteration"):
        goes_on = f", continued from iteration {facts['restoredIteration']}" if facts.get("restoredIteration") else ""
        lost = facts.get("lostIterations", 0)
        again = f", {wording.count(lost, 'iteration')} of the previous attempt done again" if lost else ""
        rows.append(["attempt", f"{facts.get('attempt', 1)}{goes_on}{again}"])
    if rows:
        section.tables.append(Table(["what", "value"], rows))
    if run.spec:
        section.code = yaml.safe_dump({"spec": run.spec}, sort_keys=False, allow_unicode=True, width=100)
    return [section]


def _hardware(found: dict[str, Any]) -> list[list[str]]:
    if not found:
        return []
    cpus = wording.count(found["logicalCpus"], "logical CPU")
    rows = [["machine", f"{found['host']}: {found['processor']}, {cpus}, {found['memoryGiB']} GiB, {found['system']}"]]
    if "rayNodes" in found:
        gpus = f", {wording.count(found['rayGpus'], 'GPU')}" if found.get("rayGpus") else ""
        rows.append(
            [
                "Ray",
                f"{wording.count(found['rayNodes'], 'node')}, {wording.count(found['rayCpus'], 'logical CPU')}{gpus}",
            ]
        )
    if found.get("gpus"):
        rows.append(["GPU", ", ".join(found["gpus"])])
    return rows
