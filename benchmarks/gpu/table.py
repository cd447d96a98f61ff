"""Our times beside the peers' and the goals as markdown: table.py FOLDER, as benchmarks/gpu/run fills it.

Reads ours.json (of GpuNorm), ours-base.json and ours-tuned.json (the same without single-pass
kernels, and autotuned), bench.json (of `fusednorm bench --json`), peers.json and peers-compile.json
(of gpu_norm.py), training.json, peers-training.json and ncu.csv; what is missing is left out. What one
side has measured and the other has not is named, with the reason where a file has one, and so is what
cannot be read. `of limit` is GB/s over that of PyTorch's copy (forward, infer) or addition into a
third tensor (backward, residual) of the same size; without them, marked by a star, over our own copy.
"""

import csv
import json
import re
import sys
from pathlib import Path

READS_TWO = ("backward", "forward+add")
BYTES = {"F32": 4, "F16": 2, "BF16": 2}
MEGA = 1e6


NO_TIME = "no time left"
problems = []


def load(file):
    """The document, or an empty one."""
    try:
        document = json.loads(file.read_text())
        if not isinstance(document, dict):
            raise ValueError("it is no object")
        return document
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        problems.append(f"{file.name} cannot be read: {e}")
        return {}


def shape_of(text):
    """`NCHW:32x64x56x56` of that or of `[32, 64, 56, 56] NCHW`, as Shape.toString writes it."""
    found = re.fullmatch(r"\[([\d, ]+)\] (\w+)|(\w+):([\dx]+)", text.strip())
    if not found:
        raise ValueError(f"no shape: {text}")
    layout = found[2] or found[3]
    extents = re.findall(r"\d+", found[1] or found[4])
    if len(extents) != {"NC": 2, "NCHW": 4, "NHWC": 4}.get(layout.upper()):
        raise ValueError(f"no shape: {text}")
    return f"{layout.upper()}:{'x'.join(extents)}"


def rows_of(file):
    """Its measurements, their shapes and types as this script writes them."""
    document = load(file)
    rows = list(document.get("rows") or [])
    for result in document.get("results") or []:  # of bench
        same = dict(peer="bench", shape=result.get("shape"), dtype=document.get("dtype"))
        rows += [dict(operation, **same) for operation in result.get("operations") or []]
    known = []
    for i, r in enumerate(rows):
        try:
            dtype = r["dtype"].upper()
            if dtype not in BYTES:
                raise ValueError(f"no type: {dtype}")
            operation = r.get("operation", "all")
            if not (r.get("seconds") or r.get("error")):
                raise ValueError("neither a time nor an error")
            row = dict(r, shape=shape_of(r["shape"]), dtype=dtype, operation=operation)
            known.append(dict(row, peer=r["peer"]))
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            problems.append(f"{file.name}, row {i} is not understood: {e!r}")
    return known


