// Server-sent events from bytes we do not trust (WHATWG HTML §9.2.6), cut anywhere. Bounded: a line
// or an event longer than the limit is an error, not memory.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace conclave::backends {

struct SseEvent {
  std::string name;  // of "event:", often empty
  std::string data;  // the data lines, joined by line feeds
};

class SseParser final {
 public:
  static constexpr size_t kEventBytesMax = size_t{1} << 20;

  // Adds bytes; Next() then gives the events they complete. RESOURCE_EXHAUSTED: too long, and
  // nothing more is read.
  absl::Status Feed(std::string_view bytes);
  std::optional<SseEvent> Next();
  const absl::Status& status() const { return status_; }

 private:
  void EndLine(std::string_view line);

  std::string bytes_;  // from position_ on not yet read
  size_t position_ = 0;
  bool skip_feed_ = false;  // the last line ended with CR: an LF now belongs to it
  bool first_line_ = true;
  SseEvent event_;
  bool has_data_ = false;
  bool complete_ = false;
  absl::Status status_;
};

}  // namespace conclave::backends
