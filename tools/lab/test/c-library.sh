#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests tools/lib/doorbell/c: the headers compile without a warning as C11 and C++17, the
# example of the README compiles with what "make install" installs. Prints KTAP.

. "$(dirname "$0")/lib.sh"
SRC=${LAB_DIR%/tools/lab}
C=$SRC/tools/lib/doorbell/c
WARNINGS=(-Wall -Wextra -Wpedantic -Werror -fsyntax-only)

# Each header alone, and all of them twice.
for name in doorbell doorbell_status doorbell_bus doorbell_wait doorbell_summary; do
	printf '#include <%s.h>\nint main(void) { return 0; }\n' $name >"$SCRATCH/$name.c"
done
printf '#include <%s.h>\n' doorbell_wait doorbell_bus doorbell doorbell_status doorbell_summary doorbell_bus \
	doorbell_wait \
	>"$SCRATCH/all.c"

# compile COMMAND...: these files
compile() {
	local file
	for file in doorbell doorbell_status doorbell_bus doorbell_wait doorbell_summary all; do
		"$@" "${WARNINGS[@]}" -I"$C" -I"$SRC/include/uapi" "$SCRATCH/$file.c" || return
	done
}

example() {
	make -s -C "$C" install PREFIX=/usr DESTDIR="$SCRATCH/root" &&
		grep -qx 'prefix=/usr' "$SCRATCH/root/usr/share/pkgconfig/doorbell.pc" &&
		! grep -q @ "$SCRATCH/root/usr/share/pkgconfig/doorbell.pc" &&
		sed -n '/^```c$/,/^```$/{/^```/!p}' "$C/README.md" >"$SCRATCH/example.c" &&
		"$1" -I"$SCRATCH/root/usr/include" -Wall -Wextra -Werror -o "$SCRATCH/example" \
			"$SCRATCH/example.c"
}

# The example says why it cannot open the device: there is none, or it is for root only.
example_without_device() {
	says '^/dev/doorbell: (No such file or directory|Permission denied)$' "$SCRATCH/example"
}

# check_with COMPILER NAME FUNCTION: nothing is checked if this machine has no such compiler
check_with() {
	if type -P "$1" >"$SCRATCH/path"; then
		check "$2" "$3"
	else
		echo "# NOT TESTED: $2: this machine has no $1"
	fi
}

as_c() { compile cc -std=c11 -D_POSIX_C_SOURCE=200809L; }
as_gnu() { compile cc -std=gnu11; }
as_cxx() { compile c++ -x c++ -std=c++17 -Wshadow; }
with_cc() { example cc; }

check_with cc "the headers compile as C11" as_c
check_with cc "the headers compile as GNU C11" as_gnu
check_with c++ "the headers compile as C++17" as_cxx
check_with cc "the example of the README compiles with the installed headers" with_cc
if [[ -x $SCRATCH/example && ! -w /dev/doorbell ]]; then
	check "it says that it cannot open the device" example_without_device
fi
plan
