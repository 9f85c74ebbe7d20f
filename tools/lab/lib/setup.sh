# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sets up the lab. Each stage builds its result under a temporary name and renames it
# at the end, so an incomplete result is never used.
#
#	tree.base		the base system from debootstrap
#	tree			the base system with all packages
#	kernels/source-U	kernel source, for all flavours of an upstream version
#	kernels/V		a kernel: prepared build directory, image, modules

BASE_TREE=$LAB/tree
TREE=$BASE_TREE
[[ $ARCH == amd64 ]] || TREE=$LAB/tree-$ARCH
KERNELS=$LAB/kernels
MIRROR=${DOORBELL_MIRROR:-http://deb.debian.org/debian}

# The compilers must be those that Debian built the kernel with.
PACKAGES=(
	rustc rust-src rustfmt rust-clippy cargo bindgen libclang-19-dev
	gcc-14 gcc libc6-dev gcc-multilib make bc flex bison libelf-dev libssl-dev
	kmod pahole python3 xz-utils cpio openssl perl rsync ca-certificates git
	qemu-system-x86 busybox-static python3-sphinx python3-ply python3-git
)

# The additional packages for these kernels: KASAN and CFI with Rust, and LTO, need clang.
CLANG_PACKAGES=(clang-19 lld-19 llvm-19)
LLVM=()
NEEDS_CLANG=
if is_from_source || [[ $FLAVOUR == in-tree-lto ]]; then
	LLVM=(LLVM=-19)
	NEEDS_CLANG=1
fi

# A changed recipe makes its result stale.
tree_recipe() {
	{
		echo "trixie $MIRROR ${PACKAGES[*]}"
		declare -f stage_base stage_packages
	} | sha
}

clang_recipe() {
	echo "${CLANG_PACKAGES[*]}" | sha
}

kernel_recipe() {
	if is_from_source; then
		{ declare -f stage_from_source && cat "$LAB_DIR"/{small,"$FLAVOUR"}.config; } | sha
	else
		declare -f stage_kernel stage_kdir | sha
	fi
}

# Prints this flavour's version of the kernel that DOORBELL_KERNEL names.
named_kernel() {
	local v=${DOORBELL_KERNEL:-}
	case $FLAVOUR:$v in
	*:)	;;
	7.2:*)	v=${v%-amd64}-amd64 ;;
	rt:*)	v=${v%-amd64} v=${v%-rt}-rt-amd64 ;;
	debug:* | cfi:* | kcsan:* | in-tree*:*) v=${v%%[+-]*}-$FLAVOUR ;;
	arm64:* | 16k:*)
		v=${v%-16k} v=${v%-amd64} v=${v%-arm64}-arm64
		[[ $FLAVOUR != 16k ]] || v+=-16k
		;;
	esac
	echo "$v"
}

# Prints the file with the version of the kernel. While one is set up, its version is in the
# file with .new appended, and after a failure the next run continues with that. But the kernel
# that DOORBELL_KERNEL names is for one run.
version_file() {
	echo "$LAB/kernel-version-$FLAVOUR${DOORBELL_KERNEL:+.named}"
}

# Prints the version of the kernel. Without DOORBELL_KERNEL, the set-up has chosen it.
kernel_version() {
	[[ -z ${DOORBELL_KERNEL:-} ]] || { named_kernel && return; }
	! is_in_tree || { echo "$(in_tree_base)-$FLAVOUR" && return; }
	cat "$(version_file)" 2>/dev/null
}

# kernel_source VERSION: prints the source directory, which all flavours of an upstream
# version share: kernels/source-7.3.4
kernel_source() {
	echo "$KERNELS/source-${1%%[+-]*}"
}

# kernel_dir: prints the directory with this run's build directory, image and modules. Each
# source tree has its own in-tree kernel.
kernel_dir() {
	is_in_tree && echo "$BUILD/$FLAVOUR" || echo "$KERNELS/$(kernel_version)"
}

