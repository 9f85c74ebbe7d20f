#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests the lines that make test prints for failures: each has the program, the case and the
# command that runs it alone. Files replace what the tests write.
. "$(dirname "$0")/lib.sh"
shopt -s nullglob

SRC=${LAB_DIR%/tools/lab} FLAVOUR=amd64 ARCH=amd64 ACCEL=tcg NPROC=2
LAB=$SCRATCH/lab RUN=$SCRATCH/run BUILD=$SCRATCH/build LOGS=$SCRATCH/run/log SELECTED=()
QEMU_TEST=none PROGRAMS=$SCRATCH
say() { echo "lab: $*"; }
for lib in args versions tests; do
	# shellcheck source=/dev/null
	. "$LAB_DIR/lib/$lib.sh"
done
# The patterns of the kernel log, and its check. BAD is the test's own verdict.
eval "$(sed -n "s/^BAD=/KERNEL_BAD=/p; s/^TAINT=/&/p; /^kernel_log() {/,/^}/p; /^check_log() {/,/^}/p" \
	"$LAB_DIR/lib/guest.sh")"

# begin: forgets the results of the last test
begin() {
	rm -rf "$RUN"
	mkdir -p "$RUN"/{ktap,claims,done,log}
	PASSED=0 FAILED=0 FAILURES=() FAILED_ROUNDS=()
}

# wrote FILE LINE...: writes the output of a test
wrote() {
	printf '%s\n' "${@:2}" >"$RUN/$1"
}

# are PASSED FAILED LINE...: succeeds if these are the numbers and the lines of the failures
are() {
	[[ $PASSED == "$1" && $FAILED == "$2" ]] || { echo "$PASSED passed, $FAILED failed, not $1 and $2" && return 1; }
	diff <(printf '%s\n' "${@:3}") <(printf '%s\n' "${FAILURES[@]}")
}

selftest() {
	begin
	wrote ktap/mask 1..3 "ok 1 mask.first" "not ok 2 mask.exact" "ok 3 mask.last" "# exit status 1"
	finished mask >"$SCRATCH/out"
	are 2 1 "mask: 1 failed; alone: make test T=mask" "  mask: mask.exact: tools/lab/lab run mask -t exact"
}

compat() {
	begin
	wrote ktap/mask_32 1..1 "not ok 1 mask.exact" "# exit status 1"
	finished mask_32 >"$SCRATCH/out"
	are 0 1 "mask_32: 1 failed; alone: make test T=mask_32" \
		"  mask_32: mask.exact: tools/lab/lab run mask_32 -t exact"
}

hang() {
	begin
	wrote ktap/mask 1..3 "#  RUN           mask.first ..." "ok 1 mask.first" "#  RUN           mask.exact ..." \
		"# stopped: it did not end within 400 s of the guest's clock" "# exit status 137"
	finished mask >"$SCRATCH/out"
	are 1 1 "mask: 1 failed; alone: make test T=mask" \
		"  mask: mask.exact (it did not end within 400 s of the guest's clock): tools/lab/lab run mask -t exact"
}

crash() {
	begin
	wrote ktap/cli_rtt "ok 1 it measures" "# exit status 139"
	finished cli_rtt >"$SCRATCH/out"
	are 1 1 "cli_rtt: 1 failed; alone: make test T=cli_rtt" \
		"  cli_rtt: (no plan): make test T=cli_rtt"
}

absent() {
	begin
	finished relay >"$SCRATCH/out"
	are 0 1 "relay: 1 failed; alone: make test T=relay"
}

script() {
	begin
	wrote ktap/sample_vbus 1..1 "not ok 1 the bus works" "# exit status 1"
	finished sample_vbus >"$SCRATCH/out"
	are 0 1 "sample_vbus: 1 failed; alone: make test T=sample_vbus" \
		"  sample_vbus: the bus works: make test T=sample_vbus"
}

