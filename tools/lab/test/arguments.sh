#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests that errors in arguments and variables are reported before the set-up starts.
. "$(dirname "$0")/lib.sh"
SRC=${LAB_DIR%/tools/lab}
export DOORBELL_LAB=$SCRATCH/lab
# A set-up that starts all the same ends soon.
export DOORBELL_MIRROR=http://127.0.0.1:1/debian

lab() {
	"$LAB_DIR/lab" "$@"
}

# refuses PATTERN COMMAND...: succeeds if the command fails, prints PATTERN, and sets up
# nothing
refuses() {
	local rc=0
	says "$@" || rc=1
	[[ ! -e $SCRATCH/lab ]] || { echo "it has set something up" && rm -rf "$SCRATCH/lab" && rc=1; }
	return $rc
}
doorbell_make() {
	make --no-print-directory -C "$SRC" "$@"
}

check "a duration that is no number" refuses "the duration is 'abc'.*" doorbell_make torture DURATION=abc
check "a duration of nothing" refuses "the duration is ''" doorbell_make torture DURATION=
check "an unknown accelerator" refuses "DOORBELL_ACCEL is 'hvf'" env DOORBELL_ACCEL=hvf "$LAB_DIR/lab" run true
check "a number of CPUs that is none" refuses "DOORBELL_CPUS is 'two'" env DOORBELL_CPUS=two "$LAB_DIR/lab" test
check "no CPU" refuses "DOORBELL_CPUS is '0'" env DOORBELL_CPUS=0 "$LAB_DIR/lab" test
check "more CPUs than a guest can have" refuses "a number from 1 to 255" env DOORBELL_CPUS=9999999 "$LAB_DIR/lab" test
check "a number of guests that is none" refuses "DOORBELL_GUESTS is '-1'" env DOORBELL_GUESTS=-1 "$LAB_DIR/lab" test
check "more guests than a machine can have" refuses "a number from 1 to 64" env DOORBELL_GUESTS=65 "$LAB_DIR/lab" test
check "rounds that are no number" refuses "DOORBELL_REPEAT is 'often'" doorbell_make test REPEAT=often
check "a load that is no number" refuses "DOORBELL_LOAD is 'high'" doorbell_make test LOAD=high
check "a load that no guest can have" refuses "a number from 1 to 1000" doorbell_make test LOAD=1001
check "a race's time with a unit" refuses "DOORBELL_ROUNDS_CPU_MS is '1s'" env DOORBELL_ROUNDS_CPU_MS=1s "$LAB_DIR/lab" test
check "a time limit with a unit" refuses "DOORBELL_TIMEOUT is '10m'" env DOORBELL_TIMEOUT=10m "$LAB_DIR/lab" run true
check "memory without a unit" refuses "DOORBELL_MEM is '2048'" env DOORBELL_MEM=2048 "$LAB_DIR/lab" run true
check "too little memory for a guest" refuses "from 256M to 512G" env DOORBELL_MEM=1M "$LAB_DIR/lab" run true
check "more memory than a guest can have" refuses "from 256M to 512G" env DOORBELL_MEM=513G "$LAB_DIR/lab" run true
check "an unknown flavour" refuses "there is no flavour 'arm'" doorbell_make test FLAVOUR=arm
check "two flavours" refuses "there is no flavour 'rt debug'" doorbell_make test FLAVOUR='rt debug'
check "an unknown flavour for checks that depend on none" refuses "there is no flavour 'typo'" doorbell_make check FLAVOUR=typo
check "an unknown flavour for a command that has its own" refuses "there is no flavour 'typo'" doorbell_make in-tree FLAVOUR=typo
check "an unknown kernel" refuses "KERNEL=typo: .* in-tree in-tree-y in-tree-lto\." doorbell_make test KERNEL=typo
check "an unknown kernel in the environment" refuses "there is no KERNEL=kernel8" \
	env KERNEL=kernel8 make --no-print-directory -C "$SRC" shell
check "two kernels" refuses "there is no flavour 'in-tree in-tree-y'" doorbell_make rtt KERNEL='in-tree in-tree-y'
check "a kernel and another flavour" refuses "FLAVOUR and KERNEL exclude each other" doorbell_make test KERNEL=in-tree FLAVOUR=rt
check "a kernel, and a target for another flavour" refuses "FLAVOUR and KERNEL exclude each other" doorbell_make test-debug KERNEL=in-tree
check "a target that does not use the lab ignores the kernel" doorbell_make help KERNEL=kernel8
check "a kernel of the lab is its flavour" refuses "with the default kernel" doorbell_make test-install KERNEL=in-tree
check "and another architecture has none" refuses "FLAVOUR is one of: arm64 16k$" doorbell_make test KERNEL=in-tree ARCH=arm64
check "an unknown architecture" refuses "there is no architecture 'foo'.*" doorbell_make lab ARCH=foo
check "an architecture that is not in the lab" refuses "ARCH is one of: amd64 arm64" doorbell_make test ARCH=riscv
check "an unknown architecture without make" refuses "there is no architecture 'foo'" env DOORBELL_ARCH=foo "$LAB_DIR/lab" shell
check "static checks for an unknown architecture" refuses "there is no architecture 'foo'" doorbell_make check ARCH=foo
check "a flavour that another architecture has" refuses "FLAVOUR is one of: arm64 16k$" doorbell_make test ARCH=arm64 FLAVOUR=debug
check "a flavour of arm64 for amd64" refuses "there is no flavour '16k'" doorbell_make test FLAVOUR=16k
check "the hardware virtualisation of another architecture" refuses "cannot run arm64 guests by KVM" \
	env DOORBELL_ACCEL=kvm DOORBELL_ARCH=arm64 "$LAB_DIR/lab" run true
