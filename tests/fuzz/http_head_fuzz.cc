// The HTTP gates and Beast behind them: whatever comes, what passes is read as one strict reading.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "support/request_agreement.h"

using namespace conclave;

namespace {

void Require(const std::string& disagreement) {
  if (disagreement.empty()) return;
  std::fprintf(stderr, "disagreement: %s\n", disagreement.c_str());
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  // As a whole request, and as a chunked body alone, which is rarely reached through a head.
  Require(test::Disagreement(bytes));
  Require(test::Disagreement("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" +
                             bytes));
  return 0;
}
