// What goes into a statement and what comes out of it. Values travel as text, byte strings in
// PostgreSQL's binary form; both are copied, so nothing here borrows.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct pg_result;

namespace conclave::store {

// Byte strings (bytea) are told from text by this type.
struct Bytes {
  std::string_view data;
};

// One parameter: text, number, truth value, bytes, or null.
class Param final {
 public:
  Param(std::string_view text) : value_(std::string(text)) {}  // NOLINT: parameters read as values
  Param(const std::string& text) : value_(text) {}             // NOLINT
  Param(const char* text) : value_(std::string(text)) {}       // NOLINT
  Param(Bytes bytes) : value_(std::string(bytes.data)), binary_(true) {}  // NOLINT
  Param(bool value) : value_(value ? "t" : "f") {}                        // NOLINT
  template <std::integral Int>
    requires(!std::same_as<Int, bool>)
  Param(Int value) : value_(std::to_string(value)) {}  // NOLINT
  Param(std::nullopt_t) {}                             // NOLINT
  template <typename T>
  Param(const std::optional<T>& value) {  // NOLINT
    if (value.has_value()) *this = Param(*value);
  }

  const std::optional<std::string>& value() const { return value_; }
  bool binary() const { return binary_; }

 private:
  std::optional<std::string> value_;
  bool binary_ = false;
};

using Params = std::vector<Param>;

// "{1,2,3}": an integer array parameter.
std::string IntArray(const std::vector<int32_t>& values);

// The rows a statement gave back. Columns are counted from 0 in the order of the SELECT or
// RETURNING list; reading a column the statement does not have is our own mistake and CHECKed.
// Cheap to copy.
class Rows final {
 public:
  Rows() = default;
  explicit Rows(pg_result* result);  // takes it over

  int size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // Rows touched by an INSERT, UPDATE or DELETE.
  int64_t affected() const;

  bool IsNull(int row, int column) const;
  // The value as text; empty for null. The view lives as long as any copy of these rows.
  std::string_view Text(int row, int column) const;
  std::string String(int row, int column) const { return std::string(Text(row, column)); }
  int64_t Int(int row, int column) const;  // 0 for null
  bool Bool(int row, int column) const;    // false for null
  std::string BytesAt(int row, int column) const;
  std::vector<int32_t> Ints(int row, int column) const;  // an integer array

 private:
  std::shared_ptr<pg_result> result_;  // shared by copies of these rows only
  int size_ = 0;
};

}  // namespace conclave::store
