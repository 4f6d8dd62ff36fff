/* Vectors of the widest registers that the instruction set has, and functions of them. */
#pragma once

#include <cfloat>
#include <cstdint>
#include <cstring>
#include <utility>

#define ALWAYS_INLINE __attribute__((always_inline))

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

/* Code of one instruction set must never be taken for that of another by the linker. */
namespace sklearn_einet::INSTRUCTION_SET {
namespace {

#if defined(__AVX512F__)
constexpr int register_bytes = 64;
#elif defined(__AVX2__)
constexpr int register_bytes = 32;
#else
constexpr int register_bytes = 16;
#endif

/* Rows of a register tile: its sums of two vectors a row, two vectors and one more stay in
 * registers, of which there are 32 or 16. */
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int tile_rows = 12;
#else
constexpr int tile_rows = 5;
#endif

/* A number that is known when this is compiled. */
template <int n> struct Constant { static constexpr int value = n; };

/* Numbers of a type. The terms are those of polynomials that are nearest to (exp(x) - 1) / x where
 * |x| <= log(2) / 2, and to (log(1 + x) - x + x**2 / 2) / x**3 where 1 + x is between sqrt(1/2) and
 * sqrt(2), by the relative error of exp(x) and log(1 + x): a tenth of a rounding error at most. */
template <class Real> struct Format;

template <> struct Format<float> {
    typedef float Vec __attribute__((vector_size(register_bytes)));
    typedef int32_t Bits __attribute__((vector_size(register_bytes)));
    /* As many as there are doubles in a vector. */
    typedef float Part __attribute__((vector_size(register_bytes / 2)));
    typedef int32_t Int;

    static constexpr float most = FLT_MAX, tiny = FLT_MIN;
    static constexpr Int shift = 23, bias = 127, sqrt_half = 0x3f3504f3;
    static constexpr float magic = 0x1.8p23f;
    static constexpr float log2_high = 0x1.62e4p-1f, log2_low = 0x1.7f7d1cp-20f;
    static constexpr float least_exp = -87.0f;
    static constexpr float exp_terms[] = {
        0x1.000000p+0f, 0x1.fffffcp-2f, 0x1.555420p-3f,
        0x1.555822p-5f, 0x1.126792p-7f, 0x1.6ae720p-10f,
    };
    static constexpr float log_terms[] = {
        0x1.555554p-2f, -0x1.000226p-2f, 0x1.99a008p-3f, -0x1.547244p-3f,
        0x1.22da1cp-3f, -0x1.0d8540p-3f, 0x1.055b6cp-3f, -0x1.38b590p-4f,
    };
};

template <> struct Format<double> {
    typedef double Vec __attribute__((vector_size(register_bytes)));
    typedef int64_t Bits __attribute__((vector_size(register_bytes)));
    typedef Vec Part;
    typedef int64_t Int;

    static constexpr double most = DBL_MAX, tiny = DBL_MIN;
    static constexpr Int shift = 52, bias = 1023, sqrt_half = 0x3fe6a09e667f3bcd;
    static constexpr double magic = 0x1.8p52;
    static constexpr double log2_high = 0x1.62e42fefa0000p-1, log2_low = 0x1.cf79abc9e3b39p-40;
    static constexpr double least_exp = -708.0;
    static constexpr double exp_terms[] = {
        0x1.0000000000000p+0,  0x1.000000000000bp-1,  0x1.55555555554b3p-3,  0x1.555555555017bp-5,
        0x1.111111112f8b0p-7,  0x1.6c16c1856065bp-10, 0x1.a01a0111b0f31p-13, 0x1.a019974ca6e0ep-16,
        0x1.71df48ee9af59p-19, 0x1.28afa5d2975b3p-22, 0x1.ad595f4b0ac3bp-26,
    };
    static constexpr double log_terms[] = {
        0x1.5555555555533p-2,  -0x1.fffffffffef14p-3, 0x1.999999999f750p-3,  -0x1.555555566b305p-3,
        0x1.24924922a415dp-3,  -0x1.ffffff2bfbc35p-4, 0x1.c71c71e00070fp-4,  -0x1.9999c26a45b4dp-4,
        0x1.745d3f1eb5f05p-4,  -0x1.5550ee8ed3bddp-4, 0x1.3b0b890a440a4p-4,  -0x1.24d74d20a6abcp-4,
        0x1.11ccff9053f08p-4,  -0x1.fba1dc685292dp-5, 0x1.d05a8974e78c5p-5,  -0x1.d11f537eda44cp-5,
        0x1.0a61d8c7daaecp-4,  -0x1.ea063c997deb0p-5, 0x1.ac77158ea04c0p-6,
    };
};

template <class Real> using Vec = typename Format<Real>::Vec;
template <class Real> using Bits = typename Format<Real>::Bits;

template <class Real> constexpr long lanes = register_bytes / sizeof(Real);

/* A vector at an address that need not be aligned. */
template <class Vector> struct __attribute__((packed, may_alias)) Unaligned { Vector v; };

template <class Real> ALWAYS_INLINE inline Unaligned<Vec<Real>> &vec(Real *address) {
    return *reinterpret_cast<Unaligned<Vec<Real>> *>(address);
}

template <class Real> ALWAYS_INLINE inline const Unaligned<Vec<Real>> &vec(const Real *address) {
    return *reinterpret_cast<const Unaligned<Vec<Real>> *>(address);
}

/* a where the mask has ones, b where it has zeros. */
template <class Real>
ALWAYS_INLINE inline Vec<Real> select(Bits<Real> mask, Vec<Real> a, Vec<Real> b) {
    return (Vec<Real>)(((Bits<Real>)a & mask) | ((Bits<Real>)b & ~mask));
}

/* The sum of terms[i] * x**i. */
template <class Real, size_t n>
ALWAYS_INLINE inline Vec<Real> polynomial(Vec<Real> x, const Real (&terms)[n]) {
    Vec<Real> value = Vec<Real>{} + terms[n - 1];
    UNROLL
    for (size_t i = n - 1; i > 0; i--)
        value = value * x + terms[i - 1];
    return value;
}

/* exp(x) for x <= 0, with 0 near the least normal number and below; NaN stays NaN. */
template <class Real> ALWAYS_INLINE inline Vec<Real> exp(Vec<Real> x) {
    using F = Format<Real>;
    Vec<Real> shifted = x * (Real)1.4426950408889634 + F::magic;
    Vec<Real> whole = shifted - F::magic;
    Vec<Real> rest = x - whole * F::log2_high - whole * F::log2_low;
    Vec<Real> value = rest * polynomial<Real>(rest, F::exp_terms) + (Real)1;
    Vec<Real> start = Vec<Real>{} + F::magic;
    Bits<Real> exponent = (Bits<Real>)shifted - (Bits<Real>)start + F::bias;
    Vec<Real> power = (Vec<Real>)(exponent << F::shift);
    return (Vec<Real>)((Bits<Real>)(value * power) & ~(Bits<Real>)(x < F::least_exp));
}

/* log(x) for x >= 0; NaN stays NaN. Subnormal numbers count as 0, as they do in all loops that
 * flush them. */
template <class Real> ALWAYS_INLINE inline Vec<Real> log(Vec<Real> x) {
    using F = Format<Real>;
    Vec<Real> none = {};
    Bits<Real> zero = (Bits<Real>)(x == none), large = ~(Bits<Real>)(x <= F::most);
    /* x = 2**power * (1 + beyond). */
    Bits<Real> bits = (Bits<Real>)x - F::sqrt_half;
    Bits<Real> power = bits >> F::shift;
    Vec<Real> beyond = (Vec<Real>)((Bits<Real>)x - (power << F::shift)) - (Real)1;
    Vec<Real> curve = beyond * polynomial<Real>(beyond, F::log_terms) - (Real)0.5;
    Vec<Real> value = beyond * beyond * curve + beyond;
    Vec<Real> exponent = __builtin_convertvector(power, Vec<Real>);
    value += exponent * (Real)0.69314718055994530942;
    value = select<Real>(zero, none - (Real)__builtin_inf(), value);
    return select<Real>(large, x, value);
}

/* The sum of the numbers in a vector: halves are added to halves. */
template <class Real, long half = lanes<Real> / 2, size_t... lane>
ALWAYS_INLINE inline Real total(Vec<Real> x, std::index_sequence<lane...> all) {
    if constexpr (half > 0) {
#if defined(__clang__)
        x += __builtin_shufflevector(x, x, (lane ^ half)...);
#else
        x += __builtin_shuffle(x, Bits<Real>{(lane ^ half)...});
#endif
        return total<Real, half / 2>(x, all);
    }
    return x[0];
}

template <class Real> ALWAYS_INLINE inline Real total(Vec<Real> x) {
    return total<Real>(x, std::make_index_sequence<lanes<Real>>());
}

/* Two vectors of which each gets numbers of the other, so that bit `bit` of a number's place says
 * the vector, and which one it was in that bit of its place. */
template <class Real, long bit, size_t... lane>
ALWAYS_INLINE inline void exchange(Vec<Real> &a, Vec<Real> &b, std::index_sequence<lane...>) {
    constexpr long n = lanes<Real>;
    const Vec<Real> first = a, second = b;
#if defined(__clang__)
    a = __builtin_shufflevector(first, second, (lane & bit ? n + (lane ^ bit) : lane)...);
    b = __builtin_shufflevector(first, second, (lane & bit ? n + lane : lane ^ bit)...);
#else
    a = __builtin_shuffle(first, second, Bits<Real>{(lane & bit ? n + (lane ^ bit) : lane)...});
    b = __builtin_shuffle(first, second, Bits<Real>{(lane & bit ? n + lane : lane ^ bit)...});
#endif
}

/* A square of numbers transposed. */
template <class Real, long bit = lanes<Real> / 2>
ALWAYS_INLINE inline void transpose_square(Vec<Real> (&rows)[lanes<Real>]) {
    if constexpr (bit > 0) {
        UNROLL
        for (long r = 0; r < lanes<Real>; r++)
            if (!(r & bit))
                exchange<Real, bit>(rows[r], rows[r | bit],
                                    std::make_index_sequence<lanes<Real>>());
        transpose_square<Real, bit / 2>(rows);
    }
}

} // namespace
} // namespace sklearn_einet::INSTRUCTION_SET
