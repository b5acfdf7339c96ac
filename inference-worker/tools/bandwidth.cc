#include "tools/bandwidth.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/clock.h"
#include "engine/kernels/cpu/thread_pool.h"
#include "engine/tensor/buffer.h"

namespace conclave::engine {
namespace {

constexpr int64_t kPieceBytes = 4 << 20;
constexpr int kPasses = 5;

// Eight independent sums, so that the loads and not the additions are the limit.
uint64_t SumOf(const std::byte* bytes, int64_t count) {
  uint64_t sums[8] = {};
  for (int64_t at = 0; at < count; at += 64) {
    uint64_t words[8];
    std::memcpy(words, bytes + at, sizeof words);
    for (int i = 0; i < 8; ++i) sums[i] += words[i];
  }
  uint64_t total = 0;
  for (const uint64_t sum : sums) total += sum;
  return total;
}

}  // namespace

absl::StatusOr<double> MeasureReadBandwidth(int num_threads, int64_t buffer_bytes) {
  const int64_t pieces = buffer_bytes / kPieceBytes;
  ASSIGN_OR_RETURN(Buffer buffer, Buffer::Allocate(pieces * kPieceBytes));
  ThreadPool pool(num_threads);
  pool.ParallelFor(pieces, [&](int64_t piece, int) {
    std::memset(buffer.data() + piece * kPieceBytes, static_cast<int>(piece), kPieceBytes);
  });
  std::atomic<uint64_t> sink{0};  // keeps the reads alive
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const base::SteadyTime start = base::Clock::System().Now();
    pool.ParallelFor(pieces, [&](int64_t piece, int) {
      sink.fetch_add(SumOf(buffer.data() + piece * kPieceBytes, kPieceBytes),
                     std::memory_order_relaxed);
    });
    const double ms = base::MillisBetween(start, base::Clock::System().Now());
    best = std::max(best, static_cast<double>(pieces * kPieceBytes) / ms * 1000);
  }
  return best;
}

}  // namespace conclave::engine
