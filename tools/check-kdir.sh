#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Checks a kernel build directory before Kbuild uses it, and prints what to do about
# a problem. Prints nothing if there is none. A warning is no failure.
#
#	check-kdir.sh exists KDIR		KDIR can be used on this machine
#	check-kdir.sh build KDIR RUSTC BINDGEN	the module can be built for KDIR
#	check-kdir.sh install KDIR DIR		the module that was built in DIR is for KDIR

# The module uses Rust abstractions that older kernels do not have.
MIN_VERSION=7.2

fail() {
	printf '%s\n' "$@" >&2
	exit 1
}

# Prints the value of a string option: quoted in .config, and not in auto.conf.
config_text() {
	sed -n "s/^$1=//p" "$config" | sed 's/^"\(.*\)"$/\1/'
}

# Debian's name of this architecture.
debian=$(dpkg --print-architecture 2>/dev/null || echo amd64)

check_exists() {
	[ -e "$KDIR/Makefile" ] || fail \
		"No kernel build directory at $KDIR." \
		"Install the headers of the running kernel (apt-get install linux-headers-$debian), or name" \
		'another build directory: make KDIR=/path/to/build. Without any: make rtt'
	# The Makefile of a separate build directory includes that of the source.
	source=$(sed -n 's,^include \(/.*\)/Makefile$,\1,p' "$KDIR/Makefile" | head -n 1)
	[ -z "$source" ] || [ -e "$source/Makefile" ] || case $source in
	/kernel/source)
		fail "$KDIR is a build directory of the lab." \
			'It works only inside the lab, where its source and its compilers are. To build' \
			'doorbell for that kernel: make module M=. (DIR instead of . builds another module.)' \
			'See "An own kernel" in Documentation/lab.rst.' ;;
	*)
		fail "$KDIR was made from the kernel source in $source, which is not on this machine." \
			'Make a build directory from a source that is here ("make O=DIR olddefconfig prepare' \
			'modules_prepare" in the source), or install the headers of the running kernel.' ;;
	esac
}

check_version() {
	header=$KDIR/include/generated/uapi/linux/version.h
	code=$(sed -n 's/^#define LINUX_VERSION_CODE \([0-9][0-9]*\)$/\1/p' "$header" 2>/dev/null)
	[ -n "$code" ] || fail \
		"$KDIR is not prepared: it has no include/generated/uapi/linux/version.h." \
		'Run "make olddefconfig prepare modules_prepare" there.'
	[ "$code" -ge $((${MIN_VERSION%.*} << 16 | ${MIN_VERSION#*.} << 8)) ] || fail \
		"The kernel of $KDIR is $((code >> 16)).$((code >> 8 & 255)).$((code & 255)). The module needs $MIN_VERSION or newer:" \
		'older kernels lack Rust abstractions that it uses. To try doorbell without such a' \
		'kernel: make rtt'
}

check_rust() {
	config=$KDIR/include/config/auto.conf
	[ -e "$config" ] || config=$KDIR/.config
	grep -qs '^CONFIG_RUST=y' "$config" || fail \
		"The kernel of $KDIR has no Rust support (CONFIG_RUST is not set): no module" \
		'in Rust can be built for it. See Documentation/rust/quick-start.rst in its source. To' \
		'try doorbell without it: make rtt'
	[ -e "$KDIR/rust/libkernel.rmeta" ] || fail \
		"$KDIR has no Rust metadata (rust/*.rmeta, rust/*.so, scripts/target.json)." \
		'Distributions leave it out of their headers. It is made from them, and from the source of' \
		'the same kernel (Debian: apt-get install linux-source-VERSION, and unpack it to SOURCE):' \
		"	tools/rust-metadata $KDIR SOURCE DIR" \
		'	make KDIR=DIR' \
		'For Debian kernels the package doorbell-dkms does all that (make deb), and so does the' \
		'lab: make module M=. builds doorbell.ko there. See Documentation/install.rst.'
}

# Checks the compilers. Only the compiler that wrote Rust metadata can read it.
check_compilers() {
	wanted=$(config_text CONFIG_RUSTC_VERSION_TEXT)
	# shellcheck disable=SC2086 # It may be a wrapper and its argument, as for Kbuild.
	set -- $RUSTC
	path=$(command -v "$1") || fail \
		"There is no $1. The kernel of $KDIR was built with" \
		"	$wanted" \
		'Install that one, or name it: make RUSTC=/path/to/rustc'
	have=$("$@" --version 2>/dev/null | tr -d '#')
	[ "$have" = "$wanted" ] || fail \
		'The Rust compiler is not the one that the kernel was built with; only that one can read' \
		"the Rust metadata in $KDIR." \
		"	kernel: $wanted" \
		"	$path: ${have:-fails}" \
		'Name the right one: make RUSTC=/path/to/rustc. A distribution'"'"'s kernel needs the' \
		'distribution'"'"'s rustc (Debian: apt-get install rustc, then make RUSTC=/usr/bin/rustc);' \
		'one from rustup differs even if it has the same number. For a kernel that was' \
		'configured here: "make olddefconfig prepare modules_prepare" again, with this rustc.'
	command -v "$BINDGEN" >/dev/null || fail \
		"There is no $BINDGEN. The kernel of $KDIR was built with" \
		"	$(config_text CONFIG_BINDGEN_VERSION_TEXT)" \
		'Install that one (Debian: apt-get install bindgen), or name it: make BINDGEN=/path/to/bindgen'
}

# Warns if the layout of struct eventfd_ctx will be unknown. The kernel with the patches in
# tools/in-tree exports what the module needs instead.
check_btf() {
	grep -qsw eventfd_signal_count "$KDIR/include/linux/eventfd.h" \
		"${source:-$KDIR}/include/linux/eventfd.h" && return
	if ! command -v pahole >/dev/null; then
		lacks='there is no pahole (Debian: apt-get install pahole).'
	elif ! [ -r "$KDIR/vmlinux" ]; then
		lacks="$KDIR has no vmlinux, whose BTF is needed."
	else
		return 0
	fi
	printf '%s\n' "Warning: $lacks" \
		'The module will lack DOORBELL_EVENTFD_PEEK and DOORBELL_TRIGGER_FLAG_COUNT.' >&2
}

check_built() {
	if ! [ -s "$DIR/modules.order" ] || ! [ -e "$DIR/doorbell.ko" ]; then
		fail 'There is no module to install. Build it first: make (as an ordinary user), and then' \
			'make modules_install (as root), both with the same KDIR.'
	fi
}

check_release() {
	built=$(grep -ao 'vermagic=[^ ]*' "$DIR/doorbell.ko" | head -n 1)
	release=$(cat "$KDIR/include/config/kernel.release" 2>/dev/null)
	[ -z "$built" ] || [ -z "$release" ] || [ "${built#*=}" = "$release" ] || fail \
		"doorbell.ko was built for ${built#*=}, and $KDIR is of $release." \
		'Build it for that kernel, or name the other one: make modules_install KDIR=/path/to/build'
}

case $1:$# in
exists:2 | build:4 | install:3) ;;
*)
	sed -n 's/^#	//p' "$0" >&2
	exit 2
	;;
esac
KDIR=$2
case $1 in
exists)
	check_exists
	;;
build)
	RUSTC=$3 BINDGEN=$4
	check_exists
	check_version
	check_rust
	check_compilers
	check_btf
	;;
install)
	DIR=$3
	check_built
	check_exists
	check_release
	;;
esac
