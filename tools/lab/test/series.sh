#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests the checks of "make series" with a checkpatch and a kernel-doc that are not real, and the
# patches themselves as far as that needs no kernel.
# shellcheck disable=SC1091,SC2317 # the fakes are for sourced code
. "$(dirname "$0")/lib.sh"
set -u
shopt -s nullglob

REAL=${LAB_DIR%/tools/lab}
# shellcheck disable=SC2034 # the files that follow use them
SRC=$SCRATCH/src LAB=$SCRATCH/lab BUILD=$SCRATCH/build TREE=$SCRATCH/tree
for lib in clock in-tree series series-driver kvm; do
	# shellcheck source=/dev/null
	. "$LAB_DIR/lib/$lib.sh"
done
mkdir -p "$SERIES" "$SRC/tools/in-tree" "$SRC/tools/bench"
PATCH=$SCRATCH/0002-example.patch
: >"$PATCH"

# Prints FINDINGS as checkpatch does.
in_tree() {
	cat >/dev/null
	echo "$FINDINGS"
}

argue() {
	printf '# comment\n%s\n' "$1" >"$SRC/tools/in-tree/series-exceptions"
	: >"$SERIES/used"
}

finding_is_an_error() {
	argue "0001 LONG_LINE The reason is for another patch."
	says LONG_LINE series_checkpatch "$PATCH"
}

needs_a_reason() {
	argue "0002 LONG_LINE"
	says LONG_LINE series_checkpatch "$PATCH"
}

argued_is_none() {
	argue "0002 LONG_LINE It is a table."
	series_checkpatch "$PATCH" && series_exceptions
}

other_type_is_an_error() {
	argue "0002 SPACING It is a table."
	says LONG_LINE series_checkpatch "$PATCH"
}

unused_is_an_error() {
	argue "0002 LONG_LINE It is a table."
	FINDINGS='' series_checkpatch "$PATCH" && says "no finding any more: 0002 LONG_LINE" series_exceptions
}

FINDINGS='-:8: WARNING:LONG_LINE: line length of 104 exceeds 100 columns'
check "a finding of checkpatch is an error" finding_is_an_error
check "an exception needs a reason" needs_a_reason
check "an argued finding is none" argued_is_none
check "an exception is for one type" other_type_is_an_error
check "an exception without a finding is an error" unused_is_an_error

new_warning() {
	echo 'Warning: a.c:10 no description' >"$SERIES/kernel-doc.old"
	sed -E 's/:[0-9]+ /: /' "$SERIES/kernel-doc.old" >"$SERIES/kernel-doc"
	echo 'Warning: a.c:12 no description' | series_new_kernel_doc moved &&
		says 'b.c' series_new_kernel_doc new <<<'Warning: b.c:1 no description'
}
check "only a new warning of kernel-doc is an error" new_warning

compiler_warning() {
	series_warnings <<<'  CC      fs/eventfd.o' &&
		says unused series_warnings <<<'fs/eventfd.c:3:1: warning: unused variable'
}
check "a warning of the compiler is an error" compiler_warning

figures() {
	echo '{ "paths": { "ring-8": { "doorbell": 1231.3, "twin": 1182.6, "raw": 693.3 } } }' >"$SRC/tools/bench/instructions.json"
	echo 'A ring takes @ring-8@, and @ring-8-twin@ in C, @ring-8-raw@ raw.' >"$SRC/tools/in-tree/cover-letter.txt"
	[[ $(cover_letter cover-letter.txt) == 'A ring takes 1,231, and 1,183 in C, 693 raw.' ]] || { cover_letter cover-letter.txt && return 1; }
	echo '@rung@' >"$SRC/tools/in-tree/cover-letter.txt"
	says rung cover_letter cover-letter.txt
}
check "the cover letter has the recorded figures" figures

make_without_rule() {
	says 'No rule' series_warnings <<<"make: *** No rule to make target 'fs/eventfd.o'.  Stop."
}
check "a target without a rule is an error" make_without_rule

# A make that fails and prints nothing.
silent_make() (
	in_tree() { cat >/dev/null; }
	series_git() { cat >/dev/null; }
	series_make() { [[ $1 == olddefconfig || $MAKES == y ]]; }
	argue ''
	echo 'Signed-off-by: A' >"$SCRATCH/0003-silent.patch"
	: >"$SERIES/kernel-doc"
	MAKES=y
	series_patch "$SCRATCH/0003-silent.patch" || { echo "it fails if make succeeds" && return 1; }
	MAKES=n
	! series_patch "$SCRATCH/0003-silent.patch"
)
check "a make that prints nothing can fail" silent_make

