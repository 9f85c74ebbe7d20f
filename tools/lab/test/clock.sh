#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A guest's clock and its limits, with a process that stands for QEMU and a /proc
# that says how long it has waited for a CPU.
. "$(dirname "$0")/lib.sh"

say() { :; }
. "$LAB_DIR/lib/clock.sh"
NPROC=1
TREE=$SCRATCH/tree
steal_us() { echo 0; }
# Small limits, so that a check takes seconds.
ALIVE_LIMIT=3
START_LIMIT=3

# guest WAITS LIMIT [alive|silent] [started]: watches one whose thread waits WAITS ms in each
# second, for 6 s at most; leaves RAN, the time on its clock, and STOPPED, why it was
guest() {
	local dir watch pid start i
	dir=$(mktemp -d "$SCRATCH/guest.XXXXXX")
	sleep 60 &
	pid=$!
	mkdir -p "$TREE/proc/$pid/task/$pid"
	: >"$TREE/proc/$pid/stat"
	echo "0 0 0" >"$TREE/proc/$pid/task/$pid/schedstat"
	[[ ! " $* " == *" started "* ]] || : >"$dir/started"
	echo $pid >"$dir/qemu.pid"
	start=${EPOCHREALTIME/./}
	watch_guest "$dir" "$2" &
	watch=$!
	for ((i = 1; i <= 24; i++)); do
		sleep 0.25
		echo "0 $(((${EPOCHREALTIME/./} - start) * $1)) 0" >"$TREE/proc/$pid/task/$pid/schedstat"
		[[ ! " $* " == *" alive "* ]] || echo $i >"$dir/alive"
		[[ ! " $* " == *" silent "* ]] || echo 1 >"$dir/alive"
		kill -0 $watch 2>/dev/null || break
		kill -0 $pid 2>/dev/null || break
	done
	rm -rf "$TREE/proc/$pid"
	kill $pid 2>/dev/null
	wait $watch $pid 2>/dev/null
	RAN=$((10#$(<"$dir/clock")))
	STOPPED=$(cat "$dir/stopped" 2>/dev/null)
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

# Each in a process of its own, side by side: together they take as long as one.
results=()
begin() {		# NAME COMMAND...
	local name=$1
	shift
	results+=("$name")
	{ "$@" >"$SCRATCH/out.${#results[@]}" 2>&1; echo $? >"$SCRATCH/rc.${#results[@]}"; } &
}
begin "the clock of a guest that waits for nothing goes on" runs 2000 60000 0 0 alive started
begin "that of a guest that is kept waiting stands still" runs 0 1900 1000 0 silent started
begin "a guest that is kept waiting is not stopped by its limit" runs 0 1900 1000 2 alive started
begin "nor for giving no sign of life" runs 0 1900 1000 0 silent started
begin "a guest that takes longer than its limit is stopped" stops "did not end within 2 s" 0 2 alive started
begin "a guest that gives no sign of life is stopped" stops "no sign of life" 0 0 silent started
begin "a guest that does not start is stopped" stops "did not start" 0 0
begin "a guest that lives is not stopped" runs 2000 60000 0 60 alive started
wait
for i in "${!results[@]}"; do
	check "${results[$i]}" sh -c "cat '$SCRATCH/out.$((i + 1))'; exit \$(cat '$SCRATCH/rc.$((i + 1))')"
done
plan
