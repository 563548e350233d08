// What emitted kernels stand on. For a device no header is needed; with NNC_EMULATE any C++17 compiler will do.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;

#ifdef NNC_EMULATE
#include "emulator.h"
#else
// No kernel uses all of this.
#pragma nv_diag_suppress 177
#define NNC_FUNCTION static __device__ __forceinline__
#define NNC_METHOD __device__ __forceinline__
#define NNC_KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
#define NNC_SHARED(name) extern __shared__ __align__(16) u8 name[]
#endif

// Lanes side by side in memory, moved by one access.
template <class T, int N> struct alignas(sizeof(T) * N) nnc_vector {
  T lane[N];
};

// Sets a bit of the error word.
NNC_FUNCTION void nnc_fail(i64 *error, u64 bit) { atomicOr((u64 *)error, bit); }

// The nearest number with `stored` bits after the point and exponents up to `most`, as the bits of a sign, an exponent and
// those bits; of two that are as near the even one.
template <int stored, int most> NNC_FUNCTION u16 nnc_narrow(double x) {
  const u64 bits = __double_as_longlong(x);
  const u32 sign = (u32)(bits >> 63) << 15, exponents = (2 * most + 1) << stored;
  const u64 magnitude = bits << 1 >> 1, one = 1ull << 52;
  if (magnitude > 0x7ffull << 52) return (u16)(sign | exponents | 1u << (stored - 1));
  const int exponent = (int)(magnitude >> 52) - 1023;
  if (exponent > most) return (u16)(sign | exponents);
  // Below the least exponent fewer bits are left.
  const int least = 1 - most, lost = 52 - stored + (exponent < least ? least - exponent : 0);
  if (lost > 53) return (u16)sign;
  const u64 whole = exponent < -1022 ? 0 : (magnitude & (one - 1)) | one, half = 1ull << (lost - 1);
  const u64 kept = whole >> lost, rest = whole & ((half << 1) - 1);
  const u64 rounded = kept + (rest > half || (rest == half && kept & 1) ? 1 : 0);
  // What rounds up to the next exponent carries into it.
  const u64 base = exponent < least ? 0 : (u64)(exponent + most - 1) << stored;
  return (u16)(sign | (u32)(base + rounded));
}

// The number that such bits are.
template <int stored, int most> NNC_FUNCTION float nnc_widen(u16 bits) {
  const u32 exponent = bits >> stored & (2 * most + 1), rest = bits & ((1u << stored) - 1);
  const u32 sign = (u32)(bits >> 15) << 31;
  if (exponent == 2 * most + 1) return __int_as_float(sign | 0x7f800000 | rest << (23 - stored));
  const float magnitude = exponent == 0 ? (float)rest : (float)(rest | 1u << stored);
  // 2^n in two steps, each of which a float holds.
  const int n = (exponent == 0 ? 1 : (int)exponent) - most - stored, low = n / 2;
  const float value = magnitude * __int_as_float((low + 127) << 23) * __int_as_float((n - low + 127) << 23);
  return sign ? -value : value;
}

// Half precision is for memory.
template <int stored, int most> struct nnc_half {
  u16 bits;
  nnc_half() = default;
  NNC_METHOD nnc_half(float x) : bits(nnc_narrow<stored, most>(x)) {}
  NNC_METHOD nnc_half(double x) : bits(nnc_narrow<stored, most>(x)) {}
  NNC_METHOD operator float() const { return nnc_widen<stored, most>(bits); }
};
typedef nnc_half<10, 15> f16;
typedef nnc_half<7, 127> bf16;

// The second operand if either is NaN.
template <class T> NNC_FUNCTION T nnc_min(T a, T b) { return a < b ? a : b; }
template <class T> NNC_FUNCTION T nnc_max(T a, T b) { return a > b ? a : b; }

