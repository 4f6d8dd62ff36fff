"""Cases of all compiled operations, with expected results computed step by step in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_einet.families.normal_cells import normal_cells

DTYPES = [torch.float32, torch.float64]

# Batches around the widths of vectors and strips; units around the sizes of register tiles and
# blocks of pairs.
SIZES = [(1, 1), (1, 33), (2, 7), (3, 8), (4, 17), (5, 16), (12, 33), (13, 31), (25, 5), (40, 65)]


class Case(NamedTuple):
    """A call of an operation.

    Attributes
    ----------
    operation : str
    fields : dict
        Tensors, numbers and None, by the names of the operation's fields.
    expected : dict of str to Tensor
        What arrays must hold afterwards, in float64.
    """

    operation: str
    fields: dict[str, Tensor | float | None]
    expected: dict[str, Tensor]


class Draws:
    """Random tensors of a type."""

    def __init__(self, dtype: torch.dtype, seed: int) -> None:
        self.dtype = dtype
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(shape, generator=self.generator, dtype=self.dtype)

    def positive(self, *shape: int) -> Tensor:
        return self.normal(*shape).abs()

    def logs(self, *shape: int) -> Tensor:
        """Draw logarithms, of which some, and all of one row and column, are -inf."""
        x = self.normal(*shape, scale=5.0)
        x[0, 0] = -torch.inf
        x[-1, :, 0] = -torch.inf
        return x

    def indices(self, high: int, *shape: int) -> Tensor:
        return torch.randint(0, high, shape, generator=self.generator)


def scaled(x: Tensor, dim: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return exp(x - maximum) and the finite maximum along an axis."""
    top = x.amax(dim, keepdim=True).clamp_min(torch.finfo(dtype).min)
    return (x - top).exp(), top.squeeze(dim)


def ratio(grad: Tensor, sums: Tensor, dtype: torch.dtype) -> Tensor:
    """Return grad / sums, 0 where a sum is 0."""
    return torch.where(sums >= torch.finfo(dtype).tiny, grad / sums, 0.0)


def scale(draws: Draws, k: int, batch: int) -> Iterator[Case]:
    x = draws.logs(3, k, batch)
    values, top = scaled(x.double(), 1, draws.dtype)
    fields = {"x": x, "n_rows": 3, "k": k, "batch": batch}
    yield Case("scale", fields, {"scaled": values, "maximum": top})


def einsum(draws: Draws, k: int, batch: int) -> Iterator[Case]:
    n = 3
    for k_out in (1, k + 1):
        for gather in (None, draws.indices(2 * n, 2 * n)):
            x, weights = draws.logs(2 * n, k, batch), draws.positive(n, k_out, k, k)
            grad = draws.normal(n, k_out, batch)
            rows = torch.arange(2 * n) if gather is None else gather
            linear, top = scaled(x.double()[rows], 1, draws.dtype)
            left, right, w = linear[0::2], linear[1::2], weights.double()
            sums = torch.einsum("noij,nib,njb->nob", w, left, right)
            logs = sums.log() + (top[0::2] + top[1::2]).unsqueeze(1)
            sizes = {"n_partitions": n, "k_out": k_out, "k": k, "batch": batch}
            given = {"x": x, "gather": gather, "weights": weights, **sizes}
            yield Case("einsum", given, {"logs": logs, "sums": sums})
            yield Case("einsum", {**given, "sums": None}, {"logs": logs})
            above = ratio(grad.double(), sums, draws.dtype)
            grads = pair_gradients(above, w, left, right)
            given |= {"sums": sums.to(draws.dtype).contiguous(), "grad": grad}
            yield Case("einsum_gradients", {**given, "of_logs": 0}, grads)
            of_logs = {**grads, "grad_weights": w * grads["grad_weights"]}
            yield Case("einsum_gradients", {**given, "of_logs": 1}, of_logs)
            x = draws.positive(2 * n, k, batch)
            grads = pair_gradients(grad.double(), w, x.double()[rows][0::2], x.double()[rows][1::2])
            given |= {"x": x, "sums": None, "of_logs": 0}
            yield Case("einsum_gradients", given, grads)
    # A subnormal number counts as 0.
    tiny = torch.finfo(draws.dtype).tiny
    weights = torch.tensor([tiny / 2, tiny], dtype=draws.dtype).view(2, 1, 1, 1)
    logs = (
        torch.tensor([-np.inf, np.log(tiny)], dtype=torch.float64).view(2, 1, 1).repeat(1, 1, batch)
    )
    given = {"x": torch.zeros(4, 1, batch, dtype=draws.dtype), "weights": weights}
    sizes = {"n_partitions": 2, "k_out": 1, "k": 1, "batch": batch}
    yield Case("einsum", {**given, **sizes}, {"logs": logs})


