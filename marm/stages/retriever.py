"""The retrieval model: a user's vectors from the user's id and positive history, an item's vector from its embedding.

    score(user, item) = max over interests of  user . item / temperature  +  trust * log popularity(item)

The last term is one number more in an item's vector, beside a one in the user's, so that an index of inner products finds the
best items exactly. Before anything is learned it is the popularity of late; what is learned is what a user adds to that.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from marm.config import ModelConfig, RetrievalConfig
from marm.engine.leaf import Leaf
from marm.model.stack import Layer, TargetAttentionStack
from marm.nn.blocks import Linear, row_norm
from marm.stages.history import History, repeated
from marm.stages.weights import Weights
from marm.store.rings import places_from
from marm.types import I64

_TIMID = 0.02
"""Length of a user's vector at first: long before it is worth anything it would drown what is popular."""


class Retriever(nn.Module):
    """Two towers over ranking's detached embeddings, and own rows of a small table added to them."""

    def __init__(self, config: RetrievalConfig, model: ModelConfig, outcomes: Tensor, layers: int) -> None:
        super().__init__()
        width = model.width
        plain = model.model_copy(update={"token_shift": False, "raw_rows": False})
        self.config = config
        self.layers = nn.ModuleList(Layer(plain, outcomes, 0) for _ in range(layers))
        self.user, self.item = Linear(width, width), Linear(width, width)
        self.interests = nn.Parameter(torch.randn(config.interests, width) * 0.3)
        self.user_out, self.item_out = Linear(width, config.width), Linear(width, config.width)
        # A user who is the sum of some items begins near them.
        self.user_out.load_state_dict(self.item_out.state_dict())
        with torch.no_grad():
            self.user_out.weight.mul_(_TIMID)
        self.trust = nn.Parameter(torch.ones(()))

    def item_rows(self, ranked_ND: Tensor, own_ND: Tensor) -> Tensor:
        """Items as rows of history and as the item tower see them (N, D), normed."""
        return row_norm(self.item(row_norm(ranked_ND)) + own_ND)

    def item_vectors(self, ranked_ND: Tensor, own_ND: Tensor, log_share_N: Tensor) -> Tensor:
        """What the index holds of items: (N, E + 1)."""
        vector = functional.normalize(self.item_out(self.item_rows(ranked_ND, own_ND)), dim=1)
        return torch.cat([vector / self.config.temperature, (self.trust * log_share_N)[:, None]], 1)

    def user_vectors(
        self, history: History, own_user_QD: Tensor, own_item_UD: Tensor, stack: TargetAttentionStack
    ) -> Tensor:
        """What the index is asked with: (Q, I, E + 1). ``stack``: ranking's, for its fall-backs."""
        raw_UD = self.item_rows(history.item_UD, own_item_UD)
        user_QD = self.user(row_norm(history.user_QD)) + own_user_QD
        state = (user_QD[:, None] + self.interests).flatten(0, 1)
        history = repeated(history, len(self.interests))
        for depth, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            live, ops = history.operands(depth, layer.attention.spans, raw_UD, stack)
            state, _ = layer(state, live, raw_UD, ops)
        vector = self.user_out(row_norm(state))
        one = vector.new_ones(len(vector), 1)
        return torch.cat([vector, one], 1).view(len(user_QD), len(self.interests), -1)


def look(weights: Weights, history: History, targets: I64) -> tuple[Leaf, Leaf]:
    """A stage's own rows of the history's users (Q) and items (U). ``targets``: places of the items that queries are about."""
    about = np.bincount(targets, minlength=len(history.items)).astype(np.float32)
    return weights.look_up(weights.users(history.users)), weights.look_up(weights.items(history.items), about)


def look_for_others(weights: Weights) -> None:
    """What a rank does in the place of ``look`` that has no query: others look up in the part of the table that it holds."""
    for _ in range(2):
        weights.look_up(weights.users(np.zeros(0, np.uint64)))


def softmax_loss(
    score_PK: Tensor, log_frequency_K: Tensor, counts_K: Tensor, own_PK: Tensor, target_P: Tensor
) -> Tensor:
    """Sampled softmax, summed over P positives: their targets against K drawn items, corrected for how often these are drawn.

    ``counts_K``: how often each was drawn; ``own_PK``: the user's own positive items, of this step, drawn, or in the history:
    they are no negatives to each other.
    """
    corrected = score_PK - log_frequency_K
    rest = (corrected + counts_K.log()).masked_fill(own_PK, float("-inf"))
    target = corrected.gather(1, target_P[:, None])
    return (torch.cat([target, rest], 1).logsumexp(1) - target[:, 0]).sum()


def own_items(users: np.ndarray, at: np.ndarray, asked: np.ndarray, items: int) -> Tensor:
    """Which of K items, by place ``at`` (M,) of events of ``users`` (M,), are positives of each asked user: (P, K)."""
    distinct, whose = np.unique(users, return_inverse=True)
    own = np.zeros((len(distinct), items), bool)
    own[whose, at] = True
    return torch.from_numpy(own[np.searchsorted(distinct, asked)])


def own_history(history: History, shown: I64, place: I64) -> Tensor:
    """Which of the items ``place`` (K,), rising, each query's user has received before, as far as it sees: (Q, K).

    ``shown`` (U,): places of the history's distinct items; -1 where one is not known.
    """
    begin, counts = history.views.begin, np.maximum(history.views.end - history.views.begin, 0)
    rows = places_from(begin, counts)
    item, query = shown[history.item_of_row][rows], np.repeat(np.arange(len(counts)), counts)
    at = np.minimum(np.searchsorted(place, item), len(place) - 1)
    there = place[at] == item
    own = np.zeros((len(counts), len(place)), bool)
    own[query[there], at[there]] = True
    return torch.from_numpy(own)
