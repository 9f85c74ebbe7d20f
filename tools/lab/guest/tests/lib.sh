# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced by the tests of the command line. Begins the report of the test.
#
# try COMMAND... runs a command that must succeed. fails COMMAND... runs one that must
# fail, and writes its messages to "stderr". result NAME reports the commands since the
# last result as one test, and names the first that went wrong.
. /doorbell/tools/lab/guest/report
. /doorbell/tools/lab/guest/limit
cd "$(mktemp -d)" || exit
WRONG=
KVM_WRITES=200
[[ $(uname -r) != *-debug ]] || KVM_WRITES=16

# A round of a steadiness run has a report of its own.
begin_report "${DOORBELL_REPORT:-cli_${0##*/}}"
trap end_report EXIT

try() {
	[[ -z $WRONG ]] || return
	"$@" 2>trouble && return
	WRONG="$*"
	[[ ! -s trouble ]] || WRONG+=": $(tail -n 3 trouble | tr '\n' ' ')"
}

fails() {
	[[ -z $WRONG ]] || return
	! "$@" 2>stderr || WRONG="$* did not fail"
}

# same TEXT TEXT: succeeds if the texts are equal
same() {
	[[ $1 == "$2" ]] || { echo "'$1' is not '$2'" >&2 && return 1; }
}

# exits STATUS COMMAND...: succeeds if the command exits with this status. Writes its messages to "stderr",
# and prints their end if it does not.
exits() {
	local expected=$1
	shift
	"$@" 2>stderr
	same $? "$expected" || { tail -n 2 stderr >&2 && return 1; }
}

# has FILE PATTERN [COUNT]: succeeds if COUNT lines of the file match, or at least one
has() {
	local n
	n=$(grep -cE -- "$2" "$1")
	[[ $n == "${3:-}" || -z ${3:-} && $n -gt 0 ]] ||
		{ echo "$n lines of $1 match '$2', not ${3:-1}; it has:" "$(tail -n 5 "$1")" >&2 && return 1; }
}

result() {
	[[ -z $WRONG ]] || note "failed: $WRONG"
	[[ -z $WRONG ]]
	report $? "$1"
	WRONG=
}

# built_by_lab: succeeds if the lab has built the kernel, with checks that Debian's kernels lack
built_by_lab() {
	[[ $(uname -r) == *-@(debug|cfi|kcsan) ]]
}

# Debian's PREEMPT_RT kernel has no KVM. A VM under KVM has it only if it can nest.
have_kvm() {
	[[ -e /dev/kvm || $(uname -m) == aarch64 ]] || { grep -q 'QEMU TCG' /proc/cpuinfo && [[ $(uname -r) != *-rt-* ]]; }
}

# only_on_x86 NAME...: on another architecture, reports these tests as skipped and ends
only_on_x86() {
	local name
	[[ $(uname -m) != x86_64 ]] || return
	for name; do
		skip "$name" "the code of its guest is for x86-64"
	done
	exit
}

# eventually COMMAND...: succeeds within 60 s of the guest's clock
eventually() {
	local start
	now_ms
	start=$NOW
	until "$@" 2>/dev/null; do
		sleep 0.1
		now_ms
		((NOW - start < 60000)) || { echo "still not so after 60 s: $*" >&2 && return 1; }
	done
}

# finish PID: waits for a background process of the test, so that none is left for the next
finish() {
	try wait "$1"
	kill "$1" 2>/dev/null
	wait "$1" 2>/dev/null
}
