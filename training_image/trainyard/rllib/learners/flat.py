"""The update loop without per-minibatch book-keeping.

Per minibatch RLlib 2.60 logs some 20 metrics, of which only the last minibatch's values survive (window=1), counts
steps into seven running sums, slices SampleBatch objects and times itself into a Prometheus histogram. FlatUpdate
keeps RLlib's connectors, modules, losses, gradient post-processing and results, and does the book-keeping once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.policy.sample_batch import MultiAgentBatch
from ray.rllib.utils.metrics import (
    ALL_MODULES,
    MODULE_TRAIN_BATCH_SIZE_MEAN,
    NUM_ENV_STEPS_TRAINED,
    NUM_ENV_STEPS_TRAINED_LIFETIME,
    NUM_MODULE_STEPS_TRAINED,
    NUM_MODULE_STEPS_TRAINED_LIFETIME,
    WEIGHTS_SEQ_NO,
)

from trainyard.rllib.learners.minibatches import Columns, minibatches, tensor_columns

Item = TypeVar("Item")


def marking_last(items: Iterable[Item]) -> Iterator[tuple[Item, bool]]:
    """Yields (item, whether it is the last one)."""
    iterator = iter(items)
    try:
        current = next(iterator)
    except StopIteration:
        return
    for following in iterator:
        yield current, False
        current = following
    yield current, True


class UnloggedMetrics:
    """Stands in for the MetricsLogger while all but the last minibatch of an update are trained on."""

    def log_value(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log_dict(self, *args: Any, **kwargs: Any) -> None:
        pass


class FlatUpdate(TorchLearner):
    """Mix-in: Learner.update() over flat tensors, metrics once per update.

    Recurrent modules (time-ranked, zero-padded batches) and offline data iterators go through RLlib's own update().
    """

    metrics: Any

    def build(self) -> None:
        super().build()
        for module in self.module.values():
            module.train()

    def update(
        self,
        batch: MultiAgentBatch | None = None,
        batches: list[MultiAgentBatch] | None = None,
        batch_refs: list[Any] | None = None,
        episodes: list[Any] | None = None,
        episodes_refs: list[Any] | None = None,
        data_iterators: list[Any] | None = None,
        training_data: TrainingData | None = None,
        *,
        timesteps: dict[str, Any] | None = None,
        num_total_minibatches: int = 0,
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        shuffle_batch_per_epoch: bool = False,
        _no_metrics_reduce: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any] | None:
        """As Learner.update(): the same arguments, parameters after it, and results."""
        if training_data is None:
            training_data = TrainingData(
                batch=batch,
                batches=batches,
                batch_refs=batch_refs,
                episodes=episodes,
                episodes_refs=episodes_refs,
                data_iterators=data_iterators,
            )
        if training_data.data_iterators or self._has_stateful_module():
            return super().update(
                training_data=training_data,
                timesteps=timesteps,
                num_total_minibatches=num_total_minibatches,
                num_epochs=num_epochs,
                minibatch_size=minibatch_size,
                shuffle_batch_per_epoch=shuffle_batch_per_epoch,
                _no_metrics_reduce=_no_metrics_reduce,
                **kwargs,
            )
        self._check_is_built()
        self.before_gradient_based_update(timesteps=timesteps or {})
        training_data.validate()
        training_data.solve_refs()
        self._weights_seq_no += 1
        train_batch = self._train_batch(training_data)
        losses = self._train_on(
            train_batch,
            minibatch_size=minibatch_size,
            num_epochs=num_epochs,
            shuffle=shuffle_batch_per_epoch,
            total=num_total_minibatches,
        )
        self._log_total_losses(losses)
        self.after_gradient_based_update(timesteps=timesteps or {})
        return None if _no_metrics_reduce else self.metrics.reduce()

    def _log_total_losses(self, losses: dict[str, Any]) -> None:
        for module_id, loss in losses.items():
            self.metrics.log_value(key=(module_id, self.TOTAL_LOSS_KEY), value=loss, window=1)

    def _has_stateful_module(self) -> bool:
        return any(module.is_stateful() for module in self.module.values())

    def _train_batch(self, training_data: TrainingData) -> MultiAgentBatch:
        """The connectors' output, on this Learner's device, for the modules that are to be trained."""
        batch = self._make_batch_if_necessary(training_data=training_data)
        unknown = set(batch.policy_batches) - set(self.module.keys())
        if unknown:
            raise ValueError(f"Batch contains one or more ModuleIDs ({unknown}) that are not in this Learner!")
        for module_id in list(batch.policy_batches):
            if not self.should_module_be_updated(module_id, batch):
                del batch.policy_batches[module_id]
        return batch

    def _train_on(
        self, batch: MultiAgentBatch, *, minibatch_size: int | None, num_epochs: int, shuffle: bool, total: int
    ) -> dict[str, Any]:
        """Trains on all minibatches; returns the losses of the last one by module id."""
        if not batch.policy_batches:
            return {}
        columns = {
            module_id: (tensor_columns(module_batch), len(module_batch))
            for module_id, module_batch in batch.policy_batches.items()
        }
        stream = minibatches(
            columns, minibatch_size=minibatch_size, num_epochs=num_epochs, shuffle=shuffle, total=total
        )
        postprocess = self._gradients_need_postprocessing()
        logger, silent = self.metrics, UnloggedMetrics()
        rows = dict.fromkeys(columns, 0)
        losses: dict[str, Any] = {}
        count = 0
        try:
            for minibatch, is_last in marking_last(stream):
                self.metrics = logger if is_last else silent
                losses = self._flat_step(minibatch, postprocess=postprocess, log=is_last)
                count += 1
                for module_id in rows:
                    rows[module_id] += minibatch_size or columns[module_id][1]
        finally:
            self.metrics = logger
        # As in RLlib, env steps count the whole batch per minibatch.
        self._log_steps(batch.env_steps() * count, rows, count)
        return losses

    def _flat_step(self, minibatch: dict[str, Columns], *, postprocess: bool, log: bool) -> dict[str, Any]:
        if log:
            self._compute_off_policyness(minibatch)
        fwd_out = self._forward_train(minibatch)
        losses = self.compute_losses(fwd_out=fwd_out, batch=minibatch)
        gradients = self.compute_gradients(losses)
        self.apply_gradients(self.postprocess_gradients(gradients) if postprocess else gradients)
        return losses

    def _forward_train(self, minibatch: dict[str, Columns]) -> dict[str, Any]:
        """RLModule.forward_train of each module; RLlib sets every layer to training mode each time."""
        if type(self.module) is not MultiRLModule or not all(module.training for module in self.module.values()):
            return self.module.forward_train(minibatch)
        return {
            module_id: self._forward_module(module_id, self.module[module_id], columns)
            for module_id, columns in minibatch.items()
            if module_id in self.module
        }

    def _forward_module(self, module_id: str, module: RLModule, columns: Columns) -> dict[str, Any]:
        return module._forward_train(columns)

    def _gradients_need_postprocessing(self) -> bool:
        """False when RLlib's post-processing would return the gradients as they are."""
        configs = (self.config.get_config_for_module(module_id) for module_id in self.module.keys())  # noqa: SIM118
        return any(config.grad_clip is not None or config.log_gradients for config in configs)

    def _log_steps(self, env_steps: int, rows: dict[str, int], count: int) -> None:
        """RLlib's step counters, summed over `count` minibatches with these rows per module."""
        log = self.metrics.log_value
        for module_id, module_rows in rows.items():
            log((module_id, WEIGHTS_SEQ_NO), self._weights_seq_no, window=1)
            log((module_id, MODULE_TRAIN_BATCH_SIZE_MEAN), module_rows / count, reduce="mean")
            log((module_id, NUM_MODULE_STEPS_TRAINED), module_rows, reduce="sum")
            for scope in (module_id, ALL_MODULES):
                lifetime = (scope, NUM_MODULE_STEPS_TRAINED_LIFETIME)
                log(lifetime, module_rows, reduce="lifetime_sum", with_throughput=True)
            log((ALL_MODULES, NUM_MODULE_STEPS_TRAINED), module_rows, reduce="sum", with_throughput=True)
        log((ALL_MODULES, NUM_ENV_STEPS_TRAINED), env_steps, reduce="sum", with_throughput=True)
        log((ALL_MODULES, NUM_ENV_STEPS_TRAINED_LIFETIME), env_steps, reduce="lifetime_sum", with_throughput=True)
        if env_steps:
            self._metrics_all_modules_num_env_steps_trained.inc(value=env_steps)
            self._metrics_all_modules_num_module_steps_trained.inc(value=sum(rows.values()))
