#include "engine/weights/source.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace conclave::engine {
namespace {

template <typename T>
T At(const std::byte* data, int64_t i) {
  T value;
  std::memcpy(&value, data + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// Calls visit with each number in its own type.
template <typename Visit>
void ForEachNumber(const MetadataNumbers& numbers, Visit visit) {
  using Type = MetadataNumbers::Type;
  for (int64_t i = 0; i < numbers.count; ++i) {
    switch (numbers.type) {
      case Type::kUint8:
      case Type::kBool:
        visit(At<uint8_t>(numbers.data, i));
        break;
      case Type::kInt8:
        visit(At<int8_t>(numbers.data, i));
        break;
      case Type::kUint16:
        visit(At<uint16_t>(numbers.data, i));
        break;
      case Type::kInt16:
        visit(At<int16_t>(numbers.data, i));
        break;
      case Type::kUint32:
        visit(At<uint32_t>(numbers.data, i));
        break;
      case Type::kInt32:
        visit(At<int32_t>(numbers.data, i));
        break;
      case Type::kUint64:
        visit(At<uint64_t>(numbers.data, i));
        break;
      case Type::kInt64:
        visit(At<int64_t>(numbers.data, i));
        break;
      case Type::kFloat32:
        visit(At<float>(numbers.data, i));
        break;
      case Type::kFloat64:
        visit(At<double>(numbers.data, i));
        break;
    }
  }
}

std::string Quoted(std::string_view path, std::string_view key) {
  return std::string(path) + ": metadata key " + std::string(key);
}

}  // namespace

absl::StatusOr<const MetadataEntry*> ModelSource::Require(std::string_view key) const {
  const MetadataEntry* entry = FindMetadata(key);
  if (entry == nullptr) return base::NotFound(Quoted(path(), key) + " is missing");
  return entry;
}

absl::Status ModelSource::WrongType(const MetadataEntry& entry, std::string_view expected) const {
  return base::InvalidArgument(Quoted(path(), entry.key) + ": expected " + std::string(expected));
}

absl::StatusOr<std::string_view> ModelSource::GetString(std::string_view key) const {
  ASSIGN_OR_RETURN(const MetadataEntry* entry, Require(key));
  const auto* text = std::get_if<std::string_view>(&entry->value);
  if (text == nullptr) return WrongType(*entry, "a string");
  return *text;
}

absl::StatusOr<int64_t> ModelSource::GetInt(std::string_view key, int64_t min, int64_t max) const {
  ASSIGN_OR_RETURN(const MetadataEntry* entry, Require(key));
  const std::string range =
      "an integer between " + std::to_string(min) + " and " + std::to_string(max);
  if (const auto* big = std::get_if<uint64_t>(&entry->value)) {
    return WrongType(*entry, range + ", found " + std::to_string(*big));
  }
  const auto* value = std::get_if<int64_t>(&entry->value);
  if (value == nullptr) return WrongType(*entry, range);
  if (*value < min || *value > max) {
    return WrongType(*entry, range + ", found " + std::to_string(*value));
  }
  return *value;
}

absl::StatusOr<double> ModelSource::GetFloat(std::string_view key, double min, double max) const {
  ASSIGN_OR_RETURN(const MetadataEntry* entry, Require(key));
  double value = 0;
  if (const auto* real = std::get_if<double>(&entry->value)) {
    value = *real;
  } else if (const auto* integer = std::get_if<int64_t>(&entry->value)) {
    value = static_cast<double>(*integer);
  } else {
    return WrongType(*entry, "a number");
  }
  if (!(value >= min && value <= max)) {  // NaN fails too
    return WrongType(*entry, "a number between " + std::to_string(min) + " and " +
                                 std::to_string(max) + ", found " + std::to_string(value));
  }
  return value;
}

absl::StatusOr<bool> ModelSource::GetBool(std::string_view key) const {
  ASSIGN_OR_RETURN(const MetadataEntry* entry, Require(key));
  const auto* value = std::get_if<bool>(&entry->value);
  if (value == nullptr) return WrongType(*entry, "a bool");
  return *value;
}

absl::StatusOr<std::vector<std::string_view>> ModelSource::GetStrings(std::string_view key) const {
  ASSIGN_OR_RETURN(const MetadataEntry* entry, Require(key));
  const auto* strings = std::get_if<std::vector<std::string_view>>(&entry->value);
  if (strings == nullptr) return WrongType(*entry, "an array of strings");
  return *strings;
}

absl::StatusOr<std::vector<int64_t>> ModelSource::GetInts(std::string_view key) const {
  ASSIGN_OR_RETURN(const MetadataEntry* entry, Require(key));
  const auto* numbers = std::get_if<MetadataNumbers>(&entry->value);
  if (numbers == nullptr || numbers->type == MetadataNumbers::Type::kFloat32 ||
      numbers->type == MetadataNumbers::Type::kFloat64) {
    return WrongType(*entry, "an array of integers");
  }
  std::vector<int64_t> values;
  values.reserve(static_cast<size_t>(numbers->count));
  bool fits = true;
  ForEachNumber(*numbers, [&](auto number) {
    if constexpr (std::is_same_v<decltype(number), uint64_t>) {
      fits = fits && number <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    }
    values.push_back(static_cast<int64_t>(number));
  });
  if (!fits) return WrongType(*entry, "integers of at most 63 bits");
  return values;
}

absl::StatusOr<std::vector<float>> ModelSource::GetFloats(std::string_view key) const {
  ASSIGN_OR_RETURN(const MetadataEntry* entry, Require(key));
  const auto* numbers = std::get_if<MetadataNumbers>(&entry->value);
  if (numbers == nullptr || numbers->type == MetadataNumbers::Type::kBool) {
    return WrongType(*entry, "an array of numbers");
  }
  std::vector<float> values;
  values.reserve(static_cast<size_t>(numbers->count));
  ForEachNumber(*numbers, [&](auto number) { values.push_back(static_cast<float>(number)); });
  return values;
}

absl::StatusOr<std::string_view> ModelSource::GetString(std::string_view key,
                                                        std::string_view fallback) const {
  if (!Has(key)) return fallback;
  return GetString(key);
}

absl::StatusOr<int64_t> ModelSource::GetInt(std::string_view key, int64_t min, int64_t max,
                                            int64_t fallback) const {
  if (!Has(key)) return fallback;
  return GetInt(key, min, max);
}

absl::StatusOr<double> ModelSource::GetFloat(std::string_view key, double min, double max,
                                             double fallback) const {
  if (!Has(key)) return fallback;
  return GetFloat(key, min, max);
}

absl::StatusOr<bool> ModelSource::GetBool(std::string_view key, bool fallback) const {
  if (!Has(key)) return fallback;
  return GetBool(key);
}

absl::StatusOr<std::optional<std::vector<int64_t>>> ModelSource::GetOptionalInts(
    std::string_view key) const {
  if (!Has(key)) return std::optional<std::vector<int64_t>>();
  ASSIGN_OR_RETURN(std::vector<int64_t> values, GetInts(key));
  return std::optional<std::vector<int64_t>>(std::move(values));
}

absl::StatusOr<std::string_view> ModelSource::Architecture() const {
  ASSIGN_OR_RETURN(const std::string_view name, GetString("general.architecture"));
  const bool plain =
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") == std::string_view::npos;
  if (name.empty() || name.size() > 64 || !plain) {
    return base::InvalidArgument(Quoted(path(), "general.architecture") +
                                 ": expected a short lower-case name");
  }
  return name;
}

}  // namespace conclave::engine
