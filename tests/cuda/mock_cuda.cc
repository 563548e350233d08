// A libcuda for machines without a GPU: what the engine calls of NVIDIA's driver, kernels run by the emulator.
//
// Work of a stream waits until somebody has to see what it yields, so that a missing wait is seen too. New memory holds
// garbage. An image is what `mock_nvrtc.cc` makes: a mark, a length, a library.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

typedef unsigned long long u64;
typedef unsigned u32;
typedef int Result;

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_IMAGE = 200, NOT_FOUND = 500, LAUNCH_FAILED = 719 };

constexpr u64 MEMORY = 4ull << 30;
constexpr u32 PLAIN_SHARED = 48 << 10, MOST_SHARED = 227 << 10;

typedef void (*Launch)(const u32 *, const u32 *, u32, u64, void **, char *, size_t);

struct Module {
  void *library;
};

struct Function {
  Launch launch;
  size_t parameters;
  u32 most_shared = PLAIN_SHARED;
};

struct Event {
  double milliseconds = 0;
};

struct Stream {
  std::mutex mutex;
  std::deque<std::function<Result()>> work;
  // A failed kernel spoils all that follows.
  Result failed = SUCCESS;

  Result add(std::function<Result()> item) {
    std::lock_guard<std::mutex> lock(mutex);
    work.push_back(std::move(item));
    return SUCCESS;
  }

  Result finish() {
    std::lock_guard<std::mutex> lock(mutex);
    for (; !work.empty(); work.pop_front())
      if (!failed) failed = work.front()();
    return failed;
  }
};

static Stream null_stream;
static std::mutex memory_mutex;
static std::map<u64, u64> allocations;
static u64 used = 0;

static Stream &stream_of(void *stream) { return stream ? *(Stream *)stream : null_stream; }

static bool is_allocated(u64 start, u64 bytes) {
  std::lock_guard<std::mutex> lock(memory_mutex);
  auto next = allocations.upper_bound(start);
  if (next == allocations.begin()) return false;
  auto [first, len] = *--next;
  return start + bytes <= first + len;
}

static Result allocate(u64 *address, u64 bytes) {
  std::lock_guard<std::mutex> lock(memory_mutex);
  if (bytes == 0) return INVALID_VALUE;
  if (used + bytes > MEMORY) return OUT_OF_MEMORY;
  void *start = aligned_alloc(256, (bytes + 511) / 256 * 256);
  memset(start, 0xcd, bytes);
  allocations[*address = (u64)start] = bytes;
  used += bytes;
  return SUCCESS;
}

static Result release(u64 address) {
  std::lock_guard<std::mutex> lock(memory_mutex);
  auto found = allocations.find(address);
  if (found == allocations.end()) return INVALID_VALUE;
  used -= found->second;
  allocations.erase(found);
  free((void *)address);
  return SUCCESS;
}

static double now() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

#define API extern "C" __attribute__((visibility("default"))) Result

API cuInit(u32) { return SUCCESS; }
API cuDriverGetVersion(int *version) { return *version = 13000, SUCCESS; }
API cuDeviceGet(int *device, int ordinal) { return *device = ordinal, ordinal == 0 ? SUCCESS : 101; }
API cuDeviceGetCount(int *count) { return *count = 1, SUCCESS; }
API cuDeviceGetName(char *name, int room, int) { return snprintf(name, room, "emulated GPU"), SUCCESS; }
API cuDeviceTotalMem_v2(size_t *bytes, int) { return *bytes = MEMORY, SUCCESS; }
// Compute capability 9.0 and memory pools.
API cuDeviceGetAttribute(int *value, int attribute, int) {
  return *value = attribute == 75 ? 9 : attribute == 76 ? 0 : 1, SUCCESS;
}
API cuDevicePrimaryCtxRetain(void **context, int) { return *context = (void *)1, SUCCESS; }
API cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
API cuCtxSetCurrent(void *) { return SUCCESS; }
API cuCtxGetCurrent(void **context) { return *context = (void *)1, SUCCESS; }
API cuCtxSynchronize() { return null_stream.finish(); }
API cuStreamCreate(void **stream, u32) { return *stream = new Stream, SUCCESS; }
API cuStreamDestroy_v2(void *stream) {
  const Result result = stream_of(stream).finish();
  delete (Stream *)stream;
  return result;
}
API cuStreamSynchronize(void *stream) { return stream_of(stream).finish(); }
API cuStreamWaitEvent(void *, void *, u32) { return SUCCESS; }
API cuEventCreate(void **event, u32) { return *event = new Event, SUCCESS; }
API cuEventDestroy_v2(void *event) { return delete (Event *)event, SUCCESS; }
API cuEventRecord(void *event, void *stream) {
  stream_of(stream).finish();
  return ((Event *)event)->milliseconds = now(), SUCCESS;
}
API cuEventSynchronize(void *) { return SUCCESS; }
API cuEventElapsedTime_v2(float *milliseconds, void *start, void *end) {
  return *milliseconds = ((Event *)end)->milliseconds - ((Event *)start)->milliseconds, SUCCESS;
}
API cuMemAllocAsync(u64 *address, size_t bytes, void *) { return allocate(address, bytes); }
API cuMemAlloc_v2(u64 *address, size_t bytes) { return allocate(address, bytes); }
API cuMemFreeAsync(u64 address, void *stream) {
  return stream_of(stream).add([=] { return release(address); });
}
API cuMemFree_v2(u64 address) { return release(address); }
API cuMemsetD8Async(u64 address, unsigned char value, size_t bytes, void *stream) {
  if (!is_allocated(address, bytes)) return INVALID_VALUE;
  return stream_of(stream).add([=] { return memset((void *)address, value, bytes), SUCCESS; });
}
// What a caller's memory holds is taken at once, as from memory that is not pinned.
API cuMemcpyHtoDAsync_v2(u64 to, const void *from, size_t bytes, void *stream) {
  if (!is_allocated(to, bytes)) return INVALID_VALUE;
  std::vector<char> copy((const char *)from, (const char *)from + bytes);
  return stream_of(stream).add([=] { return memcpy((void *)to, copy.data(), bytes), SUCCESS; });
}
API cuMemcpyDtoHAsync_v2(void *to, u64 from, size_t bytes, void *stream) {
  if (!is_allocated(from, bytes)) return INVALID_VALUE;
  return stream_of(stream).add([=] { return memcpy(to, (const void *)from, bytes), SUCCESS; });
}

