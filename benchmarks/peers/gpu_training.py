"""Training steps per second in PyTorch on one GPU, beside our GpuTraining: the paper's network, and
the 53 batch normalizations of ResNet-50 with ReLU, forward in order and backward in reverse.

usage: gpu_training.py RESULT.json [--batch 32] [--dtype F32 ...] [--seconds S]

Each of them eagerly, as a CUDA graph of the eager calls, by torch.compile, and by torch.compile with
mode="reduce-overhead", which makes CUDA graphs of its own. The network is 784-100-100-100-10 with
sigmoid and batch 60, plain gradient descent at 0.5; its batch is gathered on the device from images
that are there, whose row numbers are uploaded for each step, as ours does. A step is timed with its
share of a wait at the end of a round; the rate is the median of rounds. What a mode cannot do is in
the result with its error.
"""

import argparse
import json
import os
import statistics
import time

import torch
import torch.nn.functional as F

TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
ROUNDS = 7
EPS, MOMENTUM, RATE = 1e-5, 0.1, 0.5
WIDTHS = [784, 100, 100, 100, 10]
IMAGES, BATCH = 60_000, 60
# Channels, height and width, how many.
LAYERS = [
    (64, 112, 1),
    (64, 56, 6),
    (256, 56, 4),
    (128, 56, 1),
    (128, 28, 7),
    (512, 28, 5),
    (256, 28, 1),
    (256, 14, 11),
    (1024, 14, 7),
    (512, 14, 1),
    (512, 7, 5),
    (2048, 7, 4),
]
device = "cuda"


def wait():
    if device == "cuda":
        torch.cuda.synchronize()


def rate(step, seconds):
    """Steps per second."""

    def timed(count):
        wait()
        start = time.perf_counter()
        for _ in range(count):
            step()
        wait()
        return time.perf_counter() - start

    count, last = 1, timed(3)
    while last < seconds / ROUNDS / 2:
        last = timed(count)
        count = max(count + 1, int(count * min(10, seconds / ROUNDS / max(last, 1e-9))))
    return statistics.median(count / timed(count) for _ in range(ROUNDS))


class Paper:
    """Section 4.1 of arXiv 1502.03167 with batch normalization; layers before one have no bias."""

    def __init__(self):
        f32 = dict(device=device, dtype=torch.float32)
        self.images = torch.randint(0, 2, (IMAGES, WIDTHS[0]), device=device).to(torch.uint8)
        self.labels = torch.randint(0, WIDTHS[-1], (IMAGES,), device=device)
        pairs = list(zip(WIDTHS, WIDTHS[1:]))
        self.weights = [0.01 * torch.randn(o, i, **f32) for i, o in pairs]
        self.gammas = [torch.ones(w, **f32) for w in WIDTHS[1:-1]]
        self.betas = [torch.zeros(w, **f32) for w in WIDTHS[1:-1]]
        self.bias = torch.zeros(WIDTHS[-1], **f32)
        self.means = [torch.zeros(w, **f32) for w in WIDTHS[1:-1]]
        self.variances = [torch.ones(w, **f32) for w in WIDTHS[1:-1]]
        self.parameters = [*self.weights, *self.gammas, *self.betas, self.bias]
        for p in self.parameters:
            p.requires_grad_(True)
        self.rows = torch.zeros(BATCH, dtype=torch.int64, device=device)
        self.drawn = torch.randint(0, IMAGES, (256, BATCH))
        if device == "cuda":
            self.drawn = self.drawn.pin_memory()
        self.next = 0

    def draw(self):
        self.rows.copy_(self.drawn[self.next], non_blocking=True)
        self.next = (self.next + 1) % len(self.drawn)

    def loss(self, rows):
        x = self.images[rows].float()
        for i, w in enumerate(self.weights[:-1]):
            x = F.linear(x, w)
            bn = self.means[i], self.variances[i], self.gammas[i], self.betas[i]
            x = torch.sigmoid(F.batch_norm(x, *bn, True, MOMENTUM, EPS))
        x = F.linear(x, self.weights[-1], self.bias)
        return F.cross_entropy(x, self.labels[rows])

    def descend(self, loss):
        gradients = torch.autograd.grad(loss, self.parameters)
        with torch.no_grad():
            torch._foreach_add_(self.parameters, list(gradients), alpha=-RATE)

    def eager(self):
        self.descend(self.loss(self.rows))

    def compiled(self, **options):
        loss = torch.compile(self.loss, dynamic=False, **options)
        return lambda: self.descend(loss(self.rows))


