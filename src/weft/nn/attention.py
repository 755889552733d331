"""Attention of all frames to all frames whose scores depend on the distance of two frames."""

import math
from typing import Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_BLOCK: Final = 128


def relative_scores(
    queries: Float[Tensor, "b h r e"],
    table: Float[Tensor, "m e"],
    *,
    num_keys: int,
    first: int = 0,
) -> Float[Tensor, "b h r k"]:
    """Return each query's product with the vector of its distance to each key.

    Query i stands at position ``first + i``; distances beyond the table's end take its last row.
    Only products with the rows of the table are computed, and what they give is read in a skewed
    order, so that nothing of the size of queries by keys by features is ever made.

    Args:
        queries: of positions ``[first, first + r)``.
        table: vectors of the distances -s to s of a key from a query; m is 2 s + 1, s >= 0.
        num_keys: keys stand at the positions ``[0, num_keys)``.
        first: position of the first query, >= 0.

    Source: Shaw et al. 2018, equations 4 and 5 (vectors of keys), clipped as in section 3.2; read
    in a skewed order as by Huang et al. 2018 (Music Transformer), section 3.4.
    """
    r, reach = queries.shape[2], table.shape[0] // 2
    low, high = first + r - 1, num_keys - 1 - first  # farthest distances to the left and right
    near = table[max(reach - low, 0) : reach + high + 1]
    products = queries @ near.T  # b h r distances
    before, after = max(low - reach, 0), max(high - reach, 0)
    if before or after:
        products = torch.cat(
            [
                products[..., :1].expand(*products.shape[:-1], before),
                products,
                products[..., -1:].expand(*products.shape[:-1], after),
            ],
            dim=-1,
        )
    return _skewed(products, num_keys)


def _skewed(products: Tensor, num_keys: int) -> Tensor:
    """Return ``b h r k`` of ``b h r w``: row i, column j is what stood in column j - i + r - 1."""
    b, h, r, w = products.shape
    if r == 1:
        return products
    # Read as rows that are one shorter, each row begins one column further to the left.
    flat = products.reshape(b, h, r * w)[..., r - 1 : r - 1 + r * (w - 1)]
    return flat.view(b, h, r, w - 1)[..., :num_keys]


def attend_relative(
    queries: Float[Tensor, "b h l e"],
    keys: Float[Tensor, "b h l e"],
    values: Float[Tensor, "b h l e"],
    table: Float[Tensor, "m e"],
    attend: Bool[Tensor, "b 1 1 l"] | None = None,
) -> Float[Tensor, "b h l e"]:
    """Return what each frame gathers from all frames, by content and distance.

    Args:
        queries: one a frame and head.
        keys: likewise.
        values: likewise.
        table: vectors of distances, as of `relative_scores`; the same for all heads.
        attend: frames that may be attended to, one an item at least; None means all.

    Source: Shaw et al. 2018, equations 4 and 5. Differs: no vectors of distances are added to the
    values (equation 3), which their table 3 finds to be worth nothing.
    """
    b, h, l, e = queries.shape
    queries = queries * e**-0.5
    turned = keys.transpose(2, 3).reshape(b * h, e, l)
    values = values.reshape(b * h, l, e)
    gathered = []
    for first in range(0, l, _BLOCK):  # A block's scores stay in the cache.
        some = queries[:, :, first : first + _BLOCK]
        by_distance = relative_scores(some, table.to(some.dtype), num_keys=l, first=first)
        if attend is not None:
            by_distance = by_distance.masked_fill(~attend, -math.inf)
        scores = torch.baddbmm(by_distance.flatten(0, 1), some.flatten(0, 1), turned)
        gathered.append(scores.softmax(dim=-1).to(values.dtype) @ values)
    return torch.cat(gathered, dim=1).view(b, h, l, e)
