"""CLIP's tokenizer, written in the old format that every version of transformers reads."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

START, END = "<|startoftext|>", "<|endoftext|>"
MERGES = 49152 - 256 - 2


def write_tokenizer(bpe: Path, folder: Path) -> None:
    """Turn `bpe_simple_vocab_16e6.txt.gz` (OpenAI CLIP, MIT) into vocab.json and merges.txt."""
    lines = gzip.decompress(bpe.read_bytes()).decode().split("\n")[1 : MERGES + 1]
    letters = list(_byte_letters())
    words = [*letters, *(letter + "</w>" for letter in letters)]
    words += ["".join(line.split()) for line in lines]
    words += [START, END]
    vocab = {word: index for index, word in enumerate(words)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(_config(), indent=2) + "\n")
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")


def _config() -> dict[str, object]:
    return {
        "add_prefix_space": False,
        "bos_token": START,
        "do_lower_case": True,
        "eos_token": END,
        "errors": "replace",
        "model_max_length": 77,
        "pad_token": END,
        "tokenizer_class": "CLIPTokenizer",
        "unk_token": END,
    }


def _byte_letters() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in CLIP's order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + k) for k in range(len(rest))]
