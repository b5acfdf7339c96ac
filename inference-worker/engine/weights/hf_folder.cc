#include "engine/weights/hf_folder.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <numbers>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/json.h"
#include "base/strings.h"
#include "engine/weights/derived.h"
#include "engine/weights/hf_config.h"
#include "engine/weights/safetensors.h"

namespace conclave::engine {
namespace {

// Metadata and names of a GGUF file over the tensors of a checkpoint.
class HfSource final : public ModelSource {
 public:
  HfSource(std::string folder, std::shared_ptr<const ModelSource> raw)
      : names_(std::move(folder)), raw_(std::move(raw)) {}

  std::string_view path() const override { return names_.path(); }
  std::span<const MetadataEntry> metadata() const override { return names_.metadata(); }
  std::span<const TensorEntry> tensors() const override { return names_.tensors(); }
  const MetadataEntry* FindMetadata(std::string_view key) const override {
    return names_.FindMetadata(key);
  }
  const TensorEntry* FindTensor(std::string_view name) const override {
    return names_.FindTensor(name);
  }
  void Prepare(const TensorEntry& entry) const override {
    if (const auto made = derived_.find(entry.view.data); made != derived_.end()) {
      made->second->Prepare();
    }
  }
  void DoneWith(const TensorView& tensor) const override {
    if (const auto made = derived_.find(tensor.data); made != derived_.end()) {
      made->second->Release();
    } else {
      raw_->DoneWith(tensor);
    }
  }
  absl::Status Health() const override { return raw_->Health(); }

  DirectorySource& names() { return names_; }
  const ModelSource& raw() const { return *raw_; }
  absl::Status AddDerived(std::string name, DType dtype, const Shape& shape, RowMaker maker) {
    ASSIGN_OR_RETURN(std::unique_ptr<DerivedTensor> made,
                     DerivedTensor::Make(dtype, shape, std::move(maker)));
    names_.AddTensor(std::move(name), made->view());
    const std::byte* const data = made->view().data;
    derived_.emplace(data, std::move(made));
    return absl::OkStatus();
  }

 private:
  DirectorySource names_;
  std::shared_ptr<const ModelSource> raw_;
  std::unordered_map<const std::byte*, std::unique_ptr<DerivedTensor>> derived_;
};

// Gives the tensors of a checkpoint the names, shapes and order of a GGUF file.
class Namer final {
 public:
  Namer(const HfModel& model, HfSource* source) : model_(model), source_(*source) {}

  absl::Status AddAll() {
    RETURN_IF_ERROR(Copy("model.embed_tokens.weight", "token_embd.weight", true));
    RETURN_IF_ERROR(Copy("model.norm.weight", "output_norm.weight", true));
    // A head that is tied may be stored all the same.
    if (!model_.tied) {
      RETURN_IF_ERROR(Linear("lm_head", "output", {}, false));
    } else {
      Take("lm_head.weight");
    }
    if (model_.llama3.has_value()) RETURN_IF_ERROR(AddRopeFactors());
    for (int64_t i = 0; i < model_.num_layers; ++i) RETURN_IF_ERROR(AddLayer(i));
    return CheckLeftovers();
  }

 private:
  using RowOrder = std::function<int64_t(int64_t)>;

  absl::Status Wrong(const std::string& name, const absl::Status& status) const {
    return base::Annotate(status, std::string(source_.raw().path()) + ": " + name);
  }
  // nullptr when there is none.
  const TensorEntry* Take(const std::string& name) {
    const TensorEntry* entry = source_.raw().FindTensor(name);
    if (entry != nullptr) taken_.insert(name);
    return entry;
  }
  TensorView View(const std::string& name) {
    const TensorEntry* entry = Take(name);
    return entry == nullptr ? TensorView() : entry->view;
  }
  absl::Status Missing(const std::string& name) const {
    return base::NotFound(std::string(source_.raw().path()) + ": " + name + ": no such tensor");
  }

  absl::Status Copy(const std::string& from, const std::string& to, bool required) {
    const TensorEntry* entry = Take(from);
    if (entry == nullptr) return required ? Missing(from) : absl::OkStatus();
    source_.names().AddTensor(to, entry->view);
    return absl::OkStatus();
  }

