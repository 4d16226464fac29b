"""Means and variances of activations in every order of memory, against numpy."""

import numpy as np
import pytest
import torch

from lib_ctrlgen.unet.statistics import Moments


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_moments_do_not_depend_on_the_order_of_memory(order: torch.memory_format) -> None:
    x = torch.randn(2, 8, 5, 6, generator=torch.Generator().manual_seed(0)) * 3 + 10
    given = x.to(memory_format=order)
    groups = x.reshape(2, 4, -1).double().numpy()
    found = Moments.of_groups(given, 4)
    np.testing.assert_allclose(found.mean[..., 0], groups.mean(2), rtol=1e-5)
    np.testing.assert_allclose(found.variance[..., 0], groups.var(2), rtol=1e-4)
    pixels = x.reshape(2, 8, -1).double().numpy()
    np.testing.assert_allclose(Moments.of_pixels(given).variance[..., 0, 0], pixels.var(2), rtol=1e-4)
    tokens = given.flatten(2).transpose(1, 2)
    np.testing.assert_allclose(Moments.of_tokens(tokens).variance[:, 0], pixels.var(2, ddof=1), rtol=1e-4)
