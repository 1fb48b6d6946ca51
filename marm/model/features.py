"""Columns to embeddings (the paper's ModelSparseFeatureLookUp): ids, categories, tags and buckets through the one table,
vectors and linear numbers through a small dense layer."""

import hashlib
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from marm.config import FeatureConfig
from marm.data.events import Column, Tags
from marm.mix import GOLDEN
from marm.nn.blocks import Linear
from marm.nn.table import Bag, mean, single
from marm.nn.views import no_ids
from marm.types import F32, U64


@dataclass(frozen=True)
class Encoded:
    """Features of N things: bags for the table, and dense columns (N, W) by name."""

    count: int
    bags: list[Bag]
    dense: dict[str, F32] = field(default_factory=dict)
    named: dict[str, Bag] = field(default_factory=dict)
    """Keys of categories and tags by name, for what searches by them."""
    ids: U64 = field(default_factory=no_ids)
    """(N, F) the id, if it counts, and each category; 0 where it is missing."""


def salt(name: str) -> np.uint64:
    """What sets one kind of id apart from all others in the table."""
    return np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"))


def _signed_log(x: F32) -> F32:
    return np.sign(x) * np.log2(1 + np.abs(x))  # type: ignore[no-any-return]


class FeatureEncoder:
    """Turns one scope's columns (of items, users or contexts) into bags and dense columns."""

    def __init__(self, scope: str, features: dict[str, FeatureConfig], with_id: bool) -> None:
        self.scope, self.features, self.with_id = scope, features, with_id
        self._salts = {name: salt(f"{scope}.{name}") for name in features}
        self._id_salt = salt(scope)

    def encode(self, ids: U64, columns: dict[str, Column]) -> Encoded:
        """Encode N things by their ids (N,) and columns of N entries each."""
        keys = [ids ^ self._id_salt] if self.with_id else []
        bags: list[Bag] = []
        dense: dict[str, F32] = {}
        named: dict[str, Bag] = {}
        compared = list(keys)
        for name, feature in self.features.items():
            column = columns[name]
            if isinstance(column, Tags):
                named[name] = mean(column.values ^ self._salts[name], column.offsets)
                bags.append(named[name])
            elif feature.kind == "category":
                hashed = cast(U64, column)
                keys.append(np.where(hashed == 0, 0, hashed ^ self._salts[name]).astype(np.uint64))
                named[name] = single(keys[-1][:, None])
                compared.append(keys[-1])
            elif feature.kind == "vector":
                dense[name] = cast(F32, column)
            elif feature.linear:
                dense[name] = np.nan_to_num(_signed_log(cast(F32, column)))[:, None]
            else:
                keys.append(self._bucket(name, cast(F32, column)))
        if keys:
            bags.insert(0, single(np.stack(keys, 1)))
        same = np.stack(compared, 1) if compared else np.zeros((len(ids), 0), np.uint64)
        return Encoded(len(ids), bags, dense, named, same)

    def _bucket(self, name: str, x: F32) -> U64:
        """A number's bucket: four for each doubling, fixed, so that no later value moves it; missing is nothing."""
        code = np.rint(4 * _signed_log(np.nan_to_num(x))).astype(np.int64).view(np.uint64)
        keys = (code + np.uint64(1)) * GOLDEN ^ self._salts[name]
        return np.where(np.isnan(x), 0, keys).astype(np.uint64)


class DenseFeatures(nn.Module):
    """A learned projection for each dense column; their sum is added to the embedding."""

    def __init__(self, widths: dict[str, int], width: int) -> None:
        super().__init__()
        self.names = list(widths)
        self.layers = nn.ModuleList(Linear(columns, width) for columns in widths.values())

    def forward(self, embedded_ND: Tensor, dense: dict[str, F32]) -> Tensor:
        """Add the dense columns to (N, D)."""
        for name, layer in zip(self.names, self.layers, strict=True):
            embedded_ND = embedded_ND + layer(torch.from_numpy(dense[name]).to(embedded_ND.device))
        return embedded_ND
