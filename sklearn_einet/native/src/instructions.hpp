/* Recorded instructions, and what must hold of them before they are run. */
#pragma once

#include "kernels.hpp"

namespace sklearn_einet {

/* An operation as its callers see it. */
struct Description {
    const char *name;
    const Field *fields;
    int n_fields;
};

const Description &description(int operation);

/* Numbers of a recorded instruction: the operation, its fields, and zeros. */
constexpr int instruction_length = 20;

/* The kernels for an instruction set that this processor has. */
struct InstructionSet {
    const char *name;
    const Kernels *kernels;
    bool supported;
};

constexpr int n_instruction_sets = 3;

/* From the fastest to the one that every processor has. */
const InstructionSet *instruction_sets();

bool is_pointer(Kind kind);

/* Throws std::invalid_argument unless the sizes are possible and all arrays are there. */
void check(int operation, const int64_t *fields);

} // namespace sklearn_einet
