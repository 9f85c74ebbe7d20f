// SPDX-License-Identifier: GPL-2.0-only
/* Lifetimes: eventfds and their files, contexts and processes, the module and its contexts. */
#include <sys/prctl.h>
#include <sys/socket.h>

#include "bus.h"

FIXTURE(lifetime) {
	int kmsg;
	int db;
	int out;
};

FIXTURE_SETUP(lifetime)
{
	self->kmsg = kmsg_open();
	self->db = new_context(_metadata, 4);
	self->out = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 0));
}

FIXTURE_TEARDOWN(lifetime)
{
	EXPECT_EQ(0, kmsg_complaints(self->kmsg));
}

/* A child and both ends of a socket to it: one byte is one step. */
struct child {
	pid_t pid;
	int socket;
};

static struct child fork_child(struct __test_metadata *_metadata)
{
	int sockets[2];
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(sockets[pid ? 1 : 0]);
	return (struct child){ .pid = pid, .socket = sockets[pid ? 0 : 1] };
}

static void step(struct __test_metadata *_metadata, struct child *child)
{
	ASSERT_EQ(1, write(child->socket, "", 1));
}

/*
 * Waits for a step. Ends the process if the other one has ended: a child never outlives its
 * test.
 */
static void await_step(struct __test_metadata *_metadata, struct child *child)
{
	char byte;

	if (read(child->socket, &byte, 1) != 1)
		_exit(KSFT_FAIL);
	(void)_metadata;
}

static void end_child(struct __test_metadata *_metadata, struct child *child)
{
	ASSERT_EQ(0, wait_child(child->pid));
	close(child->socket);
}

static void kill_child(struct __test_metadata *_metadata, struct child *child)
{
	ASSERT_EQ(0, kill(child->pid, SIGKILL));
	ASSERT_EQ(SIGKILL, wait_child(child->pid));
	close(child->socket);
}

/* The close of the last fd, of all dups and forked copies, deassigns the irqfd. */
TEST_F(lifetime, last_close_detaches)
{
	int in = new_eventfd(_metadata, 0, 0);
	struct child child;
	int copy;

	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, in, 0));
	copy = dup(in);
	ASSERT_LE(0, copy);
	child = fork_child(_metadata);
	if (!child.pid) {
		close(self->db);
		await_step(_metadata, &child);
		efd_write(in, 1);
		await_step(_metadata, &child);
		_exit(0);
	}

	/* The irqfd rings as long as any process has an fd. */
	close(in);
	ASSERT_EQ(0, efd_write(copy, 1));
	ASSERT_EQ(1, efd_wait(self->out));
	close(copy);
	step(_metadata, &child);
	ASSERT_EQ(1, efd_wait(self->out));
	EXPECT_EQ(1, info_of(_metadata, self->db).nr_irqfds);
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).nr_irqfds);

	step(_metadata, &child);
	end_child(_metadata, &child);
	/* A worker detaches it: the two counts are not decremented at once. */
	ASSERT_TRUE(WAIT_FOR(info_of(_metadata, self->db).nr_irqfds == 0));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, self->db, 0).nr_irqfds == 0));
	/* Closing is no ring, and the rest of the line stays as it was. */
	EXPECT_EQ(2, settled(_metadata, self->db, 0).rings);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out));
}

/* Closing the context consumes nothing of an EFD_SEMAPHORE eventfd: the rest stays. */
TEST_F(lifetime, context_close_leaves_the_counter)
{
	int in = new_eventfd(_metadata, 0, EFD_SEMAPHORE);
	int out = new_eventfd(_metadata, 0, 0);
	int db = new_context(_metadata, 1);

	ASSERT_EQ(0, doorbell_assign_trigger(db, out, 0));
	ASSERT_EQ(0, doorbell_assign_irqfd(db, in, 0));
	ASSERT_EQ(0, efd_write(in, 5));
	ASSERT_EQ(1, efd_wait(out));
	ASSERT_EQ(4, efd_count(in));
	close(db);
	EXPECT_EQ(4, efd_count(in));
	EXPECT_EQ(0, efd_count(out));

	/* The next irqfd consumes it: one at the assignment, one at the deassign. */
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, in, 0));
	ASSERT_EQ(1, efd_wait(self->out));
	EXPECT_EQ(3, efd_count(in));
	ASSERT_EQ(0, doorbell_deassign_irqfd(self->db, in, 0));
	ASSERT_EQ(1, efd_wait(self->out));
	EXPECT_EQ(2, efd_count(in));
}

