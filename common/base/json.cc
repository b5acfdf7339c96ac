#include "base/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/log.h"
#include "base/strings.h"
#include "rapidjson/document.h"
#include "rapidjson/error/en.h"
#include "rapidjson/memorystream.h"
#include "rapidjson/reader.h"
#include "rapidjson/stringbuffer.h"
#include "rapidjson/writer.h"

namespace conclave::base {
namespace {

using Value = rapidjson::Value;

// Iterative, because the recursive reader overflows the stack on deep nesting. Numbers come as text
// and are converted here: RapidJSON 1.1.0's own conversion reads "0E38" as 3.7e19.
constexpr unsigned kParseFlags = rapidjson::kParseIterativeFlag |
                                 rapidjson::kParseValidateEncodingFlag |
                                 rapidjson::kParseNumbersAsStringsFlag;

// Sits between the reader and the document and refuses what would be dear or ambiguous while it is
// still being read: depth, member counts, duplicate keys, surrogates that escaped the encoding
// check.
class LimitingHandler final {
 public:
  LimitingHandler(rapidjson::Document* out, const JsonLimits& limits)
      : out_(*out), limits_(limits) {}

  const std::string& complaint() const { return complaint_; }

  bool Null() { return Count() && out_.Null(); }
  bool Bool(bool b) { return Count() && out_.Bool(b); }
  // The reader gives every number as text (kParseFlags), already checked against the grammar.
  bool Int(int) { return false; }
  bool Uint(unsigned) { return false; }
  bool Int64(int64_t) { return false; }
  bool Uint64(uint64_t) { return false; }
  bool Double(double) { return false; }
  bool RawNumber(const char* s, rapidjson::SizeType n, bool) {
    if (!Count()) return false;
    const char* const end = s + n;
    if (int64_t i = 0; ReadWhole(s, end, &i)) return out_.Int64(i);
    if (uint64_t u = 0; ReadWhole(s, end, &u)) return out_.Uint64(u);
    double d = 0;
    const std::errc error = std::from_chars(s, end, d).ec;
    // Too small is zero; too big is a mistake of the sender.
    if (error == std::errc::result_out_of_range)
      d = std::strtod(std::string(s, n).c_str(), nullptr);
    if (!std::isfinite(d)) return Refuse("number too big to be stored in double");
    return out_.Double(d);
  }
  bool String(const char* s, rapidjson::SizeType n, bool copy) {
    return Count() && CheckText({s, n}) && out_.String(s, n, copy);
  }
  bool StartObject() {
    if (!Descend()) return false;
    keys_.emplace_back();
    return out_.StartObject();
  }
  bool Key(const char* s, rapidjson::SizeType n, bool copy) {
    const std::string_view key(s, n);
    if (!CheckText(key)) return false;
    std::vector<std::string>& keys = keys_.back();
    if (keys.size() >= limits_.members_max) {
      return Refuse(absl::StrCat("more than ", limits_.members_max, " members in one object"));
    }
    keys.emplace_back(key);
    return out_.Key(s, n, copy);
  }
  bool EndObject(rapidjson::SizeType n) {
    std::vector<std::string>& keys = keys_.back();
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) return Refuse("duplicate key " + JsonQuote(*twice));
    keys_.pop_back();
    --depth_;
    return out_.EndObject(n);
  }
  bool StartArray() { return Descend() && out_.StartArray(); }
  bool EndArray(rapidjson::SizeType n) {
    --depth_;
    return out_.EndArray(n);
  }

