# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Boots a VM whose root file system is the tree, read-only, by 9p.
#
# virtme-ng of Debian (1.35) finds no channel for the command in this kernel's guests,
# and takes 7 to 12 s to boot them under emulation. This takes 5 s.

# The command's output uses the second serial port, so kernel messages on the first do
# not mix with it. The directory of the run is the guest's /out. Each guest has a
# directory there, with its exit status; a guest that dies leaves no status.

# The emulated machine, the names of its serial ports, and the guest's root in the tree.
QEMU_SYSTEM=qemu-system-x86_64 MACHINE=q35 SERIAL=ttyS GUEST_ROOT=/
if [[ $ARCH == arm64 ]]; then
	# The kernel has KVM if it starts at EL2.
	QEMU_SYSTEM=qemu-system-aarch64 MACHINE=virt,gic-version=3,virtualization=on SERIAL=ttyAMA GUEST_ROOT=/guest
fi

# Prints the CPU of the guest, with the features that it lacks.
guest_cpu() {
	case $ACCEL-$ARCH-$FLAVOUR in
	kvm-*)			echo host ;;
	# The architecture's own algorithm of pointer authentication would take half of the time.
	*-arm64-*)		echo max,pauth-impdef=on ;;
	# The kernel and the C library copy and clear memory by byte if the CPU does that fast. An
	# emulator does not: words take half of its time. Each level of page tables takes time, too.
	tcg-*)			echo max,la57=off,erms=off,fsrm=off,fzrm=off,fsrs=off,fsrc=off ;;
	# With five levels of page tables, KASAN has given false reports early at boot.
	icount-*-debug)		echo max,la57=off ;;
	# The figures of guests that count instructions are with all features.
	icount-*)		echo max ;;
	esac
}

initramfs() {
	local v=$1 image=$2 dir module
	dir=$(mktemp -d "$BUILD/initramfs.XXXXXX")
	mkdir -p "$dir"/{bin,proc,sys,dev,root,modules}
	cp "$TREE${GUEST_ROOT%/}/bin/busybox" "$dir/bin/"
	for module in fs/netfs/netfs net/9p/9pnet fs/9p/9p net/9p/9pnet_virtio; do
		# A missing module is built in.
		[[ -e $(kernel_dir)/modules/$v/kernel/$module.ko.xz ]] || continue
		in_tree "$TREE" xz -dc "/usr/lib/modules/$v/kernel/$module.ko.xz" \
			>"$dir/modules/${module##*/}.ko" || return 1
	done
	cp "$LAB_DIR/guest/init" "$dir/init"
	(cd "$dir" && in_tree "$TREE" sh -c "cd /build/${dir##*/} && find . | cpio -o -H newc --quiet") >"$image"
	rm -rf "$dir"
}