have_tree() {
	[[ $(cat "$BASE_TREE/.doorbell-recipe" 2>/dev/null) == "$(tree_recipe)" ]]
}

have_kernel() {
	local v
	v=$(kernel_version)
	[[ -n $v && -d $(kernel_source "$v") &&
	   $(cat "$KERNELS/$v/recipe" 2>/dev/null) == "$(kernel_recipe)" ]]
}

have_clang() {
	[[ -z $NEEDS_CLANG || $(cat "$TREE/.doorbell-clang" 2>/dev/null) == $(clang_recipe) ]]
}

have_base() {
	have_tree && have_clang && have_foreign
}

have_all() {
	have_base && have_kernel
}

# Removes directories, after a check that nothing is mounted there. A tree in use has
# its mounts in other namespaces.
remove() {
	local dir
	for dir in "$@"; do
		[[ -e $dir ]] || continue
		! grep -q " $dir/" /proc/self/mountinfo || die "something is mounted in $dir"
		rm -rf --one-file-system "$dir"
	done
}

# Each source tree has a directory of its own for build output and logs.
BUILD=$LAB/build/$(echo "$SRC" | sha)

# Sets up the missing parts.
setup() {
	lock_lab shared
	if is_in_tree; then
		# It is built from the source of the default one, as the module is.
		local FLAVOUR=$ARCH DOORBELL_FLAVOUR=$ARCH
		export DOORBELL_FLAVOUR
	fi
	have_all || setup_base
}

# Sets up the tree and the kernel. No other run uses the tree while it changes. A new
# kernel does not disturb the others; one run at a time builds one.
setup_base() {
	if ! have_base; then
		if lock_lab exclusive have_base; then
			have_tree || need_space 5000 "the lab"
			say "setting up the lab in $LAB; this is done once and takes some minutes"
			have_tree || setup_debootstrap
			setup_tree
			setup_clang
			setup_foreign
		fi
		lock_lab shared
	fi
	have_kernel && return
	lock_file "$LAB/kernel-lock" exclusive
	if ! have_kernel; then
		need_space "$(is_from_source && echo 3000 || echo 1000)" "a kernel"
		say "setting up the kernel ($FLAVOUR); this is done once and takes some minutes"
		setup_kernel
	fi
	unlock_file "$LAB/kernel-lock"
}

setup_debootstrap() {
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
	remove "$BASE_TREE" "$LAB/tree.tmp"
	if [[ $(cat "$LAB/tree.base/.doorbell-recipe" 2>/dev/null) != "$(tree_recipe)" ]]; then
		remove "$LAB/tree.base"
		setup_stage base "base system (Debian 13)"
		stage_wait
	fi
	mv "$LAB/tree.base" "$LAB/tree.tmp"
	# The stamp is set already, so the tree has a temporary name until it has the packages.
	early_kernel || setup_resolve
	# The downloads need the network and the installation needs the CPU: run both at once.
	setup_stage packages "packages"
	early_kernel || setup_fetch
	stage_wait
	# The kernel's stages use the temporary name until here.
	mv "$LAB/tree.tmp" "$BASE_TREE"
}

# early_kernel: succeeds if there is no kernel to fetch while the tree is set up. That of
# another architecture needs a tree of its own.
early_kernel() {
	[[ $ARCH != amd64 ]] || have_kernel
}

setup_resolve() {
	local v
	v=$(named_kernel)
	if [[ -z $v ]] && is_from_source; then
		# The source of the default kernel, if it is present. Others may be of other series.
		v=$(cat "$LAB/kernel-version-amd64" 2>/dev/null)
		[[ -n $v && -d $(kernel_source "$v") ]] && v=${v%%[+-]*}-$FLAVOUR || v=
	fi
	if [[ -n $v ]]; then
		echo "$v" >"$(version_file).new"
	elif ! have_fetched; then
		setup_stage resolve "looking for a kernel"
		stage_wait
		report_choice kernel "$(cat "$(version_file).new")"
	fi
}