  // The matrix of a linear layer, however it is stored; `out` is empty when there is none.
  absl::StatusOr<HfMatrix> Matrix(const std::string& name) {
    if (model_.quantization == HfQuantization::kGptq ||
        model_.quantization == HfQuantization::kAwq) {
      const Int4Tensors tensors{.weights = View(name + ".qweight"),
                                .zeros = View(name + ".qzeros"),
                                .scales = View(name + ".scales"),
                                .groups = View(name + ".g_idx")};
      if (!tensors.weights.empty()) {
        for (const auto& [view, part] :
             {std::pair(tensors.zeros, ".qzeros"), std::pair(tensors.scales, ".scales")}) {
          if (view.empty()) return Missing(name + part);
        }
        auto matrix = model_.quantization == HfQuantization::kGptq
                          ? GptqMatrix(tensors, model_.group_size, model_.gptq_v2)
                          : AwqMatrix(tensors, model_.group_size);
        if (!matrix.ok()) return Wrong(name, matrix.status());
        return matrix;
      }
    }
    const TensorView weight = View(name + ".weight");
    if (weight.empty()) return HfMatrix{};
    if (weight.shape.rank() != 2) {
      return Wrong(name + ".weight",
                   base::InvalidArgument("expected a matrix, found " + weight.shape.ToString()));
    }
    const TensorView scales = View(name + ".weight_scale_inv");
    if (scales.empty()) return PlainMatrix(weight);
    if (model_.quantization != HfQuantization::kFp8) {
      return Wrong(name + ".weight_scale_inv",
                   base::InvalidArgument("config.json does not say quant_method fp8"));
    }
    auto matrix = Fp8Matrix(weight, scales, model_.fp8_block);
    if (!matrix.ok()) return Wrong(name, matrix.status());
    return matrix;
  }

  // "<from>.weight" and "<from>.bias".
  absl::Status Linear(const std::string& from, const std::string& to, const RowOrder& order,
                      bool required = true) {
    ASSIGN_OR_RETURN(HfMatrix matrix, Matrix(from));
    if (matrix.out == 0) return required ? Missing(from + ".weight") : absl::OkStatus();
    RETURN_IF_ERROR(AddMatrix(to + ".weight", std::move(matrix), order));
    const TensorView bias = View(from + ".bias");
    if (bias.empty()) return absl::OkStatus();
    if (bias.shape.rank() != 1) {
      return Wrong(from + ".bias", base::InvalidArgument("expected a vector"));
    }
    if (order == nullptr) {
      source_.names().AddTensor(to + ".bias", bias);
      return absl::OkStatus();
    }
    // A vector is one row: its elements are moved.
    const int64_t n = bias.shape[0], size = bias.bytes() / n;
    return source_.AddDerived(to + ".bias", bias.dtype, bias.shape, [=](int64_t, std::byte* out) {
      for (int64_t i = 0; i < n; ++i) {
        std::memcpy(out + i * size, bias.data + order(i) * size, static_cast<size_t>(size));
      }
    });
  }

  absl::Status AddMatrix(std::string name, HfMatrix matrix, const RowOrder& order) {
    if (order != nullptr) matrix = ReorderRows(std::move(matrix), order);
    if (!matrix.plain.empty()) {
      source_.names().AddTensor(std::move(name), matrix.plain);
      return absl::OkStatus();
    }
    return source_.AddDerived(std::move(name), matrix.dtype, Shape({matrix.out, matrix.in}),
                              std::move(matrix.row));
  }

  // Of a head of d rows, row 2i + j here is row j·d/2 + i there.
  absl::StatusOr<RowOrder> HeadOrder(const std::string& name, int64_t heads) {
    if (!model_.permutes_qk) return RowOrder();
    ASSIGN_OR_RETURN(const HfMatrix matrix, Matrix(name));
    const int64_t d = model_.head_dim;
    if (matrix.out != heads * d || d % 2 != 0) {
      return Wrong(name + ".weight",
                   base::InvalidArgument("expected " + std::to_string(heads) +
                                         " heads of an even number of rows, found " +
                                         std::to_string(matrix.out) + " rows"));
    }
    return RowOrder([d](int64_t row) {
      const int64_t head = row / d, within = row % d;
      return head * d + within % 2 * (d / 2) + within / 2;
    });
  }

