#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests parallel runs of the lab with guests: each has its own command, status and
# files, independent of the other runs and of its end.
. "$(dirname "$0")/lib.sh"

# Inside a run, these tests use its build.
[[ -z ${LAB_OF_TESTS:-} ]] ||
	export DOORBELL_LAB=$LAB_OF_TESTS DOORBELL_FLAVOUR=$LAB_FLAVOUR DOORBELL_BUILT=1
cd "$SCRATCH" || exit

# begin NAME [VARIABLE=VALUE...] COMMAND...: starts a run in a directory of its own
begin() {
	local name=$1
	shift
	mkdir "$name"
	(
		cd "$name" || exit
		while [[ $1 == *=* ]]; do
			export "${1?}"
			shift
		done
		"$LAB_DIR/lab" "$@" >out 2>err </dev/null
		echo $? >rc
	) &
}

# begin_on_terminal NAME TERM ROWS COLUMNS COMMAND: starts a run of a command of the shell on a terminal
# of its own
begin_on_terminal() {
	mkdir "$1"
	(
		cd "$1" || exit
		TERM=$2 script -qec "stty rows $3 cols $4; exec '$LAB_DIR/lab' run sh -c '$5'" /dev/null >out 2>err </dev/null
		echo $? >rc
	) &
}

# ended NAME STATUS [FILE PATTERN]...: succeeds if the run ended with this exit status and
# its files match
ended() {
	local name=$1 rc
	rc=$(cat "$name/rc")
	[[ $rc == "$2" ]] || { echo "its status is $rc, not $2" && told "$name" && return 1; }
	shift 2
	while (($#)); do
		grep -qE -- "$2" "$name/$1" || { echo "no '$2' in $1" && told "$name" && return 1; }
		shift 2
	done
}

# told NAME: prints the last lines of the run's output; kernel complaints are at the end
told() {
	local file
	for file in err out; do
		tail -n 30 "$1/$file" | cut -c1-200 | sed "s/^/$file: /"
	done
}

# Two runs at a time, as a guest has two CPUs.
begin first run sh -c 'sleep 6; echo first; echo one >x.txt; exit 7'
begin second run sh -c 'echo second; echo two >x.txt; (sleep 10000 &); test -t 0 || test -t 1 || echo no terminal; seq 20000; echo last'
wait
# The small kernels have no sysrq.
begin crash run sh -c 'echo c >/proc/sysrq-trigger || { echo 2 >/proc/sys/vm/panic_on_oom; tail /dev/zero; }; sleep 1000'
begin slow DOORBELL_TIMEOUT=4 run sleep 1000
wait
begin noinit DOORBELL_APPEND=rdinit=/nonexistent run true
begin clock DOORBELL_APPEND=tsc=unstable run cat /proc/cmdline
wait
begin log run sh -c 'echo "WARNING: planted" >/dev/kmsg'
# shellcheck disable=SC2016 # the guest's
begin_on_terminal terminal xterm-256color 33 101 'echo "it has $(stty size) $TERM"; test -t 0 && test -t 2'
wait
# shellcheck disable=SC2016 # the guest's
begin_on_terminal unknown no-such-terminal 5 20 'echo "it has $(stty size) $TERM"'
begin steady DOORBELL_REPEAT=2 DOORBELL_LOAD=4 DOORBELL_GUESTS=1 test counter
wait

check "a run has the status of its own command" ended first 7 out '^first$'
check "another one of the same tree, at the same time, has its own" ended second 0 out '^second$'
check "each brings back its own files" grep -q one first/x.txt
check "and the other one its own" grep -q two second/x.txt
check "and says so" ended first 7 err 'the command wrote .*/first/x.txt'
check "a daemon that is left behind does not keep a run from ending" ended second 0 out '^last$'
check "nor is anything lost of what was printed" test "$(wc -l <second/out)" = 20003
check "a guest that dies is told from a command that fails" ended crash 125 err 'the guest died'
check "with the end of its console" ended crash 125 err 'Kernel Offset|end Kernel panic'
check "a guest is stopped at its limit" ended slow 124 err 'did not end within 4 s of its own time'
check "a guest that dies before it has started is booted once more" ended noinit 125 err 'booting it once more'
if [[ ${LAB_FLAVOUR:-} != @(arm64|16k) ]]; then
	check "and so is one whose clock stands still" ended clock 0 err 'booting it once more'
	check "with the TSC, whatever its frequency" ended clock 0 out ' tsc=reliable '
fi
check "a complaint of the kernel fails the run" ended log 1 err 'the kernel complained'
check "a command on a terminal has the terminal's size and type" ended terminal 0 out '^it has 33 101 xterm-256color'
check "a type that the guest does not know becomes that of the console" ended unknown 0 out '^it has 5 20 linux'
check "without a terminal there is none" ended second 0 out '^no terminal$'
check "rounds under load: each test has a line" ended steady 0 err '^lab: counter: 0 of 2 rounds failed'
check "and so have all" ended steady 0 err '^lab: 2 rounds beside 4 busy processes: 0 rounds of 0 tests failed'
plan
