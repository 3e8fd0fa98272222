"""The reference model in PyTorch, and its training step."""

import torch
from torch import nn
from torch.nn import functional as F

from handmade.sizes import DEPTH, DROPOUT, HEAD_UNITS, TOKEN_UNITS, UNITS, WIDTHS


class Residual(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, channels, width):
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])
        self.shortcut = nn.Identity()
        if channels != width:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        y = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(y)) + self.shortcut(x))


class Pool(nn.Module):
    """Mean and maximum over the steps, then an embedding."""

    def __init__(self, channels, units):
        super().__init__()
        self.dense = nn.Linear(2 * channels, units)

    def forward(self, x):
        x = torch.cat([x.mean(1), x.amax(1)], -1)
        return F.dropout(F.relu(self.dense(x)), DROPOUT, self.training)


def stem(channels, width):
    """The first convolution."""
    return [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]


def halve(shape):
    """Returns the sides after a pooling that keeps the last odd row."""
    return tuple((side + 1) // 2 for side in shape)


class Picture(nn.Module):
    """A residual CNN over a picture, `(batch, channels, height, width)`."""

    def __init__(self, shape, size):
        super().__init__()
        widths, sides = WIDTHS[size], shape[:2]
        layers = stem(shape[2], widths[0])
        if min(sides) >= 32:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            sides = halve(sides)
        channels = widths[0]
        for stage, width in enumerate(widths):
            if stage and min(sides) >= 8:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
                sides = halve(sides)
            layers.append(Residual(channels, width))
            channels = width
        self.layers, self.pool = nn.Sequential(*layers), Pool(channels, UNITS[size])

    def forward(self, x):
        return self.pool(self.layers(x).flatten(2).transpose(1, 2))


class Sound(nn.Module):
    """A residual CNN over a spectrogram, `(batch, frames, bands)`; each remaining frame is a step."""

    def __init__(self, shape, size):
        super().__init__()
        widths, units, bands = WIDTHS[size], UNITS[size], shape[1]
        layers, channels = stem(1, widths[0]), widths[0]
        for width in widths:
            layers += [nn.MaxPool2d(2, ceil_mode=True), Residual(channels, width)]
            channels, bands = width, (bands + 1) // 2
        self.layers, self.pool = nn.Sequential(*layers), Pool(units, units)
        self.dense, self.norm = nn.Linear(channels * bands, units, bias=False), nn.BatchNorm1d(units)

    def forward(self, x):
        x = self.layers(x[:, None]).transpose(1, 2).flatten(2)
        x = self.norm(self.dense(x).transpose(1, 2)).transpose(1, 2)
        return self.pool(F.relu(x))


class Block(nn.Module):
    """A pre-normalised transformer block."""

    def __init__(self, units):
        super().__init__()
        self.heads = units // HEAD_UNITS
        self.norms = nn.ModuleList([nn.LayerNorm(units, 1e-3), nn.LayerNorm(units, 1e-3)])
        self.projections, self.out = nn.Linear(units, 3 * units), nn.Linear(units, units)
        self.network = nn.Sequential(nn.Linear(units, 4 * units), nn.GELU(), nn.Linear(4 * units, units))

    def forward(self, x, mask):
        batch, steps, units = x.shape
        parts = self.projections(self.norms[0](x)).view(batch, steps, 3, self.heads, HEAD_UNITS)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        dropped = DROPOUT if self.training else 0.0
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropped)
        y = self.out(y.transpose(1, 2).reshape(batch, steps, units))
        x = x + F.dropout(y, DROPOUT, self.training)
        return x + F.dropout(self.network(self.norms[1](x)), DROPOUT, self.training)