API cuModuleLoadData(void **module, const void *image) {
  const char *bytes = (const char *)image;
  u64 len;
  if (memcmp(bytes, "emulated", 8)) return INVALID_IMAGE;
  memcpy(&len, bytes + 8, 8);
  const int file = memfd_create("kernel", 0);
  if (file < 0 || write(file, bytes + 16, len) != (ssize_t)len) return INVALID_IMAGE;
  void *library = dlopen(("/proc/self/fd/" + std::to_string(file)).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) return fprintf(stderr, "%s\n", dlerror()), INVALID_IMAGE;
  // The loader takes equal names for equal libraries, so the file stays open as long as the library.
  return *module = new Module{library}, SUCCESS;
}
API cuModuleUnload(void *module) { return delete (Module *)module, SUCCESS; }
API cuModuleGetFunction(void **function, void *module, const char *name) {
  void *library = ((Module *)module)->library;
  const Launch launch = (Launch)dlsym(library, "nnc_launch");
  const size_t *parameters = (const size_t *)dlsym(library, "nnc_parameters");
  if (!launch || !parameters || !dlsym(library, name)) return NOT_FOUND;
  return *function = new Function{launch, *parameters}, SUCCESS;
}
API cuFuncSetAttribute(void *function, int attribute, int value) {
  if (attribute != 8 || value > (int)MOST_SHARED) return INVALID_VALUE;
  return ((Function *)function)->most_shared = value, SUCCESS;
}

API cuLaunchKernel(void *handle, u32 gx, u32 gy, u32 gz, u32 bx, u32 by, u32 bz, u32 shared, void *stream,
                   void **parameters, void **) {
  const Function &function = *(Function *)handle;
  const bool fits = gx && gy && gz && bx && by && bz && bx * by * bz <= 1024 && bz <= 64 && gy < 65536 && gz < 65536;
  if (!fits || shared > function.most_shared) return INVALID_VALUE;
  static std::mutex mutex;
  static u64 seed = 0;
  std::vector<u64> values;
  for (size_t i = 0; i < function.parameters; ++i) values.push_back(*(const u64 *)parameters[i]);
  std::lock_guard<std::mutex> lock(mutex);
  const u64 order = ++seed;
  return stream_of(stream).add([=, launch = function.launch]() mutable {
    const u32 grid[] = {gx, gy, gz}, block[] = {bx, by, bz};
    std::vector<void *> arguments;
    for (u64 &value : values) arguments.push_back(&value);
    char message[512] = "";
    launch(grid, block, shared, order, arguments.data(), message, sizeof message);
    if (message[0]) fprintf(stderr, "%s\n", message);
    return message[0] ? LAUNCH_FAILED : SUCCESS;
  });
}

API cuGetErrorString(int error, const char **text) {
  switch (error) {
    case OUT_OF_MEMORY: return *text = "out of memory", SUCCESS;
    case INVALID_VALUE: return *text = "invalid argument", SUCCESS;
    case INVALID_IMAGE: return *text = "device kernel image is invalid", SUCCESS;
    case LAUNCH_FAILED: return *text = "unspecified launch failure", SUCCESS;
    default: return *text = "an error of the emulated driver", SUCCESS;
  }
}
API cuGetErrorName(int error, const char **text) { return cuGetErrorString(error, text); }
