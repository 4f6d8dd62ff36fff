/* The operations as functions of Python, see `_native.pyi`.
 *
 * They take addresses of contiguous tensors; what can be known of those here is checked, and
 * `native/calls.py` checks the tensors. They release the interpreter's lock, and use threads of
 * their own, see `pool.cpp`.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include <array>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "instructions.hpp"

namespace sklearn_einet {
namespace {

const InstructionSet *in_use;

constexpr int most_threads = 4096;

/* What all operations take first. */
struct Setting {
    int is_double;
    int threads;
};

/* Without the interpreter's lock while this lives. */
class Unlocked {
  public:
    Unlocked() : state(PyEval_SaveThread()) {}
    ~Unlocked() { PyEval_RestoreThread(state); }

  private:
    PyThreadState *state;
};

/* function(), with what it throws as an error of Python. */
template <class Function> PyObject *guarded(const Function &function) {
    try {
        function();
    } catch (const std::bad_alloc &) {
        return PyErr_NoMemory();
    } catch (const std::invalid_argument &error) {
        PyErr_SetString(PyExc_ValueError, error.what());
        return nullptr;
    }
    Py_RETURN_NONE;
}

bool parse(PyObject *is_double, PyObject *threads, Setting *setting) {
    setting->is_double = PyObject_IsTrue(is_double);
    const long n = PyLong_AsLong(threads);
    if (PyErr_Occurred())
        return false;
    if (n < 1 || n > most_threads) {
        PyErr_Format(PyExc_ValueError, "threads must be 1 to %d, not %ld", most_threads, n);
        return false;
    }
    setting->threads = (int)n;
    return true;
}

/* The eight bytes of a field. */
int64_t parse_field(PyObject *value, Kind kind) {
    if (kind == Kind::Number) {
        const double number = PyFloat_AsDouble(value);
        int64_t bits;
        memcpy(&bits, &number, sizeof bits);
        return bits;
    }
    if (kind == Kind::Flag)
        return PyObject_IsTrue(value);
    if (kind == Kind::Size)
        return PyLong_AsLongLong(value);
    return (int64_t)(intptr_t)PyLong_AsVoidPtr(value);
}

PyObject *refuse_count(const Description &of, Py_ssize_t given) {
    std::string names = "is_double, threads";
    for (int i = 0; i < of.n_fields; i++)
        names = names + ", " + of.fields[i].name;
    return PyErr_Format(PyExc_TypeError, "%s takes %d arguments (%s), not %zd", of.name,
                        2 + of.n_fields, names.c_str(), given);
}

/* Call an operation with its fields one by one. */
template <int operation> PyObject *call(PyObject *, PyObject *arguments) {
    const Description &of = description(operation);
    if (PyTuple_Size(arguments) != 2 + of.n_fields)
        return refuse_count(of, PyTuple_Size(arguments));
    Setting setting;
    if (!parse(PyTuple_GetItem(arguments, 0), PyTuple_GetItem(arguments, 1), &setting))
        return nullptr;
    int64_t fields[instruction_length];
    for (int i = 0; i < of.n_fields; i++) {
        fields[i] = parse_field(PyTuple_GetItem(arguments, 2 + i), of.fields[i].kind);
        if (PyErr_Occurred())
            return nullptr;
    }
    const Kernel kernel = in_use->kernels->of[setting.is_double][operation];
    return guarded([&] {
        check(operation, fields);
        const Unlocked unlocked;
        kernel(fields, setting.threads);
    });
}

/* Recorded instructions, one after the other. */
struct Instructions {
    int64_t *first;
    int64_t n;

    int64_t *end() const { return first + n * instruction_length; }
};

/* What must hold of all instructions before any is run. */
void check_all(Instructions program) {
    for (const int64_t *each = program.first; each < program.end(); each += instruction_length) {
        if (each[0] < 0 || each[0] >= Operations::count)
            throw std::invalid_argument("a program has an unknown operation");
        check((int)each[0], each + 1);
    }
}

