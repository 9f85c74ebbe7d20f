# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Booting a VM whose root file system is the tree, read-only, by 9p.
#
# virtme-ng would do that, but Debian's (1.35) finds no channel for the command
# in this kernel's guests, and takes 7 to 12 s to boot them under emulation;
# this takes 5.

# The guest's output comes by its second serial port, so that the kernel's
# messages, on the first, do not mix with it. Its exit status is a file in
# /out: a guest that dies leaves none.

initramfs() {
	local v=$1 image=$2 dir module
	dir=$(mktemp -d "$BUILD/initramfs.XXXXXX")
	mkdir -p "$dir"/{bin,proc,sys,dev,root,modules}
	cp "$TREE/bin/busybox" "$dir/bin/"
	for module in fs/netfs/netfs net/9p/9pnet fs/9p/9p net/9p/9pnet_virtio; do
		# Or it is built in.
		[[ -e $KERNELS/$v/modules/$v/kernel/$module.ko.xz ]] || continue
		in_tree "$TREE" xz -dc "/usr/lib/modules/$v/kernel/$module.ko.xz" \
			>"$dir/modules/${module##*/}.ko" || return 1
	done
	cp "$LAB_DIR/guest/init" "$dir/init"
	(cd "$dir" && in_tree "$TREE" sh -c "cd /build/${dir##*/} && find . | cpio -o -H newc --quiet") >"$image"
	rm -rf "$dir"
}

# Hardware virtualisation counts only if a guest has booted with it: /dev/kvm
# may exist where guests hang.
accelerator() {
	local key known
	case ${DOORBELL_ACCEL:-} in
	kvm | tcg | icount)
		echo "$DOORBELL_ACCEL"
		return
		;;
	'') ;;
	*) die "DOORBELL_ACCEL is kvm, tcg or icount" ;;
	esac
	key=$(cat /proc/sys/kernel/random/boot_id)
	known=$(cat "$LAB/accel" 2>/dev/null)
	if [[ ${known% *} != "$key" ]]; then
		known="$key tcg"
		if [[ -w /dev/kvm ]]; then
			say "/dev/kvm is there; trying it"
			if ACCEL=kvm TIMEOUT=20 boot true >/dev/null 2>&1; then
				known="$key kvm"
			else
				say "no guest boots with it; emulating"
			fi
		fi
		echo "$known" >"$LAB/accel"
	fi
	echo "${known#* }"
}

# boot COMMAND [ARGUMENT...]: runs it in a guest; its exit status, 124 after the
# time limit, or 125 if the guest died
boot() {
	local v image rc cpu append limit=600
	v=$(kernel_version)
	image=$BUILD/initramfs-$v.cpio
	if [[ ! -s $image || $LAB_DIR/guest/init -nt $image ]]; then
		initramfs "$v" "$image.tmp" || die "cannot make the initramfs"
		mv "$image.tmp" "$image"
	fi
	# Everything takes longer with a debug kernel.
	[[ $FLAVOUR == debug ]] && limit=3600
	limit=${TIMEOUT:-${DOORBELL_TIMEOUT:-$limit}}
	rm -f "$BUILD"/out/{status,dmesg,tainted,console.log,tty}
	[[ ! -t 1 || ! -t 2 ]] || touch "$BUILD/out/tty"
	printf '%q ' "$@" >"$BUILD/out/command"
	[[ ${ACCEL:=$(accelerator)} == kvm ]] && cpu=host || cpu=max
	# With five levels of page tables the debug kernel's KASAN has been seen to
	# report, early at boot, what is not there.
	[[ $FLAVOUR == debug && $cpu == max ]] && cpu=max,la57=off
	# The allocator's sheaves keep pointers to what they gave away, so that kmemleak
	# takes no notice of the last hundred leaks of a size. Checks turn sheaves off.
	[[ $FLAVOUR == debug ]] && append="slab_debug=F"
	local qemu=(
		qemu-system-x86_64 -accel "$ACCEL" -cpu "$cpu" -M q35 -nodefaults -no-user-config
		-display none -no-reboot -smp "${DOORBELL_CPUS:-2}" -m "${DOORBELL_MEM:-2G}"
		-kernel "/usr/lib/modules/$v/${VMLINUZ##*/}" -initrd "/build/${image##*/}"
		-append "console=ttyS0 panic=-1 ${append:-} ${DOORBELL_APPEND:-}"
		-serial file:/build/out/console.log
		-chardev "stdio,id=out,signal=${INTERACTIVE:-on}" -serial chardev:out
		-fsdev "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"
		-device virtio-9p-pci,fsdev=root,mount_tag=root
		-fsdev "local,id=out,path=/build/out,security_model=none"
		-device virtio-9p-pci,fsdev=out,mount_tag=out
		-device virtio-rng-pci
	)
	case $ACCEL in
	tcg)	qemu[2]=tcg,thread=multi ;;
	# Time is the number of instructions, two nanoseconds each.
	icount)	qemu[2]=tcg
		qemu+=(-icount "shift=1,sleep=off" -smp 1) ;;
	esac
	if [[ ${INTERACTIVE:-} == off ]]; then
		in_tree "$TREE" "${qemu[@]}"
	else
		in_tree "$TREE" timeout -k 5 "$limit" "${qemu[@]}" </dev/null
	fi
	rc=$?
	if ((rc == 124 || rc == 137)); then
		say "the guest did not end within $limit s (DOORBELL_TIMEOUT) and was stopped"
		tail -n 15 "$BUILD/out/console.log" >&2
		return 124
	fi
	if [[ ! -s $BUILD/out/status ]]; then
		say "the guest died (status $rc); the end of its console:"
		tail -n 25 "$BUILD/out/console.log" >&2
		return 125
	fi
	return "$(cat "$BUILD/out/status")"
}

