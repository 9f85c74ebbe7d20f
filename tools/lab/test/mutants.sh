#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests the verdicts of "make mutants", with fake guests: a test that fails kills a mutant if it then passes without the
# mistake and fails again with it; all else kills in a fresh guest only.
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
	FAKES=("$@") GUESTS=0 MUTANTS_START=0 MODULE_KEY=module
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
# It passes when it runs again, with the mistake.
flaky() { bad && cp "$DIR/one" "$DIR/one.repeat"; }
confirmed() { bad && : >"$DIR/confirmed"; }
hang() { ktap 1..1 "# stopped: it did not end within 20 s" "# exit status 137" && : >"$DIR/confirmed"; }
crash() { ktap 1..1 "# exit status 139" && : >"$DIR/confirmed"; }
nothing() { : >"$DIR/done"; }
unclaimed() { rmdir "$RUN/claims/name"; }
died() { echo died >"$DIR/outcome"; rm "$DIR/dmesg"; echo "a line" >"$DIR/console.log"; }
panics() { died; echo "Kernel panic - not syncing" >"$DIR/console.log"; }
stuck() { echo one >"$DIR/stuck"; }
warns() { good; echo "WARNING: planted" >"$DIR/dmesg"; }
stalls() { good; printf '%s\n' "watchdog: BUG: soft lockup - CPU#0 stuck for 22s" "Call Trace:" >"$DIR/dmesg"; }
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
check "a failed test kills if it passes without the mistake, and fails again" gives '^killed by one: a$' 1 confirmed
check "also in a fresh guest" gives '^killed by one: a$' 2 bad confirmed
check "but not if it passes there" gives '^survived$' 2 bad good
check "nor if it fails only now and then" gives '^survived: one fails only now and then: a$' 2 flaky flaky
check "nor if it cannot be run again" gives '^unknown: no verdict of its tests$' 2 bad bad
WITHOUT=bad
check "nor if it fails there without the mistake" gives '^unknown: its tests fail without the mistake$' 2 bad confirmed
WITHOUT=warns
check "nor does the kernel log if it has the same without the mistake" gives '^unknown: its tests fail without' 2 warns warns
WITHOUT=leaks
check "nor does a leak" gives '^unknown: its tests fail without the mistake$' 2 leaks leaks
WITHOUT=
check "a hang kills" gives '^killed by one: it hangs$' 1 hang
check "so does a crash" gives '^killed by one: exit status 139$' 1 crash
check "and a test that cannot be killed, twice" gives '^killed by one: it hangs in the kernel$' 2 stuck stuck
check "a complaint of the kernel kills, in a fresh guest" gives '^killed by the kernel log: WARNING: planted$' 2 warns warns
check "but not if it does not come again" gives '^survived$' 2 warns good
check "a panic kills" gives '^killed by the kernel log: Kernel panic' 2 panics panics
check "and a leak" gives '^killed by kmemleak: 1 objects$' 2 leaks leaks
check "but not if there is none in a fresh guest" gives '^survived$' 2 leaks good
check "a stall does not kill" gives '^unknown: no verdict of its tests$' 2 stalls stalls
check "a guest that dies once does not" gives '^survived$' 2 died good
check "one that dies twice does" gives '^killed by a guest that died$' 2 died died
check "a module that cannot be unloaded kills" gives '^killed by rmmod' 2 in_use in_use
check "so does a taint" gives '^killed by the kernel.s taint: 512$' 2 tainted tainted
check "and a module that cannot be loaded" gives '^killed by insmod: insmod: cannot$' 2 refused refused
check "a test without output" gives '^unknown: no verdict of its tests$' 2 nothing nothing
check "what is unknown is not kept" test ! -e "$SCRATCH/build/mutants/amd64/results/name"
check "nor is a mutant that has not run" gives '^$' 1 unclaimed
gives '^killed' 1 confirmed
check "a kill is" grep -qx "key killed by one: a" "$SCRATCH/build/mutants/amd64/results/name"
gives '^survived$' 1 good
check "a survivor is, for this version of the module" grep -qx "key+module survived" "$SCRATCH/build/mutants/amd64/results/name"

# kept FAKE: succeeds if the verdict is stored while other guests still run
kept() (
	export ARCH=amd64 FLAVOUR=amd64
	LAB=$SCRATCH BUILD=$SCRATCH/build RUN=$SCRATCH/run OUTCOME=
	for lib in guest tests mutants; do
		# shellcheck source=/dev/null
		. "$LAB_DIR/lib/$lib.sh"
	done
	MODULE_KEY=module DIR=$RUN/results/name
	rm -rf "$RUN" "$BUILD/$MUTANTS/results"
	mkdir -p "$DIR" "$BUILD/$MUTANTS/results"
	declare -A TESTS=([name]=one) KEY=([name]=key) RESULT=() SEEN=()
	QUEUE=("name /modules 1 - one=20")
	printf '%s\n' "${QUEUE[@]}" >"$RUN/queue"
	echo "a line" >"$DIR/dmesg"
	echo 0 >"$DIR/tainted"
	"$1"
	keep_done
	grep -qsx "key killed by one: a" "$BUILD/$MUTANTS/results/name"
)
check "a confirmed failure is stored at once" kept confirmed
not_kept() { ! kept "$1"; }
check "one that is not confirmed is not" not_kept bad
running() { bad && : >"$DIR/confirmed" && rm "$DIR/done"; }
check "nor is that of a test that still runs" not_kept running

