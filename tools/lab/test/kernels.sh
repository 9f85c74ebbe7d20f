#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests make check-kernels with suites and builds that are not real: the kernels that it
# finds, the table, and the continuation after an interruption or a change. Prints KTAP.
. "$(dirname "$0")/lib.sh"
set -u
shopt -s nullglob

export DOORBELL_LAB=$SCRATCH/lab
SRC=$SCRATCH/src FLAVOUR=amd64 ARCH=amd64
mkdir -p "$SRC"/{rust,include,tools}
touch "$SRC"/{Kbuild,rust/doorbell.rs,include/doorbell.h,tools/rust-metadata,tools/check-kdir.sh}
for lib in common run enter versions setup kernels; do
	# shellcheck source=/dev/null
	. "$LAB_DIR/lib/$lib.sh"
done

setup_debootstrap() { :; }
setup_stage() { stage_begin "$1" "$2" "stage_$1" "${@:3}"; }

# The archive, as apt-cache madison prints it.
stage_suite() {
	local suite
	[[ $1 != "${OFFLINE:-}" ]] || return 1
	mkdir -p "$SUITES/$1"
	for suite in "${@:2}"; do
		case $suite in
		trixie-backports)
			madison "$suite" 7.2.12+deb13 7.3.4+deb13 7.2.6+deb13 ;;
		sid)	madison "$suite" 7.2.13+deb14 ;;
		experimental)
			madison "$suite" 7.3-rc7 6.19.2 ;;
		esac
	done >"$SUITES/$1/kernels"
	echo "${COMPILERS:-1.85.1}" >"$SUITES/$1/compilers"
}

madison() {		# SUITE RELEASE...
	local v suffix
	for v in "${@:2}"; do
		for suffix in amd64 cloud-amd64 common rt-amd64; do
			echo " linux-headers-$v-$suffix | $v-${REVISION:-1} | http://debian $1/main amd64 Packages"
		done
	done
}

# Builds fail for 7.3-rc7, and stop without a result for BROKEN.
stage_module() {
	echo "$1 $2 $3" >>"$SCRATCH/builds"
	[[ $3 != "${BROKEN:-}" ]] || return 1
	{
		result_key "$1" "$3"
		echo 1.85.1
		if [[ $3 == 7.3-rc7* ]]; then
			printf 'fails\nerror[E0599]: %s\n' "$(printf 'no method named x %.0s' 1 2 3 4 5 6 7 8 9)"
		else
			echo builds
		fi
	} >"$SUITES/$2_$3"
}

# kernels LINES [PATTERN...]: checks all kernels; succeeds if these are built, in this order
kernels() {
	local lines=$1
	shift
	: >"$SCRATCH/builds"
	(check_kernels "$@") >"$SCRATCH/table" 2>"$SCRATCH/messages"
	RC=$?
	diff <(printf '%s' "${lines:+$lines$'\n'}") "$SCRATCH/builds"
}

BACKPORTS='trixie trixie-backports 7.2.6+deb13-amd64
trixie trixie-backports 7.2.12+deb13-amd64
trixie trixie-backports 7.3.4+deb13-amd64'
OTHERS='sid sid 7.2.13+deb14-amd64
sid experimental 7.3-rc7-amd64'

all() {
	kernels "$BACKPORTS
$OTHERS" && ((RC == 0)) || return
	diff - <(cut -c1-60 "$SCRATCH/table") <<-TABLE
	version                   suite             rustc    result
	7.2.6+deb13-amd64         trixie-backports  1.85.1   builds
	7.2.12+deb13-amd64        trixie-backports  1.85.1   builds
	7.3.4+deb13-amd64         trixie-backports  1.85.1   builds
	7.2.13+deb14-amd64        sid               1.85.1   builds
	7.3-rc7-amd64             experimental      1.85.1   fails
	  error[E0599]: no method named x no method named x no metho
	TABLE
	! grep -E '.{81}' "$SCRATCH/table"
}

again() {
	kernels "" && grep -q '^lab: 3 of 5: 7.3.4+deb13-amd64 (trixie-backports): built before' "$SCRATCH/messages" &&
		grep -q '^7.3-rc7-amd64 .* fails$' "$SCRATCH/table"
}

