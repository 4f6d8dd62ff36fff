/* Products of circuit layers on the CPU, for x86-64 processors with AVX2 or AVX-512.
 *
 * The functions take addresses of contiguous tensors and trust them; `products.py`, `cp_layers.py`,
 * `normal_leaves.py` and `passes.py` are the only callers. They release the interpreter's lock, and
 * use the OpenMP threads that torch uses, if it comes with the library of the system's name
 * (libgomp.so.1), or else threads of their own.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#if !defined(__x86_64__) || !defined(__GNUC__) || defined(__clang__)
#error "This needs GCC for x86-64. Without it, torch computes."
#endif

#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xmmintrin.h>

#define ALWAYS static inline __attribute__((always_inline))

/* Work, in multiplications, below which waking other threads takes longer than it saves. */
#define LITTLE_WORK 32768

static int team(int threads, long work)
{
    return work < LITTLE_WORK ? 1 : threads;
}

/* Matrices with no more columns are not worth to be turned, as their rows do not fill vectors. */
#define FEW_COLUMNS 3

/* Let numbers below the least normal one be 0 in this thread: with them, processors compute a
 * hundred times more slowly. Returns the state to go back to. */
static unsigned flush_denormals(void)
{
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
}

static void *scratch(size_t bytes)
{
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!memory)
        Py_FatalError("sklearn-einet: out of memory");
    return memory;
}

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,prefer-vector-width=512")
#define ROWS 12
#define REAL float
#define INT int32_t
#define LANES 16
#define IS_DOUBLE 0
#define NAME(x) x##_avx512_float
#include "kernels.h"
#define REAL double
#define INT int64_t
#define LANES 8
#define IS_DOUBLE 1
#define NAME(x) x##_avx512_double
#include "kernels.h"
#undef ROWS
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define ROWS 5
#define REAL float
#define INT int32_t
#define LANES 8
#define IS_DOUBLE 0
#define NAME(x) x##_avx2_float
#include "kernels.h"
#define REAL double
#define INT int64_t
#define LANES 4
#define IS_DOUBLE 1
#define NAME(x) x##_avx2_double
#include "kernels.h"
#undef ROWS
#pragma GCC pop_options

static int has_avx512;

static int supports_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}

/* Call the variant of a function for the processor and the type. */
#define DISPATCH(function, ...)                                                                 \
    do {                                                                                        \
        if (has_avx512 && is_double)                                                            \
            function##_avx512_double(__VA_ARGS__);                                              \
        else if (has_avx512)                                                                    \
            function##_avx512_float(__VA_ARGS__);                                               \
        else if (is_double)                                                                     \
            function##_avx2_double(__VA_ARGS__);                                                \
        else                                                                                    \
            function##_avx2_float(__VA_ARGS__);                                                 \
    } while (0)

/* All functions of addresses and sizes: names, numbers of both, and arguments. */
#define EACH_FUNCTION(F)                                                                        \
    F(scale, 3, 3, at[0], size[0], size[1], size[2], at[1], at[2], threads)                     \
    F(einsum, 5, 4, at[0], at[1], at[2], at[3], at[4], size[0], size[1], size[2], size[3],      \
      threads)                                                                                  \
    F(einsum_gradients, 7, 5, at[0], at[1], at[2], at[3], at[4], at[5], at[6], size[0],         \
      size[1], size[2], size[3], size[4], threads)                                              \
    F(log_mixture, 4, 5, at[0], at[1], at[2], at[3], size[0], size[1], size[2], size[3],        \
      size[4], threads)                                                                         \
    F(log_mixture_gradients, 6, 6, at[0], at[1], at[2], at[3], at[4], at[5], size[0], size[1],  \
      size[2], size[3], size[4], size[5], threads)                                              \
    F(mix, 8, 4, at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7], size[0], size[1],      \
      size[2], size[3], threads)                                                                \
    F(mix_gradients, 8, 5, at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7], size[0],     \
      size[1], size[2], size[3], size[4], threads)                                              \
    F(gathered, 5, 5, at[0], at[1], at[2], at[3], at[4], size[0], size[1], size[2], size[3],    \
      size[4], threads)                                                                         \
    F(gathered_gradients, 5, 5, at[0], at[1], at[2], at[3], at[4], size[0], size[1], size[2],   \
      size[3], size[4], threads)                                                                \
    F(clear, 1, 1, at[0], size[0])                                                              \
    F(add_rows, 4, 2, at[0], at[1], at[2], at[3], size[0], size[1], threads)                    \
    F(read_normal, 5, 3, at[0], at[1], at[2], at[3], at[4], size[0], size[1], size[2], threads) \
    F(maximize_normal, 7, 2, at[0], at[1], at[2], at[3], at[4], at[5], at[6], size[0], size[1], \
      threads)                                                                                  \
    F(natural_normal, 4, 2, at[0], at[1], at[2], at[3], size[0], size[1], threads)

#define CODE(name, ...) code_##name,
enum { EACH_FUNCTION(CODE) n_functions };