class Layers:
    """Normalizations alone, each with data of its own."""

    def __init__(self, batch, image, dtype):
        f32 = dict(device=device, dtype=torch.float32)
        self.xs, self.dys, self.bns, self.parameters = [], [], [], []
        for channels, side, count in LAYERS:
            side = max(1, side * image // 224)
            for _ in range(count):
                extents = (batch, channels, side, side)
                x = torch.randn(extents, device=device).to(dtype).requires_grad_(True)
                gamma = torch.ones(channels, **f32).requires_grad_(True)
                beta = torch.zeros(channels, **f32).requires_grad_(True)
                mean, variance = torch.zeros(channels, **f32), torch.ones(channels, **f32)
                self.xs.append(x)
                self.dys.append(torch.randn(extents, device=device).to(dtype))
                self.bns.append((mean, variance, gamma, beta))
                self.parameters += [x, gamma, beta]

    def draw(self):
        pass

    def forward(self):
        return [
            F.relu(F.batch_norm(x, *bn, True, MOMENTUM, EPS)) for x, bn in zip(self.xs, self.bns)
        ]

    def eager(self):
        torch.autograd.grad(self.forward(), self.parameters, self.dys)

    def compiled(self, **options):
        forward = torch.compile(self.forward, dynamic=False, **options)
        return lambda: torch.autograd.grad(forward(), self.parameters, self.dys)


def graph(step):
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    made = torch.cuda.CUDAGraph()
    with torch.cuda.graph(made):
        step()
    return made.replay


MODES = {
    "eager": lambda net: net.eager,
    "graph": lambda net: graph(net.eager),
    "torch.compile": lambda net: net.compiled(),
    "torch.compile reduce-overhead": lambda net: net.compiled(mode="reduce-overhead"),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("result")
    parser.add_argument("--batch", type=int, default=32, help="images of the layers' data")
    parser.add_argument("--image", type=int, default=224, help="height and width of its images")
    parser.add_argument("--dtype", action="append", choices=list(TYPES))
    parser.add_argument("--seconds", type=float, default=5, help="for each measurement")
    parser.add_argument("--device", default="cuda", help="cpu tries the script out, no more")
    args = parser.parse_args()
    global device
    device = args.device
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no GPU")
    torch.manual_seed(0)
    kinds = [("paper's network", "F32", BATCH, Paper)]
    for t in args.dtype or ["F32"]:
        kinds.append(
            ("ResNet-50 layers", t, args.batch, lambda t=t: Layers(args.batch, args.image, TYPES[t]))
        )
    rows = []
    for mode, of in MODES.items():  # the slow to compile last
        for network, dtype, batch, make in kinds:
            row = dict(peer="PyTorch", network=network, dtype=dtype, mode=mode, batch=batch)
            try:
                net = make()
                step = of(net)

                def whole():
                    net.draw()
                    step()

                row["stepsPerSecond"] = rate(whole, args.seconds)
                del net, step, whole
            except Exception as e:  # what a mode cannot do is a result
                row["error"] = f"{type(e).__name__}: {e}".splitlines()[0][:200]
            torch._dynamo.reset()
            if device == "cuda":
                torch.cuda.empty_cache()
            rows.append(row)
            told = row.get("error") or f"{row['stepsPerSecond']:.1f} steps/s"
            print(network, dtype, mode, told, flush=True)
            with open(args.result + ".tmp", "w") as file:
                json.dump(dict(torch=torch.__version__, rows=rows), file, indent=1)
            os.replace(args.result + ".tmp", args.result)


if __name__ == "__main__":
    main()