def timed(rows):
    """(shape, type, operation, peer) to row, of those that have a time."""
    return {
        (r["shape"], r["dtype"], r["operation"], r["peer"]): r for r in rows if r.get("seconds")
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
    """Seconds of the copy or addition that an operation is held against; whether it is our copy."""
    kind, moves = ("add", 3) if operation.startswith(READS_TWO) else ("copy", 2)
    theirs = times.get((shape, dtype, kind, "limit"))
    if theirs:
        return theirs["seconds"], False
    copy = times.get((shape, dtype, "copy", "fusednorm"))
    return (copy["seconds"] * moves / 2, True) if copy else (None, False)


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
    over_ours = set()
    for text, required, peer, operation, counts in goals():
        ratios = []
        for (shape, dtype, op, who), row in times.items():
            if who != "fusednorm" or op != operation or not counts(shape, dtype):
                continue
            other = times.get((shape, dtype, op, peer), {}).get("seconds")
            if peer == "limit":
                other, own = limit_of(times, shape, dtype, op)
                if own:
                    over_ours.add(f"{shape} {dtype}")
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
    if over_ours:
        told = ", ".join(sorted(over_ours))
        print(f"\nWithout PyTorch's copy and addition, held against our own copy: {told}.")


def operations_of(times):
    """(shape, type, operation) of everything that somebody has timed, in the order of ours."""
    ours_first = sorted(times, key=lambda k: k[3] != "fusednorm")
    keys = dict.fromkeys(k[:3] for k in ours_first if k[3] != "limit")
    return [k for k in keys if k[2] not in ("copy", "add")]


def peers_of(times):
    return sorted({key[3] for key in times} - {"limit", "fusednorm", "bench"})


def print_speeds(times, others):
    peers = peers_of(times)
    others = {name: times for name, times in others.items() if times}
    print("\n## Speed\n")
    print("Times in microseconds; in brackets theirs over ours. `model` is the time predicted.\n")
    head = ["shape", "type", "operation", "kernel", "fusednorm", "of limit", "model"]
    head += [*others, *peers]
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|")
    for key in operations_of(times):
        row = times.get((*key, "fusednorm"))
        seconds = row and row["seconds"]
        fastest, own = limit_of(times, *key)
        star = "*" if own else ""
        cells = [*key, ", ".join(row.get("kernels") or []) if row else ""]
        cells.append(microseconds(seconds) if seconds else "")
        cells.append(f"{100 * fastest / seconds:.0f} %{star}" if seconds and fastest else "")
        model = row and row.get("predictedSeconds")
        cells.append(microseconds(model) if model else "")
        for other in others.values():
            same = other.get(key)
            cells.append(microseconds(same["seconds"]) if same else "")
        for peer in peers:
            other = times.get((*key, peer), {}).get("seconds")
            ratio = f" ({other / seconds:.2f})" if other and seconds else ""
            cells.append(microseconds(other) + ratio if other else "")
        print("| " + " | ".join(cells) + " |")


def listed(pairs):
    """`NC:8x4 F32 BF16; NC:80x4 F32` of (shape, type) pairs."""
    types = {}
    for shape, dtype in pairs:
        if dtype not in types.setdefault(shape, []):
            types[shape].append(dtype)
    return "; ".join(f"{shape} {' '.join(t)}" for shape, t in types.items())


def print_partners(times):
    """What cannot be compared."""
    peers = peers_of(times)
    if not any(k[3] == "fusednorm" for k in times):
        print("\nNothing of ours was timed: there is nothing to set the peers beside.")
        return
    if not peers:
        print("\nNo peer was timed: there is nothing to set ours beside.")
        return
    alone = {}
    for key in operations_of(times):
        have = {p for p in ["fusednorm", *peers] if (*key, p) in times}
        if have and ("fusednorm" not in have or have == {"fusednorm"}):
            who = "fusednorm" if "fusednorm" in have else ", ".join(sorted(have))
            alone.setdefault((who, key[2]), []).append(key[:2])
    if alone:
        print("\n## Without a partner\n")
        for (who, operation), pairs in alone.items():
            print(f"- {operation}, timed by {who} alone: {listed(pairs)}")


def print_errors(rows):
    late = {}
    for r in rows:
        error = r.get("error")
        if error and NO_TIME in error:
            late.setdefault(r["peer"], []).append((r["shape"], r["dtype"]))
        elif error:
            what = "" if r["operation"] == "all" else " " + r["operation"]
            print(f"\n{r['peer']}, {r['shape']} {r['dtype']}{what}: {error}")
    for peer, pairs in late.items():
        print(f"\nNo time was left for {peer}: {listed(pairs)}.")


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
        print("\nncu.csv has no launch.")
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
    names = "ours.json", "peers.json", "peers-compile.json"
    rows = sum((rows_of(folder / n) for n in names), [])
    gpus = {(load(folder / n).get("info") or {}).get("gpu") for n in names} - {None}
    if len(gpus) > 1:
        problems.append(f"times of several GPUs are set beside each other: {', '.join(sorted(gpus))}")
    others = {
        title: {k[:3]: row for k, row in timed(rows_of(folder / f"{file}.json")).items()}
        for title, file in (
            ("no single pass", "ours-base"),
            ("autotuned", "ours-tuned"),
            ("bench", "bench"),
        )
    }
    training = [load(folder / f).get("rows") or [] for f in ("training.json", "peers-training.json")]
    for problem in dict.fromkeys(problems):
        print(f"\n**{problem}**")
    times = timed(rows)
    for key, row in others["bench"].items():
        times.setdefault((*key, "fusednorm"), dict(row, kernels=["(bench)"]))
    if times:
        print_goals(times)
        print_speeds(times, others)
        print_partners(times)
    print_errors(rows)
    print_training(sum(training, []))
    print_profile(folder / "ncu.csv")


if __name__ == "__main__":
    main()
