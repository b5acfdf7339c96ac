#include "engine/run/device_rows.h"

#include <algorithm>

#include "base/check.h"

namespace conclave::engine {

void DeviceRows::Begin(size_t num_rows, size_t n) {
  num_rows_ = num_rows;
  n_ = n;
  if (rows_.size() < num_rows) rows_.resize(num_rows);
  for (size_t i = 0; i < num_rows; ++i) {
    Row& row = rows_[i];
    row.here = false;
    row.request = {};
    row.whole = nullptr;
    row.digest = {};
    row.blocks.assign((n + kScanBlock - 1) / kScanBlock, nullptr);
    row.done = false;
    row.wanted.clear();
  }
}

bool DeviceRows::all_here() const {
  return std::all_of(rows_.begin(), rows_.begin() + static_cast<ptrdiff_t>(num_rows_),
                     [](const Row& row) { return row.here; });
}

bool DeviceRows::all_done() const {
  return std::all_of(rows_.begin(), rows_.begin() + static_cast<ptrdiff_t>(num_rows_),
                     [](const Row& row) { return row.done; });
}

absl::Status DeviceRows::Read(RowReader& reader, float* x) {
  requests_.clear();
  list_.clear();
  int64_t changes = 0;
  for (size_t i = 0; i < num_rows_; ++i) {
    Row& row = rows_[i];
    int64_t more = 0;
    if (row.request.changes != nullptr) {
      for (const auto& list : *row.request.changes) more += static_cast<int64_t>(list.size());
    }
    row.here = row.here || changes + more > reader.changes_max();
    if (!row.here) changes += more;
    requests_.push_back(row.here ? RowRequest() : row.request);
    for (size_t block = 0; row.here && block < row.blocks.size(); ++block) {
      list_.push_back({.row = static_cast<int32_t>(i), .block = static_cast<int32_t>(block)});
    }
  }
  ASSIGN_OR_RETURN(
      float* next,
      reader.Read({.x = x, .n = static_cast<int64_t>(n_), .rows = requests_, .blocks = list_}));
  for (size_t i = 0; i < num_rows_; ++i) {
    Row& row = rows_[i];
    row.digest = reader.digest(static_cast<int64_t>(i));
    if (!row.here) continue;
    row.whole = next;
    next += row.blocks.size() * kScanBlock;
  }
  return absl::OkStatus();
}

absl::Status DeviceRows::Fetch(RowReader& reader) {
  list_.clear();
  for (size_t i = 0; i < num_rows_; ++i) {
    Row& row = rows_[i];
    if (row.done) continue;
    CHECK(!row.wanted.empty());
    std::sort(row.wanted.begin(), row.wanted.end());
    row.wanted.erase(std::unique(row.wanted.begin(), row.wanted.end()), row.wanted.end());
    for (const int32_t block : row.wanted) {
      list_.push_back({.row = static_cast<int32_t>(i), .block = block});
    }
  }
  ASSIGN_OR_RETURN(const float* next, reader.Fetch(list_));
  for (const RowBlock& block : list_) {
    rows_[static_cast<size_t>(block.row)].blocks[static_cast<size_t>(block.block)] = next;
    next += kScanBlock;
  }
  for (size_t i = 0; i < num_rows_; ++i) rows_[i].wanted.clear();
  return absl::OkStatus();
}

}  // namespace conclave::engine
