# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The last patches of "make series": the driver, in the parts of tools/in-tree/driver-patches.
# "make in-tree" checks it as one patch, boots it and tests it.
DRIVER_PATCHES=$SRC/tools/in-tree/driver-patches

# Builds all of the driver's code in Rust and C, but no modules for tests and samples: "make in-tree"
# does that.
DRIVER_CONFIG=(CONFIG_IO_URING=y CONFIG_DOORBELL=y CONFIG_DOORBELL_KUNIT_TEST=y)

# driver_files: prints the files of the driver in the kernel tree that "make in-tree" has made
driver_files() {
	printf '%s\n' "${DRIVER_LINES[@]}" && cut -d' ' -f 2 "$IN_TREE/source/.in-tree-placed"
}

# parts_of_driver: reads the driver's files and prints "N FILE" with the number of the patch. Says
# which file has no patch, and which line has no file, and fails then.
parts_of_driver() {
	awk '
		NR == FNR {
			if ($1 == "patch") patch++
			if ($1 == "file") { name[++n] = $2; part[n] = patch }
			next
		}
		{
			best = 0
			for (i = 1; i <= n; i++) {
				fits = $0 == name[i]
				if (name[i] ~ /[\/*]$/) {
					start = name[i]
					sub(/\*$/, "", start)
					fits = index($0, start) == 1
				}
				if (fits && (!best || length(name[i]) > length(name[best]))) best = i
			}
			if (!best) { print "no patch has " $0; bad = 1; next }
			used[best] = 1
			print part[best], $0
		}
		END {
			for (i = 1; i <= n; i++) if (!used[i]) { print "there is no file " name[i]; bad = 1 }
			exit bad
		}' "$DRIVER_PATCHES" -
}

# part_of_driver N KEY: prints the values of KEY of patch N
part_of_driver() {
	awk -v n="$1" -v key="$2" '$1 == "patch" { at++ } at == n && $1 == key { sub(/^[a-z]+ ?/, ""); print }' "$DRIVER_PATCHES"
}

# Adds the driver's patches.
series_driver() {
	local n file mode
	make_in_tree || return
	driver_files | parts_of_driver >"$SERIES/driver" || { grep -v '^[0-9]' "$SERIES/driver"; return 1; }
	for ((n = 1; n <= $(grep -c '^patch ' "$DRIVER_PATCHES"); n++)); do
		part_of_driver "$n" patch
		while read -r file; do
			mode=644
			[[ ! -x $IN_TREE/source/$file ]] || mode=755
			install -D -m "$mode" "$IN_TREE/source/$file" "$SERIES/git/$file" &&
				install -D -m "$mode" "$IN_TREE/source/$file" "$SERIES/source/$file" || return
		done < <(sed -n "s/^$n //p" "$SERIES/driver")
		series_git add -A -f && {
			part_of_driver "$n" patch && echo && part_of_driver "$n" text
		} | series_git commit -q -s -F - || return
		part_of_driver "$n" build | series_build_driver || return
	done
}

# Reads directories of the driver, and compiles them.
series_build_driver() (
	set -o pipefail
	local dirs line
	mapfile -t dirs
	((${#dirs[@]})) || return 0
	printf '%s\n' "${DRIVER_CONFIG[@]}" >>"$SERIES/rust/.config" && series_rust_make olddefconfig >/dev/null || return
	for line in "${DRIVER_CONFIG[@]}"; do
		grep -qxF "$line" "$SERIES/rust/.config" || { echo "not possible with this kernel: $line" && return 1; }
	done
	series_rust_make "${dirs[@]}" 2>&1 | series_warnings
)
