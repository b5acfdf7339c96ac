#include "engine/tokenizer/regex.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "engine/tokenizer/regex_program.h"

namespace conclave::engine {
namespace {

using regex::Instruction;
using regex::Op;
using regex::Program;

// One search over one range of a text. The memory takes two bits for each pair of a split and a
// position.
class Matcher final {
 public:
  Matcher(const Program& program, const ScannedText& text, size_t begin, size_t end)
      : program_(program),
        text_(text),
        begin_(begin),
        end_(end),
        memory_(((end - begin + 1) * program.num_splits + 3) / 4) {}

  // The end of the match that begins at `at`, by the order of alternatives.
  std::optional<size_t> MatchAt(size_t at) {
    const std::optional<size_t> match = Run(0, at, false);
    if (match.has_value()) {
      for (const size_t cell : touched_) Set(cell, kUnknown);
      touched_.clear();
    }
    return match;
  }

 private:
  enum State : uint8_t { kUnknown = 0, kOnPath = 1, kFails = 2, kMatches = 3 };
  struct Frame {
    uint32_t pc;
    size_t at;
    bool exhausted;  // both ways of the split at pc were tried
  };

  // Runs from pc until kMatch. `only_whether`: where it ends does not matter, so that places known
  // to lead to a match end the search.
  std::optional<size_t> Run(uint32_t pc, size_t at, bool only_whether) {
    const size_t bottom = stack_.size();
    for (;;) {
      std::optional<size_t> match;
      if (Advance(pc, at, only_whether, &match)) {
        for (size_t i = bottom; i < stack_.size(); ++i) {
          // What is still to be exhausted lies on the path to the match.
          if (stack_[i].exhausted) {
            Remember(stack_[i].pc, stack_[i].at, only_whether ? kMatches : kUnknown);
          }
        }
        stack_.resize(bottom);
        return match;
      }
      // Back to the last split that has a way left.
      for (;;) {
        if (stack_.size() == bottom) return std::nullopt;
        const Frame frame = stack_.back();
        stack_.pop_back();
        if (!frame.exhausted) {
          pc = frame.pc;
          at = frame.at;
          break;
        }
        Remember(frame.pc, frame.at, kFails);
      }
    }
  }

  // Follows one path; false where it fails.
  bool Advance(uint32_t pc, size_t at, bool only_whether, std::optional<size_t>* match) {
    for (;;) {
      const Instruction& in = program_.code[pc];
      switch (in.op) {
        case Op::kMatch:
          *match = at;
          return true;
        case Op::kScalar:
          if (at == end_ || text_.scalars[at] != in.a) return false;
          ++at;
          break;
        case Op::kFolded:
          if (at == end_ || regex::FoldCase(text_.scalars[at]) != in.a) return false;
          ++at;
          break;
        case Op::kSet:
          if (at == end_ ||
              !program_.sets[in.a].Contains(text_.scalars[at], text_.categories[at])) {
            return false;
          }
          ++at;
          break;
        case Op::kSplit:
          switch (StateOf(pc, at)) {
            case kUnknown:
              break;
            case kMatches:
              if (only_whether) {
                *match = at;
                return true;
              }
              break;
            default:
              return false;
          }
          Remember(pc, at, kOnPath);
          stack_.push_back({pc, at, true});
          stack_.push_back({in.b, at, false});
          pc = in.a;
          continue;
        case Op::kJump:
          pc = in.a;
          continue;
        case Op::kAhead:
        case Op::kBehind:
          if (!Looks(in, pc + 1, at)) return false;
          pc = in.a;
          continue;
        case Op::kAtomic: {
          const std::optional<size_t> inner = Run(pc + 1, at, false);
          if (!inner.has_value()) return false;
          at = *inner;
          pc = in.a;
          continue;
        }
        default:
          if (!Holds(in.op, at)) return false;
          break;
      }
      ++pc;
    }
  }

  bool Looks(const Instruction& in, uint32_t inner, size_t at) {
    const bool room = in.op == Op::kAhead || at - begin_ >= in.c;
    const size_t from = in.op == Op::kAhead ? at : at - in.c;
    const bool found = room && Run(inner, from, true).has_value();
    return found != (in.b != 0);
  }

  bool Holds(Op op, size_t at) const {
    const auto newline = [&](size_t i) { return text_.scalars[i] == '\n'; };
    const auto word = [&](size_t i) { return IsWord(text_.scalars[i]); };
    switch (op) {
      case Op::kLineBegin:
        return at == begin_ || (newline(at - 1) && at != end_);
      case Op::kLineEnd:
        return at == end_ || newline(at);
      case Op::kTextBegin:
        return at == begin_;
      case Op::kTextEnd:
        return at == end_;
      case Op::kBeforeEnd:
        return at == end_ || (at + 1 == end_ && newline(at));
      default: {
        const bool edge = (at > begin_ && word(at - 1)) != (at < end_ && word(at));
        return edge == (op == Op::kWordEdge);
      }
    }
  }

  size_t Cell(uint32_t pc, size_t at) const {
    return (at - begin_) * program_.num_splits + program_.code[pc].c;
  }
  State StateOf(uint32_t pc, size_t at) const {
    const size_t cell = Cell(pc, at);
    return static_cast<State>(memory_[cell / 4] >> (cell % 4 * 2) & 3);
  }
  void Remember(uint32_t pc, size_t at, State state) {
    const size_t cell = Cell(pc, at);
    if (program_.has_empty_loop) touched_.push_back(cell);
    Set(cell, state);
  }
  void Set(size_t cell, State state) {
    const auto shift = cell % 4 * 2;
    memory_[cell / 4] =
        static_cast<uint8_t>((memory_[cell / 4] & ~(3 << shift)) | (state << shift));
  }

  const Program& program_;
  const ScannedText& text_;
  const size_t begin_, end_;
  std::vector<uint8_t> memory_;
  std::vector<size_t> touched_;  // cells of this match, where memory does not outlive it
  std::vector<Frame> stack_;
};

}  // namespace

absl::StatusOr<Regex> Regex::Compile(std::string_view pattern) {
  ASSIGN_OR_RETURN(Program program, regex::CompileProgram(pattern));
  return Regex(std::make_shared<const Program>(std::move(program)));
}

absl::StatusOr<Regex> Regex::Literal(std::string_view text) {
  Program program;
  for (size_t at = 0; at < text.size();) {
    const DecodedScalar scalar = DecodeUtf8(text, at);
    program.code.push_back({Op::kScalar, scalar.value});
    at += scalar.length;
  }
  if (program.code.empty()) return base::InvalidArgument("an empty text to look for");
  program.code.push_back({Op::kMatch});
  return Regex(std::make_shared<const Program>(std::move(program)));
}

void Regex::FindAll(const ScannedText& text, size_t begin, size_t end,
                    std::vector<RegexMatch>* matches) const {
  if (begin == end) return;
  Matcher matcher(*program_, text, begin, end);
  std::optional<size_t> last_end;
  for (size_t at = begin; at <= end;) {
    const std::optional<size_t> match_end = matcher.MatchAt(at);
    if (!match_end.has_value() || (*match_end == at && last_end == at)) {
      ++at;
      continue;
    }
    matches->push_back({at, *match_end});
    last_end = at = *match_end;
  }
}

}  // namespace conclave::engine
