// Threads as fibers: one runs until it has to wait for others, which is when they get their turn. A
// thread that never waits needs no fiber of its own, the next one runs on the same. The thread
// sanitizer knows nothing of this file: to it all threads of all launches are one.
#include "support/cuda_emulator/threads.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <vector>

#include "engine/quant/half.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emulator {
namespace {

using conclave::engine::HalfToFloat;

constexpr int kThreadsMax = 1024;
constexpr int kWarpsMax = kThreadsMax / 32;

// --- stacks ---

// Stacks begin at different places of a page, or the same lines of the cache would serve them all.
constexpr size_t kStackBytes = (64 << 10) + 1088;

void FiberMain();

#if defined(__x86_64__)

// Where a fiber was left: what a call has to keep is on its stack.
struct Fiber {
  void* top = nullptr;
};

extern "C" void conclave_emulator_switch(void** from, void* to);
asm(R"(
  .text
  .hidden conclave_emulator_switch
  .type conclave_emulator_switch, @function
conclave_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rax
  jmpq *%rax
  .size conclave_emulator_switch, .-conclave_emulator_switch
)");

void Go(Fiber& from, const Fiber& to) { conclave_emulator_switch(&from.top, to.top); }

void Prepare(Fiber& fiber, char* stack) {
  auto* top =
      reinterpret_cast<uintptr_t*>(reinterpret_cast<uintptr_t>(stack + kStackBytes) / 16 * 16);
  *--top = 0;  // where FiberMain would return to
  *--top = reinterpret_cast<uintptr_t>(&FiberMain);
  fiber.top = top - 6;  // registers
}

#else

struct Fiber {
  ucontext_t context;
};

void Go(Fiber& from, const Fiber& to) { swapcontext(&from.context, &to.context); }

void Prepare(Fiber& fiber, char* stack) {
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = stack;
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, FiberMain, 0);
}

#endif

// --- the block that runs ---

// Those who can go on, those who have not ended, and those who have come to a meeting of the warp.
struct Warp {
  uint32_t ready = 0;
  uint32_t alive = 0;
  int arrived = 0;
  int64_t meetings = 0;
};

// What a warp's lanes give each other: of this meeting, and of the one before, which some may still
// be reading.
struct Gifts {
  uint32_t words[32];
  uint32_t registers[32][6];
  const void* rows[32];
  int ints[32][4];
  float floats[32][4];
};

// A thread's cp.async that it has not waited for yet.
struct Copy {
  void* to;
  size_t size;
  int64_t group;
  std::byte bytes[16];
};

const std::function<void()>* kernel = nullptr;
size_t shared_bytes = 0;
std::deque<Copy> copies[kThreadsMax];
int64_t copy_groups[kThreadsMax];  // committed
Fiber caller;
Fiber fibers[kThreadsMax];
int num_fibers = 0;
std::vector<Fiber*> idle;
Fiber* current = nullptr;
Fiber* fiber_of[kThreadsMax];  // none before a thread has begun
int running = 0;
int num_threads = 0;
int num_alive = 0;
int num_at_barrier = 0;
Warp warps[kWarpsMax];
Gifts gifts[kWarpsMax][2];

[[noreturn]] void Die(const char* why) {
  std::fprintf(stderr, "emulator: %s\n", why);
  std::abort();
}

char* MapStacks() {
  void* const stacks = mmap(nullptr, kThreadsMax * kStackBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stacks == MAP_FAILED) Die("no memory for stacks");
  return static_cast<char*>(stacks);
}

Fiber* TakeFiber() {
  if (idle.empty()) {
    static char* const stacks = MapStacks();
    Prepare(fibers[num_fibers], stacks + num_fibers * kStackBytes);
    return &fibers[num_fibers++];
  }
  Fiber* const fiber = idle.back();
  idle.pop_back();
  return fiber;
}

// Ends at a guard page.
std::byte* MapShared() {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t bytes = (kSharedMax + page - 1) / page * page;
  void* const all =
      mmap(nullptr, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) Die("no shared memory");
  std::byte* const end = static_cast<std::byte*>(all) + bytes;
  mprotect(end, page, PROT_NONE);
  return end - kSharedMax;
}

void Become(int thread) {
  running = thread;
  threadIdx = {static_cast<unsigned>(thread), 0, 0};
}

// Of the same warp if one can go on: fewer stacks are in use then.
int NextReady() {
  const int first = running / 32;
  const int num_warps = num_threads / 32;
  const int lane = running % 32 + 1;
  if (const uint32_t later = std::rotr(warps[first].ready, lane % 32); later != 0) {
    return first * 32 + (lane + std::countr_zero(later)) % 32;
  }
  for (int i = 1; i < num_warps; ++i) {
    const int warp = (first + i) % num_warps;
    if (warps[warp].ready != 0) return warp * 32 + std::countr_zero(warps[warp].ready);
  }
  Die("threads wait for others that do not come");
}

