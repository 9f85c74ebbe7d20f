# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Messages, entry into private namespaces, locks, and stages with progress.

LAB=${DOORBELL_LAB:-${XDG_CACHE_HOME:-${HOME:?set HOME or DOORBELL_LAB}/.cache}/doorbell}
[[ $LAB == /* ]] || LAB=$PWD/$LAB
LOGS=$LAB/log

say() {
	printf 'lab: %s\n' "$*" >&2
}

die() {
	printf 'lab: error: %s\n' "$1" >&2
	shift
	(($#)) && printf 'lab:        %s\n' "$@" >&2
	exit 1
}

# Sets PASSED: the variables of the user's environment that sudo would drop.
passed_env() {
	local v
	PASSED=(DOORBELL_LAB="$LAB" HOME="$HOME" PATH="$PATH")
	for v in http_proxy https_proxy ftp_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY \
		 SSL_CERT_FILE TERM CI XDG_CACHE_HOME ${!DOORBELL_@}; do
		[[ -n ${!v:-} && $v != DOORBELL_LAB ]] && PASSED+=("$v=${!v}")
	done
}

# Runs the command in private mount and PID namespaces. No mount outlives the command,
# the removal of the tree cannot reach a directory outside, and all processes of this
# script end with it, even after kill -9.
outer() {
	local child rc tty=
	if ((EUID)); then
		command -v sudo >/dev/null ||
			die "set-up and chroot need root" "run this as root, or install sudo"
		mkdir -p "$LAB" || exit 1
		passed_env
		exec sudo env "${PASSED[@]}" DOORBELL_OWNER="$(id -u):$(id -g)" \
			"$BASH" "$LAB_DIR/lab" "$@"
	fi
	export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
	unshare -m true 2>/dev/null ||
		die "this machine does not allow mount namespaces" \
		    "inside a container, run it with --privileged (or --cap-add SYS_ADMIN)"
	[[ -t 0 ]] && tty=$(stty -g 2>/dev/null)
	DOORBELL_LAB=$LAB DOORBELL_INNER=1 setpriv --pdeathsig KILL \
		unshare --mount --propagation private --pid --fork --kill-child=KILL \
		"$BASH" "$LAB_DIR/lab" "$@" <&0 &
	child=$!
	trap 'interrupted=1; kill -KILL $child 2>/dev/null' INT TERM HUP
	interrupted=
	wait $child
	rc=$?
	# A signal ends the first wait early.
	[[ $interrupted ]] && wait $child 2>/dev/null
	[[ $tty ]] && stty "$tty" 2>/dev/null
	if [[ $interrupted ]]; then
		[[ -t 2 ]] && printf '\r\033[K' >&2
		say "interrupted; finished stages are kept, run the command again to continue"
		rc=130
	fi
	exit $rc
}

# lock_lab shared|exclusive [CONDITION]: a set-up and the removal of the lab take the lock
# exclusively, all other commands share it. Returns 1 without the lock if CONDITION, a command,
# succeeds during the wait: runs that share the lock may follow each other for hours.
lock_lab() {
	local how=-s
	[[ $1 == exclusive ]] && how=-x
	mkdir -p "$LAB" "$LOGS" || exit 1
	while :; do
		[[ -n ${LOCK_FD:-} ]] || exec {LOCK_FD}>>"$LAB/lock"
		if ! flock "$how" -n "$LOCK_FD"; then
			say "waiting for another run that uses $LAB"
			until flock "$how" -w 2 -E 99 "$LOCK_FD"; do
				(($? == 99)) || die "cannot lock $LAB/lock"
				! "${2:-false}" || return 1
			done
		fi
		# Another run may have removed the lab during the wait.
		[[ $LAB/lock -ef /proc/self/fd/$LOCK_FD ]] && return
		exec {LOCK_FD}>&-
		LOCK_FD=
		mkdir -p "$LAB" "$LOGS"
	done
}

# free_mb: prints the free megabytes on the file system of the lab
free_mb() {
	local dir=$LAB
	until [[ -e $dir ]]; do
		dir=$(dirname "$dir")
	done
	df -Pm "$dir" | awk 'NR == 2 { print $4 }'
}

# need_space MEGABYTES PURPOSE: dies if less is free
need_space() {
	local free
	free=$(free_mb)
	((free >= $1)) || die "$free MB are free in $LAB; $2 takes $1" \
		"free some, or set DOORBELL_LAB to another place"
}

sha() {
	sha256sum | cut -c1-16
}

# Stages: each is a process with a log. A terminal shows one line: the running stages,
# their durations, and the last line of each log. Elsewhere a stage prints a line when
# it starts and when it ends.
declare -A STAGE_PID=() STAGE_T0=() STAGE_TITLE=() STAGE_STATUS=()

stage_begin() {		# NAME TITLE COMMAND...
	local name=$1
	STAGE_TITLE[$name]=$2
	STAGE_T0[$name]=$SECONDS
	shift 2
	mkdir -p "$LOGS"
	"$@" </dev/null >"$LOGS/$name.log" 2>&1 &
	STAGE_PID[$name]=$!
	[[ -t 2 ]] || say "${STAGE_TITLE[$name]} ..."
}

stage_paint() {
	local name line='' last width
	local -r spin='|/-\'
	width=$(stty size 2>/dev/null </dev/tty | cut -d' ' -f2)
	[[ ${width:-0} -gt 20 ]] || width=80
	for name in "${!STAGE_PID[@]}"; do
		last=$(tail -c 300 "$LOGS/$name.log" 2>/dev/null | tr '\r\t' '\n ' | grep -v '^ *$' | tail -n 1)
		line+="${line:+ | }${STAGE_TITLE[$name]} $((SECONDS - STAGE_T0[$name])) s: ${last:0:60}"
	done
	line="${spin:$((PAINT++ % 4)):1} $line"
	printf '\r\033[K%s' "${line:0:$((width - 1))}" >&2
}
PAINT=0

stage_end() {		# NAME STATUS
	local name=$1 rc=$2 took=$((SECONDS - STAGE_T0[$1]))
	unset "STAGE_PID[$name]"
	STAGE_STATUS[$name]=$rc
	[[ -t 2 ]] && printf '\r\033[K' >&2
	if ((rc == 0)); then
		say "${STAGE_TITLE[$name]}: done in $took s"
		return
	fi
	say "${STAGE_TITLE[$name]}: FAILED after $took s; the end of $LOGS/$name.log:"
	tail -n "${STAGE_TAIL:-25}" "$LOGS/$name.log" | sed 's/^/  | /' >&2
	stage_advice "$name" >&2
}

stage_advice() {
	local log=$LOGS/$1.log
	if grep -qE 'No space left|([Nn]ot|n.t have) enough free (disk )?space|[Dd]isk quota' "$log" || (($(free_mb) < 50)); then
		echo "lab: the disk is full: free some, or set DOORBELL_LAB to another place"
	elif grep -qE 'Temporary failure resolving|Could not connect|Connection (failed|timed out)|Failed to fetch|Couldn.t download|Failed getting release|spurious network error|Could not resolve' "$log"; then
		echo "lab: the network failed: check it (http_proxy, DOORBELL_MIRROR), then run the same command again; it continues where it stopped"
	elif grep -qE 'keyring|NO_PUBKEY|unknown key' "$log"; then
		echo "lab: the archive's key is unknown here: apt-get install debian-archive-keyring"
	elif [[ $1 == build-* || $1 == check-* || $1 == test-* ]]; then
		:
	else
		echo "lab: run the same command again; finished stages are kept. 'make lab-clean' starts anew."
	fi
}

# Reports the stages that have ended. Fails if one of them failed; unless KEEP_GOING is
# set, this kills the other stages and exits.
stage_reap() {
	local name rc failed=0
	for name in "${!STAGE_PID[@]}"; do
		kill -0 "${STAGE_PID[$name]}" 2>/dev/null && continue
		wait "${STAGE_PID[$name]}"
		rc=$?
		stage_end "$name" $rc
		((rc == 0)) && continue
		failed=1
		if [[ -z ${KEEP_GOING:-} ]]; then
			((${#STAGE_PID[@]})) && kill "${STAGE_PID[@]}" 2>/dev/null
			exit 1
		fi
	done
	return $failed
}

# Waits for all stages.
stage_wait() {
	local name beat=$SECONDS failed=0
	while :; do
		stage_reap || failed=1
		((${#STAGE_PID[@]})) || break
		if [[ -t 2 ]]; then
			stage_paint
		elif ((SECONDS - beat >= 60)); then
			beat=$SECONDS
			for name in "${!STAGE_PID[@]}"; do
				say "${STAGE_TITLE[$name]}: still running after $((SECONDS - STAGE_T0[$name])) s"
			done
		fi
		sleep 0.1
	done
	return $failed
}

# A stage of the set-up: a process with a mount namespace of its own.
setup_stage() {		# NAME TITLE [ARGUMENT...]
	local name=$1 title=$2
	shift 2
	stage_begin "$name" "$title" unshare --mount --propagation private \
		"$BASH" "$LAB_DIR/lab" __stage "$name" "$@"
}
