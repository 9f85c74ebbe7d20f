# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Modules of the user's own, built against the lab's kernel and doorbell.

# The user's directory and doorbell's source are mounted in the tree below this
# directory. They keep their paths on the host, so relative paths between them work.
OWN_ROOT=/run/own

# own_source DIRECTORY: prints its real path; dies if it cannot have a module
own_source() {
	local dir
	# shellcheck disable=SC2088 # Not every shell expands it after "M=".
	[[ ${1:-} != "~/"* ]] || set -- "$HOME/${1:2}"
	[[ -n ${1:-} ]] || die "no directory is named" \
		"make module M=DIR builds the module in DIR; samples/template is one to copy"
	[[ -e $1 ]] || die "there is no directory $1" "a relative path starts at $PWD"
	[[ -d $1 ]] || die "$1 is not a directory" "M= names the directory with the module's Kbuild"
	dir=$(realpath "$1") || exit
	[[ -e $dir/Kbuild || -e $dir/Makefile ]] || die "$dir has neither a Kbuild nor a Makefile" \
		"samples/template has one to copy"
	[[ $dir != *[[:space:]:%]* ]] ||
		die "Kbuild builds nothing in a path with a space, a colon or a '%'" "$dir"
	[[ ! -e $dir/modules.order || $dir == "$SRC" ]] ||
		die "$dir has what an earlier build left there" "run 'make clean' there first"
	echo "$dir"
}

mount_own() {
	local dir
	for dir in "$SRC" "$1"; do
		mkdir -p "$TREE$OWN_ROOT$dir" || die "cannot make $OWN_ROOT$dir in the tree"
		bind_ro "$dir" "$TREE$OWN_ROOT$dir" || die "cannot mount $dir"
	done
}

# own_module DIRECTORY [ARGUMENT...]: builds the module there and passes the arguments
# to Kbuild. The output is in build/*/own/VERSION/NAME, which guests of that version
# see at /build/own/VERSION/NAME.
own_module() {
	local dir v out rc
	dir=$(own_source "${1:-}") || exit
	(($# == 0)) || shift
	setup && build || return
	if [[ $dir == "$SRC" ]]; then
		say "this is doorbell itself: $BUILD/$(module_dir)/doorbell.ko"
		return
	fi

	v=$(kernel_version)
	out=own/$v/${dir##*/}
	# Another directory of the same name replaces this output.
	[[ $(cat "$BUILD/$out/.source" 2>/dev/null) == "$dir" ]] || rm -rf "${BUILD:?}/$out"
	mkdir -p "$BUILD/$out" || return
	echo "$dir" >"$BUILD/$out/.source"
	# Kbuild does not notice that doorbell's exports have changed.
	rm -f "$BUILD/$out/Module.symvers"
	mount_own "$dir"
	# Messages show the paths on the host.
	in_tree "$TREE" make --no-print-directory -C "$KDIR" M="$OWN_ROOT$dir" MO="/build/$out" "${LLVM[@]}" -j"$(nproc)" \
		DOORBELL=/doorbell KBUILD_EXTRA_SYMBOLS=/build/module/Module.symvers "$@" modules \
		2>&1 | sed -u "s,$OWN_ROOT/,/,g"
	rc=${PIPESTATUS[0]}
	[[ -z ${DOORBELL_OWNER:-} ]] || chown -R "$DOORBELL_OWNER" "$BUILD/own"
	((rc == 0)) || die "there is no module: see above"
	[[ -s $BUILD/$out/modules.order ]] ||
		die "nothing was built: the Kbuild of $dir names no module" "obj-m := NAME.o is one from NAME.c or NAME.rs"
	say "built in $BUILD/$out; in the guest (make shell):"
	sed "s,\(.*\)\.o\$,lab:   insmod /build/$out/\1.ko," "$BUILD/$out/modules.order" >&2
}
