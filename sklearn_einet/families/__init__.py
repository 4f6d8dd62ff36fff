"""The distributions of columns at the leaves of a circuit."""

from sklearn_einet.families.base import ExponentialFamily
from sklearn_einet.families.bernoulli import Bernoulli, Binomial
from sklearn_einet.families.beta import Beta
from sklearn_einet.families.categorical import Categorical
from sklearn_einet.families.constant import Constant
from sklearn_einet.families.gamma import Exponential, FixedShapeGamma, Gamma
from sklearn_einet.families.log_normal import LogNormal
from sklearn_einet.families.multivariate_normal import MultivariateNormal
from sklearn_einet.families.negative_binomial import NegativeBinomial
from sklearn_einet.families.normal import Normal
from sklearn_einet.families.poisson import Poisson
from sklearn_einet.families.symlog_normal import SymlogNormal

#: The families that can be chosen by name.
FAMILIES: dict[str, type[ExponentialFamily]] = {
    family.name: family
    for family in (
        Normal,
        LogNormal,
        SymlogNormal,
        Bernoulli,
        Binomial,
        Categorical,
        Poisson,
        NegativeBinomial,
        Exponential,
        Gamma,
        Beta,
    )
}

__all__ = [
    "FAMILIES",
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Constant",
    "Exponential",
    "ExponentialFamily",
    "FixedShapeGamma",
    "Gamma",
    "LogNormal",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "SymlogNormal",
]
