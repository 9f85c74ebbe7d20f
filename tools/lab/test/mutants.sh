#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests the verdicts of "make mutants", with fake guests: a test that fails kills a mutant if it passes in the same guest
# without the mistake, or if it fails in a fresh guest, too.
# shellcheck disable=SC1091,SC2030,SC2031,SC2034,SC2317 # the fakes are for sourced code
. "$(dirname "$0")/lib.sh"

# verdict FAKE...: prints the verdict; the fakes are functions, one for each guest in turn
verdict() (
	export ARCH=amd64 FLAVOUR=amd64
	LAB=$SCRATCH BUILD=$SCRATCH/build RUN=$SCRATCH/run SRC=$SCRATCH/src OUTCOME=
	for lib in guest tests mutants; do
		# shellcheck source=/dev/null
		. "$LAB_DIR/lib/$lib.sh"
	done
	FAKES=("$@") GUESTS=0 MUTANTS_START=0
	say() { :; }
	mutant_guests() {
		rm -rf "$RUN"/{claims,results}
		for DIR in "$RUN/results/"{none-name,name}; do
			mkdir -p "$RUN/claims/${DIR##*/}" "$DIR"
			echo "a line" >"$DIR/dmesg"
			echo 0 >"$DIR/tainted"
			echo 500 >"$DIR/one.ms"
			[[ $DIR == */name ]] || "${WITHOUT:-good}"
		done
		"${FAKES[GUESTS++]}"
		echo "$GUESTS" >"$SCRATCH/guests"
	}
	mkdir -p "$RUN" "$BUILD/$MUTANTS"/{results,tests}
	declare -A TESTS=([name]=one) KEY=([name]=key) RESULT=()
	QUEUE=("name /modules 1 - one=20")
	run_passes
	echo "${RESULT[name]}"
)

# ktap LINE...: the test wrote these lines, and the mutant has run
ktap() {
	printf '%s\n' "$@" >"$DIR/one"
	: >"$DIR/done"
}
good() { ktap 1..1 "ok 1 a" "# exit status 0"; }
bad() { ktap 1..1 "not ok 1 a" "# exit status 1"; }
confirmed() { bad && : >"$DIR/confirmed"; }
hang() { ktap 1..1 "# stopped: it did not end within 20 s" "# exit status 137" && : >"$DIR/confirmed"; }
crash() { ktap 1..1 "# exit status 139" && : >"$DIR/confirmed"; }
nothing() { : >"$DIR/done"; }
unclaimed() { rmdir "$RUN/claims/name"; }
died() { echo died >"$DIR/outcome"; rm "$DIR/dmesg"; echo "a line" >"$DIR/console.log"; }
panics() { died; echo "Kernel panic - not syncing" >"$DIR/console.log"; }
stuck() { echo one >"$DIR/stuck"; }
warns() { good; echo "WARNING: planted" >"$DIR/dmesg"; }
leaks() { good; echo "unreferenced object" >"$DIR/leaks"; }
in_use() { good; : >"$DIR/in-use"; }
tainted() { good; echo 512 >"$DIR/tainted"; }
refused() { : >"$DIR/not-loaded"; : >"$DIR/done"; echo "insmod: cannot" >"$DIR/insmod"; }

# gives PATTERN GUESTS FAKE...: succeeds if the verdict matches, after this many guests
gives() {
	local pattern=$1 guests=$2 out
	shift 2
	rm -rf "$SCRATCH"/{build,run}
	out=$(verdict "$@")
	[[ $out =~ $pattern ]] || { echo "it gives '$out', not '$pattern'" && return 1; }
	[[ $(<"$SCRATCH/guests") == "$guests" ]] || { echo "$(<"$SCRATCH/guests") guests, not $guests" && return 1; }
}