limits() (
	export ARCH=amd64 FLAVOUR=amd64
	LAB=$SCRATCH BUILD=$SCRATCH/build
	. "$LAB_DIR/lib/mutants.sh"
	mkdir -p "$BUILD/$MUTANTS/tests"
	echo 5000 >"$BUILD/$MUTANTS/tests/one"
	[[ $(test_limits one two | tr '\n' ' ') == "one=25 two=40 " ]]
)
check "the limit is three times the time of a test that passed, and 10 s" limits

# limited CONDITION [REACHED [END STATUS]]: succeeds if the limit kills a process of another group of the session, with
# STOP_IF=CONDITION, and leaves REACHED as the second argument says. The command ends with END, and the status is STATUS.
cat >"$SCRATCH/limited" <<'END'
export DOORBELL_CLOCK=$SCRATCH/clock
LIMIT_DIR=$SCRATCH STOP_IF=$1
echo 1000 >"$DOORBELL_CLOCK"
rm -f "$SCRATCH/child"
. "$LAB_DIR/guest/limit"
has_child() { [[ -s $SCRATCH/child ]]; }
goes_on() { ! has_child || echo 9000 >"$DOORBELL_CLOCK"; false; }
limit 5 bash -c 'set -m; sleep 600 & echo $! >"$1"; '"${3:-wait}" _ "$SCRATCH/child"
status=$?
for _ in {1..50}; do
	! kill -0 "$(<"$SCRATCH/child")" 2>/dev/null || { sleep 0.1 && continue; }
	[[ $REACHED == "${2:-}" && $status == "${4:-137}" ]]
	exit
done
kill "$(<"$SCRATCH/child")"
exit 1
END
# The lab runs its tests in a namespace of processes whose numbers are not those in its /proc.
limited() {
	local script=$SCRATCH/limited
	SCRATCH=$SCRATCH LAB_DIR=$LAB_DIR unshare --mount --pid --fork --mount-proc "$BASH" "$script" "$@"
}
check "the limit of a test ends its cases, too" limited goes_on 1
check "so does the first case that fails" limited has_child
check "what a command leaves ends with it" limited false '' 'exit 0' 0
check "also if the command fails" limited false '' 'exit 3' 3
check "or is killed" limited false '' 'kill -KILL $$' 137

# The start of the scripts below: the clock goes twenty times as fast, and the process in the file "child"
# cannot be killed.
cat >"$SCRATCH/unkillable" <<'END'
export DOORBELL_CLOCK=$SCRATCH/clock
LIMIT_DIR=$SCRATCH
. "$LAB_DIR/guest/limit"
now_ms() { NOW=$((${EPOCHREALTIME/./} / 50)); }
kill() {
	local pid pids=()
	for pid; do
		[[ $pid == "$(cat "$SCRATCH/child" 2>/dev/null)" ]] || pids+=("$pid")
	done
	builtin kill "${pids[@]}"
}
END
isolated() {
	rm -f "$SCRATCH"/{child,was-stuck}
	SCRATCH=$SCRATCH LAB_DIR=$LAB_DIR timeout 60 unshare --mount --pid --fork --mount-proc "$BASH" "$@"
}

# stuck_ends COMMAND: succeeds if a command whose process in the file "child" cannot be killed ends the caller
# of limit(), after stuck()
cat >"$SCRATCH/stuck" <<'END'
. "$SCRATCH/unkillable"
stuck() { stacks >"$SCRATCH/was-stuck"; }
limit 5 "$BASH" -c "$1" _ "$SCRATCH/child"
echo "it goes on" >"$SCRATCH/was-stuck"
END
stuck_ends() {
	# The first process of a namespace cannot be killed from inside.
	# shellcheck disable=SC2016 # for the shell inside
	isolated -c '"$BASH" "$@"; exit' _ "$SCRATCH/stuck" "$1"
	[[ $? == 137 ]] && grep "^sleep (thread " "$SCRATCH/was-stuck"
}
# others_end: succeeds if kill_all kills all processes but one, and fails if it cannot
cat >"$SCRATCH/others" <<'END'
. "$SCRATCH/unkillable"
sleep 600 &
one=$!
sleep 600 &
kill_all find_others $one && kill -0 $one && ! kill -0 $! || exit
sleep 600 &
echo $! >"$SCRATCH/child"
! kill_all find_others $one && [[ $(stacks | grep -c '^sleep (thread ') == 1 ]]
END
# shellcheck disable=SC2016 # for the command
{
check "a test that cannot be killed ends the guest's script" stuck_ends 'echo $$ >"$1"; exec sleep 600'
check "so does a process that is left of a case" stuck_ends 'set -m; sleep 600 & echo $! >"$1"; wait'
check "or of a test that ends" stuck_ends 'set -m; sleep 600 & echo $! >"$1"'
}
check "what a command of a run leaves is killed, and what cannot be is reported" isolated "$SCRATCH/others"