skipped() {
	local FLAVOUR=debug
	begin
	wrote ktap/mask 1..2 "ok 1 mask.first" "ok 2 mask.exact # SKIP no KVM" "# exit status 0"
	finished mask >"$SCRATCH/out"
	are 1 1 "mask: 1 failed; alone: make test T=mask FLAVOUR=debug" \
		"  mask: mask.exact (skipped: no KVM): DOORBELL_FLAVOUR=debug tools/lab/lab run mask -t exact"
}

# skips_in FLAVOUR ACCEL PROGRAM REASON: succeeds if a program may skip for this reason there
skips_in() {
	local FLAVOUR=$1 ACCEL=$2 pattern
	pattern=$(expected_skips "$3")
	[[ $pattern ]] && grep -qE -- "$pattern" <<<"$4"
}
fails_in() {
	! skips_in "$@"
}
NO_FAULTS="/proc/self/task/7/fail-nth: No such file or directory: no fault injection in this kernel"

# summary: the expected skips of all guests and rounds, with the number of them if they are many
summary() {
	local FLAVOUR=in-tree-y i
	begin
	for i in 1 2; do
		wrote "ktap/fail_nth_bus@$i" 1..5 "ok 1 bus.a # SKIP $NO_FAULTS" "ok 2 bus.b # SKIP $NO_FAULTS" \
			"ok 3 bus.c # SKIP $NO_FAULTS" "ok 4 bus.d # SKIP $NO_FAULTS" "ok 5 bus.e" "# exit status 0"
		wrote "ktap/kunit_doorbell_eventfd.$i" 1..2 "ok 1 a # SKIP no eventfd; see the parameter kunit_eventfds" \
			"ok 2 b # SKIP no eventfd; see the parameter kunit_eventfds" "# exit status 0"
	done
	wrote ktap/mask 1..1 "ok 1 mask.a # SKIP no KVM" "# exit status 0"
	wrote ktap/lab:cfi "1..0 # SKIP needs FLAVOUR=cfi" "# exit status 0"
	skips >"$SCRATCH/out"
	diff - "$SCRATCH/out" <<-END
	lab: skipped 7 cases as expected:
	lab:   fail_nth_bus: 4 cases (no fault injection in this kernel)
	lab:   kunit_doorbell_eventfd: a, b (see the parameter kunit_eventfds)
	lab:   lab:cfi: all (needs FLAVOUR=cfi)
	END
}

no_skips() {
	begin
	[[ $(skips) == "lab: skipped 0 cases as expected" ]]
}

variables() {
	local FLAVOUR=rt DOORBELL_CPUS=4 DOORBELL_ACCEL=tcg DOORBELL_MEM=3G DOORBELL_APPEND="a b=c" DOORBELL_ROUNDS_CPU_MS=50
	local TORTURE_SECONDS=20 set="DOORBELL_CPUS=4 DOORBELL_MEM=3G DOORBELL_ACCEL=tcg DOORBELL_APPEND=a\\ b=c"
	local rounds="DOORBELL_ROUNDS_CPU_MS=50"
	begin
	wrote ktap/race 1..1 "not ok 1 race.a" "# exit status 1"
	wrote ktap/sample_vbus 1..1 "not ok 1 the bus works" "# exit status 1"
	finished race >"$SCRATCH/out"
	finished sample_vbus >"$SCRATCH/out"
	are 0 2 "race: 1 failed; alone: $set $rounds TORTURE_SECONDS=20 make test T=race FLAVOUR=rt" \
		"  race: race.a: DOORBELL_FLAVOUR=rt $set tools/lab/lab run env $rounds race -t a" \
		"sample_vbus: 1 failed; alone: $set $rounds TORTURE_SECONDS=20 make test T=sample_vbus FLAVOUR=rt" \
		"  sample_vbus: the bus works: $set $rounds TORTURE_SECONDS=20 make test T=sample_vbus FLAVOUR=rt"
}

