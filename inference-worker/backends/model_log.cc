#include "backends/model_log.h"

#include <algorithm>

#include "base/utf8.h"

namespace conclave::backends {
namespace {

// A child may write any bytes; what is not UTF-8 becomes '?'.
std::string Readable(std::string_view text) {
  text = text.substr(0, ModelLog::kMessageBytesMax);
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t length = base::Utf8SequenceLength(text);
    if (length == 0) {
      out += '?';
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

}  // namespace

void ModelLog::Add(base::LogLevel level, std::string_view message,
                   std::initializer_list<base::LogField> fields) {
  Entry entry;
  entry.unix_ms = clock_->UnixMillis();
  entry.level = level;
  entry.message = Readable(message);
  for (const base::LogField& field : fields) {
    entry.fields.emplace_back(std::string(field.key()), std::string(field.json()));
  }
  const std::lock_guard lock(mutex_);
  bytes_ += BytesOf(entry);
  entries_.push_back(std::move(entry));
  while (entries_.size() > kEntriesMax || (bytes_ > kBytesMax && entries_.size() > 1)) {
    bytes_ -= BytesOf(entries_.front());
    entries_.pop_front();
  }
}

std::vector<ModelLog::Entry> ModelLog::Newest(size_t limit) const {
  const std::lock_guard lock(mutex_);
  const size_t count = limit == 0 ? entries_.size() : std::min(limit, entries_.size());
  return {entries_.end() - static_cast<std::ptrdiff_t>(count), entries_.end()};
}

int64_t ModelLog::Clear() {
  const std::lock_guard lock(mutex_);
  const auto cleared = static_cast<int64_t>(entries_.size());
  entries_.clear();
  bytes_ = 0;
  return cleared;
}

size_t ModelLog::BytesOf(const Entry& entry) {
  size_t bytes = sizeof(Entry) + entry.message.size();
  for (const auto& [key, json] : entry.fields) bytes += key.size() + json.size();
  return bytes;
}

std::string_view LevelName(base::LogLevel level) {
  switch (level) {
    case base::LogLevel::kDebug:
      return "debug";
    case base::LogLevel::kInfo:
      return "info";
    case base::LogLevel::kWarning:
      return "warning";
    case base::LogLevel::kError:
      return "error";
  }
  return "info";
}

}  // namespace conclave::backends
