// Memory, streams, events and graphs. Not instrumented by the thread sanitizer, as no driver is:
// what it promises is said by timeline.h, what it touches of the host's are copies.
#include <cuda_runtime.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "support/cuda_emulator/threads.h"
#include "support/cuda_emulator/timeline.h"

namespace emulator {

struct Work {
  enum class Kind { kLaunch, kCopy, kOrder };  // kOrder touches no memory
  std::function<void()> run;
  Kind kind = Kind::kOrder;
  const void* to = nullptr;  // of a copy, as `from` where it has one
  const void* from = nullptr;
};

struct Graph {
  std::vector<Work> work;
};

struct Stream {
  std::deque<Work> work;
  Timeline timeline;
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
      Release(&work.back());
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

void Protect(const Region& region, int protection) {
  mprotect(region.pages, region.page_bytes, protection);
}

// Open while work runs: all of it for kernels, what they touch for copies, as loading a model is
// thousands of those.
bool all_open = false;
std::vector<const Region*> open_regions;

void OpenMemory() {
  if (std::exchange(all_open, true)) return;
  for (const auto& [data, region] : regions) Protect(region, PROT_READ | PROT_WRITE);
}
void OpenMemoryAt(const void* at) {
  if (all_open) return;
  auto found = regions.upper_bound(const_cast<void*>(at));
  if (found == regions.begin()) return;
  const Region& region = (--found)->second;
  if (at >= region.pages + region.page_bytes) return;  // the host's
  Protect(region, PROT_READ | PROT_WRITE);
  open_regions.push_back(&region);
}
void CloseMemory() {
  if (std::exchange(all_open, false)) {
    for (const auto& [data, region] : regions) Protect(region, PROT_NONE);
  } else {
    for (const Region* const region : open_regions) Protect(*region, PROT_NONE);
  }
  open_regions.clear();
}

// With the machine held and memory open. What the work holds is let go of where it was used.
void RunOnDevice(Stream& stream, Work& work) {
  static const char launches = 0;  // their threads have one set of stacks, and of shared memory
  stream.timeline.Run([&] {
    if (work.kind == Work::Kind::kLaunch) Acquire(&launches);
    work.run();
    work.run = nullptr;
    if (work.kind == Work::Kind::kLaunch) Release(&launches);
  });
}

// With the machine held. Up to a recording of an event, or all of it. Streams that wait for each
// other's events nest.
void RunWork(Stream& stream, const Event* until = nullptr, int64_t recording = 0) {
  static int depth = 0;
  ++depth;
  while (!stream.hangs && !stream.work.empty() && (until == nullptr || until->done < recording)) {
    stream.timeline.Run([&] { Acquire(&stream.work.front()); });
    Work work = std::move(stream.work.front());
    stream.work.pop_front();
    const bool is_launch = work.kind == Work::Kind::kLaunch;
    if (is_launch && stream.launches_left >= 0 && stream.launches_left-- == 0) {
      stream.failed = true;
    }
    stream.hangs = is_launch && stream.hang_left >= 0 && stream.hang_left-- == 0;
    if (stream.failed || stream.hangs) continue;
    if (work.kind == Work::Kind::kOrder) {
      work.run();
      continue;
    }
    if (is_launch) {
      OpenMemory();
    } else {
      OpenMemoryAt(work.to);
      OpenMemoryAt(work.from);
    }
    RunOnDevice(stream, work);
  }
  if (--depth == 0) CloseMemory();
}

// Of a stream that does nothing any more, or nothing yet.
cudaError_t Stopped(Stream& stream) {
  stream.timeline.Run([&] { Release(&stream); });
  Acquire(&stream);
  return stream.failed ? cudaErrorLaunchFailure : cudaSuccess;
}

}  // namespace

void Enqueue(cudaStream_t stream, dim3 grid, unsigned threads, size_t shared_bytes,
             std::function<void()> body) {
  const std::lock_guard lock(machine);
  stream->launches = true;
  stream->Put({[=, body = std::move(body)] { RunGrid(grid, threads, shared_bytes, body); },
               Work::Kind::kLaunch});
}

}  // namespace emulator

using namespace emulator;

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
  stream->Put({[=] { std::memset(data, value, bytes); }, Work::Kind::kCopy, data});
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  const std::lock_guard lock(machine);
  if (!stream->launches && stream->recording == nullptr) {
    if (FailsNow("CONCLAVE_EMULATOR_FAIL_COPY")) return cudaErrorInvalidValue;
    if (FailsNow("CONCLAVE_EMULATOR_BREAK_COPY")) {
      stream->Put({[=] { stream->failed = true; }});
    }
  }
  stream->Put({[=] { std::memcpy(to, from, bytes); }, Work::Kind::kCopy, to, from});
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
  return Stopped(*stream);
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
    stream->timeline.Run([=] { Release(event); });
    event->at = std::chrono::steady_clock::now();
    ++event->done;
  }});
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
  if (stream.failed) return Stopped(stream);
  Acquire(event);
  return cudaSuccess;
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
    stream->timeline.Run([=] { Acquire(event); });
  }});
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t start, cudaEvent_t end) {
  *ms = std::chrono::duration<float, std::milli>(end->at - start->at).count();
  return cudaSuccess;
}
