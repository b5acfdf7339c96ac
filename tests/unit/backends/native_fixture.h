// A tiny random model in a file, with a byte-level vocabulary and a ChatML template: all the native
// backend needs, and no meaning at all.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "tools/synth_model.h"

namespace conclave::backends {

inline constexpr char kTinyTemplate[] =
    "{%- if tools %}{{- '<|im_start|>system\\nTools: <tool_call>' }}{%- for tool in tools %}{{- "
    "tool | "
    "tojson }}{%- endfor %}{{- '<|im_end|>\\n' }}{%- endif %}"
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + "
    "'<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- if enable_thinking %}{{- "
    "'<think>\\n' }}{%- endif %}{%- endif %}";

// GPT-2's printable stand-ins for the 256 bytes, by byte.
inline std::vector<std::string> ByteTokens() {
  std::vector<std::string> tokens(256);
  int next = 256;
  const auto utf8 = [](int c) {
    if (c < 0x80) return std::string(1, static_cast<char>(c));
    return std::string{static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3F))};
  };
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    tokens[static_cast<size_t>(b)] = utf8(printable ? b : next++);
  }
  return tokens;
}

// Owns the file; gone with it.
class TinyModelFile final {
 public:
  explicit TinyModelFile(const std::string& chat_template = kTinyTemplate,
                         int32_t context_length = 512) {
    engine::SynthSpec spec = *engine::TinySpec("qwen3moe");
    std::vector<std::string> tokens = ByteTokens();
    std::vector<int32_t> types(256, 1);
    for (const char* special : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) {
      tokens.push_back(special);
      types.push_back(3);
    }
    for (const char* markup : {"<think>", "</think>", "<tool_call>", "</tool_call>"}) {
      tokens.push_back(markup);
      types.push_back(4);
    }
    for (const char* mark : {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"}) {
      tokens.push_back(mark);
      types.push_back(3);
    }
    spec.vocab_size = static_cast<int32_t>(tokens.size());
    spec.context_length = context_length;
    spec.no_vocab = false;
    auto writer = engine::MakeSynthModel(spec);
    if (!writer.ok()) Fail(writer.status());
    writer->SetString("tokenizer.ggml.model", "gpt2");
    writer->SetString("tokenizer.ggml.pre", "qwen2");
    writer->SetStrings("tokenizer.ggml.tokens", tokens);
    writer->SetInts("tokenizer.ggml.token_type", types);
    writer->SetStrings("tokenizer.ggml.merges", std::vector<std::string>{});
    writer->SetUint32("tokenizer.ggml.eos_token_id", 258);
    writer->SetBool("tokenizer.ggml.add_bos_token", false);
    writer->SetString("tokenizer.chat_template", chat_template);
    writer->SetString("general.license", "apache-2.0");
    writer->SetFloat("general.sampling.temp", 0.75f);
    std::string pattern =
        (std::filesystem::temp_directory_path() / "conclave-tiny-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
    if (const absl::Status written = writer->WriteFile(path()); !written.ok()) Fail(written);
  }
  ~TinyModelFile() { std::filesystem::remove_all(path_); }
  TinyModelFile(const TinyModelFile&) = delete;
  TinyModelFile& operator=(const TinyModelFile&) = delete;

  std::string path() const { return path_ + "/tiny.gguf"; }

  std::unique_ptr<Backend> Open(int max_sequences = 8) const {
    BackendSpec spec;
    spec.name = "tiny";
    spec.path = path();
    spec.engine.num_threads = 1;
    spec.engine.max_sequences = max_sequences;
    spec.engine.kv_bytes = 16 << 20;
    auto backend = OpenBackend("native", spec);
    if (!backend.ok()) Fail(backend.status());
    return *std::move(backend);
  }

 private:
  [[noreturn]] static void Fail(const absl::Status& status) {
    std::fprintf(stderr, "tiny model: %s\n", status.ToString().c_str());
    std::abort();
  }
  std::string path_;
};

}  // namespace conclave::backends