def pair_gradients(above: Tensor, w: Tensor, left: Tensor, right: Tensor) -> dict[str, Tensor]:
    for_left = left * torch.einsum("nob,noij,njb->nib", above, w, right)
    for_right = right * torch.einsum("nob,noij,nib->njb", above, w, left)
    grad_x = torch.stack([for_left, for_right], 1)
    return {
        "grad_x": grad_x,
        "grad_weights": torch.einsum("nob,nib,njb->noij", above, left, right),
    }


def log_mixture(draws: Draws, k: int, batch: int) -> Iterator[Case]:
    slot, n_regions, n_slots = torch.tensor([0, 1, 2, 6, 7]), 3, 3  # the second region has none
    x, weights = draws.logs(5, k, batch), draws.positive(n_regions, n_slots, k)
    grad = draws.normal(n_regions, k, batch)
    w = weights.double().flatten(0, 1)
    logs = torch.full((n_regions, k, batch), -torch.inf, dtype=torch.float64)
    grad_x, grad_weights = torch.zeros_like(x).double(), torch.zeros_like(w)
    for r in (0, 2):
        own = slot // n_slots == r
        terms, top = scaled(x[own].double(), 0, draws.dtype)
        sums = (w[slot[own]].unsqueeze(-1) * terms).sum(0)
        logs[r] = sums.log() + top
        shares = terms * ratio(grad[r].double(), sums, draws.dtype)
        grad_x[own] = w[slot[own]].unsqueeze(-1) * shares
        grad_weights[slot[own]] = shares.sum(-1)
    sizes = {"n_partitions": 5, "n_regions": n_regions, "n_slots": n_slots, "k": k, "batch": batch}
    given = {"x": x, "slot": slot, "weights": weights, **sizes}
    yield Case("log_mixture", given, {"logs": logs})
    average, counts = (draws.positive(n_regions * n_slots, k) for _ in range(2))
    mean, new = average.double().clone(), w.clone()
    mean[slot] = 0.75 * mean[slot] + 0.5 * counts[slot].double()
    for own in (slot[:3], slot[3:]):
        share = mean[own] + 0.25 / len(own) + 0.125
        new[own] = share / share.sum(0)
    before = {
        "average": average,
        "counts": counts,
        "weights": weights.flatten(0, 1).clone(),
        "slot": slot,
    }
    numbers = {"keep": 0.75, "add": 0.5, "prior": 0.25, "least": 0.125}
    own_sizes = {name: size for name, size in sizes.items() if name != "batch"}
    after = {"average": mean, "weights": new}
    yield Case("mixture_update_", before | numbers | own_sizes, after)
    for of_logs in (0, 1):
        expected = grad_weights * w if of_logs else grad_weights
        expected = {"grad_x": grad_x, "grad_weights": expected.view(weights.shape)}
        yield Case("log_mixture_gradients", {**given, "grad": grad, "of_logs": of_logs}, expected)


def mix(draws: Draws, k: int, batch: int) -> Iterator[Case]:
    mixed, of, plain = torch.tensor([0, 1, 3, 3]), torch.tensor([0, 0, 1, 2]), torch.tensor([2, 0])
    mixed_ends, plain_ends, of_plain = torch.tensor([2, 3, 4]), torch.tensor([1, 1, 2]), [0, 2]
    x, weights = draws.logs(4, k, batch), draws.positive(4, k, k)
    linear, top = scaled(x.double()[mixed], 1, draws.dtype)
    sums = torch.bmm(weights.double(), linear)
    logs = torch.zeros(3, k, batch, dtype=torch.float64)
    logs.index_add_(0, of, sums.log() + top.unsqueeze(1))
    logs.index_add_(0, torch.tensor(of_plain), x.double()[plain])
    index = {"mixed": mixed, "plain": plain, "mixed_ends": mixed_ends, "plain_ends": plain_ends}
    sizes = {"k_out": k, "k": k, "batch": batch}
    given = {"x": x, "weights": weights, **index, "n_partitions": 3, **sizes}
    yield Case("mix", given, {"logs": logs, "sums": sums})
    only = {"mixed": None, "weights": None, "sums": None, "mixed_ends": torch.zeros(3).long()}
    expected = torch.zeros(3, k, batch, dtype=torch.float64)
    expected[of_plain] = x.double()[plain]
    yield Case("mix", {**given, **only}, {"logs": expected})
    grad = draws.normal(3, k, batch)
    above = ratio(grad.double()[of], sums, draws.dtype)
    grad_x = linear * torch.bmm(weights.double().transpose(1, 2), above)
    grad_weights = torch.bmm(above, linear.transpose(1, 2))
    given = {"x": x, "mixed": mixed, "of": of, "weights": weights, "n_mixed": 4, **sizes}
    given |= {"sums": sums.to(draws.dtype).contiguous(), "grad": grad}
    for of_logs in (0, 1):
        expected = grad_weights * weights.double() if of_logs else grad_weights
        expected = {"grad_x": grad_x, "grad_weights": expected}
        yield Case("mix_gradients", {**given, "of_logs": of_logs}, expected)


