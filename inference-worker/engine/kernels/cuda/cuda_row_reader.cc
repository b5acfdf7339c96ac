#include "engine/kernels/cuda/cuda_row_reader.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "engine/kernels/cuda/cuda_kernels.h"

namespace conclave::engine {
namespace {

constexpr size_t kHeader = 2;  // floats before a row's lists
constexpr int64_t kChangesOfSequence = 2048;

}  // namespace

CudaRowReader::CudaRowReader(const Kernels& kernels, const CudaMemory& memory, int64_t whole_floats)
    : kernels_(kernels), memory_(memory), whole_floats_(whole_floats) {
  Reserve(1);
}

void CudaRowReader::Reserve(int64_t sequences) {
  // One long conversation with penalties has many, not all of them.
  changes_max_ = std::max<int64_t>(8, sequences) * kChangesOfSequence;
}

void CudaRowReader::Start() { memory_.api().start(memory_.context()); }

absl::Status CudaRowReader::Wait() {
  memory_.api().read_back(memory_.context(), x_, 0);
  return kernels_.status();
}

void CudaRowReader::ListRequests(const Rows& rows) {
  requests_.clear();
  allowed_.clear();
  for (auto& list : changes_) list.clear();
  int32_t num_allowed = 0;
  for (size_t row = 0; row < rows.rows.size(); ++row) {
    const RowRequest& from = rows.rows[row];
    ConclaveCudaRowRequest to = {.factors = {}, .largest = from.largest ? 1 : 0, .allowed = -1};
    std::copy(from.factors.begin(), from.factors.end(), to.factors);
    if (!from.allowed.empty()) {
      CHECK(static_cast<int64_t>(from.allowed.size()) == (rows.n + 63) / 64);
      to.allowed = num_allowed++;
      allowed_.insert(allowed_.end(), from.allowed.begin(), from.allowed.end());
    }
    requests_.push_back(to);
    for (size_t list = 0; from.changes != nullptr && list < kChangeLists; ++list) {
      for (const RowChange& change : (*from.changes)[list]) {
        CHECK(change.id >= 0 && change.id < rows.n);
        changes_[list].push_back({.row = static_cast<int32_t>(row),
                                  .id = change.id,
                                  .kind = static_cast<int32_t>(change.kind),
                                  .value = change.value});
      }
    }
  }
}

absl::StatusOr<float*> CudaRowReader::Read(const Rows& rows) {
  x_ = rows.x;
  blocks_of_row_ = static_cast<size_t>((rows.n + kScanBlock - 1) / kScanBlock);
  ListRequests(rows);
  ConclaveCudaRows args = {.x = rows.x,
                           .n = rows.n,
                           .rows = static_cast<int64_t>(requests_.size()),
                           .requests = requests_.data(),
                           .allowed = allowed_.data(),
                           .num_allowed = static_cast<int64_t>(allowed_.size()) /
                                          std::max<int64_t>(1, (rows.n + 63) / 64),
                           .changes = {},
                           .num_changes = {}};
  for (size_t list = 0; list < kChangeLists; ++list) {
    args.changes[list] = changes_[list].data();
    args.num_changes[list] = static_cast<int64_t>(changes_[list].size());
  }
  digests_ = memory_.api().digest_rows(memory_.context(), &args);
  RETURN_IF_ERROR(kernels_.status());
  return Fetch(rows.blocks);
}

absl::StatusOr<float*> CudaRowReader::Fetch(std::span<const RowBlock> blocks) {
  wanted_.clear();
  for (const RowBlock& block : blocks) {
    CHECK(static_cast<size_t>(block.row) < requests_.size());
    CHECK(static_cast<size_t>(block.block) < blocks_of_row_);
    wanted_.push_back({.row = block.row, .block = block.block});
  }
  float* const fetched = memory_.api().fetch_blocks(memory_.context(), wanted_.data(),
                                                    static_cast<int64_t>(wanted_.size()));
  RETURN_IF_ERROR(Wait());
  return fetched;
}

RowDigest CudaRowReader::digest(int64_t row) const {
  const auto index = static_cast<size_t>(row);
  const float* const from =
      digests_ + index * (kHeader + (1 + size_t{kRowFactors}) * blocks_of_row_);
  RowDigest digest = {.max = from[0], .best = std::bit_cast<int32_t>(from[1])};
  const ConclaveCudaRowRequest& request = requests_[index];
  const auto list = [&](size_t number) {
    return std::span(from + kHeader + number * blocks_of_row_, blocks_of_row_);
  };
  if (request.largest != 0) digest.largest = list(0);
  for (size_t f = 0; f < kRowFactors; ++f) {
    digest.factors[f] = request.factors[f];
    if (request.factors[f] != 0) digest.sums[f] = list(1 + f);
  }
  return digest;
}

}  // namespace conclave::engine
