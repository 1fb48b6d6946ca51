"""Many targets over one view: equal to the plain formula at every remainder of targets, numbers and rows."""

import numpy as np
import pytest
import torch

from marm.nn.alike import Alike
from marm.nn.choices import Choices
from marm.nn.one_view import Projected, attend_one_view, attend_with_choices


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


def test_what_a_target_chose_is_in_one_softmax_with_what_all_read_and_ids_in_common_add_to_it() -> None:
    torch.manual_seed(0)
    q, key, value, lean = torch.randn(2, 6, 5), torch.randn(2, 5, 9), torch.randn(2, 7, 9), torch.randn(2, 9)
    own_key, own_value, own_lean = 3 * torch.randn(11, 2, 5), torch.randn(11, 2, 7), torch.randn(11, 2)
    rows = [np.arange(0), np.arange(11), np.array([4]), np.array([1, 2, 5, 7]), np.array([0, 10]), np.arange(5)]
    at = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    # Of the second target a row that all read, twice; of the fourth one of its choices too; of the last its last choice.
    alike = Alike(np.array([0, 0, 2, 2, 4, 4, 5]), np.array([3, 3, 0, 10, 13]), np.array([0, 1, 2, 1, 0]))
    equal = torch.randn(2, 3)
    choices = Choices(np.arange(6), 11, at, np.concatenate(rows))
    made = attend_with_choices(
        q, Projected(key, value, lean), Projected(own_key, own_value, own_lean), choices, alike, equal
    )
    for g, row in enumerate(rows):
        keys = torch.cat([key, own_key[row].permute(1, 2, 0)], 2)
        values = torch.cat([value, own_value[row].permute(1, 2, 0)], 2)
        logit = (q[:, g : g + 1] @ keys) + torch.cat([lean, own_lean[row].T], 1)[:, None]
        for e in range(alike.at[g], alike.at[g + 1]):
            logit[:, 0, alike.place[e]] += equal[:, alike.kind[e]]
        expected = logit.softmax(2) @ values.mT
        expected = torch.cat([expected, logit.softmax(2)[:, :, :1]], 2)
        torch.testing.assert_close(made[:, g : g + 1], expected, rtol=2e-5, atol=2e-5)
