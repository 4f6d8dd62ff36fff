/* What does not depend on the instruction set, nor on Python. */

#include "instructions.hpp"

#include <array>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>

namespace sklearn_einet {

#if defined(__x86_64__)
namespace avx512 {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
#endif
namespace generic {
extern const Kernels kernels;
}

const InstructionSet *instruction_sets() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    static const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    static const bool has_avx512 =
        has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
    static const InstructionSet sets[n_instruction_sets] = {
        {"avx512", &avx512::kernels, has_avx512},
        {"avx2", &avx2::kernels, has_avx2},
        {"generic", &generic::kernels, true}};
#else
    static const InstructionSet sets[n_instruction_sets] = {
        {"avx512", nullptr, false}, {"avx2", nullptr, false}, {"generic", &generic::kernels, true}};
#endif
    return sets;
}

namespace {

template <class Operation> constexpr Description describe() {
    constexpr int n = sizeof(Operation::fields) / sizeof(Field);
    static_assert(sizeof(Operation) == n * sizeof(int64_t), "all fields are eight bytes wide");
    static_assert(n < instruction_length, "an instruction has room for the operation's fields");
    return {Operation::name, Operation::fields, n};
}

/* Products of sizes up to here do not overflow, whatever the kernels multiply them with. */
constexpr int64_t largest_work = int64_t(1) << 48;
/* Scratch memory of a thread that no machine has; products with numbers of threads do not overflow.
 */
constexpr int64_t most_bytes = int64_t(1) << 46;
constexpr int64_t line = 64;

/* The value of a word of a shape, or -1 if it is free. */
int64_t dimension(std::string_view word, const Description &of, const int64_t *values) {
    if (word[0] >= '0' && word[0] <= '9')
        return word[0] - '0';
    for (int i = 0; i < of.n_fields; i++)
        if (of.fields[i].kind == Kind::Size && word == of.fields[i].name)
            return values[i];
    return -1;
}

/* Whether an array of a shape has no numbers. One of which a dimension is free has none where there
 * is nothing to do, by the first size. */
bool is_empty(std::string_view shape, const Description &of, const int64_t *values) {
    int first_size = 0;
    while (of.fields[first_size].kind != Kind::Size)
        first_size++;
    while (!shape.empty()) {
        size_t end = shape.find(' ');
        int64_t n = dimension(shape.substr(0, end), of, values);
        if ((n < 0 ? values[first_size] : n) == 0)
            return true;
        shape.remove_prefix(end == shape.npos ? shape.size() : end + 1);
    }
    return false;
}

bool may_be_null(Kind kind) {
    return kind == Kind::OptionalIn || kind == Kind::OptionalOut || kind == Kind::OptionalIndex;
}

template <template <class> class... Operation>
constexpr std::array<Description, Operations::count> describe_all(List<Operation...>) {
    return {describe<Operation<double>>()...};
}

constexpr std::array<Description, Operations::count> descriptions = describe_all(Operations{});

[[noreturn]] void refuse_field(const Description &of, const Field &field, const char *why) {
    throw std::invalid_argument(std::string(of.name) + ": " + field.name + why);
}

} // namespace

bool is_pointer(Kind kind) {
    return kind != Kind::Size && kind != Kind::Flag && kind != Kind::Number;
}

void check(int operation, const int64_t *fields) {
    const Description &of = descriptions[operation];
    int64_t work = 1;
    for (int i = 0; i < of.n_fields; i++) {
        if (of.fields[i].kind != Kind::Size)
            continue;
        if (fields[i] < 0)
            refuse_field(of, of.fields[i], " is negative");
        if (fields[i] > 0 && work > largest_work / fields[i])
            refuse_field(of, of.fields[i], " is too large");
        work *= fields[i] ? fields[i] : 1;
    }
    for (int i = 0; i < of.n_fields; i++)
        if (!fields[i] && is_pointer(of.fields[i].kind) && !may_be_null(of.fields[i].kind) &&
            !is_empty(of.fields[i].shape, of, fields))
            refuse_field(of, of.fields[i], " is null");
}

const Description &description(int operation) {
    return descriptions[operation];
}

Memory::Memory(int threads, int64_t bytes_each) : each((bytes_each + line - 1) / line * line) {
    if (each > most_bytes)
        throw std::bad_alloc();
    start = each ? ::operator new(threads *each, std::align_val_t(line)) : nullptr;
}

void *Memory::of_thread(int thread) const {
    return static_cast<char *>(start) + thread * each;
}

Memory::~Memory() {
    ::operator delete(start, std::align_val_t(line));
}

void refuse(const char *message) {
    throw std::invalid_argument(message);
}

} // namespace sklearn_einet
