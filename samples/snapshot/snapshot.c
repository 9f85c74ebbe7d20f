// SPDX-License-Identifier: GPL-2.0
/*
 * A backend that is replaced by a new process while its device goes on. The first process
 * pauses its lines, saves them and exits. The second one restores them, wires them and
 * resumes. The main process is the device and the guest: it owns the eventfds, and checks
 * that each of its signals arrived.
 *
 * Here the records go through a pipe, and the eventfds are inherited. A virtual machine
 * monitor would send both over a UNIX socket, or the records alone to another machine.
 */
#include <sys/wait.h>

#include "sample.h"

#define LINES	4
/* A level line; the other ones are edge lines. */
#define LEVEL	1

/* The eventfds of the device (in), of the guest (out), and of the level line's source. */
struct wiring {
	int in[LINES];
	int out[LINES];
	int resample;
};

/* The state that one process leaves to the next one. */
struct state {
	struct doorbell_saved_line lines[LINES];
	/* The counts that the guest has not read yet. */
	__u64 counts[LINES];
};

/* A resamplefd needs a level line: wire after the restore. */
static void wire(int db, const struct wiring *w)
{
	int i;

	for (i = 0; i < LINES; i++) {
		MUST(doorbell_assign_trigger(db, w->out[i], i));
		if (i == LEVEL)
			MUST(doorbell_assign_resampled(db, w->in[i], i, w->resample));
		else
			MUST(doorbell_assign_irqfd(db, w->in[i], i));
	}
}

/* The first process. */
static int start(const struct wiring *w)
{
	int db = new_context(LINES);

	MUST(doorbell_set_type(db, LEVEL, DOORBELL_TYPE_LEVEL));
	wire(db, w);
	return db;
}

/* Stops all that moves the lines, then saves them. */
static void save(int db, const struct wiring *w, struct state *state)
{
	int i;

	MUST(doorbell_mask_lines_for(db, 0, LINES, NULL, NULL, DOORBELL_MASK_PAUSE));
	/* From here on the signals of the device stay in its eventfds. */
	for (i = 0; i < LINES; i++)
		MUST(doorbell_deassign_irqfd(db, w->in[i], i));
	MUST(doorbell_save_lines(db, 0, LINES, state->lines));
	/* No process of this machine will read them, if the guest moves to another one. */
	for (i = 0; i < LINES; i++) {
		struct doorbell_eventfd read = {
			.fd = w->out[i], .flags = DOORBELL_EVENTFD_FLAG_NOWAIT };
		int ret = doorbell_ioctl(db, DOORBELL_EVENTFD_READ, &read);

		if (ret != -EAGAIN)
			MUST(ret);
		state->counts[i] = read.count;
	}
}

/* The second process. */
static int restore(const struct wiring *w, const struct state *state)
{
	int db = new_context(LINES), i, ret;
	__u32 failed;

	/* The records have the pause, so nothing is delivered before the lines are wired. */
	ret = doorbell_restore_lines(db, 0, LINES, state->lines, &failed);
	if (ret && failed < LINES) {
		printf("Bail out! line %u cannot be restored: %s\n", failed, strerror(-ret));
		exit(1);
	}
	/* The reason is not one of the records. */
	must(ret, "doorbell_restore_lines");
	wire(db, w);
	for (i = 0; i < LINES; i++) {
		if (state->counts[i])
			MUST(write(w->out[i], &state->counts[i], sizeof(state->counts[i])));
	}
	MUST(doorbell_unmask_lines_for(db, 0, LINES, NULL, NULL, DOORBELL_MASK_PAUSE));
	return db;
}

/* Reads a message of @len bytes, or ends the program. */
static void receive(int fd, void *to, size_t len)
{
	if (MUST(read(fd, to, len)) != (ssize_t)len) {
		printf("Bail out! a process has ended early\n");
		exit(1);
	}
}

static void send_to(int fd, const void *from, size_t len)
{
	MUST(write(fd, from, len));
}

