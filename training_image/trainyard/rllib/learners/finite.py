"""An update whose loss or gradients are not finite ends the run, and says which they are.

RLlib 2.60 puts 0 in the place of such numbers and warns (in a log that nobody sees): training goes on without the rows
that it cannot learn from, and Adam's moments with what was never a gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ray.rllib.algorithms.impala.impala_learner import IMPALALearner
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner

from trainyard.episodes.finite import LEARNER_REMEDY
from trainyard.errors import NonFiniteNumber


class FiniteGradients(TorchLearner):
    """Mix-in for RLlib's own Learners: raises before gradients are clipped and the optimizer steps."""

    def compute_gradients(self, loss_per_module: dict[str, Any], **kwargs: Any) -> dict[Any, torch.Tensor | None]:
        gradients = super().compute_gradients(loss_per_module, **kwargs)
        # Mixed precision scales its loss down and goes on where a gradient has overflowed.
        if self._grad_scalers is None:
            require_finite(self, gradients)
        return gradients


def require_finite(learner: TorchLearner, gradients: Mapping[Any, torch.Tensor | None]) -> None:
    """Raises NonFiniteNumber with the names of the parameters whose gradients are not finite."""
    spoilt = [key for key, gradient in gradients.items() if gradient is not None and not torch.isfinite(gradient).all()]
    if spoilt:
        names = _names(learner, spoilt)
        more = f" and {len(spoilt) - 3} more" if len(spoilt) > 3 else ""
        raise NonFiniteNumber(
            f"learner, update {learner._weights_seq_no}: the gradients of {len(spoilt)} of {len(gradients)} parameters "
            f"are not finite ({', '.join(names[:3])}{more}), because the loss is not or is too steep; {LEARNER_REMEDY}"
        )


def _names(learner: TorchLearner, keys: list[Any]) -> list[str]:
    known = {id(tensor): name for module in learner.module.values() for name, tensor in module.named_parameters()}
    return [known.get(id(learner._params[key]), str(key)) for key in keys]


class ErrorsOfTheThread(IMPALALearner):
    """Mix-in for APPO and IMPALA, whose updates are made in a thread: its first error is raised where RLlib waits.

    In RLlib 2.60 the thread ends, nobody says why, and the run waits for its results for ever.
    """

    _error: Exception | None = None

    def build(self) -> None:
        super().build()
        # The thread has begun, and waits for its first batch.
        self._learner_thread._update_method = self._update_in_the_thread

    def update(self, *args: Any, **kwargs: Any) -> Any:
        self._raise()
        results = super().update(*args, **kwargs)
        self._raise()
        return results

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    @staticmethod
    def _update_in_the_thread(*, self: ErrorsOfTheThread, **kwargs: Any) -> None:
        if self._error is not None:
            return
        try:
            Learner.update(self, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised by `update`, in the thread that somebody waits for
            self._error = error
