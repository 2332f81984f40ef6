"""Records the whole episodes that asynchronous collection brings to the driver."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from trainyard.episodes.infos import InfoFields
from trainyard.episodes.records import Batch, Chunk, Settings, Source
from trainyard.rllib.asynchronous.episodes import Episode


def batches_of(episodes: Iterable[Episode], settings: Settings, trial: str) -> list[Batch]:
    """One batch for each runner."""

    def source(episode: Episode) -> tuple[int, int]:
        return episode.id.runner, episode.id.incarnation

    return [
        Batch(Source(trial, "train", *key), [_chunk(episode, settings) for episode in group])
        for key, group in groupby(sorted(episodes, key=source), key=source)
    ]


def _chunk(episode: Episode, settings: Settings) -> Chunk:
    with_steps = settings.records_steps(episode.id.number)
    return Chunk(
        env=episode.id.env,
        n=episode.id.number,
        start=0,
        length=len(episode),
        total_reward=episode.total_reward,
        finished=True,
        terminated=episode.terminated,
        policy_version=episode.policy_version,
        figures=episode.figures or None,
        actions=episode.actions if with_steps else None,
        rewards=episode.rewards.astype(float) if with_steps else None,
        **(episode.recorded or InfoFields()),
    )
