// JSON in and out. Reading is bounded and strict, and every complaint names the place:
//   "messages[2].content: expected string or array"
//
//   ASSIGN_OR_RETURN(JsonDocument doc, JsonDocument::Parse(body, JsonLimits{}));
//   JsonValue root = doc.root();
//   ASSIGN_OR_RETURN(std::string model, root.Get("model").AsString());
//   ASSIGN_OR_RETURN(std::optional<double> t, root.Get("temperature").OptionalNumber(0, 2));
//
// Writing goes through JsonWriter, which cannot make an ill-formed document.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/status.h"

namespace conclave::base {

// Limits on what Parse accepts (mesh reference J1–J4): INVALID_ARGUMENT beyond them.
struct JsonLimits {
  int depth_max = 64;
  size_t members_max = 10'000;       // of one object
  size_t values_max = 4'000'000;     // in the whole document
  bool allow_nul_in_strings = true;  // false where PostgreSQL text stores the value
};

class JsonDocument;

// A borrowed view of one value and of the path that led to it. Cheap to copy; lives as long as the
// document. A view may stand for "absent": all readers then complain with "<path>: required".
class JsonValue final {
 public:
  JsonValue() = default;

  bool present() const { return value_ != nullptr; }
  bool is_null() const;  // present and null
  bool is_object() const;
  bool is_array() const;
  bool is_string() const;
  bool is_number() const;
  bool is_integer() const;  // representable as int64, written without fraction or exponent
  bool is_bool() const;
  // Absent or null: what "not given" means on the wire.
  bool missing() const { return !present() || is_null(); }

  // Member of an object; absent view when there is none (or this is not an object).
  JsonValue Get(std::string_view key) const;
  // Element of an array; i < size().
  JsonValue At(size_t i) const;
  size_t size() const;  // of an array or object, else 0
  // Visits the members of an object in document order.
  void ForEachMember(const std::function<void(std::string_view key, JsonValue)>& visit) const;

  absl::StatusOr<std::string> AsString() const;
  absl::StatusOr<std::string_view> AsStringView() const;
  absl::StatusOr<double> AsNumber() const;
  absl::StatusOr<double> AsNumber(double min, double max) const;
  absl::StatusOr<int64_t> AsInt() const;
  absl::StatusOr<int64_t> AsInt(int64_t min, int64_t max) const;
  absl::StatusOr<bool> AsBool() const;
  absl::Status ExpectObject() const;
  absl::Status ExpectArray() const;

  // The same readers for fields that may be absent or null.
  absl::StatusOr<std::optional<std::string>> OptionalString() const;
  absl::StatusOr<std::optional<double>> OptionalNumber(double min, double max) const;
  absl::StatusOr<std::optional<int64_t>> OptionalInt(int64_t min, int64_t max) const;
  absl::StatusOr<std::optional<bool>> OptionalBool() const;

  // INVALID_ARGUMENT "<path>: <what>".
  absl::Status Error(std::string_view what) const;
  // "messages[2].content"; empty for the root.
  std::string path() const;
  // The value as compact JSON text.
  std::string ToJson() const;

 private:
  friend class JsonDocument;
  struct PathNode;
  JsonValue(const void* value, std::shared_ptr<const PathNode> path)
      : value_(value), path_(std::move(path)) {}
  absl::Status WrongType(std::string_view expected) const;

  const void* value_ = nullptr;           // rapidjson value
  std::shared_ptr<const PathNode> path_;  // made lazily by Get and At
};

// Owns a parsed document. Movable; the views it gives point into it.
class JsonDocument final {
 public:
  // INVALID_ARGUMENT naming the byte offset or key: nesting deeper than the limit, duplicate keys,
  // invalid UTF-8, lone surrogates, trailing bytes, NaN, comments, numbers out of double range.
  static absl::StatusOr<JsonDocument> Parse(std::string_view text, const JsonLimits& limits = {});

  JsonDocument(JsonDocument&&) noexcept;
  JsonDocument& operator=(JsonDocument&&) noexcept;
  ~JsonDocument();

  JsonValue root() const;

 private:
  struct Impl;
  explicit JsonDocument(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Builds one JSON document, front to back.
//   JsonWriter w; w.BeginObject(); w.Field("id", id); w.Key("choices"); w.BeginArray(); … w.Take();
class JsonWriter final {
 public:
  JsonWriter();
  ~JsonWriter();
  JsonWriter(JsonWriter&&) noexcept;
  JsonWriter& operator=(JsonWriter&&) noexcept;

  void BeginObject();
  void EndObject();
  void BeginArray();
  void EndArray();
  void Key(std::string_view key);
  void String(std::string_view text);  // invalid UTF-8 becomes U+FFFD
  void Int(int64_t value);
  void Uint(uint64_t value);
  void Double(double value);  // NaN and infinities become null
  void Bool(bool value);
  void Null();
  void Raw(std::string_view json);  // must be one well-formed value

  void Field(std::string_view key, std::string_view text) {
    Key(key);
    String(text);
  }
  void Field(std::string_view key, const std::string& text) {
    Key(key);
    String(text);
  }
  void Field(std::string_view key, const char* text) {
    Key(key);
    String(text);
  }
  void Field(std::string_view key, bool value) {
    Key(key);
    Bool(value);
  }
  void Field(std::string_view key, double value) {
    Key(key);
    Double(value);
  }
  template <typename Int_>
    requires(std::is_integral_v<Int_> && !std::is_same_v<Int_, bool>)
  void Field(std::string_view key, Int_ value) {
    Key(key);
    Int(static_cast<int64_t>(value));
  }
  void NullField(std::string_view key) {
    Key(key);
    Null();
  }
  void RawField(std::string_view key, std::string_view json) {
    Key(key);
    Raw(json);
  }

  // The document; the writer is empty afterwards.
  std::string Take();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace conclave::base
