"""curves.safetensors and curves.json: 30 steps of training in f64, from given weights on given batches.

Step t trains on batch t % batches. `losses[t]` is the loss before step t's update.
"""

import torch
import torch.nn.functional as F
from torch import nn

import common

STEPS = 30


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 16)
        self.fc2 = nn.Linear(16, 3)

    def forward(self, x):
        return self.fc2(torch.tanh(self.fc1(x)))


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.fc1 = nn.Linear(24, 12)
        self.fc2 = nn.Linear(12, 5)

    def forward(self, x):  # [n, 1, 12, 12]
        x = F.avg_pool2d(torch.sigmoid(self.conv1(x)), 2)  # [n, 4, 6, 6]
        x = F.avg_pool2d(torch.sigmoid(self.conv2(x)), 2)  # [n, 6, 2, 2]
        x = torch.sigmoid(self.fc1(x.flatten(1)))
        return self.fc2(x)


class BnNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(6)
        self.fc = nn.Linear(24, 4)

    def forward(self, x):  # [n, 2, 9, 9]
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2)  # [n, 4, 4, 4]
        x = F.relu(self.bn2(self.conv2(x)))  # [n, 6, 2, 2]
        return self.fc(x.flatten(1))


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / (d // self.heads) ** 0.5
        mask = torch.ones(t, t, dtype=torch.bool).triu(1)
        scores = scores.masked_fill(mask, float("-inf"))
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, d))


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.ln1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.ln2 = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x):
        x = x + self.attn(self.ln1(x))
        return x + self.fc2(F.gelu(self.fc1(self.ln2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, vocab=13, length=8, dim=16, heads=2, layers=2):
        super().__init__()
        self.tok_emb = nn.Embedding(vocab, dim)
        self.pos_emb = nn.Embedding(length, dim)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(dim)

    def forward(self, ids):
        x = self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.ln_f(x) @ self.tok_emb.weight.t()  # tied output


def train(tensors, name, about, model, x, y, optimizer, args):
    model = model.double().train()
    for k, v in model.state_dict().items():
        tensors[f"{name}/init/{k}"] = v.clone()
    tensors[f"{name}/x"], tensors[f"{name}/y"] = x, y
    opt = getattr(torch.optim, optimizer)(model.parameters(), foreach=False, **args)
    losses = []
    for t in range(STEPS):
        i = t % x.shape[0]
        out = model(x[i])
        loss = F.cross_entropy(out.reshape(-1, out.shape[-1]), y[i].reshape(-1))
        opt.zero_grad()
        loss.backward()
        if t == 0:
            for k, p in model.named_parameters():
                tensors[f"{name}/grad0/{k}"] = p.grad.clone()
        opt.step()
        losses.append(loss.item())
    for k, v in model.state_dict().items():
        tensors[f"{name}/final/{k}"] = v.clone()
    tensors[f"{name}/losses"] = torch.tensor(losses, dtype=torch.float64)
    return {"name": name, "about": about, "optimizer": optimizer,
            "args": {k: list(v) if isinstance(v, tuple) else v for k, v in args.items()},
            "loss": "cross_entropy, mean", "batches": x.shape[0], "x": f"{name}/x", "y": f"{name}/y",
            "init": f"{name}/init/", "grad0": f"{name}/grad0/", "final": f"{name}/final/",
            "names": list(model.state_dict()), "losses": losses}


def main():
    torch.manual_seed(808)
    tensors, rows = {}, []
    rows.append(train(
        tensors, "mlp", "Linear(8,16), tanh, Linear(16,3)", Mlp(), common.randn(3, 10, 8), common.ints(0, 3, 3, 10),
        "SGD", {"lr": 0.2, "momentum": 0.9}))
    rows.append(train(
        tensors, "conv", "conv1(1,4,3,padding 1), sigmoid, avg_pool 2, conv2(4,6,3), sigmoid, avg_pool 2, flatten, "
        "fc1(24,12), sigmoid, fc2(12,5)", ConvNet(), common.randn(2, 6, 1, 12, 12), common.ints(0, 5, 2, 6),
        "Adam", {"lr": 0.02}))
    rows.append(train(
        tensors, "batch_norm", "conv1(2,4,3,padding 1,no bias), bn1, relu, max_pool(3, stride 2), "
        "conv2(4,6,3,stride 2,padding 1), bn2, relu, flatten, fc(24,4); training mode throughout", BnNet(),
        common.randn(2, 6, 2, 9, 9), common.ints(0, 4, 2, 6), "AdamW", {"lr": 0.01, "weight_decay": 0.05}))
    rows.append(train(
        tensors, "gpt", "vocab 13, length 8, dim 16, 2 heads, 2 layers, pre-norm; qkv is one Linear whose output is "
        "[3, heads, head dim]; gelu tanh; logits = ln_f(x) @ tok_emb.weight^T", Gpt(), common.ints(0, 13, 2, 4, 8),
        common.ints(0, 13, 2, 4, 8), "AdamW", {"lr": 0.01, "betas": (0.9, 0.95), "weight_decay": 0.1}))
    common.write_tensors("curves.safetensors", tensors)
    common.write_json("curves.json", {"versions": common.versions(), "steps": STEPS}, "cases", rows)
    for r in rows:
        print(f"curves: {r['name']}: {r['losses'][0]:.4f} -> {r['losses'][-1]:.4f}")


if __name__ == "__main__":
    main()
