// Operators that are no loop nests: what the engine's routines are for a CPU, with the same sizes and results. Arrays are
// seen as [outer, n, inner] around the axis that counts. Any number of blocks of 256 threads share the work; nothing is
// combined in an order that depends on how many there are.
constexpr u32 NNC_THREADS = 256;

// Elements of a column that a block takes at a time, and those of each thread among them.
constexpr u32 NNC_TILE = 1024, NNC_EACH = NNC_TILE / NNC_THREADS;

template <class T> NNC_FUNCTION T nnc_sum(T a, T b) { return nnc_add(a, b); }
template <class T> NNC_FUNCTION T nnc_product(T a, T b) { return nnc_mul(a, b); }
NNC_FUNCTION float nnc_sum(float a, float b) { return a + b; }
NNC_FUNCTION float nnc_product(float a, float b) { return a * b; }
NNC_FUNCTION double nnc_sum(double a, double b) { return a + b; }
NNC_FUNCTION double nnc_product(double a, double b) { return a * b; }
#define NNC_HALVES template <int stored, int most> NNC_FUNCTION nnc_half<stored, most>
NNC_HALVES nnc_sum(nnc_half<stored, most> a, nnc_half<stored, most> b) { return (float)a + (float)b; }
NNC_HALVES nnc_product(nnc_half<stored, most> a, nnc_half<stored, most> b) { return (float)a * (float)b; }

template <class T> NNC_FUNCTION bool nnc_differ(T a, T b) { return a != b; }
template <class T> NNC_FUNCTION bool nnc_is_nan(T x) { return nnc_differ(x, x); }

// Whether a stands before b in ascending order, NaN behind all numbers.
template <class T> NNC_FUNCTION bool nnc_before(T a, T b) { return a < b || (nnc_is_nan(b) && !nnc_is_nan(a)); }

// Prefixes in their kinds: sum, product, max, min; a NaN stays.
template <class T> NNC_FUNCTION T nnc_followed_by(i64 kind, T a, T b) {
  if (kind == 0) return nnc_sum(a, b);
  if (kind == 1) return nnc_product(a, b);
  const bool further = kind == 2 ? nnc_before(a, b) : nnc_before(b, a);
  return nnc_is_nan(b) || (further && !nnc_is_nan(a)) ? b : a;
}

// Sizes: outer, element type, kind, n, inner. Of many columns each is a thread's; of few each is a block's, which goes
// through it 1024 elements at a time.
template <class T, int N>
NNC_FUNCTION void nnc_prefix(i64 *, const T *x, T *y, const i64 (&sizes)[N], u8 *shared) {
  const i64 kind = sizes[2], n = sizes[3], inner = sizes[4], columns = sizes[0] * inner;
  const u32 thread = threadIdx.x;
  if (n == 0) return;
  if (inner >= 32) {
    for (i64 column = (i64)blockIdx.x * NNC_THREADS + thread; column < columns; column += (i64)gridDim.x * NNC_THREADS) {
      const i64 start = column / inner * n * inner + column % inner;
      T value = x[start];
      y[start] = value;
      for (i64 row = 1; row < n; ++row) {
        value = nnc_followed_by(kind, value, x[start + row * inner]);
        y[start + row * inner] = value;
      }
    }
    return;
  }
  T *const values = (T *)shared;
  for (i64 column = blockIdx.x; column < columns; column += gridDim.x) {
    const i64 start = column / inner * n * inner + column % inner;
    T before = x[start];
    for (i64 base = 0; base < n; base += NNC_TILE) {
      const i64 first = base + thread * NNC_EACH;
      T own[NNC_EACH];
      for (u32 e = 0; e < NNC_EACH; ++e) {
        const T next = x[start + nnc_min<i64>(first + e, n - 1) * inner];
        own[e] = e == 0 ? next : nnc_followed_by(kind, own[e - 1], next);
      }
      // From here on of all elements up to the last of this thread.
      T all = own[NNC_EACH - 1];
      values[thread] = all;
      __syncthreads();
      for (u32 step = 1; step < NNC_THREADS; step *= 2) {
        if (thread >= step) all = nnc_followed_by(kind, values[thread - step], all);
        __syncthreads();
        values[thread] = all;
        __syncthreads();
      }
      for (u32 e = 0; e < NNC_EACH; ++e) {
        T value = own[e];
        if (thread > 0) value = nnc_followed_by(kind, values[thread - 1], value);
        if (base > 0) value = nnc_followed_by(kind, before, value);
        if (first + e < n) y[start + (first + e) * inner] = value;
      }
      const T last = values[NNC_THREADS - 1];
      before = base > 0 ? nnc_followed_by(kind, before, last) : last;
      __syncthreads();
    }
  }
}