 private:
  bool Refuse(std::string complaint) {
    complaint_ = std::move(complaint);
    return false;
  }
  template <typename Integer>
  static bool ReadWhole(const char* begin, const char* end, Integer* value) {
    const auto [stop, error] = std::from_chars(begin, end, *value);
    return error == std::errc() && stop == end;
  }
  bool Count() {
    if (++values_ > limits_.values_max) {
      return Refuse(absl::StrCat("more than ", limits_.values_max, " values"));
    }
    return true;
  }
  bool Descend() {
    if (!Count()) return false;
    if (++depth_ > limits_.depth_max) {
      return Refuse(absl::StrCat("nesting deeper than ", limits_.depth_max));
    }
    return true;
  }
  bool CheckText(std::string_view text) {
    // A lone low surrogate escape (\uDC00) passes the reader and comes out as ED A0..BF xx.
    for (size_t i = 0; i + 1 < text.size(); ++i) {
      if (static_cast<unsigned char>(text[i]) == 0xED &&
          static_cast<unsigned char>(text[i + 1]) >= 0xA0) {
        return Refuse("lone surrogate in a string");
      }
    }
    if (!limits_.allow_nul_in_strings && text.find('\0') != std::string_view::npos) {
      return Refuse("U+0000 is not allowed in a string");
    }
    return true;
  }

  rapidjson::Document& out_;
  const JsonLimits& limits_;
  std::string complaint_;
  std::vector<std::vector<std::string>> keys_;
  int depth_ = 0;
  size_t values_ = 0;
};

const Value& AsRapid(const void* value) { return *static_cast<const Value*>(value); }

}  // namespace

struct JsonValue::PathNode {
  std::shared_ptr<const PathNode> parent;
  std::string key;   // of an object member
  size_t index = 0;  // of an array element, when key is empty
  bool is_index = false;
};

struct JsonDocument::Impl {
  rapidjson::Document document;
};

absl::StatusOr<JsonDocument> JsonDocument::Parse(std::string_view text, const JsonLimits& limits) {
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
  auto impl = std::make_unique<Impl>();
  LimitingHandler handler(&impl->document, limits);
  rapidjson::MemoryStream memory(text.data(), text.size());
  rapidjson::EncodedInputStream<rapidjson::UTF8<>, rapidjson::MemoryStream> stream(memory);
  rapidjson::Reader reader;
  rapidjson::ParseResult result;
  const auto generate = [&](rapidjson::Document&) {
    result = reader.Parse<kParseFlags>(stream, handler);
    return !result.IsError();
  };
  impl->document.Populate(generate);
  if (result.IsError()) {
    std::string why = handler.complaint();
    if (why.empty()) why = rapidjson::GetParseError_En(result.Code());
    return InvalidArgument(absl::StrCat("invalid JSON at byte ", result.Offset(), ": ", why));
  }
  return JsonDocument(std::move(impl));
}

JsonDocument::JsonDocument(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;
JsonDocument& JsonDocument::operator=(JsonDocument&&) noexcept = default;
JsonDocument::~JsonDocument() = default;

JsonValue JsonDocument::root() const {
  return JsonValue(static_cast<const Value*>(&impl_->document), nullptr);
}

bool JsonValue::is_null() const { return present() && AsRapid(value_).IsNull(); }
bool JsonValue::is_object() const { return present() && AsRapid(value_).IsObject(); }
bool JsonValue::is_array() const { return present() && AsRapid(value_).IsArray(); }
bool JsonValue::is_string() const { return present() && AsRapid(value_).IsString(); }
bool JsonValue::is_number() const { return present() && AsRapid(value_).IsNumber(); }
bool JsonValue::is_integer() const { return present() && AsRapid(value_).IsInt64(); }
bool JsonValue::is_bool() const { return present() && AsRapid(value_).IsBool(); }

JsonValue JsonValue::Get(std::string_view key) const {
  auto node = std::make_shared<PathNode>();
  node->parent = path_;
  node->key = std::string(key);
  if (!is_object()) return JsonValue(nullptr, std::move(node));
  const Value name(rapidjson::StringRef(key.data(), static_cast<rapidjson::SizeType>(key.size())));
  const auto& object = AsRapid(value_);
  const auto member = object.FindMember(name);
  const bool found = member != object.MemberEnd();
  return JsonValue(found ? &member->value : nullptr, std::move(node));
}

JsonValue JsonValue::At(size_t i) const {
  DCHECK(i < size());
  auto node = std::make_shared<PathNode>();
  node->parent = path_;
  node->index = i;
  node->is_index = true;
  if (!is_array() || i >= size()) return JsonValue(nullptr, std::move(node));
  return JsonValue(&AsRapid(value_)[static_cast<rapidjson::SizeType>(i)], std::move(node));
}

size_t JsonValue::size() const {
  if (is_array()) return AsRapid(value_).Size();
  if (is_object()) return AsRapid(value_).MemberCount();
  return 0;
}

void JsonValue::ForEachMember(
    const std::function<void(std::string_view key, JsonValue)>& visit) const {
  if (!is_object()) return;
  for (const auto& member : AsRapid(value_).GetObject()) {
    auto node = std::make_shared<PathNode>();
    node->parent = path_;
    node->key.assign(member.name.GetString(), member.name.GetStringLength());
    const std::string_view key = node->key;
    visit(key, JsonValue(&member.value, node));
  }
}

std::string JsonValue::path() const {
  std::vector<const PathNode*> nodes;
  for (const PathNode* node = path_.get(); node != nullptr; node = node->parent.get()) {
    nodes.push_back(node);
  }
  std::string text;
  for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
    if ((*it)->is_index) {
      absl::StrAppend(&text, "[", (*it)->index, "]");
    } else {
      if (!text.empty()) text += '.';
      text += (*it)->key;
    }
  }
  return text;
}

