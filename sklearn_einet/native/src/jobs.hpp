/* Loops over independent jobs: threads, their scratch memory and their treatment of subnormal
 * numbers, all of which are given back at the end whatever happens. */
#pragma once

#include <type_traits>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "kernels.hpp"
#include "vectors.hpp"

namespace sklearn_einet::INSTRUCTION_SET {
namespace {

/* Work, in multiplications, below which waking other threads takes longer than it saves. */
constexpr double little_work = 32768;

ALWAYS_INLINE inline int team(int threads, double work) {
    return work < little_work ? 1 : threads;
}

ALWAYS_INLINE inline int thread_number() {
#if defined(_OPENMP)
    return omp_get_thread_num();
#else
    return 0;
#endif
}

/* While this lives, subnormal numbers are 0 in this thread: processors compute a hundred times more
 * slowly with them. */
class FlushSubnormals {
  public:
#if defined(__x86_64__)
    FlushSubnormals() : before(_mm_getcsr()) {
        _mm_setcsr(before | 0x8040);
    }
    ~FlushSubnormals() {
        _mm_setcsr(before);
    }

  private:
    unsigned before;
#elif defined(__aarch64__)
    FlushSubnormals() {
        __asm__ volatile("mrs %0, fpcr" : "=r"(before) : : "memory");
        __asm__ volatile("msr fpcr, %0" : : "r"(before | uint64_t(1) << 24) : "memory");
    }
    ~FlushSubnormals() {
        __asm__ volatile("msr fpcr, %0" : : "r"(before) : "memory");
    }

  private:
    uint64_t before;
#else
    FlushSubnormals() {}
#endif
};

struct KeepSubnormals {
    KeepSubnormals() {}
};

/* The layout of a thread's scratch memory: where in it each array begins. */
template <class Real> class Scratch {
  public:
    long numbers(long count) {
        long start = size;
        size += count;
        return start;
    }
    /* An array of rows as long as a strip. */
    long strips(long rows) { return numbers(rows * 2 * lanes<Real>); }
    long bytes() const { return size * (long)sizeof(Real); }

  private:
    long size = 0;
};

/* How threads share the jobs: equally, or each takes the next `chunk` when it has done its last. */
struct Static {};
struct Dynamic {
    long chunk;
};

/* body(job, memory) for every job. Throws where the scratch memory cannot be had, before the first.
 */
template <class Subnormals = FlushSubnormals, class Real, class Schedule, class Body>
void for_jobs(long n_jobs, int threads, Schedule schedule, const Scratch<Real> &scratch,
              const Body &body) {
    const Memory memory(threads, scratch.bytes());
#pragma omp parallel num_threads(threads)
    {
        const Subnormals mode;
        const Body own = body; /* a copy, which the compiler knows nobody else to write to */
        Real *mine = static_cast<Real *>(memory.of_thread(thread_number()));
        if constexpr (std::is_same_v<Schedule, Static>) {
#pragma omp for schedule(static)
            for (long job = 0; job < n_jobs; job++)
                own(job, mine);
        } else {
#pragma omp for schedule(dynamic, schedule.chunk)
            for (long job = 0; job < n_jobs; job++)
                own(job, mine);
        }
    }
}

} // namespace
} // namespace sklearn_einet::INSTRUCTION_SET
