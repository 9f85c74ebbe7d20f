# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Chooses versions of what Debian's archive has. The archive moves: a version that is known
# to work goes before a newer one that has not been tried.

KNOWN_VERSIONS=$LAB_DIR/known-versions

# is_from_source: succeeds if the lab builds this kernel itself, from small.config and
# FLAVOUR.config. The version of such a kernel ends in the name of the flavour.
is_from_source() {
	[[ $FLAVOUR == @(debug|cfi|kcsan) ]]
}

# is_known kernel|QEMU VERSION: succeeds if tools/lab/known-versions has it. A kernel there
# stands for its flavours: "7.3.4+deb13" for 7.3.4+deb13-rt-amd64, 7.3.4-debug, 7.3.4-cfi and
# 7.3.4-kcsan.
is_known() {
	local kind known
	while read -r kind known; do
		case $kind:$2 in
		QEMU:"$known")				;;
		kernel:"$known"-* | kernel:"${known%%+*}"-debug | kernel:"${known%%+*}"-cfi | \
		kernel:"${known%%+*}"-kcsan) ;;
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

# series_of VERSION: prints its series: 7.3 for 7.3.4+deb13-amd64
series_of() {
	[[ $1 =~ ^[0-9]+\.[0-9]+ ]] && echo "${BASH_REMATCH[0]}"
}

# known_series: prints the series of the known kernels that the flavour can have, the newest
# first
known_series() {
	local kind v start
	start=$(kernel_series)
	while read -r kind v; do
		[[ $kind != kernel || $v != "$start"* ]] || series_of "$v"
	done <"$KNOWN_VERSIONS" | sort -Vru
}

# choose_release: reads kernels, the newest last, and prints the best one of the newest known
# series that is there. A known release of an older series does not go before an untried one,
# and a series that is not known comes last: it probably needs changes to the module.
choose_release() {
	local found series versions
	found=$(cat)
	for series in $(known_series); do
		versions=$(grep -E "^${series//./\\.}[^0-9]" <<<"$found") || continue
		choose_version kernel <<<"$versions"
		return
	done
	choose_version kernel <<<"$found"
}

# kernel_series: prints the start of the versions that the flavour can have
kernel_series() {
	[[ $FLAVOUR == 7.2 ]] && echo 7.2. || echo 7.
}

# choose_kernel DEFAULT: reads the lines of "apt-cache search" for linux-headers-*, and prints
# the version for this flavour. The flavours rt, debug, cfi, kcsan, arm64 and 16k have the version
# DEFAULT, that of the default flavour, if the archive still has it.
choose_kernel() {
	local found v same=none suffix=$ARCH series
	[[ $FLAVOUR != rt ]] || suffix=rt-amd64
	[[ $FLAVOUR != 16k ]] || suffix=arm64-16k
	series=$(kernel_series)
	found=$(sed -nE "s/^linux-headers-(${series//./\\.}[0-9.]+\+deb13-$suffix) .*/\1/p" | sort -V)
	case $FLAVOUR in
	rt | debug | cfi | kcsan | arm64 | 16k) same=${1%-amd64}-$suffix ;;
	esac
	v=$(grep -xF -e "$same" <<<"$found" || choose_release <<<"$found")
	! is_from_source || [[ -z $v ]] || v=${v%%+*}-$FLAVOUR
	echo "$v"
}

# report_choice kernel|QEMU VERSION: prints a note if the version is not known, or is of an
# older series than others that are
report_choice() {
	local newest=''
	[[ $1 != kernel ]] || newest=$(known_series | head -n 1)
	if [[ $newest && $(series_of "$2") != "$newest" ]]; then
		say "trying the kernel $2: the archive has none of Linux $newest, the newest in tools/lab/known-versions"
	elif ! is_known "$1" "$2"; then
		say "trying the $1 $2: it is not in tools/lab/known-versions, and the archive has none${newest:+ of Linux $newest} that is"
	fi
}
