"""The backend of compiled loops.

All data of a strip of the batch stay in the first-level cache from the products to the last sum.
With torch, one operation after the other, everything goes through memory several times.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sklearn_einet.native.calls import call
from sklearn_einet.native.passes import Passes, RecordableLayer

__all__ = ["DTYPES", "NativeBackend"]

#: The types that kernels compute in.
DTYPES = (torch.float32, torch.float64)


class NativeBackend:
    """Compiled loops for circuits in single or double precision on the CPU."""

    name = "native"

    def passes(
        self,
        layers: Sequence[RecordableLayer],
        shapes: Sequence[tuple[int, int]],
        dtype: torch.dtype,
    ) -> Passes:
        """Return the passes through layers; see `Backend.passes`."""
        return Passes(layers, shapes, dtype)

    def gathered_product(self, factors: Tensor, bias: Tensor, x: Tensor, index: Tensor) -> Tensor:
        """Multiply matrices with gathered rows; see `Backend.gathered_product`."""
        n, slots, t, k = factors.shape
        products = x.new_empty(n, k, x.shape[-1])
        call(
            "gathered",
            factors=factors.contiguous(),
            bias=bias.contiguous(),
            x=x.contiguous(),
            index=index,
            products=products,
            n_regions=n,
            k=k,
            n_slots=slots,
            n_statistics=t,
            batch=x.shape[-1],
        )
        return products

    def gathered_gradients(self, grad: Tensor, x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of products; see `Backend.gathered_gradients`."""
        (n, k, batch), slots, t = grad.shape, index.shape[1], x.shape[1]
        result, totals = grad.new_empty(n, slots, t, k), grad.new_empty(n, k)
        call(
            "gathered_gradients",
            grad=grad.contiguous(),
            x=x.contiguous(),
            index=index,
            grad_factors=result,
            totals=totals,
            n_regions=n,
            k=k,
            n_slots=slots,
            n_statistics=t,
            batch=batch,
        )
        return result, totals

    def pair_counts(self, children: Tensor, partitions: Tensor) -> Tensor:
        """Count joint occurrences of units; see `Backend.pair_counts`."""
        (n, k_out, batch), k = partitions.shape, children.shape[1]
        # The gradient of a weighted sum of products with respect to the weights is the sum of the
        # products, whatever the weights are.
        ones = children.new_ones(n, k_out, k, k)
        counts = torch.empty_like(ones)
        call(
            "einsum_gradients",
            x=children.contiguous(),
            weights=ones,
            grad=partitions.contiguous(),
            grad_x=children.new_empty(children.shape),
            grad_weights=counts,
            n_partitions=n,
            k_out=k_out,
            k=k,
            batch=batch,
            of_logs=False,
        )
        return counts

    def em_update_(
        self,
        average: Tensor,
        counts: Tensor,
        weights: Tensor,
        keep: float,
        add: float,
        smoothing: float,
        idle: bool,
    ) -> None:
        """Make a step of stochastic EM in one pass; see `Backend.em_update_`."""
        call(
            "em_update_",
            average=average,
            counts=counts.contiguous(),
            weights=weights,
            keep=keep,
            add=add,
            smoothing=smoothing,
            idle=idle,
            n_sums=average.shape[0],
            n_terms=average.shape[1],
        )

    def natural_normal(self, phi: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """Return natural parameters and log-normalizers of normal densities.

        Parameters
        ----------
        phi : Tensor of shape (n_regions, n_slots, 2, K)
            Expectation parameters.
        coefficients : Tensor of shape (n_regions, n_slots, 3)
            Logarithms, as polynomials, of the densities to which the result is relative.
        """
        theta, log_normalizer = torch.empty_like(phi), torch.empty_like(phi[:, :, 0])
        call(
            "natural_normal",
            phi=phi,
            reference=coefficients,
            theta=theta,
            log_normalizer=log_normalizer,
            n_slots=phi.shape[0] * phi.shape[1],
            k=phi.shape[-1],
        )
        return theta, log_normalizer

    def maximize_normal(
        self,
        weighted: Tensor,
        mass: Tensor,
        reference: Tensor,
        limits: Tensor,
        pseudocount: float,
        old: Tensor,
    ) -> Tensor:
        """Return the M-step's expectation parameters of normal densities.

        Parameters
        ----------
        weighted, mass
            As `LeafGroup.update` takes them.
        reference : Tensor of shape (n_regions, n_slots, 2, 1)
            Expectation parameters of the prior.
        limits : Tensor of shape (n_regions, n_slots, 2)
            The least and the largest variance.
        pseudocount : float
        old : Tensor of shape (n_regions, n_slots, 2, K)
            The parameters, which leaves without mass keep.
        """
        phi = torch.empty_like(old)
        call(
            "maximize_normal",
            weighted=weighted.to(phi.dtype).contiguous(),
            mass=mass.to(phi.dtype).contiguous(),
            reference=reference,
            bounds=limits,
            prior=phi.new_tensor(pseudocount),
            old=old,
            phi=phi,
            n_slots=phi.shape[0] * phi.shape[1],
            k=phi.shape[-1],
        )
        return phi

    def scaled_exp(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return exp(x - maximum) of a matrix, and the maxima of its columns."""
        x = x.contiguous()
        scaled, maximum = torch.empty_like(x), torch.empty_like(x[0])
        n, batch = x.shape
        call("scale", x=x, scaled=scaled, maximum=maximum, n_rows=1, k=n, batch=batch)
        return scaled, maximum

    def joint_log_densities(
        self, z: Tensor, mean: Tensor, precision: Tensor, whitening: Tensor, log_peak: Tensor
    ) -> Tensor:
        """Return log-densities of observed cells under multivariate normal densities, (n, batch).

        Parameters
        ----------
        z : Tensor of shape (d, batch)
            NaN where a cell is missing.
        mean : Tensor of shape (d, n)
        precision : Tensor of shape (d, d, n)
        whitening : Tensor of shape (d, d, n)
            Lower triangular; its transpose times itself is the precision.
        log_peak : Tensor of shape (n,)
            Log-densities at the means.
        """
        (d, n), batch = mean.shape, z.shape[1]
        log_density = z.new_empty(n, batch)
        call(
            "joint_log_densities",
            z=z.contiguous(),
            mean=mean,
            precision=precision,
            whitening=whitening,
            log_peak=log_peak,
            log_density=log_density,
            n=n,
            d=d,
            batch=batch,
        )
        return log_density

    def joint_statistics(
        self, z: Tensor, mean: Tensor, precision: Tensor, posterior: Tensor
    ) -> Tensor:
        """Return expected statistics 1, x and the upper triangle of x x', (n, n_statistics).

        Parameters
        ----------
        z, mean, precision
            As in `joint_log_densities`.
        posterior : Tensor of shape (n, batch)
            The weights of the rows.
        """
        (d, n), batch = mean.shape, z.shape[1]
        statistics = z.new_empty(n, 1 + d + d * (d + 1) // 2)
        call(
            "joint_statistics",
            z=z.contiguous(),
            mean=mean,
            precision=precision,
            posterior=posterior.contiguous(),
            statistics=statistics,
            n=n,
            d=d,
            batch=batch,
        )
        return statistics

    def mixture_steps(
        self,
        rows: tuple[Tensor, Tensor, Tensor],
        whole: Tensor,
        start: tuple[Tensor, Tensor, Tensor],
        **rules: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return a mixture of multivariate normal densities after some steps of EM.

        Parameters
        ----------
        rows : (Tensor of shape (d, batch), Tensor of int of shape (n_patterns, d + 2), Tensor)
            Cells, sorted by which are missing; for every pattern, the end of its rows, the number
            of missing cells, and the columns, with the missing ones first; and weights.
        whole : Tensor of shape (2, d)
            Means and standard deviations of the columns.
        start : (Tensor of shape (n, d), Tensor of shape (n, d, d), Tensor of shape (n,))
            Means, covariances, and logarithms of the weights.
        **rules : float
            The other parameters of the operation.

        Returns
        -------
        mean, covariance, log_weights : Tensor
            As `start`.
        scale : Tensor of shape (d, d)
            The pooled covariance.
        """
        z, patterns, weight = rows
        mean, covariance, log_weights = (each.clone() for each in start)
        scale = torch.empty_like(covariance[0])
        (n, d), max_steps = mean.shape, int(rules["max_steps"])
        call(
            "mixture_steps",
            z=z,
            weight=weight,
            patterns=patterns,
            whole=whole,
            mean=mean,
            covariance=covariance,
            log_weights=log_weights,
            scale=scale,
            log_likelihoods=z.new_empty(max_steps),
            **rules,
            n=n,
            d=d,
            batch=z.shape[1],
            n_patterns=len(patterns),
        )
        return mean, covariance, log_weights, scale

    def read_normal(
        self, x: Tensor, coefficients: Tensor, complete: bool, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, float, bool]:
        """Read cells of columns with normal densities.

        Parameters
        ----------
        x : Tensor of float64 of shape (n_columns, batch)
        coefficients : Tensor of float64 of shape (n_columns, 3)
            Logarithms of the columns' own densities, as polynomials.
        complete : bool
            If false, whether a cell is finite is one more statistic.
        dtype : torch.dtype
            The type of the statistics.

        Returns
        -------
        statistics : Tensor of shape (n_columns + 1, n_statistics, batch)
            The last row is 0.
        base : Tensor of float64 of shape (batch,)
            Log-densities of the finite cells under the columns' own distributions.
        largest : float
            The largest absolute value of the finite cells.
        all_finite : bool
        """
        statistics = torch.empty((len(x) + 1, 2 if complete else 3, x.shape[1]), dtype=dtype)
        base, found = x.new_empty(x.shape[1]), x.new_empty(2)
        call(
            "read_normal",
            x=x,
            reference=coefficients,
            statistics=statistics,
            base=base,
            found=found,
            n_columns=len(x),
            batch=x.shape[1],
            with_mask=not complete,
        )
        largest, finite = found.tolist()
        return statistics, base, largest, finite == 1
