#include "tools/quantize_model.h"

#include <re2/re2.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <mutex>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "engine/kernels/cpu/thread_pool.h"
#include "engine/quant/format.h"
#include "engine/weights/gguf_writer.h"

namespace conclave::engine {
namespace {

constexpr float kHalfMax = 65504.0f;

// What general.file_type says of a file, as llama.cpp numbers it (llama_ftype).
struct FileType {
  DType dtype;
  uint32_t id;
};
constexpr FileType kFileTypes[] = {
    {DType::kF32, 0},     {DType::kF16, 1},     {DType::kQ4_0, 2},  {DType::kQ4_1, 3},
    {DType::kQ8_0, 7},    {DType::kQ5_0, 8},    {DType::kQ5_1, 9},  {DType::kQ2_K, 10},
    {DType::kQ3_K, 12},   {DType::kQ4_K, 15},   {DType::kQ5_K, 17}, {DType::kQ6_K, 18},
    {DType::kIQ4_NL, 25}, {DType::kIQ4_XS, 30}, {DType::kBF16, 32}, {DType::kMXFP4, 38},
};

// What takes the place of a type whose block does not divide a row.
struct Fallback {
  DType dtype;
  DType simpler;
};
constexpr Fallback kFallbacks[] = {
    {DType::kQ2_K, DType::kIQ4_NL},   {DType::kQ3_K, DType::kIQ4_NL},
    {DType::kIQ4_XS, DType::kIQ4_NL}, {DType::kQ4_K, DType::kQ5_0},
    {DType::kQ5_K, DType::kQ5_1},     {DType::kQ6_K, DType::kQ8_0},
};

DType Simpler(DType dtype) {
  for (const Fallback& fallback : kFallbacks) {
    if (fallback.dtype == dtype) return fallback.simpler;
  }
  return DType::kF16;
}

bool IsFloat(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

double BitsOf(DType dtype) {
  const DTypeInfo& info = InfoOf(dtype);
  return 8.0 * info.block_bytes / info.block_elements;
}

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// Two or more extents and none of the small tensors whose errors every token would carry.
bool IsMatrix(const TensorEntry& tensor) {
  const std::string_view name = tensor.name;
  constexpr std::array kSmall = {"norm", "ffn_gate_inp", "position_embd", "token_types"};
  return tensor.view.shape.rank() >= 2 && name.ends_with(".weight") &&
         std::none_of(kSmall.begin(), kSmall.end(),
                      [&](std::string_view small) { return Contains(name, small); });
}

std::string Name(DType dtype) { return std::string(NameOf(dtype)); }

// One run: chooses types, fills the writer, converts when it asks.
class Quantizer final {
 public:
  Quantizer(const ModelSource& source, const QuantizeOptions& options,
            const std::function<void(std::string_view)>& note)
      : source_(source),
        options_(options),
        note_(note),
        keep_(options.keep, RE2::Quiet),
        pool_(options.num_threads),
        head_(options.head.value_or(BitsOf(options.type) < BitsOf(DType::kQ6_K) ? DType::kQ6_K
                                                                                : options.type)) {}

  absl::StatusOr<QuantizeSummary> Run(const std::string& out) {
    if (!keep_.ok()) return base::InvalidArgument("keep: " + keep_.error());
    CopyMetadata();
    for (const TensorEntry& tensor : source_.tensors()) RETURN_IF_ERROR(Add(tensor));
    RETURN_IF_ERROR(writer_.WriteFile(out));
    return summary_;
  }

 private:
  // Whole keys, and those of a split that the result no longer is.
  static bool IsReplaced(std::string_view key) {
    return key == "general.file_type" || key == "general.quantization_version" ||
           key == "general.alignment" || key.starts_with("split.");
  }

  void CopyMetadata() {
    for (const MetadataEntry& entry : source_.metadata()) {
      if (!IsReplaced(entry.key)) writer_.CopyMetadata(entry);
    }
    writer_.SetUint32("general.quantization_version", 2);
    for (const FileType& type : kFileTypes) {
      if (type.dtype == options_.type) writer_.SetUint32("general.file_type", type.id);
    }
  }

  bool IsHead(const TensorEntry& tensor) const {
    return tensor.name == "output.weight" ||
           (tensor.name == "token_embd.weight" && source_.FindTensor("output.weight") == nullptr);
  }

  // The type `tensor` is written in.
  DType TypeFor(const TensorEntry& tensor) const {
    const DType from = tensor.view.dtype;
    if (!options_.keep.empty() && RE2::PartialMatch(tensor.name, keep_)) return from;
    if (!IsMatrix(tensor)) return IsFloat(from) ? DType::kF32 : from;
    const DType wanted = IsHead(tensor) ? head_ : options_.type;
    DType type = wanted;
    while (tensor.view.cols() % InfoOf(type).block_elements != 0) type = Simpler(type);
    if (type != wanted) {
      note_(absl::StrCat(tensor.name, ": rows of ", tensor.view.cols(), " are no multiple of the ",
                         Name(wanted), " block of ", InfoOf(wanted).block_elements, "; written as ",
                         Name(type)));
    }
    return type;
  }

  absl::Status Add(const TensorEntry& tensor) {
    const TensorView& from = tensor.view;
    const DType type = TypeFor(tensor);
    if (from.dtype != type && FindFormat(from.dtype) == nullptr) {
      return base::Unimplemented(Named(tensor) + "no arithmetic for " + Name(from.dtype));
    }
    if (from.dtype != type && !IsFloat(from.dtype) && !options_.allow_requantize) {
      return base::InvalidArgument(Named(tensor) + "is " + Name(from.dtype) +
                                   " already and would lose twice; --allow-requantize does it");
    }
    TensorView to = from;
    to.dtype = type;
    ++summary_.tensors;
    summary_.elements += from.shape.elements();
    summary_.bytes_before += from.bytes();
    summary_.bytes_after += to.bytes();
    writer_.AddTensorInPieces(tensor.name, type, from.shape,
                              [this, &tensor, to](int64_t first_row, std::span<std::byte> bytes) {
                                return Convert(tensor, to, first_row, bytes);
                              });
    return absl::OkStatus();
  }

  absl::Status Convert(const TensorEntry& tensor, const TensorView& to, int64_t first_row,
                       std::span<std::byte> bytes) {
    const int64_t row_bytes = to.row_bytes();
    const int64_t rows = static_cast<int64_t>(bytes.size()) / row_bytes;
    scratch_.resize(static_cast<size_t>(pool_.num_threads()));
    bad_row_ = -1;
    // Scales and minima are fp16, as F16 itself.
    const bool wide = to.dtype == DType::kF32 || to.dtype == DType::kBF16;
    const float largest = wide ? std::numeric_limits<float>::max() : kHalfMax;
    pool_.ParallelFor(rows, [&](int64_t i, int worker) {
      const std::byte* source_row = tensor.view.row(first_row + i);
      std::byte* target = bytes.data() + i * row_bytes;
      if (tensor.view.dtype == to.dtype) {
        std::copy_n(source_row, row_bytes, target);
        return;
      }
      std::vector<float>& values = scratch_[static_cast<size_t>(worker)];
      values.resize(static_cast<size_t>(to.cols()));
      FindFormat(tensor.view.dtype)->dequantize_row(source_row, values.data(), to.cols());
      const bool good = std::all_of(values.begin(), values.end(), [largest](float value) {
        return std::fabs(value) <= largest;  // NaN is not
      });
      if (!good) return NoteBadRow(first_row + i);
      FindFormat(to.dtype)->quantize_row(values.data(), target, to.cols());
    });
    // A file that was cut short reads as zeros from then on.
    RETURN_IF_ERROR(source_.Health());
    if (bad_row_ >= 0) {
      return base::InvalidArgument(absl::StrCat(Named(tensor), "row ", bad_row_,
                                                " holds a value that is not finite",
                                                wide ? "" : " or beyond fp16"));
    }
    if (first_row + rows == to.rows()) source_.DoneWith(tensor.view);
    return absl::OkStatus();
  }

  // The first one, whichever thread finds it.
  void NoteBadRow(int64_t row) {
    const std::lock_guard lock(bad_row_mutex_);
    bad_row_ = bad_row_ < 0 ? row : std::min(bad_row_, row);
  }

  std::string Named(const TensorEntry& tensor) const {
    return std::string(source_.path()) + ": " + tensor.name + ": ";
  }

  const ModelSource& source_;
  const QuantizeOptions& options_;
  const std::function<void(std::string_view)>& note_;
  const RE2 keep_;
  ThreadPool pool_;
  const DType head_;
  GgufWriter writer_;
  QuantizeSummary summary_;
  std::vector<std::vector<float>> scratch_;  // a row per thread
  std::mutex bad_row_mutex_;
  int64_t bad_row_ = -1;
};

}  // namespace

absl::StatusOr<DType> WritableType(std::string_view name) {
  for (const QuantFormat* format : AllFormats()) {
    if (format->name() == name && format->quantize_row != nullptr) return format->dtype;
  }
  std::string known;
  for (const QuantFormat* format : AllFormats()) {
    if (format->quantize_row != nullptr) absl::StrAppend(&known, " ", base::Abs(format->name()));
  }
  return base::InvalidArgument(absl::StrCat("type: \"", base::Abs(name), "\" is none of", known));
}

absl::StatusOr<QuantizeSummary> QuantizeModel(const ModelSource& source,
                                              const QuantizeOptions& options,
                                              const std::string& out,
                                              const std::function<void(std::string_view)>& note) {
  return Quantizer(source, options, note).Run(out);
}

}  // namespace conclave::engine
