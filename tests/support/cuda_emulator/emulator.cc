#include <cuda_runtime.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine/quant/half.h"

#if __has_feature(thread_sanitizer)
#include <sanitizer/tsan_interface.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emulator {

using conclave::engine::HalfToFloat;

struct Work {
  std::function<void()> run;
  bool is_launch = false;
};

struct Graph {
  std::vector<Work> work;
};

struct Stream {
  std::deque<Work> work;
  Graph* recording = nullptr;
  int64_t launches_left = -1;  // before the one that fails; -1 = none does
  int64_t hang_left = -1;      // before the one that never ends; -1 = none
  bool failed = false;
  bool hangs = false;
  bool launches = false;  // kernels; others only copy

  void Put(Work one) {
    if (recording != nullptr) {
      recording->work.push_back(std::move(one));
    } else {
      work.push_back(std::move(one));
    }
  }
};

struct Event {
  std::chrono::steady_clock::time_point at;
  Stream* stream = nullptr;  // recorded on it
  int64_t recorded = 0;
  int64_t done = 0;       // of the recordings
  int64_t questions = 0;  // since it was recorded
};

namespace {

// Everything below is one machine: its kernels' shared memory is static, its registers are globals.
std::mutex machine;

int64_t Setting(const char* name, int64_t fallback) {
  const char* const text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoll(text, nullptr, 10);
}

// Counts the setting down; true when it comes to 0, and it is gone then.
bool FailsNow(const char* name) {
  const int64_t left = Setting(name, 0);
  if (left == 0) return false;
  if (left == 1) {
    unsetenv(name);
    return true;
  }
  setenv(name, std::to_string(left - 1).c_str(), 1);
  return false;
}

// --- memory ---

struct Region {
  char* pages = nullptr;
  size_t page_bytes = 0;  // the guard page follows
  size_t used = 0;
};
std::map<void*, Region> regions;
int64_t used_bytes = 0;

int64_t MemoryBytes() { return Setting("CONCLAVE_EMULATOR_MEMORY", int64_t{1} << 30); }

void OpenMemory(bool open) {
  for (const auto& [data, region] : regions) {
    mprotect(region.pages, region.page_bytes, open ? PROT_READ | PROT_WRITE : PROT_NONE);
  }
}

// --- threads ---

constexpr size_t kStackBytes = 64 << 10;
constexpr int kThreadsMax = 1024;

#if __has_feature(thread_sanitizer)
// The sanitizer is told of each change, and knows no jumps between stacks.
struct Place {
  ucontext_t context;
  void* fiber = nullptr;
};
void Go(Place& from, Place& to) {
  from.fiber = __tsan_get_current_fiber();  // kernels run on whichever thread waits for them
  if (to.fiber == nullptr) to.fiber = __tsan_create_fiber(0);
  __tsan_switch_to_fiber(to.fiber, 0);
  swapcontext(&from.context, &to.context);
}
#else
// A fiber is entered once by its context; from then on jumps are enough, which make no system call.
struct Place {
  ucontext_t context;
  jmp_buf at;
  bool entered = true;
};
void Go(Place& from, Place& to) {
  if (_setjmp(from.at) != 0) return;
  if (to.entered) _longjmp(to.at, 1);
  to.entered = true;
  setcontext(&to.context);
}
#endif

struct Fiber {
  Place place;
  std::unique_ptr<char[]> stack;
  bool done = true;
};
Fiber fibers[kThreadsMax];
Place scheduler;
int running = 0;
int num_threads = 0;
int num_alive = 0;
const std::function<void()>* kernel = nullptr;

// Those who have come to a barrier, and how often all have.
struct Barrier {
  int arrived = 0;
  int64_t rounds = 0;
};
Barrier block_barrier;
Barrier warp_barriers[kThreadsMax / 32];
uint32_t given[kThreadsMax];
uint32_t given_more[kThreadsMax][6];
float given_halves[kThreadsMax][12];
const void* given_row[kThreadsMax];

struct Copy {
  void* to;
  size_t size;
  int64_t group;
  std::byte bytes[16];
};
std::deque<Copy> copies[kThreadsMax];  // not waited for yet
int64_t copy_groups[kThreadsMax];      // committed

// As much as the smaller of the devices that the module knows have.
constexpr size_t kSharedMax = 99 << 10;
std::byte* SharedPages() {
  static std::byte* const pages = [] {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void* const all = mmap(nullptr, kSharedMax / page * page + 2 * page, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) std::abort();
    auto* const end = static_cast<std::byte*>(all) + kSharedMax / page * page + page;
    mprotect(end, page, PROT_NONE);
    return end - kSharedMax;
  }();
  return pages;
}
size_t shared_bytes = 0;  // of the launch that runs

void Yield() { Go(fibers[running].place, scheduler); }

void Await(Barrier& barrier, int members) {
  const int64_t round = barrier.rounds;
  if (++barrier.arrived == members) {
    barrier.arrived = 0;
    ++barrier.rounds;
    return;
  }
  while (barrier.rounds == round) Yield();
}

void AwaitWarp() { Await(warp_barriers[running / 32], 32); }

// Of one block after another.
[[noreturn]] void Thread() {
  while (true) {
    (*kernel)();
    fibers[running].done = true;
    --num_alive;
    // Who has left is waited for no more.
    if (num_alive > 0 && block_barrier.arrived == num_alive) {
      block_barrier.arrived = 0;
      ++block_barrier.rounds;
    }
    Yield();
  }
}

void MakeFiber(Fiber& fiber) {
  fiber.stack = std::make_unique<char[]>(kStackBytes);
  ucontext_t& context = fiber.place.context;
  getcontext(&context);
  context.uc_stack.ss_sp = fiber.stack.get();
  context.uc_stack.ss_size = kStackBytes;
  context.uc_link = nullptr;
  makecontext(&context, Thread, 0);
#if !__has_feature(thread_sanitizer)
  fiber.place.entered = false;
#endif
}

void RunBlock(uint3 block) {
  block_barrier = {};
  for (Barrier& barrier : warp_barriers) barrier = {};
  if (shared_bytes > 0) std::memset(SharedMemory(), 0xff, shared_bytes);
  num_alive = num_threads;
  for (int i = 0; i < num_threads; ++i) {
    Fiber& fiber = fibers[i];
    if (fiber.stack == nullptr) MakeFiber(fiber);
    fiber.done = false;
    copies[i].clear();
  }
  blockIdx = block;
  while (num_alive > 0) {
    for (int i = 0; i < num_threads; ++i) {
      if (fibers[i].done) continue;
      running = i;
      threadIdx = {static_cast<unsigned>(i), 0, 0};
      Go(scheduler, fibers[i].place);
    }
  }
}

void RunGrid(dim3 grid, unsigned threads, size_t shared, const std::function<void()>& body) {
  if (threads == 0 || threads > kThreadsMax || threads % 32 != 0 || grid.y > 65535 ||
      grid.z > 65535 || grid.x == 0 || grid.y == 0 || grid.z == 0 || shared > kSharedMax ||
      shared % 16 != 0) {
    std::fprintf(stderr, "emulator: a launch of %u×%u×%u blocks of %u threads\n", grid.x, grid.y,
                 grid.z, threads);
    std::abort();
  }
  kernel = &body;
  gridDim = grid;
  blockDim = dim3(threads);
  num_threads = static_cast<int>(threads);
  shared_bytes = shared;
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) RunBlock({x, y, z});
    }
  }
}