void run_all(Instructions program, const Kernel *kernels, int threads) {
    for (const int64_t *each = program.first; each < program.end(); each += instruction_length)
        kernels[each[0]](each + 1, threads);
}

/* A contiguous array of int64 that belongs to Python; not taken if there is an error. */
class Numbers {
  public:
    Numbers(PyObject *array, bool writable) {
        taken = !PyObject_GetBuffer(array, &view, writable ? PyBUF_CONTIG : PyBUF_CONTIG_RO);
        if (taken && view.itemsize != sizeof(int64_t))
            PyErr_SetString(PyExc_ValueError, "an array of int64 is needed");
    }
    ~Numbers() {
        if (taken)
            PyBuffer_Release(&view);
    }
    Numbers(const Numbers &) = delete;
    Numbers &operator=(const Numbers &) = delete;

    int64_t *first() const { return static_cast<int64_t *>(view.buf); }
    int64_t size() const { return view.len / (int64_t)sizeof(int64_t); }

  private:
    Py_buffer view;
    bool taken;
};

/* Run a program, a contiguous array of int64 with one instruction after the other. */
PyObject *run(PyObject *, PyObject *arguments) {
    PyObject *is_double, *threads, *program;
    Setting setting;
    if (!PyArg_ParseTuple(arguments, "OOO:run", &is_double, &threads, &program) ||
        !parse(is_double, threads, &setting))
        return nullptr;
    const Numbers numbers(program, false);
    if (PyErr_Occurred())
        return nullptr;
    if (numbers.size() % instruction_length)
        return PyErr_Format(PyExc_ValueError,
                            "a program is an array of int64, %d for each instruction",
                            instruction_length);
    const Kernel *kernels = in_use->kernels->of[setting.is_double];
    return guarded([&] {
        const Unlocked unlocked;
        const Instructions all{numbers.first(), numbers.size() / instruction_length};
        check_all(all);
        run_all(all, kernels, setting.threads);
    });
}

/* Steps of programs of one length; `places` are numbers in it that have others at every step. */
struct Steps {
    int64_t *programs;
    int64_t n_programs, length;
    const int64_t *which, *places, *values;
    int64_t n_steps, n_places;

    /* The program of a step, with its numbers. */
    Instructions at(int64_t step) const {
        int64_t *const program = programs + which[step] * length;
        for (int64_t i = 0; i < n_places; i++)
            program[places[i]] = values[step * n_places + i];
        return {program, length / instruction_length};
    }
};

void check_steps(const Steps &steps) {
    if (steps.length % instruction_length)
        throw std::invalid_argument("a program has whole instructions");
    for (int64_t i = 0; i < steps.n_places; i++)
        if (steps.places[i] < 0 || steps.places[i] >= steps.length ||
            steps.places[i] % instruction_length == 0)
            throw std::invalid_argument("a place is outside of the programs");
    for (int64_t step = 0; step < steps.n_steps; step++) {
        if (steps.which[step] < 0 || steps.which[step] >= steps.n_programs)
            throw std::invalid_argument("a step has an unknown program");
        check_all(steps.at(step));
    }
}

/* Run steps: programs of the same length in one array, and for every step the number of its
 * program, and numbers to be put in some places of that. */
PyObject *run_steps(PyObject *, PyObject *arguments) {
    PyObject *is_double, *threads, *programs, *which, *places, *values;
    long long n_programs;
    Setting setting;
    if (!PyArg_ParseTuple(arguments, "OOOLOOO:run_steps", &is_double, &threads, &programs,
                          &n_programs, &which, &places, &values) ||
        !parse(is_double, threads, &setting))
        return nullptr;
    const Numbers all(programs, true), of_step(which, false), at(places, false),
        given(values, false);
    if (PyErr_Occurred())
        return nullptr;
    if (n_programs < 1 || all.size() % n_programs || given.size() != of_step.size() * at.size())
        return PyErr_Format(PyExc_ValueError, "arrays of steps have other sizes");
    const Steps steps{all.first(), n_programs,    all.size() / n_programs, of_step.first(),
                      at.first(),  given.first(), of_step.size(),          at.size()};
    const Kernel *kernels = in_use->kernels->of[setting.is_double];
    return guarded([&] {
        const Unlocked unlocked;
        check_steps(steps);
        for (int64_t step = 0; step < steps.n_steps; step++)
            run_all(steps.at(step), kernels, setting.threads);
    });
}

