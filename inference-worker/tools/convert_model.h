// The GGUF file of a Hugging Face folder: the keys, names and order of rows the engine binds from
// (engine/weights/hf_folder.h), with the vocabulary spelt out.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "engine/tensor/dtype.h"
#include "engine/weights/source.h"

namespace conclave::engine {

// What matrices that are stored as floating-point numbers can be written in.
std::span<const DType> ConvertibleTypes();

// Reads and writes tensor after tensor; `out` appears when it is complete. Matrices become `type`,
// or F16 where a row is not whole blocks of it; what is quantised already stays as it is; vectors,
// biases and routers are F32. `note` is told where text may get other ids than from
// tokenizer.json. UNIMPLEMENTED and INVALID_ARGUMENT name what of the tokenizer or which tensor
// cannot be written; FAILED_PRECONDITION when the source changed meanwhile.
absl::Status ConvertModel(const ModelSource& source, DType type, const std::string& out,
                          const std::function<void(std::string_view)>& note);

}  // namespace conclave::engine
