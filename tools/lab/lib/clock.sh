# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The clock of a guest, and time limits that use it.
#
# With limits in seconds of the host, tests would fail on a busy host. The clock of a
# guest stops while the host does not run the guest. It advances by the elapsed time,
# minus the longest wait of a QEMU thread for a CPU (/proc/PID/task/TID/schedstat),
# minus the steal time of this machine. The file "clock" in the guest's directory has
# the milliseconds; tests in the guest read it.

# A guest is dead if it does not write the file "alive" for this time. It writes it
# every five seconds.
ALIVE_LIMIT=180
# A guest is dead if it prints nothing for this time during boot.
BOOT_LIMIT=60

# steal_us: prints the steal time of this machine in microseconds per CPU
steal_us() {
	local cpu user nice system idle iowait irq softirq steal rest
	read -r cpu user nice system idle iowait irq softirq steal rest </proc/stat
	echo $((${steal:-0} * 10000 / NPROC))
}

# watch_guest DIRECTORY LIMIT: updates the clock of the guest whose qemu.pid is there.
# Stops the guest if it is dead, or after LIMIT seconds if that is not 0. Writes the
# reason to "stopped", unless the guest has not started yet.
watch_guest() {
	local dir=$1 limit=$2 pid proc stat total waited worst now last passed debt=0 clock=0
	local steal steal_last alive alive_last= alive_clock=0 why= boot=
	local -A seen=()
	printf '%012d\n' 0 >"$dir/clock"
	until [[ -s $dir/qemu.pid ]]; do
		sleep 0.1
	done
	read -r pid <"$dir/qemu.pid"
	proc=$TREE/proc/$pid
	last=${EPOCHREALTIME/./}
	steal_last=$(steal_us)
	while [[ -e $proc/stat ]]; do
		sleep 1
		worst=0
		for stat in "$proc"/task/*/schedstat; do
			read -r _ total _ 2>/dev/null <"$stat" || continue
			waited=$((total - ${seen[$stat]:-0}))
			((waited > worst)) && worst=$waited
			seen[$stat]=$total
		done
		now=${EPOCHREALTIME/./} steal=$(steal_us)
		passed=$((now - last))
		# The machine was suspended, or its clock was set.
		((passed < 0)) && passed=0
		((passed > 5000000)) && passed=5000000
		# schedstat counts a wait at its end. A wait can be longer than the interval.
		((debt += worst / 1000 + steal - steal_last))
		last=$now steal_last=$steal
		if ((debt >= passed)); then
			((debt -= passed, passed = 0))
		else
			((passed -= debt, debt = 0))
		fi
		((clock += passed / 1000))
		# A write in place: a reader sees the old number or the new one.
		printf '%012d\n' "$clock" 1<>"$dir/clock"

		if ((limit && clock >= limit * 1000)); then
			why="it did not end within $limit s of its own time (DOORBELL_TIMEOUT)"
		elif [[ ! -e $dir/started ]]; then
			alive=$(stat -c %s "$dir/console.log" 2>/dev/null)
			[[ $alive == "$alive_last" ]] || alive_last=$alive alive_clock=$clock
			((clock - alive_clock < BOOT_LIMIT * 1000)) || boot=1 why="it hangs"
		elif [[ -e $dir/alive ]]; then
			alive=$(<"$dir/alive")
			[[ $alive == "$alive_last" ]] || alive_last=$alive alive_clock=$clock
			((clock - alive_clock < ALIVE_LIMIT * 1000)) ||
				why="it gave no sign of life for $ALIVE_LIMIT s"
		fi
		[[ -z $why ]] || break
	done
	[[ -n $why ]] || return
	# A guest that has not started counts as died, not as stopped.
	[[ $boot ]] || echo "$why" >"$dir/stopped"
	kill "$pid"
	sleep 3
	[[ ! -e $proc/stat ]] || kill -KILL "$pid"
}
