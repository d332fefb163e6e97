// Sixteen or eight float lanes on whatever vector width the translation unit is compiled for. One lane is one pixel of a block of pixels,
// or one Gaussian of a block of Gaussians. Each instruction set gets its own namespace (RL3D_ISA), so that the linker never mixes their
// functions.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef RL3D_ISA
#error "compile with -DRL3D_ISA=baseline, avx2 or avx512"
#endif
#define RL3D_INLINE inline __attribute__((always_inline))

namespace rl3d {
namespace RL3D_ISA {

// Vector types wider than the machine's registers compile to slow code, so a Floats is an array of native ones.
#if defined(__AVX512F__)
constexpr int kNative = 16;
#elif defined(__AVX2__)
constexpr int kNative = 8;
#else
constexpr int kNative = 4;
#endif
// One register where it holds eight or sixteen. Eight, not two registers of them, since small blocks waste fewer pixels on what a Gaussian
// misses, and because backward's sums and constants do not fit into AVX2's registers twice.
constexpr int kLanes = kNative > 8 ? kNative : 8;
constexpr int kParts = kLanes / kNative;

typedef float NativeFloats __attribute__((vector_size(4 * kNative)));
typedef int NativeInts __attribute__((vector_size(4 * kNative)));

struct Floats {
  NativeFloats part[kParts];
};
struct Ints {
  NativeInts part[kParts];
};

#define RL3D_EACH_PART for (int k = 0; k < kParts; k++)

// (Not 0 + x, which is not x for a negative zero, so the compiler would have to add.)
RL3D_INLINE NativeFloats native_splat(float x) {
#if defined(__AVX512F__)
  return (NativeFloats)_mm512_set1_ps(x);
#elif defined(__AVX2__)
  return (NativeFloats)_mm256_set1_ps(x);
#else
  return NativeFloats{x, x, x, x};
#endif
}
RL3D_INLINE Floats splat(float x) {
  Floats r;
  RL3D_EACH_PART r.part[k] = native_splat(x);
  return r;
}
RL3D_INLINE Ints splat(int x) {
  Ints r;
  RL3D_EACH_PART r.part[k] = NativeInts{} + x;
  return r;
}
RL3D_INLINE Floats splat(Floats x) { return x; }
RL3D_INLINE Floats zeros() { return splat(0.f); }
RL3D_INLINE Floats load(const float* p) {
  Floats r;
  RL3D_EACH_PART memcpy(&r.part[k], p + k * kNative, sizeof(NativeFloats));
  return r;
}
RL3D_INLINE void store(float* p, Floats a) { RL3D_EACH_PART memcpy(p + k * kNative, &a.part[k], sizeof(NativeFloats)); }
RL3D_INLINE void store(int* p, Ints a) { RL3D_EACH_PART memcpy(p + k * kNative, &a.part[k], sizeof(NativeInts)); }
RL3D_INLINE Ints load(const int* p) {
  Ints r;
  RL3D_EACH_PART memcpy(&r.part[k], p + k * kNative, sizeof(NativeInts));
  return r;
}
RL3D_INLINE Ints bits(Floats a) {
  Ints r;
  RL3D_EACH_PART r.part[k] = (NativeInts)a.part[k];
  return r;
}
RL3D_INLINE Floats from_bits(Ints a) {
  Floats r;
  RL3D_EACH_PART r.part[k] = (NativeFloats)a.part[k];
  return r;
}
RL3D_INLINE Ints truncate(Floats a) {
  Ints r;
  RL3D_EACH_PART r.part[k] = __builtin_convertvector(a.part[k], NativeInts);
  return r;
}
RL3D_INLINE Floats operator-(Floats a) {
  RL3D_EACH_PART a.part[k] = -a.part[k];
  return a;
}
#define RL3D_ARITHMETIC(op)                                                   \
  RL3D_INLINE Floats operator op(Floats a, Floats b) {                        \
    RL3D_EACH_PART a.part[k] = a.part[k] op b.part[k];                        \
    return a;                                                                 \
  }                                                                           \
  RL3D_INLINE Floats operator op(Floats a, float b) { return a op splat(b); } \
  RL3D_INLINE Floats operator op(float a, Floats b) { return splat(a) op b; } \
  RL3D_INLINE Floats& operator op##=(Floats& a, Floats b) { return a = a op b; }
RL3D_ARITHMETIC(+)
RL3D_ARITHMETIC(-)
RL3D_ARITHMETIC(*)
RL3D_ARITHMETIC(/)
#undef RL3D_ARITHMETIC
#define RL3D_INTEGER(op)                               \
  RL3D_INLINE Ints operator op(Ints a, Ints b) {       \
    RL3D_EACH_PART a.part[k] = a.part[k] op b.part[k]; \
    return a;                                          \
  }                                                    \
  RL3D_INLINE Ints operator op(Ints a, int b) { return a op splat(b); }
RL3D_INTEGER(+)
RL3D_INTEGER(-)
RL3D_INTEGER(&)
RL3D_INTEGER(|)
RL3D_INTEGER(<<)
RL3D_INTEGER(>>)
#undef RL3D_INTEGER

// A truth value per lane: 16 bits on AVX-512, all-ones or zero lanes elsewhere.
#if defined(__AVX512F__)
struct Mask {
  __mmask16 lanes;
};
#define RL3D_COMPARISON(op, predicate) \
  RL3D_INLINE Mask operator op(Floats a, Floats b) { return {_mm512_cmp_ps_mask((__m512)a.part[0], (__m512)b.part[0], predicate)}; }
RL3D_COMPARISON(<, _CMP_LT_OQ)
RL3D_COMPARISON(<=, _CMP_LE_OQ)
RL3D_COMPARISON(>, _CMP_GT_OQ)
RL3D_COMPARISON(>=, _CMP_GE_OQ)
RL3D_INLINE Mask operator&(Mask a, Mask b) { return {(__mmask16)(a.lanes & b.lanes)}; }
RL3D_INLINE Mask and_not(Mask a, Mask b) { return {(__mmask16)(a.lanes & ~b.lanes)}; }
RL3D_INLINE bool any(Mask m) { return m.lanes != 0; }
RL3D_INLINE uint32_t to_bits(Mask m) { return m.lanes; }
RL3D_INLINE Floats select(Mask m, Floats a, Floats b) {
  return {{(NativeFloats)_mm512_mask_blend_ps(m.lanes, (__m512)b.part[0], (__m512)a.part[0])}};
}
RL3D_INLINE Floats keep(Mask m, Floats a) { return {{(NativeFloats)_mm512_maskz_mov_ps(m.lanes, (__m512)a.part[0])}}; }
#else
struct Mask {
  NativeInts part[kParts];
};
#define RL3D_COMPARISON(op, type)                      \
  RL3D_INLINE Mask operator op(type a, type b) {       \
    Mask r;                                            \
    RL3D_EACH_PART r.part[k] = a.part[k] op b.part[k]; \
    return r;                                          \
  }
RL3D_COMPARISON(<, Floats)
RL3D_COMPARISON(<=, Floats)
RL3D_COMPARISON(>, Floats)
RL3D_COMPARISON(>=, Floats)
RL3D_INLINE Mask operator&(Mask a, Mask b) {
  RL3D_EACH_PART a.part[k] &= b.part[k];
  return a;
}
RL3D_INLINE Mask and_not(Mask a, Mask b) {
  RL3D_EACH_PART a.part[k] &= ~b.part[k];
  return a;
}
RL3D_INLINE bool any(Mask m) {
  NativeInts joined = m.part[0];
  for (int k = 1; k < kParts; k++) joined |= m.part[k];
#if defined(__AVX2__)
  return _mm256_movemask_ps((__m256)joined) != 0;
#else
  uint64_t halves[2];
  memcpy(halves, &joined, sizeof halves);
  return (halves[0] | halves[1]) != 0;
#endif
}
RL3D_INLINE uint32_t to_bits(Mask m) {
#if defined(__AVX2__)
  return (uint32_t)_mm256_movemask_ps((__m256)m.part[0]);
#else
  uint32_t r = 0;
  for (int i = 0; i < kLanes; i++) r |= (uint32_t)(m.part[i / kNative][i % kNative] & 1) << i;
  return r;
#endif
}
RL3D_INLINE Floats select(Mask m, Floats a, Floats b) {
  RL3D_EACH_PART a.part[k] = (NativeFloats)(((NativeInts)a.part[k] & m.part[k]) | ((NativeInts)b.part[k] & ~m.part[k]));
  return a;
}
RL3D_INLINE Floats keep(Mask m, Floats a) {
  RL3D_EACH_PART a.part[k] = (NativeFloats)((NativeInts)a.part[k] & m.part[k]);
  return a;
}
#endif
#undef RL3D_COMPARISON

// The second where either is not a number.
RL3D_INLINE Floats min(Floats a, Floats b) {
#if defined(__AVX512F__)
  a.part[0] = (NativeFloats)_mm512_min_ps((__m512)a.part[0], (__m512)b.part[0]);
#elif defined(__AVX2__)
  RL3D_EACH_PART a.part[k] = (NativeFloats)_mm256_min_ps((__m256)a.part[k], (__m256)b.part[k]);
#else
  RL3D_EACH_PART a.part[k] = a.part[k] < b.part[k] ? a.part[k] : b.part[k];
#endif
  return a;
}
RL3D_INLINE Floats max(Floats a, Floats b) {
#if defined(__AVX512F__)
  a.part[0] = (NativeFloats)_mm512_max_ps((__m512)a.part[0], (__m512)b.part[0]);
#elif defined(__AVX2__)
  RL3D_EACH_PART a.part[k] = (NativeFloats)_mm256_max_ps((__m256)a.part[k], (__m256)b.part[k]);
#else
  RL3D_EACH_PART a.part[k] = a.part[k] > b.part[k] ? a.part[k] : b.part[k];
#endif
  return a;
}

// a * b + c. Written out where forward and backward must round alike; elsewhere the compiler may contract as it likes.
RL3D_INLINE Floats fma(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
  c.part[0] = (NativeFloats)_mm512_fmadd_ps((__m512)a.part[0], (__m512)b.part[0], (__m512)c.part[0]);
#elif defined(__AVX2__)
  RL3D_EACH_PART c.part[k] = (NativeFloats)_mm256_fmadd_ps((__m256)a.part[k], (__m256)b.part[k], (__m256)c.part[k]);
#else
  RL3D_EACH_PART c.part[k] = a.part[k] * b.part[k] + c.part[k];
#endif
  return c;
}

// c - a * b, likewise.
RL3D_INLINE Floats subtract_product(Floats c, Floats a, Floats b) {
#if defined(__AVX512F__)
  c.part[0] = (NativeFloats)_mm512_fnmadd_ps((__m512)a.part[0], (__m512)b.part[0], (__m512)c.part[0]);
#elif defined(__AVX2__)
  RL3D_EACH_PART c.part[k] = (NativeFloats)_mm256_fnmadd_ps((__m256)a.part[k], (__m256)b.part[k], (__m256)c.part[k]);
#else
  RL3D_EACH_PART c.part[k] = c.part[k] - a.part[k] * b.part[k];
#endif
  return c;
}

RL3D_INLINE Floats sqrt(Floats a) {
#if defined(__AVX512F__)
  a.part[0] = (NativeFloats)_mm512_sqrt_ps((__m512)a.part[0]);
#elif defined(__AVX2__)
  RL3D_EACH_PART a.part[k] = (NativeFloats)_mm256_sqrt_ps((__m256)a.part[k]);
#else
  for (int i = 0; i < kLanes; i++) a.part[i / kNative][i % kNative] = __builtin_sqrtf(a.part[i / kNative][i % kNative]);
#endif
  return a;
}

RL3D_INLINE Floats abs(Floats a) { return from_bits(bits(a) & 0x7fffffff); }

// 1 / a to about 1 ulp: an estimate and a Newton step are cheaper than a division where the estimate has 14 bits.
RL3D_INLINE Floats reciprocal(Floats a) {
#if defined(__AVX512F__)
  Floats r{{(NativeFloats)_mm512_rcp14_ps((__m512)a.part[0])}};
  return r * (2.f - a * r);
#else
  return 1.f / a;
#endif
}

// Minimax fit of 2^f's relative error on [0, 1], 7.5e-8.
constexpr float kExp2Fraction[6] = {9.999999251e-01f, 6.931530732e-01f, 2.401536170e-01f, 5.582631805e-02f, 8.989340091e-03f, 1.877576675e-03f};

// 2^x for -126 <= x <= 127, relative error about 2e-7; below, anything, which callers mask. AVX-512 takes the fraction in [0, 1) and
// scales by the whole rest in one instruction each. Elsewhere adding 1.5 * 2^23 rounds x to an integer in the low bits of the sum, which
// -ffast-math would cancel, and the polynomial is a fit on [-1/2, 1/2].
RL3D_INLINE Floats exp2(Floats x) {
#if defined(__AVX512F__)
  const Floats f{{(NativeFloats)_mm512_reduce_ps((__m512)x.part[0], _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)}};
  Floats p = splat(kExp2Fraction[5]);
  for (int k = 4; k >= 0; k--) p = fma(p, f, splat(kExp2Fraction[k]));
  return {{(NativeFloats)_mm512_scalef_ps((__m512)p.part[0], (__m512)x.part[0])}};
#else
  const Floats magic = splat(12582912.f);
  const Floats shifted = x + magic;
  const Floats f = x - (shifted - magic);
  Floats p = splat(1.327647196e-03f);
  p = fma(p, f, splat(9.675541503e-03f));
  p = fma(p, f, splat(5.550713275e-02f));
  p = fma(p, f, splat(2.402211972e-01f));
  p = fma(p, f, splat(6.931469671e-01f));
  p = fma(p, f, splat(1.0f));
  return from_bits(bits(p) + (bits(shifted) << 23));
#endif
}

constexpr int kRowEnds = 16 / kLanes;  // vectors for both ends of eight rows

// Byte k of the result is row k of eight blocks four pixels wide: those from the first pixel, in lane k + 8 of all sixteen, to the last, in
// lane k. It is empty where either lane is not hit or the first pixel comes after the last.
RL3D_INLINE uint64_t block_bits(const Mask (&hit)[kRowEnds], const Ints (&pixel)[kRowEnds]) {
#if defined(__AVX512F__)
  const __m512i ends = (__m512i)pixel[0].part[0];
  const __m256i last = _mm512_castsi512_si256(ends), first = _mm512_extracti64x4_epi64(ends, 1);
  const __mmask8 rows = (__mmask8)(hit[0].lanes & hit[0].lanes >> 8) & _mm256_cmple_epi32_mask(first, last);
  const __m256i above = _mm256_sllv_epi32(_mm256_set1_epi32(2), _mm256_srli_epi32(last, 2));
  const __m256i below = _mm256_sllv_epi32(_mm256_set1_epi32(1), _mm256_srli_epi32(first, 2));
  return (uint64_t)_mm_cvtsi128_si64(_mm256_cvtepi32_epi8(_mm256_maskz_sub_epi32(rows, above, below)));
#elif defined(__AVX2__)
  const __m256i last = (__m256i)pixel[0].part[0], first = (__m256i)pixel[1].part[0];
  const __m256i above = _mm256_sllv_epi32(_mm256_set1_epi32(2), _mm256_srli_epi32(last, 2));
  const __m256i below = _mm256_sllv_epi32(_mm256_set1_epi32(1), _mm256_srli_epi32(first, 2));
  const __m256i hits = _mm256_andnot_si256(_mm256_cmpgt_epi32(first, last), (__m256i)(hit[0].part[0] & hit[1].part[0]));
  const __m256i rows = _mm256_and_si256(_mm256_sub_epi32(above, below), hits);
  const __m256i low_bytes = _mm256_shuffle_epi8(rows, _mm256_set1_epi32(0x0c080400));
  return (uint32_t)_mm_cvtsi128_si32(_mm256_castsi256_si128(low_bytes)) |
         (uint64_t)(uint32_t)_mm_cvtsi128_si32(_mm256_extracti128_si256(low_bytes, 1)) << 32;
#else
  int last[kLanes], first[kLanes];
  store(last, pixel[0]), store(first, pixel[1]);
  const uint32_t rows = to_bits(hit[0] & hit[1]);
  uint64_t bits = 0;
  for (int k = 0; k < 8; k++)
    if (rows >> k & 1 && first[k] <= last[k]) bits |= (uint64_t)((2 << (last[k] >> 2)) - (1 << (first[k] >> 2))) << 8 * k;
  return bits;
#endif
}

// The sums over lanes of `count` vectors, a multiple of four, at once: they are transposed as they are added.
template <int count>
RL3D_INLINE void sum_lanes(const Floats* v, float* out) {
  static_assert(count % 4 == 0, "four at a time");
#if defined(__AVX512F__)
  for (int k = 0; k < count; k += 4) {
    const __m512 x0 = (__m512)v[k].part[0], x1 = (__m512)v[k + 1].part[0], x2 = (__m512)v[k + 2].part[0], x3 = (__m512)v[k + 3].part[0];
    const __m512 a = _mm512_add_ps(_mm512_unpacklo_ps(x0, x1), _mm512_unpackhi_ps(x0, x1));
    const __m512 b = _mm512_add_ps(_mm512_unpacklo_ps(x2, x3), _mm512_unpackhi_ps(x2, x3));
    const __m512 c = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xEE));
    const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(c), _mm512_extractf32x8_ps(c, 1));
    _mm_storeu_ps(out + k, _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1)));
  }
#elif defined(__AVX2__)
  for (int k = 0; k < count; k += 4) {
    const __m256 x0 = (__m256)v[k].part[0], x1 = (__m256)v[k + 1].part[0], x2 = (__m256)v[k + 2].part[0], x3 = (__m256)v[k + 3].part[0];
    const __m256 h = _mm256_hadd_ps(_mm256_hadd_ps(x0, x1), _mm256_hadd_ps(x2, x3));
    _mm_storeu_ps(out + k, _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1)));
  }
#else
  for (int i = 0; i < count; i++) {
    const NativeFloats c = v[i].part[0] + v[i].part[1];
    out[i] = (c[0] + c[1]) + (c[2] + c[3]);
  }
#endif
}

}  // namespace RL3D_ISA
}  // namespace rl3d