// Numbers in the order of elements: -0 as 0, NaN behind all others.
NNC_FUNCTION u32 nnc_key(float x) {
  const u32 bits = __float_as_int(x + 0.0f), negative = bits >> 31;
  return nnc_is_nan(x) ? ~0u : negative ? ~bits : bits | 1u << 31;
}
NNC_FUNCTION u64 nnc_key(double x) {
  const u64 bits = __double_as_longlong(x + 0.0), negative = bits >> 63;
  return nnc_is_nan(x) ? ~0ull : negative ? ~bits : bits | 1ull << 63;
}
template <int stored, int most> NNC_FUNCTION u32 nnc_key(nnc_half<stored, most> x) { return nnc_key((float)x); }
NNC_FUNCTION u64 nnc_key(i64 x) { return (u64)x ^ 1ull << 63; }
NNC_FUNCTION u64 nnc_key(u64 x) { return x; }
NNC_FUNCTION u32 nnc_key(u32 x) { return x; }
NNC_FUNCTION u32 nnc_key(int x) { return (u32)x ^ 1u << 31; }
NNC_FUNCTION u32 nnc_key(short x) { return nnc_key((int)x); }
NNC_FUNCTION u32 nnc_key(signed char x) { return nnc_key((int)x); }
NNC_FUNCTION u32 nnc_key(u16 x) { return x; }
NNC_FUNCTION u32 nnc_key(u8 x) { return x; }

// The first `count` elements of each column in order, equal ones as they stand, and where they stood: an element's place is
// the number of those before it. Sizes: outer, element type, whether descending, n, inner, count.
template <class T, int N>
NNC_FUNCTION void nnc_order(i64 *, const T *x, T *sorted, int *places, const i64 (&sizes)[N], u8 *shared) {
  typedef decltype(nnc_key(T())) Key;
  const Key flip = sizes[2] != 0 ? ~(Key)0 : 0;
  const i64 n = sizes[3], inner = sizes[4], count = sizes[5];
  const i64 tiles = (n + NNC_TILE - 1) / NNC_TILE, items = sizes[0] * inner * tiles;
  const u32 thread = threadIdx.x;
  Key *const others = (Key *)shared;
  for (i64 item = blockIdx.x; item < items; item += gridDim.x) {
    const i64 column = item / tiles, tile = item % tiles;
    const T *const from = x + column / inner * n * inner + column % inner;
    Key own[NNC_EACH];
    u32 before[NNC_EACH];
    for (u32 e = 0; e < NNC_EACH; ++e) {
      own[e] = nnc_key(from[nnc_min<i64>(tile * NNC_TILE + e * NNC_THREADS + thread, n - 1) * inner]) ^ flip;
      before[e] = 0;
    }
    for (i64 other = 0; other < tiles; ++other) {
      const i64 base = other * NNC_TILE;
      // Behind the last element stands what is before no other.
      const u32 many = (u32)nnc_min<i64>(NNC_TILE, (n - base + 15) / 16 * 16);
      for (u32 k = thread; k < many; k += NNC_THREADS)
        others[k] = base + k < n ? (Key)(nnc_key(from[(base + k) * inner]) ^ flip) : ~(Key)0;
      __syncthreads();
      // Equal elements of tiles before this one stand before it, those of tiles behind it do not.
      if (other < tile) {
        #pragma unroll 8
        for (u32 k = 0; k < many; ++k)
          for (u32 e = 0; e < NNC_EACH; ++e) before[e] += others[k] <= own[e];
      } else if (other > tile) {
        #pragma unroll 8
        for (u32 k = 0; k < many; ++k)
          for (u32 e = 0; e < NNC_EACH; ++e) before[e] += others[k] < own[e];
      } else {
        for (u32 k = 0; k < many; ++k)
          for (u32 e = 0; e < NNC_EACH; ++e)
            before[e] += others[k] < own[e] || (others[k] == own[e] && k < e * NNC_THREADS + thread);
      }
      __syncthreads();
    }
    for (u32 e = 0; e < NNC_EACH; ++e) {
      const i64 row = tile * NNC_TILE + e * NNC_THREADS + thread;
      if (row >= n || before[e] >= count) continue;
      const i64 to = (column / inner * count + before[e]) * inner + column % inner;
      sorted[to] = from[row * inner];
      places[to] = (int)row;
    }
  }
}

