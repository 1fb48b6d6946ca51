"""Many targets over one view: equal to the plain formula at every remainder of targets, numbers and rows."""

import pytest
import torch

from marm.nn.one_view import attend_one_view


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
