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

IN_TREE=$BUILD/in-tree
IN_TREE_PATCHES=$SRC/tools/in-tree/patches

# patches_of SERIES: prints the patches of one series, in order: eventfd or kvm. Each series is
# posted, checked and built on its own; the in-tree kernel has both. irq_work is the part of the
# series of eventfds that is posted before it, on its own.
patches_of() {
	local patch
	for patch in "$IN_TREE_PATCHES"/*.patch; do
		case $1:${patch##*/} in
		kvm:*-KVM-*)	echo "$patch" ;;
		irq_work:*-gpio-* | irq_work:*-dma-buf-* | irq_work:*-irq_work-*)	echo "$patch" ;;
		kvm:* | irq_work:* | eventfd:*-KVM-*)	;;
		eventfd:*)	echo "$patch" ;;
		esac
	done
}

# is_in_tree: succeeds if this run uses the in-tree kernel
is_in_tree() {
	[[ $FLAVOUR == in-tree* ]]
}

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
	# A patch may be gone whose file is compiled already. The time of such a file must be new,
	# or Kbuild would not compile it again. The list is never shortened: a run that fails here
	# may be followed by one without the patch.
	touch "$dir.changed" || return
	for patch in "$IN_TREE_PATCHES"/*.patch; do
		sed -n 's|^+++ b/||p' "$patch" >>"$dir.changed"
	done
	sort -u -o "$dir.changed" "$dir.changed" || return
	remove "$dir.tmp"
	cp -al "$(kernel_source "$(in_tree_base)")" "$dir.tmp" || return
	while read -r file; do
		[[ ! -f $dir.tmp/$file ]] || renew_file "$dir.tmp/$file" || return
	done <"$dir.changed"
	mount --bind "$dir.tmp" "$TREE/mnt" || return
	for patch in "$IN_TREE_PATCHES"/*.patch; do
		echo "applying ${patch##*/}"
		# git replaces the files that a patch changes.
		if ! in_tree "$TREE" git -C /mnt apply --whitespace=nowarn - <"$patch"; then
			echo "${patch##*/} does not apply"
			umount "$TREE/mnt"
			return 1
		fi
	done
	umount "$TREE/mnt"
	# A file that is the same as in the earlier copy keeps its time: what was compiled is right.
	while read -r file; do
		! cmp -s "$dir/$file" "$dir.tmp/$file" || ln -f "$dir/$file" "$dir.tmp/$file" || return
	done <"$dir.changed"
	echo "$key" >"$dir.tmp/.in-tree-key"
	remove "$dir"
	mv "$dir.tmp" "$dir"
}

# renew_file FILE: replaces a hard link by a copy of its own with a new time
renew_file() {
	cp "$1" "$1.new" && mv "$1.new" "$1"
}

