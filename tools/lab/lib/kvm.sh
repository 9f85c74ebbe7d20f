# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# make kvm-selftest: a change to KVM, tools/in-tree/patches/*-KVM-*.patch, and the selftest
# that comes with it. KVM is a module of Debian's kernels, so only KVM is built. The guest
# runs the selftest with Debian's KVM, and with the patched one.
#
#	build/*/kvm/VERSION/source	the patched part of the kernel's source
#	build/*/kvm/VERSION/modules	the patched KVM
#	build/*/kvm/VERSION/headers	the UAPI headers of that kernel
#	build/*/kvm/VERSION/selftests	the selftest

# The part of the source that the patches may change, and what of it is mounted over the
# lab's source for the build.
KVM_PATHS=(arch/x86/kvm virt/kvm include/linux/kvm_host.h include/linux/kvm_irqfd.h tools/testing/selftests/kvm)
KVM_TEST=x86/irqfd_resample_test

kvm_patches() {
	patches_of kvm
}

# kvm_checkpatch: prints what checkpatch.pl --strict finds in the patches, and
# tools/in-tree/kvm-exceptions does not argue; fails if there is a finding
kvm_checkpatch() {
	local patch name
	for patch in $(kvm_patches); do
		name=${patch##*/}
		# It fails if it finds something.
		in_tree "$TREE" env -C "$KSRC" perl scripts/checkpatch.pl --strict --terse --show-types \
			--no-summary - <"$patch" 2>&1 | sed "s/^/${name%%-*} /"
	done | kvm_argued "$SRC/tools/in-tree/kvm-exceptions"
}

# kvm_argued EXCEPTIONS: reads lines "PATCH -:LINE: LEVEL:TYPE: text"; prints those without an
# exception, and the exceptions without a line, and fails if there is one
kvm_argued() {
	awk '
		NR == FNR { if (!/^#/ && NF >= 3) argued[$1 " " $2] = 1; next }
		{
			split($0, part, ":")
			key = $1 " " part[4]
			if (key in argued) { used[key] = 1; next }
			print
			bad = 1
		}
		END {
			for (key in argued)
				if (!(key in used)) { print "no finding any more: " key; bad = 1 }
			exit bad
		}' "$1" -
}

# kvm_source DIRECTORY SOURCE: makes DIRECTORY a copy of a part of the kernel's source, with
# the patches. The copy has old times, so objects of other patches are removed.
kvm_source() {
	local dir=$1 source=$2 patch path key
	key=$(kvm_patches | xargs cat | sha)
	[[ $(cat "$dir/.key" 2>/dev/null) != "$key" ]] || return 0
	rm -rf "$dir" "${dir%/source}/modules" "${dir%/source}/selftests"
	for path in "${KVM_PATHS[@]}" Documentation/virt/kvm/api.rst; do
		mkdir -p "$dir/$(dirname "$path")" && cp -a "$source/$path" "$dir/$path" || return
	done
	for patch in $(kvm_patches); do
		say "applying ${patch##*/}"
		in_tree "$TREE" git -C "${dir/#$BUILD//build}" apply --whitespace=nowarn - <"$patch" || return
	done
	echo "$key" >"$dir/.key"
}

# build_kvm DIRECTORY: builds KVM and the selftest in DIRECTORY, a path in the tree
build_kvm() {
	local dir=$1 path
	for path in "${KVM_PATHS[@]}"; do
		bind_ro "$TREE$dir/source/$path" "$TREE$KSRC/$path" || return
	done
	mkdir -p "$TREE$dir"/{modules/arch/x86/kvm,headers,selftests}
	# KVM's makefile names files of virt/kvm by relative paths, so the output has the same depth.
	in_tree "$TREE" make -C "$KDIR" M="$KSRC/arch/x86/kvm" MO="$dir/modules/arch/x86/kvm" -j"$(nproc)" modules || return
	[[ -d $TREE$dir/headers/include ]] ||
		in_tree "$TREE" make -s -C "$KSRC" O="$dir/headers" ARCH=x86 INSTALL_HDR_PATH="$dir/headers" headers_install || return
	# It needs neither the library of VFIO's selftests nor libuuid, on which that depends.
	in_tree "$TREE" make -C "$KSRC/tools/testing/selftests/kvm" ARCH=x86 OUTPUT="$dir/selftests" CC=gcc-14 \
		KHDR_INCLUDES="-isystem $dir/headers/include" LDFLAGS=-static LDLIBS=-ldl LIBVFIO_O= \
		-j"$(nproc)" "$dir/selftests/$KVM_TEST"
}

# kvm_verdict WITHOUT WITH: reads the KTAP of the selftest without and with the patch, and
# prints the verdict; fails unless the selftest fails without it and passes with it
kvm_verdict() {
	local without with total
	without=$(grep -c '^not ok ' "$1")
	with=$(grep -c '^not ok ' "$2")
	total=$(grep -c '^ok ' "$2")
	if ! grep -q "^# Totals: pass:" "$1" || ! grep -q "^# Totals: pass:$total fail:0 xfail:0 xpass:0 skip:0 error:0" "$2" ||
		((without == 0 || with || total == 0)); then
		echo "without the patch $without fail, with it $with fail and $total pass"
		return 1
	fi
	echo "fails without the patch ($without of $total), passes with it ($total)"
}

# kvm_selftest: builds KVM with the patch and its selftest, and runs it on both KVMs
kvm_selftest() {
	local v dir out rc which
	[[ $FLAVOUR == amd64 ]] || die "the selftest runs on the default kernel" "leave FLAVOUR and ARCH out"
	setup || return
	build_dirs
	v=$(kernel_version)
	dir=kvm/$v
	mkdir -p "$BUILD/$dir"
	lock_file "$BUILD/kvm/lock" exclusive
	[[ -e $BUILD/$dir/selftests/$KVM_TEST ]] || need_space 200 "KVM with the patch"
	mount_lab
	kvm_source "$BUILD/$dir/source" "$(kernel_source "$v")" || die "cannot apply the patches"
	LOGS=$BUILD/log
	stage_begin kvm-checkpatch "checking the patches" kvm_checkpatch
	stage_wait
	stage_begin build-kvm "building KVM with the patch" build_kvm "/build/$dir"
	stage_wait
	prepare_guest
	say "booting $v ($ACCEL) ..."
	boot guest /doorbell/tools/lab/guest/kvm-selftest "/build/$dir" "$KVM_TEST"
	rc=$?
	[[ $OUTCOME != ended ]] || check_log "$RUN/guest" || rc=1
	give_back
	((rc == 0)) || return $rc
	out=$RUN/guest/files
	for which in without with; do
		echo "$which the patch:"
		grep -E '^(# .*(notified|Totals)|not ok )' "$out/$which" | sed 's/^/  /'
	done
	kvm_verdict "$out/without" "$out/with"
}