# kernel-doc that ends with STATUS and prints TEXT.
kernel_doc_fails() (
	mkdir -p "$SERIES/source" && : >"$SERIES/source/a.c"
	in_tree() { echo "$TEXT"; return "$STATUS"; }
	TEXT='Warning: a.c:10 no description' STATUS=1
	series_kernel_doc <<<a.c || return
	TEXT='Traceback (most recent call last):' STATUS=1
	says Traceback series_kernel_doc <<<a.c || return
	TEXT='python3: not found' STATUS=127
	says 'status 127' series_kernel_doc <<<a.c || return
	TEXT='Warning: b.c:10 no description' STATUS=0
	[[ -z $(series_kernel_doc <<<b.c) ]]
)
check "a kernel-doc that does not run is an error" kernel_doc_fails

# An interruption leaves the build directory with the stubs' configuration.
stubs_lose_config() (
	mkdir -p "$SERIES/kdir" "$SERIES/source/fs" && echo x >"$SERIES/config"
	echo CONFIG_EVENTFD=y >"$SERIES/kdir/.config"
	echo '/* a stub */' >"$SRC/tools/in-tree/stubs.c"
	series_make() { [[ ! -e $SERIES/config ]] || echo "error: the configuration is claimed"; }
	series_stubs && [[ -e $SERIES/config && $(<"$SERIES/kdir/.config") == CONFIG_EVENTFD=y ]]
)
check "the configuration of the stubs is not taken for that of the series" stubs_lose_config

