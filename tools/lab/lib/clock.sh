# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# A guest's clock, and the limits that are measured by it.
#
# A limit in seconds of the host turns a busy host into failures. The clock of a
# guest stands still while the host keeps the guest from running: in each interval
# it goes on by the time that passed, less the longest time that one thread of QEMU
# waited for a CPU (/proc/PID/task/TID/schedstat), less the time that the machine
# itself was kept waiting (steal). The file "clock" in the guest's directory has it
# in milliseconds; tests in the guest read it from there.

# A guest that gives no sign of life for that long is dead. It gives one every five
# seconds, in the file "alive".
ALIVE_LIMIT=180
# A guest that boots prints something more often than that.
BOOT_LIMIT=60

# steal_us: microseconds that this machine's CPUs were kept waiting, per CPU
steal_us() {
	local cpu user nice system idle iowait irq softirq steal rest
	read -r cpu user nice system idle iowait irq softirq steal rest </proc/stat
	echo $((${steal:-0} * 10000 / NPROC))
}

# watch_guest DIRECTORY LIMIT: keeps the clock of the guest whose QEMU has left its
# pid there, and stops the guest if it is dead, or after LIMIT seconds if that is
# not 0. The reason is left in "stopped", unless the guest had not started yet.
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
		# The machine slept, or its clock was set.
		((passed < 0)) && passed=0
		((passed > 5000000)) && passed=5000000
		# What a thread has waited for counts when it is through: it may be more
		# than the last interval.
		((debt += worst / 1000 + steal - steal_last))
		last=$now steal_last=$steal
		if ((debt >= passed)); then
			((debt -= passed, passed = 0))
		else
			((passed -= debt, debt = 0))
		fi
		((clock += passed / 1000))
		# In place: a reader finds the old number or the new one.
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
	# One that does not even start is not stopped: it has died.
	[[ $boot ]] || echo "$why" >"$dir/stopped"
	kill "$pid"
	sleep 3
	[[ ! -e $proc/stat ]] || kill -KILL "$pid"
}
