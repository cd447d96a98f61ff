"""Where the kernels can be broken: every barrier, order between blocks, bounds check, tail mask and
merge of a source file, and the source in which each of them can be switched off at run time.

A site is rewritten so that mutant(ID), a function that the emulator gets for this, removes it. So
all mutants of all kernels are compiled once.
"""

import re
from dataclasses import dataclass


@dataclass
class Mutant:
    id: int
    file: str
    line: int
    kind: str
    code: str  # what is removed, on one line
    scope: str  # the statement that it stands in


# What stands at its own risk: the compiler would not take a call there.
CONSTANT = re.compile(r"\b(constexpr|static_assert|template|enum|using)\b")
# Loops whose end is fixed when a kernel is compiled are no bounds checks.
TERM = r"(\d+|[A-Z]\w*|(\w+::)*k[A-Z]\w*|int\(k\w+\))"
FIXED = re.compile(rf"^[\s(]*{TERM}(\s*[*/+-]\s*{TERM})*[\s)]*$")
LEAVES = re.compile(r"\s*\{?\s*(return|continue|break)\b")

BARRIERS = ["__syncthreads", "__syncwarp", "cluster_barrier", "cluster_arrive", "cluster_wait"]


def blank(text):
    """The text with comments, strings and preprocessor lines as blanks, of the same length."""

    def spaces(m):
        return re.sub(r"[^\n]", " ", m.group())

    text = re.sub(r"//[^\n]*|/\*.*?\*/|\"(\\.|[^\"\n\\])*\"", spaces, text, flags=re.S)
    return re.sub(r"^[ \t]*#(\\\n|[^\n])*", spaces, text, flags=re.M)


def closing(text, at):
    """Behind the parenthesis that closes the one at `at`."""
    depth = 0
    for i in range(at, len(text)):
        depth += text[i] in "([{"
        depth -= text[i] in ")]}"
        if depth == 0:
            return i + 1
    raise ValueError("unbalanced")


def split(text, start, end, separator):
    """Spans between separators outside of parentheses, without surrounding blanks."""
    parts, depth, begin, i = [], 0, start, start
    while i < end:
        if depth == 0 and text.startswith(separator, i):
            parts.append((begin, i))
            i += len(separator)
            begin = i
            continue
        depth += text[i] in "([{"
        depth -= text[i] in ")]}"
        i += 1
    parts.append((begin, end))
    return [trim(text, *p) for p in parts]


def trim(text, start, end):
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


