#include "embed/post_norm_weights.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/strings.h"

namespace conclave::embed {
namespace {

using engine::Binder;
using engine::Kernels;
using engine::ModelSource;
using engine::TensorEntry;
using engine::TensorView;

absl::Status Wrong(const ModelSource& source, const std::string& what) {
  return base::InvalidArgument(absl::StrCat(base::Abs(source.path()), ": ", what));
}

class Loader final {
 public:
  Loader(const ModelSource& source, const PostNormTraits& traits, const PostNormShape& shape,
         Kernels& kernels)
      : binder_(source), traits_(traits), shape_(shape), kernels_(kernels) {}

  absl::StatusOr<PostNormWeights> Load(bool ranks) {
    PostNormWeights w;
    ASSIGN_OR_RETURN(w.words, Table("token_embd.weight", shape_.vocab));
    if (traits_.positions) {
      ASSIGN_OR_RETURN(w.positions, Table("position_embd.weight", shape_.context));
    }
    RETURN_IF_ERROR(LoadTypes(&w.types));
    ASSIGN_OR_RETURN(w.embedding_norm, Norm("token_embd_norm"));
    for (int32_t i = 0; i < shape_.layers; ++i) {
      ASSIGN_OR_RETURN(PostNormLayer layer, LoadLayer(absl::StrCat("blk.", i, ".")));
      w.layers.push_back(std::move(layer));
    }
    if (ranks) {
      ASSIGN_OR_RETURN(w.rank, LoadRankHead());
    }
    const std::vector<std::string> leftovers = binder_.Leftovers();
    if (leftovers.empty()) return w;
    const ModelSource& source = binder_.source();
    return base::Unimplemented(absl::StrCat(base::Abs(source.path()), ": ", leftovers.front(),
                                            ": a tensor that ", base::Abs(traits_.architecture),
                                            ranks ? " rerankers do" : " embedding models do",
                                            " not have"));
  }

 private:
  absl::StatusOr<engine::RowTable> Table(const std::string& name, int64_t rows) {
    ASSIGN_OR_RETURN(const TensorView view, binder_.Get(name, {rows, shape_.hidden}));
    return kernels_.PackRows(view);
  }

  absl::Status LoadTypes(std::vector<float>* types) {
    if (shape_.types == 0) return absl::OkStatus();
    ASSIGN_OR_RETURN(const engine::RowTable table, Table("token_types.weight", shape_.types));
    // No text has more than two segments.
    const std::vector<int32_t> rows = {0, shape_.types > 1 ? 1 : 0};
    types->resize(rows.size() * static_cast<size_t>(shape_.hidden));
    kernels_.EmbedRows(table, rows, types->data(), shape_.hidden);
    return absl::OkStatus();
  }

  absl::StatusOr<NormWeights> Norm(const std::string& name) {
    NormWeights norm;
    ASSIGN_OR_RETURN(norm.weight, binder_.GetVector(name + ".weight", shape_.hidden));
    ASSIGN_OR_RETURN(norm.bias, binder_.GetVector(name + ".bias", shape_.hidden));
    return norm;
  }

  absl::StatusOr<LinearWeights> Linear(const std::string& name, int64_t out, int64_t in,
                                       bool bias) {
    LinearWeights linear;
    ASSIGN_OR_RETURN(const TensorView weight, binder_.Get(name + ".weight", {out, in}));
    ASSIGN_OR_RETURN(linear.weight, kernels_.Pack(weight));
    binder_.source().DoneWith(weight);
    if (bias) {
      ASSIGN_OR_RETURN(linear.bias, binder_.GetVector(name + ".bias", out));
    }
    return linear;
  }

  absl::StatusOr<PostNormLayer> LoadLayer(const std::string& at) {
    const int64_t h = shape_.hidden;
    const bool bias = traits_.biases;
    PostNormLayer layer;
    if (binder_.source().FindTensor(at + "attn_qkv.weight") != nullptr) {
      ASSIGN_OR_RETURN(layer.qkv, Linear(at + "attn_qkv", 3 * h, h, bias));
    } else {
      ASSIGN_OR_RETURN(layer.q, Linear(at + "attn_q", h, h, bias));
      ASSIGN_OR_RETURN(layer.k, Linear(at + "attn_k", h, h, bias));
      ASSIGN_OR_RETURN(layer.v, Linear(at + "attn_v", h, h, bias));
    }
    ASSIGN_OR_RETURN(layer.o, Linear(at + "attn_output", h, h, bias));
    ASSIGN_OR_RETURN(layer.attention_norm, Norm(at + "attn_output_norm"));
    if (traits_.gated) {
      ASSIGN_OR_RETURN(layer.gate, Linear(at + "ffn_gate", shape_.ffn, h, bias));
    }
    ASSIGN_OR_RETURN(layer.up, Linear(at + "ffn_up", shape_.ffn, h, bias));
    ASSIGN_OR_RETURN(layer.down, Linear(at + "ffn_down", h, shape_.ffn, bias));
    ASSIGN_OR_RETURN(layer.output_norm, Norm(at + "layer_output_norm"));
    return layer;
  }

