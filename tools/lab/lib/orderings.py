#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Checks that each memory order in the module has a comment that names its partner.

A use of Relaxed, Acquire, Release or Full, or of smp_mb(), needs a comment in the same function, at or before the use:

    // ORDERING: Pairs with `Records::copy`: the record is complete before its sequence number.
    // ORDERING: None: the mutex serialises the writers.

It either begins with "None" and has a reason, or names a partner in backquotes after "pairs with": `Type::function`,
with an order, a barrier or a lock in its body, or a free function, a C helper, or one of the kernel's in KERNEL.

Does not check what only a reader can. One comment serves all uses that follow in the function. A reason can be wrong.
The partner can use another variable, or an order that is too weak.

Prints what is missing as FILE:LINE: TEXT, and exits with 1 if there is something. Also checks that the functions exist
that the litmus tests name.

Usage: orderings.py DIRECTORY
"""

import pathlib
import re
import sys

ORDER = re.compile(r"\b(?:Relaxed|Acquire|Release|Full)\b|\bsmp_mb\(")
FUNCTION = re.compile(r"^\s*(?:pub(?:\([^)]*\))?\s+)?(?:const\s+)?(?:unsafe\s+)?(?:extern\s+\"C\"\s+)?fn\s+(\w+)")
# What a partner has: an order, a barrier, or an operation that is a lock or has one.
LOCKED = re.compile(r"\b(?:Relaxed|Acquire|Release|AcqRel|SeqCst|Full)\b|\bsmp_\w+|\bbarrier|\bxchg\b|cmpxchg|"
                    r"\block\(|\block_\w+\(|_lock\(|\bREAD_ONCE\b|\bread_once\(|"
                    r"\block\.(?:try_)?update\w*\(|synchronize")
MARK = "// ORDERING:"

# Functions of the kernel that are partners.
KERNEL = {"vhost_task_fn", "irq_work_run", "hrtimer_start_range_ns", "wq_has_sleeper", "poll_wait"}


def bodies(text, stem):
    """Yields owner, name and body of each function of a Rust file. A free function has its module as the owner."""
    lines = text.splitlines()
    blocks = []
    for at, line in enumerate(lines):
        while blocks and line.rstrip() == blocks[-1][0] + "}":
            blocks.pop()
        block = re.match(r"(\s*)(?:pub(?:\([^)]*\))?\s+)?(?:unsafe\s+)?(impl|trait|mod)\b(.*)", line)
        if block and not line.rstrip().endswith((";", "}")):
            header = " ".join(lines[at:at + 12]).split("{")[0].split(" where ")[0]
            header = re.sub(r"->", "", header)
            while re.search(r"<[^<>]*>", header):
                header = re.sub(r"<[^<>]*>", "", header)
            kind = block.group(2)
            subject = header.split(f"{kind}", 1)[1].split(" for ")[-1] if kind == "impl" else block.group(3)
            name = re.match(r"[\s&*]*(?:\w+::)*(\w+)", subject)
            blocks.append((block.group(1), name.group(1) if name else ""))
        function = re.match(r"(\s*).*?\bfn (\w+)", line.split("//")[0])
        if function:
            end = at
            while end < len(lines) and lines[end].rstrip() != function.group(1) + "}":
                if end == at and line.rstrip().endswith((";", "}")):
                    break
                end += 1
            code = "\n".join(part.split("//")[0] for part in lines[at:end + 1])
            yield blocks[-1][1] if blocks else stem, function.group(2), code, not blocks


def functions(root):
    """Returns the functions that can be a partner: by name, and by owner and name, whether one has an order."""
    names = {name: True for name in KERNEL}
    for directory in ("rust", "tools/lib/doorbell/src"):
        for path in sorted((root / directory).rglob("*.rs")):
            for owner, name, code, free in bodies(path.read_text(), path.stem):
                ordered = bool(LOCKED.search(code))
                for key in (f"{owner}::{name}", *((name,) if free else ())):
                    names[key] = names.get(key, False) or ordered
    for directory in ("rust/bindings", "tools/lib/doorbell/c"):
        for path in sorted((root / directory).glob("*.[ch]")):
            names.update((name, True) for name in re.findall(r"^\w[\w *]*?\b(\w+)\(", path.read_text(), re.M))
    return names


def problem(text, names):
    """Returns what is wrong with the text of a comment, or None."""
    if text.startswith("None"):
        return None if len(text.split()) > 3 else "no reason"
    clauses = re.findall(r"[Pp]airs? with ((?:[^:.]|::)*)", text)
    if not clauses:
        return "neither a partner nor None"
    some = False
    for clause in clauses:
        found = re.findall(r"`((?:\w+::)*\w+)(?:\(\))?`", clause)
        found = ["::".join(name.split("::")[-2:]) for name in found]
        partners = [name for name in found if "::" in name or name in names]
        some |= bool(partners)
        for name in partners:
            if name not in names:
                return f"there is no function {name}"
            if not names[name]:
                return f"{name} has no order, barrier or lock"
    return None if some else "the partner is no function"


def check(path, names):
    """Yields line number and text of each problem of a file."""
    lines = path.read_text().splitlines()
    covered = in_use = False
    for at, line in enumerate(lines):
        code = line.split("//")[0]
        if FUNCTION.match(line):
            # The comment may stand above the function, among its attributes.
            covered = False
            above = at - 1
            while above >= 0 and re.match(r"\s*(//|#\[)", lines[above]):
                covered |= MARK in lines[above]
                above -= 1
        if MARK in line:
            covered = True
            text = line.split(MARK)[1].strip()
            for more in lines[at + 1:]:
                if not re.match(r"\s*// (?![A-Z]+:)", more):
                    break
                text += " " + more.strip()[3:]
            wrong = problem(text, names)
            if wrong:
                yield at + 1, f"ORDERING: {wrong}"
        if re.match(r"\s*(pub(\([^)]*\))? )?use ", code):
            in_use = True
        if not in_use and ORDER.search(code) and not covered:
            yield at + 1, f"an order without ORDERING: {line.strip()}"
        if in_use and ";" in code:
            in_use = False


def litmus(root, names):
    """Yields file, line number and text of each function that a litmus test names and that does not exist."""
    types = set()
    for directory in ("rust", "tools/lib/doorbell/src"):
        for path in (root / directory).rglob("*.rs"):
            types.update(re.findall(r"\b(?:struct|enum|type|static|trait|const|mod) (\w+)", path.read_text()))
    for path in sorted((root / "tools/model/src/litmus").glob("*.rs")):
        text = path.read_text()
        for found in re.finditer(r'code: "((?:[^"\\]|\\.)*)"', text, re.S):
            for name in re.findall(r"\b(?:\w+::)*(\w+)(?:\(\))?(?=[,;\s\"]|$)", found.group(1)):
                if name in ("and", "of", "the", "client", "library") or name in names or name in types:
                    continue
                yield path, text.count("\n", 0, found.start()) + 1, f"no function {name}"


def main():
    """Checks the module in the directory that the command line names."""
    root = pathlib.Path(sys.argv[1])
    names = functions(root)
    bare = {name.split("::")[-1] for name in names}
    failed = False
    for path in sorted((root / "rust").rglob("*.rs")):
        for number, text in check(path, names):
            failed = True
            print(f"{path.relative_to(root)}:{number}: {text}")
    for path, number, text in litmus(root, bare):
        failed = True
        print(f"{path.relative_to(root)}:{number}: {text}")
    return failed


sys.exit(main())
