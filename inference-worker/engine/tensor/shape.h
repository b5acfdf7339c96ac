// The extents of a tensor, outermost first: a weight of a linear layer is [out][in] and `in` is
// contiguous. GGUF writes the same extents in the opposite order (its ne[0] is ours last).
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace conclave::engine {

inline constexpr int kMaxRank = 4;

class Shape final {
 public:
  Shape() = default;
  // At most kMaxRank extents, each >= 0. The product is the caller's to bound.
  Shape(std::initializer_list<int64_t> extents)
      : Shape(std::span(extents.begin(), extents.size())) {}
  explicit Shape(std::span<const int64_t> extents) {
    for (int64_t extent : extents) {
      if (rank_ < kMaxRank) extents_[static_cast<size_t>(rank_++)] = extent;
    }
  }

  int rank() const { return rank_; }
  int64_t operator[](int i) const { return extents_[static_cast<size_t>(i)]; }
  int64_t elements() const {
    int64_t product = 1;
    for (int i = 0; i < rank_; ++i) product *= (*this)[i];
    return product;
  }
  // "[4096][1024]"; "[]" for a scalar.
  std::string ToString() const {
    if (rank_ == 0) return "[]";
    std::string text;
    for (int i = 0; i < rank_; ++i) text += "[" + std::to_string((*this)[i]) + "]";
    return text;
  }

  friend bool operator==(const Shape& a, const Shape& b) {
    if (a.rank_ != b.rank_) return false;
    for (int i = 0; i < a.rank_; ++i) {
      if (a[i] != b[i]) return false;
    }
    return true;
  }

 private:
  std::array<int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

}  // namespace conclave::engine