def gathered(draws: Draws, k: int, batch: int) -> Iterator[Case]:
    n, groups = 3, 5
    for slots, t in ((1, 1), (4, 3)):
        index, x = draws.indices(groups, n, slots), draws.normal(groups, t, batch)
        factors, bias = draws.normal(n, slots, t, k), draws.normal(n, k)
        rows, grad = x.double()[index], draws.normal(n, k, batch)
        products = torch.einsum("nstk,nstb->nkb", factors.double(), rows)
        sizes = {"n_regions": n, "k": k, "n_slots": slots, "n_statistics": t, "batch": batch}
        given = {"x": x, "index": index, **sizes}
        expected = {"products": products - bias.double().unsqueeze(-1)}
        yield Case("gathered", {**given, "factors": factors, "bias": bias}, expected)
        grad_factors = torch.einsum("nkb,nstb->nstk", grad.double(), rows)
        expected = {"grad_factors": grad_factors, "totals": grad.double().sum(-1)}
        yield Case("gathered_gradients", {**given, "grad": grad}, expected)


def rows(draws: Draws, k: int, batch: int) -> Iterator[Case]:
    size = k * batch
    x = draws.normal(size)
    yield Case("clear", {"x": x, "n": size}, {"x": torch.zeros(size).double()})
    for source_rows, replaces in product((None, torch.tensor([1, 0, 0])), (0, 1)):
        target, target_rows = draws.normal(4, size), torch.tensor([0, 2, 3 if replaces else 2])
        source = draws.normal(3, size)
        more = source if source_rows is None else source[source_rows]
        change = Tensor.index_copy if replaces else Tensor.index_add
        expected = change(target.double(), 0, target_rows, more.double())
        given = {"target": target, "target_rows": target_rows, "source": source}
        given |= {"source_rows": source_rows, "replaces": replaces, "n_rows": 3, "row_size": size}
        yield Case("add_rows", given, {"target": expected})
    for idle in (0, 1):
        average, counts = draws.positive(4, size), draws.positive(4, size)
        average[1], counts[1] = 0, 0
        weights, smoothing = draws.positive(4, size), 1e-30 if idle else 0.01
        mean = 0.75 * average.double() + 0.5 * counts.double()
        share = (mean + smoothing) / (mean + smoothing).sum(1, keepdim=True)
        if idle:
            share[1] = weights[1].double()
        given = {"average": average, "counts": counts, "weights": weights, "idle": idle}
        given |= {"keep": 0.75, "add": 0.5, "smoothing": smoothing, "n_sums": 4, "n_terms": size}
        yield Case("em_update_", given, {"average": mean, "weights": share})


