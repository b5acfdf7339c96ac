#include "engine/tokenizer/cutter.h"

#include <algorithm>
#include <functional>

#include "engine/tokenizer/byte_level.h"

namespace conclave::engine {
namespace {

using Word = CutText::Word;

// A stretch of a word that an expression matched, or that lies between two matches.
struct Stretch {
  size_t begin = 0;
  size_t end = 0;
  bool is_match = false;
};

std::vector<Stretch> MergeContiguous(const std::vector<Stretch>& stretches) {
  std::vector<Stretch> merged;
  bool previous = false;
  for (const Stretch& stretch : stretches) {
    if (stretch.is_match == previous && !merged.empty()) {
      merged.back().end = stretch.end;
    } else {
      merged.push_back(stretch);
    }
    previous = stretch.is_match;
  }
  return merged;
}

std::vector<Stretch> MergeWithPrevious(const std::vector<Stretch>& stretches) {
  std::vector<Stretch> merged;
  bool previous = false;
  for (const Stretch& stretch : stretches) {
    if (stretch.is_match && !previous && !merged.empty()) {
      merged.back().end = stretch.end;
    } else {
      merged.push_back(stretch);
    }
    previous = stretch.is_match;
  }
  return merged;
}

std::vector<Stretch> MergeWithNext(const std::vector<Stretch>& stretches) {
  std::vector<Stretch> merged;  // from the back
  bool previous = false;
  for (auto stretch = stretches.rbegin(); stretch != stretches.rend(); ++stretch) {
    if (stretch->is_match && !previous && !merged.empty()) {
      merged.back().begin = stretch->begin;
    } else {
      merged.push_back(*stretch);
    }
    previous = stretch->is_match;
  }
  std::reverse(merged.begin(), merged.end());
  return merged;
}

void AppendWords(const Word& word, std::vector<Stretch> stretches, MatchBehavior behavior,
                 std::vector<Word>* words) {
  switch (behavior) {
    case MatchBehavior::kRemoved:
    case MatchBehavior::kIsolated:
      break;
    case MatchBehavior::kMergedWithPrevious:
      stretches = MergeWithPrevious(stretches);
      break;
    case MatchBehavior::kMergedWithNext:
      stretches = MergeWithNext(stretches);
      break;
    case MatchBehavior::kContiguous:
      stretches = MergeContiguous(stretches);
      break;
  }
  for (const Stretch& stretch : stretches) {
    const bool removed = behavior == MatchBehavior::kRemoved && stretch.is_match;
    if (removed || stretch.begin == stretch.end) continue;
    words->push_back(CutText::PartOf(word, stretch.begin, stretch.end));
  }
}

// Replaces each word by a text of its own.
class Rebuilder final {
 public:
  void Add(std::string_view text, size_t from_origin) {
    texts_ += text;
    ends_.push_back(texts_.size());
    words_.push_back({.from_origin = from_origin});
  }
  // With `prefix`, one scalar, in front: it comes from where the first of the text does.
  void AddPrefixed(std::string_view prefix, std::string_view text, size_t from_origin) {
    Add(std::string(prefix).append(text), from_origin + (from_origin > 0 ? 1 : 0));
  }

  void Finish(CutText* text) {
    text->text = std::move(texts_);
    text->scanned = ScannedText(text->text);
    const std::vector<size_t>& offsets = text->scanned.offsets;
    size_t at = 0;
    for (size_t i = 0; i < words_.size(); ++i) {
      words_[i].begin = at;
      while (offsets[at] < ends_[i]) ++at;
      words_[i].end = at;
    }
    text->words = std::move(words_);
  }

 private:
  std::string texts_;
  std::vector<size_t> ends_;
  std::vector<Word> words_;
};

class StageCut final : public CutStep {
 public:
  explicit StageCut(CutStage stage) : stage_(stage) {}

  void Apply(CutText* text) const override {
    std::vector<Word> words;
    std::vector<size_t> ends;
    for (const Word& word : text->words) {
      ends.clear();
      stage_(text->scanned, word.begin, word.end, &ends);
      size_t begin = word.begin;
      for (const size_t end : ends) {
        words.push_back(CutText::PartOf(word, begin, end));
        begin = end;
      }
    }
    text->words = std::move(words);
  }

 private:
  CutStage stage_;
};

class RegexCut final : public CutStep {
 public:
  RegexCut(Regex pattern, MatchBehavior behavior, bool inverted)
      : pattern_(std::move(pattern)), behavior_(behavior), inverted_(inverted) {}

  void Apply(CutText* text) const override {
    std::vector<Word> words;
    std::vector<RegexMatch> matches;
    for (const Word& word : text->words) {
      matches.clear();
      pattern_.FindAll(text->scanned, word.begin, word.end, &matches);
      std::vector<Stretch> stretches;
      size_t at = word.begin;
      for (const RegexMatch& match : matches) {
        if (at < match.begin) stretches.push_back({at, match.begin, inverted_});
        stretches.push_back({match.begin, match.end, !inverted_});
        at = match.end;
      }
      if (at < word.end) stretches.push_back({at, word.end, inverted_});
      AppendWords(word, std::move(stretches), behavior_, &words);
    }
    text->words = std::move(words);
  }