// Integers wrap, shift by the low bits of the count, and give 0 where they are divided by it.
template <class T> struct nnc_unsigned { typedef u32 type; };
template <> struct nnc_unsigned<i64> { typedef u64 type; };
template <> struct nnc_unsigned<u64> { typedef u64 type; };
#define NNC_WRAP(a) ((typename nnc_unsigned<T>::type)(a))
template <class T> NNC_FUNCTION T nnc_add(T a, T b) { return (T)(NNC_WRAP(a) + NNC_WRAP(b)); }
template <class T> NNC_FUNCTION T nnc_sub(T a, T b) { return (T)(NNC_WRAP(a) - NNC_WRAP(b)); }
template <class T> NNC_FUNCTION T nnc_mul(T a, T b) { return (T)(NNC_WRAP(a) * NNC_WRAP(b)); }
template <class T> NNC_FUNCTION T nnc_and(T a, T b) { return (T)(a & b); }
template <class T> NNC_FUNCTION T nnc_or(T a, T b) { return (T)(a | b); }
template <class T> NNC_FUNCTION T nnc_xor(T a, T b) { return (T)(a ^ b); }
template <class T> NNC_FUNCTION T nnc_shl(T a, T b) { return (T)(NNC_WRAP(a) << (b & (8 * sizeof(T) - 1))); }
template <class T> NNC_FUNCTION T nnc_shr(T a, T b) { return (T)(a >> (b & (8 * sizeof(T) - 1))); }
// The magnitude by its bits: where an assembler sees an absolute value it takes `|x| >= 0` for true, of NaN too.
NNC_FUNCTION float nnc_abs(float x) { return __int_as_float(__float_as_int(x) & 0x7fffffff); }
NNC_FUNCTION double nnc_abs(double x) { return __longlong_as_double(__double_as_longlong(x) & ~(1ull << 63)); }
template <class T> NNC_FUNCTION T nnc_abs(T a) { return a < (T)0 ? nnc_sub((T)0, a) : a; }
template <class T> NNC_FUNCTION T nnc_div(T a, T b, i64 *error) {
  if (b == 0) {
    nnc_fail(error, 2);
    return 0;
  }
  // The least number divided by -1 wraps to itself; a CPU would trap.
  const bool negates = (T)-1 < (T)0 && b == (T)-1;
  return negates ? nnc_sub((T)0, a) : (T)(a / b);
}
template <class T> NNC_FUNCTION T nnc_rem(T a, T b, i64 *error) {
  return nnc_sub(a, nnc_mul(nnc_div(a, b, error), b));
}

// 2^n for n in -126..=127.
NNC_FUNCTION float nnc_power(int n) { return __int_as_float((n + 127) << 23); }

// x * 2^n for integral n, by two factors so that neither overflows.
NNC_FUNCTION float nnc_ldexp(float x, float n) {
  n = n < -252.0f ? -252.0f : n > 254.0f ? 254.0f : n;
  const int low = (int)floorf(n * 0.5f);
  return x * nnc_power(low) * nnc_power((int)n - low);
}

template <class A, class B> NNC_FUNCTION bool nnc_inside(A index, B extent) { return index >= 0 && index < extent; }

// An index from data, or 0 if it is out of range: then the call fails.
NNC_FUNCTION i64 nnc_checked(i64 index, i64 extent, i64 *error) {
  if (nnc_inside(index, extent)) return index;
  nnc_fail(error, 1);
  return 0;
}

// The values of `lanes` threads combined, halves with halves, for each of them. All threads of a block take part;
// those from `lanes` on have no value. `room` holds one for each of the others.
template <class T, class F> NNC_FUNCTION T nnc_combine(T value, T *room, u32 lane, u32 lanes, F f) {
  if (lane < lanes) room[lane] = value;
  __syncthreads();
  while (lanes > 1) {
    const u32 half = (lanes + 1) / 2;
    if (lane < lanes - half) room[lane] = f(room[lane], room[lane + half]);
    __syncthreads();
    lanes = half;
  }
  value = room[0];
  __syncthreads();
  return value;
}