// With the machine held. Up to a recording of an event, or all of it. Streams that wait for each
// other's events nest.
void RunWork(Stream& stream, const Event* until = nullptr, int64_t recording = 0) {
  static int depth = 0;
  if (depth++ == 0) OpenMemory(true);
  while (!stream.hangs && !stream.work.empty() && (until == nullptr || until->done < recording)) {
    const Work work = std::move(stream.work.front());
    stream.work.pop_front();
    if (work.is_launch && stream.launches_left >= 0 && stream.launches_left-- == 0) {
      stream.failed = true;
    }
    stream.hangs = work.is_launch && stream.hang_left >= 0 && stream.hang_left-- == 0;
    if (!stream.failed && !stream.hangs) work.run();
  }
  if (--depth == 0) OpenMemory(false);
}

}  // namespace

void* SharedMemory() { return SharedPages() + kSharedMax - shared_bytes; }

void Enqueue(cudaStream_t stream, dim3 grid, unsigned threads, size_t shared,
             std::function<void()> body) {
  const std::lock_guard lock(machine);
  stream->launches = true;
  stream->Put({[=, body = std::move(body)] { RunGrid(grid, threads, shared, body); }, true});
}

int Lane() { return running % 32; }

uint32_t Exchange(uint32_t bits, int from) {
  given[running] = bits;
  AwaitWarp();
  const uint32_t result = given[running / 32 * 32 + from];
  AwaitWarp();
  return result;
}