check "tests that pass" gives '^survived$' 1 good
check "a failed test kills if it passes without the mistake" gives '^killed by one: a$' 1 confirmed
check "or if it fails in a fresh guest, too" gives '^killed by one: a$' 2 bad bad
check "but not if it passes there" gives '^survived$' 2 bad good
WITHOUT=bad
check "nor if it fails there without the mistake" gives '^unknown: its tests fail without the mistake$' 2 bad bad
WITHOUT=
check "a hang kills" gives '^killed by one: it hangs$' 1 hang
check "so does a crash" gives '^killed by one: exit status 139$' 1 crash
check "and a test that cannot be killed" gives '^killed by one: it hangs in the kernel$' 1 stuck
check "a complaint of the kernel kills" gives '^killed by the kernel log: WARNING: planted$' 1 warns
check "so does a panic" gives '^killed by the kernel log: Kernel panic' 1 panics
check "and a leak" gives '^killed by kmemleak: 1 objects$' 1 leaks
check "a guest that dies once does not" gives '^survived$' 2 died good
check "one that dies twice does" gives '^killed by a guest that died$' 2 died died
check "a module that cannot be unloaded kills" gives '^killed by rmmod' 2 in_use in_use
check "so does a taint" gives '^killed by the kernel.s taint: 512$' 2 tainted tainted
check "and a module that cannot be loaded" gives '^killed by insmod: insmod: cannot$' 2 refused refused
check "a test without output" gives '^unknown: no verdict of its tests$' 2 nothing nothing
check "what is unknown is not kept" test ! -e "$SCRATCH/build/mutants/amd64/results/name"
check "nor is a mutant that has not run" gives '^$' 1 unclaimed
gives '^survived$' 1 good
check "a verdict is" grep -qx "key survived" "$SCRATCH/build/mutants/amd64/results/name"

limits() (
	export ARCH=amd64 FLAVOUR=amd64
	LAB=$SCRATCH BUILD=$SCRATCH/build
	. "$LAB_DIR/lib/mutants.sh"
	mkdir -p "$BUILD/$MUTANTS/tests"
	echo 5000 >"$BUILD/$MUTANTS/tests/one"
	[[ $(test_limits one two | tr '\n' ' ') == "one=35 two=50 " ]]
)
check "the limit is three times the time of a test that passed, and 20 s" limits

# The list, and the sources with joined mistakes.
TOOL=$LAB_DIR/../mutants/mutants.py
ROOT=$SCRATCH/root
mkdir -p "$ROOT/rust/bindings" "$ROOT/tools"
joined() {
	printf '%s\n' 'impl A {' '    fn f(&self) -> u32 {' '        1' '    }' '}' >"$ROOT/rust/a.rs"
	printf '%s\n' 'void f(void)' '{' '	g();' '}' >"$ROOT/rust/bindings/helpers.c"
	: >"$ROOT/rust/doorbell.rs"
	cp "$TOOL" "$ROOT/tools/mutants.py"
	printf '%s\n' "$@" >"$ROOT/tools/mutants.txt"
	python3 "$ROOT/tools/mutants.py" join "$ROOT"
}
ENTRIES=('mutant one' 'file rust/a.rs' 'in fn f(' '- 1' '+ 2' 'tests x'
	'mutant two' 'file rust/bindings/helpers.c' '- g();' '+ h();' 'tests x')
in_rust() {
	joined "${ENTRIES[@]}" && tr -d '\n' <"$ROOT/rust/a.rs" |
		grep -q 'if crate::mutant(1) { return {        2} }// end of one        1'
}
in_c() {
	joined "${ENTRIES[@]}" && tr -d '\n' <"$ROOT/rust/bindings/helpers.c" |
		grep -q 'if (doorbell_mutant == 2) {	h();return;}// end of two	g();'
}
blamed() {
	joined "${ENTRIES[@]}" && echo "error: x
 --> /doorbell/rust/a.rs:$(grep -n '^        2' "$ROOT/rust/a.rs" | cut -d: -f1):9" >"$ROOT/log"
	[[ $(python3 "$ROOT/tools/mutants.py" blame "$ROOT" "$ROOT/log") == one ]]
}
file_without_an_entry() {
	joined "${ENTRIES[@]:0:6}" && says 'no mistake in rust/bindings/helpers.c' python3 "$ROOT/tools/mutants.py" check "$ROOT"
}
check "a joined mistake is a copy of its function's body" in_rust
check "also in C" in_c
check "an error in a copy blames its mistake" blamed
check "a file without a mistake is reported" file_without_an_entry
plan
