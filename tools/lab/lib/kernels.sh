# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# make check-kernels: builds the module for each kernel with Rust that Debian's suites have
# today, with the compilers of the suite and with Rust metadata as dkms makes it. It boots
# none of them.
#
#	suites/TREE		a Debian with the compilers of a suite
#	suites/SUITE_VERSION	the result of a kernel: the hash of all that it depends on,
#				the rustc, the verdict and the first error, a line each

SUITES=$LAB/suites

# TREE:SUITE...: the release that debootstrap makes, and the suites whose kernels it builds.
SUITE_TREES=(trixie:trixie-backports "sid:sid experimental")

# More packages for a tree. The headers depend on their gcc.
SUITE_PACKAGES=(rustc rust-src bindgen make kmod pahole python3 xz-utils)

# suite_sources TREE SUITE...: prints the sources of apt
suite_sources() {
	printf "deb $MIRROR %s main\n" "$@" | sort -u
}

# Makes a tree, or updates it.
stage_suite() {
	local tree=$SUITES/$1
	shift
	if [[ ! -d $tree ]]; then
		remove "$tree.tmp"
		debootstrap --variant=minbase --include=ca-certificates "${tree##*/}" "$tree.tmp" "$MIRROR" || return
		printf '#!/bin/sh\nexit 101\n' >"$tree.tmp/usr/sbin/policy-rc.d"
		chmod +x "$tree.tmp/usr/sbin/policy-rc.d"
		cat >"$tree.tmp/etc/apt/apt.conf.d/90doorbell" <<-CONF
		APT::Install-Recommends "false";
		Acquire::Retries "3";
		Acquire::Languages "none";
		Dpkg::Options { "--force-unsafe-io"; };
		CONF
		mkdir "$tree.tmp/doorbell" "$tree.tmp/build"
		mv "$tree.tmp" "$tree"
	fi
	suite_sources "${tree##*/}" "$@" >"$tree/etc/apt/sources.list"
	# The lists of sid are valid for a week, and a mirror may be older. It is signed all the same.
	mount_tree "$tree" rw && host_files "$tree" &&
		in_tree "$tree" apt-get -q -o Acquire::Check-Valid-Until=false update --error-on=any &&
		in_tree "$tree" sh -c 'dpkg --configure -a && apt-get -q install -f -y "$@" && apt-get -q clean' sh "${SUITE_PACKAGES[@]}" &&
		in_tree "$tree" sh -c 'rustc --version && bindgen --version' >"$tree/compilers" &&
		in_tree "$tree" sh -c 'apt-cache madison $(apt-cache pkgnames linux-headers-7)' >"$tree/kernels"
}

# list_kernels SUITE: reads what "apt-cache madison" prints for the headers, and prints the
# names of this suite's kernels for the flavour, the oldest first
list_kernels() {
	local suffix=amd64
	[[ $FLAVOUR != rt ]] || suffix=rt-amd64
	awk -v suite="$1/" 'index($6, suite) == 1 { print $1 }' |
		sed -nE "s/^linux-headers-(7\.[-0-9.~+]+(rc[0-9]+)?([-+]deb[0-9]+)?-$suffix)\$/\1/p" | sort -Vu
}

# module_hash: prints a hash of all that a build of the module reads
module_hash() {
	(cd "$SRC" && find Kbuild rust include tools/rust-metadata tools/check-kdir.sh -type f ! -name '.*' ! -name '*.o' ! -name '*generated*' |
		sort | xargs sha256sum) | sha
}

# result_key TREE VERSION: prints a hash of the module, the compilers and the kernel's package
result_key() {
	{
		module_hash
		cat "$SUITES/$1/compilers"
		grep -F " linux-headers-$2 " "$SUITES/$1/kernels"
	} | sha
}

# first_error LOG: prints the first line that says why a build failed
first_error() {
	grep -m 1 -E '(^|[^a-z_])(error(\[E[0-9]+\])?:|fatal error:)|^rust-metadata: |^E: ' "$1" || grep -v '^$' "$1" | tail -n 1
}

