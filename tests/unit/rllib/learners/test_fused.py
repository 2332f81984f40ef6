"""The optimizer's step without torch's wrapping is torch's step."""

import pytest
import torch

from trainyard.rllib.learners.fused import _step, _total_norm, _use_fused_kernel


def parameters():
    generator = torch.Generator().manual_seed(1)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 4), (4,), (1,))]


def stepped(make, step):
    own = parameters()
    optimizer = make(own)
    generator = torch.Generator().manual_seed(2)
    for _ in range(4):
        for parameter in own:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        step(optimizer)
    return own, optimizer


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda own: torch.optim.Adam(own, lr=0.01, fused=True), id="Adam"),
        pytest.param(lambda own: torch.optim.Adam(own, 0.01, weight_decay=0.1, amsgrad=True, fused=True), id="amsgrad"),
        pytest.param(lambda own: torch.optim.AdamW(own, 0.01, betas=(0.5, 0.9), eps=1e-3, fused=True), id="AdamW"),
        pytest.param(lambda own: torch.optim.Adam(own, lr=0.01, maximize=True, fused=True), id="maximize"),
        pytest.param(lambda own: torch.optim.Adam(own, lr=torch.tensor(0.01), fused=True), id="tensor"),
        pytest.param(lambda own: torch.optim.Adam(own, lr=0.01), id="not fused"),
        pytest.param(lambda own: torch.optim.SGD(own, lr=0.01, momentum=0.9), id="SGD"),
    ],
)
def test_parameters_and_state_are_those_of_torchs_step(make):
    expected, theirs = stepped(make, lambda optimizer: optimizer.step())
    found, ours = stepped(make, _step)
    for parameter, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, parameter, rtol=0, atol=0)
        torch.testing.assert_close(ours.state[other], theirs.state[parameter], rtol=0, atol=0)


def test_hooks_are_called():
    calls = []
    own = parameters()
    optimizer = torch.optim.Adam(own, lr=0.01, fused=True)
    optimizer.register_step_post_hook(lambda *args: calls.append(1))
    own[0].grad = torch.ones_like(own[0])
    _step(optimizer)
    assert calls == [1]


def test_the_norm_is_torchs():
    gradients = [torch.randn(5, 5), torch.randn(3), torch.zeros(2)]
    assert _total_norm(gradients) == torch.nn.utils.get_total_norm(gradients)
    assert not torch.isfinite(_total_norm([*gradients, torch.tensor([float("nan")])]))


def test_settings_that_came_back_as_tensors_are_numbers_again():
    """As RLlib 2.54 restores an optimizer; torch's fused kernel refuses tensors."""

    def restored(own):
        optimizer = torch.optim.Adam(own, lr=0.5)
        [group] = optimizer.param_groups
        settings = {"lr": 0.25, "eps": 0.125, "betas": (0.5, 0.75), "weight_decay": 0.0}
        group.update({name: torch.tensor(value) for name, value in settings.items() if name != "betas"})
        group.update(betas=[torch.tensor(0.5), torch.tensor(0.75)], amsgrad=torch.tensor(False))
        group.update(maximize=torch.tensor(False), differentiable=torch.tensor(False))
        _use_fused_kernel(optimizer)
        return optimizer

    expected, _ = stepped(
        lambda own: torch.optim.Adam(own, lr=0.25, betas=(0.5, 0.75), eps=0.125), torch.optim.Adam.step
    )
    found, ours = stepped(restored, _step)
    assert ours.param_groups[0]["fused"]
    for parameter, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, parameter)
