// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unmodified QEMUs with an ivshmem-doorbell device as peers of the server. Their guest
 * answers each interrupt by ringing.
 */
#include "ivshmem.h"

struct qemu {
	pid_t pid;
	int in, out;
};

FIXTURE(ivshmem_qemu) {
	struct server server;
};

FIXTURE_SETUP(ivshmem_qemu)
{
	if (system("command -v qemu-system-x86_64 >/dev/null"))
		SKIP(return, "no qemu-system-x86_64 in the PATH");
	start_server(_metadata, &self->server, 1, 4, A_DAY);
}

FIXTURE_TEARDOWN(ivshmem_qemu)
{
	EXPECT_EQ(0, stop_server(&self->server, SIGTERM));
}

/* Waits for the next byte of the guest. */
static char next_byte(struct __test_metadata *_metadata, const struct qemu *qemu,
		      const char *command)
{
	int tries = 0;
	char byte;

	/* A debug kernel in an emulator takes longer than one timeout to start QEMU. */
	while (efd_await(qemu->out, POLLIN) != POLLIN) {
		tries++;
		ASSERT_GT(6, tries) TH_LOG("no guest: %s", command);
	}
	ASSERT_EQ(1, read(qemu->out, &byte, 1));
	return byte;
}

/* Starts a QEMU whose guest rings peer @rings, as "doorbell ivshmem make-guest" prints it. */
static void start_qemu(struct __test_metadata *_metadata, const struct server *server,
		       struct qemu *qemu, int rings)
{
	char command[1024] = "exec ", line[256];
	int in[2], out[2];
	size_t len;
	FILE *pipe;

	snprintf(line, sizeof(line),
		 "doorbell ivshmem make-guest %s/rings-%d --rings %d --socket %s",
		 server->dir, rings, rings, server->peers);
	pipe = popen(line, "r");
	ASSERT_NE(NULL, pipe);
	len = strlen(command);
	ASSERT_NE(NULL, fgets(command + len, sizeof(command) - len, pipe));
	ASSERT_EQ(0, pclose(pipe));

	ASSERT_EQ(0, pipe2(in, O_CLOEXEC));
	ASSERT_EQ(0, pipe2(out, O_CLOEXEC));
	qemu->pid = fork();
	ASSERT_LE(0, qemu->pid);
	if (!qemu->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(NO_PROGRAM);
	}
	close(in[0]);
	close(out[1]);
	qemu->in = in[1];
	qemu->out = out[0];
	ASSERT_EQ('R', next_byte(_metadata, qemu, command));
	/* QEMU aborts if a guest enables MSI-X before QEMU has read the server's messages. */
	ASSERT_TRUE(WAIT_FOR(nr_found(_metadata, server, "\"setup\":\"sending\"") == 0 &&
			     nr_found(_metadata, server, "\"setup\":\"unread\"") == 0));
	ASSERT_EQ(1, write(qemu->in, "!", 1));
	ASSERT_EQ('A', next_byte(_metadata, qemu, command));
}

static void kill_qemu(const struct server *server, struct qemu *qemu, int rings)
{
	char image[64];

	kill(qemu->pid, SIGKILL);
	waitpid(qemu->pid, NULL, 0);
	close(qemu->in);
	close(qemu->out);
	snprintf(image, sizeof(image), "%s/rings-%d", server->dir, rings);
	unlink(image);
}

TEST_F(ivshmem_qemu, guest_is_interrupted_and_rings)
{
	struct server *server = &self->server;
	struct client client;
	struct qemu qemu;
	int i, nr = 100;

	client_join(_metadata, server, &client, 0);
	start_qemu(_metadata, server, &qemu, client.id);
	ASSERT_TRUE(client_hears(_metadata, &client, 1, 1));
	ASSERT_TRUE(WAIT_FOR(nr_found(_metadata, server, "\"setup\":\"complete\"") == 2));
	for (i = 0; i < nr; i++) {
		ASSERT_EQ(0, efd_write(client.ring[1][0], 1));
		ASSERT_EQ(1, efd_wait(client.own[0]));
	}
	EXPECT_EQ(nr, line_of(_metadata, server->db, 0).rings);
	EXPECT_EQ(nr, line_of(_metadata, server->db, 1).rings);
	EXPECT_EQ(nr, line_of(_metadata, server->db, 1).deliveries);

	/* The host masks the vector, which the guest does not notice. */
	EXPECT_EQ(1, doorbell_mask(server->db, 1));
	for (i = 0; i < 5; i++)
		ASSERT_EQ(0, efd_write(client.ring[1][0], 1));
	EXPECT_EQ(1, nr_found(_metadata, server, "\"masked\":true,\"pending\":true"));
	EXPECT_EQ(nr, line_of(_metadata, server->db, 1).deliveries);
	EXPECT_EQ(1, doorbell_unmask(server->db, 1));
	ASSERT_EQ(1, efd_wait(client.own[0]));
	EXPECT_EQ(nr + 1, line_of(_metadata, server->db, 1).deliveries);
	EXPECT_EQ(nr + 1, line_of(_metadata, server->db, 0).rings);

	/* The pending message is cleared. */
	EXPECT_EQ(1, doorbell_mask(server->db, 1));
	ASSERT_EQ(0, efd_write(client.ring[1][0], 1));
	EXPECT_EQ(1, doorbell_clear(server->db, 1));
	EXPECT_EQ(0, doorbell_unmask(server->db, 1));
	EXPECT_EQ(nr + 1, line_of(_metadata, server->db, 1).deliveries);

	/* The guest answers one interrupt for each delivery. */
	ASSERT_EQ(0, efd_write(client.ring[1][0], 1));
	ASSERT_EQ(1, efd_wait(client.own[0]));
	EXPECT_EQ(nr + 2, line_of(_metadata, server->db, 1).deliveries);
	EXPECT_EQ(nr + 2, line_of(_metadata, server->db, 0).rings);

	kill_qemu(server, &qemu, client.id);
	ASSERT_TRUE(client_hears(_metadata, &client, 1, 0));
	ASSERT_CLEAN(server, 1);
	client_close(&client);
	ASSERT_CLEAN(server, 0);
}

