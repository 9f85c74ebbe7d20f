# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Making the lab. Whatever takes time is a stage; each makes its result under
# another name and renames it as its last act, so a half-made one is never used.
#
#	tree.base	what debootstrap made
#	tree		... with all packages
#	kernels/V	a kernel: source, prepared build directory, image, modules

TREE=$LAB/tree
KERNELS=$LAB/kernels
MIRROR=${DOORBELL_MIRROR:-http://deb.debian.org/debian}

# The compilers must be those that Debian built the kernel with.
PACKAGES=(
	rustc rust-src rustfmt rust-clippy cargo bindgen libclang-19-dev
	gcc-14 gcc libc6-dev gcc-multilib make bc flex bison libelf-dev libssl-dev
	kmod pahole python3 xz-utils cpio openssl perl rsync ca-certificates git
	qemu-system-x86 busybox-static python3-sphinx python3-ply python3-git
)

# Changing a recipe makes what it made stale.
tree_recipe() {
	{
		echo "trixie $MIRROR ${PACKAGES[*]}"
		declare -f stage_base stage_packages
	} | sha
}

kernel_recipe() {
	declare -f stage_kernel stage_kdir | sha
}

kernel_version() {
	cat "$LAB/kernel-version" 2>/dev/null
}

have_tree() {
	[[ $(cat "$TREE/.doorbell-recipe" 2>/dev/null) == "$(tree_recipe)" ]]
}

have_kernel() {
	local v
	v=$(kernel_version)
	[[ -n $v && (-z ${DOORBELL_KERNEL:-} || $v == "$DOORBELL_KERNEL") &&
	   $(cat "$KERNELS/$v/recipe" 2>/dev/null) == "$(kernel_recipe)" ]]
}

# Removes a tree. The mounts of a live one are in other namespaces, but make sure.
remove() {
	local dir
	for dir in "$@"; do
		[[ -e $dir ]] || continue
		! grep -q " $dir/" /proc/self/mountinfo || die "something is mounted in $dir"
		rm -rf --one-file-system "$dir"
	done
}

setup() {
	BUILD=$LAB/build/$(echo "$SRC" | sha)
	if have_tree && have_kernel; then
		lock_lab shared
		have_tree && have_kernel && return
	fi
	lock_lab exclusive
	if ! have_tree || ! have_kernel; then
		say "setting up the lab in $LAB; this is done once and takes some minutes"
		setup_debootstrap
		setup_tree
		setup_kernel
		rm -f "$LAB/kernel-version.new"
	fi
	lock_lab shared
}

setup_debootstrap() {
	have_tree && return
	command -v debootstrap >/dev/null && return
	command -v apt-get >/dev/null ||
		die "debootstrap is missing and this is no Debian" "install debootstrap"
	stage_begin debootstrap "installing debootstrap on this machine" sh -c '
		DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends debootstrap ||
		{ apt-get update && DEBIAN_FRONTEND=noninteractive \
		  apt-get install -y --no-install-recommends debootstrap; }'
	stage_wait
}

setup_tree() {
	have_tree && return
	remove "$TREE" "$LAB/tree.tmp"
	if [[ $(cat "$LAB/tree.base/.doorbell-recipe" 2>/dev/null) != "$(tree_recipe)" ]]; then
		remove "$LAB/tree.base"
		setup_stage base "base system (Debian 13)"
		stage_wait
	fi
	mv "$LAB/tree.base" "$LAB/tree.tmp"
	# It has the stamp already; without the packages it goes by another name.
	setup_stage resolve "looking for the newest kernel"
	stage_wait
	# The big downloads and the installation need different things.
	setup_stage packages "packages"
	have_kernel || setup_stage kernel "kernel, headers and source"
	stage_wait
	# Not earlier: the kernel's stage works in the same tree.
	mv "$LAB/tree.tmp" "$TREE"
}

setup_kernel() {
	have_kernel && return
	local v
	if [[ -n ${DOORBELL_KERNEL:-} ]]; then
		echo "$DOORBELL_KERNEL" >"$LAB/kernel-version.new"
	elif [[ ! -s $LAB/kernel-version.new ]]; then
		setup_stage resolve "looking for the newest kernel"
		stage_wait
	fi
	v=$(cat "$LAB/kernel-version.new")
	if [[ $(cat "$KERNELS/$v.tmp/fetched" 2>/dev/null) != "$(kernel_recipe)" ]]; then
		setup_stage kernel "kernel, headers and source"
		stage_wait
	fi
	setup_stage kdir "build directory with Rust metadata"
	stage_wait
}

# The tree as the stages write to it.
working_tree() {
	local tree=$LAB/tree.tmp
	[[ -d $tree ]] || tree=$TREE
	echo "$tree"
}

stage_base() {
	local tree=$LAB/tree.base.tmp
	remove "$tree"
	debootstrap --variant=minbase --include=ca-certificates trixie "$tree" "$MIRROR" || return
	cat >"$tree/etc/apt/sources.list" <<-SOURCES
	deb $MIRROR trixie main
	deb $MIRROR trixie-updates main
	deb $MIRROR trixie-backports main
	SOURCES
	cat >"$tree/etc/apt/apt.conf.d/90doorbell" <<-CONF
	APT::Install-Recommends "false";
	Acquire::Retries "3";
	Acquire::Languages "none";
	Dpkg::Options { "--force-unsafe-io"; };
	CONF
	cat >"$tree/etc/dpkg/dpkg.cfg.d/doorbell" <<-CONF
	path-exclude=/usr/share/doc/*
	path-exclude=/usr/share/man/*
	path-exclude=/usr/share/locale/*
	CONF
	printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
	chmod +x "$tree/usr/sbin/policy-rc.d"
	# Where the rest of the lab is mounted, and what the guest mounts over.
	mkdir -p "$tree"/{kernel,doorbell,build,cargo,out} "$tree/usr/lib/modules"
	mount_tree "$tree" rw && host_files "$tree" &&
	in_tree "$tree" apt-get -q update || return
	umount -R "$tree"
	tree_recipe >"$tree/.doorbell-recipe"
	sync -f "$tree"
	mv "$tree" "$LAB/tree.base"
}

# What apt needs of the host: its resolver, and its CAs for whoever is behind a proxy.
host_files() {
	rm -f "$1/etc/resolv.conf"
	cp -L /etc/resolv.conf "$1/etc/resolv.conf"
}

stage_resolve() {
	local tree v
	tree=$(working_tree)
	mount_tree "$tree" rw && host_files "$tree" || return
	v=${DOORBELL_KERNEL:-}
	if [[ -z $v ]]; then
		[[ $tree == "$TREE" ]] && in_tree "$tree" apt-get -q update
		v=$(in_tree "$tree" apt-cache search --names-only '^linux-headers-7\.[0-9.]+.*-amd64$' |
			sed -nE 's/^linux-headers-(7\.[0-9.]+\+deb13-amd64) .*/\1/p' | sort -V | tail -n 1)
	fi
	[[ -n $v ]] || { echo "no 7.x kernel in trixie-backports" && return 1; }
	echo "$v"
	echo "$v" >"$LAB/kernel-version.new"
}

stage_packages() {
	local tree=$LAB/tree.tmp
	mount_tree "$tree" rw && host_files "$tree" &&
	in_tree "$tree" apt-get -q install -y "${PACKAGES[@]}" || return
	in_tree "$tree" apt-get -q clean
	umount -R "$tree"
	sync -f "$tree"
}

stage_kernel() {
	local tree v base new package
	tree=$(working_tree)
	v=$(cat "$LAB/kernel-version.new")
	base=${v%%+*}
	base=${base%.*}
	new=$KERNELS/$v.tmp
	remove "$new"
	mkdir -p "$new/deb"
	mount_tree "$tree" rw && host_files "$tree" && mount --bind "$new" "$tree/kernel" || return
	for package in "linux-base-$v" "linux-headers-$v" "linux-binary-unsigned-$v" \
		       "linux-modules-$v" "linux-source-$base"; do
		# sh -c, as apt-get downloads to where it is.
		in_tree "$tree" sh -c "cd /kernel/deb && apt-get -q download '$package'" || {
			echo "Debian's archive moves: versions vanish when newer ones come. Set"
			echo "DOORBELL_KERNEL to one that is there, or unset it for the newest."
			return 1
		}
	done
	for package in "$new"/deb/*.deb; do
		in_tree "$tree" dpkg-deb -x "/kernel/deb/${package##*/}" /kernel/root || return
		rm "$package"
	done
	# xz is a package of the host's or of a tree that is being worked on: use Python's.
	mkdir "$new/source"
	if command -v xz >/dev/null; then
		tar -C "$new/source" --strip-components=1 -xJf \
			"$new/root/usr/src/linux-source-$base.tar.xz" || return
	else
		in_tree "$tree" sh -c 'until command -v xz >/dev/null; do sleep 1; done'
		in_tree "$tree" tar -C /kernel/source --strip-components=1 -xJf \
			"/kernel/root/usr/src/linux-source-$base.tar.xz" || return
	fi
	mv "$new/root/usr/lib/modules" "$new/modules" || return
	rm -rf "$new/root/usr/src/linux-source-$base.tar.xz"
	kernel_recipe >"$new/fetched"
}

