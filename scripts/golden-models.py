#!/usr/bin/env python3
"""What public implementations give for the example models with the random weights of nnc: tests/golden/models.

    pip install torch safetensors torchvision timm transformers diffusers && python3 scripts/golden-models.py

No weights are stored: both sides make them from seed and name (random_weights.py). Outputs are, and of each
parameter's gradient, for the models whose loss is given, its sum, its length and its products with three directions that
random_weights.py makes from other seeds. Small settings run with the tests, the published sizes by a command of their own.
"""
import os
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

sys.path.insert(0, os.path.dirname(__file__))
from random_weights import random_weights

FOLDER = os.path.join(os.path.dirname(__file__), "..", "tests", "golden", "models")
SEED = 3
os.makedirs(FOLDER, exist_ok=True)
torch.manual_seed(5)


def fill(module, rename=lambda name: name):
    """Gives a module nnc's random weights, by the names that nnc has for them (none: not in the model)."""
    states = {name for name, _ in module.named_buffers()}
    with torch.no_grad():
        for name, value in module.state_dict().items():
            ours = rename(name)
            if ours and value.dtype.is_floating_point:
                value.copy_(torch.from_numpy(random_weights(ours, tuple(value.shape), SEED, name in states)))
    return module.eval()


def gradients(module, loss, rename=lambda name: name):
    """Of each parameter's gradient its sum, its length and three products."""
    module.zero_grad()
    loss.backward()
    out = {}
    for name, p in module.named_parameters():
        ours = rename(name)
        if not ours:
            continue
        g = p.grad.double()
        along = [torch.from_numpy(random_weights(ours, tuple(p.shape), seed)).double() for seed in (101, 102, 103)]
        out[f"gradient.{ours}"] = torch.tensor([g.sum(), g.norm(), *[(g * d).sum() for d in along]])
    return out


def floats(name, *shape):
    """An input that both sides make alone: uniform in ±0.5."""
    return torch.from_numpy(random_weights(name, shape, 105, state=True) - np.float32(1))


def store(name, inputs, outputs, more={}):
    """Integer inputs are stored, of the others the shape."""
    shape = lambda v: torch.tensor(v.shape, dtype=torch.int32)
    tensors = {(f"shape.{k}", shape(v)) if v.dtype.is_floating_point else (f"input.{k}", v) for k, v in inputs.items()}
    tensors = dict(tensors)
    tensors |= {f"output.{k}": v for k, v in outputs.items()} | more
    tensors = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
    save_file(tensors, os.path.join(FOLDER, f"{name}.safetensors"), metadata={"torch": torch.__version__})
    print(name, {k: tuple(v.shape) for k, v in outputs.items()})


def ints(high, *shape):
    return torch.randint(0, high, shape, dtype=torch.int32)


def weigh(*outputs):
    """A loss that all outputs take part in, each element with another weight."""
    total = 0
    for i, y in enumerate(outputs):
        w = torch.from_numpy(random_weights(f"weight {i}", tuple(y.shape), 104))
        total = total + (y * w).sum()
    return total


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(784, 256), nn.Linear(256, 10)

    def forward(self, image):
        return self.fc2(F.relu(self.fc1(image.flatten(1))))


class Vae(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)
        self.fc3, self.fc4 = nn.Linear(20, 400), nn.Linear(400, 784)

    def encode(self, x):
        e = F.relu(self.fc1(x))
        return self.fc21(e), self.fc22(e)

    def decode(self, z):
        return self.fc4(F.relu(self.fc3(z)))


