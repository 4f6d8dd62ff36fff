/* All kernels for one instruction set, whose name is the macro INSTRUCTION_SET. */

#include "cells.hpp"
#include "einsum.hpp"
#include "gathered.hpp"
#include "joint_statistics.hpp"
#include "leaves.hpp"
#include "mixing.hpp"
#include "mixture_steps.hpp"
#include "normal.hpp"
#include "rows.hpp"
#include "unfused.hpp"

namespace sklearn_einet::INSTRUCTION_SET {
namespace {

template <class Real> void run(const MaximizeNormal<Real> &op, int threads) {
    maximize_normal(op, threads);
}

template <class Real> void run(const NaturalNormal<Real> &op, int threads) {
    natural_normal(op, threads);
}

template <class Operation> void execute(const int64_t *fields, int threads) {
    Operation operation;
    memcpy(&operation, fields, sizeof operation);
    run(operation, threads);
}

template <template <class> class... Operation> constexpr Kernels table(List<Operation...>) {
    return {{{execute<Operation<float>>...}, {execute<Operation<double>>...}}};
}

} // namespace

extern const Kernels kernels;
const Kernels kernels = table(Operations{});

} // namespace sklearn_einet::INSTRUCTION_SET