TEST_F(lifetime, many_close_at_once)
{
	int in[256];
	unsigned int i, round;

	for (round = 0; round < 4; round++) {
		for (i = 0; i < ARRAY_SIZE(in); i++) {
			in[i] = new_eventfd(_metadata, 0, 0);
			ASSERT_EQ(0, doorbell_assign_irqfd(self->db, in[i], i % 4));
		}
		EXPECT_EQ(ARRAY_SIZE(in), info_of(_metadata, self->db).nr_irqfds);
		for (i = 0; i < ARRAY_SIZE(in); i++)
			close(in[i]);
		ASSERT_TRUE(WAIT_FOR(info_of(_metadata, self->db).nr_irqfds == 0));
	}
}

/* The fd of an eventfd whose irqfd is gone may be reused at once. */
TEST_F(lifetime, closed_and_reborn)
{
	unsigned int i;

	for (i = 0; i < 500; i++) {
		int in = new_eventfd(_metadata, 0, 0);

		ASSERT_EQ(0, doorbell_assign_irqfd(self->db, in, i % 4));
		close(in);
	}
	ASSERT_TRUE(WAIT_FOR(info_of(_metadata, self->db).nr_irqfds == 0));
}

/* A trigger needs no fd; it is signalled until it is deassigned or the context is closed. */
TEST_F(lifetime, trigger_outlives_its_fd)
{
	int chain = new_eventfd(_metadata, 0, 0);
	struct doorbell_get_info info;
	struct child child;
	int end;

	/* Line 1 has no other trigger. Any process that still has an fd sees the signals. */
	child = fork_child(_metadata);
	if (!child.pid) {
		close(self->db);
		for (;;) {
			await_step(_metadata, &child);
			if (efd_wait(chain) != 1)
				_exit(1);
			step(_metadata, &child);
		}
	}
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, chain, 1));
	close(chain);
	for (end = 0; end < 3; end++) {
		EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 1));
		step(_metadata, &child);
		await_step(_metadata, &child);
	}
	kill_child(_metadata, &child);

	/* It is signalled even without any fd. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 1));
	EXPECT_EQ(4, line_of(_metadata, self->db, 1).deliveries);
	info = info_of(_metadata, self->db);
	EXPECT_EQ(2, info.nr_triggers);
}

/* An eventfd that is a trigger here and an irqfd there: the trigger keeps no file. */
TEST_F(lifetime, trigger_keeps_no_file)
{
	int link = new_eventfd(_metadata, 0, 0);

	ASSERT_EQ(0, doorbell_assign_trigger(self->db, link, 1));
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, link, 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 1));
	ASSERT_EQ(1, efd_wait(self->out));
	close(link);
	ASSERT_TRUE(WAIT_FOR(info_of(_metadata, self->db).nr_irqfds == 0));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 1));
	EXPECT_EQ(1, settled(_metadata, self->db, 0).rings);
	EXPECT_EQ(0, efd_count(self->out));
}