# places: reads names of files of this repository and prints "FILE PLACE" for each place; for a
# file without a line in the table "FILE ?", and at the end "? LINE" for each line without a file
places() {
	awk '
		NR == FNR {
			if (!/^#/ && NF == 2) { from[+n] = $1; to[n++] = $2 }
			next
		}
		{
			longest = 0
			for (i = 0; i < n; i++) {
				if ($0 != from[i] && (from[i] !~ /\/$/ || index($0, from[i]) != 1)) continue
				if (length(from[i]) < longest) continue
				if (length(from[i]) > longest) m = 0
				longest = length(from[i])
				line[m++] = i
			}
			if (!longest) print $0, "?"
			for (i = 0; longest && i < m; i++) {
				used[line[i]] = 1
				place = to[line[i]]
				print $0, place ~ /\/$/ ? place substr($0, longest + 1) : place
			}
		}
		END { for (i = 0; i < n; i++) if (!used[i]) print "?", from[i] }' "$SRC/tools/in-tree/places" -
}

# source_files: prints the files of this repository, without built ones
source_files() {
	(cd "$SRC" && find . \( -path ./.git -o -path ./out -o -name target \) -prune -o ! -type d ! -name '*.o' ! -name '*.ko' \
		! -name '*.mod' ! -name '*.mod.c' ! -name '.*.cmd' ! -name '.*.d' ! -name modules.order ! -name Module.symvers \
		! -name '*_generated.rs' ! -name eventfd_layout.rs ! -name .git -printf '%P\n') | sort
}

# in_tree_files: prints "FILE PLACE" for the files that are copied to a kernel tree
in_tree_files() {
	source_files | places | awk '$1 != "?" && $2 !~ /^(-|[?]|MAINTAINERS)$/'
}

# put FILE: replaces FILE by the standard input, unless they are equal
put() {
	mkdir -p "${1%/*}" && cat >"$1.new" || return
	if cmp -s "$1.new" "$1"; then
		rm "$1.new"
	else
		mv "$1.new" "$1"
	fi
}

# add_line FILE PATTERN LINE: inserts LINE before the first line that matches the extended
# regular expression, unless the file has LINE already. At the end if PATTERN is "$".
add_line() {
	local file=$1 rc
	! grep -qxF -- "${3%%$'\n'*}" "$file" || return 0
	if [[ $2 == '$' ]]; then
		{ cat "$file" && printf '%s\n' "$3"; } >"$file.new"
	else
		LINE=$3 awk -v pattern="$2" '!done && $0 ~ pattern { print ENVIRON["LINE"]; done = 1 } { print }
			END { exit !done }' "$file" >"$file.new"
	fi
	rc=$?
	if ((rc)); then
		echo "${file##*/}: no line matches $2"
		return 1
	fi
	mv "$file.new" "$file"
}

# in_tree_text FILE PLACE: prints what FILE of this repository has in a kernel tree
in_tree_text() (
	set -o pipefail
	awk -f "$SRC/tools/in-tree/strip.awk" "$SRC/$1" |
	if [[ $2 == *.rst ]]; then
		# Pages that the kernel does not have are named, not linked.
		# shellcheck disable=SC2016
		sed -E "s/:doc:\`($absent)\`/\`\`\\1.rst\`\` of the project/g"
	elif [[ $2 == *.rs ]]; then
		awk -f "$SRC/tools/in-tree/wrap.awk"
	else
		cat
	fi
)

# out_of_tree_traces: prints what is left in the placed files of the parts that are for a module
# outside the tree. Pages name the project's tools. reload.c removes sections of a module, as strip(1) does.
out_of_tree_traces() {
	cut -d' ' -f 2 "$1/.in-tree-placed" | grep -vx tools/testing/selftests/doorbell/reload.c |
		(cd "$1" && xargs grep -nE '7_2|7\.2|KBUILD_EXTMOD|BTF|MODULE_VERSION|pahole|[Oo]ut of tree|in tree:|tools/(in-tree|lab)/' /dev/null) |
		grep .
}

# in_tree_driver DIR: puts the driver into a copy that in_tree_source has made, or updates it
in_tree_driver() {
	local dir=$1 file place absent
	in_tree_files >"$dir/.in-tree-placed.new" || return
	absent=$(cd "$SRC/Documentation" && for file in *.rst; do
		grep -q "^Documentation/$file " "$dir/.in-tree-placed.new" || echo "${file%.rst}"
	done | paste -sd '|')
	while read -r file place; do
		in_tree_text "$file" "$place" >"$dir/.in-tree-text" && put "$dir/$place" <"$dir/.in-tree-text" || return
		[[ ! -x $SRC/$file ]] || chmod +x "$dir/$place"
	done <"$dir/.in-tree-placed.new"
	if [[ -s $dir/.in-tree-placed ]]; then
		comm -23 <(cut -d' ' -f 2 "$dir/.in-tree-placed" | sort) <(cut -d' ' -f 2 "$dir/.in-tree-placed.new" | sort) |
			while read -r place; do
				rm -f "$dir/$place"
			done
	fi
	mv "$dir/.in-tree-placed.new" "$dir/.in-tree-placed"
	! out_of_tree_traces "$dir" || return
	add_line "$dir/drivers/misc/Kconfig" '^endmenu' 'source "drivers/misc/doorbell/Kconfig"' &&
	add_line "$dir/drivers/misc/Makefile" '$' $'obj-$(CONFIG_DOORBELL)\t\t+= doorbell/' &&
	add_line "$dir/samples/Kconfig" '^endif # SAMPLES' $'source "samples/doorbell/Kconfig"\n' &&
	add_line "$dir/samples/Makefile" '$' $'obj-$(CONFIG_SAMPLE_DOORBELL)\t\t+= doorbell/' &&
	add_line "$dir/MAINTAINERS" '^DPAA2 DATAPATH I/O' "$(cat "$SRC/tools/in-tree/files/MAINTAINERS")"$'\n' &&
	add_line "$dir/Documentation/misc-devices/index.rst" '^   dw-xdata-pcie' '   doorbell/index' &&
	add_line "$dir/tools/testing/selftests/Makefile" '^TARGETS \+= drivers/dma-buf' 'TARGETS += doorbell' &&
	add_line "$dir/Documentation/userspace-api/ioctl/ioctl-number.rst" '^0xDD +00-3F' \
		'0xDB  all    linux/doorbell.h                                           Documentation/misc-devices/doorbell/uapi.rst'
}

# need_in_tree_space FLAVOUR...: dies if less is free than those of these kernels take that are not built yet
need_in_tree_space() {
	local flavour missing=0
	for flavour; do
		[[ -s $BUILD/$flavour/built ]] || missing=$((missing + 1))
	done
	((missing == 0)) || need_space $((2300 * missing)) "the driver in a kernel tree"
}

# make_in_tree: makes or updates the copy with the driver
make_in_tree() {
	mkdir -p "$IN_TREE" || return
	# An empty directory is none that in_tree_source has made.
	rmdir "$IN_TREE/source" 2>/dev/null
	in_tree_source "$IN_TREE/source" && in_tree_driver "$IN_TREE/source"
}

# in_tree_make [ARGUMENT...]: runs make in the kernel tree. The lab's mount of it is read-only,
# so the paths are below /build.
in_tree_make() {
	in_tree "$TREE" make -C /build/in-tree/source O="/build/$FLAVOUR/kdir" "${LLVM[@]}" -j"$(nproc)" "$@"
}

# in_tree_config: prints what the configuration has on top of tinyconfig
in_tree_config() {
	# Without the checks, which begin there.
	{ sed '/^# Undefined behaviour,/,$d' "$LAB_DIR/small.config" && cat "$SRC/tools/in-tree/in-tree.config"; } |
		case $FLAVOUR in
		in-tree)	cat ;;
		in-tree-y)	sed 's/^CONFIG_DOORBELL=m/CONFIG_DOORBELL=y/; s/^CONFIG_LOCALVERSION=.*/CONFIG_LOCALVERSION="-in-tree-y"/' ;;
		# A kernel with Rust has either LTO or BTF.
		in-tree-lto)	sed 's/^CONFIG_DEBUG_INFO_BTF=y/# CONFIG_DEBUG_INFO_BTF is not set/
				s/^CONFIG_LOCALVERSION=.*/CONFIG_LOCALVERSION="-in-tree-lto"\nCONFIG_LTO_CLANG_THIN=y/' ;;
		esac
}

