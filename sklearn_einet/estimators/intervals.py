"""Probabilities of boxes: ranges in one or more columns."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_einet.estimators.base import BaseEinet
from sklearn_einet.tables.bounds import read_boxes, without_ends
from sklearn_einet.tables.conditions import read_conditions

__all__ = ["IntervalQueries"]


class IntervalQueries(BaseEinet):
    """Probabilities of boxes and of other events."""

    def interval_log_proba(
        self, low: Any = None, high: Any = None, closed: str = "both"
    ) -> np.ndarray:
        """Return the log-probability of ranges: that ``low <= x <= high`` in all bounded columns.

        Without `low`, this is the joint cumulative distribution function; without `high`, it is
        the joint survival function.

        Parameters
        ----------
        low, high : dict, DataFrame, or array-like of shape (n_samples, n_features), default=None
            Lower and upper bounds of boxes, one box per row. A dict maps columns to a bound, or to
            a list of bounds for several boxes. NaN, None, infinities and columns that are left out
            mean no bound. If one side has a single row, it applies to all rows of the other side.

            Equal bounds ask for a single value of a discrete column. Categories are bounded by
            categories, in their order; without an order, only by equal ones. Dates, durations and
            other times are bounded by their like or by strings such as "2024-01-31". A period
            stands for its start in `low` and for its end in `high`.
        closed : {"both", "left", "right", "neither"}, default="both"
            Which bounds belong to the box. This matters where single values have probabilities:
            with "neither", ``low={"gain": 0}`` asks for gains above 0.

        Returns
        -------
        log_probability : ndarray of shape (n_samples,)
            In nats (natural logarithms). -inf for a box without any value that the columns can
            have, and for a single value of a continuous column.

        Raises
        ------
        ValueError
            If X lacks a column, or if a lower bound exceeds the upper one; the message names the
            column.

        Notes
        -----
        Atoms (values with a probability of their own, see `atoms`) belong to the box or not, as
        `closed` says. Numbers on a grid stand for cells of a density, half a step to either side.
        The part of a density beyond the bounds of a column counts where draws put it: at the same
        distance inside the bound.

        The result is exact for single columns, and if one or two columns with joint normal
        densities (see `structure`) are bounded. If three or more of these are bounded, the
        probability is integrated by quasi-Monte-Carlo rules, always with the same result, with a
        standard error of 1e-6. If columns depend very closely on each other, the error can be
        larger; above 1e-5 there is a warning. Probabilities of single columns below 1e-308 count
        as 0, except those of normal and log-normal columns.

        Examples
        --------
        What share of the flowers has sepals of 5 to 6 cm and petals of at least 2 cm?

        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> iris = load_iris(as_frame=True).data
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(iris)
        >>> low = {"sepal length (cm)": 5, "petal length (cm)": 2}
        >>> np.exp(model.interval_log_proba(low, high={"sepal length (cm)": 6})).round(2)
        array([0.26])
        >>> inside = iris["sepal length (cm)"].between(5, 6) & (iris["petal length (cm)"] >= 2)
        >>> inside.mean().round(2)
        np.float64(0.25)
        """
        check_is_fitted(self)
        if low is None and high is None:
            raise ValueError("interval_log_proba needs low, high or both, got neither.")
        density = self._density()
        validate = partial(validate_data, self, reset=False)
        boxes = read_boxes(low, high, density.schema, density.encoding, validate)
        low, high = without_ends(*boxes, density.schema, closed)
        return density.box_log_probability(low, high)

    def event_log_proba(self, event: Any, given: Any = None) -> float:
        """Return the log-probability of an event, optionally given another one.

        Parameters
        ----------
        event : dict
            Conditions on columns, as in `sample`: values, ranges ``(low, high)``, and lists or
            sets of several values.
        given : dict or None, default=None
            Conditions that are known to hold. None: nothing is known.

        Returns
        -------
        log_probability : float
            In nats (natural logarithms). -inf if the event contains no value that the columns can
            have, or asks for a single value of a continuous column that `given` does not mention.

        Raises
        ------
        ValueError, TypeError
            If `event` or `given` is not a dict of conditions on the columns, or if `given` has
            probability 0 under the model; the message names the column.

        See Also
        --------
        interval_log_proba : The same for many ranges at once.
        sample : Rows drawn given an event.
        conditional_score_samples : Densities of rows given an event.

        Notes
        -----
        The result is as exact as that of `interval_log_proba`. `given` may contain single values
        of continuous columns, although these have probability 0: the model then conditions on
        their densities.

        Examples
        --------
        How probable are petals of at least 2 cm, and how probable if sepals are longer than 6 cm?

        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> iris = load_iris(as_frame=True).data
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(iris)
        >>> petals, sepals = {"petal length (cm)": (2, None)}, {"sepal length (cm)": (6, None)}
        >>> np.exp(model.event_log_proba(petals)).round(2)
        np.float64(0.66)
        >>> np.exp(model.event_log_proba(petals, given=sepals)).round(2)
        np.float64(0.99)
        """
        density = self._density()
        schema, encoding = density.schema, density.encoding
        wanted = read_conditions("event", event, schema, encoding)
        known = read_conditions("given", {} if given is None else given, schema, encoding)
        return density.event_log_probability(wanted, known)