TEST_F(lifetime, shared_over_fork)
{
	int in = new_eventfd(_metadata, 0, 0);
	int in_child = new_eventfd(_metadata, 0, 0);
	struct child child;

	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, in, 0));
	child = fork_child(_metadata);
	if (!child.pid) {
		if (doorbell_ring(self->db, 0) != DOORBELL_RING_DELIVERED)
			_exit(1);
		step(_metadata, &child);
		await_step(_metadata, &child);
		/* The parent has closed its fd of the context. */
		if (efd_write(in, 1) || efd_wait(self->out) != 1)
			_exit(2);
		_exit(doorbell_assign_irqfd(self->db, in_child, 2) ? 3 : 0);
	}
	await_step(_metadata, &child);
	EXPECT_EQ(1, efd_read(self->out));
	EXPECT_EQ(1, line_of(_metadata, self->db, 0).rings);
	close(self->db);
	step(_metadata, &child);
	end_child(_metadata, &child);

	/* The context was closed with the child: the counter stays. */
	ASSERT_TRUE(WAIT_FOR(!efd_write(in, 1) && efd_count(in)));
	EXPECT_EQ(0, efd_count(self->out));
}

static void send_fd(struct __test_metadata *_metadata, int socket, int fd)
{
	char space[CMSG_SPACE(sizeof(int))] = {}, byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = space, .msg_controllen = sizeof(space),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	ASSERT_EQ(1, sendmsg(socket, &msg, 0));
}

static int receive_fd(int socket)
{
	char space[CMSG_SPACE(sizeof(int))], byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = space, .msg_controllen = sizeof(space),
	};
	int fd = -1;

	if (recvmsg(socket, &msg, 0) == 1 && CMSG_FIRSTHDR(&msg))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

TEST_F(lifetime, shared_by_scm_rights)
{
	struct child child = fork_child(_metadata);
	int in, passed;

	if (!child.pid) {
		/* The child must not use the fd that it inherited. */
		close(self->db);
		passed = receive_fd(child.socket);
		if (passed < 0)
			_exit(1);
		step(_metadata, &child);
		await_step(_metadata, &child);
		if (doorbell_ring(passed, 3) != DOORBELL_RING_DELIVERED)
			_exit(2);
		await_step(_metadata, &child);
		_exit(0);
	}
	in = new_eventfd(_metadata, 0, 0);
	passed = new_context(_metadata, 4);
	ASSERT_EQ(0, doorbell_assign_trigger(passed, self->out, 3));
	ASSERT_EQ(0, doorbell_assign_irqfd(passed, in, 3));
	send_fd(_metadata, child.socket, passed);
	await_step(_metadata, &child);
	close(passed);

	/* Only the child's fd keeps the context open. */
	ASSERT_EQ(0, efd_write(in, 1));
	ASSERT_EQ(1, efd_wait(self->out));
	step(_metadata, &child);
	ASSERT_EQ(1, efd_wait(self->out));
	EXPECT_EQ(-EBUSY, doorbell_assign_irqfd(self->db, in, 0));

	/* Its end closes it. */
	step(_metadata, &child);
	end_child(_metadata, &child);
	ASSERT_TRUE(WAIT_FOR(!doorbell_assign_irqfd(self->db, in, 2)));
	ASSERT_EQ(0, efd_write(in, 1));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, self->db, 2).deliveries == 1));
	EXPECT_EQ(0, efd_count(self->out));
}

