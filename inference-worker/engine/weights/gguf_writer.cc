#include "engine/weights/gguf_writer.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "engine/quant/format.h"

namespace conclave::engine {
namespace {

using enum GgufValue::Type;

constexpr int64_t kAlignment = 32;

template <typename T>
  requires std::is_arithmetic_v<T>
void Append(std::vector<std::byte>& out, T value) {
  const size_t at = out.size();
  out.resize(at + sizeof(T));
  std::memcpy(out.data() + at, &value, sizeof(T));
}

// A string is its length and its bytes.
void Append(std::vector<std::byte>& out, std::string_view text) {
  Append<uint64_t>(out, text.size());
  const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
  out.insert(out.end(), bytes, bytes + text.size());
}

int64_t Aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

void GgufWriter::Key(std::string_view key, GgufValue::Type type) {
  Append(metadata_, key);
  Append<uint32_t>(metadata_, type);
  ++num_metadata_;
}

template <typename T>
void GgufWriter::Scalar(std::string_view key, GgufValue::Type type, T value) {
  Key(key, type);
  Append(metadata_, value);
}
template <typename T>
void GgufWriter::Array(std::string_view key, GgufValue::Type type, std::span<const T> values) {
  Key(key, kArray);
  Append<uint32_t>(metadata_, type);
  Append<uint64_t>(metadata_, values.size());
  for (const T& value : values) Append(metadata_, value);
}

void GgufWriter::SetString(std::string_view key, std::string_view value) {
  Scalar(key, kString, value);
}
void GgufWriter::SetUint32(std::string_view key, uint32_t value) { Scalar(key, kUint32, value); }
void GgufWriter::SetUint64(std::string_view key, uint64_t value) { Scalar(key, kUint64, value); }
void GgufWriter::SetInt32(std::string_view key, int32_t value) { Scalar(key, kInt32, value); }
void GgufWriter::SetFloat(std::string_view key, float value) { Scalar(key, kFloat32, value); }
void GgufWriter::SetBool(std::string_view key, bool value) {
  Scalar<uint8_t>(key, kBool, value ? 1 : 0);
}
void GgufWriter::SetStrings(std::string_view key, std::span<const std::string> values) {
  Array(key, kString, values);
}
void GgufWriter::SetFloats(std::string_view key, std::span<const float> values) {
  Array(key, kFloat32, values);
}
void GgufWriter::SetInts(std::string_view key, std::span<const int32_t> values) {
  Array(key, kInt32, values);
}
void GgufWriter::SetBytes(std::string_view key, std::span<const uint8_t> values) {
  Array(key, kUint8, values);
}
void GgufWriter::SetBools(std::string_view key, std::span<const uint8_t> values) {
  Array(key, kBool, values);
}

void GgufWriter::CopyMetadata(const MetadataEntry& entry) {
  CHECK(!entry.raw.empty());
  metadata_.insert(metadata_.end(), entry.raw.begin(), entry.raw.end());
  ++num_metadata_;
}

void GgufWriter::AddTensor(std::string_view name, DType dtype, const Shape& shape,
                           RowFiller filler) {
  TensorView view;
  view.dtype = dtype;
  view.shape = shape;
  const auto row_bytes = static_cast<size_t>(view.row_bytes());
  AddTensorInPieces(name, dtype, shape,
                    [filler = std::move(filler), row_bytes](int64_t row, auto bytes) {
                      for (; !bytes.empty(); bytes = bytes.subspan(row_bytes)) {
                        filler(row++, bytes.first(row_bytes));
                      }
                      return absl::OkStatus();
                    });
}

void GgufWriter::AddTensorInPieces(std::string_view name, DType dtype, const Shape& shape,
                                   PieceFiller filler) {
  Tensor tensor;
  tensor.name = name;
  tensor.view.dtype = dtype;
  tensor.view.shape = shape;
  tensor.filler = std::move(filler);
  CHECK(tensor.view.cols() % InfoOf(dtype).block_elements == 0);
  tensors_.push_back(std::move(tensor));
}

void GgufWriter::AddTensor(std::string_view name, DType dtype, const Shape& shape,
                           std::vector<std::byte> bytes) {
  auto shared = std::make_shared<std::vector<std::byte>>(std::move(bytes));
  AddTensor(name, dtype, shape, [shared](int64_t row, std::span<std::byte> out) {
    std::memcpy(out.data(), shared->data() + static_cast<size_t>(row) * out.size(), out.size());
  });
  CHECK(static_cast<int64_t>(shared->size()) == tensors_.back().view.bytes());
}

void GgufWriter::AddTensor(std::string_view name, DType dtype, const Shape& shape,
                           std::span<const float> values) {
  const QuantFormat* format = FindFormat(dtype);
  CHECK(format != nullptr && format->quantize_row != nullptr);
  CHECK(static_cast<int64_t>(values.size()) == shape.elements());
  TensorView view;
  view.dtype = dtype;
  view.shape = shape;
  std::vector<std::byte> bytes(static_cast<size_t>(view.bytes()));
  for (int64_t row = 0; row < view.rows(); ++row) {
    format->quantize_row(values.data() + row * view.cols(), bytes.data() + row * view.row_bytes(),
                         view.cols());
  }
  AddTensor(name, dtype, shape, std::move(bytes));
}

absl::Status GgufWriter::Write(const Sink& sink) const {
  std::vector<std::byte> head;
  for (const char c : std::string_view("GGUF")) head.push_back(static_cast<std::byte>(c));
  Append<uint32_t>(head, 3);
  Append<uint64_t>(head, tensors_.size());
  Append<uint64_t>(head, num_metadata_);
  head.insert(head.end(), metadata_.begin(), metadata_.end());
  int64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    Append(head, std::string_view(tensor.name));
    Append<uint32_t>(head, static_cast<uint32_t>(tensor.view.shape.rank()));
    for (int d = tensor.view.shape.rank() - 1; d >= 0; --d) {
      Append<uint64_t>(head, static_cast<uint64_t>(tensor.view.shape[d]));
    }
    Append<uint32_t>(head, static_cast<uint32_t>(tensor.view.dtype));
    Append<uint64_t>(head, static_cast<uint64_t>(offset));
    offset += Aligned(tensor.view.bytes());
  }
  head.resize(static_cast<size_t>(Aligned(static_cast<int64_t>(head.size()))));
  RETURN_IF_ERROR(sink(head));
  std::vector<std::byte> piece;
  for (const Tensor& tensor : tensors_) {
    const int64_t row_bytes = tensor.view.row_bytes();
    const int64_t rows_at_once = std::max<int64_t>(1, kPieceBytes / row_bytes);
    for (int64_t row = 0; row < tensor.view.rows(); row += rows_at_once) {
      const int64_t rows = std::min(rows_at_once, tensor.view.rows() - row);
      piece.resize(static_cast<size_t>(rows * row_bytes));
      RETURN_IF_ERROR(tensor.filler(row, piece));
      RETURN_IF_ERROR(sink(piece));
    }
    const int64_t bytes = tensor.view.bytes();
    const std::vector<std::byte> padding(static_cast<size_t>(Aligned(bytes) - bytes));
    RETURN_IF_ERROR(sink(padding));
  }
  return absl::OkStatus();
}

std::vector<TensorEntry> GgufWriter::tensors() const {
  std::vector<TensorEntry> entries;
  for (const Tensor& tensor : tensors_) entries.push_back({tensor.name, tensor.view});
  return entries;
}

std::vector<std::byte> GgufWriter::Serialize() const {
  std::vector<std::byte> out;
  const absl::Status status = Write([&out](std::span<const std::byte> bytes) {
    out.insert(out.end(), bytes.begin(), bytes.end());
    return absl::OkStatus();
  });
  CHECK(status.ok());
  return out;
}

absl::Status GgufWriter::WriteFile(const std::string& path) const {
  const std::string partial = path + ".partial";
  const auto failed = [&] { return base::Internal(path + ": " + std::strerror(errno)); };
  std::FILE* file = std::fopen(partial.c_str(), "wb");
  if (file == nullptr) return failed();
  absl::Status status = Write([&](std::span<const std::byte> bytes) {
    const bool written =
        bytes.empty() || std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
    return written ? absl::OkStatus() : failed();
  });
  if (std::fclose(file) != 0 && status.ok()) status = failed();
  if (status.ok() && std::rename(partial.c_str(), path.c_str()) != 0) status = failed();
  if (!status.ok()) std::remove(partial.c_str());
  return status;
}

}  // namespace conclave::engine
