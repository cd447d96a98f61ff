"""Batch normalization in other libraries on one GPU: PyTorch's own kernels, cuDNN through PyTorch,
torch.compile, and the copy and the addition that are the limit.

usage: gpu_norm.py RESULT.json --shape NCHW:32x64x56x56 ... [--dtype F32 ...] [--seconds S]
                   [--compiled]

Shapes have their extents in memory order; NC, NCHW and NHWC are known. Operations have the names of
`fusednorm bench`, and GB/s counts the same least bytes: twice the data for forward and inference,
three times for backward, once more for a residual.

Every call goes through several sets of operands in turn, more than four times the L2 cache. They
are captured into a CUDA graph; a time is the median of its replays, by CUDA events, over the number
of sets. `eager` is the same without a graph, with what Python and PyTorch cost. What a peer cannot
do is in the result with its error, and so is what there was no time for. torch.compile takes seconds
for each of them and so comes by itself, with --compiled.
"""

import argparse
import json
import os
import statistics
import time

STARTED = time.time()  # importing PyTorch takes its part of the time

import torch
import torch.nn.functional as F

EPS, MOMENTUM = 1e-5, 0.1
TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
ATEN = torch.ops.aten
REPLAYS, EAGER_ROUNDS, WARM_UP = 15, 7, 3
MOST_SETS = 48


class Shape:
    def __init__(self, text):
        self.text = text
        self.layout, extents = text.split(":")
        e = [int(v) for v in extents.split("x")]
        # PyTorch names extents as NCHW whatever lies where.
        self.extents = [e[0], e[3], e[1], e[2]] if self.layout == "NHWC" else e
        self.channels = self.extents[1]
        self.elements = 1
        for extent in e:
            self.elements *= extent

    def random(self, dtype):
        x = torch.empty(self.extents, device="cuda", dtype=dtype).normal_()
        return x.contiguous(memory_format=torch.channels_last) if self.layout == "NHWC" else x


class Peer:
    """The operations of one library; each function makes a closure that does it once."""

    def __init__(self, shape, dtype):
        f32 = dict(device="cuda", dtype=torch.float32)
        c = shape.channels
        self.gamma, self.beta = torch.rand(c, **f32) + 0.5, torch.randn(c, **f32)
        self.mean, self.variance = torch.zeros(c, **f32), torch.ones(c, **f32)

    def parameters(self):
        return self.gamma, self.beta, self.mean, self.variance

    def forward(self, x):
        return lambda: self.normalize(x, True)

    def forward_relu(self, x):
        return lambda: torch.relu_(self.normalize(x, True)[0])

    def infer(self, x):
        return lambda: self.normalize(x, False)

    def backward(self, dy, x):
        saved = self.normalize(x, True)
        return lambda: self.gradient(dy, x, saved)

    def backward_relu(self, dy, x):
        saved = self.normalize(x, True)
        y = torch.relu_(saved[0])
        return lambda: self.gradient(ATEN.threshold_backward(dy, y, 0), x, saved)


class Native(Peer):
    name = "PyTorch"

    def normalize(self, x, training):
        return ATEN.native_batch_norm(x, *self.parameters(), training, MOMENTUM, EPS)

    def gradient(self, dy, x, saved):
        return ATEN.native_batch_norm_backward(
            dy, x, self.gamma, self.mean, self.variance, saved[1], saved[2], True, EPS, [True] * 3
        )


class Cudnn(Peer):
    name = "cuDNN"

    def __init__(self, shape, dtype):
        super().__init__(shape, dtype)
        if shape.layout == "NC":
            raise ValueError("PyTorch gives cuDNN no matrices")

    def normalize(self, x, training):
        return ATEN.cudnn_batch_norm(x, *self.parameters(), training, MOMENTUM, EPS)

    def gradient(self, dy, x, saved):
        return ATEN.cudnn_batch_norm_backward(
            x, dy, self.gamma, self.mean, self.variance, saved[1], saved[2], EPS, saved[3]
        )