# guest_ended STATUS OUTCOME [LINE...]: counts a guest with these lines in its kernel log
guest_ended() {
	mkdir -p "$RUN/1"
	echo 4096 >"$RUN/1/tainted"
	printf '%s\n' "lab: test mask" "${@:3}" >"$RUN/1/dmesg"
	echo "$1 $2" >"$RUN/1.result"
	BAD=$KERNEL_BAD count_guest 1 >"$SCRATCH/out"
}

own_checks() {
	local FLAVOUR=debug
	begin
	wrote ktap/module.1 1..1 "not ok 1 rmmod" "# exit status 0"
	wrote ktap/kunit_doorbell_line.1 1..2 "ok 1 rings" "not ok 2 masks" "# exit status 0"
	wrote ktap/debug.1 1..1 "not ok 1 nothing leaked, module loaded" "# exit status 0"
	guest_ended 0 ended
	are 3 3 "debug.1: 1 failed; alone: make test T=module FLAVOUR=debug" \
		"  debug.1: nothing leaked, module loaded: make test T=module FLAVOUR=debug" \
		"kunit_doorbell_line.1: 1 failed; alone: make test T=module FLAVOUR=debug" \
		"  kunit_doorbell_line.1: masks: make test T=module FLAVOUR=debug" \
		"module.1: 1 failed; alone: make test T=module FLAVOUR=debug" \
		"  module.1: rmmod: make test T=module FLAVOUR=debug"
}

complaint() {
	begin
	wrote ktap/module.1 1..1 "ok 1 insmod" "# exit status 0"
	guest_ended 0 ended "lab: test relay@2" "WARNING: planted" "Call Trace:" "lab: test uapi" "lab: test module"
	are 2 1 "the kernel log of guest 1, during relay: 1 failed; alone: make test T=relay"
}

late_complaint() {
	begin
	wrote ktap/module.1 1..1 "ok 1 insmod" "# exit status 0"
	guest_ended 0 ended "BUG: planted" "lab: test module" "WARNING: planted"
	are 2 1 "the kernel log of guest 1, during mask module: 1 failed; alone: make test T='mask module'"
}

died() {
	begin
	mkdir "$RUN"/claims/{mask,uapi}
	echo 1 >"$RUN/claims/mask/guest"
	echo 2 >"$RUN/claims/uapi/guest"
	guest_ended 125 died
	are 0 3 "guest 1 (died), during mask: 1 failed; alone: make test T=mask" \
		"the kernel log of guest 1, during mask: 1 failed; alone: make test T=mask" \
		"module.1: 1 failed; alone: make test T=module"
}

# stuck_guest [LINE...]: counts a guest in which the test "mask" could not be killed, with these lines in its
# kernel log
stuck_guest() {
	begin
	mkdir -p "$RUN/1" "$RUN/claims/mask"
	echo mask >"$RUN/1/stuck"
	wrote ktap/mask 1..2 "ok 1 mask.first" "#  RUN           mask.exact ..." "# stopped: it could not be killed" \
		"# mask (thread 7):" "# [<0>] schedule+0x1" "# exit status 137"
	wrote ktap/module.1 "ok 1 insmod" 1..1 "# exit status 0"
	finished mask >"$SCRATCH/out"
	guest_ended 137 ended "$@"
}

stuck() {
	stuck_guest "INFO: task mask:7 blocked for more than 120 seconds." "Call Trace:"
	are 2 1 "mask: 1 failed; alone: make test T=mask" \
		"  mask: mask.exact (it could not be killed): tools/lab/lab run mask -t exact"
}

stuck_after_complaint() {
	stuck_guest "lab: test relay" "WARNING: planted" "lab: test mask" "Call Trace:"
	are 2 2 "mask: 1 failed; alone: make test T=mask" \
		"  mask: mask.exact (it could not be killed): tools/lab/lab run mask -t exact" \
		"the kernel log of guest 1, during relay: 1 failed; alone: make test T=relay"
}

