import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from marm.store.slots import SlotMap

KEYS = st.lists(st.sampled_from([0, 1, 2, 16, 17, 2**32, 2**63, 2**64 - 1, *range(100, 130)]), max_size=20)


def u64(*keys: int) -> np.ndarray:
    return np.array(keys, np.uint64)


def test_slots_are_dense_from_zero_and_unknown_keys_have_none():
    slots = SlotMap()
    assert slots.insert(u64(7, 2**64 - 1, 0)).tolist() == [0, 1, 2]
    assert slots.find(u64(0, 7, 5, 2**64 - 1)).tolist() == [2, 0, -1, 1]
    assert len(slots) == slots.top == 3


def test_a_key_twice_in_a_batch_gets_one_slot():
    slots = SlotMap()
    assert slots.insert(u64(3, 4, 3)).tolist() == [0, 1, 0]
    assert slots.remove(u64(4, 4)).tolist() == [1, -1]
    assert len(slots) == 1


def test_freed_slots_are_given_again_before_new_ones():
    slots = SlotMap()
    slots.insert(u64(1, 2, 3))
    slots.remove(u64(1, 3))
    assert slots.insert(u64(8, 9, 10)).tolist() == [2, 0, 3]
    assert slots.top == 4


def test_growing_keeps_every_slot():
    slots = SlotMap()
    keys = np.random.default_rng(0).integers(0, 2**64, 5000, np.uint64)
    for start in range(0, 5000, 137):
        slots.insert(keys[start : start + 137])
    assert np.array_equal(slots.find(keys), np.arange(5000))
    held, numbers = slots.entries()
    assert np.array_equal(held, keys) and np.array_equal(numbers, np.arange(5000))


def test_clear_starts_over():
    slots = SlotMap()
    slots.insert(u64(1, 2))
    slots.remove(u64(1))
    slots.clear()
    assert len(slots) == slots.top == 0
    assert slots.find(u64(1, 2)).tolist() == [-1, -1]
    assert slots.insert(u64(2)).tolist() == [0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), KEYS), max_size=25))
def test_any_inserts_and_removes_agree_with_a_dict(steps):
    slots, held, free, top = SlotMap(), {}, [], 0
    for insert, keys in steps:
        got = (slots.insert if insert else slots.remove)(u64(*keys)).tolist()
        for key, slot in zip(keys, got, strict=True):
            if insert and key not in held:
                held[key] = free.pop() if free else top
                top = max(top, held[key] + 1)
            assert slot == held.get(key, -1)
            if not insert and key in held:
                free.append(held.pop(key))
        everyone = sorted(held)
        assert slots.find(u64(*everyone)).tolist() == [held[key] for key in everyone]
        assert len(slots) == len(held) and slots.top == top
