# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced by the tests of the command line: begins the report of the test.
#
# try COMMAND... runs a command that must succeed, fails COMMAND... one that must not,
# and leaves what it said in "stderr";
# result NAME reports whether all of them since the last result did, and names the
# first that did not.
. /doorbell/tools/lab/guest/report
. /doorbell/tools/lab/guest/limit
cd "$(mktemp -d)" || exit
WRONG=
KVM_WRITES=200
[[ $(uname -r) != *-debug ]] || KVM_WRITES=16

begin_report "cli_${0##*/}"
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

# same TEXT TEXT
same() {
	[[ $1 == "$2" ]] || { echo "'$1' is not '$2'" >&2 && return 1; }
}

# has FILE PATTERN [COUNT]: so many lines of the file match, or at least one
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

# Debian's kernel with PREEMPT_RT has no KVM; a VM that is not emulated may have none.
have_kvm() {
	[[ -e /dev/kvm ]] || { grep -q 'QEMU TCG' /proc/cpuinfo && [[ $(uname -r) != *-rt-* ]]; }
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

# No test may go on with a process of the one before it.
finish() {
	try wait "$1"
	kill "$1" 2>/dev/null
	wait "$1" 2>/dev/null
}