// What scatters leave of two elements in their modes: set, product, min, max, sum; NaN yields to numbers.
template <class T> NNC_FUNCTION T nnc_replaced(i64 mode, T old, T by) {
  if (mode == 0) return by;
  if (mode == 1) return nnc_product(old, by);
  if (mode == 4) return nnc_sum(old, by);
  const bool further = mode == 2 ? nnc_before(by, old) : nnc_before(old, by);
  return !nnc_is_nan(by) && (nnc_is_nan(old) || further) ? by : old;
}

// `x` with elements of `y` at places along the axis that `i` names, in the order of `y`. A block owns rows of a column and
// looks through the whole column of `i`, 256 elements at a time. Those for one place wait for each other: an element's turn is
// the number of those before it. Sizes: outer, element type, that of `i`, mode, n of `x`, inner, n of `i`.
template <class T, class I, int N>
NNC_FUNCTION void nnc_scatter(i64 *error, const T *x, const I *i, const T *y, T *out, const i64 (&sizes)[N], u8 *shared) {
  const i64 mode = sizes[3], n = sizes[4], inner = sizes[5], m = sizes[6], columns = sizes[0] * inner;
  if (columns == 0) return;
  // As many parts of a column as make work for all blocks, of at least one row a thread; a row and a thread fit 32 bits.
  const i64 wanted = nnc_max<i64>(gridDim.x / columns, 1), tiles = (n + NNC_THREADS - 1) / NNC_THREADS;
  const i64 parts = nnc_max<i64>(nnc_min(wanted, tiles), n / ((1 << 24) - 1) + 1), rows = (n + parts - 1) / parts;
  const u32 thread = threadIdx.x;
  // Rows of the elements that are for this block, each with its thread.
  u32 *const found = (u32 *)shared, *const many = found + NNC_THREADS, *const last = many + 1;
  for (i64 item = blockIdx.x; item < columns * parts; item += gridDim.x) {
    const i64 column = item / parts, task = column / inner, first = item % parts * rows;
    const i64 end = nnc_min(first + rows, n), from = task * m * inner + column % inner;
    const i64 start = (task * n + first) * inner + column % inner;
    for (i64 row = thread; first + row < end; row += NNC_THREADS) out[start + row * inner] = x[start + row * inner];
    for (i64 base = 0; base < m; base += NNC_THREADS) {
      if (thread == 0) *many = *last = 0;
      __syncthreads();
      const bool given = base + thread < m;
      const i64 at = from + (base + thread) * inner, index = given ? (i64)i[at] : 0;
      if (given && !nnc_inside(index, n)) nnc_fail(error, 1);
      const bool own = given && first <= index && index < end;
      const u32 place = own ? (u32)(index - first) : 0, packed = place * NNC_THREADS + thread;
      if (own) found[atomicAdd(many, 1u)] = packed;
      __syncthreads();
      u32 turn = 0;
      if (own) {
        for (u32 k = 0; k < *many; ++k) turn += packed - found[k] - 1 < thread;
        atomicMax(last, turn);
      }
      __syncthreads();
      const u32 turns = *many > 0 ? *last + 1 : 0;
      for (u32 now = 0; now < turns; ++now) {
        T *const to = out + start + place * inner;
        if (own && turn == now) *to = nnc_replaced(mode, *to, y[at]);
        __syncthreads();
      }
    }
  }
}

