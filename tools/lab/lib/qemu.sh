# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# A second QEMU, newer than the tree's, for the tests that need vfio-user-pci. It is in
# a directory of its own, which guests see as /opt. All else uses the tree's QEMU.
#
#	qemu/usr	the program and its firmware
#	qemu/missing	why there is no program; the tests report that as skipped

QEMU=$LAB/qemu

# The newest of trixie-backports. They use the libraries of the tree.
QEMU_PACKAGES=(qemu-system-x86 qemu-system-data seabios)

qemu_recipe() {
	{ echo "$MIRROR ${QEMU_PACKAGES[*]}" && declare -f stage_qemu unpack_qemu; } | sha
}

have_qemu() {
	[[ $(cat "$QEMU/recipe" 2>/dev/null) == "$(qemu_recipe)" ]]
}

# Sets the second QEMU up. The lab works without it, so a failure does not end the run;
# the next run tries again.
setup_qemu() {
	have_qemu && return
	lock_file "$LAB/qemu-lock" exclusive
	if ! have_qemu; then
		need_space 150 "the second QEMU"
		setup_stage qemu "QEMU of backports"
		KEEP_GOING=1 stage_wait || say "no second QEMU: the tests that need it are skipped"
	fi
	unlock_file "$LAB/qemu-lock"
}

# The tree is read-only and may be in use. The lists of packages are temporary, because
# those of the tree are as old as the tree.
stage_qemu() {
	local new=$QEMU.tmp
	remove "$new"
	mkdir -p "$new/deb"
	mount_tree "$TREE" && mount --bind "$TREE/run/host/resolv.conf" "$TREE/etc/resolv.conf" &&
	mount -t tmpfs lists "$TREE/var/lib/apt/lists" && mount -t tmpfs cache "$TREE/var/cache/apt" &&
	mount --bind "$new" "$TREE/kernel" && in_tree "$TREE" apt-get -q update || return
	if [[ -z $(in_tree "$TREE" apt-cache madison qemu-system-x86 | grep -F trixie-backports) ]]; then
		echo "trixie-backports has no QEMU" >"$new/missing"
	else
		unpack_qemu "$new" || return
		# Without vfio-user-pci or one of its libraries, it says so itself.
		in_tree "$TREE" /kernel/usr/bin/qemu-system-x86_64 -device vfio-user-pci,help >/dev/null \
			2>"$new/missing" && rm "$new/missing"
	fi
	umount -R "$TREE"
	qemu_recipe >"$new/recipe"
	sync -f "$new"
	remove "$QEMU"
	mv "$new" "$QEMU"
}

# unpack_qemu DIRECTORY: downloads the packages and keeps the program and its firmware
unpack_qemu() {
	local package
	# apt-get downloads to its current directory.
	in_tree "$TREE" env -C /kernel/deb apt-get -q download "${QEMU_PACKAGES[@]/%//trixie-backports}" || return
	for package in "$1"/deb/*; do
		in_tree "$TREE" dpkg-deb -x "/kernel/deb/${package##*/}" /kernel/deb/root || return
	done
	mkdir -p "$1/usr/bin"
	mv "$1/deb/root/usr/bin/qemu-system-x86_64" "$1/usr/bin/" && mv "$1/deb/root/usr/share" "$1/usr/" &&
	rm -rf "$1/deb" "$1"/usr/share/{doc,man,lintian,bug}
}
