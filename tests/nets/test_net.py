import builtins

import numpy as np
import pytest
import torch

from galaxysegment.nets.common._accelerate import make_accelerator
from galaxysegment.nets.common._net import (
    OneCycle,
    autocast_dtype,
    find_device,
    find_optimizer,
    seeded,
)


def test_the_rate_rises_then_falls():
    rates = [OneCycle().factor(progress) for progress in np.linspace(0, 1, 101)]
    assert np.argmax(rates) == 10 and rates[10] == pytest.approx(1)
    assert np.all(np.diff(rates[:11]) >= 0) and np.all(np.diff(rates[10:]) < 0)
    assert rates[0] == rates[-1] == pytest.approx(0.01)
    assert OneCycle().factor(1.5) == pytest.approx(0.01)


def test_device_names():
    assert find_device("auto") in ("cuda", "mps", "cpu")
    assert find_device("cpu") == "cpu"
    with pytest.raises(ValueError, match="no device of torch"):
        find_device("toaster")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has cuda")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"offers no cuda device.*device='auto'"):
        find_device("cuda:1")


def test_precision():
    assert autocast_dtype("float32", "cpu") is None
    assert autocast_dtype("bfloat16", "cpu") is torch.bfloat16
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    assert autocast_dtype("auto", "cpu") is (torch.bfloat16 if native else None)


def test_optimizers():
    assert find_optimizer("sgd") is torch.optim.SGD
    assert find_optimizer(torch.optim.RMSprop) is torch.optim.RMSprop


def test_seeding_leaves_the_random_state_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with seeded(7, "cpu"):
        inside = torch.rand(3)
    torch.testing.assert_close(torch.rand(3), expected)
    with seeded(7, "cpu"):
        torch.testing.assert_close(torch.rand(3), inside)


def test_accelerate_that_is_missing_is_named(monkeypatch):
    real_import = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "accelerate":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match="pip install accelerate"):
        make_accelerator()