def generator(width=64):
    layers = [nn.ConvTranspose2d(100, 8 * width, 4, 1, 0, bias=False), nn.BatchNorm2d(8 * width), nn.ReLU()]
    for i in range(1, 4):
        layers += [nn.ConvTranspose2d(16 * width // 2**i, 8 * width // 2**i, 4, 2, 1, bias=False), nn.BatchNorm2d(8 * width // 2**i), nn.ReLU()]
    layers += [nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False), nn.Tanh()]
    return nn.Sequential(*layers)


def discriminator(width=64):
    layers = [nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    for i in range(1, 4):
        layers += [nn.Conv2d(width * 2 ** (i - 1), width * 2**i, 4, 2, 1, bias=False), nn.BatchNorm2d(width * 2**i), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, bias=False))


def main_of(name):
    return f"main.{name}"


def sequential(name, net, key, x, result=lambda y: y):
    fill(net, main_of)
    y = result(net(x))
    store(name, {key: x.flatten(1) if key == "z" else x}, {"output": y}, gradients(net, weigh(y), main_of))


def example_mlp():
    net, image = fill(Mlp()), floats("image", 3, 28, 28)
    y = net(image)
    store("mnist_mlp", {"image": image}, {"output": y}, gradients(net, weigh(y)))


def example_vae():
    net, x, z = fill(Vae()), floats("x", 3, 784), floats("z", 3, 20)
    mean, logvar = net.encode(x)
    store("vae_encode", {"x": x}, {"mean": mean, "logvar": logvar}, {k: v for k, v in gradients(net, weigh(mean, logvar) + 0 * weigh(net.decode(z))).items() if "fc3" not in k and "fc4" not in k})
    store("vae_decode", {"z": z}, {"output": net.decode(z)})


def example_resnet():
    import torchvision

    for name, classes, size in [("resnet18_small", 10, 32), ("resnet18", 1000, 224)]:
        net, x = fill(torchvision.models.resnet18(num_classes=classes)), floats("x", 1, 3, size, size)
        y = net(x)
        store(name, {"x": x}, {"output": y}, gradients(net, weigh(y)) if size < 100 else {})


def example_vit():
    import timm

    for name, s in {"vit_small": dict(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=10), "vit": {}}.items():
        net = fill(timm.create_model("vit_base_patch16_224", pretrained=False, **s))
        size = s.get("img_size", 224)
        x = floats("x", 1, 3, size, size)
        store(name, {"x": x}, {"output": net(x)})


def example_t5():
    from transformers import T5Config, T5ForConditionalGeneration

    for name, s in {"t5_small": dict(vocab_size=50, d_model=32, num_layers=2, num_heads=4, d_kv=8, d_ff=40), "t5": dict(vocab_size=32128, d_model=512, num_layers=6, num_heads=8, d_kv=64, d_ff=2048)}.items():
        net = T5ForConditionalGeneration(T5Config(**s, tie_word_embeddings=True, decoder_start_token_id=0))
        fill(net, lambda n: None if "embed_tokens" in n or n == "lm_head.weight" else n)
        source, target = ints(s["vocab_size"], 1, 37), ints(s["vocab_size"], 1, 21)
        y = net(input_ids=source.long(), decoder_input_ids=target.long(), use_cache=False).logits
        # Of the published size the first words' logits.
        store(name, {"source": source, "target": target}, {"output": y[:, :, :64] if name == "t5" else y})


def example_bert():
    from transformers import BertConfig, BertModel

    net = BertModel(BertConfig(vocab_size=60, hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=192, max_position_embeddings=64))
    fill(net)
    ids, segments, mask = ints(60, 2, 19), ints(2, 2, 19), torch.ones(2, 19, dtype=torch.bool)
    mask[1, 11:] = False
    y = net(input_ids=ids.long(), token_type_ids=segments.long(), attention_mask=mask.long())
    hidden, pooled = y.last_hidden_state, y.pooler_output
    store("bert_small", {"ids": ids, "segments": segments, "mask": mask}, {"hidden": hidden, "pooled": pooled}, gradients(net, weigh(hidden, pooled)))


class Lstm(nn.Module):
    def __init__(self, vocab, dim):
        super().__init__()
        self.encoder, self.decoder = nn.Embedding(vocab, dim), nn.Linear(dim, vocab)
        self.rnn = nn.LSTM(dim, dim, 2, batch_first=True)

    def forward(self, tokens):
        return self.decoder(self.rnn(self.encoder(tokens))[0])


def example_lstm():
    net, tokens = fill(Lstm(30, 24)), ints(30, 3, 7)
    y = net(tokens.long())
    store("lstm_lm_small", {"tokens": tokens}, {"output": y}, gradients(net, weigh(y)))


def example_gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    net = GPT2LMHeadModel(GPT2Config(vocab_size=60, n_positions=64, n_embd=48, n_layer=2, n_head=3))
    fill(net, lambda n: None if n == "lm_head.weight" else n.removeprefix("transformer."))
    tokens = ints(60, 2, 19)
    store("gpt2_small", {"tokens": tokens}, {"output": net(input_ids=tokens.long()).logits})


def example_unet():
    from diffusers import UNet2DModel

    for name, widths, attend, size in [("unet_small", (32, 64), (False, True), 16), ("unet", (128, 256, 256, 256), (False, True, False, False), 32)]:
        down = ["AttnDownBlock2D" if a else "DownBlock2D" for a in attend]
        up = ["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attend)]
        net = UNet2DModel(sample_size=size, block_out_channels=widths, layers_per_block=2, down_block_types=down, up_block_types=up, norm_eps=1e-6, downsample_padding=0, flip_sin_to_cos=False, freq_shift=1, attention_head_dim=None)
        fill(net)
        x, t = floats("x", 1, 3, size, size), ints(1000, 1)
        store(name, {"x": x, "t": t}, {"output": net(x, t.long()).sample})


with torch.enable_grad():
    wanted = sys.argv[1:]
    z, picture = floats("z", 2, 100), floats("x", 2, 3, 64, 64)
    examples = {
        "mlp": example_mlp, "vae": example_vae, "resnet": example_resnet, "vit": example_vit, "t5": example_t5,
        "bert": example_bert, "lstm": example_lstm, "gpt2": example_gpt2, "unet": example_unet,
        "gan": lambda: (
            sequential("generator", generator(8), "z", z[:, :, None, None]),
            sequential("discriminator", discriminator(8), "x", picture, lambda y: y[:, 0, 0, 0]),
        ),
    }
    for name, example in examples.items():
        if not wanted or name in wanted:
            example()