  absl::Status AddLayer(int64_t layer) {
    const std::string from = "model.layers." + std::to_string(layer) + ".";
    const std::string to = "blk." + std::to_string(layer) + ".";
    RETURN_IF_ERROR(Copy(from + "input_layernorm.weight", to + "attn_norm.weight", true));
    RETURN_IF_ERROR(Copy(from + "post_attention_layernorm.weight", to + "ffn_norm.weight", true));
    const std::string attention = from + "self_attn.";
    ASSIGN_OR_RETURN(const RowOrder q, HeadOrder(attention + "q_proj", model_.num_heads));
    ASSIGN_OR_RETURN(const RowOrder k, HeadOrder(attention + "k_proj", model_.num_kv_heads));
    RETURN_IF_ERROR(Linear(attention + "q_proj", to + "attn_q", q));
    RETURN_IF_ERROR(Linear(attention + "k_proj", to + "attn_k", k));
    RETURN_IF_ERROR(Linear(attention + "v_proj", to + "attn_v", {}));
    RETURN_IF_ERROR(Linear(attention + "o_proj", to + "attn_output", {}));
    RETURN_IF_ERROR(Copy(attention + "q_norm.weight", to + "attn_q_norm.weight", false));
    RETURN_IF_ERROR(Copy(attention + "k_norm.weight", to + "attn_k_norm.weight", false));
    Take(attention + "rotary_emb.inv_freq");  // old files keep what config.json says
    if (model_.num_experts > 0) return AddExperts(from, to);
    RETURN_IF_ERROR(Linear(from + "mlp.gate_proj", to + "ffn_gate", {}));
    RETURN_IF_ERROR(Linear(from + "mlp.up_proj", to + "ffn_up", {}));
    return Linear(from + "mlp.down_proj", to + "ffn_down", {});
  }

  absl::Status AddExperts(const std::string& from, const std::string& to) {
    const std::string mixture = from + std::string(model_.expert_prefix) + ".";
    RETURN_IF_ERROR(Linear(mixture + "gate", to + "ffn_gate_inp", {}));
    const std::string fused = mixture + "experts.gate_up_proj";
    if (source_.raw().FindTensor(fused) != nullptr) return AddFusedExperts(mixture, to);
    RETURN_IF_ERROR(Stack(mixture, std::string(model_.gate), to + "ffn_gate_exps.weight"));
    RETURN_IF_ERROR(Stack(mixture, std::string(model_.up), to + "ffn_up_exps.weight"));
    return Stack(mixture, std::string(model_.down), to + "ffn_down_exps.weight");
  }

  // Experts apart become one stack. It is made when it is packed, so that no more than one stack
  // is in memory besides what is packed.
  absl::Status Stack(const std::string& mixture, const std::string& part, std::string to) {
    auto experts = std::make_shared<std::vector<HfMatrix>>();
    for (int64_t e = 0; e < model_.num_experts; ++e) {
      const std::string name = mixture + "experts." + std::to_string(e) + "." + part;
      ASSIGN_OR_RETURN(HfMatrix matrix, Matrix(name));
      if (matrix.out == 0) return Missing(name + ".weight");
      const bool first = experts->empty();
      if (!first && (matrix.dtype != experts->front().dtype || matrix.out != experts->front().out ||
                     matrix.in != experts->front().in)) {
        return Wrong(name, base::InvalidArgument("type or shape is not that of expert 0"));
      }
      experts->push_back(std::move(matrix));
    }
    const HfMatrix& first = experts->front();
    return source_.AddDerived(std::move(to), first.dtype,
                              Shape({model_.num_experts, first.out, first.in}),
                              [experts, rows = first.out](int64_t row, std::byte* out) {
                                (*experts)[static_cast<size_t>(row / rows)].row(row % rows, out);
                              });
  }