# guests_of END [TEST...]: runs these tests in fake guests, and prints the number of guests and the tests that
# have run. The tests "bad" and "module" end their guest as END does.
guests_of() (
	END=$1
	begin
	printf '%s\n' "${@:2}" >"$RUN/queue"
	kernel_version() { echo 7.3; }
	stage_reap() { :; }
	count_guest() { :; }
	finished() { echo "$1" >>"$SCRATCH/ran"; }
	boot() {
		local test
		mkdir "$RUN/$1"
		OUTCOME=ended
		# Far too many guests.
		(($1 < 9)) || : >"$RUN/queue"
		! "$END" "$1" module || return
		while read -r test; do
			mkdir "$RUN/claims/$test" 2>/dev/null || continue
			echo "$1" >"$RUN/claims/$test/guest"
			! "$END" "$1" "$test" || return
			echo 1 >"$RUN/done/$test"
		done <"$RUN/queue"
	}
	: >"$SCRATCH/ran"
	DOORBELL_GUESTS=1 run_guests >"$SCRATCH/out"
	echo "$(ls "$RUN/log" | wc -l) $(sort "$SCRATCH/ran" | tr '\n' ' ')"
)
cannot_be_killed() {
	[[ $2 == bad* ]] || return
	echo "$2" >"$RUN/$1/stuck"
	echo 1 >"$RUN/done/$2"
}
dies() {
	[[ $2 == bad* ]] && OUTCOME=died
}
is_silent() {
	[[ $2 == bad* ]] && OUTCOME=stopped && echo "it gave no sign of life" >"$RUN/$1/stopped"
}
times_out() {
	[[ $2 == bad* ]] && OUTCOME=stopped && echo "it did not end (DOORBELL_TIMEOUT)" >"$RUN/$1/stopped"
}
insmod_cannot_be_killed() {
	[[ $2 == module ]] && echo "module.$1" >"$RUN/$1/stuck"
}

# boots "GUESTS TEST... " END TEST...: succeeds if there are this many guests, and these tests have been counted
boots() {
	local want=$1 got
	shift
	got=$(guests_of "$@")
	[[ $got == "$want" ]] || { echo "'$got', not '$want'" && return 1; }
}

labs_own() {
	local FLAVOUR=rt
	begin
	wrote ktap/lab:guest "ok 1 a run" "not ok 2 another one" 1..2 "# exit status 1"
	wrote ktap/lab:kvm 1..1 "ok 1 it" "# exit status 0"
	wrote ktap/lab:lines "1..0 # SKIP no python3" "# exit status 0"
	wrote ktap/lab:series "ok 1 it" "# exit status 1"
	count_host lab 1 2>"$SCRATCH/out"
	are 3 2 "lab:guest: 1 failed; alone: make test T=lab:guest FLAVOUR=rt" \
		"  lab:guest: another one: make test T=lab:guest FLAVOUR=rt" \
		"lab:series: 1 failed; alone: make test T=lab:series FLAVOUR=rt" \
		"  lab:series: (no plan): make test T=lab:series FLAVOUR=rt"
}

no_lab_test() {
	begin
	count_host lab 1
	are 0 1 "lab: nothing has run: 1 failed; alone: make test T=lab"
}

model() {
	begin
	wrote log/test-model.log 1..2 "ok 1 line # 5 states" "not ok 2 found: lost # 7 states, 3 deep" "# exit status 1"
	count_host model 1
	are 1 1 "model: 1 failed; alone: make test T=model" "  model: found: lost: make test T=model"
}

