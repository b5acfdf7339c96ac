// Writes GGUF version 3: tiny models for tests, synthetic ones for measurements, models in other
// formats. Not for the serving path.
//
//   GgufWriter writer;
//   writer.SetString("general.architecture", "llama");
//   writer.AddTensor("output_norm.weight", DType::kF32, {64}, bytes);
//   RETURN_IF_ERROR(writer.WriteFile(path));
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/tensor/tensor_view.h"
#include "engine/weights/gguf_types.h"
#include "engine/weights/source.h"

namespace conclave::engine {

class GgufWriter final {
 public:
  // Fills one row (the contiguous extent) of a tensor.
  using RowFiller = std::function<void(int64_t row, std::span<std::byte> bytes)>;
  // Fills several whole rows, from `first_row` on. An error ends the writing.
  using PieceFiller = std::function<absl::Status(int64_t first_row, std::span<std::byte> bytes)>;
  static constexpr int64_t kPieceBytes = 8 << 20;  // of a piece, or one row when that is more

  void SetString(std::string_view key, std::string_view value);
  void SetUint32(std::string_view key, uint32_t value);
  void SetUint64(std::string_view key, uint64_t value);
  void SetInt32(std::string_view key, int32_t value);
  void SetFloat(std::string_view key, float value);
  void SetBool(std::string_view key, bool value);
  void SetStrings(std::string_view key, std::span<const std::string> values);
  void SetFloats(std::string_view key, std::span<const float> values);
  void SetInts(std::string_view key, std::span<const int32_t> values);
  void SetBytes(std::string_view key, std::span<const uint8_t> values);
  void SetBools(std::string_view key, std::span<const uint8_t> values);  // each 0 or 1

  // The entry of another GGUF file, byte for byte (entry.raw). Its key must be new.
  void CopyMetadata(const MetadataEntry& entry);

  // Bytes in the type's own layout; their number is checked against the shape (our own mistake).
  void AddTensor(std::string_view name, DType dtype, const Shape& shape,
                 std::vector<std::byte> bytes);
  // Rows made while the file is written, so that a tensor need not fit in memory.
  void AddTensor(std::string_view name, DType dtype, const Shape& shape, RowFiller filler);
  // The same for pieces: room to work on several rows at once, and to fail.
  void AddTensorInPieces(std::string_view name, DType dtype, const Shape& shape,
                         PieceFiller filler);
  // fp32 values, quantised by the format of `dtype` (one that has a quantiser).
  void AddTensor(std::string_view name, DType dtype, const Shape& shape,
                 std::span<const float> values);

  // What the file will have, in order; views without data.
  std::vector<TensorEntry> tensors() const;

  // The whole file as bytes; fillers must not fail.
  std::vector<std::byte> Serialize() const;
  // The file appears under its name once it is complete: until then it is "<path>.partial".
  // INTERNAL with the system's reason when it cannot be written, or a filler's error; nothing is
  // left then.
  absl::Status WriteFile(const std::string& path) const;

 private:
  struct Tensor {
    std::string name;
    TensorView view;  // without data
    PieceFiller filler;
  };
  using Sink = std::function<absl::Status(std::span<const std::byte>)>;

  void Key(std::string_view key, GgufValue::Type type);
  template <typename T>
  void Scalar(std::string_view key, GgufValue::Type type, T value);
  template <typename T>
  void Array(std::string_view key, GgufValue::Type type, std::span<const T> values);
  absl::Status Write(const Sink& sink) const;

  uint64_t num_metadata_ = 0;
  std::vector<std::byte> metadata_;
  std::vector<Tensor> tensors_;
};

}  // namespace conclave::engine