/* kill -9 with everything assigned leaves nothing behind. */
TEST_F(lifetime, kill_leaves_nothing)
{
	const unsigned int nr = 64;
	long before = refcnt();
	struct child child;
	int efd[nr];
	unsigned int i;

	for (i = 0; i < nr; i++)
		efd[i] = new_eventfd(_metadata, 0, 0);
	child = fork_child(_metadata);
	if (!child.pid) {
		int db = open(DEVICE, O_RDWR), failed;

		failed = db < 0 || doorbell_set_lines(db, nr);
		/* Even eventfds are irqfds, odd ones are triggers, of each line. */
		for (i = 0; i < nr; i += 2) {
			failed |= doorbell_assign_irqfd(db, efd[i], i);
			failed |= doorbell_assign_trigger(db, efd[i + 1], i);
			failed |= doorbell_assign_trigger(db, efd[i + 1], i + 1);
		}
		if (failed)
			_exit(1);
		step(_metadata, &child);
		/* Rings until it is killed. */
		for (i = 0;; i++)
			efd_write(efd[i * 2 % nr], 1);
	}
	await_step(_metadata, &child);
	ASSERT_EQ(-EBUSY, doorbell_assign_irqfd(self->db, efd[0], 1));
	if (before >= 0)
		EXPECT_EQ(before + 1, refcnt());
	kill_child(_metadata, &child);

	for (i = 0; i < nr; i += 2) {
		bool gone = WAIT_FOR(!doorbell_assign_irqfd(self->db, efd[i], 1));

		ASSERT_TRUE(gone);
	}
	for (i = 1; i < nr; i += 2)
		efd_drain(efd[i]);
	for (i = 0; i < nr; i += 2)
		ASSERT_EQ(0, efd_write(efd[i], 1));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, self->db, 1).rings >= nr / 2));
	for (i = 1; i < nr; i += 2)
		EXPECT_EQ(0, efd_count(efd[i]));
	if (before >= 0)
		ASSERT_TRUE(WAIT_FOR(refcnt() == before));
}

TEST_F(lifetime, rmmod_is_refused)
{
	long before = refcnt();
	int another;

	if (before < 0)
		SKIP(return, "%s: %s: doorbell is no module", REFCNT, strerror(errno));
	/* At least this test's context is counted, or else rmmod would succeed. */
	ASSERT_LE(1, before);
	EXPECT_EQ(-1, syscall(SYS_delete_module, "doorbell", O_NONBLOCK));
	EXPECT_EQ(EWOULDBLOCK, errno);
	/* A context without lines counts as well. */
	another = new_context(_metadata, 0);
	EXPECT_EQ(before + 1, refcnt());
	close(another);
	ASSERT_TRUE(WAIT_FOR(refcnt() == before));

	/* All still works. */
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, 0));
	EXPECT_EQ(1, efd_read(self->out));
}

/* Reads the module's lines of /proc/PID/fdinfo, without the kernel's own. */
static void read_block(struct __test_metadata *_metadata, int db, char *text, size_t size)
{
	char line[256];
	size_t len = 0;
	FILE *file;

	snprintf(line, sizeof(line), "/proc/self/fdinfo/%d", db);
	file = fopen(line, "re");
	ASSERT_TRUE(!!file);
	text[0] = '\0';
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "doorbell-", strlen("doorbell-")))
			len += snprintf(text + len, size - len, "%s", line);
	}
	fclose(file);
	ASSERT_LT(len, size);
}

