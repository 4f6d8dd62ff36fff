/* The operations as functions of Python, see `_native.pyi`.
 *
 * They take addresses of contiguous tensors; what can be known of those here is checked, and
 * `native/calls.py` checks the tensors. They release the interpreter's lock, and use the OpenMP
 * threads that torch uses, if it comes with the library of the system's name, or else threads of
 * their own.
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

/* Check all instructions, then run them one after the other. */
void run_all(const int64_t *instructions, int64_t n, const Kernel *kernels, int threads) {
    const int64_t *const end = instructions + n * instruction_length;
    for (const int64_t *each = instructions; each < end; each += instruction_length) {
        if (each[0] < 0 || each[0] >= Operations::count)
            throw std::invalid_argument("a program has an unknown operation");
        check((int)each[0], each + 1);
    }
    for (const int64_t *each = instructions; each < end; each += instruction_length)
        kernels[each[0]](each + 1, threads);
}

/* Run a program, a contiguous array of int64 with one instruction after the other. */
PyObject *run(PyObject *, PyObject *arguments) {
    PyObject *is_double, *threads, *program;
    Setting setting;
    if (!PyArg_ParseTuple(arguments, "OOO:run", &is_double, &threads, &program) ||
        !parse(is_double, threads, &setting))
        return nullptr;
    Py_buffer view;
    if (PyObject_GetBuffer(program, &view, PyBUF_CONTIG_RO))
        return nullptr;
    const Py_ssize_t size = instruction_length * sizeof(int64_t);
    const Kernel *kernels = in_use->kernels->of[setting.is_double];
    PyObject *result = nullptr;
    if (view.itemsize != sizeof(int64_t) || view.len % size)
        PyErr_Format(PyExc_ValueError, "a program is an array of int64, %d for each instruction",
                     instruction_length);
    else
        result = guarded([&] {
            const Unlocked unlocked;
            const auto *instructions = static_cast<const int64_t *>(view.buf);
            run_all(instructions, view.len / size, kernels, setting.threads);
        });
    PyBuffer_Release(&view);
    return result;
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

constexpr int n_methods = Operations::count + 4;

template <size_t... operation>
std::array<PyMethodDef, n_methods> list_methods(std::index_sequence<operation...>) {
    return {{{description(operation).name, call<operation>, METH_VARARGS, nullptr}...,
             {"run", run, METH_VARARGS, nullptr},
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