# tidied: succeeds if tidy() undoes what a stopped test has left in a fake /sys, and nothing else
tidied() (
	SYSFS=$SCRATCH/sys
	mkdir -p "$SYSFS"/kernel/tracing/instances/{doorbell_test_7,doorbell_test_12,other}
	mkdir -p "$SYSFS"/{devices/system/cpu/cpu{0,1,2,12},module/kunit/parameters}
	echo 0 | tee "$SYSFS"/devices/system/cpu/cpu{1,12}/online >"$SYSFS/module/kunit/parameters/filter_glob"
	echo 1 >"$SYSFS/devices/system/cpu/cpu2/online"
	. "$LAB_DIR/guest/tidy"
	tidy || return
	[[ $(cat "$SYSFS"/devices/system/cpu/cpu*/online | tr '\n' ' ') == "1 1 1 " ]] || return
	[[ ! -e $SYSFS/devices/system/cpu/cpu0/online ]] || return
	[[ $(<"$SYSFS/module/kunit/parameters/filter_glob") == '*' ]] || return
	[[ $(ls "$SYSFS/kernel/tracing/instances") == other ]] || return
	# There may be nothing to do, and none of the facilities.
	tidy && rm -r "$SYSFS" && tidy
)
check "the next mutant does not meet what a stopped test has left" tidied

# key_changes FILE TEST: succeeds if the hash of an entry with that test changes with the file
key_changes() (
	export ARCH=amd64 FLAVOUR=amd64
	LAB=$SCRATCH BUILD=$SCRATCH/build SRC=$SCRATCH/sources
	. "$LAB_DIR/lib/mutants.sh"
	sha() { sha256sum | cut -c 1-16; }
	rm -rf "$SRC"
	mkdir -p "$SRC"/{rust,include,tools/testing/selftests/doorbell,tools/lab/guest/tests}
	touch "$SRC"/{Kbuild,rust/a.rs,tools/testing/selftests/doorbell/{one.c,race.c,wait.h},tools/lab/guest/tests/{two,lib.sh}}
	before=$(mutant_key hash "$2")
	echo "a line" >"$SRC/$1"
	[[ $(mutant_key hash "$2") != "$before" ]]
)
SELFTESTS=tools/testing/selftests/doorbell
check "a result changes with its test" key_changes $SELFTESTS/one.c one:a
check "and with a header of the tests" key_changes $SELFTESTS/wait.h one:a
check "one of a test of the command does, too" key_changes tools/lab/guest/tests/two cli_two
check "one of a race changes with the module" key_changes rust/a.rs race:a
key_stays() { ! key_changes "$@"; }
check "others do not" key_stays rust/a.rs one:a

counted() (
	export ARCH=amd64 FLAVOUR=amd64
	LAB=$SCRATCH BUILD=$SCRATCH/build
	. "$LAB_DIR/lib/mutants.sh"
	mutants_py() { echo "one: because"; }
	declare -A RESULT=([a]="killed by one: a_case" [b]="killed by one: it hangs" [c]="missed: its entry says why" [d]="killed by one: b")
	NAMES=(a b c d)
	out=$(report_mutants) && [[ $out == *"1 were killed by a hang, a crash or the kernel"* && $out == *"4 mutants: 3 killed, 0 survived, 1 missed,"*"score 75 %" ]]
)
check "a mistake that is missed counts in the score; kills without a failed case are counted apart" counted

# The list, and the sources with joined mistakes.
TOOL=$LAB_DIR/../mutants/mutants.py
ROOT=$SCRATCH/root
mkdir -p "$ROOT/rust/bindings" "$ROOT/tools"
joined() {
	printf '%s\n' 'impl A {' '    fn f(&self) -> u32 {' '        1' '    }' '}' >"$ROOT/rust/a.rs"
	printf '%s\n' "${COMMENT:-}" 'void f(void)' '{' '	g();' '}' >"$ROOT/rust/bindings/helpers.c"
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
entry_with() {
	joined "${ENTRIES[@]}" "$@" && says 'not one of tests, equivalent and missed' python3 "$ROOT/tools/mutants.py" check "$ROOT"
}
missed_is_listed() {
	joined "${ENTRIES[@]:0:5}" 'missed it is rare' && [[ $(python3 "$ROOT/tools/mutants.py" list "$ROOT" amd64) =~ ^one\ [0-9a-f]+\ missed\ -\ -$ ]] &&
		! grep -q 'mutant(' "$ROOT/rust/a.rs"
}
check "an entry with tests is neither equivalent nor missed" entry_with 'missed it is rare'
check "what is missed is listed, and not made" missed_is_listed
check "a joined mistake is a copy of its function's body" in_rust
check "also in C" in_c
COMMENT='/* Calls g(). */'
check "and there after a comment, too" in_c
COMMENT=
check "an error in a copy blames its mistake" blamed
check "a file without a mistake is reported" file_without_an_entry
plan