# other_base KDIR: succeeds if KDIR was last built from another version of the kernel. Its objects
# may be newer than the files of this one.
other_base() {
	local release
	release=$(cat "$1/include/config/kernel.release" 2>/dev/null) || return
	[[ ${release%%[+-]*} != "$(in_tree_base)" ]]
}

# configure_in_tree: writes the configuration, unless it is the same
configure_in_tree() {
	local dir=$BUILD/$FLAVOUR line lost=
	# The built-in driver has a build directory of its own, which begins as a copy.
	if [[ $FLAVOUR == in-tree-y && ! -s $dir/kdir/.config && -s $IN_TREE/built ]]; then
		cp -a "$IN_TREE/kdir/." "$dir/kdir/" || return
	fi
	! other_base "$dir/kdir" || find "$dir/kdir" -mindepth 1 -delete || return
	in_tree_config >"$dir/config.new"
	if [[ ! -s $dir/kdir/.config ]] || ! cmp -s "$dir/config.new" "$dir/config"; then
		rm -f "$dir/config"
		in_tree_make tinyconfig && cat "$dir/config.new" >>"$dir/kdir/.config" || return
	fi
	# The driver may have a new option.
	in_tree_make olddefconfig || return
	while read -r line; do
		case $line in
		CONFIG_*)	grep -qxF "$line" "$dir/kdir/.config" ;;
		'# CONFIG_'*)	! grep -q "^${line:2:-11}=" "$dir/kdir/.config" ;;
		esac || lost+=" ${line//[# ]/}"
	done < <(grep CONFIG_ "$dir/config.new")
	[[ -z $lost ]] || { echo "in-tree.config: not possible with this kernel:$lost" && return 1; }
	mv "$dir/config.new" "$dir/config"
}