# The driver's files are those of this repository.
driver_has_parts() (
	local files part n=0 line
	SRC=$REAL
	files=$(printf '%s\n' "${DRIVER_LINES[@]}" && in_tree_files | cut -d' ' -f 2) || return
	DRIVER_PATCHES=$REAL/tools/in-tree/driver-patches
	parts_of_driver <<<"$files" >"$SCRATCH/parts" || { grep -v '^[0-9]' "$SCRATCH/parts" && return 1; }
	[[ $(wc -l <"$SCRATCH/parts") == $(wc -l <<<"$files") ]] || return
	for part in $(cut -d' ' -f 1 "$SCRATCH/parts" | sort -nu); do
		n=$((n + 1))
		[[ $part == "$n" && $(part_of_driver "$n" patch) && $(part_of_driver "$n" text) ]] || { echo "patch $n" && return 1; }
		while read -r line; do
			((${#line} <= 75)) || { echo "longer than 75 columns: $line" && return 1; }
		done < <(part_of_driver "$n" patch && part_of_driver "$n" text)
	done
	[[ $n == $(grep -c '^patch ' "$DRIVER_PATCHES") ]] || return
	# The Makefile and what it compiles are there when the driver is built.
	n=$(sed -n 's|^\([0-9]*\) drivers/misc/doorbell/Makefile$|\1|p' "$SCRATCH/parts")
	[[ $(part_of_driver "$n" build) == drivers/misc/doorbell/ ]] &&
		! awk -v n="$n" '$2 ~ "^drivers/misc/doorbell/" && $1 > n' "$SCRATCH/parts" | grep .
)
check "each file of the driver has a patch" driver_has_parts

parts_fail() (
	DRIVER_PATCHES=$SCRATCH/driver-patches
	printf '%s\n' 'patch a: One' 'file a/' 'file b*' 'patch a: Two' 'file a/c/' 'file a/d' 'text of two' >"$DRIVER_PATCHES"
	[[ $(printf '%s\n' a/x a/c/x a/d a/dd b b/x bx | parts_of_driver | tr '\n' ';') == \
	   '1 a/x;2 a/c/x;2 a/d;1 a/dd;1 b;1 b/x;1 bx;' ]] || return
	[[ $(part_of_driver 2 patch) == 'a: Two' && $(part_of_driver 2 text) == 'of two' && -z $(part_of_driver 1 text) ]] || return
	printf '%s\n' a/x a/c/x a/d b c | says 'no patch has c' parts_of_driver || return
	printf '%s\n' a/x a/c/x b | says 'there is no file a/d' parts_of_driver
)
check "a file without a patch is an error, and a line without a file" parts_fail

# A driver of two patches, the first of which does not compile if MAKE is n.
driver_is_committed() (
	IN_TREE=$SCRATCH/kernel DRIVER_PATCHES=$SCRATCH/driver-patches DRIVER_LINES=(Kconfig) SERIES=$SCRATCH/driver
	mkdir -p "$IN_TREE/source/a" "$SERIES/rust" || return
	printf '%s\n' 'patch a: One' 'file a/' 'build a/' 'text Why.' 'patch b: Two' 'file Kconfig' 'text What.' >"$DRIVER_PATCHES"
	echo config >"$IN_TREE/source/Kconfig"
	echo text | tee "$IN_TREE/source/a/x" >"$IN_TREE/source/a/run"
	chmod +x "$IN_TREE/source/a/run"
	printf 'f %s\n' a/x a/run >"$IN_TREE/source/.in-tree-placed"
	make_in_tree() { :; }
	series_git() { git -C "$SERIES/git" -c user.name=A -c user.email=a@b.invalid "$@"; }
	series_rust_make() {
		[[ $1 != olddefconfig ]] || return 0
		echo "make $* of $(cd "$SERIES/source" && echo *)"
		[[ $MAKE == y ]]
	}
	mkdir -p "$SERIES/git" && git -C "$SERIES/git" init -q && MAKE=y && series_driver >"$SCRATCH/out" || return
	grep -qx 'make a/ of a' "$SCRATCH/out" || { cat "$SCRATCH/out" && return 1; }
	[[ $(series_git log --reverse --format='%s: %b' --name-only | tr '\n' ' ') == \
	   'a: One: Why.  Signed-off-by: '*' a/run a/x b: Two: What.  Signed-off-by: '*' Kconfig ' &&
	   -x $SERIES/git/a/run && ! -x $SERIES/git/a/x && $(<"$SERIES/source/Kconfig") == config ]] || return
	rm -rf "$SERIES/git" && mkdir "$SERIES/git" && git -C "$SERIES/git" init -q && MAKE=n
	! series_driver >"$SCRATCH/out" && [[ $(series_git log --format=%s) == 'a: One' ]] || return
	# An option that this kernel does not have.
	rm -rf "$SERIES/git" && mkdir "$SERIES/git" && git -C "$SERIES/git" init -q && MAKE=y
	series_rust_make() { : >"$SERIES/rust/.config"; }
	says 'not possible with this kernel: CONFIG_IO_URING=y' series_driver
)
check "the driver is committed in parts, and compiled" driver_is_committed

# The output of the kernel with Rust: a suite and a selftest of each name.
console() {
	local suite test n=0
	for suite in "${SERIES_SUITES[@]}"; do
		n=$((n + 1))
		printf '    ok 1 a_test\r\n# %s: pass:2 fail:0 skip:0 total:2\r\nok %s %s\r\n' "$suite" "$n" "$suite"
	done
	for test in "${SERIES_SELFTESTS[@]}"; do
		printf '%s\r\n' "# selftest $test" "ok 1 $test" '# Totals: pass:1 fail:0 xfail:0 xpass:0 skip:0 error:0' \
			'# exit status 0'
	done
}

console_fails() {
	local fault last=eventfd_relay_test
	console | series_console || return
	console | says 'not ok 1 a_test' series_console_of 's/    ok 1/    not ok 1/' || return
	console | says 'did not pass: eventfd' series_console_of 's/^ok 1 eventfd/not ok 1 eventfd/' || return
	console | says 'did not pass: rust_kernel_irq_work' series_console_of '/rust_kernel_irq_work/d' || return
	console | says 'did not pass: rust_doctests' series_console_of 's/\(doctests_kernel\): pass:2/\1: pass:0/' || return
	console | says 'did not pass: rust_kernel_irq_work' series_console_of 's/\(irq_work: .*\)skip:0/\1skip:1/' || return
	# The last selftest fails, and no other.
	for fault in '/exit status/d' 's/exit status 0/exit status 1/' '/# Totals/d' 's/skip:0 error/skip:1 error/' \
		's/# Totals: pass:1/# Totals: pass:0/'; do
		console | says "did not pass: $last" series_console_of "/# selftest $last/,\$ $fault" || { echo "$fault" && return 1; }
	done
	console | says 'did not pass: eventfd_test' series_console_of '/# selftest eventfd_test/,/exit status/d' || return
	for fault in 'WARNING: possible circular locking dependency detected' 'BUG: sleeping function called' \
		'INFO: task kunit_try_catch blocked' 'Kernel panic - not syncing: Fatal exception' 'Call Trace:'; do
		console | says "${fault:0:20}" series_console_of "1i $fault" || { echo "$fault" && return 1; }
	done
}
series_console_of() {
	sed "$1" | series_console
}
check "a test in the booted kernel that fails or does not run is an error" console_fails

# A QEMU that ends with QEMU, and prints CONSOLE if that is not empty; a make that ends with MAKE.
boot_fails() (
	in_tree() {
		case " $* " in
		*" make "*)	return "$MAKE" ;;
		*" qemu-system-x86_64 "*)
			[[ -z $CONSOLE ]] || echo "$CONSOLE" >"$SERIES/guest/console.log"
			return "$QEMU" ;;
		esac
	}
	mkdir -p "$TREE/bin" "$SERIES"/{rust,selftests} || return
	: >"$TREE/bin/busybox" && touch "${SERIES_SELFTESTS[@]/#/$SERIES/selftests/}" || return
	printf 'CONFIG_%s=y\n' RUST KUNIT >"$SRC/tools/in-tree/series-rust.config"
	cp "$SRC/tools/in-tree/series-rust.config" "$SERIES/rust/.config"
	MAKE=0 QEMU=0 CONSOLE=$(console)
	series_boot || return
	[[ $(head -n 1 "$SERIES/initramfs/init") == '#!/bin/busybox sh' && -x $SERIES/initramfs/init &&
	   -e $SERIES/initramfs/bin/eventfd_test && $(tail -n 1 "$SERIES/booted") == eventfd_relay_test:* ]] || return
	grep -qF "for test in ${SERIES_SELFTESTS[*]}; do" "$SERIES/initramfs/init" || return
	# The output of the last run does not count.
	CONSOLE=''
	! series_boot || { echo "no output" && return 1; }
	CONSOLE=$(console | sed 's/^ok 1 eventfd/not &/')
	says 'did not pass: eventfd' series_boot || return
	CONSOLE=$(console | sed '$d')
	says 'did not end' series_boot || return
	QEMU=1 CONSOLE=$(console)
	says 'did not end' series_boot || return
	MAKE=2 QEMU=0
	! series_boot || { echo "make fails" && return 1; }
	MAKE=0 && sed -i /RUST/d "$SERIES/rust/.config"
	says 'not possible with this kernel: CONFIG_RUST=y' series_boot
)
check "a kernel that does not boot, or is not the right one, is an error" boot_fails

# A QEMU that prints LINES lines, then nothing for SILENT seconds, and then the output of a kernel. As
# QEMU does, it ends with status 0 if it is killed.
boot_hangs() (
	in_tree() {
		local line
		case " $* " in
		*" qemu-system-x86_64 "*)
			[[ $* == *'rcupdate.rcu_cpu_stall_suppress=1'* ]] || { echo "stalls are not suppressed" && return 1; }
			(
				# The /proc of the lab's tests may be that of another namespace.
				mkdir -p "$TREE/proc/$BASHPID/task" && : >"$TREE/proc/$BASHPID/stat"
				echo "$BASHPID" >"$SERIES/guest/qemu.pid"
				trap 'rm -r "$TREE/proc/$BASHPID"; exit 0' TERM
				for ((line = 0; line < LINES + SILENT; line++)); do
					((line >= LINES)) || echo "    ok $line a_test" >>"$SERIES/guest/console.log"
					sleep 1
				done
				console >>"$SERIES/guest/console.log"
				rm -r "$TREE/proc/$BASHPID"
			) &
			wait $! ;;
		esac
	}
	mkdir -p "$TREE"/{bin,proc} "$SERIES"/{rust,selftests} || return
	: >"$TREE/bin/busybox" && touch "${SERIES_SELFTESTS[@]/#/$SERIES/selftests/}" || return
	: >"$SRC/tools/in-tree/series-rust.config" && : >"$SERIES/rust/.config"
	# shellcheck disable=SC2034 # watch_guest reads them
	NPROC=$(nproc) BOOT_LIMIT=4
	# It takes longer than the limit, but goes on.
	LINES=6 SILENT=0
	series_boot || return
	LINES=1 SILENT=60
	says 'printed nothing for 4 s' series_boot
)
check "a kernel that prints nothing any more is stopped, and no other" boot_hangs

