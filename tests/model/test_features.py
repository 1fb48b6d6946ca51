import numpy as np
import torch

from marm.config import FeatureConfig
from marm.data.events import Tags, take
from marm.model.features import DenseFeatures, FeatureEncoder
from marm.nn.table import HashTable

NAN = float("nan")


def table() -> HashTable:
    return HashTable(4096, 4, 0, torch.device("cpu"), scale=1.0)


def encode(kind: str, column: object, *, linear: bool = False, scope: str = "item", name: str = "f"):  # type: ignore[no-untyped-def]
    feature = FeatureConfig(kind=kind, linear=linear)  # type: ignore[arg-type]
    count = len(column.offsets) - 1 if isinstance(column, Tags) else len(column)  # type: ignore[arg-type]
    return FeatureEncoder(scope, {name: feature}, False).encode(np.zeros(count, np.uint64), {name: column})  # type: ignore[dict-item]


def rows_of(encoded) -> torch.Tensor:  # type: ignore[no-untyped-def]
    return table().lookup(encoded.bags, encoded.count)


def category(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


def number(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_a_missing_category_is_a_zero_row_and_equal_ones_are_equal() -> None:
    rows = rows_of(encode("category", category(5, 0, 5, 6)))
    assert torch.equal(rows[0], rows[2]) and not torch.equal(rows[0], rows[3])
    assert not rows[1].any() and rows[0].any()


def test_the_same_value_in_another_feature_or_scope_is_another_row() -> None:
    one = rows_of(encode("category", category(5)))
    assert not torch.equal(one, rows_of(encode("category", category(5), name="g")))
    assert not torch.equal(one, rows_of(encode("category", category(5), scope="user")))


def test_ids_are_looked_up_beside_features_and_only_where_asked() -> None:
    ids, features = category(5, 9), {"f": FeatureConfig(kind="category")}
    with_id = FeatureEncoder("item", features, True).encode(ids, {"f": category(0, 0)})
    without = FeatureEncoder("item", features, False).encode(ids, {"f": category(0, 0)})
    assert rows_of(with_id).any(1).all() and not rows_of(without).any()


def test_tags_are_the_mean_of_their_rows_and_none_is_a_zero_row() -> None:
    rows = rows_of(encode("tags", Tags(category(5, 6, 6), np.array([0, 1, 1, 2, 3]))))
    both = rows_of(encode("tags", Tags(category(5, 6), np.array([0, 2]))))
    assert not rows[1].any()
    torch.testing.assert_close(both[0], (rows[0] + rows[2]) / 2)


def test_a_number_falls_into_one_of_four_buckets_for_each_doubling() -> None:
    rows = rows_of(encode("number", number(99.0, 100.0, 130.0, -100.0, 0.0, NAN)))
    assert torch.equal(rows[0], rows[1]) and rows[4].any()
    assert not any(torch.equal(rows[1], rows[i]) for i in (2, 3, 4))
    assert not rows[5].any()


def test_a_linear_number_is_its_signed_logarithm_and_nothing_where_missing() -> None:
    encoded = encode("number", number(3.0, -3.0, 0.0, NAN), linear=True)
    assert not encoded.bags
    np.testing.assert_allclose(encoded.dense["f"], [[2], [-2], [0], [0]], atol=1e-6)


def test_a_vector_is_projected_and_added() -> None:
    vector = np.array([[1.0, 2.0], [0.0, 0.0]], np.float32)
    encoded = encode("vector", vector)
    dense = DenseFeatures({"f": 2}, 4)
    with torch.no_grad():
        out = dense(torch.ones(2, 4), encoded.dense)
        wanted = 1 + dense.layers[0](torch.from_numpy(vector))
    torch.testing.assert_close(out, wanted)


def test_entries_are_taken_by_place_and_place_minus_one_is_missing() -> None:
    at = np.array([1, -1])
    assert take(category(5, 6), at).tolist() == [6, 0]  # type: ignore[union-attr]
    np.testing.assert_array_equal(take(number(1, 2), at), [2, NAN])  # type: ignore[arg-type]
    np.testing.assert_array_equal(take(np.ones((2, 3), np.float32), at), [[1, 1, 1], [0, 0, 0]])  # type: ignore[arg-type]
    taken = take(Tags(category(1, 2, 3), np.array([0, 1, 3])), at)
    assert isinstance(taken, Tags) and (taken.values.tolist(), taken.offsets.tolist()) == ([2, 3], [0, 2, 2])
    assert take(category(), np.array([-1])).tolist() == [0]  # type: ignore[union-attr]
