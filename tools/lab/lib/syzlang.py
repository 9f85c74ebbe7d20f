#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Compares the descriptions for syzkaller with the UAPI header. Prints each difference.

Every ioctl of the header must occur, every flag, and every structure that is not only mapped,
with the same fields at the same offsets.

Usage: syzlang.py HEADER DESCRIPTIONS
"""

import re
import sys

SIZES = {"__u8": 1, "__u16": 2, "__u32": 4, "__s32": 4, "__u64": 8}
INTEGERS = {"int8": 1, "int16": 2, "int32": 4, "int64": 8}
# Structures that programs find in mappings, and pass to no call.
MAPPED = {"doorbell_line_status", "doorbell_record_ring", "doorbell_value", "doorbell_summary_map"}


def without_comments(text):
    """Returns C without its comments."""
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


def header_structs(text):
    """Returns the fields of each structure: name, offset, size."""
    structs = {}
    for name, body in re.findall(r"struct (\w+) \{(.*?)\n\};", text, re.S):
        fields, at = [], 0
        for kind, field, count in re.findall(r"(\w+) (\w+)(?:\[(\d+)\])?;", body):
            size = SIZES[kind]
            # The header's structures have no padding, so that 32-bit callers use them, too.
            if at % size:
                raise ValueError(f"{name}.{field} is not aligned")
            fields.append((field, at, size * int(count or 1)))
            at += size * int(count or 1)
        structs[name] = fields
    return structs


def arguments(text):
    """Splits the arguments of a type."""
    parts, depth, part = [], 0, ""
    for char in text:
        depth += (char == "[") - (char == "]")
        if char == "," and not depth:
            parts.append(part.strip())
            part = ""
        else:
            part += char
    return parts + [part.strip()]


def size_of(kind, named):
    """Returns the size of a field's type."""
    name, _, rest = kind.partition("[")
    args = arguments(rest[:-1]) if rest else []
    if name in INTEGERS:
        return INTEGERS[name]
    if name in named:
        return named[name]
    if name == "ptr64":
        return 8
    if name in ("const", "flags", "len"):
        return INTEGERS[args[1]]
    if name == "array":
        return size_of(args[0], named) * int(args[1])
    raise ValueError(f"the type {kind} is not known")


def described_structs(text):
    """Returns the fields of each described structure: name, offset, size."""
    # A descriptor has 32 bits.
    named = {name: 4 for name in re.findall(r"^resource (\w+)\[", text, re.M)} | {"fd_event": 4}
    for name, body in re.findall(r"^(\w+) \[\n(.*?)\n\]", text, re.S | re.M):
        named[name] = max(size_of(line.split(None, 1)[1], named) for line in body.splitlines())
    structs = {}
    for name, body in re.findall(r"^(\w+) \{\n(.*?)\n\}", text, re.S | re.M):
        fields, at = [], 0
        for line in body.splitlines():
            field, kind = line.split(None, 1)
            size = size_of(kind, named)
            fields.append((field, at, size))
            at += size
        structs[name] = fields
    return structs


def differences(header, text):
    """Yields each difference."""
    for name in re.findall(r"#define (DOORBELL_\w+)\s+_IO", header):
        if f"ioctl${name}(" not in text or f"const[{name}]" not in text:
            yield f"the ioctl {name} is missing"
    for name in re.findall(r"#define (DOORBELL_\w*_FLAG_\w+)", header):
        if not re.search(rf"\b{name}\b", text):
            yield f"the flag {name} is missing"
    expected, found = header_structs(header), described_structs(text)
    for name, fields in expected.items():
        if name in MAPPED:
            continue
        if name not in found:
            yield f"struct {name} is missing"
        elif fields != found[name]:
            for pair in zip(fields, found[name]):
                if pair[0] != pair[1]:
                    yield f"struct {name}: {pair[0]} in the header, {pair[1]} described"
            if len(fields) != len(found[name]):
                yield f"struct {name}: {len(fields)} fields in the header, {len(found[name])} described"
    for name in found.keys() - expected.keys():
        yield f"struct {name} is not in the header"
    for name in set(re.findall(r"\bDOORBELL_\w+", text)):
        if not re.search(rf"\b{name}\b", header):
            yield f"{name} is not in the header"


def main():
    """Compares the files that the command line names."""
    with open(sys.argv[1], encoding="utf-8") as file:
        header = without_comments(file.read())
    with open(sys.argv[2], encoding="utf-8") as file:
        text = "\n".join(line for line in file.read().splitlines() if not line.startswith("#"))
    found = list(differences(header, text))
    for difference in found:
        print(difference)
    return bool(found)


sys.exit(main())
