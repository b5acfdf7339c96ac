#include "engine/weights/hf/mapper.h"

#include <cmath>
#include <cstring>
#include <numbers>
#include <utility>

#include "base/strings.h"
#include "engine/quant/format.h"
#include "engine/weights/hf/layers.h"

namespace conclave::engine {

absl::Status TensorMapper::MapAll() {
  for (const TensorEntry& entry : source_.raw().tensors()) {
    if (entry.view.shape.elements() == 0) return Wrong(entry.name, "a tensor without elements");
  }
  RETURN_IF_ERROR(FindPrefix());
  RETURN_IF_ERROR(MapRules(family_.globals, prefix_, "", 0));
  RETURN_IF_ERROR(MapRules(family_.heads, "", "", 0));
  if (family_.decodes) RETURN_IF_ERROR(MapHead());
  if (model_.llama3.has_value()) RETURN_IF_ERROR(MapRopeFactors());
  for (int64_t i = 0; i < model_.num_layers; ++i) {
    const std::string number = std::to_string(i) + ".";
    RETURN_IF_ERROR(MapRules(family_.layers, prefix_ + std::string(family_.layer) + number,
                             "blk." + number, i));
  }
  return CheckLeftovers();
}

absl::Status TensorMapper::FindPrefix() {
  const std::string table(family_.globals.front().from);
  for (const std::string_view prefix : family_.prefixes) {
    prefix_ = prefix;
    if (Has(prefix_ + table)) return absl::OkStatus();
  }
  return Missing(std::string(family_.prefixes.front()) + table + ".weight");
}

// A head that is tied may be stored all the same.
absl::Status TensorMapper::MapHead() {
  for (const char* name : {"lm_head", "language_model.lm_head"}) {
    if (!Has(name)) continue;
    ASSIGN_OR_RETURN(HfTensor head, Weight(name));
    return model_.tied ? absl::OkStatus() : Add("output.weight", std::move(head));
  }
  return model_.tied ? absl::OkStatus() : Missing("lm_head.weight");
}

// By what each frequency is divided: 1 where it is high, `factor` where it is low, and between the
// two in between (the model card of Llama 3.1).
absl::Status TensorMapper::MapRopeFactors() {
  const int64_t half = model_.head_dim / 2;
  HfTensor factors{.dtype = DType::kF32, .shape = Shape({half}), .row = {}, .plain = {}};
  factors.row = [rope = *model_.llama3, half](int64_t, std::byte* out) {
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
  };
  return Add("rope_freqs.weight", std::move(factors));
}

absl::Status TensorMapper::MapRules(std::span<const TensorRule> rules, const std::string& from,
                                    const std::string& to, int64_t layer) {
  for (size_t i = 0; i < rules.size();) {
    size_t end = i + 1;  // of the alternatives
    while (end < rules.size() && rules[end].presence == Presence::kInstead) ++end;
    const TensorRule& first = rules[i];
    const TensorRule* chosen = nullptr;
    for (; i < end; ++i) {
      if (chosen == nullptr && Has(from + std::string(rules[i].from))) chosen = &rules[i];
    }
    if (first.when != nullptr && !first.when(model_, layer)) continue;
    if (chosen != nullptr) {
      RETURN_IF_ERROR(
          chosen->operation(*this, from + std::string(chosen->from), to + std::string(chosen->to)));
    } else if (first.presence == Presence::kRequired) {
      const bool whole = first.to.ends_with(".weight") || first.to.ends_with(".bias");
      return Missing(from + std::string(first.from) + (whole ? "" : ".weight"));
    }
  }
  return absl::OkStatus();
}

// A name of a tensor, or of a module with weights of some kind.
bool TensorMapper::Has(const std::string& name) const {
  std::string first = name;
  if (const size_t number = first.find('#'); number != std::string::npos) {
    first.replace(number, 1, "0");
  }
  for (const char* suffix : {"", ".weight", ".qweight", ".weight_packed", "_blocks"}) {
    if (source_.raw().FindTensor(first + suffix) != nullptr) return true;
  }
  return false;
}

TensorView TensorMapper::View(const std::string& name) {
  const TensorEntry* entry = source_.raw().FindTensor(name);
  if (entry == nullptr) return TensorView();
  taken_.insert(name);
  return entry->view;
}

absl::StatusOr<HfTensor> TensorMapper::Stored(const std::string& name) {
  const TensorView view = View(name);
  if (view.empty()) return HfTensor{};
  if (view.shape.rank() < 1 || view.shape.rank() > 3) {
    return Wrong(name, "expected one to three extents, found " + view.shape.ToString());
  }
  if (FindFormat(view.dtype) == nullptr) {
    return Wrong(name,
                 "a weight of type " + std::string(NameOf(view.dtype)) + " by itself says nothing");
  }
  return PlainTensor(view);
}

absl::StatusOr<HfTensor> TensorMapper::Quantised(const std::string& module) {
  const HfStorage& storage = model_.storage;
  switch (storage.method) {
    case HfQuantization::kGptq:
    case HfQuantization::kAwq: {
      const Int4Tensors tensors{.weights = View(module + ".qweight"),
                                .zeros = View(module + ".qzeros"),
                                .scales = View(module + ".scales"),
                                .groups = View(module + ".g_idx")};
      if (tensors.weights.empty()) return HfTensor{};
      if (tensors.zeros.empty()) return Missing(module + ".qzeros");
      if (tensors.scales.empty()) return Missing(module + ".scales");
      return storage.method == HfQuantization::kGptq
                 ? GptqMatrix(tensors, storage.group_size, storage.gptq_v2)
                 : AwqMatrix(tensors, storage.group_size);
    }
    case HfQuantization::kPacked: {
      const PackedTensors tensors{.packed = View(module + ".weight_packed"),
                                  .scales = View(module + ".weight_scale"),
                                  .shape = View(module + ".weight_shape")};
      if (tensors.packed.empty()) return HfTensor{};
      if (tensors.scales.empty()) return Missing(module + ".weight_scale");
      if (tensors.shape.empty()) return Missing(module + ".weight_shape");
      return PackedMatrix(tensors, storage.group_size);
    }
    case HfQuantization::kFp8: {
      const std::string scale_name = module + std::string(storage.fp8_scale);
      const TensorEntry* weight = source_.raw().FindTensor(module + ".weight");
      if (weight == nullptr || weight->view.dtype != DType::kF8_E4M3) return HfTensor{};
      const TensorView scales = View(scale_name);
      if (scales.empty()) return Missing(scale_name);
      // How activations would be rounded, which they are not here.
      for (const char* suffix : {".input_scale", ".activation_scale"}) View(module + suffix);
      return Fp8Matrix(View(module + ".weight"), scales, storage.fp8_block);
    }
    case HfQuantization::kNone:
    case HfQuantization::kMxfp4:
      break;
  }
  return HfTensor{};
}

absl::StatusOr<HfTensor> TensorMapper::Weight(const std::string& module) {
  absl::StatusOr<HfTensor> made = Quantised(module);
  if (!made.ok()) {
    const bool named = made.status().code() == absl::StatusCode::kNotFound;
    return named ? made.status() : Wrong(module, made.status());
  }
  return made->found() ? std::move(made) : Stored(module + ".weight");
}

absl::StatusOr<HfTensor> TensorMapper::RequiredWeight(const std::string& module) {
  ASSIGN_OR_RETURN(HfTensor weight, Weight(module));
  return weight.found() ? absl::StatusOr<HfTensor>(std::move(weight)) : Missing(module + ".weight");
}

absl::Status TensorMapper::Add(std::string name, HfTensor tensor) {
  return source_.Add(std::move(name), std::move(tensor));
}

absl::Status TensorMapper::Wrong(const std::string& name, const absl::Status& status) const {
  return base::Annotate(status, std::string(source_.raw().path()) + ": " + name);
}
absl::Status TensorMapper::Wrong(const std::string& name, std::string_view why) const {
  return Wrong(name, base::InvalidArgument(std::string(why)));
}
absl::Status TensorMapper::Missing(const std::string& name) const {
  return Wrong(name, base::NotFound("no such tensor"));
}

bool TensorMapper::IsSkipped(std::string_view name) const {
  for (const std::string_view prefix : family_.skipped) {
    if (name.starts_with(prefix)) return true;
  }
  const std::string layers = prefix_ + std::string(family_.layer);
  if (!family_.skips_later_layers || !name.starts_with(layers)) return false;
  const std::string_view rest = name.substr(layers.size());
  const size_t dot = rest.find('.');
  if (dot == std::string_view::npos || dot == 0 || dot > 6) return false;
  int64_t number = 0;
  for (const char digit : rest.substr(0, dot)) {
    if (digit < '0' || digit > '9') return false;
    number = number * 10 + (digit - '0');
  }
  return number >= model_.num_layers;
}

absl::Status TensorMapper::CheckLeftovers() const {
  for (const TensorEntry& entry : source_.raw().tensors()) {
    if (taken_.contains(entry.name) || IsSkipped(entry.name)) continue;
    return Wrong(entry.name, base::Unimplemented("a tensor this architecture does not have"));
  }
  return absl::OkStatus();
}

}  // namespace conclave::engine