# rustfmt that ends with FORMAT, and a compiler that prints COMPILED.
rust_fails() (
	in_tree() { return "$FORMAT"; }
	series_rust_make() {
		case $1 in
		tinyconfig | olddefconfig)	;;
		*)	echo "  RUSTC L $*" && echo "$COMPILED" ;;
		esac
	}
	mkdir -p "$SERIES/rust" && : >"$SRC/tools/in-tree/series-rust.config"
	echo '+++ b/samples/rust/rust_relay.rs' >"$SCRATCH/0004-rust.patch"
	FORMAT=0 COMPILED=
	[[ $(series_rust "$SCRATCH/0004-rust.patch") == *'rust/kernel.o samples/rust/rust_relay.o'* ]] || return
	FORMAT=1
	! series_rust "$SCRATCH/0004-rust.patch" || { echo "the format is not checked" && return 1; }
	FORMAT=0 COMPILED='warning: unused variable'
	says unused series_rust "$SCRATCH/0004-rust.patch"
)
check "a patch in Rust is formatted, and compiled without warnings" rust_fails

kunit_compiled() {
	printf '+++ b/%s\n' fs/tests/eventfd_kunit.c kernel/irq_work_kunit.c kernel/irq_work.c >"$SCRATCH/0006-kunit.patch"
	[[ $(series_kunit "$SCRATCH/0006-kunit.patch") == kernel/irq_work_kunit.o ]]
}
check "KUnit tests with an object of their own are compiled" kunit_compiled