absl::Status JsonValue::Error(std::string_view what) const {
  const std::string where = path();
  return InvalidArgument(where.empty() ? std::string(what) : where + ": " + std::string(what));
}

absl::Status JsonValue::WrongType(std::string_view expected) const {
  if (!present()) return Error("required");
  return Error("expected " + std::string(expected));
}

absl::StatusOr<std::string_view> JsonValue::AsStringView() const {
  if (!is_string()) return WrongType("string");
  const Value& value = AsRapid(value_);
  return std::string_view(value.GetString(), value.GetStringLength());
}

absl::StatusOr<std::string> JsonValue::AsString() const {
  ASSIGN_OR_RETURN(const std::string_view view, AsStringView());
  return std::string(view);
}

absl::StatusOr<double> JsonValue::AsNumber() const {
  if (!is_number()) return WrongType("number");
  return AsRapid(value_).GetDouble();
}

absl::StatusOr<double> JsonValue::AsNumber(double min, double max) const {
  ASSIGN_OR_RETURN(const double value, AsNumber());
  if (!(value >= min && value <= max)) {
    return Error(absl::StrCat("must be between ", min, " and ", max));
  }
  return value;
}

absl::StatusOr<int64_t> JsonValue::AsInt() const {
  if (is_number() && !is_integer()) {
    // Some clients write 5.0 for 5; anything else with a fraction, or beyond int64, is a mistake.
    const double value = AsRapid(value_).GetDouble();
    if (std::trunc(value) == value && std::abs(value) < 9.007199254740992e15) {
      return static_cast<int64_t>(value);
    }
    return Error("expected an integer that fits 64 bits");
  }
  if (!is_integer()) return WrongType("integer");
  return AsRapid(value_).GetInt64();
}

absl::StatusOr<int64_t> JsonValue::AsInt(int64_t min, int64_t max) const {
  ASSIGN_OR_RETURN(const int64_t value, AsInt());
  if (value < min || value > max) {
    return Error(absl::StrCat("must be between ", min, " and ", max));
  }
  return value;
}

absl::StatusOr<bool> JsonValue::AsBool() const {
  if (!is_bool()) return WrongType("boolean");
  return AsRapid(value_).GetBool();
}

absl::Status JsonValue::ExpectObject() const {
  return is_object() ? absl::OkStatus() : WrongType("object");
}
absl::Status JsonValue::ExpectArray() const {
  return is_array() ? absl::OkStatus() : WrongType("array");
}