 private:
  Regex pattern_;
  MatchBehavior behavior_;
  bool inverted_;
};

class ClassCut final : public CutStep {
 public:
  ClassCut(bool (*is_match)(uint32_t), MatchBehavior behavior)
      : is_match_(is_match), behavior_(behavior) {}

  void Apply(CutText* text) const override {
    std::vector<Word> words;
    for (const Word& word : text->words) {
      std::vector<Stretch> stretches;
      for (size_t i = word.begin; i < word.end; ++i) {
        const bool match = is_match_(text->scanned.scalars[i]);
        if (!match && !stretches.empty() && !stretches.back().is_match) {
          stretches.back().end = i + 1;
        } else {
          stretches.push_back({i, i + 1, match});
        }
      }
      AppendWords(word, std::move(stretches), behavior_, &words);
    }
    text->words = std::move(words);
  }

 private:
  bool (*is_match_)(uint32_t);
  MatchBehavior behavior_;
};

class MetaspaceCut final : public CutStep {
 public:
  explicit MetaspaceCut(const MetaspaceOptions& options)
      : options_(options), replacement_(DecodeUtf8(options.replacement, 0).value) {}

  void Apply(CutText* text) const override {
    Rebuilder rebuilder;
    for (const Word& word : text->words) {
      std::string replaced;
      for (const char byte : text->TextOf(word)) {
        if (byte == ' ') {
          replaced += options_.replacement;
        } else {
          replaced.push_back(byte);
        }
      }
      const bool wanted = options_.prepend == PrependScheme::kAlways ||
                          (options_.prepend == PrependScheme::kFirst && word.from_origin > 0);
      if (wanted && !replaced.starts_with(options_.replacement)) {
        rebuilder.AddPrefixed(options_.replacement, replaced, word.from_origin);
      } else {
        rebuilder.Add(replaced, word.from_origin);
      }
    }
    rebuilder.Finish(text);
    if (options_.split) Split(text);
  }

 private:
  // Before each replacement.
  void Split(CutText* text) const {
    std::vector<Word> words;
    for (const Word& word : text->words) {
      size_t begin = word.begin;
      for (size_t i = word.begin + 1; i < word.end; ++i) {
        if (text->scanned.scalars[i] != replacement_) continue;
        words.push_back(CutText::PartOf(word, begin, i));
        begin = i;
      }
      words.push_back(CutText::PartOf(word, begin, word.end));
    }
    text->words = std::move(words);
  }

  MetaspaceOptions options_;
  uint32_t replacement_;
};

// Rebuilds every word by a function.
class RewriteCut final : public CutStep {
 public:
  explicit RewriteCut(std::function<void(const Word&, std::string_view, Rebuilder*)> rewrite)
      : rewrite_(std::move(rewrite)) {}

  void Apply(CutText* text) const override {
    Rebuilder rebuilder;
    for (const Word& word : text->words) rewrite_(word, text->TextOf(word), &rebuilder);
    rebuilder.Finish(text);
  }

 private:
  std::function<void(const Word&, std::string_view, Rebuilder*)> rewrite_;
};

}  // namespace

CutText::CutText(NormalizedText given, bool first) : text(std::move(given.text)), scanned(text) {
  if (scanned.scalars.empty()) return;
  words.push_back(
      {.begin = 0, .end = scanned.scalars.size(), .from_origin = first ? given.from_origin : 0});
}

Word CutText::PartOf(const Word& word, size_t begin, size_t end) {
  const size_t skipped = begin - word.begin;
  return {.begin = begin,
          .end = end,
          .from_origin = word.from_origin - std::min(word.from_origin, skipped)};
}

std::unique_ptr<const CutStep> MakeStageCut(CutStage stage) {
  return std::make_unique<StageCut>(stage);
}
std::unique_ptr<const CutStep> MakeRegexCut(Regex pattern, MatchBehavior behavior, bool inverted) {
  return std::make_unique<RegexCut>(std::move(pattern), behavior, inverted);
}
std::unique_ptr<const CutStep> MakeClassCut(bool (*is_match)(uint32_t), MatchBehavior behavior) {
  return std::make_unique<ClassCut>(is_match, behavior);
}
std::unique_ptr<const CutStep> MakeMetaspaceCut(const MetaspaceOptions& options) {
  return std::make_unique<MetaspaceCut>(options);
}
std::unique_ptr<const CutStep> MakePrefixSpaceCut() {
  return std::make_unique<RewriteCut>(
      [](const Word& word, std::string_view text, Rebuilder* rebuilder) {
        if (text.starts_with(' ')) {
          rebuilder->Add(text, word.from_origin);
        } else {
          rebuilder->AddPrefixed(" ", text, word.from_origin);
        }
      });
}
std::unique_ptr<const CutStep> MakeByteLevelCut() {
  return std::make_unique<RewriteCut>(
      [](const Word& word, std::string_view text, Rebuilder* rebuilder) {
        rebuilder->Add(ByteLevelText(text), word.from_origin);
      });
}

}  // namespace conclave::engine
