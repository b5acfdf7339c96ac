// A weight matrix, or a stack of them (the experts of a layer), in panels: made once when a model
// is opened, read by every matmul. On CPUs the panels are those of quant/panel.h; another device
// lays them out as it likes, in its own memory.
#pragma once

#include <cstdint>
#include <utility>

#include "engine/quant/panel.h"
#include "engine/tensor/buffer.h"
#include "engine/tensor/dtype.h"

namespace conclave::engine {

// Immutable once packed; thread-safe. Moves are cheap and leave the panels where they are. An
// expert of a stack may be written over with another by who owns it (ExpertMover), while nobody
// computes.
class PackedMatrix final {
 public:
  PackedMatrix() = default;
  PackedMatrix(DType dtype, PanelKind kind, int64_t num_matrices, int64_t out, int64_t in,
               Buffer data)
      : dtype_(dtype),
        kind_(kind),
        num_matrices_(num_matrices),
        out_(out),
        in_(in),
        panel_bytes_(PanelBytes(kind, in)),
        data_(std::move(data)) {}

  bool empty() const { return num_matrices_ == 0; }
  DType dtype() const { return dtype_; }
  PanelKind kind() const { return kind_; }
  int64_t num_matrices() const { return num_matrices_; }  // experts; 1 for a plain matrix
  int64_t out() const { return out_; }                    // rows of the weight, columns of y
  int64_t in() const { return in_; }
  int64_t panels() const { return (out_ + kPanelRows - 1) / kPanelRows; }  // of one matrix
  int64_t panel_bytes() const { return panel_bytes_; }
  int64_t bytes() const { return data_.size(); }
  const std::byte* data() const { return data_.data(); }
  std::byte* data() { return data_.data(); }
  const std::byte* panel(int64_t matrix, int64_t index) const {
    return data_.data() + (matrix * panels() + index) * panel_bytes_;
  }

 private:
  DType dtype_ = DType::kF32;
  PanelKind kind_ = PanelKind::kF32;
  int64_t num_matrices_ = 0;
  int64_t out_ = 0;
  int64_t in_ = 0;
  int64_t panel_bytes_ = 0;
  Buffer data_;
};

}  // namespace conclave::engine
