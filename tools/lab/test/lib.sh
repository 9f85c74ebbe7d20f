# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced by the lab's own tests. check NAME COMMAND... prints a result as KTAP, plan
# prints their number. The tests run on any machine. SCRATCH is a directory that is
# removed at the end.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LAB_DIR=${HERE%/test}
SCRATCH=$(mktemp -d) || exit
trap 'rm -rf "$SCRATCH"' EXIT
# Unsets the variables of the lab and of a run around the tests.
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

# says PATTERN COMMAND...: succeeds if the command fails and prints PATTERN
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
