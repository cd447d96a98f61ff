"""Our times beside the peers' and the goals as markdown: table.py FOLDER, as benchmarks/gpu/run fills it.

Reads ours.json (of GpuNorm), ours-base.json and ours-tuned.json (the same without single-pass
kernels, and autotuned), peers.json (of gpu_norm.py), training.json, peers-training.json and ncu.csv;
what is missing is left out. `of limit` is GB/s over that of PyTorch's copy (forward, infer) or addition
into a third tensor (backward, residual) of the same size; without them over our own copy.
"""

import csv
import json
import sys
from pathlib import Path

READS_TWO = ("backward", "forward+add")
BYTES = {"F32": 4, "F16": 2, "BF16": 2}
MEGA = 1e6


def load(file):
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return {"rows": []}


def timed(document):
    """(shape, type, operation, peer) to row, of those that have a time."""
    return {
        (r["shape"], r["dtype"], r["operation"], r["peer"]): r
        for r in document["rows"]
        if r.get("seconds")
    }


def microseconds(seconds):
    return f"{seconds * 1e6:.1f}"


def data_bytes(shape, dtype):
    size = BYTES[dtype]
    for extent in shape.split(":")[1].split("x"):
        size *= int(extent)
    return size


def channels(shape):
    layout, extents = shape.split(":")
    extents = [int(e) for e in extents.split("x")]
    return extents[-1] if layout == "NHWC" else extents[1]


def limit_of(times, shape, dtype, operation):
    """Seconds of the copy or addition that an operation is held against."""
    kind, moves = ("add", 3) if operation.startswith(READS_TWO) else ("copy", 2)
    theirs = times.get((shape, dtype, kind, "limit"))
    if theirs:
        return theirs["seconds"]
    copy = times.get((shape, dtype, "copy", "fusednorm"))
    return copy["seconds"] * moves / 2 if copy else None


def goals():
    """Text, required ratio, peer (limit: speed over the limit's), and which cases count."""

    def sized(low, high):
        return lambda s, t: low * MEGA <= data_bytes(s, t) < high * MEGA

    def nchw(s, t):
        return s.startswith("NCHW:")

    steps = [("100 MB or more", 100, 1e9, 0.93), ("25 to 100 MB", 25, 100, 0.88)]
    steps.append(("3 to 25 MB", 3, 25, 0.70))
    for name, low, high, ratio in steps:
        for op in ("forward", "backward"):
            yield f"{op} against the limit, data of {name}", ratio, "limit", op, sized(low, high)
    yield "inference against a copy, data of 3 MB or more", 0.97, "limit", "infer", sized(3, 1e9)
    for op, few, many in (("forward", 8, 3), ("backward", 6, 3)):
        small = lambda s, t: nchw(s, t) and channels(s) == 64
        large = lambda s, t: nchw(s, t) and channels(s) >= 512
        yield f"{op} against PyTorch, NCHW, 64 channels", few, "PyTorch", op, small
        yield f"{op} against PyTorch, NCHW, 512 channels or more", many, "PyTorch", op, large
    rows = lambda s, t: not nchw(s, t)
    yield "forward against PyTorch, NHWC and NC, F32", 1.6, "PyTorch", "forward", (
        lambda s, t: rows(s, t) and t == "F32"
    )
    yield "forward against PyTorch, NHWC and NC, BF16", 2.0, "PyTorch", "forward", (
        lambda s, t: rows(s, t) and t == "BF16"
    )
    yield "backward against PyTorch, NHWC and NC", 1.8, "PyTorch", "backward", rows
    for op, ratio in (("forward+relu", 1.45), ("backward+relu", 1.6)):
        yield f"{op} against torch.compile", ratio, "torch.compile", op, lambda s, t: True
    for op in ("forward", "backward"):
        yield f"{op} against cuDNN, NCHW", 1.8, "cuDNN", op, nchw
        yield f"{op} against cuDNN, NHWC, F16", 1.1, "cuDNN", op, (
            lambda s, t: s.startswith("NHWC:") and t == "F16"
        )


def print_goals(times):
    print("\n## Goals\n")
    print("Ratios of speeds, ours over theirs.\n")
    print("| goal | required | least | median | cases | |\n| --- | --- | --- | --- | --- | --- |")
    for text, required, peer, operation, counts in goals():
        ratios = []
        for (shape, dtype, op, who), row in times.items():
            if who != "fusednorm" or op != operation or not counts(shape, dtype):
                continue
            other = times.get((shape, dtype, op, peer), {}).get("seconds")
            if peer == "limit":
                other = limit_of(times, shape, dtype, op)
            if other:
                ratios.append(other / row["seconds"])
        ratios.sort()
        cells = [text, f"{required}"]
        if ratios:
            met = "met" if ratios[0] >= required else "not met"
            cells += [f"{ratios[0]:.2f}", f"{ratios[len(ratios) // 2]:.2f}", str(len(ratios)), met]
        else:
            cells += ["", "", "0", "not measured"]
        print("| " + " | ".join(cells) + " |")