class Compiled(Peer):
    name = "torch.compile"

    def __init__(self, shape, dtype):
        super().__init__(shape, dtype)
        torch._dynamo.reset()
        torch._functorch.config.donated_buffer = False  # else a gradient can be taken only once
        self.compiled = torch.compile(self.layer, dynamic=False)

    @staticmethod
    def layer(x, gamma, beta, mean, variance, residual=None):
        y = F.batch_norm(x, mean, variance, gamma, beta, True, MOMENTUM, EPS)
        return F.relu(y if residual is None else y + residual)

    def forward_relu(self, x):
        with torch.no_grad():
            self.compiled(x, *self.parameters())
        return torch.no_grad()(lambda: self.compiled(x, *self.parameters()))

    def forward_add_relu(self, x, residual):
        return torch.no_grad()(lambda: self.compiled(x, *self.parameters(), residual))

    def backward_relu(self, dy, x):
        inputs = [t.detach().clone().requires_grad_(True) for t in (x, self.gamma, self.beta)]
        y = self.compiled(*inputs, self.mean, self.variance)
        return lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)


# Operation, the function of a peer, how many tensors of the data's size it is given and how often
# the data's bytes move at least.
OPERATIONS = [
    ("forward", "forward", 1, 2),
    ("forward+relu", "forward_relu", 1, 2),
    ("backward", "backward", 2, 3),
    ("backward+relu", "backward_relu", 2, 3),
    ("infer", "infer", 1, 2),
]
COMPILED = [
    ("forward+relu", "forward_relu", 1, 2),
    ("forward+add+relu", "forward_add_relu", 2, 3),
    ("backward+relu", "backward_relu", 2, 3),
]


def median_time(stream, functions):
    """Milliseconds of one call: by replays of a graph, or None, and eagerly."""

    def rounds(run, count, calls):
        times = []
        for _ in range(count):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / calls)
        return statistics.median(times)

    def all_of_them():
        return [f() for f in functions]

    for _ in range(WARM_UP):
        all_of_them()
    torch.cuda.synchronize()
    eager = rounds(all_of_them, EAGER_ROUNDS, len(functions))
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            results = all_of_them()  # alive: every call has an output of its own
        for _ in range(WARM_UP):
            graph.replay()
        torch.cuda.synchronize()
        replayed = rounds(graph.replay, REPLAYS, len(functions))
        del results, graph
        return replayed, eager
    except RuntimeError:
        torch.cuda.synchronize()
        return None, eager


