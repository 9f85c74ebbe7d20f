# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# ARCH=arm64: builds for arm64 by cross compilers, and runs it in an emulated guest. FLAVOUR=16k is
# the kernel with pages of 16 KB. An amd64 machine executes no arm64 program, neither here nor
# during the set-up.
#
#	tree-arm64		a copy of the tree with cross compilers and QEMU for arm64. The
#				files of /usr are hard links. The copy is needed because
#				gcc-multilib and the cross compilers exclude each other.
#	tree-arm64/guest	the guest's root file system: unpacked packages of Debian arm64
#	kernels/V		the kernel, as for amd64

ARM64_PACKAGES=(
	gcc-14-aarch64-linux-gnu libc6-dev-arm64-cross
	gcc-14-arm-linux-gnueabihf libc6-dev-armhf-cross qemu-system-arm
)
# Their dependencies are unpacked, too; maintainer scripts are not run.
ARM64_GUEST_PACKAGES=(
	base-files base-passwd bash busybox-static coreutils cpio dash diffutils findutils grep gzip
	hostname iproute2 kmod libc-bin mawk mount ncurses-base procps python3 sed util-linux xz-utils
)
# The space that the set-up of the copy needs, in megabytes.
ARM64_SPACE=1300

arm64_recipe() {
	{
		tree_recipe
		echo "${ARM64_PACKAGES[*]} ${ARM64_GUEST_PACKAGES[*]}"
		declare -f stage_arm64 arm64_rust arm64_guest_root
	} | sha
}

# have_foreign: succeeds unless the tree of another architecture has to be set up
have_foreign() {
	[[ $ARCH == amd64 || $(cat "$TREE/.doorbell-arm64" 2>/dev/null) == "$(arm64_recipe)" ]]
}

# Sets up the copy of the tree. The caller has locked the lab exclusively: other runs may use the
# copy that is replaced, or install packages in the tree that is copied.
setup_foreign() {
	have_foreign && return
	need_space "$ARM64_SPACE" "cross compilers and a guest's files"
	setup_stage arm64 "cross compilers and guest for arm64"
	stage_wait
}

stage_arm64() {
	local new=$TREE.tmp dir
	remove "$new"
	mkdir "$new" && cp -al "$BASE_TREE/usr" "$new/" || return
	for dir in "$BASE_TREE"/*; do
		[[ $dir == */usr ]] || cp -a "$dir" "$new/" || return
	done
	mkdir "$new/guest"
	mount_tree "$new" rw && host_files "$new" || return
	in_tree "$new" sh -c 'dpkg --add-architecture arm64 && apt-get -q update &&
		apt-get -q install -y "$@" && apt-get -q clean' sh "${ARM64_PACKAGES[@]}" || return
	arm64_rust "$new" && arm64_guest_root "$new" || return
	umount -R "$new"
	arm64_recipe >"$new/.doorbell-arm64"
	sync -f "$new"
	remove "$TREE"
	mv "$new" "$TREE"
}

# arm64_rust TREE: unpacks Rust's standard library for arm64, of the tree's own rustc. The
# package is not installed, as it depends on LLVM for arm64.
arm64_rust() {
	local version
	version=$(in_tree "$1" dpkg-query -W -f '${Version}' rustc) || return
	mkdir "$1/guest/deb"
	in_tree "$1" env -C /guest/deb apt-get -q download "libstd-rust-dev:arm64=$version" || {
		echo "The tree has rustc $version, and the archive has no library of that version for"
		echo "arm64. 'make lab-clean' removes the lab; the next run sets it up with the newest one."
		return 1
	}
	in_tree "$1" sh -c 'dpkg-deb -x /guest/deb/*.deb /guest/deb/root &&
		mv /guest/deb/root/usr/lib/rustlib/aarch64-unknown-linux-gnu /usr/lib/rustlib/ &&
		rm -r /guest/deb'
}

# arm64_guest_root TREE: unpacks packages in /guest of the tree
arm64_guest_root() {
	mkdir -p "$1/guest/deb/partial"
	: >"$1/tmp/status"
	# With an empty status apt selects all dependencies.
	in_tree "$1" apt-get -q -y --download-only -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
		-o Dir::State::status=/tmp/status -o Dir::Cache::archives=/guest/deb/ \
		-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
		install "${ARM64_GUEST_PACKAGES[@]}" || return
	in_tree "$1" sh -ec '
		cd /guest
		for deb in deb/*.deb; do
			dpkg-deb -x "$deb" .
		done
		rm -r deb usr/share/doc usr/share/man usr/share/locale
		for file in passwd group; do
			cp usr/share/base-passwd/$file.master etc/$file
		done
		ln -s mawk usr/bin/awk
		mkdir -p doorbell build out usr/lib/modules proc sys dev tmp run
		for file in bin/sh bin/bash bin/busybox sbin/insmod; do
			test -x $file || { echo "no package has /$file" && exit 1; }
		done'
}

# Prints the versions of the arm64 kernels in a run for amd64.
arm64_status() {
	local ARCH=arm64 FLAVOUR TREE=$LAB/tree-arm64
	for FLAVOUR in arm64 16k; do
		printf '%-8s%s\n' "$FLAVOUR:" "$(have_foreign && have_kernel && kernel_version || echo "not set up")"
	done
}

# mount_guest_root: mounts in /guest what the guest sees of the lab
mount_guest_root() {
	local dir
	[[ $ARCH == amd64 ]] && return
	for dir in doorbell build usr/lib/modules; do
		mount --rbind "$TREE/$dir" "$TREE/guest/$dir" || return
	done
}

# check_arch COMMAND [ARGUMENT...]: dies if the command has no meaning for the architecture
check_arch() {
	is_one_of "$ARCH" "${ARCHES[@]}" || die "there is no architecture '$ARCH'" "ARCH is one of: ${ARCHES[*]}"
	[[ $ARCH != amd64 ]] || return 0
	case $1 in
	model)
		die "the model does not depend on the architecture" "leave ARCH out" ;;
	deb | test-install)
		die "$1 is for amd64 only" "leave ARCH out" ;;
	bench-instructions | profile)
		die "the figures of $1 are those of amd64" "leave ARCH out" ;;
	esac
	# The guests that these boot in the guest.
	case "$*" in
	report | "report "* | "rtt qemu" | "rtt qemu "*)
		die "the guests of doorbell report and rtt qemu are x86-64 code" "leave ARCH out" ;;
	"run msix-vmm"* | "run "*" msix-vmm"*)
		die "the guests of msix-vmm are x86-64 code" "leave ARCH out" ;;
	esac
	[[ ${DOORBELL_ACCEL:-} != kvm ]] ||
		die "DOORBELL_ACCEL is 'kvm', and this machine cannot run arm64 guests by KVM" "leave it out"
}

# Sets FOREIGN, the variables of the environment that name the compilers.
FOREIGN=()
[[ $ARCH != arm64 ]] || FOREIGN=(
	CC_COMPAT=arm-linux-gnueabihf-gcc-14
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc-14
)
