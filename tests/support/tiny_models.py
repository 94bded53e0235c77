"""Small pretrained models in the Hugging Face layout, with random weights, and texts to ask them about."""

import gzip
import json
import random
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

END = "<|endoftext|>"
VOCABULARY = 400
POSITIONS = 1024  # of the transformer

WORDS = ("the", "state", "of", "Model", "copies", "what", "it", "reads", "phone", "number", "to", "Zürich", "and", "a",
         "long", "river", "runs", "7", "2048", "under", "old", "bridges,", "quickly.", "said", "Mary")


def text(draw: random.Random, words: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(words))


def make_tokenizer(path: Path) -> None:
    """Byte-level BPE as GPT-NeoX-20b's, but small."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[END], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    draw = random.Random(1)
    tokenizer.train_from_iterator((text(draw, 50) for _ in range(50)), trainer)
    tokenizer.save(str(path))


def make_neox(folder: Path, rows: int = VOCABULARY + 8, positions: int = POSITIONS) -> None:
    """Weights large enough that the two best logits are seldom near each other."""
    torch.manual_seed(2)
    config = transformers.GPTNeoXConfig(
        vocab_size=rows, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=96,
        max_position_embeddings=positions, initializer_range=0.3, use_parallel_residual=True)
    transformers.GPTNeoXForCausalLM(config).save_pretrained(folder)
    make_tokenizer(folder / "tokenizer.json")


def make_mamba(folder: Path) -> None:
    torch.manual_seed(3)
    config = transformers.MambaConfig(vocab_size=VOCABULARY + 8, hidden_size=32, num_hidden_layers=2, state_size=8,
                                      initializer_range=0.3)
    transformers.MambaForCausalLM(config).save_pretrained(folder)
    make_tokenizer(folder / "tokenizer.json")


def make_texts(path: Path, texts: int = 60) -> None:
    draw = random.Random(4)
    with gzip.open(path, "wt") as file:
        for _ in range(texts):
            file.write(json.dumps({"text": text(draw, 60), "url": "none"}) + "\n")


def make_squad(path: Path) -> None:
    """Passages of about 15 and of about 70 tokens, with three questions each, of which one has no answer."""
    draw = random.Random(5)
    paragraphs = []
    for i in range(50):
        context = text(draw, 12 if i % 2 else 60)
        questions = [
            {"question": text(draw, 5) + "?", "id": f"{i}-{q}", "is_impossible": q == 2,
             "answers": [] if q == 2 else [{"text": draw.choice(context.split()), "answer_start": 0}]}
            for q in range(3)
        ]
        paragraphs.append({"context": context, "qas": questions})
    path.write_text(json.dumps({"version": "v2.0", "data": [{"title": "drawn", "paragraphs": paragraphs}]}))


class Reference:
    """What `transformers` writes after a prompt, greedily, one prompt at a time."""

    def __init__(self, folder: Path):
        torch.set_num_threads(1)  # tensors are too small to share
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.end = self.tokenizer.token_to_id(END)
        self.model.generation_config.eos_token_id = self.end
        self.is_neox = self.model.config.model_type == "gpt_neox"

    def prediction(self, task: str, prompt: str) -> str:
        ids = self.tokenizer.encode(prompt).ids
        most = {"c4_copy": len(ids) // 2 + 50, "phone_book": 50, "squad": 200}[task]
        suppressed = [self.end] if task == "squad" and self.is_neox else None
        out = self.model.generate(torch.tensor([ids]), max_new_tokens=most, do_sample=False, pad_token_id=0,
                                  begin_suppress_tokens=suppressed)
        written = self.tokenizer.decode(out[0, len(ids):].tolist(), skip_special_tokens=False)
        if task == "phone_book":
            return written.split("\n")[0].strip()
        if task == "c4_copy":
            return written.split("\n\n")[0].replace("\n", " ").strip()
        return written.split("\n\n")[0].split(END)[0].strip()
