#include "store/db/result.h"

#include <libpq-fe.h>

#include <charconv>

#include "base/check.h"

namespace conclave::store {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

std::string IntArray(const std::vector<int32_t>& values) {
  std::string text = "{";
  for (const int32_t value : values) {
    if (text.size() > 1) text += ',';
    text += std::to_string(value);
  }
  text += '}';
  return text;
}

Rows::Rows(pg_result* result) : result_(result, &PQclear), size_(PQntuples(result)) {}

int64_t Rows::affected() const {
  if (!result_) return 0;
  const std::string_view text = PQcmdTuples(result_.get());
  int64_t count = 0;
  std::from_chars(text.data(), text.data() + text.size(), count);
  return count;
}

bool Rows::IsNull(int row, int column) const {
  CHECK(row >= 0 && row < size_ && column >= 0 && column < PQnfields(result_.get()));
  return PQgetisnull(result_.get(), row, column) != 0;
}

std::string_view Rows::Text(int row, int column) const {
  CHECK(row >= 0 && row < size_ && column >= 0 && column < PQnfields(result_.get()));
  return {PQgetvalue(result_.get(), row, column),
          static_cast<size_t>(PQgetlength(result_.get(), row, column))};
}

int64_t Rows::Int(int row, int column) const {
  const std::string_view text = Text(row, column);
  int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

bool Rows::Bool(int row, int column) const { return Text(row, column) == "t"; }

std::string Rows::BytesAt(int row, int column) const {
  // bytea_output is 'hex': \x followed by two digits a byte.
  std::string_view text = Text(row, column);
  if (text.substr(0, 2) != "\\x") return {};
  text.remove_prefix(2);
  std::string bytes;
  bytes.reserve(text.size() / 2);
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<char>(HexDigit(text[i]) * 16 + HexDigit(text[i + 1])));
  }
  return bytes;
}

std::vector<int32_t> Rows::Ints(int row, int column) const {
  const std::string_view text = Text(row, column);
  std::vector<int32_t> values;
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  while (at < end) {
    int32_t value = 0;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error == std::errc()) {
      values.push_back(value);
      at = next;
    } else {
      ++at;  // a brace or a comma
    }
  }
  return values;
}

}  // namespace conclave::store
