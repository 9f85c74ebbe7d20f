#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Compiles the examples in the documentation of the abstractions.

usage: examples.py DIRECTORY BUILD

rustdoc cannot test them: they use private items, and the kernel's rustdoc tests are built with the kernel
only. So this compiles the crate once with all examples, as functions of a module of the crate, and once
with each example that must not compile, which must fail with the error that it names. "E0277:Init" means an
error E0277 with the text "Init". The compiler's command is that of the build in BUILD. An example has the
prelude of the kernel, and may use "?".

DIRECTORY has the sources; each file must have an example, unless the line "// No examples: REASON" says why
it has none.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

COMMENT = re.compile(r"\s*//[/!] ?(.*)")
FENCE = re.compile(r"(?:```|~~~)(.*)$")
ERROR = re.compile(r"(E\d{4})(?::(.+))?")
EXEMPT = re.compile(r"^// No examples: \S", re.M)


class Example:
    def __init__(self, path, line, attributes):
        self.name = f"{path.name}:{line}"
        self.function = f"{path.stem}_{line}"
        self.fails = "compile_fail" in attributes
        errors = [ERROR.fullmatch(a) for a in attributes if a != "compile_fail"]
        if None in errors:
            sys.exit(f"{self.name}: unknown attribute in {attributes}")
        self.errors = {error[1]: error[2] or "" for error in errors}
        self.lines = []

    def source(self):
        lines = "\n".join(re.sub(r"^(\s*)# ?", r"\1", line) if re.match(r"\s*#( |$)", line) else line
                          for line in self.lines)
        return (f"fn {self.function}() -> kernel::error::Result {{\n#[allow(unused_imports)]\n"
                f"use kernel::prelude::*;\n{lines}\n#[allow(unreachable_code)]\nOk(())\n}}\n")


def examples_of(path):
    """Returns the examples of a file."""
    found, current = [], None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        comment = COMMENT.match(line)
        if not comment:
            if current:
                sys.exit(f"{path}:{number}: the example does not end")
            continue
        fence = FENCE.match(comment[1].strip())
        if current:
            if fence:
                found.append(current)
                current = None
            else:
                current.lines.append(comment[1])
        elif fence and fence[1] not in ("text", "ignore"):
            current = Example(path, number, [a for a in re.split(r"[,\s]+", fence[1]) if a])
    if current:
        sys.exit(f"{path}: the last example does not end")
    return found


def command(build):
    """Returns the command that compiled the crate, without its outputs."""
    saved = build / "rust/.doorbell.o.cmd"
    match = re.search(r"^savedcmd_\S+ := (.*)$", saved.read_text(), re.M)
    # What follows the compiler's command works on the object file.
    return re.sub(r"--emit=\S+|--out-dir \S+", "", match[1].split(" ; ")[0])


def compile_crate(build, source):
    """Compiles the crate with `source` as its examples. Returns the status and the messages."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "examples.rs"
        path.write_text(source)
        run = subprocess.run(
            ["sh", "-c", f"{command(build)} --cfg doorbell_examples --emit=metadata={directory}/doorbell.rmeta"],
            cwd=build, capture_output=True, text=True, check=False,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                 # The kernel's Makefile sets it.
                 "RUSTC_BOOTSTRAP": "1", "DOORBELL_OBJ": str(build), "DOORBELL_EXAMPLES": str(path)})
    return run.returncode, run.stdout + run.stderr


def main():
    directory, build = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    failed = 0
    examples = []
    for path in sorted(directory.rglob("*.rs")):
        found = examples_of(path)
        if not found and not EXEMPT.search(path.read_text()):
            print(f"{path}: no example")
            failed += 1
        examples += found
    good = [example for example in examples if not example.fails]
    status, messages = compile_crate(build, "".join(example.source() for example in good))
    if status:
        print(messages)
        failed += 1
    for example in examples:
        if not example.fails:
            continue
        status, messages = compile_crate(build, example.source())
        errors = dict(re.findall(r"^error\[(E\d{4})\]: (.*)", messages, re.M))
        if (not status or not example.errors or errors.keys() != example.errors.keys()
                or any(text not in errors[code] for code, text in example.errors.items())):
            print(f"{example.name}: must fail with {example.errors}, has {errors}\n{messages}")
            failed += 1
    if not good or len(good) == len(examples):
        print("no examples of one kind")
        failed += 1
    print(f"{len(good)} examples, {len(examples) - len(good)} that must not compile: {failed} problems")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
