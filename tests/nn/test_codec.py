"""What a codec gives again, how far off, and to the same bits when coded anew."""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marm.config import MemoryConfig
from marm.nn.blocks import row_norm
from marm.nn.codec import CODECS, codec_of

STATES = st.builds(
    lambda seed, width, scale: (
        torch.randn(50, 2, width, generator=torch.Generator().manual_seed(seed)) * torch.tensor(10.0) ** scale
    ),
    st.integers(0, 10**6),
    st.sampled_from([1, 3, 8, 64]),
    st.integers(-30, 2),
)


def test_the_settings_offer_every_codec() -> None:
    assert get_args(MemoryConfig.model_fields["codec"].annotation) == tuple(CODECS)


@pytest.mark.parametrize("name", CODECS)
@settings(max_examples=25, deadline=None)
@given(STATES)
def test_a_decoded_state_is_coded_to_the_same_bits_and_lies_in_as_many_columns_as_said(name, states):
    codec = CODECS[name]
    coded = codec.encode(states)
    again = codec.decode(coded)
    assert coded.shape[-1] * coded.itemsize == codec.bytes(states.shape[-1])
    assert torch.equal(codec.encode(again), coded) and torch.equal(codec.rounded(states), again)
    assert codec_of(coded) is codec


@pytest.mark.parametrize(("name", "off"), [("float32", 0), ("float16", 2**-11), ("int8", 0.75 / 127)])
def test_no_number_is_further_off_than_its_codec_allows(name, off):
    """As a share of the row's largest number; the scale's own rounding is half a step of the 127 at most."""
    states = row_norm(torch.randn(1000, 64)).requires_grad_()
    given_again = CODECS[name].rounded(states)
    furthest = ((given_again - states).abs() / states.abs().amax(1, keepdim=True)).max()
    assert off / 4 <= furthest <= off
    given_again.square().sum().backward()
    assert torch.equal(states.grad, 2 * given_again.detach())


def test_int8_keeps_the_sign_and_the_largest_number_and_a_row_of_zeros_stays_so():
    states = torch.tensor([[3.0, -0.5, 0.0, -3.0], [0.0, 0.0, 0.0, 0.0]])
    coded = CODECS["int8"].encode(states)
    assert coded[:, :4].tolist() == [[127, -21, 0, -127], [0, 0, 0, 0]]
    torch.testing.assert_close(CODECS["int8"].decode(coded), states, rtol=2**-8, atol=0.02)
