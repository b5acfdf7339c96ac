// The header gate and the chunked decoder: whatever comes, what passes is unambiguous.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <variant>

#include "gateway/http/chunked_decoder.h"
#include "gateway/http/header_gate.h"

using namespace conclave::gateway;

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

// Nothing that passed could be read differently by another parser.
void CheckHead(const RequestHead& head) {
  Require(!head.method.empty());
  Require(head.target.find_first_of(" \r\n\t") == std::string::npos);
  Require(!(head.chunked && head.content_length));
  Require(!head.host.empty() || head.minor_version == 0);
  for (const HeaderField& field : head.fields) {
    Require(!field.name.empty());
    Require(field.value.find_first_of("\r\n") == std::string::npos);
    Require(field.value.find('\0') == std::string::npos);
  }
}

// The body must not depend on how the bytes were cut.
void CheckChunks(std::string_view bytes) {
  constexpr size_t kLimit = 4096;
  ChunkedDecoder whole(kLimit);
  std::string expected;
  const size_t used = whole.Feed(bytes, &expected);
  ChunkedDecoder single(kLimit);
  std::string body;
  size_t single_used = 0;
  while (single_used < bytes.size() && single.state() == ChunkedDecoder::State::kMore) {
    single_used += single.Feed(bytes.substr(single_used, 1), &body);
  }
  Require(whole.state() == single.state());
  Require(body == expected);
  Require(used == single_used);
  Require(body.size() <= kLimit);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const HeadLimits limits;
  const HeadScan scan = ScanHead(bytes, limits);
  if (scan.state == HeadScan::State::kComplete) {
    Require(scan.bytes <= size);
    const auto parsed = ParseHead(bytes.substr(0, scan.bytes), limits);
    if (const auto* head = std::get_if<RequestHead>(&parsed)) CheckHead(*head);
  }
  CheckChunks(bytes);
  return 0;
}
