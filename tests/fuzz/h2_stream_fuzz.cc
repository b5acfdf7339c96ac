// What a worker may send on the connection of the streams: nothing of it may do more than end the
// streams, each once, and nothing more may be kept than the windows allow.
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "mesh/h2_framing.h"
#include "mesh/h2_session.h"

using namespace conclave::mesh;

namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

class Stream final : public H2Session::Stream {
 public:
  void OnData(std::string_view bytes) override {
    Require(ends_ == 0);
    messages_.Add(bytes);
    Require(messages_.num_left() <= H2Session::kStreamWindow);
  }
  void OnEnd(absl::Status) override { Require(++ends_ == 1); }
  // Not what would be wanted: a stream that is read takes as much as it is sent.
  void Look() {
    const auto message = messages_.Next();
    if (message.ok() && *message) Require((*message)->size() <= kMessageMax);
  }

 private:
  static constexpr size_t kMessageMax = 1000;
  MessageAssembler messages_{kMessageMax};
  int ends_ = 0;
};

// The frames of an answer's beginning, which random bytes would hardly find: SETTINGS, then the
// head of stream 1 (":status: 200" of the static table, content-type as a literal).
constexpr std::string_view kBeginning(
    "\0\0\0\4\0\0\0\0\0"
    "\0\0\x14\1\4\0\0\0\1\x88\x0f\x10\x10"
    "application/grpc",
    9 + 9 + 4 + 16);

void Play(std::string_view before, std::string_view bytes) {
  H2Session session("http", "worker:1");
  std::vector<Stream> streams(3);
  for (Stream& stream : streams) {
    Require(session.Open({.path = "/a/b", .message = "m"}, &stream).ok());
  }
  std::string out;
  session.TakeOutput(&out);
  if (!session.Receive(before).ok()) return;
  // In two pieces: what comes is cut anywhere.
  const size_t cut = bytes.empty() ? 0 : static_cast<unsigned char>(bytes[0]) % bytes.size();
  if (!session.Receive(bytes.substr(0, cut)).ok()) return;
  out.clear();
  session.TakeOutput(&out);
  if (!session.Receive(bytes.substr(cut)).ok()) return;
  session.TakeOutput(&out);
  for (Stream& stream : streams) stream.Look();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  Play("", bytes);
  Play(kBeginning, bytes);
  MessageAssembler messages(100);
  messages.Add(bytes);
  while (true) {
    const auto message = messages.Next();
    if (!message.ok() || !*message) break;
  }
  PercentDecoded(bytes);
  GrpcCode(bytes);
  return 0;
}
