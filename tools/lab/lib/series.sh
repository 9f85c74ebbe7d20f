# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# make series: checks the changes to eventfds in tools/in-tree/patches, one after the other,
# and writes them to out/patches as git format-patch does. The fix of irq_work, which is posted
# first, is written to out/patches-irq_work, too. The changes to KVM are another series, which is
# written to out/patches-kvm. "make kvm-selftest" builds it: see kvm.sh.
#
#	build/*/series/source	the copy of the kernel's source that has the patches so far
#	build/*/series/kdir	its build directory, whose objects are kept for the next run
#	build/*/series/rust	the same of a kernel with Rust, which is booted after the last patch
#	build/*/series/git	a repository of the files that the patches change
#	build/*/series/*-git	the same of irq_work, and of KVM

SERIES=$BUILD/series
# The objects that a patch can break. The in-tree kernel builds the rest.
SERIES_OBJECTS=(kernel/sched/build_utility.o kernel/irq_work.o fs/eventfd.o fs/aio.o io_uring/eventfd.o
	drivers/dma-buf/dma-fence-chain.o drivers/gpio/gpio-virtuser.o)

# The suites of KUnit that the patches add, and the doctests of the kernel crate, with these.
SERIES_SUITES=(eventfd irq_work rust_kernel_irq_work rust_kernel_wait_queue rust_kernel_eventfd rust_doctests_kernel)
# The selftests that the patches add, or add to.
SERIES_SELFTESTS=(eventfd_test eventfd_relay_test)

series_make() {
	in_tree "$TREE" make -C /build/series/source O=/build/series/kdir -j"$(nproc)" "$@"
}

# series_rust_make [ARGUMENT...]: the same with Rust; clippy compiles it
series_rust_make() {
	in_tree "$TREE" make -C /build/series/source O=/build/series/rust CLIPPY=1 -j"$(nproc)" "$@"
}

# Makes the build directory of the kernel with Rust, unless the last run has made it.
series_rust_kdir() {
	if ! cmp -s "$SRC/tools/in-tree/series-rust.config" "$SERIES/rust.config" || other_base "$SERIES/rust"; then
		rm -rf "$SERIES/rust" "$SERIES/rust.config"
		mkdir "$SERIES/rust" && series_rust_make tinyconfig || return
	fi
	series_rust_config && cp "$SRC/tools/in-tree/series-rust.config" "$SERIES/rust.config"
}

# Sets the options. One that a patch adds is unknown before that patch, and Kconfig drops it.
series_rust_config() {
	cat "$SRC/tools/in-tree/series-rust.config" >>"$SERIES/rust/.config" && series_rust_make olddefconfig
}

# Makes the copy without patches. A file that a patch changed in the last run gets a new time,
# or Kbuild would not compile it again.
series_source() {
	local base file
	base=$(kernel_source "$(in_tree_base)")
	remove "$SERIES/source" "$SERIES/git"
	cp -al "$base" "$SERIES/source" || return
	mkdir -p "$SERIES"/{git,selftests} && touch "$SERIES/changed" || return
	series_files >>"$SERIES/changed"
	sort -u -o "$SERIES/changed" "$SERIES/changed"
	for file in "${DRIVER_LINES[@]}"; do
		install -D -m 644 "$base/$file" "$SERIES/git/$file" || return
	done
	while read -r file; do
		[[ -f $base/$file ]] || continue
		cp "$base/$file" "$SERIES/source/$file.new" &&
			mv "$SERIES/source/$file.new" "$SERIES/source/$file" &&
			install -D -m 644 "$base/$file" "$SERIES/git/$file" || return
	done <"$SERIES/changed"
	series_begin || return
	cp "$SRC/tools/in-tree/series.config" "$SERIES/config.new"
	if ! cmp -s "$SERIES/config.new" "$SERIES/config" || other_base "$SERIES/kdir"; then
		rm -rf "$SERIES/kdir" "$SERIES/config"
		mkdir "$SERIES/kdir"
		series_make tinyconfig && cat "$SERIES/config.new" >>"$SERIES/kdir/.config" &&
			series_make olddefconfig || return
		while read -r file; do
			grep -qxF "$file" "$SERIES/kdir/.config" ||
				{ echo "series.config: not possible with this kernel: $file" && return 1; }
		done < <(grep ^CONFIG_ "$SERIES/config.new")
		mv "$SERIES/config.new" "$SERIES/config"
	fi
	series_make "${SERIES_OBJECTS[@]}" && series_rust_kdir
}

