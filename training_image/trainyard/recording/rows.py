"""The rows of one commit: batches of chunks become episodes, steps and trades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Any

import numpy as np
from sqlalchemy import Connection, bindparam, update

from trainyard.episodes.records import Chunk, Source, Trade
from trainyard.recording.database import insert_columns
from trainyard.recording.schema import EpisodeRow, StepRow, TradeRow


@dataclass
class OpenEpisode:
    """The recorder's knowledge of an episode that is not completely written."""

    number: int
    started_position: int
    stored: bool = False
    length: int = 0
    total_reward: float = 0.0
    episode_index: int | None = None
    context: list[float] | None = None

    def copy(self) -> OpenEpisode:
        return replace(self)


class EpisodeRows:
    """Collects the rows of one commit."""

    def __init__(self, run_id: int, attempt: int, position: int, now: datetime) -> None:
        self._run_id = run_id
        self._attempt = attempt
        self._position = position
        self._now = now
        self._new: dict[int, dict[str, Any]] = {}
        self._changed: dict[int, dict[str, Any]] = {}
        self._steps: list[tuple[int, Chunk]] = []

    def add(self, source: Source, chunk: Chunk, state: OpenEpisode, iteration: int) -> None:
        state.length += chunk.length
        state.total_reward += chunk.total_reward
        if chunk.episode_index is not None:
            state.episode_index = chunk.episode_index
        if chunk.context is not None:
            state.context = chunk.context
        values = {
            "iteration": iteration,
            "policy_version": chunk.policy_version,
            "position": self._position,
            "length": state.length,
            "total_reward": state.total_reward,
            "ended": self._now if chunk.finished else None,
            "terminated": chunk.terminated if chunk.finished else None,
            "figures": chunk.figures,
        }
        if state.stored and state.number not in self._new:
            self._changed[state.number] = values | {"b_run_id": self._run_id, "b_episode": state.number}
        else:
            self._new[state.number] = values | {
                "run_id": self._run_id,
                "episode": state.number,
                "attempt": self._attempt,
                "trial": source.trial,
                "kind": source.kind,
                "runner": source.runner,
                "incarnation": source.incarnation,
                "env": chunk.env,
                "n": chunk.n,
                "episode_index": state.episode_index,
                "context": state.context,
                "started_position": state.started_position,
                "steps_recorded": chunk.rewards is not None,
            }
        state.stored = True
        if chunk.rewards is not None:
            self._steps.append((state.number, chunk))

    def write(self, connection: Connection) -> None:
        insert_columns(connection, EpisodeRow, self._episode_columns())
        if self._changed:
            connection.execute(_UPDATE_EPISODE, list(self._changed.values()))
        commit = {"run_id": self._run_id, "position": self._position}
        insert_columns(connection, StepRow, self._step_columns(), **commit)
        insert_columns(connection, TradeRow, self._trade_columns(), **commit)

    def _episode_columns(self) -> dict[str, list[Any]]:
        rows = list(self._new.values())
        return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}

    def _step_columns(self) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {
            name: [] for name in ("episode", "t", "action", "reward", "date", "portfolio_value")
        }
        episode, t, action, reward, date, value = columns.values()
        for number, chunk in self._steps:
            assert chunk.actions is not None
            assert chunk.rewards is not None
            nothing = [None] * chunk.length
            episode += [number] * chunk.length
            t += range(chunk.start, chunk.start + chunk.length)
            action += action_texts(chunk.actions)
            reward += chunk.rewards.tolist()
            date += chunk.dates or nothing
            value += nothing if chunk.values is None else chunk.values.tolist()
        return columns

    def _trade_columns(self) -> dict[str, Sequence[Any]]:
        episode: list[int] = []
        for number, chunk in self._steps:
            episode += [number] * len(chunk.trades)
        values = zip(*chain.from_iterable(chunk.trades for _, chunk in self._steps), strict=True)
        return {"episode": episode, **dict(zip(Trade._fields, values, strict=False))}


_UPDATE_EPISODE = (
    update(EpisodeRow)
    .where(EpisodeRow.run_id == bindparam("b_run_id"), EpisodeRow.episode == bindparam("b_episode"))
    .values(
        {
            name: bindparam(name)
            for name in (
                "iteration", "policy_version", "position", "length", "total_reward", "ended", "terminated", "figures"
            )
        }
    )
)  # fmt: skip


def action_texts(actions: np.ndarray) -> list[str]:
    """Write actions as text: a discrete action as its number, a vector as a JSON list that can be read back exactly.

    Args:
        actions: shape (steps,) or (steps, ...).
    """
    if actions.ndim == 1:
        return list(map(str, actions.tolist()))
    # Nine significant digits give every float32 back.
    digits = ".9g" if actions.dtype == np.float32 else ".17g"
    flat = actions.reshape(len(actions), -1).tolist()
    return ["[" + ",".join(format(number, digits) for number in row) + "]" for row in flat]