selftests_built() (
	in_tree() { echo "make ${*:4:1}"; }
	printf '+++ b/%s\n' fs/eventfd.c tools/testing/selftests/rust/{Makefile,a.c} >"$SCRATCH/0005-selftest.patch"
	[[ $(series_selftests "$SCRATCH/0005-selftest.patch") == 'make /build/series/source/tools/testing/selftests/rust' ]] || return
	in_tree() { return 2; }
	! series_selftests "$SCRATCH/0005-selftest.patch"
)
check "each selftest that a patch changes is built" selftests_built

# Each patch is in one series.
series_are_disjoint() (
	IN_TREE_PATCHES=$REAL/tools/in-tree/patches
	diff <({ patches_of eventfd; patches_of kvm; } | sort) <(printf '%s\n' "$IN_TREE_PATCHES"/*.patch | sort) || return
	[[ -n $(patches_of kvm) && $(patches_of irq_work | wc -l) == 4 ]] || return
	[[ -z $(comm -13 <(patches_of eventfd) <(patches_of irq_work)) ]] || return
	! patches_of eventfd | xargs grep -lE '^\+\+\+ b/(arch|virt)/' && ! patches_of kvm | xargs grep -l '^+++ b/fs/'
)
check "the changes to KVM are not in the series of eventfds" series_are_disjoint

# Kbuild looks for the last function that the series declares: with a part of the series the
# module uses none of it.
last_declaration() (
	IN_TREE_PATCHES=$REAL/tools/in-tree/patches
	local last
	# shellcheck disable=SC2016
	last=$(patches_of eventfd | xargs awk '/^diff / { header = / b\/include\/linux\/eventfd.h$/ }
		header && /^\+[a-z_].*\(/ && !/^\+static/ { match($0, /[a-z_]+\(/); name = substr($0, RSTART, RLENGTH - 1) }
		END { print name }')
	[[ -n $last ]] || return
	grep -A 2 '^doorbell-exports :=' "$REAL/Kbuild" | grep -w "$last" || { echo "not in Kbuild: $last" && return 1; }
)
check "Kbuild looks for the last declaration of the series" last_declaration

patches() {
	local patch n=0 line IN_TREE_PATCHES=$REAL/tools/in-tree/patches
	for patch in $(patches_of eventfd); do
		n=$((n + 1))
		[[ ${patch##*/} == "$(printf %04d $n)"-* ]] || { echo "${patch##*/} is number $n" && return 1; }
		for line in 'From: The doorbell authors <maintainers@doorbell.invalid>' \
			'Signed-off-by: The doorbell authors <maintainers@doorbell.invalid>'; do
			grep -qxF "$line" "$patch" || { echo "${patch##*/} lacks $line" && return 1; }
		done
		# The body of the message is at most 75 columns wide. A tag takes one line.
		sed '1,/^$/d; /^Fixes: /d; /^---$/q' "$patch" | grep -nE '.{76}' && echo "${patch##*/}" && return 1
	done
	((n > 0))
}
check "the patches are numbered, signed, and have messages" patches