tools() {
	begin
	wrote log/test-tools.log "   Compiling doorbell v0.1.0" \
		"     Running unittests src/lib.rs (/build/target/release/deps/doorbell_model-0123456789abcdef)" \
		"running 2 tests" "test a ... ok" "test line::tests::masks ... FAILED" "" "failures:" "" \
		"---- line::tests::masks stdout ----" "failures:" "    planted" "" "failures:" "    line::tests::masks" "" \
		"test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s" \
		"     Running tests/cli.rs (/build/target/release/deps/cli-0123456789abcdef)" "running 7 tests" \
		"   Doc-tests doorbell" "failures:" "    tools/lib/doorbell/src/bus.rs - bus::Bus::new (line 30)" \
		"    tools/lib/doorbell/src/lib.rs - (line 9)" \
		"test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s"
	count_host tools 101
	are 4 4 "tools: 4 failed; alone: make test T=tools" \
		"  tools: doorbell_model: line::tests::masks: make test T=tools:line::tests::masks" \
		"  tools: cli: (it ended without a result): make test T=tools" \
		"  tools: doorbell (documentation): tools/lib/doorbell/src/bus.rs - bus::Bus::new (line 30): make test T=tools:bus::Bus::new" \
		"  tools: doorbell (documentation): tools/lib/doorbell/src/lib.rs - (line 9): make test T=tools:tools/lib/doorbell/src/lib.rs"
}

not_built() {
	begin
	wrote log/test-tools.log "error[E0432]: unresolved import" "error: could not compile"
	count_host tools 101
	are 0 1 "tools: 1 failed; alone: make test T=tools"
}

# runs "LAB'S TEST..." [PATTERN...]: succeeds if these of the lab's own tests are selected
runs() {
	local want=$1 name got=()
	shift
	SELECTED=("$@")
	for name in $(lab_tests); do
		! selected "$name" || got+=("$name")
	done
	[[ ${got[*]} == "$want" ]] || { echo "selected: ${got[*]}" && return 1; }
	if [[ $want ]]; then
		selected_host lab
	else
		! selected_host lab
	fi
}

all_but_one() {
	SELECTED=('!lab:kvm')
	selected_host lab && selected lab:guest && ! selected lab:kvm && selected_host tools && selected mask
}

# cargo_args "ARGUMENT..." [PATTERN...]: succeeds if cargo is called with these
cargo_args() {
	local want=$1
	shift
	SELECTED=("$@")
	cargo_static() { echo "$*"; }
	[[ $(test_tools) == "$want" ]] || { test_tools && return 1; }
	selected_host tools
}

# Runs one of the lab's own tests as make test does.
one_runs() {
	begin
	SELECTED=(lab:cfi)
	lab_tests() { printf '%s\n' lab:cfi lab:guest; }
	mkdir -p "$SCRATCH/own/test"
	# shellcheck disable=SC2016 # for the test
	echo 'echo "ok 1 in $LAB_FLAVOUR"; echo 1..1; exit 3' | tee "$SCRATCH"/own/test/{cfi,guest}.sh >/dev/null
	LAB_DIR=$SCRATCH/own test_lab >"$RUN/log/test-lab.log"
	count_host lab $? 2>"$SCRATCH/out"
	are 1 1 "lab:cfi: 1 failed; alone: make test T=lab:cfi" "  lab:cfi: (exit status 3): make test T=lab:cfi"
}

# Runs one of the lab's own tests by the function of make test.
last_lines() {
	local FAILED=0
	begin
	setup() { :; }
	build() { :; }
	prepare_guest() { :; }
	needs_qemu() { false; }
	all_tests() { :; }
	give_back() { :; }
	stage_begin() { "$3" >"$LOGS/$1.log"; STAGE_STATUS[$1]=$?; }
	stage_wait() { echo "9.31 5.00 4.00 7/300 4000" >"$SCRATCH/loadavg"; }
	lab_tests() { echo lab:cfi; }
	declare -A STAGE_STATUS
	echo "0.25 3.00 4.00 1/300 4000" >"$SCRATCH/loadavg"
	mkdir -p "$SCRATCH/own/test"
	ln -s "$LAB_DIR"/{lib,expected-skips} "$SCRATCH/own/"
	echo 'echo 1..1; echo "ok 1 it"' >"$SCRATCH/own/test/cfi.sh"
	LAB_DIR=$SCRATCH/own LOADAVG=$SCRATCH/loadavg run_tests lab >"$SCRATCH/out" || return
	grep -qxE 'lab: took [0-9]+ s; load 0.25 before, 9.31 at the end, on 2 CPUs' "$SCRATCH/out" &&
		diff <(echo "1 passed, 0 failed") <(tail -n 1 "$SCRATCH/out") || { cat "$SCRATCH/out" && return 1; }
}

