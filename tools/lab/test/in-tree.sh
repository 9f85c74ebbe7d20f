#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests the table of tools/in-tree, the copy of the kernel's source, and the comments that are
# wrapped for it. It needs no kernel.
# shellcheck disable=SC1091,SC2030,SC2031,SC2034,SC2317 # the fakes are for sourced code
. "$(dirname "$0")/lib.sh"
ROOT=${LAB_DIR%/tools/lab}

# in_lab FUNCTION [ARGUMENT...]: calls a function of lib/in-tree.sh for the repository REPOSITORY
in_lab() (
	SRC=${REPOSITORY:-$ROOT} LAB=$SCRATCH/lab BUILD=$SCRATCH/build FLAVOUR=in-tree DOORBELL_KERNEL=1.2.3+deb TREE=
	sha() { sha256sum | cut -c1-16; }
	remove() { rm -rf "$@"; }
	kernel_source() { echo "$SCRATCH/kernel"; }
	# Outside the tree, without its mount.
	mount() { MOUNTED=$2; }
	umount() { :; }
	in_tree() {
		local args=("${@:2}")
		args=("${args[@]/#\/mnt/$MOUNTED}")
		GIT_CEILING_DIRECTORIES=$SCRATCH "${args[@]}"
	}
	shopt -s nullglob
	# shellcheck source=/dev/null
	. "$LAB_DIR/lib/in-tree.sh"
	# The repository's own patches are for a real kernel.
	[[ ${REPOSITORY:-} ]] || IN_TREE_PATCHES=$SCRATCH/none
	"$@"
)

# The list is git's own: it does not depend on the lab's.
every_file_has_a_place() {
	local bad
	bad=$(git -C "$ROOT" -c safe.directory="$ROOT" ls-files | in_lab places | grep -F '?')
	[[ -z $bad ]] || { echo "$bad" && return 1; }
}

lab_finds_files_of_git() {
	diff <(git -C "$ROOT" -c safe.directory="$ROOT" ls-files | sort) <(in_lab source_files) |
		grep '^<' && return 1
	return 0
}

# A copy of the table with a line less, or more, is wrong.
faults_are_found() {
	local repository=$SCRATCH/faulty
	mkdir -p "$repository/tools/in-tree"
	{ echo "gone.c -" && grep -v '^Kconfig' "$ROOT/tools/in-tree/places"; } >"$repository/tools/in-tree/places"
	[[ $(printf '%s\n' Kbuild Kconfig | REPOSITORY=$repository in_lab places | grep -F '?' | head -n 2) == "Kconfig ?"$'\n'"? gone.c" ]]
}

longest_name_counts() {
	[[ $(echo samples/template/Kbuild | in_lab places | grep -v '^?') == "samples/template/Kbuild -" &&
	   $(echo tools/testing/selftests/doorbell/module/main.c | in_lab places | grep -v '^?') == *" drivers/misc/doorbell/test/main.c" &&
	   $(echo samples/vbus/Kbuild | in_lab places | grep -v '^?') == "samples/vbus/Kbuild samples/doorbell/vbus/Kbuild" ]]
}

# A kernel with the files that the driver changes, and one that a patch changes.
make_kernel() {
	local k=$SCRATCH/kernel file
	rm -rf "$k" "$SCRATCH/repository" "$SCRATCH/copy"
	mkdir -p "$SCRATCH/repository/tools/in-tree/patches" "$k"/{drivers/misc,samples,fs,Documentation/misc-devices} \
		"$k/Documentation/userspace-api/ioctl" "$k/tools/testing/selftests"
	echo endmenu >"$k/drivers/misc/Kconfig"
	echo 'endif # SAMPLES' >"$k/samples/Kconfig"
	echo 'DPAA2 DATAPATH I/O (DPIO) DRIVER' >"$k/MAINTAINERS"
	echo '   dw-xdata-pcie' >"$k/Documentation/misc-devices/index.rst"
	echo 'TARGETS += drivers/dma-buf' >"$k/tools/testing/selftests/Makefile"
	echo '0xDD  00-3F' >"$k/Documentation/userspace-api/ioctl/ioctl-number.rst"
	echo '# a file' | tee "$k/drivers/misc/Makefile" >"$k/samples/Makefile"
	printf '%s\n' one two >"$k/fs/eventfd.c"
	find "$k" -type f -exec touch -d '2020-01-01' {} +
	printf '%s\n' '--- a/fs/eventfd.c' '+++ b/fs/eventfd.c' '@@ -1,2 +1,2 @@' ' one' '-two' '+three' \
		>"$SCRATCH/repository/tools/in-tree/patches/0001-three.patch"
}

