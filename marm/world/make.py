"""The world before anybody opens the app: what there is to see, and who likes what."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from marm.types import F32, F64, I16, I32, I64
from marm.world.clock import START, activity
from marm.world.config import WorldConfig
from marm.world.figures import DURATION_P50, DURATION_P90

_POPULARITY_SPREAD = 2.6
_UPLOADED_BEFORE = 0.6
_DAY_MS = 86_400_000


class Catalogue(NamedTuple):
    """Items in the order of upload; returning authors' items first, ``page`` for each of them, always there."""

    category: I16
    author: I32
    vector: F32
    """(items, width), of unit length."""
    quality: F32
    log_duration: F32
    """Of the duration over the median."""
    uploaded: I64
    """Milliseconds."""
    page: int
    """Items of a returning author."""
    returning: int
    """Returning authors; items below ``page * returning`` are shown on their pages only."""
    popular: F64
    """Running total of the popularity of items, from the first that feeds may show."""
    shelf: I32
    """Items that feeds may show, by category, then in the order of upload."""
    shelf_start: I64
    """(categories + 1,)."""
    shelf_popular: F64
    """Running total of popularity along ``shelf``."""
    turns: F32
    """(categories, 2): what a target's category makes of its follower, and what the follower says; 1 or -1."""


class People(NamedTuple):
    """Users: what they like for good."""

    bias: F32
    taste: F32
    """(users, width)."""
    liking: F32
    """(users, categories)."""
    theme: F32
    """(users, categories) running total of the chance that a feed shows a category."""
    eager: F32
    """How readily a user likes and comments."""


@dataclass(frozen=True)
class World:
    """Everything that is fixed before the first exposure."""

    config: WorldConfig
    catalogue: Catalogue
    people: People
    activity: F64
    """(users,) over the median."""
    counts: I64
    """(users,) events."""
    content: F32
    """(items, config.content) what a content model would make of the items."""


def make_world(config: WorldConfig) -> World:
    """Draw a world; the same settings give the same one."""
    rng = np.random.default_rng([config.seed, 0x6D61726D])
    share = np.exp(0.6 * rng.standard_normal(config.categories))
    share /= share.sum()
    vectors = _unit(rng.standard_normal((config.categories, config.width)))
    catalogue = _catalogue(config, rng, share, vectors)
    people = _people(config, rng, share, vectors)
    weight, counts = activity(config, rng)
    look = rng.standard_normal((config.width, config.content)) / np.sqrt(max(1, config.width))
    content = catalogue.vector @ look + 0.3 * rng.standard_normal((config.items, config.content))
    return World(config, catalogue, people, weight, counts, content.astype(np.float32))


def _catalogue(config: WorldConfig, rng: np.random.Generator, share: F64, vectors: F64) -> Catalogue:
    returning = config.returning
    page = config.items // (2 * returning) if returning else 0
    author = _authors(config, rng, returning, page)
    authors = int(author.max()) + 1
    main = rng.choice(config.categories, authors, p=share)
    own = rng.random(config.items) < 0.8
    category = np.where(own, main[author], rng.choice(config.categories, config.items, p=share))
    manner = rng.standard_normal((authors, config.width))[author] + rng.standard_normal((config.items, config.width))
    vector = _unit(vectors[category] + 0.5 * manner / np.sqrt(config.width))
    fame = rng.standard_normal(config.items)
    quality = 0.5 * fame + np.sqrt(0.75) * rng.standard_normal(config.items)
    weight = np.exp(_POPULARITY_SPREAD * fame)
    weight[: page * returning] = 0.0
    shelf = np.argsort(category, kind="stable")
    shelf = shelf[shelf >= page * returning]
    return Catalogue(
        category=category.astype(np.int16),
        author=author.astype(np.int32),
        vector=vector.astype(np.float32),
        quality=quality.astype(np.float32),
        log_duration=_log_durations(rng, config.items).astype(np.float32),
        uploaded=_uploads(config, rng, page * returning),
        page=page,
        returning=returning,
        popular=np.cumsum(weight),
        shelf=shelf.astype(np.int32),
        shelf_start=np.searchsorted(category[shelf], np.arange(config.categories + 1)),
        shelf_popular=np.cumsum(weight[shelf]),
        turns=_turns(rng, share),
    )


def _log_durations(rng: np.random.Generator, items: int) -> F64:
    """Lognormal, between 3 seconds and ten minutes."""
    spread = np.log(DURATION_P90 / DURATION_P50) / 1.2816
    drawn = spread * rng.standard_normal(items)
    return np.asarray(np.clip(drawn, np.log(3 / DURATION_P50), np.log(600 / DURATION_P50)))


def _authors(config: WorldConfig, rng: np.random.Generator, returning: int, page: int) -> I64:
    """Returning authors have ``page`` items each, the others few or many."""
    rest = config.items - page * returning
    weight = np.exp(rng.standard_normal(max(1, rest // 3)))
    drawn = rng.choice(len(weight), rest, p=weight / weight.sum())
    return np.asarray(np.concatenate([np.repeat(np.arange(returning), page), returning + drawn]))


def _uploads(config: WorldConfig, rng: np.random.Generator, always: int) -> I64:
    """Part of the items are there before the first event, the rest comes all the time."""
    days = np.where(
        rng.random(config.items) < _UPLOADED_BEFORE,
        -90.0 * rng.random(config.items),
        config.days * rng.random(config.items),
    )
    days[:always] = -90.0
    first = slice(always, always + max(1, (config.items - always) // 10))
    days[first] = -90.0 * rng.random(first.stop - first.start)
    days[always:].sort()
    return np.asarray(np.floor(days * _DAY_MS).astype(np.int64) + START)


def _turns(rng: np.random.Generator, share: F64) -> F32:
    """Two splits of the categories into halves that are shown about as often, drawn apart from each other."""
    by_share = np.argsort(-share, kind="stable")
    out = np.empty((len(share), 2), np.float32)
    for split in range(2):
        coins = np.repeat(rng.choice([-1.0, 1.0], (len(share) + 1) // 2), 2)
        coins[1::2] *= -1.0
        out[by_share, split] = coins[: len(share)]
    return out


def _people(config: WorldConfig, rng: np.random.Generator, share: F64, vectors: F64) -> People:
    taste = rng.standard_normal((config.users, config.width), np.float32)
    liking = rng.standard_normal((config.users, config.categories), np.float32)
    theme = np.log(share) + 0.6 * (taste @ vectors.T) + 0.4 * liking
    theme = np.cumsum(np.exp(theme), axis=1)
    theme /= theme[:, -1:]
    return People(
        bias=rng.standard_normal(config.users, np.float32),
        taste=taste,
        liking=liking,
        theme=theme.astype(np.float32),
        eager=rng.standard_normal(config.users, np.float32),
    )


def _unit(vectors: F64) -> F64:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths)