  // [experts][gate rows, then up rows][hidden] and [experts][hidden][rows].
  absl::Status AddFusedExperts(const std::string& mixture, const std::string& to) {
    const TensorView both = View(mixture + "experts.gate_up_proj");
    const TensorView down = View(mixture + "experts.down_proj");
    if (both.shape.rank() != 3 || both.shape[1] % 2 != 0 || down.shape.rank() != 3) {
      return Wrong(mixture + "experts.gate_up_proj",
                   base::InvalidArgument("expected stacks of gate and up rows, found " +
                                         both.shape.ToString()));
    }
    const int64_t rows = both.shape[1] / 2;
    for (const int64_t part : {0, 1}) {
      RETURN_IF_ERROR(source_.AddDerived(
          to + (part == 0 ? "ffn_gate_exps.weight" : "ffn_up_exps.weight"), both.dtype,
          Shape({both.shape[0], rows, both.shape[2]}), [=](int64_t row, std::byte* out) {
            const int64_t from = row / rows * 2 * rows + part * rows + row % rows;
            std::memcpy(out, both.row(from), static_cast<size_t>(both.row_bytes()));
          }));
    }
    source_.names().AddTensor(to + "ffn_down_exps.weight", down);
    return absl::OkStatus();
  }

  // By what each frequency is divided: 1 where it is high, `factor` where it is low, and between
  // the two in between (the model card of Llama 3.1).
  absl::Status AddRopeFactors() {
    const Llama3Rope& rope = *model_.llama3;
    const int64_t half = model_.head_dim / 2;
    return source_.AddDerived(
        "rope_freqs.weight", DType::kF32, Shape({half}), [=](int64_t, std::byte* out) {
          const auto context = static_cast<double>(rope.original_context);
          for (int64_t i = 0; i < half; ++i) {
            const double frequency =
                std::pow(rope.base, -static_cast<double>(i) / static_cast<double>(half));
            const double wavelength = 2 * std::numbers::pi / frequency;
            double divisor = 1;
            if (wavelength > context / rope.low) {
              divisor = rope.factor;
            } else if (wavelength >= context / rope.high) {
              const double smooth = (context / wavelength - rope.low) / (rope.high - rope.low);
              divisor = 1 / ((1 - smooth) / rope.factor + smooth);
            }
            const auto value = static_cast<float>(divisor);
            std::memcpy(out + i * 4, &value, 4);
          }
        });
  }

  absl::Status CheckLeftovers() const {
    for (const TensorEntry& entry : source_.raw().tensors()) {
      if (taken_.contains(entry.name)) continue;
      return base::Unimplemented(std::string(source_.raw().path()) + ": " + entry.name +
                                 ": a tensor this architecture does not have");
    }
    return absl::OkStatus();
  }

  const HfModel& model_;
  HfSource& source_;
  std::set<std::string> taken_;
};

absl::StatusOr<std::string> ReadConfig(const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> file, MappedFile::Open(path));
  if (file->bytes().size() > (16u << 20)) return base::InvalidArgument(path + ": over 16 MiB");
  return std::string(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ModelSource>> OpenHfFolder(const std::string& folder) {
  const std::string config_path = folder + "/config.json";
  ASSIGN_OR_RETURN(const std::string text, ReadConfig(config_path));
  const absl::StatusOr<base::JsonDocument> config = base::JsonDocument::Parse(text);
  if (!config.ok()) return base::Annotate(config.status(), config_path);
  ASSIGN_OR_RETURN(std::shared_ptr<const ModelSource> raw, OpenSafetensors(folder));
  auto source = std::make_shared<HfSource>(folder, std::move(raw));
  const auto model = ReadHfConfig(config->root(), &source->names());
  if (!model.ok()) return base::Annotate(model.status(), config_path);
  RETURN_IF_ERROR(ReadHfTextFiles(folder, config->root(), &source->names()));
  RETURN_IF_ERROR(Namer(*model, source.get()).AddAll());
  return std::shared_ptr<const ModelSource>(std::move(source));
}

}  // namespace conclave::engine
