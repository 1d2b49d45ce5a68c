"""The models in PyTorch. Parameters have the names of bench/hadal-bench/src/models, so that `filled` gives both the
same weights."""

import torch
from torch import nn
from torch.nn import functional as F

import fill


def filled(model):
    """The model with the weights and running statistics that all contenders give it."""
    with torch.no_grad():
        for name, t in model.state_dict().items():
            if t.is_floating_point():
                t.copy_(torch.from_numpy(fill.parameter(name, tuple(t.shape))))
    return model


class Mlp(nn.Module):
    def __init__(self, inputs, hidden, out):
        super().__init__()
        self.hidden, self.out = nn.Linear(inputs, hidden), nn.Linear(hidden, out)

    def forward(self, x):
        return self.out(F.relu(self.hidden(x)))


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = F.avg_pool2d(torch.sigmoid(self.conv1(x)), 2)
        x = F.avg_pool2d(torch.sigmoid(self.conv2(x)), 2)
        x = torch.sigmoid(self.fc1(x.flatten(1)))
        return self.fc3(torch.sigmoid(self.fc2(x)))


class ResidualBlock(nn.Module):
    def __init__(self, start, to, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(start, to, 3, stride, 1, bias=False), nn.BatchNorm2d(to)
        self.conv2, self.bn2 = nn.Conv2d(to, to, 3, 1, 1, bias=False), nn.BatchNorm2d(to)
        self.downsample = None
        if stride != 1 or start != to:
            self.downsample = nn.Sequential(nn.Conv2d(start, to, 1, stride, bias=False), nn.BatchNorm2d(to))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class ResNet18(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        sizes = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
        stages = [nn.Sequential(ResidualBlock(a, b, s), ResidualBlock(b, b, 1)) for a, b, s in sizes]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(512, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x)), inplace=True), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def conv_norm(start, to, kernel, stride, groups):
    conv = nn.Conv2d(start, to, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(to), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    def __init__(self, start, to, stride, expand):
        super().__init__()
        wide = start * expand
        layers = [conv_norm(start, wide, 1, 1, 1)] if expand != 1 else []
        layers += [conv_norm(wide, wide, 3, stride, wide), nn.Conv2d(wide, to, 1, bias=False), nn.BatchNorm2d(to)]
        self.conv, self.adds = nn.Sequential(*layers), stride == 1 and start == to

    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self, classes):
        super().__init__()
        stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
        layers, start = [conv_norm(3, 32, 3, 2, 1)], 32
        for expand, to, blocks, stride in stages:
            for i in range(blocks):
                layers.append(InvertedResidual(start, to, stride if i == 0 else 1, expand))
                start = to
        layers.append(conv_norm(start, 1280, 1, 1, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class Attention(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.heads, self.causal = heads, causal

    def forward(self, x, past=None, mask=None):
        n, length, width = x.shape

        def split(t):
            return t.view(n, length, self.heads, width // self.heads).transpose(1, 2)

        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))
        if past is not None:
            k, v = past.add(k, v)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal and mask is None and length > 1)
        return self.out(y.transpose(1, 2).reshape(n, length, width))


class FeedForward(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))


class GptBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads, True)
        self.norm2, self.network = nn.LayerNorm(width), FeedForward(width, 4 * width)

    def forward(self, x, past=None, mask=None):
        x = x + self.attention(self.norm1(x), past, mask)
        return x + self.network(self.norm2(x))


class Past:
    """Keys and values of the tokens that a layer has seen, in memory for the longest text."""

    def __init__(self, heads, most, width):
        self.keys, self.values = (torch.zeros(1, heads, most, width) for _ in range(2))
        self.end = 0

    def add(self, k, v):
        first, self.end = self.end, self.end + k.shape[2]
        self.keys[:, :, first : self.end] = k
        self.values[:, :, first : self.end] = v
        return self.keys[:, :, : self.end], self.values[:, :, : self.end]


class StaticPast(Past):
    """The same with shapes that stay as they are, for the compiler: a mask says what has been seen."""

    def add(self, k, v):
        self.keys.index_copy_(2, self.place, k)
        self.values.index_copy_(2, self.place, v)
        return self.keys, self.values


class Gpt(nn.Module):
    def __init__(self, vocab, context, layers, width, heads):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(GptBlock(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocab, bias=False)

    def forward(self, x):
        x = self.tokens(x) + self.positions(torch.arange(x.shape[1]))
        return self.head(self.norm(self.blocks(x)))

    def decode(self, x, place, pasts, mask=None):
        """Logits of the token after `x`, whose places are given."""
        x = self.tokens(x) + self.positions(place)
        for block, past in zip(self.blocks, pasts):
            x = block(x, past, mask)
        return self.head(self.norm(x[:, -1]))


class BertLayer(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.attention, self.norm1 = Attention(width, heads, False), nn.LayerNorm(width, eps=1e-12)
        self.network, self.norm2 = FeedForward(width, hidden), nn.LayerNorm(width, eps=1e-12)

    def forward(self, x):
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.network(x))


class Bert(nn.Module):
    def __init__(self, vocab, context, layers, width, heads, hidden):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab, width), nn.Embedding(context, width)
        self.segments, self.norm = nn.Embedding(2, width), nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.Sequential(*(BertLayer(width, heads, hidden) for _ in range(layers)))

    def forward(self, x):
        segment = torch.zeros(1, dtype=torch.int64)
        x = self.tokens(x) + self.positions(torch.arange(x.shape[1])) + self.segments(segment)
        return self.layers(self.norm(x))
