"""Updates on transitions that come in the columns which the loss reads, without connectors and episode objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import TD_ERROR_KEY
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from trainyard.rllib.learners.flat import FlatUpdate


class TdErrors:
    """Stands in for the MetricsLogger during an update: keeps the TD errors, passes the rest on or drops it."""

    def __init__(self, logger: MetricsLogger | None) -> None:
        self._logger = logger
        self.logs = logger is not None
        self.values: torch.Tensor | None = None

    def log_value(self, key: Any, value: Any, **kwargs: Any) -> None:
        if key == (DEFAULT_MODULE_ID, TD_ERROR_KEY):
            self.values = value
        elif self._logger is not None:
            self._logger.log_value(key, value, **kwargs)

    def log_dict(self, *args: Any, **kwargs: Any) -> None:
        if self._logger is not None:
            self._logger.log_dict(*args, **kwargs)


def _tensor(values: NDArray[Any], device: Any) -> torch.Tensor:
    """As RLlib's connectors make it: float64 becomes float32, everything else stays."""
    tensor = torch.from_numpy(values)
    return tensor.to(device, torch.float32 if tensor.dtype == torch.float64 else tensor.dtype)


class ReplayUpdate(FlatUpdate):
    """Mix-in: one gradient step per call, book-keeping when the caller asks for the results."""

    _replayed = (0, 0)
    """Updates, and transitions in them, since the results were last asked for."""

    def update_on_columns(
        self, columns: dict[str, NDArray[Any]], *, timesteps: dict[str, Any], log: bool
    ) -> NDArray[np.float32]:
        """Train on one batch of the only module.

        log: log the losses of this update; `replay_results` reads them.
        Returns: the absolute TD error of each row.
        """
        self.before_gradient_based_update(timesteps=timesteps)
        self._weights_seq_no += 1
        batch = {name: _tensor(values, self._device) for name, values in columns.items()}
        logger = self.metrics
        self.metrics = td_errors = TdErrors(logger if log else None)
        try:
            losses = self._flat_step(
                {DEFAULT_MODULE_ID: batch}, postprocess=self._gradients_need_postprocessing(), log=log
            )
        finally:
            self.metrics = logger
        updates, rows = self._replayed
        self._replayed = updates + 1, rows + len(next(iter(columns.values())))
        if log:
            self._log_total_losses(losses)
        self.after_gradient_based_update(timesteps=timesteps)
        if td_errors.values is None:
            raise RuntimeError(f"the loss of {type(self).__name__} logged no TD errors")
        return td_errors.values.detach().cpu().numpy()

    def replay_results(self) -> dict[str, Any]:
        """RLlib's results of all updates since the last call."""
        updates, rows = self._replayed
        self._log_steps(rows, {DEFAULT_MODULE_ID: rows}, updates)
        self._replayed = 0, 0
        return self.metrics.reduce()
