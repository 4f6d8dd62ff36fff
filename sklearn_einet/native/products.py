"""Products and sums of linear numbers: where circuits spend their time.

On x86-64 processors they are loops of our own (`native`), in which all that belongs to a
strip of the batch stays in the first level of the cache from the products to the last sum; one
step after the other by torch, everything goes through memory several times. On GPUs, and where the
extension has not been built, torch computes the same block by block.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

try:
    from sklearn_einet.native import _native as native
except ImportError:  # no compiler when the package was built, or another kind of processor
    native = None  # type: ignore[assignment]

__all__ = [
    "addresses",
    "blocks",
    "finite_maximum",
    "gathered_gradients",
    "gathered_product",
    "log_mixture",
    "log_pair_sums",
    "mixture_gradients",
    "native",
    "native_arguments",
    "pair",
    "pair_gradients",
    "ratio",
    "reweigh",
    "scaled_exp",
]

# Bytes of a scratch buffer: what stays in a core's cache between being written and being read.
BUFFER_BYTES = 2**21


def finite_maximum(x: Tensor, dim: int) -> Tensor:
    """The maximum along an axis, kept; the least number where all is -inf, so that -inf - max is
    -inf."""
    return x.amax(dim, keepdim=True).clamp_min_(torch.finfo(x.dtype).min)


def scaled_exp(x: Tensor) -> tuple[Tensor, Tensor]:
    """exp(x - maximum), and the finite maximum of every vector of entries.

    Parameters
    ----------
    x : Tensor of shape (rows, K, batch)

    Returns
    -------
    scaled : Tensor of shape (rows, K, batch)
    maximum : Tensor of shape (rows, 1, batch)
    """
    first = native_arguments(x)
    if first is None:
        maximum = finite_maximum(x, dim=1)
        return (x - maximum).exp_(), maximum
    x = x.contiguous()
    scaled, maximum = torch.empty_like(x), x.new_empty(len(x), 1, x.shape[2])
    native.scale(*first, *addresses(x, scaled, maximum), *x.shape)
    return scaled, maximum


def log_pair_sums(
    x: Tensor, weights: Tensor, gather: Tensor | None, with_sums: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Logarithms of weighted sums over all pairs of two children's entries, given logarithms.

    Parameters
    ----------
    x : Tensor of shape (rows, K, batch)
    weights : Tensor of shape (n_partitions, K_out, K, K)
    gather : Tensor of int of shape (2 * n_partitions,) or None
        The children of partition p are the rows gather[2 p] and gather[2 p + 1]. None: the rows
        2 p and 2 p + 1.
    with_sums : bool, default=True
        Whether the sums themselves are wanted, too.

    Returns
    -------
    logs : Tensor of shape (n_partitions, K_out, batch)
        log(sum_ij weights[p, o, i, j] exp(left[i] + right[j])).
    sums : Tensor of shape (n_partitions, K_out, batch) or None
        Linear, in units of the children's maxima; for the gradients.
    """
    n, k_out, k, _ = weights.shape
    batch = x.shape[-1]
    sums = x.new_empty(n, k_out, batch)
    first = native_arguments(x)
    if first is not None:
        x, weights, logs = x.contiguous(), weights.contiguous(), sums
        kept = torch.empty_like(logs) if with_sums else None
        native.einsum(*first, *addresses(x, gather, weights, kept, logs), n, k_out, k, batch)
        return logs, kept
    scaled, maximum = scaled_exp(x)
    flat = weights.reshape(n, k_out, k * k)
    for block, outer in blocks(n, scaled, (k, k, batch)):
        left, right = pair(scaled, block, gather)
        torch.mul(left.unsqueeze(2), right.unsqueeze(1), out=outer)
        torch.bmm(flat[block], outer.view(-1, k * k, batch), out=sums[block])
    scale = torch.add(*pair(maximum, slice(0, n), gather))
    return sums.log().add_(scale), sums


