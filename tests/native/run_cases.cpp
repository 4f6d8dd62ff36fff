/* Runs the cases of a file, which `on_arm.py` writes, by the kernels alone, without Python.
 *
 * Of each case the file has the operation, whether it is in double precision, its fields by name
 * (0 and eight bytes, or 1 and an array), and what arrays must hold afterwards, in double
 * precision. Numbers of bytes and of things come before them.
 */

#include <cmath>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "instructions.hpp"

using namespace sklearn_einet;

namespace {

constexpr double tolerance = 100;

FILE *file;

void read(void *to, size_t bytes) {
    if (fread(to, 1, bytes, file) != bytes)
        throw std::runtime_error("the file ends early");
}

int64_t read_number() {
    int64_t number;
    read(&number, sizeof number);
    return number;
}

std::string read_word() {
    std::string word(read_number(), ' ');
    read(&word[0], word.size());
    return word;
}

int find_operation(const std::string &name) {
    for (int i = 0; i < Operations::count; i++)
        if (name == description(i).name)
            return i;
    throw std::runtime_error("there is no operation " + name);
}

int find_field(const Description &of, const std::string &name) {
    for (int i = 0; i < of.n_fields; i++)
        if (name == of.fields[i].name)
            return i;
    throw std::runtime_error(std::string(of.name) + " has no field " + name);
}

struct Case {
    int operation;
    int is_double;
    int64_t fields[instruction_length] = {};
    std::vector<std::string> arrays;

    Case() : operation(find_operation(read_word())), is_double((int)read_number()) {
        const Description &of = description(operation);
        arrays.resize(of.n_fields);
        for (int64_t n = read_number(); n > 0; n--) {
            const int i = find_field(of, read_word());
            if (read_number()) {
                arrays[i] = read_word();
                fields[i] = (int64_t)(intptr_t)arrays[i].data();
            } else
                fields[i] = read_number();
        }
    }

    double number(int field, size_t i) const {
        const Kind kind = description(operation).fields[field].kind;
        const bool wide = is_double || kind == Kind::DoubleOut || kind == Kind::DoubleInOut;
        const char *start = arrays[field].data();
        return wide ? reinterpret_cast<const double *>(start)[i]
                    : reinterpret_cast<const float *>(start)[i];
    }

    /* Whether an array holds what it must, up to rounding relative to its largest number. */
    bool holds(int field, const std::vector<double> &expected) const {
        double error = 0, largest = 1e-30;
        for (size_t i = 0; i < expected.size(); i++) {
            const double found = number(field, i);
            if (!std::isfinite(expected[i]) && found != expected[i])
                return false;
            if (!std::isfinite(expected[i]))
                continue;
            if (!std::isfinite(found))
                return false;
            error = std::fmax(error, std::fabs(found - expected[i]));
            largest = std::fmax(largest, std::fabs(expected[i]));
        }
        return error <= tolerance * (is_double ? 2.220446049250313e-16 : 1.1920929e-7) * largest;
    }
};

/* Run a case; returns how many arrays are not what they must be. */
int run_case(const InstructionSet &set, int threads) {
    Case own;
    const Description &of = description(own.operation);
    check(own.operation, own.fields);
    set.kernels->of[own.is_double][own.operation](own.fields, threads);
    int failures = 0;
    for (int64_t n = read_number(); n > 0; n--) {
        const int field = find_field(of, read_word());
        std::vector<double> expected(read_number());
        read(expected.data(), expected.size() * sizeof(double));
        if (!own.holds(field, expected)) {
            printf("%s: %s is wrong in %s precision\n", of.name, of.fields[field].name,
                   own.is_double ? "double" : "single");
            failures++;
        }
    }
    return failures;
}

} // namespace

int main(int, char **arguments) {
    int failures = 0;
    for (int i = 0; i < n_instruction_sets; i++) {
        const InstructionSet &set = instruction_sets()[i];
        if (!set.supported)
            continue;
        file = fopen(arguments[1], "rb");
        const int64_t n = file ? read_number() : 0;
        for (int64_t own = 0; own < n; own++)
            failures += run_case(set, own % 2 ? 3 : 1);
        printf("%s: %ld cases\n", set.name, (long)n);
        failures += n == 0;
    }
    printf(failures ? "%d arrays are wrong\n" : "all arrays are right\n", failures);
    return failures != 0;
}