# series_files [PATCH...]: prints the files that the patches change
series_files() {
	local all
	(($#)) || { mapfile -t all < <(patches_of eventfd) && set -- "${all[@]}"; }
	sed -n 's|^+++ b/||p' "$@" | sort -u
}

# The repository is that of the series of eventfds, unless the caller has set SERIES_GIT.
series_git() {
	in_tree "$TREE" git -C "/build/series/${SERIES_GIT:-git}" -c user.name="The doorbell authors" \
		-c user.email=maintainers@doorbell.invalid -c safe.directory='*' "$@"
}

# Begins the history of a repository whose directory has the kernel's files.
series_begin() {
	series_git init -q && series_git add -A -f && series_git commit -q -m "Linux $(in_tree_base)" &&
		series_git config core.abbrev 12
}

# Prints the patches of the repository, and the files that each changes.
series_log() {
	series_git log --reverse --stat=72 --format='%n%s' "$(series_git rev-list --max-parents=0 HEAD)..HEAD"
}

# series_patch PATCH: applies the next patch, and checks it
series_patch() (
	set -o pipefail
	local patch=$1 name=${1##*/} file objects
	# git replaces the files that a patch changes, and their hard links stay.
	if ! in_tree "$TREE" git -C /build/series/source apply --whitespace=error - <"$patch" ||
		! series_git am -q --committer-date-is-author-date <"$patch"; then
		echo "$name does not apply"
		return 1
	fi
	grep -q '^Signed-off-by: ' "$patch" || { echo "$name has no Signed-off-by" && return 1; }
	series_checkpatch "$patch" || return
	series_files "$patch" | series_kernel_doc >"$SERIES/kernel-doc.out" ||
		{ cat "$SERIES/kernel-doc.out" && return 1; }
	series_new_kernel_doc "$name" <"$SERIES/kernel-doc.out" || return
	mapfile -t objects < <(series_kunit "$patch")
	series_make olddefconfig >/dev/null &&
		series_make "${SERIES_OBJECTS[@]}" "${objects[@]}" 2>&1 | series_warnings || return
	series_selftests "$patch" | series_warnings || return
	! grep -qE '^\+\+\+ b/(rust|samples/rust)/' "$patch" || series_rust "$patch"
)

# series_kunit PATCH: prints the objects of KUnit tests that the patch changes. Those of fs/ are
# included in fs/eventfd.c.
series_kunit() {
	series_files "$1" | sed -n 's,^\(kernel/.*_kunit\)\.c$,\1.o,p'
}

# series_selftests PATCH: builds the selftests that the patch changes
series_selftests() {
	local dir
	series_files "$1" | sed -nE 's,^(tools/testing/selftests/.*)/[^/]+$,\1,p' | sort -u | while read -r dir; do
		in_tree "$TREE" make -C "/build/series/source/$dir" OUTPUT=/build/series/selftests LDFLAGS=-static </dev/null 2>&1 || return
	done
}

# series_rust PATCH: checks the format of the files in Rust, and compiles what the patch can break
series_rust() (
	set -o pipefail
	local file files=() objects=(rust/kernel.o)
	mapfile -t files < <(series_files "$1" | grep '\.rs$')
	if ((${#files[@]})); then
		in_tree "$TREE" env -C /build/series/source rustfmt --check --config-path .rustfmt.toml "${files[@]}" || return
	fi
	series_rust_config >/dev/null || return
	for file in "${files[@]}"; do
		[[ $file != samples/* ]] || objects+=("${file%.rs}.o")
	done
	series_rust_make "${objects[@]}" 2>&1 | series_warnings
)

# Reads names of files, and prints the warnings of kernel-doc about them. Fails if kernel-doc
# does not run.
series_kernel_doc() {
	local file out rc
	while read -r -u 4 file; do
		[[ $file == *.[ch] ]] || continue
		[[ -f $SERIES/source/$file ]] || continue
		out=$(in_tree "$TREE" env -C /build/series/source scripts/kernel-doc -none -Wall "$file" 2>&1 </dev/null)
		rc=$?
		[[ -z $out ]] || echo "$out"
		if [[ $out == *Traceback* ]] || { ((rc)) && ! grep -qiE '^(warning|error): ' <<<"$out"; }; then
			echo "kernel-doc has ended with status $rc: $file"
			return 1
		fi
	done 4<&0
}

# Prints the build's output. Fails if the build failed, or if the compiler warned.
series_warnings() {
	awk '{ print } /warning:|error:|^make.*\*\*\*/ { bad = 1 } END { exit bad }'
}

# series_new_kernel_doc NAME: fails if the patch has brought a warning of kernel-doc
series_new_kernel_doc() {
	sed -E 's/:[0-9]+ /: /' | sort >"$SERIES/kernel-doc.$1"
	comm -23 "$SERIES/kernel-doc.$1" "$SERIES/kernel-doc" | grep . && return 1
	return 0
}

# series_checkpatch PATCH: prints the findings that tools/in-tree/series-exceptions does not argue
series_checkpatch() {
	local name=${1##*/}
	# Its exit status is 1 if it has findings.
	{ in_tree "$TREE" env -C /build/series/source perl scripts/checkpatch.pl --strict --terse \
		--show-types --no-summary - <"$1" 2>&1 || (($? == 1)); } |
	awk -v number="${name%%-*}" -v used="$SERIES/used" '
		NR == FNR { if (!/^#/ && NF >= 3) argued[$1 " " $2] = 1; next }
		/^[^ ]*:[0-9]+: / {
			split($0, part, ":")
			key = number " " part[4]
			if (key in argued) { print key >>used; next }
			print
			bad = 1
		}
		END { exit bad }' "$SRC/tools/in-tree/series-exceptions" -
}

# Fails if an exception is argued that no patch needs.
series_exceptions() {
	local unused
	unused=$(comm -23 <(awk '!/^#/ && NF >= 3 { print $1, $2 }' "$SRC/tools/in-tree/series-exceptions" | sort -u) \
		<(sort -u "$SERIES/used"))
	[[ -z $unused ]] || { echo "no finding any more: $unused" && return 1; }
}

# Compiles the stubs: with all users of them, and each stub by a call. "config" is gone while the
# build directory has another configuration, so that a run after an interruption makes it anew.
series_stubs() (
	set -o pipefail
	local rc=0
	cp "$SERIES/kdir/.config" "$SERIES/config.eventfd" && mv "$SERIES/config" "$SERIES/config.stubs" || return
	# MEMCG selects it.
	sed -i -E 's/^CONFIG_(EVENTFD|MEMCG)=y/# CONFIG_\1 is not set/' "$SERIES/kdir/.config"
	series_make olddefconfig >/dev/null &&
		{ grep -qxF '# CONFIG_EVENTFD is not set' "$SERIES/kdir/.config" ||
			{ echo "CONFIG_EVENTFD cannot be switched off" && false; }; } &&
		cp "$SRC/tools/in-tree/stubs.c" "$SERIES/source/fs/doorbell_stubs.c" &&
		series_make fs/aio.o io_uring/eventfd.o fs/doorbell_stubs.o 2>&1 | series_warnings || rc=1
	rm -f "$SERIES/source/fs/doorbell_stubs.c"
	cp "$SERIES/config.eventfd" "$SERIES/kdir/.config" && series_make olddefconfig >/dev/null &&
		mv "$SERIES/config.stubs" "$SERIES/config" || rc=1
	return $rc
)

# Boots the kernel with Rust: it runs the KUnit tests and the doctests, and then the selftests.
series_boot() (
	set -o pipefail
	local line test watch rc ended dir=$SERIES/initramfs guest=$SERIES/guest
	while read -r line; do
		grep -qxF "$line" "$SERIES/rust/.config" ||
			{ echo "series-rust.config: not possible with this kernel: $line" && return 1; }
	done < <(grep ^CONFIG_ "$SRC/tools/in-tree/series-rust.config")
	series_rust_make bzImage || return
	rm -rf "$dir" "$guest" "$SERIES"/{console.log,booted} && mkdir -p "$guest" "$dir"/{bin,dev,proc,tmp} || return
	cp "$TREE/bin/busybox" "$dir/bin/" || return
	for test in "${SERIES_SELFTESTS[@]}"; do
		cp "$SERIES/selftests/$test" "$dir/bin/" || return
	done
	# They run as root: eventfd_test mounts a cgroup2 hierarchy in /tmp.
	cat >"$dir/init" <<-INIT && chmod +x "$dir/init" || return
	#!/bin/busybox sh
	/bin/busybox mount -t devtmpfs dev /dev
	/bin/busybox mount -t proc proc /proc
	for test in ${SERIES_SELFTESTS[*]}; do
		echo "# selftest \$test"
		/bin/\$test
		echo "# exit status \$?"
	done
	/bin/busybox reboot -f
	INIT
	in_tree "$TREE" sh -c 'cd /build/series/initramfs && find . | cpio -o -H newc --quiet >../initramfs.cpio' || return
	# The guest counts as one that has not started, so it is stopped if it prints nothing for
	# BOOT_LIMIT seconds of its own time. Each test prints a line when it ends.
	watch_guest "$guest" 0 &
	watch=$!
	# TCG, since guests can hang although /dev/kvm exists. no_timer_check: see run_qemu. A busy
	# host can hold an emulated CPU up for longer than the limit of a stall of RCU. The kernel has
	# no ACPI, and the MP table has one CPU of each socket.
	in_tree "$TREE" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -M q35 \
		-nodefaults -no-user-config -display none -no-reboot -smp 2,sockets=2 -m 512M -kernel /build/series/rust/arch/x86/boot/bzImage \
		-initrd /build/series/initramfs.cpio -pidfile /build/series/guest/qemu.pid \
		-append "console=ttyS0 panic=-1 no_timer_check rcupdate.rcu_cpu_stall_suppress=1" \
		-serial file:/build/series/guest/console.log </dev/null
	rc=$?
	kill "$watch" 2>/dev/null
	wait "$watch" 2>/dev/null
	[[ ! -e $guest/console.log ]] || mv "$guest/console.log" "$SERIES/console.log" || return
	ended=$(grep -c '^# exit status ' "$SERIES/console.log")
	if ((rc || ended < ${#SERIES_SELFTESTS[@]})); then
		echo "the kernel did not end (QEMU's status $rc); if it printed nothing for $BOOT_LIMIT s of its own time, it was stopped"
		series_console <"$SERIES/console.log"
		tail -n 60 "$SERIES/console.log"
		return 1
	fi
	series_console <"$SERIES/console.log" | tee "$SERIES/booted" || { tail -n 60 "$SERIES/console.log" && return 1; }
)

# Reads what that kernel has printed, and prints a line for each suite and selftest. Fails if a
# test failed, if one of them did not run, if one of its tests was skipped, or if the kernel has
# complained.
series_console() {
	awk -v suites="${SERIES_SUITES[*]}" -v selftests="${SERIES_SELFTESTS[*]}" '
		function say(what) { print what; bad = 1 }
		{ sub(/\r$/, "") }
		/(WARNING|BUG|INFO|Oops|panic)[: ]|possible recursive|Call Trace/ { say($0) }
		/^ *not ok / { say($0) }
		/^# [a-z_]+: pass:[0-9]+ / { counts[substr($2, 1, length($2) - 1)] = $3 ", " $4 ", " $5 }
		!selftest && /^ok [0-9]+ [a-z_]+$/ { ok[$3] = 1 }
		/^# selftest / { selftest = $3 }
		selftest && /^# Totals: / { totals[selftest] = $3 ", " $4 ", " $7 }
		selftest && /^# exit status / { status[selftest] = $4 "" }
		END {
			n = split(suites, suite, " ")
			for (i = 1; i <= n; i++) {
				if (!(suite[i] in ok) || counts[suite[i]] !~ /pass:[1-9].*skip:0/) say("did not pass: " suite[i])
				else print suite[i] ": " counts[suite[i]]
			}
			n = split(selftests, test, " ")
			for (i = 1; i <= n; i++) {
				if (status[test[i]] != "0" || totals[test[i]] !~ /pass:[1-9].*skip:0/)
					say("did not pass: " test[i] " (" totals[test[i]] ")")
				else print test[i] ": " totals[test[i]]
			}
			exit bad
		}'
}

# cover_letter FILE: prints a cover letter of tools/in-tree. @NAME@ in it is the recorded number of
# instructions of a path, @NAME-twin@ that of its twin, and @NAME-raw@ that of the call without either.
cover_letter() {
	python3 - "$SRC/tools/bench/instructions.json" "$SRC/tools/in-tree/$1" <<-'PYTHON'
	import json, re, sys
	paths = json.load(open(sys.argv[1]))["paths"]
	def figure(match):
	    name, column = re.fullmatch("(.*?)(?:-(twin|raw))?", match[1]).groups()
	    return f"{paths[name][column or 'doorbell']:,.0f}"
	print(re.sub("@([a-z0-9-]+)@", figure, open(sys.argv[2]).read()), end="")
	PYTHON
}

# series_write OUT LETTER PREFIX: writes the repository's patches to out/OUT, with the cover letter
series_write() {
	local base name=${1#patches}
	name=${name#-}
	base=$(series_git rev-list --max-parents=0 HEAD) || return
	cover_letter "$2" >"$SERIES/cover-letter" || return
	remove "$SERIES/$1" "$SRC/out/$1"
	series_git format-patch -q --cover-letter --cover-from-description=subject \
		--description-file=/build/series/cover-letter --subject-prefix="$3" \
		--no-signature -o "/build/series/$1" "$base"..HEAD || return
	series_recipients "${name:-eventfd}" "$SERIES/$1"/*.patch || return
	mkdir -p "$SRC/out" && cp -r "$SERIES/$1" "$SRC/out/$1"
}

# series_recipients SERIES COVER PATCH...: adds the maintainers of what each patch changes to its
# header. The cover letter gets all of them, those of the patches' own "Cc:" lines, and the lists of
# tools/in-tree/recipients.
series_recipients() {
	local name=$1 cover=$2 patch all
	shift 2
	all=$(awk -v name="$name" '$1 == name { print $2 }' "$SRC/tools/in-tree/recipients")$'\n' || return
	for patch in "$@"; do
		in_tree "$TREE" env -C /build/series/source perl scripts/get_maintainer.pl --no-git --no-git-fallback \
			--no-rolestats <"$patch" >"$SERIES/recipients" || return
		series_cc "$patch" <"$SERIES/recipients" || return
		all+=$(sed -n '/^---$/q; s/^Cc: //p' "$patch")$'\n'
	done
	# An address can have a name with and without quotes.
	sort <<<"$all" | awk '{ address = tolower($NF); gsub(/[<>]/, "", address) } !seen[address]++' | series_cc "$cover"
}

# series_cc PATCH: reads addresses, and adds them to the header as "Cc:"
series_cc() {
	awk 'FILENAME == "-" { if (NF) cc[n++] = $0; next }
		{ print }
		FNR == 1 { for (i = 0; i < n; i++) print "Cc: " cc[i] }' - "$1" >"$1.new" && mv "$1.new" "$1"
}

# series_apart SERIES: applies patches to the kernel's own files, without those of other series,
# and writes them with their cover letter
series_apart() {
	local SERIES_GIT=$1-git base file patch patches
	base=$(kernel_source "$(in_tree_base)")
	mapfile -t patches < <(patches_of "$1")
	((${#patches[@]})) || { echo "there are no patches of $1" && return 1; }
	remove "$SERIES/$SERIES_GIT"
	mkdir -p "$SERIES/$SERIES_GIT" || return
	while read -r file; do
		[[ ! -f $base/$file ]] || install -D -m 644 "$base/$file" "$SERIES/$SERIES_GIT/$file" || return
	done < <(series_files "${patches[@]}")
	series_begin || return
	for patch in "${patches[@]}"; do
		grep -q '^Signed-off-by: ' "$patch" || { echo "${patch##*/} has no Signed-off-by" && return 1; }
		series_git am -q --committer-date-is-author-date <"$patch" ||
			{ echo "${patch##*/} does not apply" && return 1; }
	done
	series_write "patches-$1" "$1-cover-letter.txt" PATCH
}

# The checks of the other series do not look at these patches.
series_kvm() {
	kvm_checkpatch && series_apart kvm
}

run_series() {
	local patch name n=0 failed=0
	setup && build_dirs && mkdir -p "$SERIES" "$BUILD/log" || return
	# shellcheck disable=SC2034 # stage_begin reads it
	LOGS=$BUILD/log
	lock_file "$BUILD/series-lock" exclusive
	[[ -s $SERIES/booted ]] || need_space 600 "a kernel with the patches"
	mount_lab
	: >"$SERIES/used"
	stage_begin series-source "preparing the kernel's source" series_source
	stage_wait
	stage_begin series-baseline "reading the kernel's warnings" series_baseline
	stage_wait
	while read -r -u 3 patch; do
		name=${patch##*/}
		series_step "series-${name%%-*}" "${name%.patch}" series_patch "$patch" || break
	done 3< <(patches_of eventfd)
	((n)) || die "there are no patches"
	if ((!failed)); then
		series_step series-stubs "without CONFIG_EVENTFD" series_stubs
		series_step series-exceptions "each exception is needed" series_exceptions
		if series_step series-boot "the kernel with Rust runs its tests" series_boot; then
			sed 's/^/# /' "$SERIES/booted"
		fi
		# It makes the copy that "make in-tree" and the tests of that kernel use.
		lock_file "$BUILD/lock" exclusive
		series_step series-driver "the driver" series_driver
		unlock_file "$BUILD/lock"
		series_step series-write "written to out/patches" series_write patches cover-letter.txt 'RFC PATCH'
		series_step series-irq_work "the fix of irq_work, written to out/patches-irq_work" series_apart irq_work
		series_step series-kvm "the changes to KVM, written to out/patches-kvm" series_kvm
	fi
	if ((!failed)); then
		series_log
		SERIES_GIT=irq_work-git series_log
		SERIES_GIT=kvm-git series_log
		echo
	fi
	echo "$((n - failed)) passed, $failed failed"
	((failed == 0))
}

# Records the warnings of kernel-doc that the kernel has without the patches.
series_baseline() {
	set -o pipefail
	series_files | series_kernel_doc >"$SERIES/kernel-doc.out" || { cat "$SERIES/kernel-doc.out" && return 1; }
	sed -E 's/:[0-9]+ /: /' "$SERIES/kernel-doc.out" | sort >"$SERIES/kernel-doc"
}

# series_step NAME TITLE COMMAND...: runs a check, and prints its result
series_step() {
	local name=$1 title=$2
	shift 2
	n=$((n + 1))
	stage_begin "$name" "$title" "$@"
	if KEEP_GOING=1 STAGE_TAIL=40 stage_wait; then
		echo "ok $n - $title"
	else
		echo "not ok $n - $title"
		failed=$((failed + 1))
		return 1
	fi
}