# sums: prints all files of the kernel with their sums and times
sums() {
	(cd "$SCRATCH/kernel" && find . -type f -exec sha256sum {} + -printf '%p %T@\n' | sort)
}

patch_changes_copy_only() {
	local before
	make_kernel
	before=$(sums)
	REPOSITORY=$SCRATCH/repository in_lab in_tree_source "$SCRATCH/copy" || return
	[[ $(sums) == "$before" ]] || { echo "the kernel's source has changed" && return 1; }
	[[ $(tail -n 1 "$SCRATCH/copy/fs/eventfd.c") == three ]] || { echo "the patch is not there" && return 1; }
	[[ $SCRATCH/copy/MAINTAINERS -ef $SCRATCH/kernel/MAINTAINERS ]] || { echo "no hard link" && return 1; }
}

# Kbuild must compile a file again if it is not patched any more.
removed_patch_renews_file() {
	patch_changes_copy_only || return
	rm "$SCRATCH/repository/tools/in-tree/patches/0001-three.patch"
	REPOSITORY=$SCRATCH/repository in_lab in_tree_source "$SCRATCH/copy" &&
	[[ $(tail -n 1 "$SCRATCH/copy/fs/eventfd.c") == two && $SCRATCH/copy/fs/eventfd.c -nt $SCRATCH/kernel/fs/eventfd.c &&
	   $SCRATCH/copy/MAINTAINERS -ef $SCRATCH/kernel/MAINTAINERS ]]
}

bad_patch_fails() {
	make_kernel
	sed -i 's/^-two/-four/' "$SCRATCH/repository/tools/in-tree/patches/0001-three.patch"
	REPOSITORY=$SCRATCH/repository says '0001-three.patch does not apply' in_lab in_tree_source "$SCRATCH/copy" &&
	[[ ! -e $SCRATCH/copy ]]
}