changed() {
	echo changed >>"$SRC/rust/doorbell.rs"
	kernels "$BACKPORTS" trixie-backports
}

changed_compiler() {
	COMPILERS=1.86.0 kernels "$BACKPORTS" trixie-backports && COMPILERS=1.86.0 kernels "" trixie-backports
}

changed_kernel() {
	REVISION=2 kernels "$BACKPORTS" trixie-backports && REVISION=2 kernels "" trixie-backports
}

interrupted() {
	echo again >>"$SRC/rust/doorbell.rs"
	BROKEN=7.2.12+deb13-amd64 kernels "$BACKPORTS" trixie-backports
	((RC != 0)) && grep -q '^7.2.12.* not built$' "$SCRATCH/table" &&
		kernels "$(sed -n 2p <<<"$BACKPORTS")" trixie-backports && ((RC == 0))
}

offline() {
	echo offline >>"$SRC/rust/doorbell.rs"
	OFFLINE=sid kernels "$BACKPORTS"
	((RC != 0)) && grep -q 'left out: sid experimental' "$SCRATCH/messages" && kernels "$OTHERS" && ((RC == 0))
}

pattern() {
	echo pattern >>"$SRC/rust/doorbell.rs"
	kernels "$(sed -n 3p <<<"$BACKPORTS")
$(sed -n 2p <<<"$OTHERS")" '7.3*' && [[ $(wc -l <"$SCRATCH/table") == 4 ]]
}

# None of the suites is left out.
no_match() {
	kernels "" '7.9*' && ((RC != 0)) && [[ ! -s $SCRATCH/table ]] &&
		grep -q "no kernel is called 7.9\*" "$SCRATCH/messages" && grep -q "there are: 7.2.6+deb13-amd64 " "$SCRATCH/messages"
}

realtime() {
	local FLAVOUR=rt
	kernels "$(sed 's/amd64$/rt-amd64/' <<<"$BACKPORTS")" trixie-backports
}

# A small disk is enough for the rest, but not for another tree.
space() {
	free_mb() { echo 1500; }
	kernels "" && ((RC == 0)) || return
	mv "$SUITES/sid" "$SCRATCH/"
	kernels "" && ((RC != 0)) && grep -q '1500 MB are free' "$SCRATCH/messages"
	local rc=$?
	mv "$SCRATCH/sid" "$SUITES/"
	return $rc
}

# reason LINE: succeeds if this line of a log is the first error
reason() {
	[[ $(first_error "$SCRATCH/log") == "$1" ]] || { first_error "$SCRATCH/log" && return 1; }
}

rust_error() {
	printf '  RUSTC\nwarning: x\nerror[E0432]: unresolved import\nerror: aborting\n' >"$SCRATCH/log"
	reason 'error[E0432]: unresolved import'
}

c_error() {
	printf '  CC rust/bindings/helpers.o\nhelpers.c:3:1: error: implicit declaration\nmake: *** Error 2\n' >"$SCRATCH/log"
	reason 'helpers.c:3:1: error: implicit declaration'
}

metadata_error() {
	printf 'rust-metadata: The Rust compiler must be the one\n\tkernel: rustc 1\n' >"$SCRATCH/log"
	reason 'rust-metadata: The Rust compiler must be the one'
}

other_error() {
	printf 'one\ntwo\n\n' >"$SCRATCH/log"
	reason two
}

check "each kernel of each suite is built, and the table has its result" all
check "a kernel is not built again" again
check "a change of the module builds again, a pattern limits it to a suite" changed
check "another compiler of the suite builds again" changed_compiler
check "another revision of the kernel builds again" changed_kernel
check "after an interruption the rest is built" interrupted
check "a suite that cannot be set up is left out, and the run fails" offline
check "only a missing tree needs much space" space
check "a pattern limits it to versions" pattern
check "a pattern that matches none is an error" no_match
check "FLAVOUR=rt builds for those with PREEMPT_RT" realtime
check "the first error of rustc" rust_error
check "the first error of gcc" c_error
check "the first error of the metadata" metadata_error
check "the last line, if there is no error" other_error
plan