void Mma(int (&c)[4], const uint32_t (&a)[4], int registers, uint32_t b0, uint32_t b1) {
  uint32_t* const mine = given_more[running];
  for (int i = 0; i < 4; ++i) mine[i] = a[i];
  mine[4] = b0;
  mine[5] = b1;
  AwaitWarp();
  const int warp = running / 32 * 32;
  for (int i = 0; i < 4; ++i) {
    const int row = Lane() / 4 + i / 2 * 8;
    const int column = Lane() % 4 * 2 + i % 2;
    for (int k = 0; k < registers * 8; ++k) {
      const int word = k % 16 / 4;
      const uint32_t left = given_more[warp + row % 8 * 4 + word][row / 8 + k / 16 * 2];
      const uint32_t right = given_more[warp + column * 4 + word][4 + k / 16];
      c[i] += static_cast<int8_t>(left >> k % 4 * 8) * static_cast<int8_t>(right >> k % 4 * 8);
    }
  }
  AwaitWarp();
}

void MmaHalf(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  float* const mine = given_halves[running];
  const uint32_t registers[6] = {a[0], a[1], a[2], a[3], b0, b1};
  for (int i = 0; i < 12; ++i) {
    mine[i] = HalfToFloat(static_cast<uint16_t>(registers[i / 2] >> i % 2 * 16));
  }
  AwaitWarp();
  const int warp = running / 32 * 32;
  for (int i = 0; i < 4; ++i) {
    const int row = Lane() / 4 + i / 2 * 8;
    const int column = Lane() % 4 * 2 + i % 2;
    for (int k = 0; k < 16; ++k) {
      const int word = k % 8 / 2;
      const float left = given_halves[warp + row % 8 * 4 + word][(row / 8 + k / 8 * 2) * 2 + k % 2];
      const float right = given_halves[warp + column * 4 + word][8 + k / 8 * 2 + k % 2];
      c[i] += left * right;
    }
  }
  AwaitWarp();
}

// The device takes no more than the upper 19 bits of a value: what is given below them is a
// mistake.
void MmaTf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  float* const mine = given_halves[running];
  const uint32_t registers[6] = {a[0], a[1], a[2], a[3], b0, b1};
  for (int i = 0; i < 6; ++i) {
    if ((registers[i] & 0x1fffu) != 0) std::abort();
    mine[i] = std::bit_cast<float>(registers[i]);
  }
  AwaitWarp();
  const int warp = running / 32 * 32;
  for (int i = 0; i < 4; ++i) {
    const int row = Lane() / 4 + i / 2 * 8;
    const int column = Lane() % 4 * 2 + i % 2;
    for (int k = 0; k < 8; ++k) {
      const float left = given_halves[warp + row % 8 * 4 + k % 4][row / 8 + k / 4 * 2];
      const float right = given_halves[warp + column * 4 + k % 4][4 + k / 4];
      c[i] += left * right;
    }
  }
  AwaitWarp();
}

void LoadMatrices(uint32_t (&m)[4], const void* row, bool turned) {
  given_row[running] = row;
  AwaitWarp();
  const int warp = running / 32 * 32;
  for (int i = 0; i < 4; ++i) {
    uint32_t pair = 0;
    for (int j = 0; j < 2; ++j) {
      const int word = Lane() % 4 * 2 + j;
      const int at_row = turned ? word : Lane() / 4;
      const int at = turned ? Lane() / 4 : word;
      const auto* const elements = static_cast<const uint16_t*>(given_row[warp + i * 8 + at_row]);
      pair |= uint32_t{elements[at]} << 16 * j;
    }
    m[i] = pair;
  }
  AwaitWarp();
}

void CopyAsync(void* to, const void* from, size_t bytes) {
  Copy& copy = copies[running].emplace_back();
  copy.to = to;
  copy.size = bytes;
  copy.group = copy_groups[running];
  std::memcpy(copy.bytes, from, bytes);
  std::memset(to, 0xff, bytes);  // who still reads there sees it
}
void CommitCopies() { ++copy_groups[running]; }
void WaitCopies(int64_t pending) {
  std::deque<Copy>& mine = copies[running];
  while (!mine.empty() && mine.front().group < copy_groups[running] - pending) {
    std::memcpy(mine.front().to, mine.front().bytes, mine.front().size);
    mine.pop_front();
  }
}

void SyncWarp() { AwaitWarp(); }

}  // namespace emulator

using namespace emulator;