# A source with one file, and a patch of it. checkpatch prints FINDINGS.
kvm_series() (
	local file dir=$SCRATCH/kvm
	remove() { rm -rf "$@"; }
	in_tree_base() { echo 7.3.4; }
	kernel_source() { echo "$dir/source"; }
	in_tree() {
		shift
		case $1 in
		git)	"${@//\/build\//$BUILD/}" ;;
		*)
			cat >/dev/null
			case $* in
			*checkpatch*)	[[ -z $FINDINGS ]] || echo "$FINDINGS" ;;
			*get_maintainer*)	echo "K <k@kvm.invalid>" ;;
			esac
			;;
		esac
	}
	export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
	IN_TREE_PATCHES=$dir KSRC=/kernel/source FINDINGS=
	mkdir -p "$dir/source/virt/kvm" && echo old >"$dir/source/virt/kvm/eventfd.c"
	printf 'KVM: a subject\n\nThe text.\n' >"$SRC/tools/in-tree/kvm-cover-letter.txt"
	echo '{ "paths": {} }' >"$SRC/tools/bench/instructions.json"
	echo '# none' >"$SRC/tools/in-tree/kvm-exceptions"
	printf '%s\n' '# lists' 'kvm list@kvm.invalid' 'kvm C@b.invalid' 'eventfd list@eventfd.invalid' >"$SRC/tools/in-tree/recipients"
	says 'no patches of kvm' series_kvm || return
	printf '%s\n' 'From: A <a@b.invalid>' 'Date: Fri, 27 Nov 2026 02:29:16 +0000' 'Subject: [PATCH] KVM: A change' '' Why. '' \
		'Cc: "C D" <c@b.invalid>' 'Signed-off-by: A <a@b.invalid>' --- ' virt/kvm/eventfd.c | 2 +-' '' 'diff --git a/virt/kvm/eventfd.c b/virt/kvm/eventfd.c' \
		'--- a/virt/kvm/eventfd.c' '+++ b/virt/kvm/eventfd.c' '@@ -1 +1 @@' -old +new >"$dir/0100-KVM-a.patch"
	# It does not apply after the other series.
	printf '+++ b/fs/eventfd.c\n' >"$dir/0001-eventfd.patch"
	series_kvm || return
	for file in "$SRC"/out/patches-kvm/000[01]*; do
		grep -qx 'Cc: K <k@kvm.invalid>' "$file" || { echo "no Cc in $file" && return 1; }
	done
	# Its lists, and the Cc of its patch: each address once, with or without a name.
	for file in c@b k@kvm list@kvm; do
		[[ $(sed '/^$/q' "$SRC/out/patches-kvm/0000-cover-letter.patch" | grep -ciE "^Cc: (.*<)?$file\.invalid>?$") == 1 ]] ||
			{ echo "not once: $file" && return 1; }
	done
	! grep list@eventfd "$SRC/out/patches-kvm/0000-cover-letter.patch" || return
	grep -qx 'Subject: \[PATCH 0/1\] KVM: a subject' "$SRC/out/patches-kvm/0000-cover-letter.patch" &&
		grep -qx 'The text.' "$SRC/out/patches-kvm/0000-cover-letter.patch" &&
		grep -qx '+new' "$SRC/out/patches-kvm/0001-KVM-A-change.patch" || return
	FINDINGS='-:8: WARNING:LONG_LINE: line length of 104 exceeds 100 columns'
	says LONG_LINE series_kvm || return
	FINDINGS=
	sed -i 's/^-old/-other/' "$dir/0100-KVM-a.patch"
	says 'does not apply' series_kvm || return
	sed -i '/^Signed-off-by/d' "$dir/0100-KVM-a.patch"
	says 'no Signed-off-by' series_kvm
)
check "the changes to KVM are checked, and written as a series" kvm_series

letters() {
	local letter
	SRC=$REAL
	for letter in {,irq_work-,kvm-}cover-letter.txt; do
		cover_letter "$letter" >"$SCRATCH/letter" && ! grep -n @ "$SCRATCH/letter" && ! grep -nE '.{76}' "$SCRATCH/letter" || return
	done
}
check "the cover letters are complete" letters
plan