VMLINUZ=
find_image() {
	local image
	for image in "$KERNELS/$(kernel_version)/modules/$(kernel_version)"/vmlinuz{,.unsigned}; do
		[[ -s $image ]] && VMLINUZ=$image && return
	done
	die "no kernel image in $KERNELS/$(kernel_version)"
}

# What must not be in a kernel log. Failures that are injected on the debug
# kernel are not: guest/debug makes them silent. If kmemleak itself meets one it
# may say so, as long as it goes on.
BAD='WARNING:|BUG:|kernel BUG|cut here|Oops|Call Trace|general protection|INFO: |possible (circular|recursive) locking|suspicious RCU|KASAN|UBSAN|KCSAN|ODEBUG|kmemleak: ([0-9]|Kernel memory leak detector disabled|Memory pool|Cannot allocate a kmemleak)|refcount_t:|rcu:.*stall|soft lockup|hard LOCKUP|workqueue lockup|blocked for more than|Kernel panic|panicked|unable to handle|scheduling while atomic|not ok [0-9]|EXPECTATION FAILED|ASSERTION FAILED'
# A taint that has other reasons than an unsigned module from outside the tree.
# Or that tests ran: the module's with KUnit, when it is loaded; and a module that
# is built from below tools/testing is one.
TAINT=$((1 << 12 | 1 << 13 | 1 << 18))

# check_log: prints what is wrong; fails if something is
check_log() {
	local tainted log=$BUILD/out/dmesg
	[[ -s $log ]] || log=$BUILD/out/console.log
	if grep -nE -A 12 "$BAD" "$log"; then
		say "the kernel complained (above; all of it in $log)"
		return 1
	fi
	tainted=$(cat "$BUILD/out/tainted" 2>/dev/null)
	if [[ -z $tainted || $((tainted & ~TAINT)) -ne 0 ]]; then
		say "the kernel is tainted: ${tainted:-unknown}, allowed: $TAINT"
		return 1
	fi
}

guest_command() {
	local rc
	find_image
	say "booting $(kernel_version) ($(accelerator)) ..."
	boot /doorbell/tools/lab/guest/run "$@"
	rc=$?
	give_back
	((rc == 124 || rc == 125)) || check_log || rc=1
	return $rc
}

# Before a command that has guests of its own.
KVM=(/doorbell/tools/lab/guest/with-kvm)

# make_report [ARGUMENT...]: the page, here
make_report() {
	local page=$BUILD/out/report.html rc
	rm -f "$page"
	guest_command "${KVM[@]}" doorbell report /out/report.html "$@"
	rc=$?
	[[ -s $page ]] || return $((rc ? rc : 1))
	rm -f doorbell-report.html
	cp -p "$page" doorbell-report.html &&
		say "the page is $PWD/doorbell-report.html" || rc=1
	return $rc
}

guest_shell() {
	find_image
	say "booting $(kernel_version) ($(accelerator)); exit ends it"
	[[ -t 0 ]] || die "a shell needs a terminal" "tools/lab/lab run COMMAND runs a command"
	ACCEL=$(accelerator)
	stty raw -echo
	INTERACTIVE=off boot /doorbell/tools/lab/guest/run shell
	stty sane
	give_back
}