void __syncthreads() {
  const uint3 self = threadIdx;
  Await(block_barrier, num_alive);
  threadIdx = self;
}

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess                 ? "no error"
         : error == cudaErrorMemoryAllocation ? "out of memory"
                                              : "unspecified launch failure";
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {"emulated", 9, 0, 3, kSharedMax};
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) {
  const std::lock_guard lock(machine);
  *total = static_cast<size_t>(MemoryBytes());
  *free_bytes = static_cast<size_t>(std::max<int64_t>(0, MemoryBytes() - used_bytes));
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** data, size_t bytes) {
  const std::lock_guard lock(machine);
  if (used_bytes + static_cast<int64_t>(bytes) > MemoryBytes()) return cudaErrorMemoryAllocation;
  if (FailsNow("CONCLAVE_EMULATOR_FAIL_ALLOC")) return cudaErrorMemoryAllocation;
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t rounded = (bytes + 255) / 256 * 256;
  Region region;
  region.used = bytes;
  region.page_bytes = (rounded + page - 1) / page * page;
  void* const pages = mmap(nullptr, region.page_bytes + page, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) return cudaErrorMemoryAllocation;
  region.pages = static_cast<char*>(pages);
  mprotect(region.pages, region.page_bytes, PROT_READ | PROT_WRITE);
  std::memset(region.pages, 0xff, region.page_bytes);
  mprotect(region.pages, region.page_bytes, PROT_NONE);
  *data = region.pages + region.page_bytes - rounded;  // what is beyond it faults
  regions[*data] = region;
  used_bytes += static_cast<int64_t>(bytes);
  return cudaSuccess;
}

cudaError_t cudaFree(void* data) {
  if (data == nullptr) return cudaSuccess;
  const std::lock_guard lock(machine);
  const auto found = regions.find(data);
  if (found == regions.end()) {
    std::fprintf(stderr, "emulator: freeing what was not allocated\n");
    std::abort();
  }
  used_bytes -= static_cast<int64_t>(found->second.used);
  munmap(found->second.pages,
         found->second.page_bytes + static_cast<size_t>(sysconf(_SC_PAGESIZE)));
  regions.erase(found);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** data, size_t bytes) {
  if (FailsNow("CONCLAVE_EMULATOR_FAIL_PIN")) return cudaErrorMemoryAllocation;
  *data = std::malloc(bytes);
  return *data == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaFreeHost(void* data) {
  std::free(data);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t stream) {
  const std::lock_guard lock(machine);
  stream->Put({[=] { std::memset(data, value, bytes); }, false});
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  const std::lock_guard lock(machine);
  if (!stream->launches && stream->recording == nullptr) {
    if (FailsNow("CONCLAVE_EMULATOR_FAIL_COPY")) return cudaErrorInvalidValue;
    if (FailsNow("CONCLAVE_EMULATOR_BREAK_COPY")) {
      stream->Put({[=] { stream->failed = true; }, false});
    }
  }
  stream->Put({[=] { std::memcpy(to, from, bytes); }, false});
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new Stream;
  (*stream)->launches_left = Setting("CONCLAVE_EMULATOR_FAIL_LAUNCH", -1);
  (*stream)->hang_left = Setting("CONCLAVE_EMULATOR_HANG_LAUNCH", -1);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const std::lock_guard lock(machine);
  if (stream->recording != nullptr) {
    std::fprintf(stderr, "emulator: waiting for a stream that records\n");
    std::abort();
  }
  RunWork(*stream);
  if (stream->hangs) {
    std::fprintf(stderr, "emulator: waiting without a deadline for a device that hangs\n");
    std::abort();
  }
  return stream->failed ? cudaErrorLaunchFailure : cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  stream->recording = new Graph;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = std::exchange(stream->recording, nullptr);
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned) {
  *exec = new Graph(*graph);
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  const std::lock_guard lock(machine);
  for (const Work& one : exec->work) stream->Put(one);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new Event;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  return cudaEventCreate(event);
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const std::lock_guard lock(machine);
  event->stream = stream;
  event->questions = 0;
  ++event->recorded;
  stream->Put({[=] {
                 event->at = std::chrono::steady_clock::now();
                 ++event->done;
               },
               false});
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  const std::lock_guard lock(machine);
  if (event->stream == nullptr) return cudaSuccess;  // never recorded
  Stream& stream = *event->stream;
  if (stream.recording != nullptr) {
    std::fprintf(stderr, "emulator: asking for an event of a stream that records\n");
    std::abort();
  }
  if (!stream.launches && event->questions++ < Setting("CONCLAVE_EMULATOR_SLOW_COPIES", 0)) {
    return cudaErrorNotReady;
  }
  RunWork(stream, event, event->recorded);
  if (stream.hangs) return cudaErrorNotReady;
  return stream.failed ? cudaErrorLaunchFailure : cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const std::lock_guard lock(machine);
  if (stream->recording != nullptr) {
    std::fprintf(stderr, "emulator: a stream that records waits for another\n");
    std::abort();
  }
  if (event->stream == nullptr) return cudaSuccess;
  stream->Put({[=, recording = event->recorded] {
                 RunWork(*event->stream, event, recording);
                 stream->failed = stream->failed || event->stream->failed;
               },
               false});
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t start, cudaEvent_t end) {
  *ms = std::chrono::duration<float, std::milli>(end->at - start->at).count();
  return cudaSuccess;
}
