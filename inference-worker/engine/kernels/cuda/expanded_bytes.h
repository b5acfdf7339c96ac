// Memory that expanded latent attention works in (expanded_attention.cu). A leaf header: the CUDA
// module includes it too.
#pragma once

#include <algorithm>
#include <cstdint>

namespace conclave::engine {

// What is made of a latent for each head.
struct ExpandedShape {
  int64_t heads;
  int64_t nope;    // elements of a key that come out of the latent
  int64_t rope;    // those that follow it, the same for all heads
  int64_t value;   // elements of a value
  int64_t latent;  // elements of the latent
  int64_t element_bytes;

  int64_t key() const { return nope + rope; }
  static constexpr int64_t Padded(int64_t n) { return (n + 15) / 16 * 16; }
  // Of so many tokens, in blocks of 16.
  int64_t head_bytes(int64_t tokens) const {
    return Padded(tokens) * (key() + Padded(value)) * element_bytes;
  }
  // As the matrices make them, a token of one head.
  int64_t made_bytes() const { return (Padded(nope) + Padded(value)) * 4; }
  int64_t latent_bytes() const { return (latent + rope) * 4; }
};

// Some heads at a time, and of these some tokens at a time, so that what is made stays small.
struct ExpandedParts {
  static constexpr int64_t kHeadsBytes = int64_t{64} << 20;
  static constexpr int64_t kMadeBytes = int64_t{32} << 20;

  int64_t heads;
  int64_t rows;  // of tokens, a multiple of 16; no more than a step's rows
  int64_t kv_bytes;
  int64_t made_bytes;
  int64_t latent_bytes;
  int64_t list_bytes;

  static ExpandedParts Of(const ExpandedShape& s, int64_t tokens, int64_t rows) {
    ExpandedParts p;
    p.heads = std::clamp<int64_t>(kHeadsBytes / s.head_bytes(tokens), 1, s.heads);
    p.rows = std::clamp<int64_t>(kMadeBytes / (p.heads * s.made_bytes()), 16, 512);
    p.rows = std::min(p.rows, std::max<int64_t>(rows, 16)) / 16 * 16;
    p.kv_bytes = p.heads * s.head_bytes(tokens);
    p.made_bytes = p.rows * p.heads * s.made_bytes();
    p.latent_bytes = p.rows * s.latent_bytes();
    p.list_bytes = ListBytes(tokens, rows);
    return p;
  }
  // Each begins at a multiple of 256 bytes.
  static constexpr int64_t Rounded(int64_t bytes) { return (bytes + 255) / 256 * 256; }
  int64_t bytes() const {
    return Rounded(kv_bytes) + Rounded(made_bytes) + Rounded(latent_bytes) + list_bytes;
  }
  // The span, blocks of the sequence, tiles of 16 rows.
  static constexpr int64_t ListBytes(int64_t tokens, int64_t rows) {
    return 256 + Rounded((tokens + 15) / 16 * 4) + Rounded((rows + 15) / 16 * 8);
  }

  // No parts of sequences of up to `context` tokens in steps of up to `rows` need more.
  static int64_t BytesMax(const ExpandedShape& s, int64_t context, int64_t rows) {
    const int64_t head = s.head_bytes(context);
    const int64_t made = std::max(kMadeBytes, 16 * s.heads * s.made_bytes());
    return std::max(head, std::min(kHeadsBytes, s.heads * head)) +
           std::min(made, std::max<int64_t>(rows, 16) * s.heads * s.made_bytes()) +
           512 * s.latent_bytes() + ListBytes(context, rows) + 4 * 256;
  }
};

}  // namespace conclave::engine