have_fetched() {
	local v
	v=$(cat "$(version_file).new" 2>/dev/null)
	[[ $(cat "$KERNELS/$v.tmp/fetched" 2>/dev/null) == "$(kernel_recipe)" ]]
}

# Starts the downloads of source and packages of the kernel.
setup_fetch() {
	local v
	v=$(cat "$(version_file).new")
	[[ -d $(kernel_source "$v") ]] || setup_stage source "kernel source"
	is_from_source || have_fetched || setup_stage kernel "kernel and headers"
}

setup_clang() {
	have_clang && return
	setup_stage clang "clang"
	stage_wait
}

setup_kernel() {
	have_kernel && return
	setup_resolve
	setup_fetch
	stage_wait
	if is_from_source; then
		setup_stage from_source "kernel from source ($FLAVOUR)"
	else
		setup_stage kdir "build directory with Rust metadata"
	fi
	stage_wait
	# A kernel that the user has named is not the next run's.
	if [[ ${DOORBELL_KERNEL:-} ]]; then
		rm -f "$(version_file).new"
	else
		mv "$(version_file).new" "$(version_file)"
	fi
}

# Prints the directory of the tree for stages that write to it.
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
	# The mount points for the rest of the lab, and those of the guest.
	mkdir -p "$tree"/{kernel,doorbell,build,cargo,out} "$tree/usr/lib/modules"
	mount_tree "$tree" rw && host_files "$tree" &&
	in_tree "$tree" apt-get -q update || return
	umount -R "$tree"
	tree_recipe >"$tree/.doorbell-recipe"
	sync -f "$tree"
	mv "$tree" "$LAB/tree.base"
}

# Copies the host's resolv.conf, which apt needs.
host_files() {
	# Stages share the tree, so the file is replaced atomically.
	cp -L /etc/resolv.conf "$1/etc/resolv.conf.$$" &&
	mv -f "$1/etc/resolv.conf.$$" "$1/etc/resolv.conf"
}

# Chooses the kernel. The flavours rt, debug, cfi and kcsan have the version of the default one, if
# the archive still has it.
stage_resolve() {
	local tree v found
	tree=$(working_tree)
	mount_tree "$tree" rw && host_files "$tree" || return
	[[ $tree == "$TREE" ]] && in_tree "$tree" apt-get -q update
	found=$(in_tree "$tree" apt-cache search --names-only '^linux-headers-7') || return
	v=$(choose_kernel "$(cat "$LAB/kernel-version-amd64" 2>/dev/null)" <<<"$found")
	[[ -n $v ]] || { echo "no $(kernel_series)x kernel in trixie-backports" && return 1; }
	echo "$v"
	echo "$v" >"$(version_file).new"
}

stage_packages() {
	local tree=$LAB/tree.tmp
	mount_tree "$tree" rw && host_files "$tree" &&
	in_tree "$tree" apt-get -q install -y "${PACKAGES[@]}" || return
	in_tree "$tree" apt-get -q clean
	umount -R "$tree"
	sync -f "$tree"
}

# add_packages PACKAGE...: installs more packages in the finished tree
add_packages() {
	mount_tree "$TREE" rw && host_files "$TREE" || return
	# The package lists are as old as the tree. An earlier installation may be incomplete.
	in_tree "$TREE" sh -c 'dpkg --configure -a && apt-get -q update &&
		apt-get -q install -f -y "$@" && apt-get -q clean' sh "$@" || return
	umount -R "$TREE"
}

stage_clang() {
	add_packages "${CLANG_PACKAGES[@]}" || return
	clang_recipe >"$TREE/.doorbell-clang"
	sync -f "$TREE"
}