class Words(nn.Module):
    """A transformer over word ids, `(batch, length)`."""

    def __init__(self, length, vocabulary, size):
        super().__init__()
        units = UNITS[size]
        self.words, self.places = nn.Embedding(vocabulary, units), nn.Embedding(length, units)
        self.blocks = nn.ModuleList(Block(units) for _ in range(DEPTH[size]))
        self.norm, self.pool = nn.LayerNorm(units, 1e-3), Pool(units, units)

    def forward(self, ids):
        x = F.dropout(self.words(ids) + self.places.weight, DROPOUT, self.training)
        mask = (ids != 0)[:, None, None]
        for block in self.blocks:
            x = block(x, mask)
        return self.pool(self.norm(x))


class Row(nn.Module):
    """Two layers over the columns' vectors."""

    def __init__(self, features, columns, size):
        super().__init__()
        units, width = UNITS[size], columns * TOKEN_UNITS[size]
        self.layers = nn.Sequential(
            nn.Linear(features, width), nn.Linear(width, 2 * units), nn.ReLU(), nn.Dropout(DROPOUT),
            nn.Linear(2 * units, units), nn.ReLU(), nn.Dropout(DROPOUT),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


class Reference(nn.Module):
    """`(scan, tone, word, card)` -> `(logits, magnitude)`, joined by gates."""

    def __init__(self, sizes):
        super().__init__()
        size, units = sizes.encoder, UNITS[sizes.encoder]
        self.scan, self.tone = Picture(sizes.picture, size), Sound(sizes.sound, size)
        self.word = Words(sizes.length, sizes.vocabulary, size)
        self.card = Row(sizes.features, sizes.columns, size)
        self.gates = nn.ModuleList(nn.Linear(4 * units, sizes.joint) for _ in range(4))
        self.values = nn.ModuleList(nn.Linear(units, sizes.joint) for _ in range(4))
        self.digit, self.magnitude = nn.Linear(sizes.joint, sizes.classes), nn.Linear(sizes.joint, 1)

    def forward(self, scan, tone, word, card):
        parts = [self.scan(scan), self.tone(tone), self.word(word), self.card(card)]
        joined = torch.cat(parts, -1)
        pairs = zip(self.gates, self.values, parts, strict=True)
        joint = sum(torch.sigmoid(gate(joined)) * torch.tanh(value(part)) for gate, value, part in pairs)
        joint = F.dropout(joint, DROPOUT, self.training)
        return self.digit(joint), self.magnitude(joint)


def tensors(arrays, targets, device="cpu"):
    """Returns what a step takes, from NumPy arrays `{scan, tone, word, card}` and `{digit, magnitude}`."""
    scan = torch.from_numpy(arrays["scan"]).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    rest = [torch.from_numpy(arrays[k]) for k in ("tone", "word", "card")]
    labels = [torch.from_numpy(targets["digit"]).long(), torch.from_numpy(targets["magnitude"]).float()]
    return [x.to(device, non_blocking=True) for x in (scan, *rest, *labels)]


def make_step(sizes, device="cpu", is_compiled=False, is_half=False):
    """Returns a function that trains on a batch of `tensors`, and gives the loss.

    Args:
        sizes: `Sizes`.
        device: Where the model lies.
        is_compiled: Whether `torch.compile` compiles the model and its loss.
        is_half: Whether products are in bfloat16, by `torch.autocast`; weights stay float32.
    """
    model = Reference(sizes).to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4, fused=True)
    # Accuracy is counted as `fit` counts it: on the device, without waiting.
    counted = torch.zeros((), device=device)

    def loss_of(scan, tone, word, card, digit, magnitude):
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=is_half):
            logits, number = model(scan, tone, word, card)
        logits = logits.float()
        hits = (logits.argmax(-1) == digit).sum()
        return F.cross_entropy(logits, digit) + F.mse_loss(number.float(), magnitude), hits

    if is_compiled:
        loss_of = torch.compile(loss_of)

    def step(batch):
        optimizer.zero_grad(set_to_none=True)
        loss, hits = loss_of(*batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        counted.add_(hits)
        return loss.detach()

    step.model = model
    return step