// `x` with `y` in place of a part of it that begins where `start` says. The result may lie where `x` does; then it is not
// touched in a call that has failed already. Sizes: 1, bytes of an element, element type of `start`, rank, dims of `x`,
// dims of `y`.
template <class T, class I, int N>
NNC_FUNCTION void nnc_update_at(i64 *error, const T *x, const I *start, const T *y, T *out, const i64 (&sizes)[N], u8 *) {
  constexpr int rank = (N - 4) / 2;
  const i64 *const whole = sizes + 4, *const part = whole + rank;
  i64 all = 1, new_ones = 1;
  bool fits = true;
  for (int axis = 0; axis < rank; ++axis) {
    all *= whole[axis];
    new_ones *= part[axis];
    const i64 first = (i64)start[axis];
    fits &= 0 <= first && first <= whole[axis] - part[axis];
  }
  if (!fits) return nnc_fail(error, 1);
  const bool in_place = x == out;
  if (in_place && *error != 0) return;
  const i64 items = in_place ? new_ones : all;
  for (i64 item = (i64)blockIdx.x * NNC_THREADS + threadIdx.x; item < items; item += (i64)gridDim.x * NNC_THREADS) {
    i64 rest = item, to = 0, from = 0, stride = 1, step = 1;
    bool inside = true;
    for (int axis = rank - 1; axis >= 0; --axis) {
      const i64 dim = in_place ? part[axis] : whole[axis], first = (i64)start[axis];
      const i64 index = rest % dim + (in_place ? first : 0);
      rest /= dim;
      inside &= nnc_inside(index - first, part[axis]);
      to += index * stride;
      from += (index - first) * step;
      stride *= whole[axis];
      step *= part[axis];
    }
    out[to] = inside ? y[from] : x[to];
  }
}

// Where in its image the largest element of each window stands, the first of equal ones. Sizes: images, element type, axes,
// and for each axis n of `x`, n of the result, window, stride, padding before, dilation.
template <class T, int N>
NNC_FUNCTION void nnc_argmax_pool(i64 *, const T *x, int *y, const i64 (&sizes)[N], u8 *) {
  constexpr int axes = (N - 3) / 6;
  i64 image = 1, results = 1, window = 1;
  for (int axis = 0; axis < axes; ++axis) {
    image *= sizes[3 + 6 * axis];
    results *= sizes[4 + 6 * axis];
    window *= sizes[5 + 6 * axis];
  }
  const i64 items = sizes[0] * results;
  for (i64 item = (i64)blockIdx.x * NNC_THREADS + threadIdx.x; item < items; item += (i64)gridDim.x * NNC_THREADS) {
    const T *const from = x + item / results * image;
    i64 most = -1;
    for (i64 number = 0; number < window; ++number) {
      i64 result = item % results, tap = number, at = 0, stride = 1;
      bool inside = true;
      for (int axis = axes - 1; axis >= 0; --axis) {
        const i64 *const size = sizes + 3 + 6 * axis;
        const i64 index = result % size[1] * size[3] + tap % size[2] * size[5] - size[4];
        result /= size[1];
        tap /= size[2];
        inside &= nnc_inside(index, size[0]);
        at += index * stride;
        stride *= size[0];
      }
      if (inside && (most < 0 || nnc_before(from[most], from[at]))) most = at;
    }
    y[item] = (int)(most < 0 ? 0 : most);
  }
}
