"""The training of Figure1.java in plain NumPy, as a process that TrainingPeers.java commands.

usage: numpy_figure1.py FOLDER, with the files that Figure1.write makes

Reads commands from its input and answers each by one line of JSON:
  trace N          makes the first N steps; their losses and the running statistics after them
  measure SECONDS  trains for so long; the steps made, their time and the last loss
"""

import json
import pathlib
import sys
import time

import numpy as np

WIDTHS = [784, 100, 100, 100, 10]
HIDDEN = len(WIDTHS) - 2
BATCH = 60
LEARNING_RATE = np.float32(0.5)
MOMENTUM = np.float32(0.1)  # weight of the new value
EPS = np.float32(1e-5)


class Network:
    """784-100-100-100-10, sigmoid, batch normalization before each sigmoid."""

    def __init__(self, folder):
        self.images = (
            np.fromfile(folder / "images", np.uint8).reshape(-1, WIDTHS[0]).astype(np.float32)
        )
        self.labels = np.fromfile(folder / "labels", np.uint8).astype(np.int64)
        flat = np.fromfile(folder / "weights", "<f4")
        ends = np.cumsum([i * o for i, o in zip(WIDTHS, WIDTHS[1:])])
        # Kept as [in, out], so that no product of a forward needs a transposition.
        self.weight = [
            np.ascontiguousarray(w.reshape(o, i).T)
            for w, i, o in zip(np.split(flat, ends[:-1]), WIDTHS, WIDTHS[1:])
        ]
        self.bias = np.zeros(WIDTHS[-1], np.float32)
        self.gamma = [np.ones(w, np.float32) for w in WIDTHS[1:-1]]
        self.beta = [np.zeros(w, np.float32) for w in WIDTHS[1:-1]]
        self.mean = [np.zeros(w, np.float32) for w in WIDTHS[1:-1]]
        self.variance = [np.ones(w, np.float32) for w in WIDTHS[1:-1]]
        self.each = np.arange(BATCH)

    def step(self, rows):
        """One step on the images of these rows; the loss before the descent."""
        h = self.images[rows]
        labels = self.labels[rows]
        saved = []
        for l in range(HIDDEN):
            z = h @ self.weight[l]
            mean = z.mean(0)
            z -= mean
            variance = (z * z).mean(0)
            invstd = 1 / np.sqrt(variance + EPS)
            z *= invstd
            y = z * self.gamma[l]
            y += self.beta[l]
            np.negative(y, y)
            np.exp(y, y)
            y += 1
            np.reciprocal(y, y)
            self.mean[l] += MOMENTUM * (mean - self.mean[l])
            self.variance[l] += MOMENTUM * (variance * (BATCH / (BATCH - 1)) - self.variance[l])
            saved.append((h, z, invstd, y))
            h = y

        d = h @ self.weight[HIDDEN]
        d += self.bias
        d -= d.max(1, keepdims=True)
        picked = d[self.each, labels]
        np.exp(d, d)
        total = d.sum(1, keepdims=True)
        loss = float((np.log(total[:, 0]) - picked).mean())
        d /= total
        d[self.each, labels] -= 1
        d /= BATCH

        dh = d @ self.weight[HIDDEN].T
        self.weight[HIDDEN] -= LEARNING_RATE * (h.T @ d)
        self.bias -= LEARNING_RATE * d.sum(0)
        for l in reversed(range(HIDDEN)):
            x, xhat, invstd, y = saved[l]
            dh *= y
            dh *= 1 - y
            dgamma = (dh * xhat).sum(0)
            dbeta = dh.sum(0)
            dh -= dbeta / BATCH
            dh -= xhat * (dgamma / BATCH)
            dh *= self.gamma[l] * invstd
            self.gamma[l] -= LEARNING_RATE * dgamma
            self.beta[l] -= LEARNING_RATE * dbeta
            gradient = x.T @ dh
            if l > 0:
                dh = dh @ self.weight[l].T
            gradient *= LEARNING_RATE
            self.weight[l] -= gradient
        return loss


def measure(network, random, seconds):
    cpu = time.process_time()
    start = time.perf_counter()
    steps = 0
    while True:
        for _ in range(20):
            loss = network.step(random.integers(0, len(network.labels), BATCH))
        steps += 20
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            cpu = time.process_time() - cpu
            return {"steps": steps, "seconds": elapsed, "cpu": cpu, "loss": loss}


def blas():
    """The library that computes the products, as it is mapped into this process."""
    for line in pathlib.Path("/proc/self/maps").read_text().splitlines():
        name = line.split("/")[-1]
        if "/" in line and ("blas" in name or "mkl_rt" in name):
            return pathlib.Path(line[line.index("/") :]).resolve().name
    return "unknown"


def main():
    folder = pathlib.Path(sys.argv[1])
    network = Network(folder)
    random = np.random.default_rng(1)

    def answer(value):
        print(json.dumps(value), flush=True)

    python = sys.version.split()[0]
    answer({"description": f"NumPy {np.__version__}, Python {python}, BLAS {blas()}"})
    for line in sys.stdin:
        command, argument = line.split()
        if command == "trace":
            rows = np.fromfile(folder / "rows", "<i8").reshape(-1, BATCH)[: int(argument)]
            losses = [network.step(r) for r in rows]
            running = np.concatenate([network.mean[-1], network.variance[-1]])
            answer({"losses": losses, "running": running.tolist()})
        else:
            answer(measure(network, random, float(argument)))


if __name__ == "__main__":
    main()