# The log of a stage has what the kernel's build prints; its result is a file.
stage_module() {
	local tree=$SUITES/$1 suite=$2 v=$3 out rustc verdict
	out=$SUITES/${suite}_$v
	mount_tree "$tree" rw && host_files "$tree" && bind_ro "$SRC" "$tree/doorbell" || return
	rm -rf "$tree"/build/*
	# In the tree: the name of the package and its version are those of its archive.
	in_tree "$tree" env V="$v" sh -c '
		apt-get -q install -y "linux-headers-$V" && apt-get -q clean' || { echo "apt failed" && return 1; }
	rustc=$(sed -n 's/^CONFIG_RUSTC_VERSION_TEXT="rustc \([0-9.]*\).*/\1/p' "$tree/usr/src/linux-headers-$v/.config")
	if ! grep -qx CONFIG_RUST=y "$tree/usr/src/linux-headers-$v/.config"; then
		verdict="no Rust"
	elif ! kernel_files "$tree" "$v"; then
		return 1
	elif build_for_kernel "$tree" "$v"; then
		verdict=builds
	else
		verdict=fails
	fi
	{
		result_key "$1" "$v"
		echo "${rustc:--}"
		echo "$verdict"
		[[ $verdict != fails ]] || first_error "$tree/build/log"
	} >"$out.tmp"
	rm -rf "$tree"/build/*
	# The kernel's packages are not needed any more.
	in_tree "$tree" sh -c 'apt-get -q purge -y "linux-headers-*" "linux-kbuild-*" >/dev/null'
	mv "$out.tmp" "$out"
}

# build_for_kernel TREE VERSION: makes the metadata and builds the module; the log is a file
build_for_kernel() {
	local tree=$1 v=$2
	in_tree "$tree" sh -c 'sh /doorbell/tools/rust-metadata "$0" /build/source /build/kdir &&
		sh /doorbell/tools/check-kdir.sh build /build/kdir rustc bindgen &&
		mkdir /build/module && make -C /build/kdir M=/doorbell MO=/build/module -j"$(nproc)" modules' \
		"/usr/src/linux-headers-$v" 2>&1 | tee "$tree/build/log"
	((PIPESTATUS[0] == 0)) && [[ -s $tree/build/module/doorbell.ko ]]
}

# kernel_files TREE VERSION: downloads the source of a kernel and unpacks what the metadata
# is made from
kernel_files() {
	local tree=$1 v=$2
	in_tree "$tree" env -C /build V="$v" sh -c '
		version=$(dpkg-query -W -f "\${Version}" "linux-headers-$V") &&
		source=linux-source-$(echo "$V" | sed -E "s/^([0-9]+\.[0-9]+).*/\1/") &&
		apt-get -q download "$source=$version" && dpkg-deb -x "$source"_*.deb deb && rm "$source"_*.deb && mkdir source &&
		tar -C source --strip-components=1 -xJf "deb/usr/src/$source.tar.xz" \
			"$source/rust" "$source/drivers/base" "$source/drivers/android" "$source/scripts" "$source/Makefile" &&
		rm -rf deb'
}

# has_result TREE SUITE VERSION: succeeds if the result of the kernel is still valid
has_result() {
	[[ $(head -n 1 "$SUITES/$2_$3" 2>/dev/null) == "$(result_key "$1" "$3")" ]]
}

# print_kernels: reads lines "TREE SUITE VERSION" and prints the table
print_kernels() {
	local tree suite v rustc verdict error
	printf '%-26s%-18s%-9s%s\n' version suite rustc result
	while read -r tree suite v; do
		rustc=- verdict="not built" error=''
		if has_result "$tree" "$suite" "$v"; then
			{ read -r _ && read -r rustc && read -r verdict && read -r error; } <"$SUITES/${suite}_$v"
		fi
		printf '%-26s%-18s%-9s%s\n' "$v" "$suite" "$rustc" "$verdict"
		[[ -z $error ]] || printf '  %.78s\n' "$error"
	done
}

# matches SUITE VERSION: succeeds if a pattern matches one of them, or if there is none
matches() {
	local pattern
	((${#PATTERNS[@]})) || return 0
	for pattern in "${PATTERNS[@]}"; do
		# shellcheck disable=SC2053 # A pattern.
		[[ $1 != $pattern && $2 != $pattern ]] || return 0
	done
	return 1
}

# wants_suite SUITE...: fails if all patterns are names of other suites
wants_suite() {
	local pattern
	((${#PATTERNS[@]})) || return 0
	for pattern in "${PATTERNS[@]}"; do
		[[ " ${SUITE_TREES[*]#*:} " == *" $pattern "* && " $* " != *" $pattern "* ]] || return 0
	done
	return 1
}

# have_suites: succeeds if no tree of a suite is missing
have_suites() {
	local entry
	for entry in "${SUITE_TREES[@]}"; do
		[[ -d $SUITES/${entry%%:*} ]] || return
	done
}

# check_kernels [PATTERN...]: builds for all kernels, or for those whose version or suite
# matches
check_kernels() {
	local entry suite v tree at=0 rc=0 kernels=() wanted=()
	PATTERNS=("$@")
	lock_lab shared
	lock_file "$LAB/suites-lock" exclusive
	if have_suites; then
		need_space 1000 "the headers of a kernel"
	else
		need_space 5000 "the Debian of each suite"
	fi
	setup_debootstrap
	mkdir -p "$SUITES"
	for entry in "${SUITE_TREES[@]}"; do
		tree=${entry%%:*}
		# shellcheck disable=SC2086 # Several suites.
		wants_suite ${entry#*:} || continue
		# shellcheck disable=SC2086
		setup_stage suite "packages of $tree" "$tree" ${entry#*:}
		if ! KEEP_GOING=1 stage_wait; then
			say "left out: ${entry#*:}"
			rc=1
			continue
		fi
		for suite in ${entry#*:}; do
			while read -r v; do
				kernels+=("$tree $suite $v")
			done < <(list_kernels "$suite" <"$SUITES/$tree/kernels")
		done
	done
	for entry in "${kernels[@]}"; do
		read -r tree suite v <<<"$entry"
		at=$((at + 1))
		matches "$suite" "$v" || continue
		if has_result "$tree" "$suite" "$v"; then
			say "$at of ${#kernels[@]}: $v ($suite): built before"
			continue
		fi
		setup_stage module "$at of ${#kernels[@]}: $v ($suite)" "$tree" "$suite" "$v"
		KEEP_GOING=1 stage_wait || rc=1
		[[ ! -s $LOGS/module.log ]] || cp "$LOGS/module.log" "$LOGS/module-$suite-$v.log"
	done
	for entry in "${kernels[@]}"; do
		read -r tree suite v <<<"$entry"
		! matches "$suite" "$v" || wanted+=("$entry")
	done
	((${#wanted[@]} || rc)) || die "no kernel is called ${PATTERNS[*]}" "there are: ${kernels[*]##* }"
	for entry in "${wanted[@]}"; do
		echo "$entry"
	done | print_kernels
	return $rc
}