# Sets ACCEL. Selects KVM only after a guest has booted with it: guests can hang
# although /dev/kvm exists. The result is kept until the host boots.
find_accelerator() {
	local key known
	ACCEL=${DOORBELL_ACCEL:-}
	[[ $ARCH == amd64 || $ACCEL ]] || ACCEL=tcg
	[[ -z $ACCEL ]] || return
	ACCEL=tcg
	has_kvm || return 0
	key=$(cat /proc/sys/kernel/random/boot_id)
	known=$(cat "$LAB/accel" 2>/dev/null)
	if [[ ${known% *} != "$key" ]]; then
		say "/dev/kvm exists; trying it"
		if ACCEL=kvm probe_kvm; then
			known="$key kvm"
		else
			known="$key tcg"
			say "no guest boots with it; using emulation"
		fi
		echo "$known" >"$LAB/accel"
	fi
	ACCEL=${known#* }
}

has_kvm() {
	[[ -w /dev/kvm ]]
}

# Boots a guest with KVM. The limit is on the guest's clock, which stops while a busy host does not run it: if
# a boot takes longer, emulation is faster.
probe_kvm() {
	DOORBELL_TIMEOUT=20 boot probe true >/dev/null 2>&1
}

# More arguments of QEMU.
QEMU_EXTRA=()

# run_qemu GUEST: boots a guest that runs the command in its directory, and waits until
# the guest ends
run_qemu() {
	local guest=$1 v kernel image append="guest=$1"
	v=$(kernel_version)
	kernel=/usr/lib/modules/$v/${VMLINUZ##*/}
	[[ $ACCEL != tcg || ! -s $(kernel_dir)/vmlinux ]] || kernel=/kernel/vmlinux
	image=$BUILD/initramfs-$v.cpio
	# The allocator's sheaves keep pointers to allocated objects, so kmemleak misses
	# the last hundred leaks of a size. slab_debug turns sheaves off.
	[[ $FLAVOUR == debug ]] && append+=" slab_debug=F"
	# A report of KCSAN has some kilobytes.
	[[ $FLAVOUR == kcsan ]] && append+=" log_buf_len=16M"
	# A busy host can hold an emulated CPU up for longer than the limits of cfi.config. RCU measures
	# them by the host's time, not by the clock that the limits of tests use: so they cannot be as
	# short as with KVM. Other flavours have the kernel's default, 21 s.
	[[ $FLAVOUR == cfi && $ACCEL != kvm ]] &&
		append+=" rcupdate.rcu_cpu_stall_timeout=10 rcupdate.rcu_exp_cpu_stall_timeout=10000"
	# An emulated guest has nothing to protect by thunks for indirect calls, which are dear
	# there. The figures of guests that count instructions are with them.
	[[ $ACCEL != tcg || $ARCH != amd64 ]] || append+=" mitigations=off"
	# On a busy host the first interrupts of an emulated timer can be late, and the
	# kernel then panics: it takes the IO-APIC for broken. And an emulated UART that prints
	# much on such a host has interrupts that find nothing to do, which the kernel reports.
	[[ $ACCEL == kvm || $ARCH != amd64 ]] || append+=" no_timer_check noirqdebug"
	# A guest whose TSC is unstable is booted again. On a host that is still busy it would be so once
	# more, and a clock of a wrong frequency is better than one that stands still between ticks.
	[[ ! -e $RUN/$guest/booted-again || $ARCH != amd64 ]] || append+=" tsc=reliable"
	local qemu=(
		"$QEMU_SYSTEM" -accel "$ACCEL" -cpu "$(guest_cpu)" -M "$MACHINE" -nodefaults -no-user-config
		-display none -no-reboot -smp "${DOORBELL_CPUS:-2}" -m "${DOORBELL_MEM:-2G}"
		-pidfile "/build/${RUN##*/}/$guest/qemu.pid"
		-kernel "$kernel" -initrd "/build/${image##*/}"
		-append "console=${SERIAL}0 terminal=${SERIAL}1 panic=-1 $append ${DOORBELL_APPEND:-}"
		-serial "file:/build/${RUN##*/}/$guest/console.log"
		-chardev "stdio,id=out,signal=${INTERACTIVE:-on}" -serial chardev:out
		-fsdev "local,id=root,path=$GUEST_ROOT,security_model=none,readonly=on,multidevs=remap"
		-device virtio-9p-pci,fsdev=root,mount_tag=root
		-fsdev "local,id=out,path=/build/${RUN##*/},security_model=none"
		-device virtio-9p-pci,fsdev=out,mount_tag=out
		-device virtio-rng-pci
	)
	case $ACCEL in
	tcg)	qemu[2]=tcg,thread=multi ;;
	# The guest's time advances by two nanoseconds for each instruction.
	icount)	qemu[2]=tcg
		qemu+=(-icount "shift=1,sleep=off" -smp 1) ;;
	esac
	qemu+=("${QEMU_EXTRA[@]}")
	if [[ ${INTERACTIVE:-} == off ]]; then
		in_tree "$TREE" "${qemu[@]}"
	else
		in_tree "$TREE" "${qemu[@]}" </dev/null
	fi
}

make_initramfs() {
	local v image
	v=$(kernel_version)
	image=$BUILD/initramfs-$v.cpio
	if [[ ! -s $image || $LAB_DIR/guest/init -nt $image ]]; then
		initramfs "$v" "$image.$$" || die "cannot make the initramfs"
		mv "$image.$$" "$image"
	fi
}

# boot GUEST COMMAND [ARGUMENT...]: runs the command in a guest whose directory is
# RUN/GUEST, and returns its exit status. Sets OUTCOME to "ended", "stopped" (by a
# limit; status 124) or "died" (status 125).
boot() {
	local guest=$1 dir=$RUN/$1 rc watch try limit=${DOORBELL_TIMEOUT:-0}
	shift
	# A guest that counts instructions does not write "alive", so it needs a limit.
	[[ $ACCEL != icount ]] || limit=${DOORBELL_TIMEOUT:-3600}
	for try in 1 2; do
		rm -rf "$dir"
		mkdir -p "$dir/files"
		((try == 1)) || : >"$dir/booted-again"
		[[ $ACCEL == icount ]] && : >"$dir/counting"
		[[ ! -t 1 || ! -t 2 ]] || echo "${TERM:-dumb} $(stty size 2>/dev/null </dev/tty)" >"$dir/tty"
		printf '%q ' "$@" >"$dir/command"
		watch_guest "$dir" "$limit" &
		watch=$!
		run_qemu "$guest"
		rc=$?
		kill "$watch" 2>/dev/null
		wait "$watch" 2>/dev/null
		[[ ! -e $dir/started && ! -e $dir/stopped && $try == 1 ]] || break
		say "the guest ended before it had started (status $rc); the end of its console:"
		tail -n 8 "$dir/console.log" >&2
		say "booting it once more ..."
	done
	if [[ -s $dir/stopped ]]; then
		OUTCOME=stopped
		say "the guest was stopped: $(<"$dir/stopped"); the end of its console:"
		tail -n 15 "$dir/console.log" >&2
		return 124
	fi
	if [[ ! -s $dir/status ]]; then
		OUTCOME=died
		say "the guest died (QEMU's status $rc); the end of its console:"
		tail -n 25 "$dir/console.log" >&2
		return 125
	fi
	OUTCOME=ended
	return "$(<"$dir/status")"
}

