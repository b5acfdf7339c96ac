// The gate of the chunked transfer coding: judges a chunk's head before Beast sees it. Beast bounds
// neither the digits of a size nor an extension, waits for ever for the end of a quoted one, and
// takes trailer fields; and of a last chunk that comes in pieces it asserts more than it has been
// given. So it gets chunk heads whole or not at all, and only these:
//
//   1*12HEXDIG *( ";" token [ "=" token ] ) CRLF        size, extensions (at most 256 bytes,
//   ignored)
//
// and the last chunk with its blank line, without trailer fields.
#pragma once

#include <cstddef>
#include <string_view>

namespace conclave::gateway {

struct ChunkJudgement {
  enum class State { kIncomplete, kAccepted, kRefused };
  State state = State::kIncomplete;
  size_t bytes = 0;         // of the head, when accepted
  std::string_view reason;  // when refused: a fixed word for the counter
};

// `input` begins where a chunk's head is due: with the size, or after the data of another chunk
// (`after_data`) with the CRLF that ends it. Looks at no more than some 280 bytes.
ChunkJudgement JudgeChunkHead(std::string_view input, bool after_data);

}  // namespace conclave::gateway
