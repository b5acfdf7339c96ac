// Writes a model in another weight format: the same tensors under the same names, the same
// metadata.
//
//   matrices              the type asked for; a simpler one, told through `note`, where a row is no
//                         multiple of its block
//   output.weight         the head's type; so is token_embd.weight where there is no output.weight
//   vectors, norms, biases, routers, position and token-type tables
//                         F32: small, and sensitive
//   names `keep` finds    as they are
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "engine/tensor/dtype.h"
#include "engine/weights/source.h"

namespace conclave::engine {

struct QuantizeOptions {
  DType type = DType::kQ4_K;
  // Unset: Q6_K where `type` has fewer bits, else `type`.
  std::optional<DType> head;
  std::string keep;               // a regular expression (RE2) over tensor names; empty = none
  bool allow_requantize = false;  // from formats that have lost something already
  int num_threads = 0;            // 0 = UsableCores()
};

struct QuantizeSummary {
  int64_t tensors = 0;
  int64_t elements = 0;
  int64_t bytes_before = 0;
  int64_t bytes_after = 0;
};

// Types by their GGUF name, "Q4_K". INVALID_ARGUMENT for one that cannot be written.
absl::StatusOr<DType> WritableType(std::string_view name);

// Reads and writes tensor after tensor: memory holds one piece (GgufWriter::kPieceBytes). `out`
// appears when it is complete. INVALID_ARGUMENT names the option or the tensor: a value that is not
// finite, or beyond fp16 but for F32 and BF16; a source already quantised, a `keep` that is no
// expression; UNIMPLEMENTED for a source type without arithmetic; FAILED_PRECONDITION when the
// source changed meanwhile; INTERNAL when `out` cannot be written. The same bytes for any number of
// threads.
absl::StatusOr<QuantizeSummary> QuantizeModel(const ModelSource& source,
                                              const QuantizeOptions& options,
                                              const std::string& out,
                                              const std::function<void(std::string_view)>& note);

}  // namespace conclave::engine