/* What all functions take: addresses, then sizes. */
#define MAX_ADDRESSES 8
#define MAX_SIZES 6

#define FUNCTION(name, n_addresses, n_sizes, ...)                                               \
    static PyObject *name(PyObject *self, PyObject *args)                                       \
    {                                                                                           \
        int is_double, threads;                                                                 \
        void *at[MAX_ADDRESSES];                                                                \
        long size[MAX_SIZES];                                                                   \
        if (!parse(args, &is_double, &threads, at, n_addresses, size, n_sizes))                 \
            return NULL;                                                                        \
        Py_BEGIN_ALLOW_THREADS;                                                                 \
        DISPATCH(name, __VA_ARGS__);                                                            \
        Py_END_ALLOW_THREADS;                                                                   \
        Py_RETURN_NONE;                                                                         \
    }

static int parse(PyObject *args, int *is_double, int *threads, void **at, int n_addresses,
                 long *size, int n_sizes)
{
    if (PyTuple_Size(args) != 2 + n_addresses + n_sizes) {
        PyErr_SetString(PyExc_TypeError, "wrong number of arguments");
        return 0;
    }
    *is_double = PyObject_IsTrue(PyTuple_GetItem(args, 0));
    *threads = (int)PyLong_AsLong(PyTuple_GetItem(args, 1));
    for (int i = 0; i < n_addresses; i++)
        at[i] = PyLong_AsVoidPtr(PyTuple_GetItem(args, 2 + i));
    for (int i = 0; i < n_sizes; i++)
        size[i] = PyLong_AsLong(PyTuple_GetItem(args, 2 + n_addresses + i));
    return !PyErr_Occurred();
}

EACH_FUNCTION(FUNCTION)

/* Recorded calls have the number of the function, its addresses and its sizes. */
#define CALL_LENGTH 16

#define RUN(name, n_addresses, n_sizes, ...)                                                    \
    case code_##name: {                                                                         \
        void *at[MAX_ADDRESSES];                                                                \
        long size[MAX_SIZES];                                                                   \
        for (int i = 0; i < n_addresses; i++)                                                   \
            at[i] = (void *)(intptr_t)call[1 + i];                                              \
        for (int i = 0; i < n_sizes; i++)                                                       \
            size[i] = (long)call[1 + n_addresses + i];                                          \
        DISPATCH(name, __VA_ARGS__);                                                            \
        break;                                                                                  \
    }

/* Many calls, one after the other. */
static PyObject *run(PyObject *self, PyObject *args)
{
    int is_double, threads;
    void *at[1];
    long size[1];
    if (!parse(args, &is_double, &threads, at, 1, size, 1))
        return NULL;
    const int64_t *call = at[0];
    Py_BEGIN_ALLOW_THREADS;
    for (long n = 0; n < size[0]; n++, call += CALL_LENGTH)
        switch (call[0]) { EACH_FUNCTION(RUN) }
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *reweigh(PyObject *self, PyObject *args)
{
    int is_double, threads, idle;
    unsigned long long at[3];
    double keep, add, smoothing;
    long n, k;
    if (!PyArg_ParseTuple(args, "piKKKdddpll", &is_double, &threads, at, at + 1, at + 2, &keep,
                          &add, &smoothing, &idle, &n, &k))
        return NULL;
    void *average = (void *)(uintptr_t)at[0], *counts = (void *)(uintptr_t)at[1];
    void *weights = (void *)(uintptr_t)at[2];
    Py_BEGIN_ALLOW_THREADS;
    DISPATCH(reweigh, average, counts, weights, keep, add, smoothing, idle, n, k, threads);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

/* Whether to use AVX-512 where there is any, for tests of the other variant; what it was before. */
static PyObject *use_avx512(PyObject *self, PyObject *args)
{
    int wanted, before = has_avx512;
    if (!PyArg_ParseTuple(args, "p", &wanted))
        return NULL;
    has_avx512 = wanted && supports_avx512();
    return PyBool_FromLong(before);
}

#define METHOD(name, ...) {#name, name, METH_VARARGS, NULL},
static PyMethodDef methods[] = {
    EACH_FUNCTION(METHOD){"run", run, METH_VARARGS, NULL},
    {"reweigh", reweigh, METH_VARARGS, NULL},
    {"use_avx512", use_avx512, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", NULL, -1, methods};

PyMODINIT_FUNC PyInit__native(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        PyErr_SetString(PyExc_ImportError, "this processor has no AVX2");
        return NULL;
    }
    has_avx512 = supports_avx512();
    PyObject *module = PyModule_Create(&definition), *names = PyTuple_New(n_functions);
    if (!module || !names)
        return NULL;
#define NAMED(name, ...) PyTuple_SetItem(names, code_##name, PyUnicode_FromString(#name));
    EACH_FUNCTION(NAMED)
    int failed = PyModule_AddObjectRef(module, "FUNCTIONS", names);
    Py_DECREF(names);
    return failed ? NULL : module;
}