// Comes back when this fiber has a thread that can go on.
void SwitchTo(int thread) {
  Become(thread);
  if (fiber_of[thread] == nullptr) fiber_of[thread] = TakeFiber();
  Fiber* const from = current;
  current = fiber_of[thread];
  Go(*from, *current);
}

void AwaitOthers() {
  warps[running / 32].ready &= ~(1u << running % 32);
  SwitchTo(NextReady());
}

void OpenBarrier() {
  num_at_barrier = 0;
  for (int i = 0; i < num_threads / 32; ++i) warps[i].ready = warps[i].alive;
}

// Meets the other lanes of the warp, all 32; `last` is done by who comes last.
template <typename Last>
void Meet(Last last) {
  Warp& warp = warps[running / 32];
  if (++warp.arrived < 32) return AwaitOthers();
  last();
  warp.arrived = 0;
  ++warp.meetings;
  warp.ready = ~0u;
}

Gifts& OfThisMeeting() { return gifts[running / 32][warps[running / 32].meetings % 2]; }

void StartBlock() {
  for (int i = 0; i < num_threads / 32; ++i) warps[i] = {.ready = ~0u, .alive = ~0u};
  std::fill_n(fiber_of, num_threads, nullptr);
  if (shared_bytes > 0) std::memset(SharedMemory(), 0xff, shared_bytes);
  for (int i = 0; i < num_threads; ++i) copies[i].clear();
  num_alive = num_threads;
  num_at_barrier = 0;
  Become(0);
  fiber_of[0] = current;
}

bool NextBlock() {
  if (++blockIdx.x < gridDim.x) return true;
  blockIdx.x = 0;
  if (++blockIdx.y < gridDim.y) return true;
  blockIdx.y = 0;
  return ++blockIdx.z < gridDim.z;
}

// Comes back when the fiber has been given another thread.
void Leave() {
  Warp& warp = warps[running / 32];
  warp.alive &= ~(1u << running % 32);
  warp.ready &= ~(1u << running % 32);
  if (--num_alive == 0) {
    if (NextBlock()) return StartBlock();
    idle.push_back(current);
    return Go(*current, caller);
  }
  // Who has left is waited for no more.
  if (num_at_barrier == num_alive) OpenBarrier();
  const int next = NextReady();
  if (fiber_of[next] == nullptr) {
    fiber_of[next] = current;
    return Become(next);
  }
  idle.push_back(current);
  SwitchTo(next);
}

void FiberMain() {
  while (true) {
    (*kernel)();
    Leave();
  }
}

// --- products of a warp's tiles, 16 rows by 8 columns ---

// Of lane l, the i-th result is of row l / 4 + 8 · (i / 2), column 2 · (l % 4) + i % 2.
template <typename Sum>
Sum& At(Sum (&sums)[32][4], int row, int column) {
  return sums[row % 8 * 4 + column / 2][row / 8 * 2 + column % 2];
}

// Lane l gives words l % 4 of rows (left) and of column (right) l / 4.
template <int kInputs>
void MultiplyBytes(const uint32_t (&registers)[32][6], int (&sums)[32][4]) {
  int8_t left[16][kInputs];
  int8_t right[8][kInputs];
  for (int lane = 0; lane < 32; ++lane) {
    const int line = lane / 4;
    const int at = lane % 4 * 4;
    for (int i = 0; i < kInputs / 8; ++i) {
      std::memcpy(&left[line + i % 2 * 8][i / 2 * 16 + at], &registers[lane][i], 4);
    }
    for (int i = 0; i < kInputs / 16; ++i) {
      std::memcpy(&right[line][i * 16 + at], &registers[lane][4 + i], 4);
    }
  }
  int16_t wide[8][kInputs];
  for (int i = 0; i < 8 * kInputs; ++i)
    wide[i / kInputs][i % kInputs] = right[i / kInputs][i % kInputs];
  for (int row = 0; row < 16; ++row) {
    int16_t line[kInputs];
    for (int k = 0; k < kInputs; ++k) line[k] = left[row][k];
    for (int column = 0; column < 8; ++column) {
      int sum = 0;
      for (int k = 0; k < kInputs; ++k) sum += line[k] * wide[column][k];
      At(sums, row, column) += sum;
    }
  }
}

// Eight columns of a row.
using Line = float __attribute__((vector_size(32)));

// Inputs in ascending order; `left` gives the value of row and input.
template <int kInputs, typename Left>
void MultiplyFloats(const Left& left, const Line (&right)[kInputs], float (&sums)[32][4]) {
  for (int row = 0; row < 16; ++row) {
    Line line;
    for (int column = 0; column < 8; ++column) line[column] = At(sums, row, column);
    for (int k = 0; k < kInputs; ++k) line += left(row, k) * right[k];
    for (int column = 0; column < 8; ++column) At(sums, row, column) = line[column];
  }
}

std::vector<float> AllHalves() {
  std::vector<float> values;
  for (int bits = 0; bits < 1 << 16; ++bits) {
    values.push_back(HalfToFloat(static_cast<uint16_t>(bits)));
  }
  return values;
}