# A run that fails must not hide from the next one which file had a patch.
failed_run_is_no_gap() {
	local patches=$SCRATCH/repository/tools/in-tree/patches
	patch_changes_copy_only || return
	printf '%s\n' '--- a/fs/eventfd.c' '+++ b/fs/eventfd.c' '@@ -1,2 +1,2 @@' ' one' '-four' '+five' >"$patches/0002-five.patch"
	REPOSITORY=$SCRATCH/repository says '0002-five.patch does not apply' in_lab in_tree_source "$SCRATCH/copy" || return
	rm "$patches"/*
	# The copy is gone, too.
	rm -rf "$SCRATCH/copy"
	REPOSITORY=$SCRATCH/repository in_lab in_tree_source "$SCRATCH/copy" &&
	[[ $(tail -n 1 "$SCRATCH/copy/fs/eventfd.c") == two && $SCRATCH/copy/fs/eventfd.c -nt $SCRATCH/kernel/fs/eventfd.c ]]
}

# Kbuild need not compile a file again that another patch left alone.
same_file_keeps_time() {
	local before
	patch_changes_copy_only || return
	touch -d 2021-01-01 "$SCRATCH/copy/fs/eventfd.c"
	before=$(stat -c '%i %y' "$SCRATCH/copy/fs/eventfd.c")
	printf '%s\n' '--- a/MAINTAINERS' '+++ b/MAINTAINERS' '@@ -1 +1,2 @@' ' DPAA2 DATAPATH I/O (DPIO) DRIVER' '+more' \
		>"$SCRATCH/repository/tools/in-tree/patches/0002-more.patch"
	REPOSITORY=$SCRATCH/repository in_lab in_tree_source "$SCRATCH/copy" || return
	[[ $(tail -n 1 "$SCRATCH/copy/MAINTAINERS") == more && $(stat -c '%i %y' "$SCRATCH/copy/fs/eventfd.c") == "$before" ]]
}

other_version_is_found() {
	local kdir=$SCRATCH/kdir
	mkdir -p "$kdir/include/config"
	! in_lab other_base "$kdir" && echo 1.2.3-in-tree >"$kdir/include/config/kernel.release" &&
	! in_lab other_base "$kdir" && echo 1.2.2-in-tree >"$kdir/include/config/kernel.release" &&
	in_lab other_base "$kdir"
}

# with_tools STATUS CHECK: runs a check whose tools print nothing and return STATUS, on the files
# in PLACED
with_tools() {
	local status=$1 check=$2
	in_tree() { return "$status"; }
	in_tree_patch() { :; }
	bind_ro() { :; }
	argued() { cat >/dev/null; }
	LLVM=() COUNT=$SCRATCH/count SPARSE=$SCRATCH LAB_DIR=$LAB_DIR
	mkdir -p "$IN_TREE/source" "$BUILD/$FLAVOUR/kdir" && echo 1 >"$SCRATCH/version"
	printf '%s' "$PLACED" >"$IN_TREE/source/.in-tree-placed"
	"in_tree_$check"
}

missing_tool_is_an_error() {
	local check PLACED=$'include/linux/doorbell.h include/linux/doorbell.h\nDocumentation/uapi.rst Documentation/misc-devices/doorbell/uapi.rst\n'
	for check in checkpatch kernel_doc docs selftests sparse clippy rustdoc; do
		! in_lab with_tools 127 "$check" || { echo "$check succeeds" && return 1; }
	done
	for check in checkpatch kernel_doc docs clippy rustdoc; do
		in_lab with_tools 0 "$check" || { echo "$check fails" && return 1; }
	done
}

no_file_is_an_error() {
	local check PLACED=
	for check in kernel_doc docs selftests sparse; do
		says 'no (files|pages|programs) to check' in_lab with_tools 0 "$check" || { echo "$check" && return 1; }
	done
}

absent_command_is_an_error() {
	COUNT=$SCRATCH/count says 'not found' in_lab counted no-such-command &&
	COUNT=$SCRATCH/count says 'warning: x' in_lab counted echo 'a.c:1:2: warning: x' &&
	COUNT=$SCRATCH/count in_lab counted true
}

# configuration FLAVOUR: prints what its kernel has of what flavours differ in
configuration() {
	FLAVOUR=$1
	in_tree_config | grep -E '^(# )?CONFIG_(DOORBELL|LOCALVERSION|LTO_[A-Z_]*|DEBUG_INFO_BTF)[ =]' | LC_ALL=C sort | xargs
}

flavours_differ_in_this() {
	local common='CONFIG_DEBUG_INFO_BTF=y'
	diff - <(in_lab configuration in-tree && in_lab configuration in-tree-y && in_lab configuration in-tree-lto) <<-EXPECTED
		$common CONFIG_DOORBELL=m CONFIG_LOCALVERSION=-in-tree
		$common CONFIG_DOORBELL=y CONFIG_LOCALVERSION=-in-tree-y
		# CONFIG_DEBUG_INFO_BTF is not set CONFIG_DOORBELL=m CONFIG_LOCALVERSION=-in-tree-lto CONFIG_LTO_CLANG_THIN=y
	EXPECTED
}

# The driver is put there twice; the second time nothing changes.
driver_is_put_once() {
	local before times
	make_kernel
	before=$(sums)
	in_lab in_tree_source "$SCRATCH/copy" && in_lab in_tree_driver "$SCRATCH/copy" || return
	times=$(find "$SCRATCH/copy" -type f ! -name '.in-tree*' -printf '%p %T@ %i\n' | sort)
	in_lab in_tree_driver "$SCRATCH/copy" || return
	[[ $(sums) == "$before" ]] || { echo "the kernel's source has changed" && return 1; }
	diff <(echo "$times") <(find "$SCRATCH/copy" -type f ! -name '.in-tree*' -printf '%p %T@ %i\n' | sort) || return
	for line in 'source "drivers/misc/doorbell/Kconfig"' 'TARGETS += doorbell' '   doorbell/index'; do
		[[ $(grep -rxF -- "$line" "$SCRATCH/copy" | wc -l) == 1 ]] || { echo "not once: $line" && return 1; }
	done
	[[ -s $SCRATCH/copy/drivers/misc/doorbell/Makefile && -s $SCRATCH/copy/drivers/misc/doorbell/rust/doorbell.rs &&
	   -s $SCRATCH/copy/include/uapi/linux/doorbell.h && ! -e $SCRATCH/copy/README.md ]]
}

# The lines of each kind of comment, and their errors.
strips_parts() {
	local file=$SCRATCH/file text
	stripped() { awk -f "$ROOT/tools/in-tree/strip.awk" "$file" 2>&1; }
	printf '%s\n' a '# begin out of tree' b '# end out of tree' '# in tree: c' '' '.. begin out of tree' '' b '' '.. end out of tree' \
		'' d '	// begin out of tree' b '	// end out of tree' '	// in tree: // e' '/* begin out of tree */' b \
		'/* end out of tree */' 'f # in tree: f' >"$file"
	text=$(stripped) && [[ $text == $'a\nc\n\nd\n\t// e\nf # in tree: f' ]] || { echo "$text" && return 1; }
	echo '# begin out of tree' >"$file"
	says 'does not end' stripped || return
	echo '# begin out of tree' >>"$file"
	says 'begins twice' stripped || return
	echo '# end out of tree' >"$file"
	says 'ends without a begin' stripped
}

