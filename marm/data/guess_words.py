"""What words of a column's name say of an outcome: that it is one, whether it went badly, and how much it says."""

from marm.data.look import words

NEGATIVE = frozenset((
    "dislike", "disliked", "hate", "hated", "skip", "skipped", "unlike", "unliked", "undislike", "remove", "removed", "report",
    "reported", "unfollow", "unfollowed", "unsubscribe", "unsubscribed", "hide", "hidden", "delete", "deleted", "blocked",
    "dismiss", "dismissed", "downvote", "downvoted", "bounce", "bounced", "reject", "rejected", "decline", "declined",
    "ignored", "abandoned", "complaint", "complained", "uninstall", "uninstalled", "uninterested", "disinterested",
    "notinterested", "negative", "flagged", "unsave", "unsaved",
))  # fmt: skip
"""Outcomes of what was shown in vain."""
OUTCOME = NEGATIVE | frozenset((
    "click", "clicked", "clicks", "clk", "like", "liked", "follow", "followed", "comment", "commented", "forward", "forwarded",
    "share", "shared", "buy", "bought", "purchase", "purchased", "order", "ordered", "cart", "fav", "favorite",
    "favourite", "favorited", "view", "viewed", "watched", "played", "label", "target", "finish",
    "finished", "convert", "converted", "conversion", "install", "download", "save", "saved",
    "response", "feedback", "reward", "positive", "valid", "read", "completed", "upvoted", "upvote", "bookmark", "bookmarked",
    "recommend", "recommended", "subscribe", "subscribed", "reply", "replied", "repost", "retweet", "apply", "applied",
    "accepted", "booked", "opened", "rebuy", "repurchase", "addtocart", "transaction", "pv", "impression", "listen",
    "checkout", "clickout", "wishlist", "interested",
))  # fmt: skip
SHOWN = frozenset(("impression", "exposure", "exposed", "show", "shown", "imp", "display", "delivered", "inview"))
_PASSIVE = SHOWN | {"view", "views", "viewed", "pv", "page", "listen", "browse"}
_NOT = frozenset(("not", "no"))
_TIERS = (
    frozenset((
        "buy", "bought", "purchase", "purchased", "rebuy", "repurchase", "order", "ordered", "transaction", "convert",
        "converted", "conversion", "install", "apply", "applied", "booked",
    )),
    frozenset(("checkout",)),
    frozenset(("cart", "addtocart")),
)  # fmt: skip
"""Outcomes that are worth most, the most first."""
_WISHES = frozenset((
    "fav", "favorite", "favourite", "favorited", "wishlist", "bookmark", "bookmarked", "save", "saved", "like", "liked",
))  # fmt: skip
_GOOD = len(_TIERS)
_SEEN, _BAD = _GOOD + 1, _GOOD + 2


def outcome_words(column: str) -> set[str]:
    """Words of a column's name that name an outcome."""
    return {word for word in words(column) if _among(word, OUTCOME)}


def is_negative(column: str) -> bool:
    """Whether a column's name says that something went badly: ``skipped``, ``not_interested``, but not ``not_skipped``."""
    parts = words(column)
    return any(
        (_among(part, NEGATIVE) or part.startswith("remove")) != (before in _NOT)
        for before, part in zip(["", *parts], parts, strict=False)
        if _among(part, OUTCOME) or part.startswith("remove")
    )


def standing(column: str) -> int:
    """How far back a task stands: the first one says which rows went well, so what is worth most is first."""
    if is_negative(column):
        return _BAD
    if set(words(column)) <= _PASSIVE:
        return _SEEN
    return next((at for at, tier in enumerate(_TIERS) if any(_among(word, tier) for word in words(column))), _GOOD)


def kind_order(kind: str) -> tuple[bool, str]:
    """Order of kinds of rows that stand alike: what is wished for, then by name; columns have the log's own order."""
    return not any(_among(word, _WISHES) for word in words(kind)), kind


def _among(word: str, known: frozenset[str]) -> bool:
    """Whether a word is known, or is the plural of one that is."""
    return word in known or word.removesuffix("s") in known
