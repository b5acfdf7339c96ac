#include "gateway/dialects/sse.h"

namespace conclave::gateway {

void AppendSse(std::string_view data, std::string* out) {
  *out += "data: ";
  *out += data;
  *out += "\n\n";
}

void AppendSse(std::string_view event, std::string_view data, std::string* out) {
  *out += "event: ";
  *out += event;
  *out += '\n';
  AppendSse(data, out);
}

}  // namespace conclave::gateway
