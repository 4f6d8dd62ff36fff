/* Loops over independent jobs: threads, their scratch memory and their treatment of subnormal
 * numbers, all of which are given back at the end whatever happens. */
#pragma once

#include <atomic>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "kernels.hpp"
#include "pool.hpp"
#include "vectors.hpp"

namespace sklearn_einet::INSTRUCTION_SET {
namespace {

/* What else there is to do, in multiplications of products that take as long: an exponential or
 * logarithm; reading a number, some arithmetic with it, and writing it. */
constexpr double exponential = 30, access = 15;

/* Work, in multiplications, from which sharing it with another thread gains at least a third if
 * that is awake, and if it has to be woken: ten microseconds and some two hundred with the widest
 * vectors. */
constexpr double worth_sharing = 7e5, worth_waking = 1.2e7;

ALWAYS_INLINE inline Team team(int threads, double work) {
    const int members = threads < most_members ? threads : most_members;
    return {work < worth_sharing ? 1 : members, work >= worth_waking};
}

/* While this lives, subnormal numbers are 0 in this thread: processors compute a hundred times more
 * slowly with them. */
class FlushSubnormals {
  public:
#if defined(__x86_64__)
    FlushSubnormals() : before(_mm_getcsr()) { _mm_setcsr(before | 0x8040); }
    ~FlushSubnormals() { _mm_setcsr(before); }

  private:
    unsigned before;
#elif defined(__aarch64__)
    FlushSubnormals() {
        __asm__ volatile("mrs %0, fpcr" : "=r"(before) : : "memory");
        __asm__ volatile("msr fpcr, %0" : : "r"(before | uint64_t(1) << 24) : "memory");
    }
    ~FlushSubnormals() { __asm__ volatile("msr fpcr, %0" : : "r"(before) : "memory"); }

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

/* How many jobs a thread claims at once: a share of all, or `chunk`. */
struct Static {
    long claim(long n_jobs, int threads) const {
        return (n_jobs + 4L * threads - 1) / (4L * threads);
    }
};
struct Dynamic {
    long chunk;
    long claim(long, int) const { return chunk; }
};

/* The jobs of a loop, in chunks. Every member of a team has a share of them in a row, the same one
 * in loops of equal length, as what it has written before is in its cache; and then claims what is
 * left of the others' shares. */
class Claims {
  public:
    Claims(long n_jobs, long chunk, int members)
        : n_jobs(n_jobs), chunk(chunk), n_chunks((n_jobs + chunk - 1) / chunk), members(members) {
        for (int share = 0; share < members; share++)
            next[share].store(start(share), std::memory_order_relaxed);
    }

    /* body(job) for all jobs that a member gets. */
    template <class Body> ALWAYS_INLINE void run(int member, const Body &body) {
        for (int i = 0; i < members; i++) {
            const int share = member + i < members ? member + i : member + i - members;
            const long last = start(share + 1);
            for (;;) {
                const long claimed = next[share].fetch_add(1, std::memory_order_relaxed);
                if (claimed >= last)
                    break;
                const long first = claimed * chunk;
                const long end = n_jobs - first < chunk ? n_jobs : first + chunk;
                for (long job = first; job < end; job++)
                    body(job);
            }
        }
    }

  private:
    ALWAYS_INLINE long start(int share) const { return n_chunks * share / members; }

    const long n_jobs, chunk, n_chunks;
    const int members;
    std::atomic<long> next[most_members];
};

/* body(job, memory) for every job. Throws where the scratch memory cannot be had, before the first.
 */
template <class Subnormals = FlushSubnormals, class Real, class Schedule, class Body>
void for_jobs(long n_jobs, Team team, Schedule schedule, const Scratch<Real> &scratch,
              const Body &body) {
    if (!n_jobs)
        return;
    const long chunk = team.members == 1 ? n_jobs : schedule.claim(n_jobs, team.members);
    const long n_chunks = (n_jobs + chunk - 1) / chunk;
    if (n_chunks < team.members)
        team.members = (int)n_chunks;
    const Memory memory(team.members, scratch.bytes());
    Claims claims(n_jobs, chunk, team.members);
    const auto take_part = [&](int member) {
        const Subnormals mode;
        const Body own = body; /* a copy, which the compiler knows nobody else to write to */
        Real *mine = static_cast<Real *>(memory.of_thread(member));
        claims.run(member, [&](long job) ALWAYS_INLINE { own(job, mine); });
    };
    using Part = decltype(take_part);
    share(
        team, [](const void *part, int member) { (*static_cast<const Part *>(part))(member); },
        &take_part);
}

} // namespace
} // namespace sklearn_einet::INSTRUCTION_SET
