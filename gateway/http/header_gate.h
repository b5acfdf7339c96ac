// The first reader of every byte that comes from outside: it judges the raw header block and
// refuses whatever two HTTP parsers could read differently, so nothing can be smuggled through an
// ingress in front of us (mesh reference H1, H2, H7). It hands out no fields: Beast
// (request_reader.h) takes the block apart, and of the blocks that pass here it has exactly one
// reading, which the tests hold against a strict one of their own.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace conclave::gateway {

struct HeadLimits {
  size_t block_bytes_max = 16 * 1024;
  size_t fields_max = 100;
  size_t target_bytes_max = 8 * 1024;
};

// Why a head was refused. `reason` is a fixed word for the counter conclave_http_rejected_total.
struct HeadRefusal {
  int status = 400;
  std::string_view reason;
  std::string message;
};

struct HeadJudgement {
  enum class State { kIncomplete, kAccepted, kRefused };
  State state = State::kIncomplete;
  size_t bytes = 0;     // of the block with its blank line, when accepted
  HeadRefusal refusal;  // when refused; everything that can be told early is told early
};

// `input` begins with a request and may go on beyond its head.
HeadJudgement JudgeHead(std::string_view input, const HeadLimits& limits);

}  // namespace conclave::gateway