# download TREE DIRECTORY PACKAGE...: downloads packages and unpacks them in DIRECTORY
# of the tree
download() {
	local tree=$1 dir=$2 package
	shift 2
	in_tree "$tree" mkdir "$dir/deb" || return
	for package in "$@"; do
		# apt-get downloads to its current directory.
		in_tree "$tree" sh -c "cd $dir/deb && apt-get -q download '$package'" || {
			echo "Debian's archive moves: versions vanish when newer ones come. Set"
			echo "DOORBELL_KERNEL to one that is there, or unset it for the newest."
			return 1
		}
		in_tree "$tree" sh -c "dpkg-deb -x $dir/deb/*.deb $dir && rm $dir/deb/*.deb" || return
	done
}

stage_source() {
	local tree v source new base
	tree=$(working_tree)
	v=$(cat "$(version_file).new")
	source=$(kernel_source "$v")
	new=$source.tmp
	base=${source##*-}
	base=${base%.*}
	remove "$new"
	mkdir -p "$new/source"
	mount_tree "$tree" rw && host_files "$tree" && mount --bind "$new" "$tree/kernel" || return
	v=$(in_tree "$tree" apt-cache madison "linux-source-$base" |
		awk -v u="${source##*-}-" 'index($3, u) == 1 { print $3; exit }')
	download "$tree" /kernel "linux-source-$base=${v:-${source##*-}}" || return
	# xz comes from the host, or from the tree as soon as its packages are installed.
	if command -v xz >/dev/null; then
		tar -C "$new/source" --strip-components=1 -xJf \
			"$new/usr/src/linux-source-$base.tar.xz" || return
	else
		in_tree "$tree" sh -c 'until command -v xz >/dev/null; do sleep 1; done'
		in_tree "$tree" tar -C /kernel/source --strip-components=1 -xJf \
			"/kernel/usr/src/linux-source-$base.tar.xz" || return
	fi
	sync -f "$new"
	mv "$new/source" "$source" && rm -rf "$new"
}

stage_kernel() {
	local tree v new
	tree=$(working_tree)
	v=$(cat "$(version_file).new")
	new=$KERNELS/$v.tmp
	remove "$new"
	mkdir -p "$new"/{root,source}
	mount_tree "$tree" rw && host_files "$tree" && mount --bind "$new" "$tree/kernel" &&
	download "$tree" /kernel/root "linux-base-$v" "linux-headers-$v" \
		"linux-binary-unsigned-$v" "linux-modules-$v" || return
	mv "$new/root/usr/lib/modules" "$new/modules" || return
	kernel_recipe >"$new/fetched"
}

# Regenerates the Rust metadata that Debian's headers lack, from the same source,
# configuration and compilers. All symbols are the same.
stage_kdir() {
	local v new h before after jobs
	v=$(cat "$(version_file).new")
	new=$KERNELS/$v.tmp
	h=$new/root/usr/src/linux-headers-$v
	jobs=$(nproc)
	rm -rf "$new/kdir"
	mkdir "$new/kdir"
	cp "$h/.config" "$h/.kernelvariables" "$h/Module.symvers" "$new/kdir/" || return
	# This vmlinux has only BTF. The module's own BTF and the layout of eventfds need it.
	[[ ! -f $h/vmlinux ]] || cp "$h/vmlinux" "$new/kdir/"
	mount_tree "$TREE" rw && mount --bind "$new" "$TREE/kernel" &&
	bind_ro "$(kernel_source "$v")" "$TREE/kernel/source" || return
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
	rm -rf "$new"/{root,fetched}
	kernel_recipe >"$new/recipe"
	sync -f "$new"
	remove "$KERNELS/$v"
	mv "$new" "$KERNELS/$v"
}

# Builds a kernel from source. Its checks are more important than its speed.
stage_from_source() {
	local v new line recipe lost=
	local -r configs=("$LAB_DIR"/{small,"$FLAVOUR"}.config)
	v=$(cat "$(version_file).new")
	new=$KERNELS/$v.tmp
	# The recipe of this build, even if a configuration changes during the build.
	recipe=$(kernel_recipe)
	# Kbuild reuses the valid objects of an interrupted build or of another configuration.
	[[ -d $new || ! -d $KERNELS/$v ]] || mv "$KERNELS/$v" "$new"
	rm -rf "$new"/{recipe,root,modules}
	mkdir -p "$new"/{kdir,source,modules}
	mount_tree "$TREE" rw && mount --bind "$new" "$TREE/kernel" &&
	bind_ro "$(kernel_source "$v")" "$TREE/kernel/source" || return
	kmake() {
		in_tree "$TREE" make -C /kernel/source O=/kernel/kdir "${LLVM[@]}" -j"$(nproc)" "$@"
	}
	kmake tinyconfig && cat "${configs[@]}" >>"$new/kdir/.config" &&
	kmake olddefconfig || return
	# olddefconfig silently drops an option whose dependencies are missing.
	while read -r line; do
		case $line in
		CONFIG_*)	grep -qxF "$line" "$new/kdir/.config" ;;
		'# CONFIG_'*)	! grep -q "^${line:2:-11}=" "$new/kdir/.config" ;;
		esac || lost+=" ${line//[# ]/}"
	done < <(grep -hE '^(CONFIG_|# CONFIG_[A-Z0-9_]+ is not set$)' "${configs[@]}")
	[[ -z $lost ]] || { echo "$FLAVOUR.config: not possible with this kernel:$lost" && return 1; }
	kmake bzImage modules && kmake INSTALL_MOD_PATH=/kernel/root modules_install || return
	mv "$new/root/lib/modules/$v" "$new/modules/" || return
	rm -rf "$new/root"
	cp "$new/kdir/arch/x86/boot/bzImage" "$new/modules/$v/vmlinuz" || return
	umount -R "$TREE"
	echo "$recipe" >"$new/recipe"
	sync -f "$new"
	mv "$new" "$KERNELS/$v"
}