check "figures of another architecture" refuses "those of amd64" doorbell_make bench-instructions ARCH=arm64
check "packages for another architecture" refuses "deb is for amd64 only" doorbell_make deb ARCH=arm64
check "a model for an architecture" refuses "model does not depend on the architecture" doorbell_make model ARCH=arm64
for target in report rtt-qemu msix msix-vhost; do
	check "$target, whose guest is not for the architecture" refuses "are x86-64 code" doorbell_make $target ARCH=arm64
done
check "a report with arguments" refuses "are x86-64 code" doorbell_make report ARCH=arm64 ARGS="--duration 1s"
check "an architecture in the environment is that of a kernel's build, and does not count" \
	refuses "setup takes no arguments" env ARCH=foo make --no-print-directory -C "$SRC" lab LAB="$LAB_DIR/lab setup now"
check "a kernel that is a path" refuses "DOORBELL_KERNEL is '/boot/vmlinuz'" env DOORBELL_KERNEL=/boot/vmlinuz "$LAB_DIR/lab" run true
check "a lab in a path with a space" refuses "debootstrap cannot work in a path with spaces" env DOORBELL_LAB="$SCRATCH/l ab" "$LAB_DIR/lab" setup
check "a test that does not exist" refuses "no test is called typo" doorbell_make test T=typo
check "a pattern that matches no test, beside one that does" refuses "no test is called nil\*" doorbell_make test T='mask nil*'
check "a test that does not exist, as an argument" refuses "no test is called typo" doorbell_make test ARGS=typo
check "an argument that is an option" refuses "no test is called --all" doorbell_make test ARGS=--all
check "a mutant that does not exist" refuses "no mutant is called typo" doorbell_make mutants T=typo
check "with a duration, too" refuses "no mutant is called typo" doorbell_make mutants T=typo DURATION=200
check "a check of the in-tree kernel that does not exist" refuses "no check is called typo" doorbell_make in-tree T=typo
check "as an argument, too" refuses "there are: places module .* lto$" doorbell_make in-tree ARGS=typo
check "a suite that does not exist" refuses "there are: trixie-backports sid experimental; .*7\.3" doorbell_make check-kernels ARGS=typo
check "beside a version" refuses "no suite is called trixe" doorbell_make check-kernels ARGS='7.3.4+deb13-amd64 trixe'
# known_by FUNCTION NAME...: succeeds if the function of args.sh knows the names
# shellcheck disable=SC2034,SC2317 # The library uses them.
known_by() {
	(
		FLAVOUR=amd64 SUITE_TREES=("trixie:trixie-backports" "sid:sid experimental")
		die() { printf '%s\n' "$@"; exit 1; }
		# shellcheck source=/dev/null
		. "$LAB_DIR/lib/args.sh"
		"$@"
	)
}
known() { known_by check_tests "$@"; }

# mutant_with KEY: prints the name of the first mutant with such a line
mutant_with() {
	awk -v key="$1" '$1 == "mutant" { name = $2 } index($0, key) == 1 { print name; exit }' "$SRC/tools/mutants/mutants.txt"
}
DEBUG_MUTANT=$(mutant_with "flavour debug") EQUIVALENT=$(mutant_with equivalent)
check "the kinds of tests are known" known mask 'mask*' uapi_32 sample_snapshot sample_kvm-rtt cli_without_module instructions lab module '!model'
check "parts of tests are known" known lab:guest 'lab:version*' tools:line::tests
check "a part that does not exist" refuses "no test is called lab:typo" doorbell_make test T=lab:typo
check "a test that is excluded need not exist" known '!typo'
check "mutants are known" known_by check_mutant_names unmask-and-clear-give-up 'quota*' '!typo'
check "one that only another flavour has is not" says "no mutant is called $DEBUG_MUTANT" known_by check_mutant_names "$DEBUG_MUTANT"
check "nor is one that changes nothing" says "no mutant is called $EQUIVALENT" known_by check_mutant_names "$EQUIVALENT"
check "suites and patterns of versions are known" known_by check_kernel_patterns trixie-backports 'experi*' 7.2 '*-amd64' '[78].*'
check "no command to run" refuses "no command to run" lab run
check "a shell without a terminal" refuses "a shell needs a terminal" lab shell </dev/null
check "pages with arguments" refuses "htmldocs takes no arguments" lab htmldocs now
check "arguments that a command does not take" refuses "setup takes no arguments" lab setup now
for target in lab lab-status lab-clean check htmldocs deb crate series kvm-selftest test-install; do
	check "and $target, by make" refuses "takes no arguments, not 'now'" doorbell_make $target ARGS=now
done
check "a test of the packages with another kernel" refuses "with the default kernel" doorbell_make test-install FLAVOUR=rt
check "an unknown command" refuses "usage: tools/lab/lab" lab tset
check "the unknown command's help says which there are" refuses "torture SECONDS" lab tset
plan
