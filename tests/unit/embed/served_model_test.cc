#include "embed/served_model.h"

#include <catch2/catch.hpp>

#include "unit/embed/tiny_bert.h"

namespace conclave::embed {
namespace {

constexpr TokenId kCls = 2;
constexpr TokenId kSep = 3;

std::unique_ptr<ServedModel> Tiny() {
  return *OpenServedModel("tiny", {"alias"}, TinyBertFolder(), {.num_threads = 1}, {});
}

}  // namespace

TEST_CASE("a text gets its special tokens, and too long a one is cut where asked") {
  const auto model = Tiny();
  const auto whole = model->Prepare("Hello", Truncate::kEnd, "input[0]");
  REQUIRE(whole.ok());
  CHECK(whole->tokens.ids.front() == kCls);
  CHECK(whole->tokens.ids.back() == kSep);
  CHECK(whole->tokens.ids.size() == 3);
  CHECK_FALSE(whole->truncated);
  CHECK(model->Prepare("", Truncate::kNone, "input[0]")->tokens.ids ==
        std::vector<TokenId>{kCls, kSep});

  std::string text = "cat";
  for (int i = 0; i < 60; ++i) text += " hello";
  text += " mat";
  const auto end = model->Prepare(text, Truncate::kEnd, "input[0]");
  const auto start = model->Prepare(text, Truncate::kStart, "input[0]");
  const TokenId cat = model->encoder().tokenizer().Find("cat");
  const TokenId mat = model->encoder().tokenizer().Find("mat");
  CHECK(end->tokens.ids.size() == 40);
  CHECK(end->truncated);
  CHECK(end->tokens.ids[1] == cat);
  CHECK(start->tokens.ids[38] == mat);
  const auto refused = model->Prepare(text, Truncate::kNone, "input[0]");
  CHECK(refused.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(base::ParamOf(refused.status()) == "input[0]");
}

TEST_CASE("ids outside the vocabulary and texts beyond all measure are refused") {
  const auto model = Tiny();
  CHECK_FALSE(model->Prepare(std::vector<TokenId>{-1}, Truncate::kEnd, "input[0]").ok());
  CHECK_FALSE(model->Prepare(std::vector<TokenId>{1 << 20}, Truncate::kEnd, "input[0]").ok());
  CHECK_FALSE(model->Prepare(std::string((1 << 20) + 1, 'a'), Truncate::kEnd, "input[0]").ok());
}

TEST_CASE("names, and a revision that the files decide") {
  const auto model = Tiny();
  CHECK(model->facts().Answers("tiny"));
  CHECK(model->facts().Answers("alias"));
  CHECK_FALSE(model->facts().Answers("other"));
  CHECK(model->facts().revision.size() == 16);
  CHECK(model->facts().revision == Tiny()->facts().revision);
}

}  // namespace conclave::embed
