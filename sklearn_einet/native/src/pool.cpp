/* The threads of the process.
 *
 * A task is offered through a door. Threads count themselves in; the one that offers shuts the door
 * when there are no jobs left, and waits for those inside only. Idle threads look out for the next
 * task for a while that is short beside what they have worked, and then sleep.
 */

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#if !defined(_WIN32)
#include <csignal>
#include <pthread.h>
#endif
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "pool.hpp"

namespace sklearn_einet {
namespace {

using Clock = std::chrono::steady_clock;

/* How long to look out, at most: what waking a thread takes. */
constexpr std::chrono::microseconds longest_look_out{100};
/* The share of the time worked that a thread may look out. */
constexpr double look_out_share = 0.2;

inline void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Whether something holds within some time. */
template <class Condition> bool look_out(Clock::duration time, const Condition &holds) {
    const Clock::time_point end = Clock::now() + time;
    do {
        for (int i = 0; i < 16; i++) {
            if (holds())
                return true;
            pause();
        }
    } while (Clock::now() < end);
    return holds();
}

/* Signals are for the threads of the program while this lives, as threads that are started inherit
 * what is blocked. */
class BlockSignals {
#if !defined(_WIN32)
  public:
    BlockSignals() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
    }
    ~BlockSignals() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }

  private:
    sigset_t before;
#endif
};

class Pool {
  public:
    /* As of `share`; alone, if the threads are shared with another one of the program. */
    void run(Team team, Task task, const void *context) {
        if ((!team.wakes && n_asleep.load() >= n_enrolled.load()) || in_use.exchange(true))
            return task(context, 0);
        if (team.wakes)
            enroll(team.members - 1);
        offered = task;
        of_task = context;
        wanted = team.members;
        door.fetch_and(~shut);
        number.fetch_add(1);
        if (team.wakes)
            wake();
        task(context, 0);
        door.fetch_or(shut);
        wait_for_those_inside();
        in_use.store(false);
    }

  private:
    static constexpr unsigned shut = 1u << 31;

    void enroll(int others) {
        for (; n_enrolled < others; n_enrolled++) {
            try {
                const BlockSignals blocked;
                const int member = n_enrolled.load() + 1;
                std::thread([this, member, before = number.load()] {
                    work(member, before);
                }).detach();
            } catch (const std::system_error &) {
                return;
            }
        }
    }

    void wake() {
        if (!n_asleep.load())
            return;
        /* Who is about to sleep holds this until it does. */
        {
            const std::lock_guard<std::mutex> lock(bedroom);
        }
        alarm.notify_all();
    }

    void wait_for_those_inside() {
        const auto empty = [this] { return door.load() == shut; };
        if (look_out(longest_look_out, empty))
            return;
        std::unique_lock<std::mutex> lock(hall);
        is_waiting.store(true);
        left.wait(lock, empty);
        is_waiting.store(false);
    }

    /* The life of a thread, with its number in all tasks, which knows those up to a number. */
    [[noreturn]] void work(int member, unsigned known) {
        Clock::duration may_look_out{};
        for (;;) {
            const auto is_new = [&] { return number.load() != known; };
            const Clock::time_point free = Clock::now();
            const bool seen = is_new() || look_out(may_look_out, is_new);
            may_look_out -= Clock::now() - free;
            if (!seen)
                sleep(is_new);
            const Clock::time_point begun = Clock::now();
            known = take_part(member, known);
            may_look_out += std::chrono::duration_cast<Clock::duration>((Clock::now() - begun) *
                                                                        look_out_share);
            if (may_look_out > longest_look_out)
                may_look_out = longest_look_out;
            if (may_look_out < Clock::duration{})
                may_look_out = {};
        }
    }

    template <class Condition> void sleep(const Condition &is_new) {
        std::unique_lock<std::mutex> lock(bedroom);
        n_asleep.fetch_add(1);
        alarm.wait(lock, is_new);
        n_asleep.fetch_sub(1);
    }

    /* Take part in the task that is offered, unless it is over; returns its number. */
    unsigned take_part(int member, unsigned known) {
        unsigned latest = number.load();
        if (!(door.fetch_add(1) & shut)) {
            /* Until this leaves, there is no other task. */
            latest = number.load();
            if (latest != known && member < wanted)
                offered(of_task, member);
        }
        if (door.fetch_sub(1) == (shut | 1) && is_waiting.load()) {
            {
                const std::lock_guard<std::mutex> lock(hall);
            }
            left.notify_one();
        }
        return latest;
    }

    std::atomic<bool> in_use{false};
    /* How many are inside, and whether it is shut. */
    std::atomic<unsigned> door{shut};
    /* The number of the task, and the task: these change only while nobody is inside. */
    std::atomic<unsigned> number{0};
    Task offered = nullptr;
    const void *of_task = nullptr;
    int wanted = 0;

    std::atomic<int> n_enrolled{0};
    std::atomic<int> n_asleep{0};
    std::mutex bedroom;
    std::condition_variable alarm;

    std::atomic<bool> is_waiting{false};
    std::mutex hall;
    std::condition_variable left;
};

/* Never destroyed, as its threads live as long as the process. */
std::atomic<Pool *> pool_of_process{nullptr};

/* A forked process has none of the threads. */
[[maybe_unused]] void start_anew() {
    pool_of_process.store(new Pool);
}

Pool &the_pool() {
    static const bool once = [] {
        pool_of_process.store(new Pool);
#if !defined(_WIN32)
        pthread_atfork(nullptr, nullptr, start_anew);
#endif
        return true;
    }();
    (void)once;
    return *pool_of_process.load();
}

} // namespace

void share(Team team, Task task, const void *context) {
    if (team.members < 2)
        return task(context, 0);
    the_pool().run(team, task, context);
}

} // namespace sklearn_einet