  absl::StatusOr<RankHead> LoadRankHead() {
    const ModelSource& source = binder_.source();
    RankHead head;
    const TensorEntry* out = source.FindTensor("cls.output.weight");
    if (out == nullptr) {
      return Wrong(source, "cls.output.weight: expected [1][hidden], found no such tensor");
    }
    if (out->view.rows() != 1) {
      return base::Unimplemented(absl::StrCat(base::Abs(source.path()),
                                              ": cls.output.weight: a classifier of ",
                                              out->view.rows(), " labels is no reranker"));
    }
    const int64_t h = shape_.hidden;
    if (source.FindTensor("cls.weight") == nullptr) {
      // Scores without it would mean nothing.
      return base::Unimplemented(absl::StrCat(
          base::Abs(source.path()), ": cls.weight: expected [", h, "][", h,
          "], found no such tensor: some converters leave BERT's pooler out; the folder has it"));
    }
    ASSIGN_OR_RETURN(head.dense, Linear("cls", h, h, true));
    ASSIGN_OR_RETURN(head.out, Linear("cls.output", 1, h, true));
    return head;
  }

  Binder binder_;
  const PostNormTraits& traits_;
  const PostNormShape& shape_;
  Kernels& kernels_;
};

}  // namespace

absl::StatusOr<PostNormShape> ReadPostNormShape(const ModelSource& source,
                                                const PostNormTraits& traits) {
  const auto key = [&](std::string_view name) {
    return absl::StrCat(base::Abs(traits.architecture), ".", base::Abs(name));
  };
  const auto integer = [&](std::string_view name, int64_t max, int32_t* place) -> absl::Status {
    ASSIGN_OR_RETURN(const int64_t value, source.GetInt(key(name), 1, max));
    *place = static_cast<int32_t>(value);
    return absl::OkStatus();
  };
  PostNormShape s;
  RETURN_IF_ERROR(integer("embedding_length", 1 << 14, &s.hidden));
  RETURN_IF_ERROR(integer("block_count", 256, &s.layers));
  RETURN_IF_ERROR(integer("attention.head_count", 1 << 10, &s.heads));
  RETURN_IF_ERROR(integer("feed_forward_length", 1 << 18, &s.ffn));
  RETURN_IF_ERROR(integer("context_length", 1 << 20, &s.context));
  if (s.hidden % s.heads != 0) {
    return Wrong(source, absl::StrCat(key("attention.head_count"), ": ", s.heads,
                                      " does not divide embedding_length ", s.hidden));
  }
  ASSIGN_OR_RETURN(const double eps,
                   source.GetFloat(key("attention.layer_norm_epsilon"), 0, 1, 1e-12));
  s.eps = static_cast<float>(eps);
  ASSIGN_OR_RETURN(const bool causal, source.GetBool(key("attention.causal"), false));
  if (causal) {
    return base::Unimplemented(
        absl::StrCat(base::Abs(source.path()), ": ", key("attention.causal"), ": must be false"));
  }
  if (!traits.positions) {
    ASSIGN_OR_RETURN(s.rope_base, source.GetFloat(key("rope.freq_base"), 1, 1e15, 10'000));
    if (s.head_dim() % 2 != 0) {
      return Wrong(source, absl::StrCat(key("attention.head_count"),
                                        ": heads of an odd number of elements cannot rotate"));
    }
  }
  // The tables say how many rows they have; their width is checked when they are bound.
  const auto rows_of = [&](const char* name) {
    const TensorEntry* table = source.FindTensor(name);
    const bool matrix = table != nullptr && table->view.shape.rank() == 2;
    return matrix && table->view.shape[0] <= (4 << 20) ? static_cast<int32_t>(table->view.shape[0])
                                                       : 0;
  };
  s.vocab = rows_of("token_embd.weight");
  s.types = rows_of("token_types.weight");
  if (s.vocab == 0) return Wrong(source, "token_embd.weight: expected [vocabulary][hidden]");
  if (source.Has(key("vocab_size"))) {
    // The table is held against it when it is bound.
    RETURN_IF_ERROR(integer("vocab_size", 4 << 20, &s.vocab));
  }
  return s;
}

absl::StatusOr<PostNormWeights> BindPostNorm(const ModelSource& source,
                                             const PostNormTraits& traits,
                                             const PostNormShape& shape, bool ranks,
                                             Kernels& kernels) {
  return Loader(source, traits, shape, kernels).Load(ranks);
}

}  // namespace conclave::embed
