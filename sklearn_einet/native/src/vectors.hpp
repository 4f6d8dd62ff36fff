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
#define UNROLL _Pragma("GCC unroll 16")
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
    static constexpr int exp_degree = 7, log_terms = 5;
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
    static constexpr int exp_degree = 13, log_terms = 11;
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

/* exp(x) for x <= 0, with 0 near the least normal number and below; NaN stays NaN. */
template <class Real> ALWAYS_INLINE inline Vec<Real> exp(Vec<Real> x) {
    using F = Format<Real>;
    Vec<Real> shifted = x * (Real)1.4426950408889634 + F::magic;
    Vec<Real> whole = shifted - F::magic;
    Vec<Real> rest = x - whole * F::log2_high - whole * F::log2_low;
    Vec<Real> value = rest * (Real)(1.0 / F::exp_degree) + (Real)1;
    UNROLL
    for (int i = F::exp_degree - 1; i > 0; i--)
        value = value * (rest * (Real)(1.0 / i)) + (Real)1;
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
    /* x = 2**power * m with m between sqrt(1/2) and sqrt(2). */
    Bits<Real> bits = (Bits<Real>)x - F::sqrt_half;
    Bits<Real> power = bits >> F::shift;
    Vec<Real> m = (Vec<Real>)((Bits<Real>)x - (power << F::shift));
    Vec<Real> s = (m - (Real)1) / (m + (Real)1), square = s * s;
    Vec<Real> value = none + (Real)(1.0 / (2 * F::log_terms + 1));
    UNROLL
    for (int i = F::log_terms - 1; i >= 0; i--)
        value = value * square + (Real)(1.0 / (2 * i + 1));
    Vec<Real> exponent = __builtin_convertvector(power, Vec<Real>);
    value = (Real)2 * s * value + exponent * (Real)0.69314718055994530942;
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

} // namespace
} // namespace sklearn_einet::INSTRUCTION_SET
