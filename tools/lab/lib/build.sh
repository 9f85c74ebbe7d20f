# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Builds in the tree. The source is mounted read-only at /doorbell; the output goes to
# /build.

KSRC=/kernel/source
KDIR=/kernel/kdir
TARGET=x86_64-unknown-linux-gnu
PROGRAMS=$BUILD
# The arguments of the programs' makefiles, and of cargo.
CROSS_CC=() EXCLUDED=(doorbell-model)
if [[ $ARCH == arm64 ]]; then
	TARGET=aarch64-unknown-linux-gnu
	PROGRAMS=$BUILD/$ARCH
	CROSS_CC=(CC=aarch64-linux-gnu-gcc-14 CC32=arm-linux-gnueabihf-gcc-14)
	# The code of its guests is for x86-64.
	EXCLUDED+=(msix-vmm)
fi

# module_dir [NAME]: prints this flavour's directory of that name. That of the module itself
# is mounted at /build/module.
module_dir() {
	[[ $FLAVOUR == amd64 ]] && echo "${1:-module}" || echo "${1:-module}-$FLAVOUR"
}

build_dirs() {
	mkdir -p "$BUILD"/{module,"$(module_dir)","$(module_dir clippy)",target,model,selftests,samples,bench,docs,log} \
		"$LAB/cargo" "$PROGRAMS"/{selftests,samples}
	! is_in_tree || mkdir -p "$IN_TREE/source" "$(kernel_dir)"/{kdir,modules,source}
}

# Mounts the C programs of another architecture, which has directories of its own for them.
mount_programs() {
	local dir
	[[ $PROGRAMS != "$BUILD" ]] || return 0
	for dir in selftests samples; do
		mount --bind "$PROGRAMS/$dir" "$TREE/build/$dir" || return
	done
}

make_module() {		# DIRECTORY ARGUMENT...
	local dir=$1
	shift
	in_tree "$TREE" make -C "$KDIR" M=/doorbell MO="/build/$dir" \
		"${LLVM[@]}" -j"$(nproc)" "$@" modules
}

cargo_env() {
	in_tree "$TREE" env -C /doorbell "$@"
}

# cargo_static COMMAND [ARGUMENT...]: static, so that the guest reads one file; the same
# flags for build and tests, so that they share the compiled crates.
cargo_static() {
	local command=$1
	shift
	cargo_env RUSTFLAGS='-C target-feature=+crt-static' cargo "$command" --release --locked \
		--target "$TARGET" --workspace "${EXCLUDED[@]/#/--exclude=}" --all-features "$@"
}

build_module() {
	if is_in_tree; then
		build_in_tree
		return
	fi
	make_module module CONFIG_SAMPLE_DOORBELL=m CONFIG_TEST_DOORBELL=m
}

build_tools() {
	cargo_static build --bins --examples
}

build_selftests() {
	in_tree "$TREE" make -C /doorbell/tools/testing/selftests/doorbell \
		OUTPUT=/build/selftests KSRC="$KSRC" "${CROSS_CC[@]}" -j"$(nproc)"
}

build_bench() {
	in_tree "$TREE" make -C /doorbell/tools/bench OUTPUT=/build/bench
}

build_samples() {
	in_tree "$TREE" make -C /doorbell/samples OUTPUT=/build/samples "${CROSS_CC[@]}" -j"$(nproc)"
}

# run_model [ARGUMENT...]: prints KTAP. It has a target directory of its own, as cargo
# allows one build at a time in each.
run_model() {
	cargo_env CARGO_TARGET_DIR=/build/model cargo run -q --release --locked --target "$TARGET" \
		-p doorbell-model -- "$@"
}

# build_key: prints a hash of the sources, the kernel and the recipe
build_key() {
	{
		find "$SRC" \( -name .git -o -path "$SRC/out" \) -prune -o -type f -printf '%P %T@ %s\n' | sort
		kernel_version
		kernel_recipe
	} | sha
}

is_built() {
	# The lab's own tests run inside another run and use its build.
	[[ -n ${DOORBELL_BUILT:-} || $(cat "$BUILD/built-$FLAVOUR" 2>/dev/null) == "$(build_key)" ]]
}

# build: builds if the sources have changed since the last build. Afterwards it shares
# the lock of the source tree, so that no other run changes the build.
build() {
	build_dirs
	lock_file "$BUILD/lock" shared
	if ! is_built; then
		lock_file "$BUILD/lock" exclusive
		# Another run may have built it during the wait.
		is_built || build_all
		lock_file "$BUILD/lock" shared
	fi
	mount_lab
}

# share_tools: builds the tools only, if the sources have changed since the last build.
# Afterwards it shares the lock of the source tree, as after build.
share_tools() {
	local rc=0
	lock_file "$BUILD/lock" shared
	if ! is_built; then
		lock_file "$BUILD/lock" exclusive
		is_built || build_tools || rc=1
		lock_file "$BUILD/lock" shared
	fi
	return $rc
}

build_all() {
	local key
	key=$(build_key)
	if is_in_tree; then
		need_in_tree_space "$FLAVOUR"
		# The copy is mounted with the lab.
		mkdir -p "$BUILD/log"
		LOGS=$BUILD/log stage_begin build-source "putting the driver into a kernel tree" make_in_tree
		stage_wait
	fi
	mount_lab
	LOGS=$BUILD/log
	rm -f "$BUILD/built-$FLAVOUR"
	stage_begin build-module "building the module" build_module
	stage_begin build-tools "building the tools" build_tools
	stage_begin build-selftests "building the tests" build_selftests
	stage_begin build-samples "building the samples" build_samples
	# It is in amd64 code, as its figures are.
	[[ $ARCH != amd64 ]] || stage_begin build-bench "building the benchmark" build_bench
	stage_wait
	echo "$key" >"$BUILD/built-$FLAVOUR"
}
