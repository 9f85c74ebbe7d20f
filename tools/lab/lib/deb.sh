# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# make deb and make test-install: Debian packages, and a test that installs them.

# The additional packages that build packages.
DEB_PACKAGES=(debhelper dh-dkms lintian)

# A fresh Debian to install them in, without a package that the test installs.
FRESH=$LAB/fresh
# The packages that apt has downloaded, for the next fresh Debian.
ARCHIVES=$LAB/archives

deb_recipe() {
	echo "${DEB_PACKAGES[*]}" | sha
}

have_deb_tools() {
	[[ $(cat "$TREE/.doorbell-deb" 2>/dev/null) == "$(deb_recipe)" ]]
}

fresh_recipe() {
	{
		echo "trixie $MIRROR"
		declare -f stage_fresh
	} | sha
}

have_fresh() {
	[[ $(cat "$FRESH/.doorbell-recipe" 2>/dev/null) == "$(fresh_recipe)" ]]
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

setup_fresh() {
	have_fresh && return
	lock_file "$LAB/fresh-lock" exclusive
	if ! have_fresh; then
		need_space 3000 "a test of the packages"
		setup_debootstrap
		setup_stage fresh "fresh Debian 13"
		stage_wait
	fi
	unlock_file "$LAB/fresh-lock"
}

stage_fresh() {
	remove "$FRESH" "$FRESH.tmp"
	mkdir -p "$ARCHIVES"
	debootstrap --variant=minbase --include=ca-certificates --cache-dir="$ARCHIVES" trixie "$FRESH.tmp" "$MIRROR" || return
	printf "deb $MIRROR %s main\n" trixie trixie-updates trixie-backports >"$FRESH.tmp/etc/apt/sources.list"
	# Does not start services.
	printf '#!/bin/sh\nexit 101\n' >"$FRESH.tmp/usr/sbin/policy-rc.d"
	chmod +x "$FRESH.tmp/usr/sbin/policy-rc.d"
	cat >"$FRESH.tmp/etc/apt/apt.conf.d/90doorbell" <<-CONF
	Acquire::Retries "3";
	Acquire::Languages "none";
	Dpkg::Options { "--force-unsafe-io"; };
	CONF
	mkdir "$FRESH.tmp"/{doorbell,packages}
	mount_tree "$FRESH.tmp" rw && host_files "$FRESH.tmp" && in_tree "$FRESH.tmp" apt-get -q update || return
	umount -R "$FRESH.tmp"
	fresh_recipe >"$FRESH.tmp/.doorbell-recipe"
	sync -f "$FRESH.tmp"
	mv "$FRESH.tmp" "$FRESH"
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

# A copy of the fresh Debian, which the test changes.
INSTALLED=$LAB/installed.tmp

# in_installed COMMAND...: runs a command there
in_installed() {
	if [[ ! -d $INSTALLED/doorbell/tools ]]; then
		mount_tree "$INSTALLED" rw && host_files "$INSTALLED" &&
			mount --bind "$ARCHIVES" "$INSTALLED/var/cache/apt/archives" &&
			bind_ro "$SRC" "$INSTALLED/doorbell" && bind_ro "$BUILD/deb" "$INSTALLED/packages" || return
	fi
	in_tree "$INSTALLED" "$@"
}

# Prints the flavour whose kernel arrives when the packages are there already.
second_flavour() {
	[[ $FLAVOUR == 7.2 ]] && echo amd64 || echo 7.2
}

# test_installed STAGE: runs a stage of install/test there
test_installed() {
	in_installed bash /doorbell/tools/lab/install/test "$1" "$(kernel_version)" "$(FLAVOUR=$(second_flavour) kernel_version)"
}

install_debs() {
	remove "$INSTALLED"
	cp -a "$FRESH" "$INSTALLED" && test_installed install
}

remove_debs() {
	test_installed remove
}

# Boots the copy with systemd, which runs install/boot.
boot_installed() {
	# shellcheck disable=SC2034 # run_qemu reads them.
	local rc DOORBELL_APPEND="system=system systemd.unit=multi-user.target systemd.wants=doorbell-boot-test.service" QEMU_EXTRA
	prepare_guest
	mkdir -p "$TREE/tmp/installed" && mount --bind "$INSTALLED" "$TREE/tmp/installed" || return
	QEMU_EXTRA=(-fsdev "local,id=system,path=/tmp/installed,security_model=none,multidevs=remap"
		-device "virtio-9p-pci,fsdev=system,mount_tag=system")
	mkdir "$RUN/install" && cp "$LAB_DIR/install/boot" "$LAB_DIR/test/lib.sh" "$RUN/install/" || return
	DOORBELL_TIMEOUT=${DOORBELL_TIMEOUT:-1200} boot system true
	rc=$?
	umount "$TREE/tmp/installed"
	[[ $OUTCOME != ended ]] || check_log "$RUN/system" || rc=1
	cat "$RUN/system/ktap"
	return $rc
}

# with_status COMMAND...: runs a command, and ends its KTAP with its exit status
with_status() {
	local rc
	"$@"
	rc=$?
	echo "# exit status $rc"
	return $rc
}

# count_install NAME: adds the results in the log of a stage to PASSED and FAILED
count_install() {
	local p f
	# The lines before a verdict belong to it.
	awk '/^# exit status/ { next } /^#/ { lines = lines $0 "\n"; next } /^not ok/ { printf "%s%s\n", lines, $0 } { lines = "" }' \
		"$LOGS/$1.log" | cut -c1-300 | sed 's/^/  | /' >&2
	read -r p f < <(count_ktap "$LOGS/$1.log")
	tally "$p" "$f" "$1"
}

# test_install: builds the packages, and tests them in a fresh Debian
test_install() {
	local stage line
	# doorbell-dkms has the sources of the kernels that are set up.
	(FLAVOUR=$(second_flavour) && setup) || return
	make_debs && setup_fresh || return
	lock_file "$LAB/installed-lock" exclusive
	LOGS=$BUILD/log
	for stage in "install:installing the packages:install_debs" "boot:booting with systemd:boot_installed" \
		"remove:upgrading and removing them:remove_debs"; do
		stage_begin "${stage%%:*}" "$(cut -d: -f2 <<<"$stage")" with_status "${stage##*:}"
		KEEP_GOING=1 STAGE_TAIL=5 stage_wait
		count_install "${stage%%:*}"
	done
	for line in "${FAILURES[@]}"; do
		say "FAILED $line; the log is in $LOGS"
	done
	# Lazily: a process may still have a terminal in its /dev.
	umount -R -l "$INSTALLED" && remove "$INSTALLED"
	echo "$PASSED passed, $FAILED failed"
	((FAILED == 0))
}
