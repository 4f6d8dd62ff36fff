/* Threads that share the jobs of a loop. */
#pragma once

namespace sklearn_einet {

/* What a member of a team does: claim jobs until there are none. */
using Task = void (*)(const void *context, int member);

/* More threads than this gain nothing for one loop. */
constexpr int most_members = 64;

/* How many threads may share a task, and whether it is worth waking those that sleep. */
struct Team {
    int members;
    bool wakes;
};

/* task(context, 0) in this thread and, as far as others are free in time, task(context, 1), ... in
 * them. Threads that have not begun when this one is done are not waited for, as the processor may
 * be busy with something else: the task must get all done whoever comes. */
void share(Team team, Task task, const void *context);

} // namespace sklearn_einet