void MultiplyHalves(const uint32_t (&registers)[32][6], float (&sums)[32][4]) {
  uint16_t halves[32][12];
  float values[32][12];
  std::memcpy(halves, registers, sizeof halves);
  static const std::vector<float> all = AllHalves();
  for (int i = 0; i < 32 * 12; ++i) values[i / 12][i % 12] = all[halves[i / 12][i % 12]];
  const auto value = [&](int line, int i, int k) {
    return values[line * 4 + k % 8 / 2][i * 2 + k % 2];
  };
  Line right[16];
  for (int k = 0; k < 16; ++k) {
    for (int column = 0; column < 8; ++column) right[k][column] = value(column, 4 + k / 8, k);
  }
  MultiplyFloats<16>([&](int row, int k) { return value(row % 8, row / 8 + k / 8 * 2, k); }, right,
                     sums);
}

// The device takes no more than the upper 19 bits of a value: what is given below them is a
// mistake.
void MultiplyTf32(const uint32_t (&registers)[32][6], float (&sums)[32][4]) {
  for (const auto& lane : registers) {
    for (const uint32_t bits : lane) {
      if ((bits & 0x1fffu) != 0) Die("a tf32 value with more than 19 bits");
    }
  }
  const auto value = [&](int line, int i, int k) {
    return std::bit_cast<float>(registers[line * 4 + k % 4][i]);
  };
  Line right[8];
  for (int k = 0; k < 8; ++k) {
    for (int column = 0; column < 8; ++column) right[k][column] = value(column, 4 + k / 4, k);
  }
  MultiplyFloats<8>([&](int row, int k) { return value(row % 8, row / 8 + k / 4 * 2, k); }, right,
                    sums);
}

// Every lane gives its registers and sums; the last does the warp's products.
template <typename Sum, typename Multiply>
void MeetForProducts(Sum (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                     Sum (Gifts::*sums)[32][4], Multiply multiply) {
  Gifts& given = OfThisMeeting();
  const int lane = Lane();
  uint32_t* const registers = given.registers[lane];
  std::copy_n(a, 4, registers);
  registers[4] = b0;
  registers[5] = b1;
  std::copy_n(c, 4, (given.*sums)[lane]);
  Meet([&] { multiply(given.registers, given.*sums); });
  std::copy_n((given.*sums)[lane], 4, c);
}

}  // namespace

void RunGrid(dim3 grid, unsigned threads, size_t shared, const std::function<void()>& body) {
  if (threads == 0 || threads > kThreadsMax || threads % 32 != 0 || grid.y > 65535 ||
      grid.z > 65535 || grid.x == 0 || grid.y == 0 || grid.z == 0 || shared > kSharedMax ||
      shared % 16 != 0) {
    std::fprintf(stderr, "emulator: a launch of %u×%u×%u blocks of %u threads, %zu bytes shared\n",
                 grid.x, grid.y, grid.z, threads, shared);
    std::abort();
  }
  kernel = &body;
  shared_bytes = shared;
  gridDim = grid;
  blockDim = dim3(threads);
  blockIdx = {0, 0, 0};
  num_threads = static_cast<int>(threads);
  current = TakeFiber();
  StartBlock();
  Go(caller, *current);
}

void* SharedMemory() {
  static std::byte* const shared = MapShared();
  return shared + kSharedMax - shared_bytes;
}

int Lane() { return running % 32; }

void SyncBlock() {
  if (++num_at_barrier < num_alive) return AwaitOthers();
  OpenBarrier();
}

uint32_t Exchange(uint32_t bits, int from) {
  Gifts& given = OfThisMeeting();
  given.words[Lane()] = bits;
  Meet([] {});
  return given.words[from];
}

void SyncWarp() {
  Meet([] {});
}

void Mma(int (&c)[4], const uint32_t (&a)[4], int registers, uint32_t b0, uint32_t b1) {
  MeetForProducts(c, a, b0, b1, &Gifts::ints,
                  registers == 4 ? MultiplyBytes<32> : MultiplyBytes<16>);
}
void MmaHalf(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  MeetForProducts(c, a, b0, b1, &Gifts::floats, MultiplyHalves);
}
void MmaTf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  MeetForProducts(c, a, b0, b1, &Gifts::floats, MultiplyTf32);
}

void LoadMatrices(uint32_t (&m)[4], const void* row, bool turned) {
  Gifts& given = OfThisMeeting();
  const int mine = Lane();
  given.rows[mine] = row;
  // All is read before any lane goes on and writes there.
  Meet([&] {
    for (int i = 0; i < 32 * 4 * 2; ++i) {
      const int lane = i / 8;
      const int matrix = i / 2 % 4;
      const int word = lane % 4 * 2 + i % 2;
      const int line = turned ? word : lane / 4;
      const int at = turned ? lane / 4 : word;
      const uint32_t element = static_cast<const uint16_t*>(given.rows[matrix * 8 + line])[at];
      uint32_t& pair = given.registers[lane][matrix];
      pair = i % 2 == 0 ? element : pair | element << 16;
    }
  });
  std::copy_n(given.registers[mine], 4, m);
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

}  // namespace emulator
