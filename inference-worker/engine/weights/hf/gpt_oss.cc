// gpt-oss: sinks, biases everywhere, experts with gate and up rows interleaved. Published files
// store the experts in MXFP4, rows first; without that they are matrices of [in][out], as
// transformers multiplies them.
#include <utility>
#include <vector>

#include "engine/weights/hf/config.h"
#include "engine/weights/hf/layers.h"
#include "engine/weights/hf/operations.h"

namespace conclave::engine {
namespace {

constexpr std::string_view kPrefixes[] = {"model."};

// Of [experts][rows][..] the rows first, first + step, …
HfTensor EveryNthRow(HfTensor stack, int64_t first, int64_t step) {
  const int64_t rows = stack.shape[1], count = rows / step;
  const Shape shape({stack.shape[0], count, stack.shape[2]});
  return SelectRows(std::move(stack), shape,
                    [=](int64_t row) { return row / count * rows + first + row % count * step; });
}

absl::Status ExpectExperts(TensorMapper& mapper, const std::string& name, const HfTensor& stack,
                           int rank) {
  const int64_t experts = mapper.model().num_experts;
  if (stack.shape.rank() == rank && stack.shape[0] == experts && stack.shape[1] % 2 == 0) {
    return absl::OkStatus();
  }
  return mapper.Wrong(name, "expected " + std::to_string(experts) +
                                " experts of an even number of rows, found " +
                                stack.shape.ToString());
}

// The weights of all experts as [experts][out][in]; `from` is followed by "_blocks" and "_scales".
absl::StatusOr<HfTensor> ReadStack(TensorMapper& mapper, const std::string& from) {
  const TensorView blocks = mapper.View(from + "_blocks");
  if (!blocks.empty()) {
    const TensorView scales = mapper.View(from + "_scales");
    if (scales.empty()) return mapper.Missing(from + "_scales");
    absl::StatusOr<HfTensor> stack = Mxfp4Stack(blocks, scales);
    if (!stack.ok()) return mapper.Wrong(from, stack.status());
    RETURN_IF_ERROR(ExpectExperts(mapper, from + "_blocks", *stack, 3));
    return stack;
  }
  ASSIGN_OR_RETURN(HfTensor stack, mapper.Stored(from));
  if (!stack.found()) return mapper.Missing(from + "_blocks");
  if (stack.shape.rank() != 3) {
    return mapper.Wrong(from, "expected a stack, found " + stack.shape.ToString());
  }
  stack = Transposed(std::move(stack));
  RETURN_IF_ERROR(ExpectExperts(mapper, from, stack, 3));
  return stack;
}

// Rows first, first + step, … of the weights and elements of the biases.
absl::Status MapPart(TensorMapper& mapper, const std::string& from, const std::string& to,
                     int64_t first, int64_t step) {
  ASSIGN_OR_RETURN(HfTensor stack, ReadStack(mapper, from));
  if (step > 1) stack = EveryNthRow(std::move(stack), first, step);
  RETURN_IF_ERROR(mapper.Add(to + ".weight", std::move(stack)));
  const std::string name = from + "_bias";
  ASSIGN_OR_RETURN(HfTensor bias, mapper.Stored(name));
  if (!bias.found()) return mapper.Missing(name);
  RETURN_IF_ERROR(ExpectExperts(mapper, name, bias, 2));
  if (step > 1) bias = Flat(EveryNthRow(AsColumn(bias.plain), first, step));
  return mapper.Add(to + ".bias", std::move(bias));
}

absl::Status MapGates(TensorMapper& mapper, const std::string& from, const std::string& to) {
  return MapPart(mapper, from, to, 0, 2);
}
absl::Status MapUps(TensorMapper& mapper, const std::string& from, const std::string& to) {
  return MapPart(mapper, from, to, 1, 2);
}
absl::Status MapDowns(TensorMapper& mapper, const std::string& from, const std::string& to) {
  return MapPart(mapper, from, to, 0, 1);
}

constexpr TensorRule kGlobals[] = {
    {"embed_tokens", "token_embd", MapModule},
    {"norm", "output_norm", MapModule},
};

constexpr TensorRule kLayers[] = {
    {"input_layernorm", "attn_norm", MapModule},
    {"post_attention_layernorm", "post_attention_norm", MapModule},
    {"self_attn.q_proj", "attn_q", MapBiased},
    {"self_attn.k_proj", "attn_k", MapBiased},
    {"self_attn.v_proj", "attn_v", MapBiased},
    {"self_attn.o_proj", "attn_output", MapBiased},
    {"self_attn.sinks", "attn_sinks.weight", MapWhole},
    {"mlp.router", "ffn_gate_inp", MapBiased},
    {"mlp.experts.gate_up_proj", "ffn_gate_exps", MapGates},
    {"mlp.experts.gate_up_proj", "ffn_up_exps", MapUps},
    {"mlp.experts.down_proj", "ffn_down_exps", MapDowns},
};

absl::Status ReadGptOss(ConfigReader& config, HfModel* model) {
  RETURN_IF_ERROR(config.ExpectText("hidden_act", "silu"));
  RETURN_IF_ERROR(config.ExpectNumber("swiglu_limit", 7));
  RETURN_IF_ERROR(config.ExpectNumber("swiglu_alpha", 1.702));
  RETURN_IF_ERROR(ReadShape(config, {.head_dim = 64, .rms_eps = 1e-5}, model));
  RETURN_IF_ERROR(ReadMixture(config, {.length = "intermediate_size", .always = true}, model));
  ASSIGN_OR_RETURN(const int64_t window, config.Int("sliding_window", 1, kConfigSizeMax, 128));
  std::vector<bool> slides;
  for (int64_t i = 0; i < model->num_layers; ++i) slides.push_back(i % 2 == 0);
  ASSIGN_OR_RETURN(slides, ReadLayerTypes(config, model->num_layers, std::move(slides)));
  SetWindow(config, window, slides, 2);
  return ReadRope(config, {.theta = 150000, .whole_bounds = false}, model);
}

constexpr std::string_view kTypes[] = {"gpt_oss"};

}  // namespace

extern const HfFamily kHfGptOss;

const HfFamily kHfGptOss = {.model_types = kTypes,
                            .architecture = "gpt-oss",
                            .read = ReadGptOss,
                            .prefixes = kPrefixes,
                            .layer = "layers.",
                            .globals = kGlobals,
                            .layers = kLayers};

}  // namespace conclave::engine