class Source:
    """One file and its mutants."""

    def __init__(self, name, text, first_id):
        self.name, self.text, self.shadow = name, text, blank(text)
        self.next_id = first_id
        self.mutants, self.edits = [], []  # an edit: start, end, text with {} for what was there
        self.calls()
        self.conditions()
        self.ternaries()
        self.masks()
        self.sums()

    def statement(self, at):
        start = max(self.shadow.rfind(c, 0, at) for c in ";{}") + 1
        end = min(i for i in (self.shadow.find(c, at) for c in ";{}") if i >= 0)
        return " ".join(self.text[start:end].split())

    def add(self, kind, start, end, edit):
        scope = self.statement(start)
        if CONSTANT.search(scope):
            return
        number = self.next_id
        self.next_id += 1
        line = self.text.count("\n", 0, start) + 1
        code = " ".join(self.text[start:end].split())
        self.mutants.append(Mutant(number, self.name, line, kind, code, scope))
        self.edits.append((start, end, edit.replace("MUTANT", f"mutant({number})")))

    def calls(self):
        names = "|".join(
            BARRIERS
            + ["__threadfence", "__syncthreads_or", "__syncthreads_and", "__syncthreads_count"]
            + ["__shfl_sync", "__shfl_xor_sync", "__shfl_down_sync", "__shfl_up_sync"]
            + ["store_release", "load_acquire"]
        )
        for m in re.finditer(rf"\b({names})\(", self.shadow):
            name, start, end = m.group(1), m.start(), closing(self.shadow, m.end() - 1)
            arguments = [
                self.text[slice(*a)] for a in split(self.shadow, m.end(), end - 1, ",")
            ]
            before = self.shadow[max(0, start - 60) : start]
            if re.search(r"(BN_DEVICE|inline)[\w\s*<>]*$", before):
                continue  # its declaration
            if name in BARRIERS:
                self.add("barrier", start, end, "(MUTANT ? (void)0 : {})")
            elif name == "__threadfence":
                self.add("order", start, end, "(MUTANT ? (void)0 : {})")
            elif name.startswith("__syncthreads_"):
                self.add("barrier", start, end, f"(MUTANT ? int({arguments[0]}) : {{}})")
            elif name.startswith("__shfl"):
                # Removed together with what adds it up, as a merge: see sums().
                if "=" not in self.statement(start):
                    self.add("merge", start, end, f"(MUTANT ? {arguments[1]} : {{}})")
            elif name == "store_release":
                word, value = arguments
                plain = f"(void)(*(volatile unsigned*)({word}) = {value})"
                self.add("order", start, end, f"(MUTANT ? {plain} : {{}})")
            else:
                plain = f"*(const volatile unsigned*)({arguments[0]})"
                self.add("order", start, end, f"(MUTANT ? {plain} : {{}})")

    def conditions(self):
        for m in re.finditer(r"\b(if|for|while)\s*\(", self.shadow):
            start, end = m.end(), closing(self.shadow, m.end() - 1) - 1
            if m.group(1) == "for":
                parts = split(self.shadow, start, end, ";")
                if len(parts) == 3:
                    self.loop(*parts[1])
            elif m.group(1) == "while":
                if not self.shadow[end + 1 :].lstrip().startswith(";"):
                    self.each(start, end, "||", "check", "(!MUTANT && ({}))")
            elif LEAVES.match(self.shadow, end + 1):
                self.each(start, end, "||", "check", "(!MUTANT && ({}))")
            else:
                self.each(start, end, "&&", "check", "(MUTANT || ({}))")

    def each(self, start, end, separator, kind, edit):
        for a, b in split(self.shadow, start, end, separator):
            self.add(kind, a, b, edit)

    def loop(self, start, end):
        for a, b in split(self.shadow, start, end, "&&"):
            m = re.match(r"(.*?) (<|>) (.*)$", self.shadow[a:b], re.S)
            if m and not FIXED.match(m.group(3)):
                left, right = self.text[a : a + m.end(1)], self.text[a + m.start(3) : b]
                self.add("tail", a, b, f"(MUTANT ? {left} {m.group(2)}= {right} : {{}})")

    def ternaries(self):
        for m in re.finditer(r" \? ", self.shadow):
            a, b = trim(self.shadow, self.start_of_choice(m.start()), m.start())
            self.each(a, b, "&&", "mask", "(MUTANT || ({}))")

    def start_of_choice(self, end):
        """Where the condition before a question mark begins."""
        text, depth = self.shadow, 0
        for i in range(end - 1, 0, -1):
            if text[i] in ")]}":
                depth += 1
            elif text[i] in "([{":
                if depth == 0:
                    return i + 1
                depth -= 1
            elif depth > 0:
                continue
            elif text[i] in ";,?" or (text[i] == ":" and ":" not in text[i - 1] + text[i + 1]):
                return i + 1
            elif text[i] == "=" and text[i - 1] not in "=<>!" and text[i + 1] != "=":
                return i + 1
            elif re.match(r"\breturn\b", text[i - 1 :][1:8]) and not text[i - 1].isalnum():
                return i + 6
        return 0

    def masks(self):
        for m in re.finditer(r"\bbool (?:\w+) = ([^;?]+);", self.shadow):
            if re.search(r"[<>=!]=?|&&|\w\(", m.group(1)) and m.group(1) not in ("true", "false"):
                self.each(m.start(1), m.end(1), "&&", "mask", "(MUTANT || ({}))")
        for m in re.finditer(r"\breturn ([^;?]* (?:<|<=|>|>=) [^;?]*);", self.shadow):
            self.each(m.start(1), m.end(1), "&&", "mask", "(MUTANT || ({}))")

    def sums(self):
        sum_or_product = r"(?<![\w.\]])([\w.]+(?:\[[\w ]+\])*) (\+=|= (?:add_rn|fma_rn)\()"
        for m in re.finditer(sum_or_product, self.shadow):
            end = self.end_of_statement(m.end(1))
            itself = rf"(?<!\w){re.escape(m.group(1))}(?!\w)"
            # A step of a for has no end of its own.
            if end and (m.group(2) == "+=" or re.search(itself, self.shadow[m.end(2) : end])):
                self.add("merge", m.start(), end, "(MUTANT ? (void)0 : (void)({}))")

    def end_of_statement(self, at):
        depth = 0
        for i in range(at, len(self.shadow)):
            depth += self.shadow[i] in "([{"
            depth -= self.shadow[i] in ")]}"
            if depth < 0:
                return None
            if depth == 0 and self.shadow[i] == ";":
                return i
        return None

    def switched(self):
        """The text with all its switches. Sites may lie within each other: inner ones first."""
        return render(self.text, self.edits, 0, len(self.text))


def render(text, edits, start, end):
    inside = [e for e in edits if start <= e[0] and e[1] <= end]
    inside.sort(key=lambda e: (e[0], -e[1]))
    result, at = [], start
    while inside:
        first, last, form = inside[0]
        rest = inside[1:]
        within = [e for e in rest if e[1] <= last]
        inside = [e for e in rest if e[0] >= last]
        result.append(text[at:first])
        body = render_exact(text, within, first, last)
        result.append(form.replace("{}", body))
        at = last
    result.append(text[at:end])
    return "".join(result)


def render_exact(text, edits, start, end):
    """Edits of the very same span wrap one another."""
    same = [e for e in edits if (e[0], e[1]) == (start, end)]
    if same:
        inner = render_exact(text, [e for e in edits if e is not same[0]], start, end)
        return same[0][2].replace("{}", inner)
    return render(text, edits, start, end)
