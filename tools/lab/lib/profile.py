#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Attributes the instructions of a path to functions, for doorbell and its twin side by side.

"profile.py trace" traces a guest that repeats a path: QEMU executes one instruction per translation
block and logs each block. "profile.py print" cuts the traces into iterations, takes one of the most
frequent length, and adds up the instructions of each function.
"""

import argparse
import bisect
import collections
import os
import re
import socket
import subprocess
import sys
import time

# A block of the log: Trace 0: 0x7f12 [cs_base/pc/flags/cflags] symbol
BLOCK = re.compile(rb"\[[0-9a-f]+/([0-9a-f]+)/")
# Addresses from here on are the kernel's.
KERNEL = 1 << 63
ENTRY = "entry_SYSCALL_64"
USERSPACE = "syscall instructions"
OWN = {"doorbell": "[doorbell]", "twin": "[doorbell_twin]"}
# A trace ends after so many iterations. It begins with other work of the guest.
TRACE_ITERATIONS = 12
TRACE_SECONDS = 300
# A guest boots and starts within this time, on a busy host.
START_SECONDS = 600


class Monitor:
    """QEMU's monitor."""

    PROMPT = b"(qemu) "

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.read()

    def read(self):
        """Reads to the next prompt."""
        text = b""
        while not text.endswith(self.PROMPT):
            more = self.socket.recv(4096)
            if not more:
                sys.exit("QEMU has closed its monitor")
            text += more

    def command(self, line):
        """Carries out a command."""
        self.socket.sendall(line.encode() + b"\n")
        self.read()


def wait_for(path, condition, seconds):
    """Waits until a condition is true for a file."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"{path}: not complete after {seconds} s")
        time.sleep(0.1)


def addresses(lines):
    """Yields the address of each block in lines of a log."""
    for line in lines:
        match = BLOCK.search(line)
        if match:
            yield int(match.group(1), 16)


class GrowingLog:
    """A log that QEMU is writing."""

    def __init__(self, path, start):
        self.path = path
        self.start = start
        self.offset = 0
        self.iterations = 0

    def is_long_enough(self):
        """Reads what is new, and returns true if there are enough iterations."""
        if not os.path.exists(self.path):
            return False
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            new = file.read()
        complete = new[:new.rfind(b"\n") + 1]
        self.offset += len(complete)
        self.iterations += list(addresses(complete.splitlines())).count(self.start)
        return self.iterations > TRACE_ITERATIONS


def trace_device(monitor, run, device, start):
    """Traces a device when the guest repeats the path on it."""
    looping = f"{run}/looping-{device}"
    wait_for(looping, lambda: os.path.exists(looping), START_SECONDS)
    print(f"tracing {device}", file=sys.stderr)
    log = f"{run}/trace-{device}"
    monitor.command(f"logfile {log}")
    monitor.command("one-insn-per-tb on")
    monitor.command("log exec,nochain")
    wait_for(log, GrowingLog(log, start).is_long_enough, TRACE_SECONDS)
    monitor.command("log none")
    monitor.command("one-insn-per-tb off")
    with open(f"{run}/traced-{device}", "w", encoding="utf-8"):
        pass


def trace(args):
    """Traces one device after the other."""
    start = loop_address(args.program)
    socket_path = f"{args.run}/monitor"
    wait_for(socket_path, lambda: os.path.exists(socket_path), START_SECONDS)
    monitor = Monitor(socket_path)
    try:
        for device in args.devices:
            trace_device(monitor, args.run, device, start)
    except SystemExit:
        # The guest would wait for the end of the trace.
        monitor.command("quit")
        raise


class Symbols:
    """The functions of the kernel and its modules."""

    def __init__(self, kallsyms):
        symbols = {}
        with open(kallsyms, encoding="utf-8") as file:
            for line in file:
                fields = line.split()
                if fields[1] in "tTwW":
                    name = fields[2] + (" " + fields[3] if len(fields) > 3 else "")
                    symbols.setdefault(int(fields[0], 16), name)
        self.addresses = sorted(symbols)
        self.names = [symbols[address] for address in self.addresses]

    def name(self, address):
        """Returns the name of the function at an address."""
        return self.names[bisect.bisect_right(self.addresses, address) - 1]

    def address(self, name):
        """Returns the address of a function."""
        return self.addresses[self.names.index(name)]


def loop_address(program):
    """Returns the address of the function that each iteration begins with."""
    output = subprocess.run(["nm", program], check=True, capture_output=True, text=True).stdout
    return next(int(line.split()[0], 16) for line in output.splitlines()
                if line.endswith(" profiled_iteration"))


def iterations(log, start):
    """Yields the kernel's addresses of each complete iteration in a trace."""
    current = None
    with open(log, "rb") as file:
        for address in addresses(file):
            if address == start:
                if current is not None:
                    yield current
                current = []
            elif address >= KERNEL and current is not None:
                current.append(address)


