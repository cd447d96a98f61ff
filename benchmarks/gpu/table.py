"""Our times beside the peers' as a markdown table: table.py FOLDER, as benchmarks/gpu/run fills it.

Reads bench-*.json (of `fusednorm bench --json`) and peers.json (of gpu_norm.py); what is missing is
left out. `of limit` is GB/s over that of PyTorch's copy (forward, infer) or addition into a third
tensor (backward, residual) of the same size; without them over our own copy.
"""

import json
import re
import sys
from pathlib import Path

READS_TWO = ("backward", "forward+add")


def load(file):
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None


def ours(folder):
    """(shape, type, operation) to seconds; shapes as the peers write them."""
    times = {}
    for file in sorted(folder.glob("bench-*.json")):
        document = load(file) or {"results": []}
        for result in document["results"]:
            extents, layout = re.match(r"\[(.*)\] (\w+)", result["shape"]).groups()
            shape = f"{layout}:{extents.replace(', ', 'x')}"
            for t in result["operations"]:
                times[shape, document["dtype"], t["operation"]] = t["seconds"], t["bytes"]
    return times


def microseconds(seconds):
    return f"{seconds * 1e6:.1f}"


def main():
    folder = Path(sys.argv[1])
    mine = ours(folder)
    rows = (load(folder / "peers.json") or {"rows": []})["rows"]
    theirs = {
        (r["shape"], r["dtype"], r["operation"], r["peer"]): r["seconds"]
        for r in rows
        if "seconds" in r
    }
    peers = sorted({key[3] for key in theirs} - {"limit"})
    keys = list(mine) or sorted({key[:3] for key in theirs})
    keys = [k for k in keys if k[2] not in ("copy", "add")]
    if not keys:
        return
    print("\n## Speed\n")
    print("Times in microseconds; in brackets theirs over ours.\n")
    print("| shape | type | operation | fusednorm | of limit | " + " | ".join(peers) + " |")
    print("| --- " * (5 + len(peers)) + "|")
    for shape, dtype, operation in keys:
        seconds, moved = mine.get((shape, dtype, operation), (None, 0))
        limit, times = ("add", 3) if operation.startswith(READS_TWO) else ("copy", 2)
        fastest = theirs.get((shape, dtype, limit, "limit"))
        if fastest is None and (shape, dtype, "copy") in mine:
            fastest = mine[shape, dtype, "copy"][0] * times / 2
        cells = [shape, dtype, operation, microseconds(seconds) if seconds else ""]
        cells.append(f"{100 * fastest / seconds:.0f} %" if seconds and fastest else "")
        for peer in peers:
            other = theirs.get((shape, dtype, operation, peer))
            ratio = f" ({other / seconds:.2f})" if other and seconds else ""
            cells.append(microseconds(other) + ratio if other else "")
        print("| " + " | ".join(cells) + " |")
    for r in rows:
        if "error" in r and "no time left" not in r["error"]:
            print(f"\n{r['peer']}, {r['shape']} {r['dtype']}: {r['error']}")
    late = sum("no time left" in r.get("error", "") for r in rows)
    if late:
        print(f"\n{late} measurements of peers had no time.")


if __name__ == "__main__":
    main()
