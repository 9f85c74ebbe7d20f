# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The driver in a kernel tree: a copy of the kernel's source that has the driver as
# drivers/misc/doorbell, and the kernel that is built from it.
#
#	build/*/in-tree/source	the copy; files without a change are hard links
#	build/*/in-tree/kdir	the build directory
#	build/*/in-tree/modules	the image and the modules
#
# A file of the copy is never written in place, as that would change the lab's source: it is
# replaced.

IN_TREE_PATCHES=$SRC/tools/in-tree/patches

# Prints the upstream version of the in-tree kernel: 7.3.4
in_tree_base() {
	local v=${DOORBELL_KERNEL:-$(cat "$LAB/kernel-version-amd64" 2>/dev/null)}
	echo "${v%%[+-]*}"
}

# in_tree_key: prints a hash of all that in_tree_source makes a copy from
in_tree_key() {
	local patch
	{
		in_tree_base
		for patch in "$IN_TREE_PATCHES"/*.patch; do
			echo "${patch##*/}"
			cat "$patch"
		done
	} | sha
}

# in_tree_source DIR: makes DIR a copy of the kernel's source with the patches of
# tools/in-tree/patches, without the driver. DIR is on the file system of the lab. If DIR is
# such a copy already, nothing changes. The caller is in a private mount namespace.
in_tree_source() {
	local dir=$1 key file patch
	key=$(in_tree_key)
	[[ $(cat "$dir/.in-tree-key" 2>/dev/null) != "$key" ]] || return 0
	# An earlier copy may have a change that this one has not. The time of such a file must
	# be new, or Kbuild would not compile it again.
	: >"$dir.changed"
	[[ ! -s $dir/.in-tree-changed ]] || cat "$dir/.in-tree-changed" >"$dir.changed"
	remove "$dir" "$dir.tmp"
	cp -al "$(kernel_source "$(in_tree_base)")" "$dir.tmp" || return
	while read -r file; do
		[[ ! -f $dir.tmp/$file ]] || renew_file "$dir.tmp/$file" || return
	done <"$dir.changed"
	rm -f "$dir.changed"
	mount --bind "$dir.tmp" "$TREE/mnt" || return
	for patch in "$IN_TREE_PATCHES"/*.patch; do
		echo "applying ${patch##*/}"
		# git replaces the files that a patch changes.
		in_tree "$TREE" git -C /mnt apply --numstat - <"$patch" | cut -f 3 >>"$dir.tmp/.in-tree-changed" &&
			in_tree "$TREE" git -C /mnt apply --whitespace=nowarn - <"$patch" ||
			{ echo "${patch##*/} does not apply" && umount "$TREE/mnt" && return 1; }
	done
	umount "$TREE/mnt"
	echo "$key" >"$dir.tmp/.in-tree-key"
	mv "$dir.tmp" "$dir"
}

# renew_file FILE: replaces a hard link by a copy of its own with a new time
renew_file() {
	cp "$1" "$1.new" && mv "$1.new" "$1"
}
