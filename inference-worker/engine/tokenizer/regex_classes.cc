// The classes of regular expressions: what \d, \p{Lu} and [[:alpha:]] stand for.
#include <algorithm>
#include <cctype>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "engine/tokenizer/regex_syntax.h"

namespace conclave::engine::regex {
namespace {

constexpr uint32_t Bit(Category c) { return 1u << static_cast<uint32_t>(c); }

constexpr uint32_t Bits(Category first, Category last) {
  uint32_t bits = 0;
  for (auto c = static_cast<uint32_t>(first); c <= static_cast<uint32_t>(last); ++c)
    bits |= 1u << c;
  return bits;
}

constexpr uint32_t kLetters = Bits(Category::kLl, Category::kLu);
constexpr uint32_t kMarks = Bits(Category::kMc, Category::kMn);
constexpr uint32_t kNumbers = Bits(Category::kNd, Category::kNo);
constexpr uint32_t kSymbols = Bits(Category::kSc, Category::kSo);
constexpr uint32_t kPunctuation = Bits(Category::kPc, Category::kPs);

struct Named {
  std::string_view name;  // lower case, without spaces, "_" and "-"
  uint32_t categories;
};
constexpr Named kCategories[] = {
    {"l", kLetters},
    {"letter", kLetters},
    {"m", kMarks},
    {"mark", kMarks},
    {"n", kNumbers},
    {"number", kNumbers},
    {"p", kPunctuation},
    {"punctuation", kPunctuation},
    {"s", kSymbols},
    {"symbol", kSymbols},
    {"z", Bits(Category::kZl, Category::kZs)},
    {"separator", Bits(Category::kZl, Category::kZs)},
    {"c", Bits(Category::kCn, Category::kCs)},
    {"other", Bits(Category::kCn, Category::kCs)},
    {"cn", Bit(Category::kCn)},
    {"cc", Bit(Category::kCc)},
    {"cf", Bit(Category::kCf)},
    {"co", Bit(Category::kCo)},
    {"cs", Bit(Category::kCs)},
    {"ll", Bit(Category::kLl)},
    {"lm", Bit(Category::kLm)},
    {"lo", Bit(Category::kLo)},
    {"lt", Bit(Category::kLt)},
    {"lu", Bit(Category::kLu)},
    {"mc", Bit(Category::kMc)},
    {"me", Bit(Category::kMe)},
    {"mn", Bit(Category::kMn)},
    {"nd", Bit(Category::kNd)},
    {"nl", Bit(Category::kNl)},
    {"no", Bit(Category::kNo)},
    {"pc", Bit(Category::kPc)},
    {"pd", Bit(Category::kPd)},
    {"pe", Bit(Category::kPe)},
    {"pf", Bit(Category::kPf)},
    {"pi", Bit(Category::kPi)},
    {"po", Bit(Category::kPo)},
    {"ps", Bit(Category::kPs)},
    {"sc", Bit(Category::kSc)},
    {"sk", Bit(Category::kSk)},
    {"sm", Bit(Category::kSm)},
    {"so", Bit(Category::kSo)},
    {"zl", Bit(Category::kZl)},
    {"zp", Bit(Category::kZp)},
    {"zs", Bit(Category::kZs)},
};

CharSet OfCategories(uint32_t categories) {
  CharSet set;
  set.categories = categories;
  return set;
}

CharSet Inverted(CharSet set) {
  set.negated = !set.negated;
  return set;
}

CharSet HexDigits() {
  CharSet set;
  set.ranges = {{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
  return set;
}

// The scalars whose lower case differs, by that lower case.
const absl::flat_hash_map<uint32_t, uint32_t>& UpperByLower() {
  static const auto* table = [] {
    auto* made = new absl::flat_hash_map<uint32_t, uint32_t>();
    for (size_t i = 0; i < unicode_data::kLowerRunCount; ++i) {
      const unicode_data::LowerRun& run = unicode_data::kLowerRuns[i];
      for (uint32_t k = 0; k < run.count; ++k) {
        const uint32_t upper = run.first + k * run.step;
        made->try_emplace(static_cast<uint32_t>(static_cast<int64_t>(upper) + run.delta), upper);
      }
    }
    return made;
  }();
  return *table;
}

}  // namespace

uint32_t FoldCase(uint32_t scalar) {
  if (scalar < 0x80) return scalar >= 'A' && scalar <= 'Z' ? scalar + 32 : scalar;
  // Second lower-case forms of a letter; lower-casing leaves them alone.
  switch (scalar) {
    case 0x17F:
      return 's';
    case 0x345:
    case 0x1FBE:
      return 0x3B9;
    case 0x3C2:
      return 0x3C3;
    case 0x3D0:
      return 0x3B2;
    case 0x3D1:
      return 0x3B8;
    case 0x3D5:
      return 0x3C6;
    case 0x3D6:
      return 0x3C0;
    case 0x3F0:
      return 0x3BA;
    case 0x3F1:
      return 0x3C1;
    case 0x3F5:
      return 0x3B5;
    case 0x1E9B:
      return 0x1E61;
    default:
      break;
  }
  std::u32string lower;
  AppendLower(scalar, &lower);
  return lower.size() == 1 ? lower[0] : scalar;
}

bool CharSet::ContainsExactly(uint32_t scalar, Category category) const {
  if ((categories >> static_cast<uint32_t>(category) & 1) != 0) return true;
  if (property != nullptr && property(scalar)) return true;
  for (const auto& [first, last] : ranges) {
    if (scalar >= first && scalar <= last) return true;
  }
  for (const auto* script : scripts) {
    if (IsOfScript(scalar, *script)) return true;
  }
  return std::any_of(parts.begin(), parts.end(),
                     [&](const CharSet& part) { return part.Contains(scalar, category); });
}

bool CharSet::Contains(uint32_t scalar, Category category) const {
  bool holds = ContainsExactly(scalar, category);
  if (!holds && any_case) {
    const uint32_t folded = FoldCase(scalar);
    const auto upper = UpperByLower().find(folded);
    holds = ContainsExactly(folded, CategoryOf(folded)) ||
            (upper != UpperByLower().end() &&
             ContainsExactly(upper->second, CategoryOf(upper->second)));
  }
  for (const CharSet& other : intersection) holds = holds && other.Contains(scalar, category);
  return holds != negated;
}

std::optional<CharSet> ClassOfEscape(char letter) {
  CharSet set;
  switch (std::tolower(static_cast<unsigned char>(letter))) {
    case 'd':
      set = OfCategories(Bit(Category::kNd));
      break;
    case 'w':
      set.property = IsWord;
      break;
    case 's':
      set.property = IsWhiteSpace;
      break;
    case 'h':
      set = HexDigits();
      break;
    default:
      return std::nullopt;
  }
  return std::isupper(static_cast<unsigned char>(letter)) != 0 ? Inverted(std::move(set)) : set;
}

std::optional<CharSet> ClassOfPosix(std::string_view name) {
  CharSet set;
  if (name == "alpha" || name == "alnum") {
    set.property = IsAlphabetic;
    if (name == "alnum") set.categories = Bit(Category::kNd);
  } else if (name == "lower") {
    set.property = IsLowercase;
  } else if (name == "upper") {
    set.property = IsUppercase;
  } else if (name == "digit") {
    set.categories = Bit(Category::kNd);
  } else if (name == "punct") {
    set.categories = kPunctuation | kSymbols;
  } else if (name == "space") {
    set.property = IsWhiteSpace;
  } else if (name == "word") {
    set.property = IsWord;
  } else if (name == "xdigit") {
    set = HexDigits();
  } else if (name == "cntrl") {
    set = OfCategories(Bit(Category::kCc));
  } else if (name == "blank") {
    set = OfCategories(Bit(Category::kZs));
    set.ranges = {{'\t', '\t'}};
  } else if (name == "ascii") {
    set.ranges = {{0, 0x7F}};
  } else {
    return std::nullopt;
  }
  return set;
}

std::optional<CharSet> ClassOfProperty(std::string_view name) {
  const bool inverted = name.starts_with('^');
  if (inverted) name.remove_prefix(1);
  std::string plain;
  for (const char c : name) {
    if (c != ' ' && c != '_' && c != '-') {
      plain.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
    }
  }
  std::optional<CharSet> set;
  for (const Named& category : kCategories) {
    if (category.name == plain) set = OfCategories(category.categories);
  }
  if (!set.has_value()) {
    for (size_t i = 0; i < unicode_data::kScriptCount && !set.has_value(); ++i) {
      std::string script(unicode_data::kScripts[i].name);
      std::transform(script.begin(), script.end(), script.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      if (script != plain) continue;
      set.emplace();
      set->scripts = {&unicode_data::kScripts[i]};
    }
  }
  if (!set.has_value() && (plain == "whitespace" || plain == "space")) set = ClassOfEscape('s');
  if (!set.has_value() && plain == "any") {
    set.emplace();
    set->negated = true;
  }
  if (!set.has_value() && plain == "alphabetic") plain = "alpha";
  if (!set.has_value() && plain == "lowercase") plain = "lower";
  if (!set.has_value() && plain == "uppercase") plain = "upper";
  if (!set.has_value()) set = ClassOfPosix(plain);
  if (set.has_value() && inverted) set = Inverted(*std::move(set));
  return set;
}

}  // namespace conclave::engine::regex
