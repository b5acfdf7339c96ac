#include "embed/text_frame.h"

#include <catch2/catch.hpp>

#include "embed/encoder.h"
#include "unit/embed/synth_encoder.h"

namespace conclave::embed {
namespace {

using Ids = std::vector<TokenId>;

// A WordPiece of six tokens with the given post-processor.
std::string TokenizerJson(const std::string& post_processor) {
  return R"({"model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                       "max_input_chars_per_word": 100,
                       "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "b": 5}},
             "pre_tokenizer": {"type": "BertPreTokenizer"}, "added_tokens": [],
             "post_processor": )" +
         post_processor + "}";
}

absl::StatusOr<EncoderFile> OpenWith(const std::string& post_processor) {
  const ScratchFolder folder;
  WriteFolder({}, folder.path());
  folder.Write("tokenizer.json", TokenizerJson(post_processor));
  return OpenEncoderFile(folder.path());
}

TextFrame FrameOfGguf(const SynthEncoder& spec) {
  const ScratchFolder folder;
  WriteGguf(spec, folder.path() + "/m.gguf");
  return OpenEncoderFile(folder.path() + "/m.gguf")->frame;
}

}  // namespace

TEST_CASE("a GGUF file separates a pair once for WordPiece and twice for the others") {
  const TextFrame bert = FrameOfGguf({});
  CHECK(bert.prefix == Ids{2});
  CHECK(bert.middle == Ids{3});
  CHECK(bert.suffix == Ids{3});
  const TextFrame roberta = FrameOfGguf({.types = 1, .tokenizer = "t5"});
  CHECK(roberta.prefix == Ids{2});
  CHECK(roberta.middle == Ids{3, 3});
  CHECK(roberta.suffix == Ids{3});
}

TEST_CASE("a tokenizer.json says what lies between two texts") {
  CHECK(OpenWith(R"({"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]})")
            ->frame.middle == Ids{3});
  CHECK(OpenWith(R"({"type": "RobertaProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2],
                     "trim_offsets": true, "add_prefix_space": false})")
            ->frame.middle == Ids{3, 3});
  const std::string single = R"({"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
      "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                         "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}, "pair": )";
  const auto file = OpenWith(single + R"([{"Sequence": {"id": "A", "type_id": 0}},
      {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
      {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}]})");
  INFO(file.status().ToString());
  REQUIRE(file.ok());
  CHECK(file->frame.prefix == Ids{2});
  CHECK(file->frame.middle == Ids{3, 2});
  CHECK(file->frame.suffix == Ids{3});
  const absl::Status broken = OpenWith(single + "7}").status();
  CHECK(broken.code() == absl::StatusCode::kInvalidArgument);
  CHECK(broken.ToString().find("post_processor.pair") != std::string::npos);
  CHECK(OpenWith(R"({"type": "BertProcessing", "sep": ["[SEP]", 90], "cls": ["[CLS]", 2]})")
            .status()
            .code() == absl::StatusCode::kInvalidArgument);
}

}  // namespace conclave::embed