# build_in_tree: builds the kernel and the modules, and copies those of doorbell to where
# guests look for the module
build_in_tree() {
	local dir=$BUILD/$FLAVOUR v out module
	out=$BUILD/$(module_dir)
	v=$(kernel_version)
	configure_in_tree || return
	in_tree_make bzImage modules || return
	rm -rf "$dir/root"
	in_tree_make INSTALL_MOD_PATH="/build/$FLAVOUR/root" modules_install || return
	mkdir -p "$dir/modules/$v" &&
	cp -a --remove-destination "$dir/root/lib/modules/$v/." "$dir/modules/$v/" &&
	rm -rf "$dir/root" &&
	cp "$dir/kdir/arch/x86/boot/bzImage" "$dir/modules/$v/vmlinuz" || return
	rm -f "$out"/doorbell.ko
	while read -r module; do
		case $module in
		drivers/misc/doorbell/doorbell.ko)	put "$out/doorbell.ko" ;;
		drivers/misc/doorbell/test/*)	put "$out/tools/testing/selftests/doorbell/module/${module##*/}" ;;
		samples/doorbell/*)		put "$out/samples/${module#samples/doorbell/}" ;;
		esac <"$dir/kdir/$module" || return
	done < <(sed 's/\.o$/.ko/' "$dir/kdir/modules.order" | grep doorbell)
	# A module outside the tree finds what the driver exports in the kernel's own Module.symvers.
	put "$out/Module.symvers" </dev/null || return
	# These stay outside the kernel tree.
	for module in twin vfio-user; do
		in_tree "$TREE" make -C "/build/$FLAVOUR/kdir" M="/doorbell/tools/testing/$module" \
			MO="/build/$(module_dir)/tools/testing/$module" "${LLVM[@]}" CONFIG_TEST_DOORBELL=m modules || return
	done
	echo "$v" >"$dir/built"
}

# make in-tree: builds that kernel and runs the checks of a reviewer. Each check prints its
# findings, and writes a summary with their number to COUNT.

IN_TREE_CHECKS=(places module checkpatch kernel_doc docs selftests sparse clippy rustdoc smatch built_in lto)

# The files of the kernel to which the driver adds lines.
DRIVER_LINES=(drivers/misc/{Kconfig,Makefile} samples/{Kconfig,Makefile} MAINTAINERS
	Documentation/misc-devices/index.rst Documentation/userspace-api/ioctl/ioctl-number.rst
	tools/testing/selftests/Makefile)

# in_tree_patch: prints the driver as one patch
in_tree_patch() {
	local dir=$IN_TREE/source base file
	base=$(kernel_source "$(in_tree_base)")
	cat <<-HEADER
	From: The doorbell authors <maintainers@doorbell.invalid>
	Subject: [PATCH] misc: doorbell: add an interrupt controller for eventfds

	/dev/doorbell gives a process numbered interrupt lines that are wired to
	eventfds. A line can be masked, its pending bit can be queried, and it can
	be level-triggered, acked and resampled.

	Signed-off-by: The doorbell authors <maintainers@doorbell.invalid>
	---
	HEADER
	cut -d' ' -f 2 "$dir/.in-tree-placed" | sort | (cd "$dir" && xargs wc -l) | awk '$2 != "total" { print " " $2 " | " $1 " +" }'
	echo " MAINTAINERS | $(wc -l <"$SRC/tools/in-tree/files/MAINTAINERS") +"
	echo
	for file in "${DRIVER_LINES[@]}"; do
		echo "diff --git a/$file b/$file"
		diff -u --label "a/$file" --label "b/$file" "$base/$file" "$dir/$file"
	done
	cut -d' ' -f 2 "$dir/.in-tree-placed" | sort | while read -r file; do
		printf 'diff --git a/%s b/%s\nnew file mode 100%s\n' "$file" "$file" "$([[ -x $dir/$file ]] && echo 755 || echo 644)"
		diff -u --label /dev/null --label "b/$file" /dev/null "$dir/$file"
	done
}

# argued NAME: reads findings "FILE:LINE: ...:TYPE: TEXT", prints those that tools/in-tree/NAME-exceptions
# does not argue, and counts both
argued() {
	awk -v count="$COUNT" '
		NR == FNR {
			if (!/^#/ && NF >= 3) { type[+n] = $1; file[n++] = $2 }
			next
		}
		/^[^ ]+:[0-9]+: / {
			split($0, part, /: ?/)
			for (i = 0; i < n; i++)
				if (index($0, ":" type[i] ":") && part[1] ~ "^" file[i] "$") {
					used[i] = 1
					argued++
					next
				}
			print
			left++
		}
		END {
			for (i = 0; i < n; i++)
				if (!used[i]) {
					print "no finding any more: " type[i] " " file[i]
					left++
				}
			print left + 0 " findings, " argued + 0 " argued" >count
			exit left > 0
		}' "$SRC/tools/in-tree/$1-exceptions" -
}

in_tree_checkpatch() {
	in_tree_patch >"$IN_TREE/driver.patch"
	in_tree "$TREE" env -C /build/in-tree/source perl scripts/checkpatch.pl --strict --terse --showfile --show-types \
		--no-summary --codespell --codespellfile /nonexistent /build/in-tree/driver.patch >"$COUNT.log" 2>&1
	ran checkpatch $? 1 && argued checkpatch <"$COUNT.log"
}

# ran COMMAND STATUS [MAXIMUM]: fails if a checker did not run to its end. Findings are a status
# of at most MAXIMUM; otherwise it is zero.
ran() {
	(($2 <= ${3:-0})) || { cat "$COUNT.log"; echo "error: $1 has ended with status $2"; return 1; }
}

in_tree_kernel_doc() {
	local files
	mapfile -t files < <(cut -d' ' -f 2 "$IN_TREE/source/.in-tree-placed" | grep '\.[ch]$')
	some "${#files[@]}" files || return
	counted in_tree "$TREE" env -C /build/in-tree/source scripts/kernel-doc -none -Wall "${files[@]}"
}

in_tree_places() {
	local n files
	set -o pipefail
	source_files | places >"$COUNT.all" || return
	grep -F '?' "$COUNT.all" | tee "$COUNT.log"
	n=$(wc -l <"$COUNT.log")
	files=$(in_tree_files | wc -l) && some "$files" files || return
	echo "$files files, $n without a line or a file" >"$COUNT"
	((n == 0))
}

in_tree_module() {
	local modules
	build_in_tree || return
	modules=$(grep -c doorbell "$BUILD/$FLAVOUR/kdir/modules.order")
	some "$modules" modules || return
	echo "$modules modules, for make test KERNEL=in-tree" >"$COUNT"
}

in_tree_built_in() {
	local FLAVOUR=in-tree-y
	build_dirs
	build_in_tree || return
	grep -q ' doorbell_ring$' "$BUILD/$FLAVOUR/kdir/System.map" || { echo "no driver in vmlinux" && return 1; }
	echo "for make test KERNEL=in-tree-y" >"$COUNT"
}

in_tree_lto() {
	local FLAVOUR=in-tree-lto LLVM=(LLVM=-19)
	build_dirs
	build_in_tree || return
	grep -qx CONFIG_LTO_CLANG_THIN=y "$BUILD/$FLAVOUR/kdir/.config" || { echo "a kernel without LTO" && return 1; }
	echo "for make test KERNEL=in-tree-lto" >"$COUNT"
}

# Writes the findings of a compiler, as in "path:1:2: warning: text", and their number.
count_findings() {
	local n
	tee "$COUNT.log"
	n=$(grep -ciE '(warning|error)(\[[A-Z0-9]+\])?: ' "$COUNT.log")
	echo "$n findings" >"$COUNT"
	((n == 0))
}

# counted COMMAND...: runs a checker and counts its findings. Fails if there are any, or if the
# checker fails.
counted() (
	set -o pipefail
	"$@" 2>&1 | count_findings
)

# some NUMBER WHAT: fails if a check has looked at nothing
some() {
	((${1:-0} > 0)) || { echo "error: no $2 to check"; echo "0 $2" >"$COUNT"; return 1; }
}

# The kernel's own "make htmldocs" needs more of Python than the lab has; its extension for
# kernel-doc comments is the same.
in_tree_docs() {
	local pages
	pages=$(grep -c misc-devices/doorbell "$IN_TREE/source/.in-tree-placed")
	some "$pages" pages || return
	counted in_tree "$TREE" env KERNEL_SOURCE=/build/in-tree/source sphinx-build -q -W --keep-going -b html \
		-c /doorbell/Documentation -D kerneldoc_srctree=/build/in-tree/source \
		/build/in-tree/source/Documentation/misc-devices/doorbell /tmp/html || return
	echo "0 findings in $pages pages" >"$COUNT"
}

in_tree_selftests() {
	local programs
	in_tree_make headers_install >/dev/null || return
	# Programs of an earlier build do not count.
	rm -rf "$BUILD/$FLAVOUR/kdir/kselftest/doorbell"
	counted in_tree_make -C /build/in-tree/source/tools/testing/selftests TARGETS=doorbell \
		KBUILD_OUTPUT="/build/$FLAVOUR/kdir" || return
	programs=$(find "$BUILD/$FLAVOUR/kdir/kselftest/doorbell" -type f -executable | wc -l)
	some "$programs" programs || return
	echo "$programs programs" >"$COUNT"
}

# driver_rustc COMMAND ARGUMENT...: runs another command with the arguments of the compiler of the driver
driver_rustc() {
	local command=$1
	shift
	# shellcheck disable=SC2016
	in_tree "$TREE" env -C "/build/$FLAVOUR/kdir" RUSTC_BOOTSTRAP=1 CLIPPY_CONF_DIR=/build/in-tree/source \
		DOORBELL_OBJ="/build/$FLAVOUR/kdir/drivers/misc/doorbell" sh -c '
		line=$(sed -nE "1s/^savedcmd_[^ ]* := //p" drivers/misc/doorbell/rust/.doorbell.o.cmd |
			sed -E "s/ rustc / $0 /; s/ --out-dir [^ ]+//; s/ --emit=[^ ]+//g; s/;.*//")
		[ -n "$line" ] || { echo "error: the driver is not built: make in-tree T=module builds it"; exit 1; }
		# rustdoc has no options of the code generator.
		[ "$0" != rustdoc ] || line=$(printf %s "$line" | sed -E "s/ -Z(binary_dep_depinfo|function-sections|cf-protection|no-jump-tables|tune-cpu|function-return|patchable-function-entry)[^ ]*//g")
		eval "$line $*"' "$command" "$@" 2>&1
}

