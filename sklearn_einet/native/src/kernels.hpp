/* What the rest sees of the kernels, which are compiled once for every instruction set. */
#pragma once

#include "operations.hpp"

namespace sklearn_einet {

/* Runs one operation, given its fields, on so many threads at most. */
using Kernel = void (*)(const int64_t *fields, int threads);

/* For an instruction set, the kernels of all operations in single and in double precision. */
struct Kernels {
    Kernel of[2][Operations::count];
};

/* Scratch memory for some threads; the constructor throws std::bad_alloc. */
class Memory {
  public:
    Memory(int threads, int64_t bytes_each);
    ~Memory();
    Memory(const Memory &) = delete;
    Memory &operator=(const Memory &) = delete;

    /* The memory of a thread, for which this must be called only once: as nothing else points to
     * it, what is written there need not be read again after writing anywhere else. */
    __attribute__((malloc, assume_aligned(64))) void *of_thread(int thread) const;

  private:
    int64_t each;
    void *start;
};

/* Throws std::invalid_argument. */
[[noreturn]] void refuse(const char *message);

} // namespace sklearn_einet
