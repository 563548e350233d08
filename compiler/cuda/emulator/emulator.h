// Runs a kernel's text on a CPU, for tests: one block after the other, a fiber for each thread of a block.
//
// Threads run in a shuffled order, each as far as the next barrier, so what works only by the luck of an order fails.
// Shared memory starts with bytes that make NaN of every float. A barrier that some threads miss is an error.
// Collectives of a warp would be further kinds of rendezvous: see `rendezvous`.
#pragma once
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

#include <utility>
#include <vector>

#define NNC_FUNCTION static inline
#define NNC_METHOD
#define NNC_KERNEL(threads) extern "C" void
#define NNC_SHARED(name) u8 *const name = nnc_emulator::block->shared.data()

namespace nnc_emulator {

struct Index {
  u32 x, y, z;
};

struct Thread {
  Index index;
  ucontext_t context;
  std::vector<u8> stack;
  // Line of its last barrier.
  int waits = 0;
  bool done = false;
};

struct Block {
  Index index;
  std::vector<Thread> threads;
  std::vector<u8> shared;
  ucontext_t scheduler;
  void (*kernel)(void **);
  void **arguments;
};

inline thread_local Block *block = nullptr;
inline thread_local Thread *thread = nullptr;
inline thread_local Index grid_size, block_size;

constexpr size_t STACK = 64 << 10;

// By the generator of Knuth's MMIX: which order it is matters less than that it differs.
template <class T> void shuffle(std::vector<T> &items, u64 &state) {
  for (size_t n = items.size(); n > 1; --n) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    std::swap(items[n - 1], items[(state >> 33) % n]);
  }
}

inline void rendezvous(int line) {
  thread->waits = line;
  swapcontext(&thread->context, &block->scheduler);
}

inline void enter() {
  block->kernel(block->arguments);
  thread->done = true;
  swapcontext(&thread->context, &block->scheduler);
}

inline const char *place(const Thread &t) { return t.done ? "ended after line" : "waits at line"; }

// Lets every thread run to its next barrier or its end. False when all are through.
inline bool round(u64 &random, char *message, size_t room) {
  std::vector<Thread *> order;
  for (Thread &t : block->threads) order.push_back(&t);
  shuffle(order, random);
  for (Thread *t : order) {
    thread = t;
    swapcontext(&block->scheduler, &t->context);
  }
  const Thread &first = block->threads[0];
  for (const Thread &t : block->threads) {
    if (t.done == first.done && (t.done || t.waits == first.waits)) continue;
    snprintf(message, room, "block (%u, %u, %u): thread (%u, %u, %u) %s %d, thread (0, 0, 0) %s %d", block->index.x,
             block->index.y, block->index.z, t.index.x, t.index.y, t.index.z, place(t), t.waits, place(first),
             first.waits);
    return false;
  }
  return !first.done;
}

// As cuLaunchKernel takes it; `message` is empty unless something went wrong.
inline void launch(void (*kernel)(void **), const u32 *grid, const u32 *threads, u32 shared, u64 seed, void **arguments,
                   char *message, size_t room) {
  u64 random = seed;
  grid_size = {grid[0], grid[1], grid[2]};
  block_size = {threads[0], threads[1], threads[2]};
  message[0] = 0;
  std::vector<Index> order;
  for (u32 z = 0; z < grid[2]; ++z)
    for (u32 y = 0; y < grid[1]; ++y)
      for (u32 x = 0; x < grid[0]; ++x) order.push_back({x, y, z});
  shuffle(order, random);
  Block b;
  block = &b;
  b.kernel = kernel;
  b.arguments = arguments;
  b.threads.resize(threads[0] * threads[1] * threads[2]);
  for (Thread &t : b.threads) t.stack.resize(STACK);
  for (const Index &index : order) {
    b.index = index;
    b.shared.assign(shared, 0xff);
    for (u32 i = 0; i < b.threads.size(); ++i) {
      Thread &t = b.threads[i];
      t.index = {i % threads[0], i / threads[0] % threads[1], i / (threads[0] * threads[1])};
      t.done = false;
      t.waits = 0;
      getcontext(&t.context);
      t.context.uc_stack.ss_sp = t.stack.data();
      t.context.uc_stack.ss_size = STACK;
      t.context.uc_link = nullptr;
      makecontext(&t.context, enter, 0);
    }
    while (round(random, message, room)) {
    }
    if (message[0]) break;
  }
  block = nullptr;
  thread = nullptr;
}

template <class... A, size_t... I>
void call(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
  kernel(*(A *)arguments[I]...);
}

template <class... A> constexpr size_t arity(void (*)(A...)) { return sizeof...(A); }

template <class... A> void call(void (*kernel)(A...), void **arguments) {
  call(kernel, arguments, std::index_sequence_for<A...>());
}

}  // namespace nnc_emulator

// What a device offers without a header.
#define threadIdx (nnc_emulator::thread->index)
#define blockIdx (nnc_emulator::block->index)
#define blockDim (nnc_emulator::block_size)
#define gridDim (nnc_emulator::grid_size)
#define __syncthreads() nnc_emulator::rendezvous(__LINE__)

template <class To, class From> static inline To nnc_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "the same bits");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
static inline float __int_as_float(u32 bits) { return nnc_bits<float>(bits); }
static inline int __float_as_int(float x) { return nnc_bits<int>(x); }
static inline u64 __double_as_longlong(double x) { return nnc_bits<u64>(x); }
static inline u64 atomicOr(u64 *at, u64 bits) {
  const u64 before = *at;
  *at |= bits;
  return before;
}
static inline u32 atomicAdd(u32 *at, u32 more) {
  const u32 before = *at;
  *at += more;
  return before;
}
static inline u32 atomicMax(u32 *at, u32 other) {
  const u32 before = *at;
  if (other > before) *at = other;
  return before;
}
static inline double __longlong_as_double(u64 bits) { return nnc_bits<double>(bits); }

// After a kernel's text: how many parameters it has, and the function through which it is launched.
#define NNC_LAUNCH(name)                                                                                              \
  extern "C" const size_t nnc_parameters = nnc_emulator::arity(name);                                                 \
  extern "C" void nnc_launch(const u32 *grid, const u32 *threads, u32 shared, u64 seed, void **arguments,             \
                             char *message, size_t room) {                                                            \
    auto kernel = [](void **arguments) { nnc_emulator::call(name, arguments); };                                      \
    nnc_emulator::launch(kernel, grid, threads, shared, seed, arguments, message, room);                              \
  }