absl::StatusOr<std::optional<std::string>> JsonValue::OptionalString() const {
  if (missing()) return std::optional<std::string>();
  ASSIGN_OR_RETURN(std::string value, AsString());
  return std::optional<std::string>(std::move(value));
}
absl::StatusOr<std::optional<double>> JsonValue::OptionalNumber(double min, double max) const {
  if (missing()) return std::optional<double>();
  ASSIGN_OR_RETURN(const double value, AsNumber(min, max));
  return std::optional<double>(value);
}
absl::StatusOr<std::optional<int64_t>> JsonValue::OptionalInt(int64_t min, int64_t max) const {
  if (missing()) return std::optional<int64_t>();
  ASSIGN_OR_RETURN(const int64_t value, AsInt(min, max));
  return std::optional<int64_t>(value);
}
absl::StatusOr<std::optional<bool>> JsonValue::OptionalBool() const {
  if (missing()) return std::optional<bool>();
  ASSIGN_OR_RETURN(const bool value, AsBool());
  return std::optional<bool>(value);
}

std::string JsonValue::ToJson() const {
  if (!present()) return "null";
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
  // Accept recurses; Parse bounded the depth.
  AsRapid(value_).Accept(writer);
  return std::string(buffer.GetString(), buffer.GetSize());
}

struct JsonWriter::Impl {
  // A writer for each token of a stream is cheap when it finds its memory where the last one of the
  // thread left it.
  static constexpr size_t kSparesMax = 4;
  static constexpr size_t kSpareBytesMax = 16 << 10;

  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer{buffer};

  void Clear() {
    buffer.Clear();
    writer.Reset(buffer);
  }
  bool IsSmall() const { return buffer.stack_.GetCapacity() <= kSpareBytesMax; }

  static std::vector<std::unique_ptr<Impl>>& Spares() {
    static thread_local std::vector<std::unique_ptr<Impl>> spares;
    return spares;
  }
  static std::unique_ptr<Impl> Get() {
    if (Spares().empty()) return std::make_unique<Impl>();
    std::unique_ptr<Impl> impl = std::move(Spares().back());
    Spares().pop_back();
    return impl;
  }
  static void Return(std::unique_ptr<Impl> impl) {
    if (impl == nullptr || !impl->IsSmall() || Spares().size() >= kSparesMax) return;
    impl->Clear();
    Spares().push_back(std::move(impl));
  }
};

JsonWriter::JsonWriter() : impl_(Impl::Get()) {}
JsonWriter::~JsonWriter() { Impl::Return(std::move(impl_)); }
JsonWriter::JsonWriter(JsonWriter&&) noexcept = default;
JsonWriter& JsonWriter::operator=(JsonWriter&&) noexcept = default;

void JsonWriter::BeginObject() { impl_->writer.StartObject(); }
void JsonWriter::EndObject() { impl_->writer.EndObject(); }
void JsonWriter::BeginArray() { impl_->writer.StartArray(); }
void JsonWriter::EndArray() { impl_->writer.EndArray(); }
void JsonWriter::Key(std::string_view key) {
  impl_->writer.Key(key.data(), static_cast<rapidjson::SizeType>(key.size()));
}
void JsonWriter::String(std::string_view text) {
  const std::string quoted = JsonQuote(text);
  impl_->writer.RawValue(quoted.data(), quoted.size(), rapidjson::kStringType);
}
void JsonWriter::Int(int64_t value) { impl_->writer.Int64(value); }
void JsonWriter::Uint(uint64_t value) { impl_->writer.Uint64(value); }
void JsonWriter::Double(double value) {
  if (std::isfinite(value)) {
    impl_->writer.Double(value);
  } else {
    impl_->writer.Null();
  }
}
void JsonWriter::Bool(bool value) { impl_->writer.Bool(value); }
void JsonWriter::Null() { impl_->writer.Null(); }
void JsonWriter::Raw(std::string_view json) {
  impl_->writer.RawValue(json.data(), json.size(), rapidjson::kObjectType);
}

std::string JsonWriter::Take() {
  std::string text(impl_->buffer.GetString(), impl_->buffer.GetSize());
  if (impl_->IsSmall()) {
    impl_->Clear();
  } else {
    impl_ = std::make_unique<Impl>();
  }
  return text;
}

}  // namespace conclave::base
