// The rows of logits of a step that lie on a device: what each needs of its digest, which blocks of
// it have come, and which are wanted still. Rows may be prepared and chosen from side by side.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "engine/kernels/row_reader.h"

namespace conclave::engine {

class DeviceRows final {
 public:
  struct Row {
    // Filled by who prepares it. `here`: it is read whole and as it is; nothing else counts then.
    bool here = false;
    RowRequest request;
    std::vector<uint64_t> allowed;  // what of the request points here
    RowChanges changes;

    // Read.
    float* whole = nullptr;  // where `here`
    RowDigest digest;
    std::vector<const float*> blocks;  // null: not here

    // Filled by who chooses from it.
    bool done = false;
    std::vector<int32_t> wanted;  // blocks, with repetitions
  };

  // Rows of `n` that ask for nothing.
  void Begin(size_t num_rows, size_t n);
  Row& operator[](size_t index) { return rows_[index]; }
  bool all_here() const;
  bool all_done() const;

  // Waits until the device has read and changed them. Rows beyond what it takes become `here`.
  absl::Status Read(RowReader& reader, float* x);
  // Fetches what is wanted, something of each row that is not done.
  absl::Status Fetch(RowReader& reader);

 private:
  size_t num_rows_ = 0;
  size_t n_ = 0;
  std::vector<Row> rows_;  // the first num_rows_; others are kept for their memory
  std::vector<RowRequest> requests_;
  std::vector<RowBlock> list_;
};

}  // namespace conclave::engine
