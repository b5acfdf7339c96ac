// Server-sent events: LF only, one data line to an event, a blank line at its end.
// https://html.spec.whatwg.org/multipage/server-sent-events.html
#pragma once

#include <string>
#include <string_view>

namespace conclave::gateway {

inline constexpr std::string_view kSseType = "text/event-stream; charset=utf-8";

// `data` is without line ends, as compact JSON is.
void AppendSse(std::string_view data, std::string* out);
void AppendSse(std::string_view event, std::string_view data, std::string* out);

}  // namespace conclave::gateway
