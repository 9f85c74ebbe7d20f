# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced by the lab's own tests: check NAME COMMAND... prints a line of KTAP, plan
# the number of them. The tests run on any machine; SCRATCH is a directory that goes
# when they end.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LAB_DIR=${HERE%/test}
SCRATCH=$(mktemp -d) || exit
trap 'rm -rf "$SCRATCH"' EXIT
# As on a machine that has none of the lab's variables set, and outside of any run.
unset DOORBELL_INNER ${!DOORBELL_@}
export LC_ALL=C
N=0 BAD=0

echo "TAP version 13"

check() {		# NAME COMMAND...
	local name=$1 out verdict=ok
	shift
	N=$((N + 1))
	if ! out=$("$@" 2>&1); then
		verdict="not ok"
		BAD=1
		[[ -z $out ]] || printf '%s\n' "$out" | head -n 80 | sed 's/^/# /'
	fi
	echo "$verdict $N $name"
}

plan() {
	echo "1..$N"
	exit $BAD
}

# says PATTERN COMMAND...: the command fails, and says so
says() {
	local pattern=$1 out
	shift
	if out=$("$@" 2>&1); then
		echo "it did not fail: $*"
		echo "$out"
		return 1
	fi
	grep -qE -- "$pattern" <<<"$out" || { echo "it does not say '$pattern' but: $out" && return 1; }
}