def normal(draws: Draws, k: int, batch: int) -> Iterator[Case]:
    wide, n = Draws(torch.float64, k), 3
    reference = wide.normal(n, 3)
    for with_mask in (0, 1):
        x = wide.normal(n, batch)
        if with_mask:
            x[0, 0], x[1, -1], x[2, 0] = torch.nan, torch.inf, 1e3
        seen = x.isfinite()
        cells = torch.where(seen, x, 0.0)
        statistics = torch.zeros(n + 1, 2 + with_mask, batch, dtype=torch.float64)
        statistics[:n, 0], statistics[:n, 1] = cells, cells * cells
        if with_mask:
            statistics[:n, 2] = seen.double()
        density = reference[:, :1] + reference[:, 1:2] * cells + reference[:, 2:] * cells**2
        base = torch.where(seen, density, torch.where(x.isinf(), -torch.inf, 0.0)).sum(0)
        found = torch.stack([cells.abs().max(), seen.all().double()])
        given = {"x": x, "reference": reference, "n_columns": n, "batch": batch}
        expected = {"statistics": statistics, "base": base, "found": found}
        like = torch.empty(n + 1, 2 + with_mask, batch, dtype=draws.dtype)
        given |= {"with_mask": with_mask, "statistics": like}
        yield Case("read_normal", given, expected)
    mean, variance = draws.normal(batch, k), 0.1 + draws.positive(batch, k)
    phi = torch.stack([mean, mean**2 + variance], 1)
    sizes = {"n_slots": batch, "k": k}
    reference = draws.normal(batch, 3)
    m, a = phi.double()[:, 0], reference.double().unsqueeze(1)
    precision = 1 / (phi.double()[:, 1] - m**2)
    theta = torch.stack([m * precision - a[..., 1], -0.5 * precision - a[..., 2]], 1)
    log_normalizer = 0.5 * m**2 * precision - 0.5 * precision.log() + 0.5 * np.log(2 * np.pi)
    expected = {"theta": theta, "log_normalizer": log_normalizer + a[..., 0]}
    yield Case("natural_normal", {"phi": phi, "reference": reference, **sizes}, expected)
    mass = draws.positive(batch, k)
    mass[0, 0] = 0
    center, bounds = draws.normal(batch, 2), torch.tensor([[0.25, 1.5]]).repeat(batch, 1)
    center[:, 1] += center[:, 0] ** 2
    for prior in (0.0, 0.25):
        total = mass.double() + prior
        sums = phi.double() * mass.double().unsqueeze(1) + prior * center.double().unsqueeze(-1)
        maximum = torch.where(total.unsqueeze(1) > 1e-30, sums / total.unsqueeze(1), phi.double())
        square = (maximum[:, 1] - maximum[:, 0] ** 2).clamp(0.25, 1.5) + maximum[:, 0] ** 2
        given = {"weighted": phi * mass.unsqueeze(1), "mass": mass, "reference": center}
        given |= {"bounds": bounds.to(draws.dtype), "prior": torch.tensor([prior]).to(draws.dtype)}
        expected = {"phi": torch.stack([maximum[:, 0], square], 1)}
        yield Case("maximize_normal", {**given, "old": phi, **sizes}, expected)


def joint(draws: Draws, k: int, batch: int) -> Iterator[Case]:
    for n in (1, 11):
        root = draws.normal(n, k, 2 * k).double()
        covariance = root @ root.mT / (2 * k) + 0.5 * torch.eye(k)
        mean, z, posterior = draws.normal(n, k), draws.normal(k, batch), draws.positive(n, batch)
        precision = torch.linalg.inv(covariance).to(draws.dtype)
        covariance = torch.linalg.inv(precision.double())
        whitening = torch.linalg.inv(torch.linalg.cholesky(covariance))
        log_peak = -0.5 * (2 * np.pi * covariance).logdet()
        missing = draws.normal(k, batch) < -0.5
        # Complete rows, some with the same gaps after each other, and one without any cell.
        missing[:, ::5], missing[:, 2::5], missing[:, -1] = (
            False,
            missing[:, 1 : batch - 1 : 5],
            True,
        )
        z[missing] = torch.nan
        given = {"z": z, "mean": mean.T.contiguous(), "n": n, "d": k, "batch": batch}
        given |= {"precision": precision.permute(1, 2, 0).contiguous()}
        rows = [normal_row(mean.double(), covariance, z[:, b].double()) for b in range(batch)]
        log_density, statistics = (torch.stack(each, 1) for each in zip(*rows, strict=True))
        own = {"log_peak": log_peak, "whitening": whitening.permute(1, 2, 0).contiguous()}
        own = {name: array.to(draws.dtype) for name, array in own.items()}
        yield Case("joint_log_densities", {**given, **own}, {"log_density": log_density})
        total = (posterior.double().unsqueeze(-1) * statistics).sum(1)
        yield Case("joint_statistics", {**given, "posterior": posterior}, {"statistics": total})