VMLINUZ=
find_image() {
	local image
	for image in "$(kernel_dir)/modules/$(kernel_version)"/vmlinuz{,.unsigned}; do
		[[ -s $image ]] && VMLINUZ=$image && return
	done
	die "no kernel image in $(kernel_dir)"
}

# An emulated guest would take a second to unpack its kernel. An empty file says that this kernel cannot be
# unpacked here.
make_vmlinux() {
	local vmlinux
	vmlinux=$(kernel_dir)/vmlinux
	[[ $ARCH == amd64 && ! $vmlinux -nt $VMLINUZ ]] || return 0
	in_tree "$TREE" python3 /doorbell/tools/lab/lib/vmlinux.py "/usr/lib/modules/$(kernel_version)/${VMLINUZ##*/}" \
		2>/dev/null >"$vmlinux.$$" || : >"$vmlinux.$$"
	mv "$vmlinux.$$" "$vmlinux"
}

# The lines that a kernel log must not have. guest/debug silences injected failures.
# kmemleak may report one that hits kmemleak itself, as long as it stays on.
BAD='WARNING:|BUG:|CFI failure|kernel BUG|cut here|Oops|Call Trace|general protection|INFO: |possible (circular|recursive) locking|suspicious RCU|KASAN|UBSAN|KCSAN|ODEBUG|kmemleak: ([0-9]|Kernel memory leak detector disabled|Memory pool|Cannot allocate a kmemleak)|refcount_t:|rcu:.*stall|soft lockup|hard LOCKUP|workqueue lockup|blocked for more than|Kernel panic|panicked|unable to handle|scheduling while atomic|not ok [0-9]|EXPECTATION FAILED|ASSERTION FAILED'
# The permitted taints: an unsigned module, an out-of-tree module, and tests. KUnit
# tests set the last one, as does a module that is built below tools/testing.
TAINT=$((1 << 12 | 1 << 13 | 1 << 18))

# kernel_log DIRECTORY: prints the name of the file with the kernel log of a guest
kernel_log() {
	if [[ -s $1/dmesg ]]; then
		echo "$1/dmesg"
	else
		echo "$1/console.log"
	fi
}

# check_log DIRECTORY: checks the kernel log and the taint of a guest, and prints the
# problems; fails if there are any
check_log() {
	local tainted log
	log=$(kernel_log "$1")
	if "$LAB_DIR/guest/without-known" "$log" | grep -nE -A 12 "$BAD"; then
		say "the kernel complained (see above; the whole log is $log)"
		return 1
	fi
	tainted=$(cat "$1/tainted" 2>/dev/null)
	if [[ -z $tainted || $((tainted & ~TAINT)) -ne 0 ]]; then
		say "the kernel is tainted: ${tainted:-unknown}, allowed: $TAINT"
		return 1
	fi
}

prepare_guest() {
	find_image
	begin_run
	make_vmlinux
	make_initramfs
	find_accelerator
}

guest_command() {
	local rc
	prepare_guest
	say "booting $(kernel_version) ($ACCEL) ..."
	boot guest /doorbell/tools/lab/guest/run "$@"
	rc=$?
	[[ $OUTCOME != ended ]] || check_log "$RUN/guest" || rc=1
	bring_files "$RUN/guest/files" || rc=1
	give_back
	return $rc
}

# The prefix of commands that boot nested guests.
KVM=(/doorbell/tools/lab/guest/with-kvm)

guest_shell() {
	local rc
	prepare_guest
	say "booting $(kernel_version) ($ACCEL); exit ends it"
	stty raw -echo
	INTERACTIVE=off boot guest /doorbell/tools/lab/guest/run shell
	rc=$?
	stty sane
	bring_files "$RUN/guest/files" || rc=1
	give_back
	return $rc
}