# What Debian's headers lack is made again from the same source, configuration
# and compilers: the result is the same to the last symbol.
stage_kdir() {
	local v new h before after jobs
	v=$(cat "$LAB/kernel-version.new")
	new=$KERNELS/$v.tmp
	h=$new/root/usr/src/linux-headers-$v
	jobs=$(nproc)
	rm -rf "$new/kdir"
	mkdir "$new/kdir"
	cp "$h/.config" "$h/.kernelvariables" "$h/Module.symvers" "$new/kdir/" || return
	# BTF only; it is what gives the module its own, and the layout of eventfds.
	[[ ! -f $h/vmlinux ]] || cp "$h/vmlinux" "$new/kdir/"
	mount_tree "$TREE" rw && mount --bind "$new" "$TREE/kernel" || return
	before=$(grep -E '^CONFIG_(RUST|RUSTC_VERSION|BINDGEN_VERSION_TEXT|CC_VERSION_TEXT)=' "$new/kdir/.config")
	in_tree "$TREE" make -C /kernel/source O=/kernel/kdir olddefconfig || return
	after=$(grep -E '^CONFIG_(RUST|RUSTC_VERSION|BINDGEN_VERSION_TEXT|CC_VERSION_TEXT)=' "$new/kdir/.config")
	if [[ $before != "$after" ]]; then
		echo "The compilers are not those that Debian built this kernel with:"
		diff <(echo "$before") <(echo "$after")
		return 1
	fi
	in_tree "$TREE" make -C /kernel/source O=/kernel/kdir -j"$jobs" prepare modules_prepare || return
	rust_symbols_match "$new/kdir" || return
	mount --bind "$new/modules" "$TREE/usr/lib/modules" && in_tree "$TREE" depmod "$v" || return
	umount -R "$TREE"
	kernel_recipe >"$new/recipe"
	sync -f "$new"
	remove "$KERNELS/$v"
	mv "$new" "$KERNELS/$v"
	cp "$LAB/kernel-version.new" "$LAB/kernel-version"
}

# A module whose Rust symbols have other hashes than the image's does not load:
# every symbol that the regenerated objects export must be one of Debian's.
rust_symbols_match() {
	local kdir=$1 made missing
	made=$(find "$kdir/rust" -name 'exports_*_generated.h' -exec \
		sed -nE 's/^EXPORT_SYMBOL_RUST_GPL\((.*)\);$/\1/p' {} + | sort -u)
	missing=$(comm -23 <(echo "$made") <(cut -f2 "$kdir/Module.symvers" | sort -u) | wc -l)
	echo "$(echo "$made" | wc -l) Rust symbols regenerated, $missing of them unknown to the kernel"
	((missing == 0)) && [[ -n $made ]]
}

status() {
	echo "lab:    $LAB"
	have_tree && echo "tree:   ready" || echo "tree:   not set up"
	have_kernel && echo "kernel: $(kernel_version)" || echo "kernel: not set up"
	du -shx "$LAB" 2>/dev/null | sed 's/\t.*//; s/^/size:   /'
}

clean() {
	[[ -d $LAB ]] || return 0
	lock_lab exclusive
	remove "$LAB"
	say "removed $LAB"
}