in_tree_clippy() {
	counted driver_rustc clippy-driver -Dwarnings --emit=metadata=/tmp/doorbell.rmeta
}

in_tree_rustdoc() {
	counted driver_rustc rustdoc -Dwarnings --document-private-items -o /tmp/rustdoc
}

# sparse of sid, as that of trixie does not know all of this kernel. It needs nothing but the
# tree's C library. It has a directory of its own, so the tree does not change: /srv in the tree.
SPARSE=$LAB/sparse

# The tree is read-only and may be in use, as for the second QEMU.
stage_sparse() {
	local new=$SPARSE.tmp apt=(-o Dir::Etc::SourceList=/tmp/sid.list -o Dir::Etc::SourceParts=/dev/null
		-o Dir::State::Lists=/tmp/lists -o Acquire::Check-Valid-Until=false)
	remove "$new"
	mkdir -p "$new/deb"
	mount_tree "$TREE" && mount --bind "$TREE/run/host/resolv.conf" "$TREE/etc/resolv.conf" &&
	mount -t tmpfs cache "$TREE/var/cache/apt" && mount --bind "$new" "$TREE/srv" || return
	mkdir "$TREE/tmp/lists"
	echo "deb $MIRROR sid main" >"$TREE/tmp/sid.list"
	in_tree "$TREE" apt-get -q "${apt[@]}" update --error-on=any &&
	in_tree "$TREE" env -C /srv/deb apt-get -q "${apt[@]}" download sparse &&
	in_tree "$TREE" sh -c 'dpkg-deb -x /srv/deb/sparse_*.deb /srv && dpkg-deb -f /srv/deb/sparse_*.deb Version >/srv/version' &&
	in_tree "$TREE" /srv/usr/bin/sparse --version || return
	rm -rf "${new:?}/deb" "${new:?}/usr/share"
	umount -R "$TREE"
	sync -f "$new"
	mv -T "$new" "$SPARSE"
}

