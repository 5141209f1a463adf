"""Makes the tiny Llama of this directory: config.json, tokenizer.json and tokenizer_config.json.

    .venv/bin/python experiments/tiny-llama/make_model.py

The weights are not here: vLLM draws them itself with load_format = "dummy". The same corpus and the same
release of `tokenizers` give the same bytes.
"""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = Path(__file__).resolve().parent
VOCABULARY = 2048  # entries, special tokens included
LONGEST_PROMPT = 32_768  # tokens
BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"


def make_tokenizer() -> Tokenizer:
    """A byte-level BPE: every text has tokens, and decoding gives back every byte."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BEGIN, END, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([(HERE / "corpus.txt").read_text(encoding="utf-8")], trainer)
    found = tokenizer.get_vocab_size()
    if found != VOCABULARY:
        raise SystemExit(f"corpus.txt gives {found} tokens, not {VOCABULARY}: it needs more text")
    return tokenizer


def model_config(tokenizer: Tokenizer) -> dict:
    """Heads of 32, which vLLM's attention takes on a CPU and on a GPU."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": 2,
        "hidden_size": 128,
        "intermediate_size": 1024,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": LONGEST_PROMPT,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "bos_token_id": tokenizer.token_to_id(BEGIN),
        "eos_token_id": tokenizer.token_to_id(END),
        "pad_token_id": tokenizer.token_to_id(PAD),
    }


def tokenizer_config() -> dict:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": LONGEST_PROMPT,
        "clean_up_tokenization_spaces": False,
    }


def write_json(name: str, value: dict) -> None:
    (HERE / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    tokenizer = make_tokenizer()
    write_json("config.json", model_config(tokenizer))
    write_json("tokenizer.json", json.loads(tokenizer.to_str()))
    write_json("tokenizer_config.json", tokenizer_config())


if __name__ == "__main__":
    main()
