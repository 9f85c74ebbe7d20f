#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests when the lab uses KVM, and when it tries KVM again. A function replaces QEMU, a fake /proc has the
# waits of its thread for a CPU, and time is simulated.
# shellcheck disable=SC1091,SC2034,SC2317 # the fakes are for sourced code
. "$(dirname "$0")/lib.sh"
shopt -s nullglob

SRC=${LAB_DIR%/tools/lab} FLAVOUR=amd64 ARCH=amd64 NPROC=1
LAB=$SCRATCH/lab RUN=$SCRATCH/run BUILD=$SCRATCH/build TREE=$SCRATCH/tree PROC=$SCRATCH/tree/proc/42 VMLINUZ=vmlinuz
mkdir -p "$LAB" "$RUN"
for lib in clock versions guest; do
	# shellcheck source=/dev/null
	. "$LAB_DIR/lib/$lib.sh"
done
# It has the patterns of the kernel log.
BAD=0
say() { echo "$*" >>"$SCRATCH/messages"; }
kernel_version() { echo 7.3; }
kernel_dir() { echo "$SCRATCH"; }
steal_us() { echo 0; }
unset EPOCHREALTIME
EPOCHREALTIME=1000.000000
has_kvm() { [[ $KVM_EXISTS ]]; }

# The guest boots after BOOTS seconds of the host, in each of which its thread waits WAITS ms for a CPU. Without
# BOOTS, QEMU fails.
in_tree() {
	echo 42 >"$RUN/probe/qemu.pid"
	echo boot >>"$SCRATCH/boots"
	[[ $BOOTS ]] || return 1
	until ((SECONDS_OF_HOST >= BOOTS)); do
		read -r SECONDS_OF_HOST 2>/dev/null <"$SCRATCH/seconds"
		[[ -e $PROC/stat ]] || return 143
		command sleep 0.01
	done
	: >"$RUN/probe/started"
	echo 0 >"$RUN/probe/status"
	rm -rf "$PROC"
}

# Each second of watch_guest.
sleep() {
	[[ $1 == 1 ]] || { command sleep 0.01 && return; }
	EPOCHREALTIME=$((1000 + ++TICKS)).000000
	[[ ! -d $PROC/task/42 ]] || echo "0 $((TICKS * WAITS * 1000000)) 0" >"$PROC/task/42/schedstat"
	echo $TICKS >"$SCRATCH/seconds.new" && mv "$SCRATCH/seconds.new" "$SCRATCH/seconds"
	command sleep 0.01
}

# The watch's own end is a process.
kill() {
	if [[ $* == *42 ]]; then
		rm -rf "$PROC"
	else
		builtin kill "$@"
	fi
}

# finds ACCELERATOR BOOTS [VARIABLE=VALUE...]: succeeds if a run uses this accelerator after as many boots
finds() (
	TICKS=0 SECONDS_OF_HOST=0 KVM_EXISTS=1 BOOTS=3 WAITS=0
	local "${@:3}"
	rm -f "$SCRATCH/seconds"
	: >"$SCRATCH/boots"
	: >"$SCRATCH/messages"
	mkdir -p "$PROC/task/42"
	: >"$PROC/stat"
	echo "0 0 0" >"$PROC/task/42/schedstat"
	find_accelerator
	[[ $ACCEL == "$1" && $(wc -l <"$SCRATCH/boots") == "$2" ]] ||
		{ echo "$ACCEL after $(wc -l <"$SCRATCH/boots") boots" && cat "$SCRATCH/messages" && return 1; }
)

# anew ...: the same on a host that has not tried it
anew() {
	rm -f "$LAB/accel"
	finds "$@"
}

after_a_boot() {
	echo "other-boot tcg" >"$LAB/accel"
	finds kvm 1
}

check "without KVM the lab emulates, and tries nothing" anew tcg 0 KVM_EXISTS=
check "KVM that comes later is tried" finds kvm 1
check "once" finds kvm 0
check "after the host's next boot it is tried again" after_a_boot
check "a guest on a busy host has more time" anew kvm 1 BOOTS=100 WAITS=900
check "one that hangs, or is as slow without that, has not" anew tcg 1 BOOTS=100
check "and is not tried again" finds tcg 0
check "QEMU that fails is started once more" anew tcg 2 BOOTS=
check "and then not again" finds tcg 0
check "an accelerator that is named is not tried" anew icount 0 DOORBELL_ACCEL=icount
plan