class Measurement:
    def __init__(self, args):
        self.args = args
        self.device = torch.cuda.get_device_properties(0)
        # One for everything: a gradient runs on the stream of its forward.
        self.stream = torch.cuda.Stream()
        torch.cuda.set_stream(self.stream)
        self.rows = []

    def sets(self, bytes_of_one):
        cache = getattr(self.device, "L2_cache_size", 64 << 20)
        wanted = -(-4 * cache // bytes_of_one)
        room = int(torch.cuda.mem_get_info()[0] * 0.4 // bytes_of_one)
        return max(2, min(wanted, MOST_SETS, room))

    def measure(self, shape, dtype, peer, operation, moved, tensors, maker):
        """maker: from a list of so many random tensors to a closure."""
        data = shape.elements * TYPES[dtype].itemsize
        row = dict(peer=peer, shape=shape.text, dtype=dtype, operation=operation)
        row["bytes"] = moved * data
        try:
            functions = [
                maker([shape.random(TYPES[dtype]) for _ in range(tensors)])
                for _ in range(self.sets(moved * data))
            ]
            replayed, eager = median_time(self.stream, functions)
            ms = replayed if replayed is not None else eager
            row.update(seconds=ms / 1e3, eagerSeconds=eager / 1e3, graph=replayed is not None)
            row["gigabytesPerSecond"] = row["bytes"] / row["seconds"] / 1e9
            del functions
        except Exception as e:  # what a peer cannot do is a result
            row["error"] = f"{type(e).__name__}: {e}".splitlines()[0][:200]
        torch.cuda.empty_cache()
        self.rows.append(row)
        speed = "" if "error" in row else f"{row['gigabytesPerSecond']:.0f} GB/s"
        print(shape.text, dtype, operation, peer, row.get("error", speed), flush=True)
        self.write()

    def late(self, shape, dtype, peer):
        """Whether no more is to be begun; then the result says what is missing."""
        if time.time() - STARTED <= self.args.seconds:
            return False
        row = dict(peer=peer, shape=shape.text, dtype=dtype, operation="all")
        self.rows.append(dict(row, error="no time left"))
        print(shape.text, dtype, "all", peer, "no time left", flush=True)
        self.write()
        return True

    def limits(self, shape, dtype):
        if self.late(shape, dtype, "limit"):
            return
        copy = lambda t: lambda: t[1].copy_(t[0])
        add = lambda t: lambda: torch.add(t[0], t[1], out=t[2])
        self.measure(shape, dtype, "limit", "copy", 2, 2, copy)
        self.measure(shape, dtype, "limit", "add", 3, 3, add)

    def peer(self, kind, operations, shape, dtype):
        if self.late(shape, dtype, kind.name):
            return
        try:
            peer = kind(shape, TYPES[dtype])
        except ValueError as e:
            row = dict(peer=kind.name, shape=shape.text, dtype=dtype, operation="all")
            self.rows.append(dict(row, error=str(e)))
            return
        for operation, function, tensors, moved in operations:
            maker = lambda t, f=getattr(peer, function): f(*reversed(t))
            self.measure(shape, dtype, kind.name, operation, moved, tensors, maker)

    def write(self):
        info = dict(
            gpu=self.device.name,
            multiprocessors=self.device.multi_processor_count,
            torch=torch.__version__,
            cuda=torch.version.cuda,
            cudnn=torch.backends.cudnn.version(),
        )
        part = self.args.result + ".tmp"
        with open(part, "w") as file:
            json.dump(dict(info=info, rows=self.rows), file, indent=1)
        os.replace(part, self.args.result)


def check(kinds):
    """That the functions are called as they are meant: against F64."""
    for text in "NCHW:8x24x10x10", "NHWC:8x10x10x24":
        shape = Shape(text)
        x = shape.random(torch.float32) + 0.7
        for kind in kinds:
            peer = kind(shape, torch.float32)
            v = (1, -1, 1, 1)
            xhat = F.batch_norm(x.double(), None, None, None, None, True, MOMENTUM, EPS)
            y = (xhat * peer.gamma.double().view(v) + peer.beta.double().view(v)).relu()
            off = float((peer.forward_relu(x)().double() - y).abs().max())
            if not off < 1e-4:
                raise SystemExit(f"{kind.name} of {text} is off by {off}")
            print(f"{kind.name} of {text}: off by {off:.1e} at most", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("result")
    parser.add_argument("--shape", action="append", required=True, type=Shape)
    parser.add_argument("--dtype", action="append", choices=list(TYPES))
    parser.add_argument("--seconds", type=float, default=480, help="start nothing after so long")
    parser.add_argument("--compiled", action="store_true", help="torch.compile, and nothing else")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no GPU")
    torch.manual_seed(0)
    check([Compiled] if args.compiled else [Native, Cudnn])
    run = Measurement(args)
    run.write()
    types = args.dtype or ["F32"]
    for shape in args.shape:
        for dtype in types:
            if args.compiled:
                run.peer(Compiled, COMPILED, shape, dtype)
                continue
            run.limits(shape, dtype)
            run.peer(Native, OPERATIONS, shape, dtype)
            run.peer(Cudnn, OPERATIONS, shape, dtype)


if __name__ == "__main__":
    main()