static bool both_rung(struct __test_metadata *_metadata, const struct server *server, uint64_t min)
{
	return line_of(_metadata, server->db, 0).rings >= min &&
	       line_of(_metadata, server->db, 1).rings >= min;
}

TEST_F(ivshmem_qemu, two_guests_ring_each_other)
{
	struct server *server = &self->server;
	struct doorbell_query a, b;
	struct qemu qemu[2];
	int i;

	start_qemu(_metadata, server, &qemu[0], 1);
	start_qemu(_metadata, server, &qemu[1], 0);
	ASSERT_TRUE(WAIT_FOR(nr_found(_metadata, server, "\"setup\":\"complete\"") == 2));
	EXPECT_EQ(0, line_of(_metadata, server->db, 0).rings);
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(server->db, 0));
	for (i = 1; i <= 3; i++) {
		ASSERT_TRUE(WAIT_FOR(both_rung(_metadata, server, i * 1000)));

		/*
		 * There is one message. The second line, masked, holds it, and both guests
		 * wait.
		 */
		EXPECT_EQ(1, doorbell_mask(server->db, 1));
		ASSERT_TRUE(WAIT_FOR(doorbell_pending(server->db, 1)));
		a = line_of(_metadata, server->db, 0);
		b = line_of(_metadata, server->db, 1);
		EXPECT_EQ(a.rings, b.rings);
		EXPECT_EQ(a.rings, a.deliveries);
		EXPECT_EQ(b.rings, b.deliveries + 1);
		EXPECT_EQ(1, doorbell_unmask(server->db, 1));
	}
	ASSERT_TRUE(WAIT_FOR(both_rung(_metadata, server, a.rings + 1000)));

	kill_qemu(server, &qemu[0], 1);
	ASSERT_CLEAN(server, 1);
	kill_qemu(server, &qemu[1], 0);
	ASSERT_CLEAN(server, 0);
}

TEST(guests_do_not_notice_that_the_server_is_killed)
{
	struct server server = {};
	struct qemu qemu[3];
	uint64_t rings;
	int db;

	if (system("command -v qemu-system-x86_64 >/dev/null"))
		SKIP(return, "no qemu-system-x86_64 in the PATH");
	start_server_with(_metadata, &server, 1, 4, "60", keep);
	start_qemu(_metadata, &server, &qemu[0], 1);
	start_qemu(_metadata, &server, &qemu[1], 0);
	ASSERT_TRUE(WAIT_FOR(nr_found(_metadata, &server, "\"setup\":\"complete\"") == 2));
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(server.db, 0));
	ASSERT_TRUE(WAIT_FOR(both_rung(_metadata, &server, 100)));

	/* The guests go on without a server. */
	rings = line_of(_metadata, server.db, 0).rings;
	db = dup(server.db);
	EXPECT_EQ(SIGKILL, end_server(&server, SIGKILL));
	server.db = db;
	ASSERT_TRUE(WAIT_FOR(both_rung(_metadata, &server, rings + 100)));
	close(db);
	start_server_with(_metadata, &server, 1, 4, "60", keep);
	EXPECT_EQ(2, nr_found(_metadata, &server, "\"setup\":\"complete\""));
	rings = line_of(_metadata, server.db, 0).rings;
	ASSERT_TRUE(WAIT_FOR(both_rung(_metadata, &server, rings + 100)));

	/* A third QEMU, which rings the first, joins them. */
	start_qemu(_metadata, &server, &qemu[2], 0);
	ASSERT_TRUE(WAIT_FOR(nr_found(_metadata, &server, "\"setup\":\"complete\"") == 3));
	EXPECT_EQ(1, doorbell_mask(server.db, 0));
	ASSERT_TRUE(WAIT_FOR(doorbell_pending(server.db, 0)));
	EXPECT_EQ(1, doorbell_clear(server.db, 0));
	rings = line_of(_metadata, server.db, 0).rings;
	ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(server.db, 2));
	ASSERT_TRUE(WAIT_FOR(line_of(_metadata, server.db, 0).rings > rings));

	kill_qemu(&server, &qemu[2], 0);
	kill_qemu(&server, &qemu[1], 0);
	kill_qemu(&server, &qemu[0], 1);
	ASSERT_TRUE(WAIT_FOR(!info_of(_metadata, server.db).nr_irqfds));
	EXPECT_EQ(0, lines_in_use(_metadata, &server));
	ASSERT_EQ(0, stop_server(&server, SIGTERM));
}

TEST_HARNESS_MAIN
