#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests the verdicts of "make mutants", with a fake guest: only a failed test, a hang or a
# complaint of the kernel kills a mutant, and only if the tests pass without it.
# shellcheck disable=SC1091,SC2030,SC2031,SC2034,SC2317 # the fakes are for sourced code
. "$(dirname "$0")/lib.sh"

# verdict FAKE...: prints the verdict; the fakes are functions, one for each boot in turn,
# the first one for the run without a mistake
verdict() (
	export ARCH=amd64 FLAVOUR=amd64
	LAB=$SCRATCH BUILD=$SCRATCH/build RUN=$SCRATCH/run SRC=$SCRATCH/src OUTCOME=
	rm -rf "$RUN"
	mkdir -p "$RUN/log" "$SRC"/{rust,include} "$SRC/tools/testing/selftests/doorbell"
	echo source | tee "$SRC/Kbuild" >"$SRC/rust/a.rs"
	echo test >"$SRC/tools/testing/selftests/doorbell/one.c"
	for lib in guest tests mutants; do
		# shellcheck source=/dev/null
		. "$LAB_DIR/lib/$lib.sh"
	done
	FAKES=("$@")
	echo 0 >"$SCRATCH/boots"
	sha() { sha256sum | cut -c1-16; }
	say() { :; }
	make_queue() { mkdir -p "$RUN"/{ktap,done}; }
	make_module() { :; }
	mutants_py() { :; }
	boot() {
		local n
		n=$(<"$SCRATCH/boots")
		echo $((n + 1)) >"$SCRATCH/boots"
		mkdir -p "$RUN/1"
		echo 0 >"$RUN/1/tainted"
		echo "a line" >"$RUN/1/dmesg"
		OUTCOME=ended
		"${FAKES[n]}"
	}
	mkdir -p "$BUILD/$MUTANTS/results"
	result=$(test_mutant name one)
	keep_result name "key $result"
	echo "$result"
)

# ktap MS LINE...: the test wrote these lines
ktap() {
	echo "$1" >"$RUN/done/one"
	shift
	printf '%s\n' "$@" >"$RUN/ktap/one"
}
good() { ktap 500 1..1 "ok 1 a" "# exit status 0"; }
slow() { ktap 60000 1..1 "ok 1 a" "# exit status 0"; }
bad() { ktap 500 1..1 "not ok 1 a" "# exit status 1"; }
hang() { ktap 120000 1..1 "# stopped: it did not end within 120 s" "# exit status 124"; }
nothing() { :; }
partial() { ktap 500 1..2 "ok 1 a"; }
died() { OUTCOME=died; }
stopped() { hang; OUTCOME=stopped; }
panics() { OUTCOME=died; rm "$RUN/1/dmesg"; echo "Kernel panic - not syncing" >"$RUN/1/console.log"; }
warns() { good; echo "WARNING: planted" >"$RUN/1/dmesg"; }

# gives PATTERN BOOTS FAKE...: succeeds if the verdict matches, after this many boots
gives() {
	local pattern=$1 boots=$2 out
	shift 2
	[[ ${KEEP:-} ]] || rm -rf "$SCRATCH/build"
	out=$(verdict "$@")
	[[ $out =~ $pattern ]] || { echo "it gives '$out', not '$pattern'" && return 1; }
	[[ $(<"$SCRATCH/boots") == "$boots" ]] || { echo "$(<"$SCRATCH/boots") boots, not $boots" && return 1; }
}

check "tests that pass" gives '^survived$' 2 good good
check "a failed test kills" gives '^killed by one: a' 2 good bad
check "a complaint of the kernel kills" gives '^killed by the kernel log' 2 good warns
check "so does a panic" gives '^killed by the kernel log' 2 good panics
check "a guest that dies does not, and is tried again" gives '^unknown: the guest died$' 3 good died died
check "nor does one that is stopped" gives '^unknown: the guest stopped$' 3 good stopped stopped
check "nor a test without output" gives '^unknown: no verdict of one$' 3 good nothing nothing
check "nor output that is cut off" gives '^unknown: no verdict of one$' 3 good partial partial
check "the second try counts" gives '^killed by one' 3 good died bad
check "a hang kills if the test is quick without the mistake" gives '^killed by one' 2 good hang
check "but not if it is slow" gives '^unknown: no verdict of one$' 3 slow hang hang
check "tests that fail without the mistake" gives '^unknown: without the mistake: killed by one' 1 bad bad
check "a guest that dies without it" gives '^unknown: without the mistake: unknown: the guest died' 2 died died
check "what is unknown is not kept" test ! -e "$SCRATCH/build/mutants/amd64/results/name"
gives '^survived$' 2 good good
check "a verdict is" grep -qx "key survived" "$SCRATCH/build/mutants/amd64/results/name"
KEEP=1
check "the run without the mistake is kept" gives '^killed by one' 1 bad
plan
