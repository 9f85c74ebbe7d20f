#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests a guest's clock and its limits. A process replaces QEMU, and a fake /proc has
# its waits for a CPU.
. "$(dirname "$0")/lib.sh"

say() { :; }
. "$LAB_DIR/lib/clock.sh"
NPROC=1
TREE=$SCRATCH/tree
steal_us() { echo 0; }
# The host's time is simulated: each sleep of the watch advances it by a second.
unset EPOCHREALTIME

# guest WAITS LIMIT [alive|silent] [started] [boots]: watches a guest whose thread waits
# WAITS ms in each second, for at most TIME seconds. Sets RAN to the time on its clock,
# KILLED, and STOPPED to the reason.
guest() {
	WAITS=$1 LIMIT=$2 WORDS=" $* " KILLED= TICKS=0 PROC=$TREE/proc/42
	DIR=$(mktemp -d "$SCRATCH/guest.XXXXXX")
	mkdir -p "$PROC/task/42"
	: >"$PROC/stat"
	[[ $WORDS != *" started "* ]] || : >"$DIR/started"
	echo 42 >"$DIR/qemu.pid"
	tick
	watch_guest "$DIR" "$LIMIT"
	RAN=$((10#$(<"$DIR/clock")))
	STOPPED=$(cat "$DIR/stopped" 2>/dev/null)
}

tick() {
	EPOCHREALTIME=$((1000 + TICKS)).000000
	echo "0 $((TICKS * WAITS * 1000000)) 0" >"$PROC/task/42/schedstat"
	[[ $WORDS != *" alive "* ]] || echo $TICKS >"$DIR/alive"
	[[ $WORDS != *" silent "* ]] || echo 1 >"$DIR/alive"
	[[ $WORDS != *" boots "* ]] || echo $TICKS >>"$DIR/console.log"
	((++TICKS <= TIME)) || rm -rf "$PROC"
}

sleep() {
	tick
}

kill() {
	KILLED=1
	rm -rf "$PROC"
}

runs() {		# MIN MAX ARGUMENT...
	local min=$1 max=$2
	shift 2
	guest "$@"
	((RAN >= min && RAN <= max)) && [[ -z $STOPPED ]] || { echo "its clock: $RAN ms; stopped: $STOPPED" && return 1; }
}

stops() {		# PATTERN ARGUMENT...
	local pattern=$1
	shift
	guest "$@"
	[[ $STOPPED == *$pattern* ]] || { echo "its clock: $RAN ms; stopped: $STOPPED" && return 1; }
}

hangs() {		# ARGUMENT...
	guest "$@"
	[[ $KILLED && -z $STOPPED ]] || { echo "its clock: $RAN ms; killed: $KILLED, stopped: $STOPPED" && return 1; }
}

TIME=200
check "the clock of a guest that waits for nothing goes on" runs 199000 200000 0 0 alive started
check "that of a guest that is kept waiting stands still" runs 0 1000 1000 0 silent started
check "that of a guest that waits half the time goes half as fast" runs 99000 101000 500 0 alive started
check "a guest that is kept waiting is not stopped by its limit" runs 0 1000 1000 2 alive started
check "nor for giving no sign of life" runs 0 1000 1000 0 silent started
check "a guest that takes longer than its limit is stopped" stops "did not end within 2 s" 0 2 alive started
check "a guest that gives no sign of life is stopped" stops "no sign of life" 0 0 silent started
check "a guest whose boot hangs is ended, and may be booted again" hangs 0 0
check "a guest that boots slowly is not" runs 199000 200000 0 0 boots
check "a guest that lives is not stopped" runs 199000 200000 0 600 alive started
plan
