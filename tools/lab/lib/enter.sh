# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Mounts of the tree, and commands in it. The caller is in a private mount namespace.

# mount_tree TREE [rw]: mounts the tree; read-only without rw
mount_tree() {
	local tree=$1 mode=${2:-ro} ca
	mount --bind "$tree" "$tree" || return 1
	if [[ $mode == ro ]]; then
		mount -o remount,bind,ro "$tree" || return 1
	fi
	mount -t proc proc "$tree/proc" &&
	mount --rbind /dev "$tree/dev" &&
	mount -t tmpfs -o mode=1777 tmp "$tree/tmp" &&
	mount -t tmpfs -o mode=755 run "$tree/run" || return 1
	mkdir -p "$tree/run/host"
	cp -L /etc/resolv.conf "$tree/run/host/" 2>/dev/null
	for ca in ${SSL_CERT_FILE:+"$SSL_CERT_FILE"} /etc/ssl/certs/ca-certificates.crt \
		  /etc/pki/tls/certs/ca-bundle.crt; do
		[[ -s $ca ]] && cp -L "$ca" "$tree/run/host/ca.crt" && break
	done
	return 0
}

# in_tree TREE COMMAND...: runs the command in the tree, with a fixed environment and
# the host's proxies and CAs
in_tree() {
	local tree=$1 v env
	shift
	env=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
	     HOME=/root LC_ALL=C.UTF-8 TERM="${TERM:-dumb}" DEBIAN_FRONTEND=noninteractive
	     DEB_BUILD_ARCH=amd64 CARGO_HOME=/cargo CARGO_TARGET_DIR=/build/target
	     CARGO_TERM_PROGRESS_WHEN=never PYTHONDONTWRITEBYTECODE=1 "${FOREIGN[@]}")
	for v in http_proxy https_proxy ftp_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
		[[ -n ${!v:-} ]] && env+=("$v=${!v}")
	done
	if [[ -s $tree/run/host/ca.crt ]]; then
		for v in SSL_CERT_FILE CURL_CA_BUNDLE CARGO_HTTP_CAINFO; do
			env+=("$v=/run/host/ca.crt")
		done
	fi
	chroot "$tree" /usr/bin/env -i "${env[@]}" "$@"
}

bind_ro() {
	mount --bind "$1" "$2" && mount -o remount,bind,ro "$2"
}

# Mounts the whole lab for builds and guests.
mount_lab() {
	[[ -n ${LAB_MOUNTED:-} ]] && return
	local v
	v=$(kernel_version)
	mount_tree "$TREE" ro &&
	bind_ro "$(kernel_dir)" "$TREE/kernel" &&
	bind_ro "$(is_in_tree && echo "$IN_TREE/source" || kernel_source "$v")" "$TREE/kernel/source" &&
	mount --bind "$(kernel_dir)/modules" "$TREE/usr/lib/modules" &&
	bind_ro "$SRC" "$TREE/doorbell" &&
	mount --bind "$BUILD" "$TREE/build" &&
	mount --bind "$BUILD/$(module_dir)" "$TREE/build/module" &&
	mount --bind "$LAB/cargo" "$TREE/cargo" &&
	mount_programs && mount_guest_root &&
	{ ! use_qemu || bind_ro "$QEMU" "$TREE/opt"; } ||
		die "cannot mount the lab at $TREE"
	LAB_MOUNTED=1
}

enter_tree() {
	mount_lab
	(($#)) || set -- bash
	in_tree "$TREE" "$@"
}
