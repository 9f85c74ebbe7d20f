#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests the queue, the limit and the report of make test with REPEAT and LOAD, and the slowest tests of a run without
# them. Files replace what a guest writes.
. "$(dirname "$0")/lib.sh"

say() { echo "$*"; }
FLAVOUR=amd64 ARCH=amd64 BUILD=$SCRATCH/build RUN=$SCRATCH/run SELECTED=()
# The time that a test took the last time decides its place.
mkdir -p "$BUILD/took-amd64"
echo 1000 >"$BUILD/took-amd64/quick"
echo 2000 >"$BUILD/took-amd64/slow"

# steady ROUNDS LOAD: reads the library for such a run, and writes the queue
steady() {
	rm -rf "$RUN"
	mkdir -p "$RUN"
	DOORBELL_REPEAT=$1 DOORBELL_LOAD=$2
	# shellcheck source=/dev/null
	. "$LAB_DIR/lib/args.sh"
	# shellcheck source=/dev/null
	. "$LAB_DIR/lib/versions.sh"
	# shellcheck source=/dev/null
	. "$LAB_DIR/lib/tests.sh"
	all_tests() { printf '%s\n' quick slow; }
	make_queue
}

queue() {		# ROUNDS LOAD ENTRIES
	steady "$1" "$2"
	[[ $(tr '\n' ' ' <"$RUN/queue") == "$3" ]] || { cat "$RUN/queue" && return 1; }
}

# On a kernel without times those of another one give the order.
other_kernel() {
	local FLAVOUR=debug
	mkdir -p "$BUILD"/took-{rt,debug}
	echo 3000 >"$BUILD/took-rt/quick"
	queue 1 0 "quick slow " || return
	echo 1000 >"$BUILD/took-debug/quick"
	queue 1 0 "slow quick "
}

none_selected() {
	SELECTED=(nothing)
	queue 2 0 ""
}

limit() {		# LOAD SECONDS
	steady 1 "$1"
	[[ $(test_limit) == "$2" ]] || { test_limit && return 1; }
}

# ran ENTRY MS ok|"not ok": writes what a guest writes
ran() {
	printf '1..1\n%s 1 a.case\n# exit status %d\n' "$3" "$([[ $3 == ok ]]; echo $?)" >"$RUN/ktap/$1"
	echo "$2" >"$RUN/done/$1"
	finished "$1" >>"$SCRATCH/report"
}

rounds_are_reported() {
	local line
	steady 2 20
	ran slow@1 2100 ok
	ran quick@1 1100 "not ok"
	ran slow@2 4300 ok
	ran quick@2 1200 ok
	rounds >>"$SCRATCH/report"
	for line in "quick, round 1: 1 failed, 0 passed" "quick: 1 of 2 rounds failed; a round took 1.1 to 1.2 s" \
		    "slow: 0 of 2 rounds failed; a round took 2.1 to 4.3 s" \
		    "4 rounds beside 20 busy processes: 1 rounds of 1 tests failed"; do
		grep -qxF "$line" "$SCRATCH/report" || { echo "no '$line'" && cat "$SCRATCH/report" && return 1; }
	done
	! grep -q 'round 2' "$SCRATCH/report" || return
	[[ $PASSED == 3 && $FAILED == 1 ]] || return
	printf '%s\n' "${FAILURES[@]}" | grep -qxF "quick, round 1: 1 failed; alone: make test T=quick REPEAT=2 LOAD=20" &&
		printf '%s\n' "${FAILURES[@]}" | grep -qxF "  quick, round 1: a.case: make test T=quick REPEAT=2 LOAD=20"
}

# slowest_are LINE [TEST=MS]...: succeeds if this is the line of a run with these tests
slowest_are() {
	local test
	steady 1 0
	for test in "${@:2}"; do
		echo "${test#*=}" >"$RUN/done/${test%=*}"
	done
	diff <(echo "slowest: $1") <(slowest)
}

times_are_not_recorded() {
	[[ $(cat "$BUILD/took-amd64"/*) == $'1000\n2000' ]]
}

check "without REPEAT each test is in the queue once" queue 1 0 "slow quick "
check "with REPEAT all tests run before one runs again" queue 2 0 "slow@1 quick@1 slow@2 quick@2 "
check "on another kernel the slowest test comes first, too" other_kernel
check "if no test matches, the queue is empty" none_selected
check "without LOAD the limit is that of the flavour" limit 0 400
FLAVOUR=cfi
check "that of a kernel that the lab builds is longer" limit 0 1200
FLAVOUR=amd64
check "with LOAD it grows by the share of the CPUs" limit 20 4400
check "a failed round is reported, and each test has a line" rounds_are_reported
check "such times are not recorded" times_are_not_recorded
check "six of the slowest tests are named, the slowest first" slowest_are \
	"g 120.0 s, f 10.0 s, e 9.9 s, d 0.4 s, c 0.3 s, b 0.2 s" a=100 b=200 c=300 d=400 e=9900 f=10000 g=120000
check "or as many as there are" slowest_are "mask_32 1.5 s" mask_32=1500
plan
