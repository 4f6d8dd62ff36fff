/* The operations of the compiled part, each declared once.
 *
 * A struct is the argument list of its operation and, bit by bit, its recorded instruction: all
 * fields are eight bytes wide. Its `fields` describe it to Python, see `module.cpp`.
 */
#pragma once

#include <cstdint>

namespace sklearn_einet {

/* Kinds of fields. Real is the type of the numbers, of which an operation has all but these:
 * indices, and what must be of double precision whatever Real is. */
template <class Real> using In = const Real *;
template <class Real> using Out = Real *;
template <class Real> using InOut = Real *;
template <class Real> using OptionalIn = const Real *;
template <class Real> using OptionalOut = Real *;
template <class Real> using Index = const int64_t *;
template <class Real> using OptionalIndex = const int64_t *;
template <class Real> using DoubleIn = const double *;
template <class Real> using DoubleOut = double *;
template <class Real> using DoubleInOut = double *;
template <class Real> using Size = int64_t;
template <class Real> using Flag = int64_t;
template <class Real> using Number = double;

enum class Kind {
    In,
    Out,
    InOut,
    OptionalIn,
    OptionalOut,
    Index,
    OptionalIndex,
    DoubleIn,
    DoubleOut,
    DoubleInOut,
    Size,
    Flag,
    Number
};

struct Field {
    const char *name;
    Kind kind;
    const char *kind_name;
    const char *shape; /* names of size fields and numbers; any other word is a free dimension */
};

#define MEMBER(kind, name, shape) kind<Real> name;
#define DESCRIPTION(kind, name, shape) {#name, Kind::kind, #kind, shape},

#define OPERATION(Struct, word, FIELDS)                                                            \
    template <class Real> struct Struct {                                                          \
        FIELDS(MEMBER)                                                                             \
        static constexpr const char *name = word;                                                  \
        static constexpr Field fields[] = {FIELDS(DESCRIPTION)};                                   \
    };

/* scaled = exp(x - maximum) for rows of k units. */
#define SCALE(F)                                                                                   \
    F(In, x, "n_rows k batch")                                                                     \
    F(Out, scaled, "n_rows k batch")                                                               \
    F(Out, maximum, "n_rows batch")                                                                \
    F(Size, n_rows, "") F(Size, k, "") F(Size, batch, "")
OPERATION(Scale, "scale", SCALE)

/* logs of the sums over all pairs of two children's units, given logarithms x; the sums themselves
 * are for gradients. The children of partition p are the rows gather[2 p] and gather[2 p + 1] of
 * x; without gather, 2 p and 2 p + 1. */
#define EINSUM(F)                                                                                  \
    F(In, x, "rows k batch")                                                                       \
    F(OptionalIndex, gather, "n_partitions 2")                                                     \
    F(In, weights, "n_partitions k_out k k")                                                       \
    F(OptionalOut, sums, "n_partitions k_out batch")                                               \
    F(Out, logs, "n_partitions k_out batch")                                                       \
    F(Size, n_partitions, "") F(Size, k_out, "") F(Size, k, "") F(Size, batch, "")
OPERATION(Einsum, "einsum", EINSUM)

/* Gradients of `einsum` with respect to the logarithms of the children, those of partition p in
 * rows 2 p and 2 p + 1 of grad_x, and with respect to the weights. With sums, x has logarithms and
 * grad is with respect to logs; without, x is linear and grad is with respect to the sums.
 *
 * With of_logs, the gradients of weights are with respect to their logarithms, here and below. */
#define EINSUM_GRADIENTS(F)                                                                        \
    F(In, x, "rows k batch")                                                                       \
    F(OptionalIndex, gather, "n_partitions 2")                                                     \
    F(In, weights, "n_partitions k_out k k")                                                       \
    F(OptionalIn, sums, "n_partitions k_out batch")                                                \
    F(In, grad, "n_partitions k_out batch")                                                        \
    F(Out, grad_x, "n_partitions 2 k batch")                                                       \
    F(Out, grad_weights, "n_partitions k_out k k")                                                 \
    F(Size, n_partitions, "")                                                                      \
    F(Size, k_out, "") F(Size, k, "") F(Size, batch, "") F(Flag, of_logs, "")
OPERATION(EinsumGradients, "einsum_gradients", EINSUM_GRADIENTS)

/* logs of the mixtures of each region's partitions x, unit by unit; slot has the positions of the
 * partitions, in ascending order, among the n_slots of each region. */
#define LOG_MIXTURE(F)                                                                             \
    F(In, x, "n_partitions k batch")                                                               \
    F(Index, slot, "n_partitions")                                                                 \
    F(In, weights, "n_regions n_slots k")                                                          \
    F(Out, logs, "n_regions k batch")                                                              \
    F(Size, n_partitions, "")                                                                      \
    F(Size, n_regions, "") F(Size, n_slots, "") F(Size, k, "") F(Size, batch, "")
OPERATION(LogMixture, "log_mixture", LOG_MIXTURE)

/* Gradients of `log_mixture` with respect to x and to the weights. */
#define LOG_MIXTURE_GRADIENTS(F)                                                                   \
    F(In, x, "n_partitions k batch")                                                               \
    F(Index, slot, "n_partitions")                                                                 \
    F(In, weights, "n_regions n_slots k")                                                          \
    F(In, grad, "n_regions k batch")                                                               \
    F(Out, grad_x, "n_partitions k batch")                                                         \
    F(Out, grad_weights, "n_regions n_slots k")                                                    \
    F(Size, n_partitions, "")                                                                      \
    F(Size, n_regions, "")                                                                         \
    F(Size, n_slots, "") F(Size, k, "") F(Size, batch, "") F(Flag, of_logs, "")
OPERATION(LogMixtureGradients, "log_mixture_gradients", LOG_MIXTURE_GRADIENTS)

/* logs: for each partition, the sum of its plain children's logarithms, and those of its mixed
 * children's sums. Partition p has the rows mixed[ends[p - 1]] to mixed[ends[p] - 1] of x, and so
 * on. Arrays of no mixed or no plain children may be null. */
#define MIX(F)                                                                                     \
    F(In, x, "rows k batch")                                                                       \
    F(OptionalIndex, mixed, "n_mixed")                                                             \
    F(Index, mixed_ends, "n_partitions")                                                           \
    F(OptionalIndex, plain, "n_plain")                                                             \
    F(Index, plain_ends, "n_partitions")                                                           \
    F(OptionalIn, weights, "n_mixed k_out k")                                                      \
    F(OptionalOut, sums, "n_mixed k_out batch")                                                    \
    F(Out, logs, "n_partitions k_out batch")                                                       \
    F(Size, n_partitions, "") F(Size, k_out, "") F(Size, k, "") F(Size, batch, "")
OPERATION(Mix, "mix", MIX)

/* Gradients of `mix` with respect to the logarithms of the mixed children, and to the weights; `of`
 * has the partition of each mixed child. */
#define MIX_GRADIENTS(F)                                                                           \
    F(In, x, "rows k batch")                                                                       \
    F(Index, mixed, "n_mixed")                                                                     \
    F(Index, of, "n_mixed")                                                                        \
    F(In, weights, "n_mixed k_out k")                                                              \
    F(In, sums, "n_mixed k_out batch")                                                             \
    F(In, grad, "partitions k_out batch")                                                          \
    F(Out, grad_x, "n_mixed k batch")                                                              \
    F(Out, grad_weights, "n_mixed k_out k")                                                        \
    F(Size, n_mixed, "") F(Size, k_out, "") F(Size, k, "") F(Size, batch, "") F(Flag, of_logs, "")
OPERATION(MixGradients, "mix_gradients", MIX_GRADIENTS)

/* products = factors, transposed, times gathered groups of rows of x, - bias. */
#define GATHERED(F)                                                                                \
    F(In, factors, "n_regions n_slots n_statistics k")                                             \
    F(In, bias, "n_regions k")                                                                     \
    F(In, x, "groups n_statistics batch")                                                          \
    F(Index, index, "n_regions n_slots")                                                           \
    F(Out, products, "n_regions k batch")                                                          \
    F(Size, n_regions, "")                                                                         \
    F(Size, k, "") F(Size, n_slots, "") F(Size, n_statistics, "") F(Size, batch, "")
OPERATION(Gathered, "gathered", GATHERED)

/* Gradients of `gathered` with respect to the factors, and the totals of grad over the batch. */
#define GATHERED_GRADIENTS(F)                                                                      \
    F(In, grad, "n_regions k batch")                                                               \
    F(In, x, "groups n_statistics batch")                                                          \
    F(Index, index, "n_regions n_slots")                                                           \
    F(Out, grad_factors, "n_regions n_slots n_statistics k")                                       \
    F(Out, totals, "n_regions k")                                                                  \
    F(Size, n_regions, "")                                                                         \
    F(Size, k, "") F(Size, n_slots, "") F(Size, n_statistics, "") F(Size, batch, "")
OPERATION(GatheredGradients, "gathered_gradients", GATHERED_GRADIENTS)

/* x = 0. */
#define CLEAR(F) F(Out, x, "n") F(Size, n, "")
OPERATION(Clear, "clear", CLEAR)

/* target[target_rows] += source[source_rows]; rows of the target may be repeated. With `replaces`,
 * =, and they must not be. Without source_rows, the rows of the source are taken in order. */
#define ADD_ROWS(F)                                                                                \
    F(InOut, target, "rows row_size")                                                              \
    F(Index, target_rows, "n_rows")                                                                \
    F(In, source, "others row_size")                                                               \
    F(OptionalIndex, source_rows, "n_rows")                                                        \
    F(Size, n_rows, "") F(Size, row_size, "") F(Flag, replaces, "")
OPERATION(AddRows, "add_rows", ADD_ROWS)

/* A stochastic M-step: average = keep * average + add * counts, and weights in proportion to
 * average + smoothing. With idle, sums without counts keep their weights. */
#define EM_UPDATE(F)                                                                               \
    F(InOut, average, "n_sums n_terms")                                                            \
    F(In, counts, "n_sums n_terms")                                                                \
    F(InOut, weights, "n_sums n_terms")                                                            \
    F(Number, keep, "")                                                                            \
    F(Number, add, "")                                                                             \
    F(Number, smoothing, "") F(Flag, idle, "") F(Size, n_sums, "") F(Size, n_terms, "")
OPERATION(EMUpdate, "em_update_", EM_UPDATE)

/* The same for mixtures of the partitions of each region, unit by unit. The smoothing is a prior
 * that the terms of a sum share, and what each has besides. */
#define MIXTURE_UPDATE(F)                                                                          \
    F(InOut, average, "n_regions n_slots k")                                                       \
    F(In, counts, "n_regions n_slots k")                                                           \
    F(InOut, weights, "n_regions n_slots k")                                                       \
    F(Index, slot, "n_partitions")                                                                 \
    F(Number, keep, "")                                                                            \
    F(Number, add, "")                                                                             \
    F(Number, prior, "")                                                                           \
    F(Number, least, "")                                                                           \
    F(Size, n_partitions, "") F(Size, n_regions, "") F(Size, n_slots, "") F(Size, k, "")
OPERATION(MixtureUpdate, "mixture_update_", MIXTURE_UPDATE)

/* What products with the cells x need: for each column a group of rows, the cells and their
 * squares, and with_mask also whether they are finite, with 0 for what is not. A last group has
 * zeros. base are sums of the logarithms of reference densities, polynomials of degree 2; found are
 * the largest size of a finite cell, and whether all are finite. */
#define READ_NORMAL(F)                                                                             \
    F(DoubleIn, x, "n_columns batch")                                                              \
    F(DoubleIn, reference, "n_columns 3")                                                          \
    F(Out, statistics, "groups batch")                                                             \
    F(DoubleOut, base, "batch")                                                                    \
    F(DoubleOut, found, "2")                                                                       \
    F(Size, n_columns, "") F(Size, batch, "") F(Flag, with_mask, "")
OPERATION(ReadNormal, "read_normal", READ_NORMAL)

/* phi, means of the cells and of their squares: the maximum of the likelihood given sums over
 * cells, weighted and mass, and a prior of a mass prior[0] with the means reference. Variances are
 * kept in the bounds. */
#define MAXIMIZE_NORMAL(F)                                                                         \
    F(In, weighted, "n_slots 2 k")                                                                 \
    F(In, mass, "n_slots k")                                                                       \
    F(In, reference, "n_slots 2")                                                                  \
    F(In, bounds, "n_slots 2")                                                                     \
    F(In, prior, "1")                                                                              \
    F(In, old, "n_slots 2 k")                                                                      \
    F(Out, phi, "n_slots 2 k")                                                                     \
    F(Size, n_slots, "") F(Size, k, "")
OPERATION(MaximizeNormal, "maximize_normal", MAXIMIZE_NORMAL)

/* The logarithms of normal densities phi, less those with the coefficients reference, are
 * theta[0] x + theta[1] x^2 - log_normalizer. */
#define NATURAL_NORMAL(F)                                                                          \
    F(In, phi, "n_slots 2 k")                                                                      \
    F(In, reference, "n_slots 3")                                                                  \
    F(Out, theta, "n_slots 2 k")                                                                   \
    F(Out, log_normalizer, "n_slots k")                                                            \
    F(Size, n_slots, "") F(Size, k, "")
OPERATION(NaturalNormal, "natural_normal", NATURAL_NORMAL)

/* Log-densities of rows under n multivariate normal densities, of the cells that are not NaN; those
 * of rows without any are 0. Precisions are the inverses of the covariances; whitening, lower
 * triangular, times its transpose from the left is a precision; log_peak are log-densities at the
 * means. */
#define JOINT_LOG_DENSITIES(F)                                                                     \
    F(In, z, "d batch")                                                                            \
    F(In, mean, "d n")                                                                             \
    F(In, precision, "d d n")                                                                      \
    F(In, whitening, "d d n")                                                                      \
    F(In, log_peak, "n")                                                                           \
    F(Out, log_density, "n batch")                                                                 \
    F(Size, n, "") F(Size, d, "") F(Size, batch, "")
OPERATION(JointLogDensities, "joint_log_densities", JOINT_LOG_DENSITIES)

/* Sums over rows of posterior times 1, x and the upper triangle of x x', as they are expected of x
 * given the cells z that are not NaN. */
#define JOINT_STATISTICS(F)                                                                        \
    F(In, z, "d batch")                                                                            \
    F(In, mean, "d n")                                                                             \
    F(In, precision, "d d n")                                                                      \
    F(In, posterior, "n batch")                                                                    \
    F(Out, statistics, "n n_statistics")                                                           \
    F(Size, n, "") F(Size, d, "") F(Size, batch, "")
OPERATION(JointStatistics, "joint_statistics", JOINT_STATISTICS)

/* Steps of EM of a mixture of n multivariate normal densities, at least min_steps and one more,
 * until a step gains less than `tolerance` for each unit of weight. Rows z are sorted by which
 * cells are NaN: patterns are the end of the rows of each, how many columns are missing, and all
 * columns, those first. `whole` are means and standard deviations of the columns, of which some
 * mass is added to every density; covariances are shrunk to a pooled one by some rows, and `ridge`
 * is the share of the columns' own variances in that. */
#define MIXTURE_STEPS(F)                                                                           \
    F(In, z, "d batch")                                                                            \
    F(In, weight, "batch")                                                                         \
    F(Index, patterns, "n_patterns columns_and_two")                                               \
    F(In, whole, "2 d")                                                                            \
    F(InOut, mean, "n d")                                                                          \
    F(InOut, covariance, "n d d")                                                                  \
    F(InOut, log_weights, "n")                                                                     \
    F(Out, scale, "d d")                                                                           \
    F(Out, log_likelihoods, "max_steps")                                                           \
    F(Number, pseudocount, "")                                                                     \
    F(Number, prior_rows, "")                                                                      \
    F(Number, ridge, "")                                                                           \
    F(Number, tolerance, "")                                                                       \
    F(Number, min_steps, "")                                                                       \
    F(Size, n, "")                                                                                 \
    F(Size, d, "") F(Size, batch, "") F(Size, n_patterns, "") F(Size, max_steps, "")
OPERATION(MixtureSteps, "mixture_steps", MIXTURE_STEPS)

/* The cells of some rows of a table, by column. */
#define READ_CELLS(F)                                                                              \
    F(DoubleIn, table, "all n_columns")                                                            \
    F(Index, rows, "batch")                                                                        \
    F(DoubleOut, x, "n_columns batch")                                                             \
    F(Size, n_columns, "") F(Size, batch, "")
OPERATION(ReadCells, "read_cells", READ_CELLS)

/* What leaf regions are worth to the cells x, NaN where these are missing. The terms of each region
 * end at `ends`; a term is its kind, its column, and a place: 0: the position among the normal
 * densities, each of which has means, halved precisions and constants, and of its column mean,
 * square and two other numbers in priors; 1: that among the binaries, which have logarithms of the
 * probabilities of 0 and what 1 has more; 2: that of its first state in logs. Where given_at is not
 * negative, numbers of given are added, from there on in the rows that x is of. */
#define LEAF_VALUES(F)                                                                             \
    F(DoubleIn, x, "columns batch")                                                                \
    F(Index, ends, "n_regions")                                                                    \
    F(Index, terms, "n_terms 3")                                                                   \
    F(DoubleIn, normals, "normal_terms 3 k")                                                       \
    F(DoubleIn, priors, "normal_terms 4")                                                          \
    F(DoubleIn, binaries, "binary_terms 2 k")                                                      \
    F(In, logs, "all_states k")                                                                    \
    F(OptionalIn, given, "rows n_given")                                                           \
    F(OptionalIndex, given_at, "n_regions")                                                        \
    F(OptionalIndex, rows, "batch")                                                                \
    F(Out, leaves, "n_regions k batch")                                                            \
    F(Size, n_regions, "")                                                                         \
    F(Size, n_terms, "") F(Size, n_given, "") F(Size, k, "") F(Size, batch, "")
OPERATION(LeafValues, "leaf_values", LEAF_VALUES)

/* Logarithms of the probabilities of the states that x has, less those of the whole column, for
 * `leaf_values`. Terms are a region, a column, the first state and the number of states;
 * probabilities are (scale * counts + prior * reference) / (mass + prior) + least, normalised. */
#define STATE_LOGS(F)                                                                              \
    F(DoubleIn, x, "columns batch")                                                                \
    F(Index, terms, "n_terms 4")                                                                   \
    F(DoubleIn, counts, "all_states k")                                                            \
    F(DoubleIn, mass, "n_terms k")                                                                 \
    F(DoubleIn, reference, "all_states")                                                           \
    F(DoubleIn, scale, "1")                                                                        \
    F(Out, logs, "all_states k")                                                                   \
    F(Number, prior, "")                                                                           \
    F(Number, least, "") F(Size, n_terms, "") F(Size, k, "") F(Size, batch, "")
OPERATION(StateLogs, "state_logs", STATE_LOGS)

/* The flows of the root, which are the weights of the rows, and 0 where its value is not a number;
 * its values times the weights are added to the total. */
#define ROOT_FLOWS(F)                                                                              \
    F(In, root, "batch")                                                                           \
    F(OptionalIn, weight, "all")                                                                   \
    F(Index, rows, "batch")                                                                        \
    F(Out, flows, "batch")                                                                         \
    F(DoubleInOut, total, "1") F(Size, batch, "")
OPERATION(RootFlows, "root_flows", ROOT_FLOWS)

/* A stochastic M-step of normal densities: sums of flows, of cells and of their squares become keep
 * * sums + add * those of the batch, and the factors as in `leaf_values` follow from them, with a
 * prior of a mass. Terms are a region and a column; priors have the mean, the mean square, and the
 * least and the largest variance. */
#define NORMAL_UPDATE(F)                                                                           \
    F(DoubleIn, x, "columns batch")                                                                \
    F(In, flows, "regions k batch")                                                                \
    F(Index, terms, "n_terms 2")                                                                   \
    F(DoubleIn, priors, "n_terms 4")                                                               \
    F(DoubleInOut, sums, "n_terms 3 k")                                                            \
    F(DoubleInOut, factors, "n_terms 3 k")                                                         \
    F(Number, keep, "")                                                                            \
    F(Number, add, "")                                                                             \
    F(Number, prior, "") F(Size, n_terms, "") F(Size, k, "") F(Size, batch, "")
OPERATION(NormalUpdate, "normal_update", NORMAL_UPDATE)

/* The same for densities of two states, 0 and 1: sums of flows and of cells. Probabilities stay
 * `least` away from 0 and 1. */
#define BINARY_UPDATE(F)                                                                           \
    F(DoubleIn, x, "columns batch")                                                                \
    F(In, flows, "regions k batch")                                                                \
    F(Index, terms, "n_terms 2")                                                                   \
    F(DoubleIn, reference, "n_terms")                                                              \
    F(DoubleInOut, sums, "n_terms 2 k")                                                            \
    F(DoubleInOut, factors, "n_terms 2 k")                                                         \
    F(Number, keep, "")                                                                            \
    F(Number, add, "")                                                                             \
    F(Number, prior, "")                                                                           \
    F(Number, least, "") F(Size, n_terms, "") F(Size, k, "") F(Size, batch, "")
OPERATION(BinaryUpdate, "binary_update", BINARY_UPDATE)

/* The same for densities of any states; scale * counts are sums, and only those of the states that
 * x has are touched. Probabilities follow in `state_logs`. */
#define STATE_UPDATE(F)                                                                            \
    F(DoubleIn, x, "columns batch")                                                                \
    F(In, flows, "regions k batch")                                                                \
    F(Index, terms, "n_terms 4")                                                                   \
    F(DoubleInOut, counts, "n_states k")                                                           \
    F(DoubleInOut, mass, "n_terms k")                                                              \
    F(DoubleInOut, scale, "1")                                                                     \
    F(Number, keep, "")                                                                            \
    F(Number, add, "") F(Size, n_terms, "") F(Size, n_states, "") F(Size, k, "") F(Size, batch, "")
OPERATION(StateUpdate, "state_update", STATE_UPDATE)

/* Log-probabilities of the cells that x has numbers of, less those of the whole column, for
 * `leaf_values`, and the expected value and square of a normal variable in them. Terms are as of
 * `state_logs`, factors as of `leaf_values`; ends are those of all cells. */
#define CELL_VALUES(F)                                                                             \
    F(DoubleIn, x, "columns batch")                                                                \
    F(Index, terms, "n_terms 4")                                                                   \
    F(DoubleIn, factors, "n_terms 3 k")                                                            \
    F(DoubleIn, ends, "all_cells 2")                                                               \
    F(DoubleIn, reference, "all_cells")                                                            \
    F(Out, logs, "all_cells k")                                                                    \
    F(DoubleOut, moments, "all_cells 2 k")                                                         \
    F(Size, n_terms, "") F(Size, k, "") F(Size, batch, "")
OPERATION(CellValues, "cell_values", CELL_VALUES)

/* As `normal_update`, of densities of which cells are known: sums are of the moments in these. */
#define CELL_UPDATE(F)                                                                             \
    F(DoubleIn, x, "columns batch")                                                                \
    F(In, flows, "regions k batch")                                                                \
    F(Index, terms, "n_terms 4")                                                                   \
    F(DoubleIn, moments, "all_cells 2 k")                                                          \
    F(DoubleIn, priors, "n_terms 4")                                                               \
    F(DoubleInOut, sums, "n_terms 3 k")                                                            \
    F(DoubleInOut, factors, "n_terms 3 k")                                                         \
    F(Number, keep, "")                                                                            \
    F(Number, add, "")                                                                             \
    F(Number, prior, "") F(Size, n_terms, "") F(Size, k, "") F(Size, batch, "")
OPERATION(CellUpdate, "cell_update", CELL_UPDATE)

#undef MEMBER
#undef DESCRIPTION
#undef OPERATION

template <template <class> class... Operation> struct List {
    static constexpr int count = sizeof...(Operation);
};

/* All of them; the position is the first number of a recorded instruction. */
using Operations =
    List<Scale, Einsum, EinsumGradients, LogMixture, LogMixtureGradients, Mix, MixGradients,
         Gathered, GatheredGradients, Clear, AddRows, EMUpdate, ReadNormal, MaximizeNormal,
         NaturalNormal, JointLogDensities, JointStatistics, MixtureSteps, ReadCells, LeafValues,
         StateLogs, RootFlows, NormalUpdate, BinaryUpdate, StateUpdate, CellValues, CellUpdate,
         MixtureUpdate>;

} // namespace sklearn_einet