def print_speeds(times, base, tuned):
    peers = sorted({key[3] for key in times} - {"limit", "fusednorm"})
    keys = [k[:3] for k in times if k[3] == "fusednorm"] or sorted({k[:3] for k in times})
    keys = [k for k in keys if k[2] not in ("copy", "add")]
    print("\n## Speed\n")
    print("Times in microseconds; in brackets theirs over ours. `model` is the time predicted.\n")
    head = ["shape", "type", "operation", "kernel", "fusednorm", "of limit", "model"]
    head += ["no single pass", "autotuned", *peers]
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|")
    for key in keys:
        row = times.get((*key, "fusednorm"))
        seconds = row and row["seconds"]
        fastest = limit_of(times, *key)
        cells = [*key, ", ".join(row.get("kernels") or []) if row else ""]
        cells.append(microseconds(seconds) if seconds else "")
        cells.append(f"{100 * fastest / seconds:.0f} %" if seconds and fastest else "")
        model = row and row.get("predictedSeconds")
        cells.append(microseconds(model) if model else "")
        for other in (base, tuned):
            same = other.get((*key, "fusednorm"))
            cells.append(microseconds(same["seconds"]) if same else "")
        for peer in peers:
            other = times.get((*key, peer), {}).get("seconds")
            ratio = f" ({other / seconds:.2f})" if other and seconds else ""
            cells.append(microseconds(other) + ratio if other else "")
        print("| " + " | ".join(cells) + " |")


def print_errors(rows):
    for r in rows:
        if "error" in r and "no time left" not in r["error"]:
            print(f"\n{r['peer']}, {r['shape']} {r['dtype']}: {r['error']}")
    late = sum("no time left" in r.get("error", "") for r in rows)
    if late:
        print(f"\n{late} measurements had no time.")


def print_training(rows):
    if not rows:
        return
    ours = {(r["network"], r["dtype"]): r.get("stepsPerSecond") for r in rows if r["peer"] == "fusednorm"}
    print("\n## Training\n\n| network | type | library | steps per second | ours / theirs |")
    print("| --- | --- | --- | --- | --- |")
    for r in rows:
        speed, mine = r.get("stepsPerSecond"), ours.get((r["network"], r["dtype"]))
        ratio = f"{mine / speed:.2f}" if speed and mine and r["peer"] != "fusednorm" else ""
        told = f"{speed:.1f}" if speed else r.get("error", "")
        print(f"| {r['network']} | {r['dtype']} | {r['peer']}, {r['mode']} | {told} | {ratio} |")


def print_profile(file):
    """Launches in their order, as ncu tells them: a line for each metric."""
    if not file.exists():
        return
    lines = [l for l in file.read_text(errors="replace").splitlines() if l.startswith('"')]
    launches = {}
    for r in csv.DictReader(lines):
        launch = launches.setdefault(r["ID"], dict(kernel=r["Kernel Name"]))
        launch[r["Metric Name"]] = r["Metric Value"].replace(",", "")
    if not launches:
        return
    print("\n## Profile\n\n| kernel | MB of memory | L2 hits | warps at work |")
    print("| --- | --- | --- | --- |")
    for launch in launches.values():
        moved = float(launch.get("dram__bytes.sum", "nan")) / MEGA
        hits = launch.get("lts__t_sector_hit_rate.pct", "")
        warps = launch.get("sm__warps_active.avg.pct_of_peak_sustained_active", "")
        print(f"| {launch['kernel']} | {moved:.2f} | {hits} % | {warps} % |")


def main():
    folder = Path(sys.argv[1])
    rows = load(folder / "ours.json")["rows"] + load(folder / "peers.json")["rows"]
    times = timed({"rows": rows})
    if times:
        print_goals(times)
        base, tuned = (timed(load(folder / f"ours-{n}.json")) for n in ("base", "tuned"))
        print_speeds(times, base, tuned)
    print_errors(rows)
    training = [load(folder / f)["rows"] for f in ("training.json", "peers-training.json")]
    print_training(sum(training, []))
    print_profile(folder / "ncu.csv")


if __name__ == "__main__":
    main()