/* Runs the first process until a byte arrives from @in. It writes its state to @out. */
static void first_process(const struct wiring *w, int in, int out)
{
	struct state state = {};
	int db = start(w);
	char byte = 'r';

	send_to(out, &byte, 1);
	receive(in, &byte, 1);
	/* A vector that the guest has masked keeps its message. */
	MUST(doorbell_mask(db, 3));
	MUST(doorbell_ring(db, 3));
	save(db, w, &state);
	send_to(out, &state, sizeof(state));
	exit(0);
}

/* Runs the second process: acks, unmasks and exits on the bytes that arrive. */
static void second_process(const struct wiring *w, int in, int out, const struct state *state)
{
	int db = restore(w, state);
	char byte = 'r';

	send_to(out, &byte, 1);
	while (receive(in, &byte, 1), byte != 'x') {
		int ret = byte == 'a' ? doorbell_ack(db, LEVEL) : doorbell_unmask(db, 3);

		MUST(ret);
		byte = ret;
		send_to(out, &byte, 1);
	}
	exit(0);
}

/* Consumes a count, after waiting for it if @wait is true. */
static __u64 take(int fd, bool wait)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	__u64 count = 0;

	if (MUST(poll(&pfd, 1, wait ? TIMEOUT_MS : 0)))
		MUST(read(fd, &count, sizeof(count)));
	return count;
}

static void signal_fd(int fd)
{
	__u64 one = 1;

	MUST(write(fd, &one, sizeof(one)));
}

static bool ended_well(pid_t pid)
{
	int status;

	MUST(waitpid(pid, &status, 0));
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

int main(void)
{
	int to[2], from[2], i;
	struct wiring w;
	struct state state;
	pid_t pid;
	char byte;

	ktap_plan(6);
	MUST(pipe(to));
	MUST(pipe(from));
	for (i = 0; i < LINES; i++) {
		w.in[i] = new_eventfd();
		w.out[i] = new_eventfd();
	}
	w.resample = new_eventfd();

	pid = MUST(fork());
	if (!pid)
		first_process(&w, to[0], from[1]);
	/* Only the other process writes to it: if that ends early, the pipe ends, too. */
	MUST(close(from[1]));
	receive(from[0], &byte, 1);
	/* Line 0 is read by the guest, line 2 is not, and the level line is not acked. */
	signal_fd(w.in[0]);
	signal_fd(w.in[LEVEL]);
	signal_fd(w.in[2]);
	ktap_result(take(w.out[0], true) == 1 && take(w.out[LEVEL], true) == 1,
		    "the first process delivers");
	send_to(to[1], "s", 1);
	receive(from[0], &state, sizeof(state));
	ktap_result(ended_well(pid), "the first process saves its lines and exits");

	/* The device does not know of that. */
	signal_fd(w.in[0]);
	signal_fd(w.in[0]);
	ktap_result(!take(w.out[0], false) && !take(w.out[2], false),
		    "there is no delivery without a process");

	MUST(close(from[0]));
	MUST(pipe(from));
	pid = MUST(fork());
	if (!pid)
		second_process(&w, to[0], from[1], &state);
	MUST(close(from[1]));
	receive(from[0], &byte, 1);
	/* Both signals were in one counter, which is one ring. */
	ktap_result(take(w.out[0], true) == 1 && take(w.out[2], true) == 1 &&
		    !take(w.out[0], false) && !take(w.out[3], false),
		    "the second process delivers what was signalled, once");
	send_to(to[1], "a", 1);
	receive(from[0], &byte, 1);
	ktap_result(byte == DOORBELL_ACK_DONE && take(w.resample, false) == 1 &&
		    !take(w.out[LEVEL], false),
		    "the level line is still asserted, and is acked");
	send_to(to[1], "u", 1);
	receive(from[0], &byte, 1);
	ktap_result(byte == 1 && take(w.out[3], false) == 1,
		    "the vector is still masked, and the unmask delivers");
	send_to(to[1], "x", 1);
	if (!ended_well(pid)) {
		printf("Bail out! the second process failed\n");
		return 1;
	}
	return ktap_status();
}