# The driver is that of this repository. Each trace alone is an error.
traces_are_found() {
	local dir=$SCRATCH/traces line
	mkdir -p "$dir" && echo 'Kbuild Makefile' >"$dir/.in-tree-placed"
	for line in 'ifdef KBUILD_EXTMOD' 'mod linux_7_2;' '# of BTF' 'MODULE_VERSION(X);' 'pahole -C x' '# Linux 7.2' '# begin out of tree'; do
		echo "$line" >"$dir/Makefile"
		in_lab out_of_tree_traces "$dir" >/dev/null || { echo "not found: $line" && return 1; }
	done
	echo 'obj-y += x.o' >"$dir/Makefile"
	! in_lab out_of_tree_traces "$dir"
}

# Nothing but the ends of comment lines differs, and none is too long.
comments_are_wrapped() {
	local file
	for file in "$ROOT"/rust/*.rs "$ROOT"/rust/*/*.rs "$ROOT"/rust/*/*/*.rs; do
		awk -f "$ROOT/tools/in-tree/wrap.awk" "$file" >"$SCRATCH/wrapped" || return
		awk 'length($0) > 100 { print; bad = 1 } END { exit bad }' "$SCRATCH/wrapped" || return
		cmp <(grep -vE '^ *//' "$file") <(grep -vE '^ *//' "$SCRATCH/wrapped") &&
		cmp <(sed -nE 's,^ *//[/!]? *,,p' "$file" | tr -s ' \n' '\n') \
			<(sed -nE 's,^ *//[/!]? *,,p' "$SCRATCH/wrapped" | tr -s ' \n' '\n') || { echo "$file" && return 1; }
	done
}

check "each file of the repository has a place, and each line a file" every_file_has_a_place
check "the lab finds all files of git" lab_finds_files_of_git
check "a missing and a superfluous line are found" faults_are_found
check "the longest name counts" longest_name_counts
check "a patch changes the copy only" patch_changes_copy_only
check "a file whose patch is gone is new" removed_patch_renews_file
check "a patch that does not apply is an error" bad_patch_fails
check "a file keeps its new time after a run that failed" failed_run_is_no_gap
check "a file that stays the same keeps its time" same_file_keeps_time
check "a build directory of another version is found" other_version_is_found
check "a check whose tool does not run fails" missing_tool_is_an_error
check "a check of no files fails" no_file_is_an_error
check "a command that does not exist is an error" absent_command_is_an_error
check "each flavour has its configuration" flavours_differ_in_this
check "the driver is put into the copy once" driver_is_put_once
check "what is for a module outside the tree is removed" strips_parts
check "what is left of that is found" traces_are_found
check "comments are wrapped, and nothing else changes" comments_are_wrapped
plan
