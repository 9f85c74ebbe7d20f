# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Chooses versions of what Debian's archive has. The archive moves: a version that is known
# to work goes before a newer one that has not been tried.

KNOWN_VERSIONS=$LAB_DIR/known-versions

# is_known kernel|QEMU VERSION: succeeds if tools/lab/known-versions has it. A kernel there
# stands for its flavours: "7.3.4+deb13" for 7.3.4+deb13-rt-amd64 and 7.3.4-debug.
is_known() {
	local kind known
	while read -r kind known; do
		case $kind:$2 in
		QEMU:"$known")				;;
		kernel:"$known"-* | kernel:"${known%%+*}"-debug) ;;
		*)	continue ;;
		esac
		[[ $kind != "$1" ]] || return 0
	done < <(grep -v '^#' "$KNOWN_VERSIONS")
	return 1
}

# choose_version kernel|QEMU: reads versions, the newest last, and prints the newest known
# one. If none is known, prints the newest.
choose_version() {
	local v newest='' known=''
	while read -r v; do
		[[ -n $v ]] || continue
		newest=$v
		! is_known "$1" "$v" || known=$v
	done
	echo "${known:-$newest}"
}

# kernel_series: prints the start of the versions that the flavour can have
kernel_series() {
	[[ $FLAVOUR == 7.2 ]] && echo 7.2. || echo 7.
}

# choose_kernel DEFAULT: reads the lines of "apt-cache search" for linux-headers-*, and prints
# the version for this flavour. The flavours rt, debug and arm64 have the version DEFAULT,
# that of the default flavour, if the archive still has it.
choose_kernel() {
	local found v same=none suffix=$ARCH series
	[[ $FLAVOUR != rt ]] || suffix=rt-amd64
	series=$(kernel_series)
	found=$(sed -nE "s/^linux-headers-(${series//./\\.}[0-9.]+\+deb13-$suffix) .*/\1/p" | sort -V)
	case $FLAVOUR in
	rt | debug | arm64) same=${1%-amd64}-$suffix ;;
	esac
	v=$(grep -xF -e "$same" <<<"$found" || choose_version kernel <<<"$found")
	[[ $FLAVOUR != debug || -z $v ]] || v=${v%%+*}-debug
	echo "$v"
}

# report_unknown kernel|QEMU VERSION: prints a note if the version is not known
report_unknown() {
	is_known "$1" "$2" ||
		say "trying the $1 $2: it is not in tools/lab/known-versions, and the archive has none of those"
}
