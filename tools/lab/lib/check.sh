# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# make check: the static checks.

check_rustfmt() {
	local samples=("$SRC"/samples/*/*.rs)
	in_tree "$TREE" rustfmt --check --config-path "$KSRC/.rustfmt.toml" \
		/doorbell/rust/doorbell.rs "${samples[@]/#$SRC//doorbell}"
}

check_clippy() {
	make_module "$(module_dir clippy)" CLIPPY=1 KRUSTFLAGS=-Dwarnings CONFIG_SAMPLE_DOORBELL=m
}

check_cargo_fmt() {
	cargo_env cargo fmt --check --all
}

# On another architecture only the code for it is new.
check_cargo_clippy() {
	if [[ $ARCH != amd64 ]]; then
		cargo_env cargo clippy --locked --target "$TARGET" --workspace "${EXCLUDED[@]/#/--exclude=}" \
			--all-targets --all-features -- -D warnings
		return
	fi
	cargo_env cargo clippy --locked --workspace --all-targets --all-features -- -D warnings &&
		cargo_env cargo clippy --locked -p doorbell --all-targets -- -D warnings
}

# The client library is complete without the rest of the tree. Builds it from the package.
check_cargo_package() {
	cargo_env cargo package --locked --offline --allow-dirty -p doorbell
}

# publish_crate: does all of "cargo publish" for the client library but the upload. It needs
# the network: the registry must have the dependencies.
publish_crate() {
	cargo_env cargo publish --dry-run --locked --allow-dirty -p doorbell
}

run_crate() {
	setup || return
	build_dirs
	mount_lab
	LOGS=$BUILD/log
	STAGE_TAIL=60 stage_begin check-crate "the client library, as for a registry" publish_crate
	stage_wait
	echo "1 passed, 0 failed"
}

# UAPI headers cannot use BIT(), and Rust can export symbols, too. Trace events have a
# format of their own.
check_checkpatch() {
	local files
	files=$(cd "$SRC" && find . -path ./out -prune -o \( -name '*.c' -o -name '*.h' \) ! -path '*/trace/events/*' -type f -printf '/doorbell/%P\n' | sort)
	# shellcheck disable=SC2086
	in_tree "$TREE" env -C "$KSRC" perl scripts/checkpatch.pl --no-tree --strict --quiet \
		--show-types --ignore BIT_MACRO,EXPORT_SYMBOL -f $files &&
		in_tree "$TREE" env -C "$KSRC" perl scripts/checkpatch.pl --no-tree --strict --quiet \
			--show-types --ignore OPEN_ENDED_LINE,PARENTHESIS_ALIGNMENT \
			-f /doorbell/include/trace/events/doorbell.h
}

check_kernel_doc() {
	in_tree "$TREE" env -C "$KSRC" scripts/kernel-doc -none -Wall -Werror \
		/doorbell/include/linux/doorbell.h /doorbell/include/uapi/linux/doorbell.h \
		/doorbell/tools/lib/doorbell/c/doorbell{,_status,_wait,_bus}.h
}

check_docs() {
	in_tree "$TREE" sphinx-build -q -W --keep-going -b html -d /build/docs/trees \
		/doorbell/Documentation /build/docs/html
}

# build_htmldocs: builds the pages, and prints where they are
build_htmldocs() {
	setup && build_dirs && mount_lab && check_docs && say "the pages: $BUILD/docs/html/index.html"
}

# Only the abstractions, and the boundary to other modules, may use unsafe.
check_unsafe() {
	! find "$SRC/rust" "$SRC"/samples/*/*.rs -name '*.rs' ! -path '*/rust/kernel_ext/*' ! -path '*/rust/c_api/*' \
		! -path '*/rust/module_api*' ! -path '*/rust/line/callback.rs' \
		-exec grep -nE '^[^/"]*\bunsafe\b' {} +
}

# A context owns its irqfds, and they refer to it. There must be no other circle of imports.
check_imports() {
	in_tree "$TREE" python3 /doorbell/tools/lab/lib/imports.py /doorbell/rust context-irqfd
}

check_prose() {
	in_tree "$TREE" python3 /doorbell/tools/lab/lib/prose.py /doorbell
}

# Each memory order names its partner.
check_orderings() {
	in_tree "$TREE" python3 /doorbell/tools/lab/lib/orderings.py /doorbell
}

# The examples of the abstractions compile, and those that must not are refused. Uses the command that the
# check "clippy" has saved.
check_examples() {
	in_tree "$TREE" python3 /doorbell/tools/lab/lib/examples.py /doorbell/rust/kernel_ext \
		"/build/$(module_dir clippy)"
}

# The list of mutants fits the sources.
check_mutants() {
	in_tree "$TREE" python3 /doorbell/tools/mutants/mutants.py check /doorbell
}

check_guarantees() {
	in_tree "$TREE" python3 /doorbell/tools/lab/lib/guarantees.py /doorbell
}

# The descriptions for syzkaller have each ioctl, flag, structure and value of the header.
check_syzlang() {
	in_tree "$TREE" python3 /doorbell/tools/lab/lib/syzlang.py /doorbell/include/uapi/linux/doorbell.h \
		/doorbell/tools/testing/syzkaller/dev_doorbell.txt
}

built_doorbell() {
	in_tree "$TREE" "/build/target/$TARGET/release/doorbell" "$@"
}

# subcommands [COMMAND...]: the page names of a command and of those that its help lists
subcommands() {
	local name
	echo "doorbell $*" | sed 's/ *$//; s/ /-/g'
	for name in $(built_doorbell "$@" --help | awk '/^Commands:/ { list = 1; next } /^$/ { list = 0 }
		list && /^  [a-z]/ && $1 != "help" { print $1 }'); do
		subcommands "$@" "$name"
	done
}

# The man pages and completions that the command generates: one page per command, in
# which groff finds nothing wrong. Without groff, the sections are checked.
check_man() {
	local page
	rm -rf "$BUILD/generated"
	share_tools &&
	built_doorbell generate man /build/generated/man &&
	built_doorbell generate completions /build/generated/completions &&
	diff <(subcommands | sort) <(cd "$BUILD/generated/man" && ls | sed 's/\.1$//' | sort) || return
	for page in "$BUILD"/generated/man/*; do
		[[ $(grep -cE '^\.SH (NAME|SYNOPSIS|DESCRIPTION|OPTIONS)$' "$page") == 4 ]] ||
			{ echo "${page##*/}: a section is missing" && return 1; }
		# A line of text must not look like a request.
		! grep -nE "^'|^\\.[^A-Za-z]" "$page" || return
		! command -v groff >/dev/null || [[ -z $(groff -man -ww -z -Tutf8 "$page" 2>&1 | tee /dev/stderr) ]] || return
	done
	bash -n "$BUILD/generated/completions/doorbell.bash"
}

CHECKS=(rustfmt clippy examples cargo_fmt cargo_clippy cargo_package checkpatch kernel_doc docs guarantees syzlang unsafe orderings mutants imports prose man)

run_checks() {
	local check passed=0 failed=0
	[[ $FLAVOUR != 7.2 ]] || CHECKS=(clippy)
	[[ $ARCH == amd64 ]] || CHECKS=(cargo_clippy)
	setup || return
	build_dirs
	LOGS=$BUILD/log
	lock_file "$BUILD/check-lock" exclusive
	mount_lab
	for check in "${CHECKS[@]}"; do
		stage_begin "check-$check" "check: $check" "check_$check"
		if KEEP_GOING=1 STAGE_TAIL=60 stage_wait; then
			passed=$((passed + 1))
		else
			failed=$((failed + 1))
		fi
	done
	echo "$passed passed, $failed failed"
	((failed == 0))
}