# Checks that Debian's kernel exports every symbol of the regenerated objects. A module
# does not load if the hashes of its Rust symbols differ.
rust_symbols_match() {
	local kdir=$1 made missing
	made=$(find "$kdir/rust" -name 'exports_*_generated.h' -exec \
		sed -nE 's/^EXPORT_SYMBOL_RUST_GPL\((.*)\);$/\1/p' {} + | sort -u)
	missing=$(comm -23 <(echo "$made") <(cut -f2 "$kdir/Module.symvers" | sort -u) | wc -l)
	echo "$(echo "$made" | wc -l) Rust symbols regenerated, $missing of them unknown to the kernel"
	((missing == 0)) && [[ -n $made ]]
}

status() {
	local v
	echo "lab:    $LAB"
	have_tree && echo "tree:   ready" || echo "tree:   not set up"
	for FLAVOUR in "${FLAVOURS[@]}"; do
		v="not set up"
		! is_in_tree || { [[ ! -s $(kernel_dir)/built ]] || v=$(kernel_version); printf '%-11s%s\n' "$FLAVOUR:" "$v"; continue; }
		have_clang && have_foreign && have_kernel && v=$(kernel_version)
		printf '%-8s%s\n' "$FLAVOUR:" "$v"
	done
	[[ $ARCH != amd64 ]] || arm64_status
	printf '%-8s%s\n' qemu: "$(qemu_status)"
	du -shx "$LAB" 2>/dev/null | sed 's/\t.*//; s/^/size:   /'
}

clean() {
	[[ -d $LAB ]] || return 0
	lock_lab exclusive
	# The lock file is removed last.
	LOGS=$(mktemp -d)
	stage_begin clean "removing $LAB" clean_lab
	stage_wait
	rm -rf "$LOGS"
	remove "$LAB"
	say "removed $LAB"
}

# Removes all but the lock file. Prints each directory, as this takes minutes on a slow
# disk.
clean_lab() {
	local dir
	for dir in "$LAB"/{build,kernels,tree/usr,tree}/* "$LAB"/*; do
		[[ $dir != "$LAB/lock" && -e $dir ]] || continue
		echo "${dir#"$LAB"/}"
		remove "$dir" || return
	done
}
