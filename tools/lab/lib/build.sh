# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Building, in the tree. The source is mounted read-only at /doorbell, what is
# built goes to /build.

KSRC=/kernel/source
KDIR=/kernel/kdir
TARGET=x86_64-unknown-linux-gnu

# Every flavour finds its module at /build/module, and leaves the others' alone.
module_dir() {
	[[ $FLAVOUR == amd64 ]] && echo module || echo "module-$FLAVOUR"
}

build_dirs() {
	mkdir -p "$BUILD"/{module,"$(module_dir)",clippy,target,selftests,samples,docs,out} "$LAB/cargo"
}

# What the builds leave belongs to who asked for it.
give_back() {
	[[ -z ${DOORBELL_OWNER:-} ]] || chown -R "$DOORBELL_OWNER" "$BUILD/out"
}

make_module() {		# DIRECTORY ARGUMENT...
	local dir=$1
	shift
	in_tree "$TREE" make -C "$KDIR" M=/doorbell MO="/build/$dir" \
		"${LLVM[@]}" -j"$(nproc)" "$@" modules
}

cargo_env() {
	in_tree "$TREE" env -C /doorbell/tools/doorbell "$@"
}

# The crates that run in the guest.
CRATES=(tools/doorbell samples/kvm-rtt)

# cargo_static COMMAND: static, so that the guest reads one file; the same flags
# for build and tests, so that they share what is compiled.
cargo_static() {
	local crate
	for crate in "${CRATES[@]}"; do
		cargo_env RUSTFLAGS='-C target-feature=+crt-static' cargo "$1" --release --locked \
			--target "$TARGET" --manifest-path "/doorbell/$crate/Cargo.toml" || return
	done
}

build_module() {
	make_module module CONFIG_SAMPLE_DOORBELL=m CONFIG_TEST_DOORBELL=m
}

build_tools() {
	cargo_static build
}

build_selftests() {
	in_tree "$TREE" make -C /doorbell/tools/testing/selftests/doorbell \
		OUTPUT=/build/selftests KSRC="$KSRC" -j"$(nproc)"
}

build_samples() {
	in_tree "$TREE" make -C /doorbell/samples OUTPUT=/build/samples -j"$(nproc)"
}

# run_model [ARGUMENT...]: prints KTAP
run_model() {
	in_tree "$TREE" env -C /doorbell/tools/model cargo run -q --release --locked \
		--target "$TARGET" -- "$@"
}

build() {
	build_dirs
	LOGS=$BUILD/log
	mount_lab
	stage_begin build-module "building the module" build_module
	stage_begin build-tools "building the tools" build_tools
	stage_begin build-selftests "building the tests" build_selftests
	stage_begin build-samples "building the samples" build_samples
	stage_wait
}