# setup_sparse: downloads sparse if it is to run and is missing
setup_sparse() {
	! selected sparse || [[ -d $SPARSE ]] && return
	lock_file "$LAB/sparse-lock" exclusive
	if [[ ! -d $SPARSE ]]; then
		setup_stage sparse "sparse of sid"
		KEEP_GOING=1 stage_wait
	fi
	unlock_file "$LAB/sparse-lock"
}

# C=2 checks each C source below the directory, compiled before or not.
run_sparse() {
	local dir
	for dir in drivers/misc/doorbell samples/doorbell; do
		in_tree_make C=2 CHECK=/srv/usr/bin/sparse "$dir/" || return
	done
}

in_tree_sparse() {
	local files
	[[ -d $SPARSE ]] || { echo "sparse is not set up: see $LAB/log/sparse.log" && return 1; }
	bind_ro "$SPARSE" "$TREE/srv" && counted run_sparse || return
	files=$(grep -c '^ *CHECK ' "$COUNT.log")
	some "$files" files || return
	echo "0 findings in $files files, version $(<"$SPARSE/version")" >"$COUNT"
}

# smatch is not a package of Debian; if it becomes one, this check is to be written.
in_tree_smatch() {
	[[ -z $(in_tree "$TREE" apt-cache policy smatch 2>/dev/null) ]] || { echo "trixie has smatch now" && return 1; }
	echo "# SKIP trixie has no package smatch" >"$COUNT"
}