check "a case of a test that fails" selftest
check "a case of a 32-bit program" compat
check "a case that does not end" hang
check "a program that ends early" crash
check "a test that has not run" absent
check "a case of a sample" script
check "a case that is skipped where nothing is missing" skipped
check "a kernel without fault injection" skips_in amd64 tcg fail_nth_bus "$NO_FAULTS"
check "where it should have it, the case has failed" fails_in debug tcg fail_nth_bus "$NO_FAULTS"
check "so has the case of another program" fails_in amd64 tcg mask "$NO_FAULTS"
check "PREEMPT_RT" skips_in rt tcg prompt "a PREEMPT_RT kernel: a thread that is more urgent goes first"
check "not without it" fails_in amd64 tcg prompt "a PREEMPT_RT kernel: a thread that is more urgent goes first"
check "a guest under KVM that cannot nest" skips_in amd64 kvm errors_assign_32 "/dev/kvm: No such file or directory"
check "an emulated guest has KVM" fails_in amd64 tcg errors_assign_32 "/dev/kvm: No such file or directory"
check "a driver that is built in" skips_in in-tree-y tcg reload "doorbell is no module, or is in use"
check "a module that is in use has failed" fails_in in-tree tcg reload "doorbell is no module, or is in use"
check "with one CPU" skips_in debug icount hotplug "/sys/devices/system/cpu/cpu1/online: No such file or directory"
check "the expected skips have a line for each program" summary
check "without any there is one line" no_skips
check "a command has the variables of the run" variables
check "a guest's own checks, and the unit tests" own_checks
check "a complaint of the kernel has the test that ran" complaint
check "and so have two of them, one at the end" late_complaint
check "a guest that dies has the test that ran" died
check "a test that cannot be killed is one failure" stuck
check "a complaint before it is another one" stuck_after_complaint
check "another guest runs the other tests" boots "2 a b bad " cannot_be_killed a bad b
check "also after several" boots "3 a bad bad2 " cannot_be_killed bad bad2 a
check "but not without any left" boots "1 a bad " cannot_be_killed a bad
check "the same if a guest dies" boots "2 a b bad " dies a bad b
check "or gives no sign of life" boots "2 a b bad " is_silent a bad b
check "but not beyond the limit of the run" boots "1 a b bad " times_out a bad b
check "nor if it is no test that cannot be killed" boots "1 a b " insmod_cannot_be_killed a b
check "the lab's own tests" labs_own
check "none of them" no_lab_test
check "the model" model
check "the tests of the tools" tools
check "tools that do not compile" not_built
check "one of the lab's own tests can be selected" runs "lab:guest" lab:guest
check "and a pattern selects several" runs "lab:version lab:versions" 'lab:version*' mask
check "a pattern without a colon is none of a part" runs "" '*version*' mask
check "one of them can be left out" all_but_one
check "a case of the tools can be selected" cargo_args "test --no-fail-fast -- a::b c" tools:a::b mask tools:c
check "or left out" cargo_args "test --no-fail-fast -- --skip a::b" '!tools:a::b'
check "one of the lab's own tests runs without the others" one_runs
check "the last lines have the load of the host and the numbers" last_lines
plan