def normal_row(mean: Tensor, covariance: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-densities (n,) of a row, and its expected statistics (n, n_statistics)."""
    seen = ~z.isnan()
    of_seen, across = covariance[:, seen][:, :, seen], covariance[:, :, seen]
    distance = (z[seen] - mean[:, seen]).unsqueeze(-1)
    solved = torch.linalg.solve(of_seen, distance)
    square = (distance * solved).sum((1, 2))
    log_density = -0.5 * (square + (2 * np.pi * of_seen).logdet())
    x = mean + (across @ solved).squeeze(-1)
    second = covariance - across @ torch.linalg.solve(of_seen, across.mT)
    second = second + x.unsqueeze(2) * x.unsqueeze(1)
    row, column = np.triu_indices(len(z))
    return log_density, torch.cat([torch.ones_like(x[:, :1]), x, second[:, row, column]], 1)


def mixture(draws: Draws, k: int, batch: int) -> Iterator[Case]:
    """A step of EM of rows that lack the even columns, lack the first one, or are complete."""
    third = batch // 3
    z, weight = draws.normal(k, batch), draws.positive(batch) + 0.1
    z[::2, :third], z[0, third : 2 * third] = torch.nan, torch.nan
    whole = torch.stack([draws.normal(k), draws.positive(k) + 0.5])
    patterns, start = [], 0
    for end in (third, 2 * third, batch):
        missing = z[:, start].isnan() if end > start else torch.zeros(k, dtype=torch.bool)
        columns = missing.to(torch.int8).argsort(descending=True, stable=True)
        patterns.append([end, int(missing.sum()), *columns.tolist()])
        start = end
    prior, rows, ridge = 0.5, 2.0, 0.25
    for n in (1, 11):
        root, mean = draws.normal(n, k, 2 * k).double(), draws.normal(n, k)
        covariance = (root @ root.mT / (2 * k) + torch.eye(k)).to(draws.dtype)
        log_weights = draws.normal(n).log_softmax(0)
        given = {"mean": mean, "covariance": covariance, "log_weights": log_weights}
        expected = em_step(z, weight, whole.double(), given, (prior, rows, ridge))
        given |= {"z": z, "weight": weight, "patterns": torch.tensor(patterns), "whole": whole}
        given |= {"pseudocount": prior, "prior_rows": rows, "ridge": ridge, "tolerance": 0.0}
        sizes = {"n": n, "d": k, "batch": batch, "n_patterns": 3, "min_steps": 0.0, "max_steps": 1}
        yield Case("mixture_steps", {**given, **sizes}, expected)


def em_step(
    z: Tensor,
    weight: Tensor,
    whole: Tensor,
    start: dict[str, Tensor],
    rules: tuple[float, float, float],
) -> dict[str, Tensor]:
    """Return a mixture after a step, its pooled covariance, and the log-likelihood before."""
    mean, covariance, log_weights = (each.double() for each in start.values())
    (center, spread), (prior, prior_rows, ridge) = whole, rules
    n, d = mean.shape
    rows = [normal_row(mean, covariance, row) for row in z.double().T]
    log_density, statistics = (torch.stack(each, 1) for each in zip(*rows, strict=True))
    joint = log_density + log_weights.unsqueeze(1)
    posterior = joint.softmax(0) * weight.double()
    total = (posterior.unsqueeze(2) * statistics).sum(1)
    second = torch.zeros(n, d, d, dtype=torch.float64)
    row, column = np.triu_indices(d)
    second[:, row, column] = second[:, column, row] = total[:, 1 + d :]
    mass = total[:, 0] + prior
    mean = (total[:, 1 : 1 + d] + prior * center) / mass.unsqueeze(1)
    second += prior * (torch.diag(spread**2) + torch.outer(center, center))
    scatter = second - mass.view(-1, 1, 1) * mean.unsqueeze(2) * mean.unsqueeze(1)
    scale = scatter.sum(0) / mass.sum()
    shrink = (spread / scale.diagonal().sqrt()).clamp_max(1)
    scale = scale * torch.outer(shrink, shrink) + ridge * torch.diag(spread**2)
    return {
        "mean": mean,
        "covariance": (scatter + prior_rows * scale) / (mass + prior_rows).view(-1, 1, 1),
        "log_weights": (mass / mass.sum()).log(),
        "scale": scale,
        "log_likelihoods": (joint.logsumexp(0) @ weight.double()).view(1),
    }


def leaves(draws: Draws, k: int, batch: int) -> Iterator[Case]:
    """Two normal columns, one of 0 and 1, one of four states; three regions with some of them."""
    wide, n_regions = Draws(torch.float64, k), 3
    table, rows = wide.normal(7, 4), draws.indices(7, batch)
    sizes = {"k": k, "batch": batch}
    fields = {"table": table, "rows": rows, "n_columns": 4, "batch": batch}
    yield Case("read_cells", fields, {"x": table[rows].T})
    x = wide.normal(4, batch)
    x[2], x[3] = draws.indices(2, batch), draws.indices(4, batch)
    x[:, 1::4] = torch.nan
    x[2:, 2::5] = torch.nan
    x[3][x[3] == 3] = 1  # a state that does not occur
    yield from leaf_values(draws, wide, x, rows, sizes)
    flows, terms = draws.positive(n_regions, k, batch), torch.tensor([[2, 0], [0, 1]])
    yield from normal_update(wide, x, flows, terms, sizes)
    yield from binary_update(wide, x, flows, torch.tensor([[1, 2], [2, 2]]), sizes)
    states = torch.tensor([[1, 3, 0, 4], [0, 3, 4, 4]])
    yield from state_steps(draws, wide, x, flows, states, sizes)
    yield from cell_steps(draws, wide, x, flows, states, sizes)
    root, weight = draws.normal(batch), draws.positive(7)
    root[0] = torch.nan
    for given in (None, weight):
        own = torch.ones(batch).double() if given is None else weight[rows].double()
        fields = {"root": root, "weight": given, "rows": rows, "batch": batch}
        expected = {"flows": torch.where(root.isnan(), 0, own), "total": wide.normal(1)}
        fields["total"] = expected["total"].clone()
        expected["total"] += torch.where(root.isnan(), -torch.inf, own * root.double()).sum()
        yield Case("root_flows", fields, expected)
        root = root.nan_to_num()


def leaf_values(
    draws: Draws, wide: Draws, x: Tensor, rows: Tensor, sizes: dict[str, float]
) -> Iterator[Case]:
    k, batch, of_given = sizes["k"], sizes["batch"], [1, -1, 0]
    regions = [[], [(0, 0, 1), (1, 2, 0), (2, 3, 0)], [(2, 3, 4), (0, 1, 0)]]
    normals, priors = wide.normal(2, 3, k), wide.normal(2, 4)
    normals[:, 1] = normals[:, 1].abs()
    priors[:, 1] = priors[:, 0] ** 2 + 0.5
    binaries, logs, given = wide.normal(1, 2, k), draws.normal(8, k), draws.normal(7, k + 1)
    expected = torch.zeros(3, k, batch, dtype=torch.float64)
    for r, terms in enumerate(regions):
        for b in range(batch):
            if of_given[r] >= 0:
                expected[r, :, b] += given[rows[b], of_given[r] :][:k].double()
            for kind, column, place in terms:
                cell = x[column, b]
                if cell.isnan():
                    continue
                if kind == 0:
                    mean, precision, constant = normals[place]
                    own = 0.5 / 0.5 * (cell - priors[place, 0]) ** 2
                    value = own + constant - precision * (cell - mean) ** 2
                elif kind == 1:
                    value = binaries[place, 0] + cell * binaries[place, 1]
                else:
                    value = logs[place + int(cell)].double()
                expected[r, :, b] += value
    fields = {"x": x, "normals": normals, "priors": priors, "binaries": binaries, "logs": logs}
    terms = torch.tensor([term for own in regions for term in own])
    fields |= {"ends": torch.tensor([0, 3, 5]), "terms": terms, "n_terms": 5, "n_regions": 3}
    with_given = {"given": given, "given_at": torch.tensor(of_given), "rows": rows}
    yield Case(
        "leaf_values", {**fields, **with_given, **sizes, "n_given": k + 1}, {"leaves": expected}
    )
    without = expected.clone()
    for r in (0, 2):
        without[r] -= given[rows][:, of_given[r] :][:, :k].T.double()
    yield Case("leaf_values", {**fields, **sizes, "n_given": 0}, {"leaves": without})


def batch_sums(x: Tensor, flows: Tensor, terms: Tensor, n_moments: int) -> Tensor:
    """Return sums of flows times powers of the cells that are seen, (n_terms, n_moments, k)."""
    cells, own = x[terms[:, 1]], flows[terms[:, 0]].double()
    powers = [
        torch.where(cells.isnan(), 0, cells.nan_to_num() ** power) for power in range(n_moments)
    ]
    return torch.einsum("tkb,tmb->tmk", own, torch.stack(powers, 1))


def normal_update(
    wide: Draws, x: Tensor, flows: Tensor, terms: Tensor, sizes: dict[str, float]
) -> Iterator[Case]:
    priors = torch.tensor([[0.5, 1.25, 0.1, torch.inf], [0.0, 2.0, 0.5, 0.75]]).double()
    k = sizes["k"]
    mean, mass = wide.normal(2, k), wide.positive(2, k)
    sums = torch.stack([mass, mass * mean, mass * (mean**2 + wide.positive(2, k))], 1)
    total = 0.75 * sums + 0.5 * batch_sums(x, flows, terms, 3)
    prior = 0.25 * torch.cat([torch.ones(2, 1).double(), priors[:, :2]], 1).unsqueeze(2)
    factors = normal_factors(total + prior, priors)
    own = (priors[:, 1] - priors[:, 0] ** 2).unsqueeze(1)
    given = {"x": x, "flows": flows, "terms": terms, "priors": priors, "sums": sums, "n_terms": 2}
    given |= {"keep": 0.75, "add": 0.5, "prior": 0.25, "factors": torch.ones_like(factors)}
    yield Case("normal_update", {**given, **sizes}, {"sums": total, "factors": factors})
    # Without any mass, parameters stay.
    old, none = wide.positive(2, 3, k), torch.zeros_like(sums)
    old[:, 2] = -0.5 * (0.5 / old[:, 1] / own).log()
    given |= {"flows": torch.zeros_like(flows), "sums": none, "prior": 0.0, "factors": old}
    expected = {"sums": none.clone(), "factors": old.clone()}
    yield Case("normal_update", {**given, **sizes}, expected)


def binary_update(
    wide: Draws, x: Tensor, flows: Tensor, terms: Tensor, sizes: dict[str, float]
) -> Iterator[Case]:
    reference, k = torch.tensor([0.25, 0.75]).double(), sizes["k"]
    mass = wide.positive(2, k)
    sums = torch.stack([mass, 0.5 * mass], 1)
    total = 0.75 * sums + 0.5 * batch_sums(x, flows, terms, 2)
    share = (total[:, 1] + 0.5 * reference.unsqueeze(1)) / (total[:, 0] + 0.5)
    share = share.clamp(0.3, 0.7)
    none, odds = torch.log1p(-reference).unsqueeze(1), torch.logit(reference).unsqueeze(1)
    factors = torch.stack([torch.log1p(-share) - none, torch.logit(share) - odds], 1)
    given = {"x": x, "flows": flows, "terms": terms, "reference": reference, "sums": sums}
    given |= {"keep": 0.75, "add": 0.5, "prior": 0.5, "least": 0.3, "n_terms": 2}
    given["factors"] = torch.ones_like(factors)
    yield Case("binary_update", {**given, **sizes}, {"sums": total, "factors": factors})
    old, zero = wide.normal(2, 2, k), torch.zeros_like(sums)
    given |= {"flows": torch.zeros_like(flows), "sums": zero, "prior": 0.0, "factors": old}
    yield Case("binary_update", {**given, **sizes}, {"sums": zero.clone(), "factors": old.clone()})


def state_steps(
    draws: Draws, wide: Draws, x: Tensor, flows: Tensor, terms: Tensor, sizes: dict[str, float]
) -> Iterator[Case]:
    k, batch, n_states = sizes["k"], sizes["batch"], 4
    counts, mass = wide.positive(8, k), wide.positive(2, k) + 4
    reference = torch.tensor([0.4, 0.3, 0.2, 0.1, 0.25, 0.25, 0.25, 0.25]).double()
    logs = torch.zeros(8, k, dtype=draws.dtype)
    expected = logs.double()
    for i, (_, column, first, _) in enumerate(terms.tolist()):
        for s in range(n_states):
            if not (x[column] == s).any():
                continue
            own = reference[first + s]
            share = (2.0 * counts[first + s] + 0.5 * own) / (mass[i] + 0.5)
            expected[first + s] = ((share + 1e-3) / (1 + n_states * 1e-3) / own).log()
    scale = torch.tensor([2.0]).double()
    given = {"x": x, "terms": terms, "counts": counts, "mass": mass, "n_terms": 2, **sizes}
    of_logs = {"reference": reference, "scale": scale.clone(), "prior": 0.5, "least": 1e-3}
    yield Case("state_logs", {**given, **of_logs, "logs": logs}, {"logs": expected})
    # A unit without any mass has the probabilities of the column.
    none = {"mass": mass.clone(), "counts": counts.clone(), "logs": torch.zeros_like(logs)}
    share = 2.0 * counts / mass.repeat_interleave(4, 0)
    if k > 1:
        none["mass"][:, 0], none["counts"][:, 0], share[:, 0] = 0, 0, reference
    occurs = expected.abs().sum(1, keepdim=True) > 0
    without = torch.where(occurs, (share / reference.unsqueeze(1)).log(), 0.0)
    of_logs |= {"prior": 0.0, "least": 0.0}
    yield Case("state_logs", {**given, **of_logs, **none}, {"logs": without})
    for start in (2.0, 1e-100):  # a small one is multiplied out
        own, new, total = counts.clone(), counts * start * 0.75, 0.75 * mass
        for i, (region, column, first, _) in enumerate(terms.tolist()):
            for b in range(batch):
                if not x[column, b].isnan():
                    new[first + int(x[column, b])] += 0.5 * flows[region, :, b].double()
                    total[i] += 0.5 * flows[region, :, b].double()
        end = start * 0.75 if start > 1 else 1.0
        moved = {"counts": own, "mass": mass.clone(), "scale": torch.tensor([start]).double()}
        fields = {**given, **moved, "flows": flows, "keep": 0.75, "add": 0.5, "n_states": 8}
        expected = {"counts": new / end, "mass": total, "scale": torch.tensor([end]).double()}
        yield Case("state_update", fields, expected)


def cell_steps(
    draws: Draws, wide: Draws, x: Tensor, flows: Tensor, terms: Tensor, sizes: dict[str, float]
) -> Iterator[Case]:
    """Four cells of two terms, around the mean and far out, all of them but the last in x."""
    k, n_cells = sizes["k"], 8
    edges = torch.tensor([-1.0, -0.25, 0.5, 2.0, 40.0]).double()
    ends = torch.stack([edges[:-1], edges[1:]], 1).repeat(2, 1)
    ends[4, 0] = -1e150
    mean, deviation, reference = wide.normal(2, k), 0.1 + wide.positive(2, k), wide.normal(n_cells)
    factors = torch.stack([mean, 0.5 / deviation**2, torch.zeros_like(mean)], 1)
    logs = torch.zeros(n_cells, k, dtype=draws.dtype)
    moments = torch.zeros(n_cells, 2, k, dtype=torch.float64)
    expected = {"logs": logs.double(), "moments": moments.clone()}
    for i, (_, column, first, n) in enumerate(terms.tolist()):
        for row in range(first, first + n):
            if (x[column] == row - first).any():
                own = normal_cells(*ends[row].unsqueeze(1), mean[i], deviation[i])
                expected["logs"][row], expected["moments"][row] = own[0] - reference[row], own[1]
    given = {"x": x, "terms": terms, "factors": factors, "n_terms": 2, **sizes}
    out = {"logs": logs, "moments": moments.clone()}
    yield Case("cell_values", {**given, "ends": ends, "reference": reference, **out}, expected)
    moments, mass = wide.normal(n_cells, 2, k), wide.positive(2, k)
    moments[:, 1] = moments[:, 0] ** 2 + 0.5
    priors = torch.tensor([[0.5, 1.25, 0.1, torch.inf], [0.0, 2.0, 0.5, 0.75]]).double()
    sums = torch.stack([mass, mass * mean, mass * (mean**2 + deviation**2)], 1)
    total = 0.75 * sums
    for i, (region, column, first, _) in enumerate(terms.tolist()):
        for b in range(sizes["batch"]):
            if not x[column, b].isnan():
                own = moments[first + int(x[column, b])]
                own = torch.cat([torch.ones_like(own[:1]), own])
                total[i] += 0.5 * flows[region, :, b].double() * own
    prior = 0.25 * torch.cat([torch.ones(2, 1).double(), priors[:, :2]], 1).unsqueeze(2)
    factors = normal_factors(total + prior, priors)
    given |= {"flows": flows, "moments": moments, "priors": priors, "sums": sums}
    given |= {"keep": 0.75, "add": 0.5, "prior": 0.25, "factors": torch.ones_like(factors)}
    yield Case("cell_update", given, {"sums": total, "factors": factors})


def normal_factors(sums: Tensor, priors: Tensor) -> Tensor:
    """Return means, halved precisions and constants of normal densities, given sums over cells and
    what else is known of their columns."""
    mass, first, second = sums.unbind(1)
    mean = first / mass
    variance = (second / mass - mean**2).clamp(priors[:, 2:3], priors[:, 3:])
    own = (priors[:, 1] - priors[:, 0] ** 2).unsqueeze(1)
    return torch.stack([mean, 0.5 / variance, -0.5 * (variance / own).log()], 1)


GROUPS: list[Callable[[Draws, int, int], Iterator[Case]]] = [
    scale,
    einsum,
    log_mixture,
    mix,
    gathered,
    rows,
    normal,
    joint,
    mixture,
    leaves,
]


def cases(group: Callable[[Draws, int, int], Iterator[Case]], dtype: torch.dtype) -> list[Case]:
    """Return the cases of a group for all sizes, with empty tensors for what is to be computed."""
    found = []
    for k, batch in SIZES:
        for case in group(Draws(dtype, k), k, batch):
            fields = dict(case.fields)
            for name, expected in case.expected.items():
                wide = name in ("base", "found") or case.operation == "read_cells"
                out = torch.full(expected.shape, torch.nan, dtype=torch.float64 if wide else dtype)
                if fields.get(name) is None:
                    fields[name] = out
            found.append(Case(case.operation, fields, case.expected))
    return found


def assert_case(case: Case, dtype: torch.dtype) -> None:
    """Check results: equal up to rounding, relative to the largest number."""
    for name, expected in case.expected.items():
        found = case.fields[name].double()
        finite = expected.isfinite()
        message = f"{case.operation}: {name}"
        assert torch.equal(found[~finite], expected[~finite]), message
        error = (found - expected)[finite].abs().max() if finite.any() else 0.0
        largest = expected[finite].abs().max() if finite.any() else 0.0
        assert error <= TOLERANCE * torch.finfo(dtype).eps * max(largest, 1e-30), message


# Rounding errors of sums, in units of the type.
TOLERANCE = 100
