# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# make deb: Debian packages.

# The additional packages that build packages.
DEB_PACKAGES=(debhelper dh-dkms lintian)

deb_recipe() {
	echo "${DEB_PACKAGES[*]}" | sha
}

have_deb_tools() {
	[[ $(cat "$TREE/.doorbell-deb" 2>/dev/null) == "$(deb_recipe)" ]]
}

# No other run uses the tree while it changes.
setup_deb_tools() {
	have_deb_tools && return
	lock_lab exclusive
	if ! have_deb_tools; then
		setup_stage deb-tools "packages that build packages"
		stage_wait
	fi
	lock_lab shared
}

stage_deb-tools() {
	add_packages "${DEB_PACKAGES[@]}" || return
	deb_recipe >"$TREE/.doorbell-deb"
	sync -f "$TREE"
}

# build_debs: builds the packages in a copy of the source, as a build leaves files there
build_debs() {
	local source dirs=()
	rm -rf "$BUILD/deb/doorbell" "$BUILD"/deb/*.*
	mkdir -p "$BUILD/deb/doorbell"
	tar -C "$SRC" --exclude=./.git --exclude=./out --exclude=target -c . | tar -C "$BUILD/deb/doorbell" -x || return
	# The sources of all kernels that are set up, of those that the module is for.
	for source in "$KERNELS"/source-*; do
		[[ $source != *.tmp ]] || continue
		mkdir -p "$TREE/tmp/${source##*/}" && bind_ro "$source" "$TREE/tmp/${source##*/}" || return
		dirs+=("/tmp/${source##*/}")
	done
	in_tree "$TREE" env -C /build/deb/doorbell DOORBELL_LINUX="${dirs[*]}" CARGO_TARGET_DIR=/build/deb/target sh -c '
		dpkg-checkbuilddeps -I && dpkg-buildpackage -d -b --no-sign'
}

# Warnings are errors, too.
lint_debs() {
	in_tree "$TREE" sh -c 'lintian --allow-root --fail-on error,warning --tag-display-limit 0 /build/deb/doorbell_*.changes'
}

# make_debs: builds and checks the packages, and copies them to out/ of the source
make_debs() {
	local deb
	setup && setup_deb_tools && build_dirs || return
	lock_file "$BUILD/deb-lock" exclusive
	mount_lab
	LOGS=$BUILD/log
	stage_begin deb "building the packages" build_debs
	stage_wait
	STAGE_TAIL=60 stage_begin lintian "checking them" lint_debs
	stage_wait
	mkdir -p "$SRC/out" && rm -f "$SRC"/out/*.deb && cp "$BUILD"/deb/*.deb "$SRC/out/" || return
	[[ -z ${DOORBELL_OWNER:-} ]] || chown -R "$DOORBELL_OWNER" "$SRC/out"
	for deb in "$SRC"/out/*.deb; do
		say "$deb ($(du -h "$deb" | cut -f1))"
	done
}
