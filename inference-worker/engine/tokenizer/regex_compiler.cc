// From the tree of a regular expression to the program of the matcher.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/tokenizer/regex_program.h"
#include "engine/tokenizer/regex_syntax.h"

namespace conclave::engine::regex {
namespace {

constexpr size_t kInstructionsMax = 20'000;
// Two bits of memory for each split and scalar of text.
constexpr uint32_t kSplitsMax = 1024;

bool MayBeEmpty(const Node& node) {
  switch (node.kind) {
    case NodeKind::kScalar:
    case NodeKind::kSet:
      return false;
    case NodeKind::kSequence:
      return std::all_of(node.children.begin(), node.children.end(),
                         [](const auto& child) { return MayBeEmpty(*child); });
    case NodeKind::kChoice:
      return std::any_of(node.children.begin(), node.children.end(),
                         [](const auto& child) { return MayBeEmpty(*child); });
    case NodeKind::kRepeat:
      return node.min == 0 || MayBeEmpty(*node.children[0]);
    case NodeKind::kAtomic:
      return MayBeEmpty(*node.children[0]);
    default:
      return true;
  }
}

// How many scalars every match takes; nullopt when that differs.
std::optional<uint32_t> FixedLength(const Node& node) {
  switch (node.kind) {
    case NodeKind::kScalar:
    case NodeKind::kSet:
      return 1;
    case NodeKind::kSequence: {
      uint32_t length = 0;
      for (const auto& child : node.children) {
        const std::optional<uint32_t> part = FixedLength(*child);
        if (!part.has_value()) return std::nullopt;
        length += *part;
      }
      return length;
    }
    case NodeKind::kChoice: {
      const std::optional<uint32_t> length = FixedLength(*node.children[0]);
      for (size_t i = 1; i < node.children.size(); ++i) {
        if (FixedLength(*node.children[i]) != length) return std::nullopt;
      }
      return length;
    }
    case NodeKind::kRepeat: {
      const std::optional<uint32_t> length = FixedLength(*node.children[0]);
      if (node.min != node.max || !length.has_value()) return std::nullopt;
      return *length * node.min;
    }
    case NodeKind::kAtomic:
      return FixedLength(*node.children[0]);
    default:
      return 0;
  }
}

class Compiler final {
 public:
  absl::StatusOr<Program> Compile(const Node& tree) {
    RETURN_IF_ERROR(Emit(tree));
    Put({Op::kMatch});
    if (program_.num_splits > kSplitsMax || program_.code.size() > kInstructionsMax) {
      return TooLarge();
    }
    return std::move(program_);
  }

 private:
  static absl::Status TooLarge() {
    return base::InvalidArgument("regular expression: too large once its counts are written out");
  }
  uint32_t Here() const { return static_cast<uint32_t>(program_.code.size()); }
  uint32_t Put(Instruction instruction) {
    program_.code.push_back(instruction);
    return Here() - 1;
  }
  uint32_t PutSplit() { return Put({Op::kSplit, 0, 0, program_.num_splits++}); }
  // The ways of a split; a lazy one tries the second first.
  void Aim(uint32_t split, uint32_t first, uint32_t second, bool lazy) {
    program_.code[split].a = lazy ? second : first;
    program_.code[split].b = lazy ? first : second;
  }

