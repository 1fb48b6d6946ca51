"""The index over all items: FAISS, by inner product, written into the cut and checked when it is read."""

import hashlib
from pathlib import Path

import faiss
import numpy as np

from marm.config import RetrievalConfig
from marm.errors import FolderError
from marm.types import F32, I64

FILE = "retrieval.index"
_LINKS, _BUILD, _LOOK = 32, 200, 256
"""Links of a node of HNSW, and how far it looks when it is built and asked (Malkov and Yashunin 2018)."""
_PER_LIST = 39
"""Least items of an inverted list that FAISS trains without complaint."""


def build_index(config: RetrievalConfig, vectors_NE: F32) -> faiss.Index:
    """An index of the kind that is set; too few items for lists make an exact one."""
    items, width = vectors_NE.shape
    lists = int(4 * np.sqrt(items))
    if config.index == "hnsw":
        graph = faiss.IndexHNSWFlat(width, _LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction, graph.hnsw.efSearch = _BUILD, max(_LOOK, config.found)
        index: faiss.Index = graph
    elif config.index == "ivf" and items >= lists * _PER_LIST:
        inverted = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, lists, faiss.METRIC_INNER_PRODUCT)
        inverted.nprobe = max(8, lists // 16)
        inverted.train(vectors_NE)
        inverted.make_direct_map()
        index = inverted
    else:
        index = faiss.IndexFlatIP(width)
    if items:
        index.add(vectors_NE)
    return index


def index_bytes(index: faiss.Index) -> bytes:
    """What is written into a cut."""
    data: bytes = faiss.serialize_index(index).tobytes()
    return data


def digest_of(data: bytes) -> str:
    """By which a broken file is told."""
    return hashlib.sha256(data).hexdigest()


def read_index(folder: Path, digest: str, items: int, width: int) -> faiss.Index:
    """The index of a cut. Errors: ``FolderError`` where it is missing, broken or not of this cut's items."""
    path = folder / FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FolderError(
            f"{path}: cannot be read ({error.strerror}): serve another cut, or train on to the next"
        ) from None
    if digest_of(data) != digest:
        raise FolderError(f"{path}: broken: not the index that this cut was written with; train on to the next cut")
    index: faiss.Index = faiss.deserialize_index(np.frombuffer(data, np.uint8))
    if (index.ntotal, index.d) != (items, width):
        raise FolderError(
            f"{path}: holds {index.ntotal} items of width {index.d}, the cut {items} of {width}: train anew"
        )
    return index


def search(index: faiss.Index, query_IE: F32, count: int, allowed: I64 | None, hidden: I64) -> tuple[I64, F32]:
    """The best ``count`` items by their best score over a user's vectors, best first: places and scores.

    ``allowed``: only these; ``hidden``: none of these; both by place.
    """
    if allowed is not None:
        return _among(index, query_IE, count, np.setdiff1d(allowed, hidden))
    # Asked for more by as many as may be hidden: a filter inside would leave a graph's walk without links.
    wanted = min(count + len(hidden), index.ntotal)
    if not wanted:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    score, place = index.search(np.ascontiguousarray(query_IE), wanted)
    return _best(place.ravel(), score.ravel(), count, hidden)


def _among(index: faiss.Index, query_IE: F32, count: int, allowed: I64) -> tuple[I64, F32]:
    """The order of a list: every one of its items is scored, whatever the kind of index."""
    if not len(allowed):
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    vectors: F32 = index.reconstruct_batch(allowed)
    return _best(allowed, (vectors @ query_IE.T).max(1), count, np.zeros(0, np.int64))


def _best(place: I64, score: F32, count: int, hidden: I64) -> tuple[I64, F32]:
    keep = (place >= 0) & ~np.isin(place, hidden)
    place, score = place[keep], score[keep]
    order = np.lexsort((place, -score))
    # Of an item that several vectors found, its best score comes first.
    _, first = np.unique(place[order], return_index=True)
    order = order[np.sort(first)][:count]
    return place[order], score[order]
