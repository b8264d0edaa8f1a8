"""Other ids for the objects of a block, by looking them up in a sorted table."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.rows import distinct
from chunkflow_liver.xp import Array


def relabel(labels: Array, old: Array, new: Array, *, keep: bool = False) -> Array:
    """`labels` with every id of `old` replaced by the one beside it in `new`.

    Parameters
    ----------
    labels : ndarray of any shape, integer
        Ids; 0 is background and stays.
    old : ndarray of shape (N,), unsigned integer
        Ids in ascending order, each once; may be memory-mapped.
    new : ndarray of shape (N,), integer
        What becomes of them.
    keep : bool
        Whether ids that are not in `old` stay what they are, instead of becoming 0.

    Returns
    -------
    ndarray of the shape of `labels`, dtype of `new`
        Host array.

    Notes
    -----
    Every id of the block is looked up once, then written run by run: the table may be much larger than
    the block.
    """
    ids, place, lengths = distinct(labels)
    # Between int64 and uint64 NumPy would compare as floats, which merges ids above 2**53.
    wanted = ids.astype(old.dtype)
    at = np.minimum(np.searchsorted(old, wanted), max(0, len(old) - 1))
    found = np.zeros(len(ids), new.dtype)
    known = np.asarray(old[at]) == wanted if len(old) else np.zeros(len(ids), bool)
    known &= ids != 0
    found[known] = new[at[known]]
    if keep:
        found[~known] = ids[~known].astype(new.dtype)
    return np.repeat(found[place], lengths).reshape(labels.shape)