TEST_F(lifetime, fdinfo)
{
	int fresh, in, tell, i;
	char text[1024], *at;

	fresh = new_context(_metadata, 0);
	read_block(_metadata, fresh, text, sizeof(text));
	EXPECT_EQ(0, strncmp(text, "doorbell-lines:\t0\n", strlen("doorbell-lines:\t0\n")));

	in = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_irqfd(self->db, in, 1));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 3));
	ASSERT_EQ(0, doorbell_assign_trigger(self->db, self->out, 2));
	for (i = 0; i < 3; i++)
		ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(self->db, i));
	ASSERT_EQ(0, efd_write(in, 1));
	EXPECT_EQ(2, settled(_metadata, self->db, 1).deliveries);

	/*
	 * One line is masked; another one masked with a pending message, and one message
	 * dropped.
	 */
	tell = new_eventfd(_metadata, 0, 0);
	ASSERT_EQ(0, doorbell_assign_notifier(self->db, tell, 0, DOORBELL_NOTIFY_MASK));
	ASSERT_EQ(2, doorbell_line_set(self->db, DOORBELL_MASK, 2, 2, NULL, NULL));
	ASSERT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 3));
	ASSERT_EQ(1, doorbell_clear(self->db, 3));
	ASSERT_EQ(DOORBELL_RING_MASKED, doorbell_ring(self->db, 3));

	/* Two regions; one of three writes to the region with records was recorded. */
	ASSERT_EQ(0, doorbell_set_records(self->db, 1));
	ASSERT_EQ(0, change_region(self->db, to_eventfd(0, 4, tell)));
	ASSERT_EQ(0, change_region(self->db, recorded(to_eventfd(4, 4, tell))));
	ASSERT_EQ(0, mmio_write(self->db, 4, 4, 0));
	ASSERT_EQ(-ENOBUFS, mmio_write(self->db, 4, 4, 0));
	ASSERT_EQ(-ENOBUFS, mmio_write(self->db, 4, 4, 0));

	read_block(_metadata, self->db, text, sizeof(text));
	/* The test "trace" checks the number of the context. */
	at = strstr(text, "doorbell-context:\t");
	ASSERT_TRUE(!!at);
	*at = '\0';
	EXPECT_STREQ("doorbell-lines:\t4\n"
		     "doorbell-irqfds:\t1\n"
		     "doorbell-triggers:\t3\n"
		     "doorbell-notifiers:\t1\n"
		     "doorbell-resamplefds:\t0\n"
		     "doorbell-masked:\t2\n"
		     "doorbell-pending:\t1\n"
		     "doorbell-asserted:\t0\n"
		     "doorbell-rings:\t6\n"
		     "doorbell-deliveries:\t4\n"
		     "doorbell-dropped:\t1\n"
		     "doorbell-deferred:\t0\n"
		     "doorbell-acks:\t0\n"
		     "doorbell-regions:\t2\n"
		     "doorbell-recorded:\t1\n"
		     "doorbell-refused:\t2\n", text);
}

/* Returns a number of fdinfo. */
static unsigned long fdinfo_number(struct __test_metadata *_metadata, int db, const char *name)
{
	char text[1024], *at;

	read_block(_metadata, db, text, sizeof(text));
	at = strstr(text, name);
	if (!at)
		return 0;
	return strtoul(at + strlen(name), NULL, 10);
}

#define MEMORY(db)	fdinfo_number(_metadata, db, "doorbell-memory:\t")

/* The memory of fdinfo grows and shrinks with what is assigned. */
TEST_F(lifetime, memory)
{
	const unsigned long line = sizeof(struct doorbell_line_status);
	int small = new_context(_metadata, 1), big = new_context(_metadata, 1001);
	unsigned long before = MEMORY(small), now;
	int fd = new_eventfd(_metadata, 0, 0);

	EXPECT_LT(line, before);
	EXPECT_LT(1000 * line, MEMORY(big) - before);
	EXPECT_EQ(0, (MEMORY(big) - before) % 1000);
	ASSERT_EQ(0, doorbell_assign_trigger(small, fd, 0));
	now = MEMORY(small);
	EXPECT_LT(before, now);
	ASSERT_EQ(0, doorbell_assign_notifier(small, fd, 0, DOORBELL_NOTIFY_MASK));
	EXPECT_LT(now, MEMORY(small));
	now = MEMORY(small);
	ASSERT_EQ(0, change_region(small, to_eventfd(0, 4, fd)));
	EXPECT_LT(now, MEMORY(small));
	now = MEMORY(small);
	ASSERT_EQ(0, doorbell_set_records(small, 64));
	EXPECT_EQ(now + 64 * sizeof(struct doorbell_record), MEMORY(small));

	ASSERT_EQ(0, doorbell_deassign_trigger(small, fd, 0));
	ASSERT_EQ(0, doorbell_deassign_notifier(small, fd, 0));
	ASSERT_EQ(0, change_region(small, without(to_eventfd(0, 4, fd))));
	EXPECT_EQ(before + 64 * sizeof(struct doorbell_record), MEMORY(small));
	ASSERT_EQ(0, doorbell_assign_irqfd(small, fd, 0));
	EXPECT_LT(before + 64 * sizeof(struct doorbell_record), MEMORY(small));
}

TEST_HARNESS_MAIN