PyObject *instruction_set(PyObject *, PyObject *) {
    return PyUnicode_FromString(in_use->name);
}

PyObject *use(PyObject *, PyObject *argument) {
    PyObject *bytes = PyUnicode_AsUTF8String(argument);
    if (!bytes)
        return nullptr;
    const std::string name = PyBytes_AsString(bytes);
    Py_DECREF(bytes);
    for (int i = 0; i < n_instruction_sets; i++) {
        const InstructionSet &each = instruction_sets()[i];
        if (each.supported && name == each.name) {
            in_use = &each;
            Py_RETURN_NONE;
        }
    }
    return PyErr_Format(PyExc_ValueError, "this processor cannot run %R", argument);
}

constexpr int n_methods = Operations::count + 5;

template <size_t... operation>
std::array<PyMethodDef, n_methods> list_methods(std::index_sequence<operation...>) {
    return {{{description(operation).name, call<operation>, METH_VARARGS, nullptr}...,
             {"run", run, METH_VARARGS, nullptr},
             {"run_steps", run_steps, METH_VARARGS, nullptr},
             {"instruction_set", instruction_set, METH_NOARGS, nullptr},
             {"use", use, METH_O, nullptr},
             {nullptr, nullptr, 0, nullptr}}};
}

/* Add an object to a module and forget it. */
bool add(PyObject *module, const char *name, PyObject *object) {
    const bool added = object && PyModule_AddObjectRef(module, name, object) == 0;
    Py_XDECREF(object);
    return added;
}

/* ((name, ((field, kind, shape), ...)), ...) */
PyObject *describe_operations() {
    PyObject *all = PyTuple_New(Operations::count);
    for (int operation = 0; all && operation < Operations::count; operation++) {
        const Description &of = description(operation);
        PyObject *fields = PyTuple_New(of.n_fields);
        for (int i = 0; fields && i < of.n_fields; i++) {
            const Field &field = of.fields[i];
            PyTuple_SetItem(fields, i,
                            Py_BuildValue("sss", field.name, field.kind_name, field.shape));
        }
        PyTuple_SetItem(all, operation, Py_BuildValue("sN", of.name, fields));
    }
    return all;
}

/* The names of the instruction sets that can be used, the fastest first. */
PyObject *list_instruction_sets() {
    PyObject *names = PyList_New(0);
    for (int i = 0; names && i < n_instruction_sets; i++) {
        const InstructionSet &each = instruction_sets()[i];
        PyObject *name = each.supported ? PyUnicode_FromString(each.name) : nullptr;
        if (name)
            PyList_Append(names, name);
        Py_XDECREF(name);
    }
    PyObject *result = names ? PyList_AsTuple(names) : nullptr;
    Py_XDECREF(names);
    return result;
}

} // namespace
} // namespace sklearn_einet

PyMODINIT_FUNC PyInit__native(void) {
    using namespace sklearn_einet;
    static auto methods = list_methods(std::make_index_sequence<Operations::count>());
    static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", nullptr, -1, methods.data()};
    in_use = instruction_sets();
    while (!in_use->supported)
        in_use++;
    PyObject *module = PyModule_Create(&definition);
    if (module && add(module, "OPERATIONS", describe_operations()) &&
        add(module, "INSTRUCTION_SETS", list_instruction_sets()) &&
        PyModule_AddIntConstant(module, "INSTRUCTION_LENGTH", instruction_length) == 0)
        return module;
    Py_XDECREF(module);
    return nullptr;
}