def profile(log, start, symbols):
    """Returns the instructions of each function in a typical iteration."""
    all_iterations = list(iterations(log, start))
    if not all_iterations:
        sys.exit(f"{log}: no complete iteration")
    lengths = collections.Counter(map(len, all_iterations))
    typical = lengths.most_common(1)[0][0]
    chosen = next(one for one in all_iterations if len(one) == typical)
    counts = collections.Counter(map(symbols.name, chosen))
    counts[USERSPACE] = chosen.count(symbols.address(ENTRY))
    return counts


def demangle(names):
    """Returns a dictionary of readable names: Rust's are without hashes and crates' versions."""
    output = subprocess.run(["c++filt"], input="\n".join(names), check=True, capture_output=True,
                            text=True).stdout
    return dict(zip(names, output.splitlines()))


def shorten(name, width):
    """Returns the end of a name that is too long."""
    return name if len(name) <= width else "..." + name[3 - width:]


def print_row(name, first, second):
    """Prints a name and the instructions of both devices."""
    print(f"{shorten(name, 53):54}{first or '-':>8}{second or '-':>8}{first - second:>+9}")


def print_rows(title, rows):
    """Prints rows of a name and two numbers, under their sum."""
    print()
    print_row(title, sum(row[1] for row in rows), sum(row[2] for row in rows))
    for name, first, second in rows:
        print_row("  " + name, first, second)


def print_profiles(args):
    """Prints the profiles of both devices."""
    symbols = Symbols(f"{args.run}/kallsyms")
    start = loop_address(args.program)
    first, second = [profile(f"{args.run}/trace-{device}", start, symbols) for device in OWN]
    names = sorted(set(first) | set(second), key=lambda name: (second[name] - first[name], name))
    readable = demangle(names)
    own, different, same = [], [], []
    for name in names:
        row = (readable[name], first[name], second[name])
        if name.endswith(tuple(OWN.values())):
            own.append(row)
        elif row[1] != row[2]:
            different.append(row)
        else:
            same.append(row)
    same.sort(key=lambda row: -row[1])
    print(f"{args.path:54}{'doorbell':>8}{'twin':>8}{'diff':>9}")
    print_row("all", sum(first.values()), sum(second.values()))
    print_rows("the modules' functions", own)
    print_rows("functions of the kernel that differ", different)
    title = f"{len(same)} other functions of the kernel"
    if args.all:
        print_rows(title, same)
    else:
        print()
        print_row(title, sum(row[1] for row in same), sum(row[2] for row in same))


def main():
    """Carries out the command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    tracer = commands.add_parser("trace", help="trace a guest")
    tracer.add_argument("run", help="directory of the run")
    tracer.add_argument("devices", nargs="+", help="devices that the guest uses, in order")
    tracer.add_argument("--program", required=True, help="the program that runs the path")
    tracer.set_defaults(command=trace)
    printer = commands.add_parser("print", help="print the table")
    printer.add_argument("run", help="directory of the run, with kallsyms and the traces")
    printer.add_argument("path", help="name of the path, for the heading")
    printer.add_argument("--program", required=True, help="the program that ran the path")
    printer.add_argument("--all", action="store_true", help="list functions that do not differ")
    printer.set_defaults(command=print_profiles)
    args = parser.parse_args()
    args.command(args)


if __name__ == "__main__":
    main()
