"""Hugging Face Trainer: a transformer with hard codes in its middle, its penalty in the loss that the model returns.

The problem: ``Trainer`` divides the loss by the number of accumulated batches, multiplies it under fp16, logs it and
averages it over devices. A penalty that rides along by itself sees none of that. So the model returns it as a part of
its loss; in ``eval()`` there is none, and the evaluation's loss is the task's alone.

Watch the signature of ``forward``: with ``**kwargs`` in it, Trainer takes it that the loss is a sum divided by the
``num_items_in_batch`` it hands over, and does not divide by the number of accumulated batches. Name your arguments.

``save_pretrained`` writes safetensors with the approximators in it. That is what resuming and ``from_pretrained`` need;
strip what you deploy after loading it.

The one rule: open ``hg.penalties()`` inside ``forward`` and return ``loss = task + bag.total()``.
"""

import os
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1")

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import BertConfig, BertModel, PreTrainedModel, Trainer, TrainingArguments
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import logging

import hardgrad as hg

logging.disable_progress_bar()


class SignedBert(PreTrainedModel):
    config_class = BertConfig

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.bert = BertModel(config, add_pooling_layer=False)
        self.signs = hg.Bridge(hg.hard.sign, hg.approximators.mlp(width, width, hidden=(64,)))
        self.head = nn.Linear(width, config.num_labels)
        self.post_init()

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> SequenceClassifierOutput:
        with hg.penalties() as bag:
            code = self.signs(self.bert(input_ids).last_hidden_state[:, 0])  # a hash: signs, nothing else
        logits = self.head(code)
        if labels is None:
            return SequenceClassifierOutput(logits=logits)
        return SequenceClassifierOutput(loss=nn.functional.cross_entropy(logits, labels) + bag.total(), logits=logits)


class Sentences(Dataset[dict[str, Tensor]]):
    """Eight tokens; the label says whether the first is one of the first half of the vocabulary."""

    def __init__(self, seed: int) -> None:
        self.tokens = torch.randint(0, 32, (256, 8), generator=torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input_ids": self.tokens[i], "labels": (self.tokens[i, 0] < 16).long()}


def trainer(folder: str) -> Trainer:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = SignedBert(BertConfig(vocab_size=32, max_position_embeddings=8, hidden_dropout_prob=0.0, **sizes))
    arguments = TrainingArguments(
        output_dir=folder,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        logging_strategy="no",
        seed=0,
        learning_rate=1e-2,
        max_grad_norm=0.0,  # the default, 1.0, is one norm over all weights, mostly the approximator's
        max_steps=60,
        save_steps=20,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=2,
    )
    return Trainer(model, arguments, train_dataset=Sentences(0), eval_dataset=Sentences(1))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        first = trainer(folder)
        first.train()
        again = trainer(folder)
        again.train(resume_from_checkpoint=f"{folder}/checkpoint-40")
        for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True):
            assert torch.equal(a, b)  # resumed training is the uninterrupted one
        found = first.evaluate()["eval_loss"]
        assert found < 0.35, found  # a coin scores 0.69
        first.save_model(f"{folder}/model")
        assert os.path.exists(f"{folder}/model/model.safetensors")
        loaded = SignedBert.from_pretrained(f"{folder}/model")
    tokens = Sentences(2).tokens
    deployed = hg.strip(loaded).eval()
    with torch.no_grad():
        assert torch.equal(deployed(tokens).logits, first.model.eval()(tokens).logits)
    loaded.train()(tokens).logits.sum().backward()  # what was loaded trains on
    assert loaded.signs.fidelity().relative_error < 0.8, loaded.signs.fidelity()
    print(f"held-out loss {found:.3f};", loaded.signs.fidelity())
