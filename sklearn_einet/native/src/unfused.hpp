/* Kernels of `unfused.cpp`. */
#pragma once

#include "operations.hpp"

namespace sklearn_einet::INSTRUCTION_SET {

template <class Real> void maximize_normal(const MaximizeNormal<Real> &op, int threads);
template <class Real> void natural_normal(const NaturalNormal<Real> &op, int threads);

} // namespace sklearn_einet::INSTRUCTION_SET