run_in_tree() {
	local check at=0 failed=0 skipped=0 names=("${IN_TREE_CHECKS[@]}") counts kernels=()
	SELECTED=("$@")
	! selected lto || NEEDS_CLANG=1
	! selected module || kernels+=(in-tree)
	! selected built_in || kernels+=(in-tree-y)
	! selected lto || kernels+=(in-tree-lto)
	setup || return
	need_in_tree_space "${kernels[@]}"
	setup_sparse
	build_dirs
	LOGS=$BUILD/log
	counts=$BUILD/in-tree/count
	mkdir -p "$counts"
	lock_file "$BUILD/lock" exclusive
	stage_begin in-tree-source "putting the driver into a kernel tree" make_in_tree
	stage_wait
	mount_lab
	for check in "${names[@]}"; do
		selected "$check" || continue
		at=$((at + 1))
		COUNT=$counts/$check
		rm -f "$COUNT"
		stage_begin "check-in-tree-$check" "in-tree: $check" "in_tree_$check"
		if KEEP_GOING=1 STAGE_TAIL=60 stage_wait; then
			echo "ok $at - $check $(cat "$COUNT" 2>/dev/null)"
			! grep -q '^# SKIP' "$COUNT" 2>/dev/null || skipped=$((skipped + 1))
		else
			echo "not ok $at - $check $(cat "$COUNT" 2>/dev/null)"
			failed=$((failed + 1))
		fi
	done
	((at)) || die "no check is called $*" "there are: ${names[*]}"
	unlock_file "$BUILD/lock"
	((!skipped)) || echo "# $skipped skipped"
	echo "$((at - failed - skipped)) passed, $failed failed"
	((failed == 0))
}
