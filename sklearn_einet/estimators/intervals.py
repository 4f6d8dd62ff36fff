"""Probabilities of boxes."""

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
        """Return the log-probability of a box: that ``low <= x <= high`` in every column of a row.

        With `low` or `high` left out, this is the joint cumulative distribution function or
        survival function.

        Parameters
        ----------
        low, high : dict, frame, or array-like of shape (n_samples, n_features), default=None
            Bounds. A dict has a number for each of some columns, or as many
            numbers as there are boxes; a frame need not have all columns, either. NaN, infinities,
            None and columns left out stand for no bound. A single row goes with every row of
            the other side. Equal bounds ask for a single value of a discrete column. Categories
            are bounded by categories, in their order if they have one; else by equal ones only.
            Dates, durations and other times are bounded by such, or by texts of them; a period
            is its beginning in `low`, and its end in `high`.
        closed : {"both", "left", "right", "neither"}, default="both"
            Which of the bounds belong to the box. That makes a difference where values have
            probabilities: with "neither", ``low={"gain": 0}`` asks for gains above 0.

        Returns
        -------
        log_probability : ndarray of shape (n_samples,)
            In nats. -inf for a box that holds no value that the columns can have, and for
            a single value of a continuous column.

        Raises
        ------
        ValueError
            If X does not have a column, or if a lower bound exceeds the upper one; the message
            names the column.

        Notes
        -----
        Values that are atoms (see `atoms`) are in the box or not, as ``closed`` says. Numbers on a
        grid are cells of a density, each half a step around its value. What a density has beyond
        the bounds of a column counts where it is drawn: as far on the inner side of the bound.

        The densities at the leaves are replaced by their probabilities of the interval. That is
        exact for single columns, and where one or two columns are bounded that have joint normal
        densities (see `structure`). Three and more of these are integrated by quasi-Monte-Carlo
        rules, always with the same result, to a standard error of the probability of 1e-6. Columns
        that depend very closely on each other may leave a larger one: above 1e-5 there is a
        warning. Probabilities of single columns below 1e-308 count as 0, except those of normal
        and log-normal columns.

        Examples
        --------
        What share of flowers has sepals of 5 to 6 cm and petals of 2 cm at least?

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
            raise ValueError("interval_log_proba needs low, high or both.")
        density = self._density()
        validate = partial(validate_data, self, reset=False)
        boxes = read_boxes(low, high, density.schema, density.encoding, validate)
        low, high = without_ends(*boxes, density.schema, closed)
        return density.box_log_probability(low, high)

    def event_log_proba(self, event: Any, given: Any = None) -> float:
        """Return the log-probability of an event, given another one.

        Parameters
        ----------
        event : dict
            Conditions on columns, as of `sample`: values, ranges (low, high) and lists or sets
            of several values.
        given : dict or None, default=None
            Conditions that are known to be met. None: nothing is known.

        Returns
        -------
        log_probability : float
            In nats. -inf if the event holds no value that the columns can have, or single values of
            a continuous column that `given` has none of.

        Raises
        ------
        ValueError, TypeError
            If they are no dicts of conditions on the columns, or if what is given has probability
            0 under the model; the message names the column.

        See Also
        --------
        interval_log_proba : The same for many boxes at once.
        sample : Draws given an event.
        conditional_score_samples : Densities of rows given an event.

        Notes
        -----
        It is as exact as `interval_log_proba`. What is given may be values of continuous columns,
        of probability 0: they are conditioned on by their densities.

        Examples
        --------
        How probable are petals of 2 cm at least, if sepals are longer than 6 cm?

        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_einet import EinetDensity
        >>> iris = load_iris(as_frame=True).data
        >>> model = EinetDensity(max_iter=200, random_state=0).fit(iris)
        >>> petals, sepals = {"petal length (cm)": (2, None)}, {"sepal length (cm)": (6, None)}
        >>> np.exp(model.event_log_proba(petals)).round(2)
        np.float64(0.67)
        >>> np.exp(model.event_log_proba(petals, given=sepals)).round(2)
        np.float64(1.0)
        """
        density = self._density()
        schema, encoding = density.schema, density.encoding
        wanted = read_conditions("event", event, schema, encoding)
        known = read_conditions("given", {} if given is None else given, schema, encoding)
        return density.event_log_probability(wanted, known)
