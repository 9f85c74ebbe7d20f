# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# A second QEMU, newer than the tree's, for the test that needs vfio-user-pci. Guests see its
# directory as /opt. All else uses the tree's QEMU, and the lab works without this one.
#
#	qemu/RECIPE/usr		the program and its firmware
#	qemu/RECIPE/version	the version of its package
#	qemu/RECIPE/missing	why there is no program: the archive has none that works
#	qemu/RECIPE.failed	why the last attempt failed; the next one may succeed
#	qemu/RECIPE.lock	shared by the runs that use it

# They use the libraries of the tree. A package that trixie-backports lacks comes from trixie.
QEMU_PACKAGES=(qemu-system-x86 qemu-system-data seabios)

# The test that needs it.
QEMU_TEST=cli_vfio_user

# The space that the set-up takes, in megabytes.
QEMU_SPACE=150

qemu_recipe() {
	{ tree_recipe && echo "${QEMU_PACKAGES[*]}" && declare -f stage_qemu unpack_qemu probe_qemu; } | sha
}

# An incomplete one has another name.
have_qemu() {
	[[ -d $QEMU ]]
}

# tried_today: succeeds if an attempt has failed in the last 24 hours
tried_today() {
	[[ -n $(find "$QEMU.failed" -mmin -1440 2>/dev/null) ]]
}

# setup_qemu [again]: sets the second QEMU up. It tries once a day, or now with "again". A
# failure does not end the run.
setup_qemu() {
	[[ $ARCH != amd64 ]] || have_qemu && return
	[[ ${1:-} == again ]] || ! tried_today || return 0
	mkdir -p "${QEMU%/*}" || return 0
	lock_file "$LAB/qemu-lock" exclusive
	if ! have_qemu; then
		if try_qemu; then
			rm -f "$QEMU.failed"
			touch "$QEMU.lock"
			remove_unused_qemus
		else
			say "no second QEMU: $(<"$QEMU.failed"); $QEMU_TEST is skipped, all else works; make lab tries again"
		fi
	fi
	unlock_file "$LAB/qemu-lock"
	return 0
}

# try_qemu: sets the second QEMU up, or writes to "failed" why not
try_qemu() {
	local free
	free=$(free_mb)
	if ((free < QEMU_SPACE)); then
		echo "$free MB are free in $LAB, and it takes $QEMU_SPACE" >"$QEMU.failed"
		return 1
	fi
	setup_stage qemu "QEMU of backports"
	if KEEP_GOING=1 stage_wait; then
		[[ -s $QEMU/missing ]] || report_choice QEMU "$(cat "$QEMU/version")"
		return 0
	fi
	echo "its set-up failed, see $LOGS/qemu.log" >"$QEMU.failed"
	return 1
}

# use_qemu: keeps the second QEMU until this run ends; fails if there is none
use_qemu() {
	have_qemu || return
	touch "$QEMU.lock" && lock_file "$QEMU.lock" shared
	# Another run may have removed it before.
	have_qemu && return
	unlock_file "$QEMU.lock"
	return 1
}

# Removes those of other recipes that no run has used for 30 days.
remove_unused_qemus() {
	local lock fd
	find "${QEMU%/*}" -maxdepth 1 -name '*.lock' -mtime +30 | while read -r lock; do
		[[ $lock != "$QEMU.lock" ]] || continue
		exec {fd}>>"$lock"
		! flock -n "$fd" || remove "${lock%.lock}"
		exec {fd}>&-
	done
}

# The tree is read-only and may be in use. The lists of packages are temporary, because
# those of the tree are as old as the tree. Without "missing" a failure is temporary: apt
# must have read the list of trixie-backports.
stage_qemu() {
	local version new=$QEMU.tmp lists=$TREE/var/lib/apt/lists
	remove "$new"
	mkdir -p "$new/deb"
	mount_tree "$TREE" && mount --bind "$TREE/run/host/resolv.conf" "$TREE/etc/resolv.conf" &&
	mount -t tmpfs lists "$lists" && mount -t tmpfs cache "$TREE/var/cache/apt" &&
	mount --bind "$new" "$TREE/kernel" && in_tree "$TREE" apt-get -q update --error-on=any || return
	[[ -n $(compgen -G "$lists/*_trixie-backports_*_Packages*") ]] ||
		{ echo "apt has no list of trixie-backports" && return 1; }
	version=$(in_tree "$TREE" apt-cache madison qemu-system-x86 |
		awk '$6 ~ /^trixie-backports\// { print $3 }' | sort -V | choose_version QEMU)
	if [[ -n $version ]]; then
		unpack_qemu "$new" "$version" || return
		probe_qemu "$new"
	else
		echo "trixie-backports has no QEMU" >"$new/missing"
	fi
	rm -rf "$new/deb"
	umount -R "$TREE"
	sync -f "$new"
	mv -T "$new" "$QEMU"
}

# unpack_qemu DIRECTORY VERSION: downloads the packages and keeps the program and its firmware
unpack_qemu() {
	local package deb=$1/deb packages=()
	for package in "${QEMU_PACKAGES[@]}"; do
		# Those of QEMU's own source have its version.
		[[ $package != qemu-* ]] || package+="=$2"
		packages+=("$package")
	done
	# apt-get downloads to its current directory.
	in_tree "$TREE" env -C /kernel/deb apt-get -q -t trixie-backports download "${packages[@]}" || return
	for package in "$deb"/*.deb; do
		in_tree "$TREE" dpkg-deb -x "/kernel/deb/${package##*/}" /kernel/deb/root || return
	done
	in_tree "$TREE" sh -c 'dpkg-deb -f /kernel/deb/qemu-system-x86_*.deb Version' >"$1/version" || return
	mkdir -p "$1/usr/bin"
	mv "$deb/root/usr/bin/qemu-system-x86_64" "$1/usr/bin/" && mv "$deb/root/usr/share" "$1/usr/" &&
	rm -rf "$1"/usr/share/{doc,man,lintian,bug}
}

# probe_qemu DIRECTORY: removes the program if it does not start here or has no vfio-user-pci
probe_qemu() {
	in_tree "$TREE" /kernel/usr/bin/qemu-system-x86_64 -device vfio-user-pci,help >/dev/null \
		2>"$1/missing" && rm "$1/missing" && return
	# The reason is one line of KTAP.
	echo "QEMU $(<"$1/version"): $(grep -m 1 . "$1/missing" || echo "-device vfio-user-pci,help fails")" \
		>"$1/missing.new"
	mv "$1/missing.new" "$1/missing"
	rm -rf "${1:?}/usr"
	cat "$1/missing"
}

# qemu_status: prints the version of the second QEMU, or why there is none
qemu_status() {
	if [[ -s $QEMU/missing ]]; then
		echo "none: $(<"$QEMU/missing")"
	elif have_qemu; then
		cat "$QEMU/version"
	elif [[ -s $QEMU.failed ]]; then
		echo "none: $(<"$QEMU.failed")"
	else
		echo "not set up"
	fi
}

QEMU=$LAB/qemu/$(qemu_recipe)
