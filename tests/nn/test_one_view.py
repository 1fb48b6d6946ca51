"""Many targets over one view: equal to the plain formula at every remainder of targets, numbers and rows."""

import numpy as np
import pytest
import torch

from marm.nn.choices import Choices
from marm.nn.one_view import attend_one_view, attend_with_choices


@pytest.mark.parametrize(
    ("targets", "width", "wide", "rows"), [(1, 3, 5, 1), (4, 4, 4, 7), (6, 16, 20, 130), (33, 8, 9, 64)]
)
def test_equals_the_plain_formula(targets: int, width: int, wide: int, rows: int) -> None:
    torch.manual_seed(targets)
    # One logit far above the others and one far below: neither may overflow or vanish.
    q = 5 * torch.randn(2, targets, width)
    key, value = torch.randn(2, width, rows), torch.randn(2, wide, rows)
    key[:, :, 0] *= 20
    expected = (q @ key).softmax(2) @ value.mT
    torch.testing.assert_close(attend_one_view(q, key, value), expected, rtol=2e-5, atol=2e-5)


def test_what_a_target_chose_is_in_one_softmax_with_what_all_read() -> None:
    torch.manual_seed(0)
    q, key, value = torch.randn(2, 6, 5), torch.randn(2, 5, 9), torch.randn(2, 7, 9)
    own_key, own_value = 3 * torch.randn(11, 2, 5), torch.randn(11, 2, 7)
    rows = [np.arange(0), np.arange(11), np.array([4]), np.array([1, 2, 5, 7]), np.array([0, 10]), np.arange(5)]
    at = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    made = attend_with_choices(q, key, value, own_key, own_value, Choices(np.arange(6), 11, at, np.concatenate(rows)))
    for g, row in enumerate(rows):
        keys = torch.cat([key, own_key[row].permute(1, 2, 0)], 2)
        values = torch.cat([value, own_value[row].permute(1, 2, 0)], 2)
        expected = (q[:, g : g + 1] @ keys).softmax(2) @ values.mT
        torch.testing.assert_close(made[:, g : g + 1], expected, rtol=2e-5, atol=2e-5)
