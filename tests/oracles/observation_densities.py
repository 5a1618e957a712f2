"""The observation families' log densities as scipy has them, or by hand where it has none."""

import numpy as np
import scipy.special
import scipy.stats

from tests.oracles.observations import (
    covariance_of,
    units_of,
)


def _gaussian(scale):
    return lambda output, x, family: scipy.stats.norm.logpdf(x, output, scale(family)).sum(-1)


def _of_pairs(logpdf):
    return lambda output, x, _: logpdf(x, output[:, 0], output[:, 1]).sum(-1)


def _negative_binomial(x, m, c):
    r = np.exp(c)
    return scipy.stats.nbinom.logpmf(x, r, r / (r + np.exp(m)))


def _inflated(log_pmf, x, logit):
    share = scipy.special.expit(logit)
    return np.log(share * (x == 0) + (1 - share) * np.exp(log_pmf)).sum(-1)


def _student_t(output, x, _):
    freedom = 1 + np.logaddexp(0, output[:, 2])
    return scipy.stats.t.logpdf(x, freedom, output[:, 0], np.exp(output[:, 1])).sum(-1)


def _codes(num):
    def log_pmf(output, x, _):
        codes = np.round(x * num).astype(int)
        return scipy.special.log_softmax(output, -1)[np.arange(3), codes].sum(-1)

    return log_pmf


def _bins(x, location, log_scale, levels=16):
    edges = (2 * np.arange(levels + 1) - 1) / (levels - 1) - 1
    edges[[0, -1]] = -np.inf, np.inf
    k = np.round(x * (levels - 1)).astype(int)
    cdf = [scipy.stats.logistic.cdf(edges[k + i], location, np.exp(log_scale)) for i in (0, 1)]
    return cdf[1] - cdf[0]


def _mixture_of_bins(output, x, _):
    logits, location, log_scale = np.split(output, 3, axis=-1)
    each = _bins(x[..., None], location, log_scale)
    return np.log((scipy.special.softmax(logits, -1) * each).sum(-1)).sum(-1)


def _beta(x, logit, log_precision):
    mean, precision = scipy.special.expit(logit), np.exp(log_precision)
    return scipy.stats.beta.logpdf(x, mean * precision, (1 - mean) * precision)


def _log_sinh_over(half):
    return np.log(np.sinh(half) / half)


def _correlated(output, x, family):
    return scipy.stats.multivariate_normal.logpdf(x - output, cov=covariance_of(family))


def _mixed(output, x, family):
    """By hand, from the order of the groups."""
    location, scale = units_of(family.groups[0])
    of_t, scale_of_t = units_of(family.groups[-1])
    pair = output[:4].reshape(2, 2)
    standard = (x[:, [0, 3]] - location) / scale
    t = scipy.stats.t.logpdf(
        (x[:, 7] - of_t[0]) / scale_of_t[0],
        1 + np.logaddexp(0, output[15]),
        output[13],
        np.exp(output[14]),
    )
    return (
        (scipy.stats.norm.logpdf(standard, pair[:, 0], np.exp(pair[:, 1])) - np.log(scale)).sum(-1)
        + scipy.special.log_softmax(output[4:7])[x[:, 1].astype(int)]
        + _beta(x[:, 2], output[7], output[8])
        + scipy.stats.bernoulli.logpmf(x[:, 4], scipy.special.expit(output[9]))
        + scipy.stats.poisson.logpmf(x[:, 5], np.exp(output[10]))
        + scipy.stats.lognorm.logpdf(x[:, 6], np.exp(output[12]), scale=np.exp(output[11]))
        + (t - np.log(scale_of_t[0]))
    )


SCIPY = {
    "bernoulli": lambda o, x, _: scipy.stats.bernoulli.logpmf(x, scipy.special.expit(o)).sum(-1),
    "continuous-bernoulli": lambda o, x, _: ((x - 0.5) * o - _log_sinh_over(o / 2)).sum(-1),
    "gaussian": _gaussian(lambda family: 1.0),
    "learned-gaussian": _gaussian(lambda family: np.exp(float(family.log_scale))),
    "diagonal-gaussian": _gaussian(lambda family: np.exp(np.float64(family.log_scale))),
    "heteroscedastic-gaussian": _of_pairs(lambda x, m, s: scipy.stats.norm.logpdf(x, m, np.exp(s))),
    "full-gaussian": _correlated,
    "low-rank-gaussian": _correlated,
    "laplace": _of_pairs(lambda x, m, s: scipy.stats.laplace.logpdf(x, m, np.exp(s))),
    "student-t": _student_t,
    "categorical": _codes(1),
    "categorical-pixels": _codes(15),
    "multinomial": lambda o, x, _: scipy.stats.multinomial.logpmf(x, 5, scipy.special.softmax(o)),
    "poisson": lambda o, x, _: scipy.stats.poisson.logpmf(x, np.exp(o)).sum(-1),
    "negative-binomial": _of_pairs(_negative_binomial),
    "zero-inflated-poisson": lambda o, x, _: _inflated(
        scipy.stats.poisson.logpmf(x, np.exp(o[:, 0])), x, o[:, 1]
    ),
    "zero-inflated-negative-binomial": lambda o, x, _: _inflated(
        _negative_binomial(x, o[:, 0], o[:, 1]), x, o[:, 2]
    ),
    "discretized-logistic": lambda o, x, _: np.log(_bins(x, o[:, 0], o[:, 1])).sum(-1),
    "discretized-logistic-mixture": _mixture_of_bins,
    "beta": _of_pairs(_beta),
    "log-normal": _of_pairs(
        lambda x, m, s: scipy.stats.lognorm.logpdf(x, np.exp(s), scale=np.exp(m))
    ),
    "mixed": _mixed,
}
