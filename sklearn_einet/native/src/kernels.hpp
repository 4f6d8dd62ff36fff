/* What the rest sees of the kernels, which are compiled once for every instruction set. */
#pragma once

#include "operations.hpp"

namespace sklearn_einet
{

/* Runs one operation, given its fields, on so many threads at most. */
using Kernel = void (*)(const int64_t *fields, int threads);

/* For an instruction set, the kernels of all operations in single and in double precision. */
struct Kernels {
    Kernel of[2][Operations::count];
};

/* Scratch memory of some threads; throws std::bad_alloc. */
class Memory
{
  public:
    Memory(int threads, int64_t bytes_each);
    ~Memory();
    Memory(const Memory &) = delete;
    Memory &operator=(const Memory &) = delete;
    void *start;
};

/* Throws std::invalid_argument. */
[[noreturn]] void refuse(const char *message);

} // namespace sklearn_einet
