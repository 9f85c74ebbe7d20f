#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Prints which modules of rust/ import which, and the circles among them.

Usage: imports.py DIRECTORY [ALLOWED...]

DIRECTORY is rust/. A module is a file or directory directly below it; tests (kunit) and what
bindgen generates (bindings) do not count. ALLOWED names circles that are intended, as
"context-irqfd". Fails if there is another one.
"""

import os
import re
import sys

IGNORED = {"kunit", "bindings", "doorbell"}


def statements(text):
    """Returns the paths that a file names after "crate::", in use declarations and elsewhere."""
    text = re.sub(r"//.*", "", text)
    text = re.sub(r"\s+", "", re.sub(r"\buse\b", " use ", text))
    paths = set()
    for match in re.finditer(r"(?<!\$)crate::", text):
        rest = text[match.end():]
        if not rest.startswith("{"):
            paths.add(re.match(r"\w*", rest).group())
            continue
        depth, word = 0, ""
        for char in rest:
            if char == "{":
                depth += 1
                if depth == 2:
                    paths.add(word.split("::")[0])
            elif char == "}":
                depth -= 1
            elif depth == 1 and char != ",":
                word += char
                continue
            if depth == 1:
                if char == ",":
                    paths.add(word.split("::")[0])
                word = ""
            if depth == 0:
                paths.add(word.split("::")[0])
                break
    return paths - {""}


def read(root):
    """Returns a set of names of modules for each module."""
    arrows = {}
    for directory, _, files in os.walk(root):
        for name in files:
            if not name.endswith(".rs"):
                continue
            path = os.path.relpath(os.path.join(directory, name), root)
            module = path.split(os.sep)[0].removesuffix(".rs")
            if module in IGNORED:
                continue
            with open(os.path.join(directory, name), encoding="utf-8") as file:
                arrows.setdefault(module, set()).update(statements(file.read()))
    return {module: {to for to in arrows[module] if to in arrows and to != module}
            for module in arrows}


def reachable(arrows, start):
    """Returns all modules that a module imports, directly or not."""
    seen, queue = set(), [start]
    while queue:
        for to in arrows[queue.pop()]:
            if to not in seen:
                seen.add(to)
                queue.append(to)
    return seen


def main():
    """Prints the arrows and the circles."""
    arrows = read(sys.argv[1])
    allowed = {tuple(name.split("-")) for name in sys.argv[2:]}
    for module in sorted(arrows):
        print(f"{module}: {' '.join(sorted(arrows[module])) or '-'}")
    pairs = {(a, b) for a in arrows for b in arrows[a] if a < b and a in arrows[b]}
    closure = {module: reachable(arrows, module) for module in arrows}
    knots = {frozenset(b for b in closure[a] if a in closure[b]) for a in arrows if a in closure[a]}
    print(f"{len(arrows)} modules, {sum(map(len, arrows.values()))} arrows, {len(pairs)} pairs in a circle: "
          + (", ".join("-".join(pair) for pair in sorted(pairs)) or "none"))
    for knot in knots:
        print("circle:", " ".join(sorted(knot)))
    return any(tuple(sorted(knot)) not in allowed for knot in knots)


sys.exit(main())