  absl::Status Emit(const Node& node) {
    // Counted as well: what is empty may be repeated a thousand times a thousand times.
    if (program_.code.size() > kInstructionsMax || ++emitted_ > 4 * kInstructionsMax) {
      return TooLarge();
    }
    switch (node.kind) {
      case NodeKind::kEmpty:
        return absl::OkStatus();
      case NodeKind::kScalar:
        Put({node.any_case ? Op::kFolded : Op::kScalar, node.value});
        return absl::OkStatus();
      case NodeKind::kSet:
        program_.sets.push_back(node.set);
        Put({Op::kSet, static_cast<uint32_t>(program_.sets.size() - 1)});
        return absl::OkStatus();
      case NodeKind::kAssertion:
        Put({node.assertion});
        return absl::OkStatus();
      case NodeKind::kSequence:
        for (const auto& child : node.children) RETURN_IF_ERROR(Emit(*child));
        return absl::OkStatus();
      case NodeKind::kChoice:
        return EmitChoice(node);
      case NodeKind::kRepeat:
        return EmitRepeat(node);
      case NodeKind::kAhead:
      case NodeKind::kAtomic: {
        const Op op = node.kind == NodeKind::kAhead ? Op::kAhead : Op::kAtomic;
        return EmitInner(*node.children[0], {op, 0, node.negated ? 1u : 0u});
      }
      case NodeKind::kBehind:
        return EmitBehind(node);
    }
    return absl::OkStatus();
  }

  absl::Status EmitChoice(const Node& node) {
    std::vector<uint32_t> jumps;
    for (size_t i = 0; i + 1 < node.children.size(); ++i) {
      const uint32_t split = PutSplit();
      RETURN_IF_ERROR(Emit(*node.children[i]));
      jumps.push_back(Put({Op::kJump}));
      Aim(split, split + 1, Here(), false);
    }
    RETURN_IF_ERROR(Emit(*node.children.back()));
    for (const uint32_t jump : jumps) program_.code[jump].a = Here();
    return absl::OkStatus();
  }

  absl::Status EmitRepeat(const Node& node) {
    const Node& body = *node.children[0];
    for (uint32_t i = 0; i < node.min; ++i) RETURN_IF_ERROR(Emit(body));
    if (node.max == Node::kUnbounded) {
      if (MayBeEmpty(body)) program_.has_empty_loop = true;
      const uint32_t split = PutSplit();
      RETURN_IF_ERROR(Emit(body));
      Put({Op::kJump, split});
      Aim(split, split + 1, Here(), node.lazy);
      return absl::OkStatus();
    }
    std::vector<uint32_t> splits;
    for (uint32_t i = node.min; i < node.max; ++i) {
      splits.push_back(PutSplit());
      RETURN_IF_ERROR(Emit(body));
    }
    for (const uint32_t split : splits) Aim(split, split + 1, Here(), node.lazy);
    return absl::OkStatus();
  }

  absl::Status EmitInner(const Node& inner, Instruction around) {
    const uint32_t at = Put(around);
    RETURN_IF_ERROR(Emit(inner));
    Put({Op::kMatch});
    program_.code[at].a = Here();
    return absl::OkStatus();
  }

  // One look for each branch, as branches may differ in length.
  absl::Status EmitBehind(const Node& node) {
    const Node& inner = *node.children[0];
    const std::vector<std::unique_ptr<Node>>* branches =
        inner.kind == NodeKind::kChoice ? &inner.children : &node.children;
    std::vector<uint32_t> jumps;
    for (size_t i = 0; i < branches->size(); ++i) {
      const Node& branch = *(*branches)[i];
      const std::optional<uint32_t> length = FixedLength(branch);
      if (!length.has_value()) {
        return base::Unimplemented(
            "regular expression: a look-behind whose length differs is not supported");
      }
      // All must fail, or one must match.
      const bool more = !node.negated && i + 1 < branches->size();
      const uint32_t split = more ? PutSplit() : 0;
      RETURN_IF_ERROR(EmitInner(branch, {Op::kBehind, 0, node.negated ? 1u : 0u, *length}));
      if (!more) continue;
      jumps.push_back(Put({Op::kJump}));
      Aim(split, split + 1, Here(), false);
    }
    for (const uint32_t jump : jumps) program_.code[jump].a = Here();
    return absl::OkStatus();
  }

  Program program_;
  size_t emitted_ = 0;  // nodes so far
};

}  // namespace

absl::StatusOr<Program> CompileProgram(std::string_view pattern) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Node> tree, ParseRegex(pattern));
  return Compiler().Compile(*tree);
}

}  // namespace conclave::engine::regex