def pair_gradients(
    x: Tensor, weights: Tensor, gather: Tensor | None, sums: Tensor | None, grad: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of `log_pair_sums`.

    Parameters
    ----------
    x, weights, gather
        As for `log_pair_sums`.
    sums : Tensor of shape (n_partitions, K_out, batch) or None
        As from `log_pair_sums`. None: x is linear, and the gradients are those of the sums with
        respect to the logarithms of x.
    grad : Tensor of shape (n_partitions, K_out, batch)

    Returns
    -------
    grad_logs : Tensor of shape (rows, K, batch)
    grad_weights : Tensor
    """
    n, k_out, k, _ = weights.shape
    batch = x.shape[-1]
    grad_weights = torch.empty_like(weights, memory_format=torch.contiguous_format)
    first = native_arguments(x)
    if first is None:
        if sums is not None:
            x, _ = scaled_exp(x)
            grad = ratio(grad, sums)
        return _pair_gradients(x, weights, gather, grad, grad_weights), grad_weights
    x, weights, grad = x.contiguous(), weights.contiguous(), grad.contiguous()
    grad_logs = x.new_empty(2 * n, k, batch)
    places = addresses(x, gather, weights, sums, grad, grad_logs, grad_weights)
    native.einsum_gradients(*first, *places, n, k_out, k, batch, False)
    if gather is None:
        return grad_logs, grad_weights
    total = x.new_zeros(x.shape)
    # In two dimensions, rows are added several times as fast.
    total.view(len(total), -1).index_add_(0, gather, grad_logs.view(2 * n, -1))
    return total, grad_weights


def _pair_gradients(
    scaled: Tensor, weights: Tensor, gather: Tensor | None, grad: Tensor, grad_weights: Tensor
) -> Tensor:
    """`pair_gradients` by torch; those of the weights are written into the last argument."""
    n, k_out, k, _ = weights.shape
    batch = scaled.shape[-1]
    flat, flat_grad = weights.reshape(n, k_out, k * k), grad_weights.view(n, k_out, k * k)
    make = scaled.new_empty if gather is None else scaled.new_zeros
    grad_logs = make(scaled.shape)
    buffers = zip(
        blocks(n, scaled, (k, k, batch)),
        blocks(n, scaled, (k, k, batch)),
        strict=True,
    )
    for (block, outer), (_, grad_outer) in buffers:
        left, right = pair(scaled, block, gather)
        torch.mul(left.unsqueeze(2), right.unsqueeze(1), out=outer)
        flat_outer = outer.view(-1, k * k, batch)
        torch.bmm(grad[block], flat_outer.transpose(1, 2), out=flat_grad[block])
        torch.bmm(flat[block].transpose(1, 2), grad[block], out=grad_outer.view(-1, k * k, batch))
        grad_outer.mul_(outer)
        if gather is None:
            for_left, for_right = pair(grad_logs, block)
            torch.sum(grad_outer, dim=2, out=for_left)
            torch.sum(grad_outer, dim=1, out=for_right)
        else:
            left_rows, right_rows = pair(gather, block)
            flat_logs = grad_logs.view(len(grad_logs), -1)
            flat_logs.index_add_(0, left_rows, grad_outer.sum(2).flatten(1))
            flat_logs.index_add_(0, right_rows, grad_outer.sum(1).flatten(1))
    return grad_logs


def log_mixture(x: Tensor, weights: Tensor, slot: Tensor) -> Tensor:
    """Logarithms of mixtures of partitions, entry by entry.

    Parameters
    ----------
    x : Tensor of shape (n_partitions, K, batch)
        Logarithms.
    weights : Tensor of shape (n_regions, n_slots, K)
        Linear, non-negative.
    slot : Tensor of int of shape (n_partitions,)
        The position of every partition in the flattened first two axes of the weights; ascending.

    Returns
    -------
    logs : Tensor of shape (n_regions, K, batch)
    """
    n_regions, n_slots, k = weights.shape
    first = native_arguments(x)
    if first is not None:
        x, weights = x.contiguous(), weights.contiguous()
        logs = x.new_empty(n_regions, k, x.shape[-1])
        places = addresses(x, slot, weights, logs)
        native.log_mixture(*first, *places, len(x), n_regions, n_slots, k, x.shape[-1])
        return logs
    terms, maximum = _mixture_terms(x, weights, slot)
    return terms.mul_(weights.unsqueeze(-1)).sum(1).log().add_(maximum.squeeze(1))


def mixture_gradients(
    x: Tensor, weights: Tensor, slot: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of `log_mixture` with respect to x and to the weights.

    Parameters
    ----------
    x, weights, slot
        As for `log_mixture`.
    grad : Tensor of shape (n_regions, K, batch)
    """
    n_regions, n_slots, k = weights.shape
    first = native_arguments(x)
    if first is not None:
        x, weights, grad = x.contiguous(), weights.contiguous(), grad.contiguous()
        grad_x, grad_weights = torch.empty_like(x), torch.empty_like(weights)
        places = addresses(x, slot, weights, grad, grad_x, grad_weights)
        sizes = len(x), n_regions, n_slots, k, x.shape[-1]
        native.log_mixture_gradients(*first, *places, *sizes, False)
        return grad_x, grad_weights
    terms, _ = _mixture_terms(x, weights, slot)
    sums = torch.einsum("rskb,rsk->rkb", terms, weights)
    terms *= ratio(grad, sums).unsqueeze(1)
    grad_weights = terms.sum(-1)
    return (terms * weights.unsqueeze(-1)).flatten(0, 1)[slot], grad_weights


def _mixture_terms(x: Tensor, weights: Tensor, slot: Tensor) -> tuple[Tensor, Tensor]:
    """exp(x - maximum) in the slots of the regions, (n_regions, n_slots, K, batch), and the
    maxima."""
    shape = weights.shape[:2] + x.shape[1:]
    padded = x.new_full((shape[0] * shape[1], *shape[2:]), -torch.inf)
    padded = padded.index_copy_(0, slot, x).view(shape)
    maximum = finite_maximum(padded, dim=1)
    return padded.sub_(maximum).exp_(), maximum


def gathered_product(factors: Tensor, bias: Tensor, x: Tensor, index: Tensor) -> Tensor:
    """Products of matrices with rows that are gathered from a table.

    Parameters
    ----------
    factors : Tensor of shape (n, n_slots, t, K)
    bias : Tensor of shape (n, K)
    x : Tensor of shape (m, t, batch)
        m groups of t rows.
    index : Tensor of int of shape (n, n_slots)
        The groups that each product takes.

    Returns
    -------
    products : Tensor of shape (n, K, batch)
        sum_st factors[:, s, t] x[index[:, s], t] - bias.
    """
    n, slots, t, k = factors.shape
    batch = x.shape[-1]
    products = x.new_empty(n, k, batch)
    first = native_arguments(x)
    if first is not None:
        factors, bias, x = factors.contiguous(), bias.contiguous(), x.contiguous()
        places = addresses(factors, bias, x, index, products)
        native.gathered(*first, *places, n, k, slots, t, batch)
        return products
    flat = factors.view(n, slots * t, k).transpose(1, 2)
    for block, rows in blocks(n, x, (slots, t, batch)):
        torch.index_select(x, 0, index[block].view(-1), out=rows.view(-1, t, batch))
        torch.bmm(flat[block], rows.view(-1, slots * t, batch), out=products[block])
    return products.sub_(bias.unsqueeze(-1))


def gathered_gradients(grad: Tensor, x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of `gathered_product` with respect to the factors, and to minus the bias.

    Parameters
    ----------
    grad : Tensor of shape (n, K, batch)
    x, index
        As for `gathered_product`.
    """
    n, k, batch = grad.shape
    slots, t = index.shape[1], x.shape[1]
    result = grad.new_empty(n, slots, t, k)
    first = native_arguments(x)
    if first is not None:
        grad, x, totals = grad.contiguous(), x.contiguous(), grad.new_empty(n, k)
        places = addresses(grad, x, index, result, totals)
        native.gathered_gradients(*first, *places, n, k, slots, t, batch)
        return result, totals
    flat = result.view(n, slots * t, k)
    for block, rows in blocks(n, x, (slots, t, batch)):
        torch.index_select(x, 0, index[block].view(-1), out=rows.view(-1, t, batch))
        gathered = rows.view(-1, slots * t, batch)
        torch.bmm(gathered, grad[block].transpose(1, 2), out=flat[block])
    return result, grad.sum(-1)


def reweigh(
    average: Tensor,
    counts: Tensor,
    weights: Tensor,
    keep: float,
    add: float,
    smoothing: float,
    idle: bool,
) -> bool:
    """A step of stochastic EM for sums over the last, contiguous axes, in one pass, in place.

    Parameters
    ----------
    average, counts, weights : Tensor of shape (n_sums, n_terms)
        The average becomes keep * average + add * counts, and the weights proportional to it and
        the smoothing.
    keep, add, smoothing : float
    idle : bool
        Whether sums whose average is 0 keep their weights.

    Returns
    -------
    done : bool
        False, with nothing changed, where torch is to do it step by step.
    """
    first = native_arguments(average)
    if first is None or not counts.is_contiguous():
        return False
    places = addresses(average, counts, weights)
    native.em_update_(*first, *places, keep, add, smoothing, idle, *average.shape)
    return True


def ratio(grad: Tensor, sums: Tensor) -> Tensor:
    """grad / sums, and 0 where a sum is: so are the gradients of all its terms."""
    return torch.where(sums >= torch.finfo(sums.dtype).tiny, grad / sums, 0)


def pair(rows: Tensor, block: slice, gather: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The left and right children's rows of a block of partitions; views if nothing is gathered."""
    both = slice(2 * block.start, 2 * block.stop)
    if gather is None:
        return rows[both][0::2], rows[both][1::2]
    return rows.index_select(0, gather[both][0::2]), rows.index_select(0, gather[both][1::2])


def blocks(n: int, like: Tensor, shape: tuple[int, ...]) -> Iterator[tuple[slice, Tensor]]:
    """Cut n rows into blocks, each with the same scratch buffer of `shape` a row."""
    row_bytes = like.element_size() * torch.Size(shape).numel()
    # A GPU is kept busy by large products; a CPU's cache is kept warm by small ones.
    size = BUFFER_BYTES if like.device.type == "cpu" else 64 * BUFFER_BYTES
    step = max(1, min(n, size // max(1, row_bytes)))
    buffer = like.new_empty(step, *shape)
    for start in range(0, n, step):
        block = slice(start, min(start + step, n))
        yield block, buffer[: block.stop - block.start]


def native_arguments(x: Tensor) -> tuple[bool, int] | None:
    """What all native functions take first; None where torch is to compute."""
    is_double = x.dtype is torch.float64
    if native is None or not x.is_cpu or not (is_double or x.dtype is torch.float32):
        return None
    return is_double, torch.get_num_threads()


def addresses(*tensors: Tensor | None) -> list[int]:
    """Where contiguous tensors of one type, and int64 indices, are; 0 for None."""
    dtype, places = None, []
    for tensor in tensors:
        if tensor is None:
            places.append(0)
            continue
        if tensor.dtype is not torch.int64:
            dtype = dtype or tensor.dtype
            if tensor.dtype is not dtype:
                raise TypeError(
                    f"Tensors of one type are needed, not of {dtype} and {tensor.dtype}."
                )
        if not (tensor.is_cpu and tensor.is_contiguous()):
            raise TypeError("Contiguous tensors on the CPU are needed.")
        places.append(tensor.data_ptr())
    return places
