// The proof that two readers of the same bytes agree: whatever the gates let pass, Beast
// (request_reader) and a strict reading (strict_http.h) understand as the same request, however the
// bytes were cut. For the unit tests and the fuzz target.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "gateway/http/header_gate.h"
#include "gateway/http/request_reader.h"
#include "support/strict_http.h"

namespace conclave::test {

inline constexpr size_t kAgreementBodyMax = 4096;

struct ReaderResult {
  gateway::RequestReader::State state = gateway::RequestReader::State::kMore;
  std::string body;
  size_t used = 0;
};

// `block` passed the gate. The body in pieces of `piece` bytes, as a connection would bring it.
inline ReaderResult ReadInPieces(std::string_view block, std::string_view input, size_t piece) {
  using State = gateway::RequestReader::State;
  gateway::RequestReader reader;
  gateway::RequestHead head;
  ReaderResult result;
  if (!reader.ReadHead(block, &head)) return {State::kMalformed, "", 0};
  reader.LimitBody(kAgreementBodyMax);
  std::string pending;
  size_t arrived = 0;
  while (reader.state() == State::kMore && arrived < input.size()) {
    const std::string_view more = input.substr(arrived, piece);
    arrived += more.size();
    pending += more;
    const size_t used = reader.ReadBody(pending, &result.body);
    pending.erase(0, used);
    result.used += used;
  }
  result.state = reader.state();
  return result;
}

// "" when all agree or the gate refuses; else what differs.
inline std::string Disagreement(std::string_view bytes, bool* accepted = nullptr) {
  using State = gateway::RequestReader::State;
  const gateway::HeadJudgement judgement = gateway::JudgeHead(bytes, gateway::HeadLimits());
  const bool passed = judgement.state == gateway::HeadJudgement::State::kAccepted;
  if (accepted != nullptr) *accepted = passed;
  if (!passed) return "";
  const std::string_view block = bytes.substr(0, judgement.bytes);
  const std::string_view rest = bytes.substr(judgement.bytes);

  const std::optional<StrictHead> strict = ReadHeadStrictly(block);
  if (!strict) return "a strict reader refuses the head";
  gateway::RequestHead head;
  gateway::RequestReader reader;
  if (!reader.ReadHead(block, &head)) return "Beast refuses the head";
  if (head.method != strict->method) return "method";
  if (head.target != strict->target) return "target";
  if (head.target != head.path + (head.target == head.path ? "" : "?") + head.query) return "path";
  if (head.minor_version != strict->minor_version) return "version";
  if (head.keep_alive != strict->keep_alive) return "keep-alive";
  if (head.chunked != strict->chunked) return "chunked";
  if (head.content_length != strict->content_length) return "content-length";
  if (!std::equal(head.fields.begin(), head.fields.end(), strict->fields.begin(),
                  strict->fields.end(), [](const auto& beast, const auto& other) {
                    return beast.name == other.first && beast.value == other.second;
                  })) {
    return "fields";
  }
  if (!head.has_body()) return reader.state() == State::kDone ? "" : "a body without framing";

  const StrictBody body = ReadBodyStrictly(*strict, rest);
  const ReaderResult whole = ReadInPieces(block, rest, rest.size() + 1);
  for (const size_t piece : {1, 2, 7}) {
    const ReaderResult pieces = ReadInPieces(block, rest, piece);
    if (pieces.state != whole.state) return "the cut decides what becomes of the body";
    if (pieces.state == State::kDone && pieces.body != whole.body)
      return "the cut changes the body";
    if (pieces.state == State::kDone && pieces.used != whole.used) return "the cut moves the end";
  }
  if (whole.body.size() > kAgreementBodyMax) return "the body limit";
  if (whole.state == State::kDone) {
    if (body.state != StrictBody::State::kComplete) return "Beast ends a body that goes on";
    if (whole.body != body.bytes) return "the bytes of the body";
    if (whole.used != body.used) return "the end of the body";
  }
  // Refusing more than a strict reader is the gate's right; waiting on is not.
  if (whole.state == State::kMore && body.state != StrictBody::State::kIncomplete) {
    return "Beast waits for more of a body that is over";
  }
  return "";
}

}  // namespace conclave::test
