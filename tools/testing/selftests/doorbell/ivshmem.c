// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ivshmem server: its messages; rings between peers; and peers that vanish, send data
 * or come back, which must leave nothing. Slow peers are in ivshmem_slow.c.
 */
#include "ivshmem.h"

#define VECTORS		2
#define MAX_PEERS	4

FIXTURE(ivshmem) {
	struct server server;
};

FIXTURE_SETUP(ivshmem)
{
	start_server(_metadata, &self->server, VECTORS, MAX_PEERS, A_DAY);
	pin_to(0);
}

FIXTURE_TEARDOWN(ivshmem)
{
	EXPECT_EQ(0, stop_server(&self->server, SIGTERM));
}

TEST_F(ivshmem, messages_to_peers)
{
	struct server *server = &self->server;
	struct client a, b, c;
	struct stat stat;
	uint64_t *shared;

	client_join(_metadata, server, &a, 0);
	EXPECT_EQ(0, a.id);
	client_join(_metadata, server, &b, 1);
	EXPECT_EQ(1, b.id);
	EXPECT_EQ(VECTORS, b.nr_ring[a.id]);
	ASSERT_TRUE(client_hears(_metadata, &a, b.id, VECTORS));
	client_join(_metadata, server, &c, 2);
	EXPECT_EQ(2, c.id);
	ASSERT_TRUE(client_hears(_metadata, &a, c.id, VECTORS));
	ASSERT_TRUE(client_hears(_metadata, &b, c.id, VECTORS));
	EXPECT_EQ(3, nr_found(_metadata, server, "\"setup\":\"complete\""));
	EXPECT_EQ(-EAGAIN, client_message(_metadata, &a, 3, false));

	/* All have the same memory, and no peer can shrink it. */
	ASSERT_EQ(0, fstat(a.shm, &stat));
	EXPECT_EQ(65536, stat.st_size);
	shared = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, a.shm, 0);
	ASSERT_NE(MAP_FAILED, shared);
	shared[1] = 0x1234;
	EXPECT_EQ(8, pread(c.shm, &shared[2], 8, 8));
	EXPECT_EQ(0x1234, shared[2]);
	EXPECT_EQ(-1, ftruncate(b.shm, 4096));
	EXPECT_EQ(EPERM, errno);

	client_close(&b);
	ASSERT_TRUE(client_hears(_metadata, &a, 1, 0));
	ASSERT_TRUE(client_hears(_metadata, &c, 1, 0));
	ASSERT_CLEAN(server, 2);
	EXPECT_EQ(2, nr_found(_metadata, server, "\"setup\":\"complete\""));
	client_close(&a);
	client_close(&c);
	ASSERT_CLEAN(server, 0);
}

TEST_F(ivshmem, two_ring_each_other)
{
	const unsigned int nr = 1000;
	struct server *server = &self->server;
	struct doorbell_query query;
	struct client a, b;
	unsigned int i, v;
	uint64_t sum = 0;

	client_join(_metadata, server, &a, 0);
	client_join(_metadata, server, &b, 1);
	ASSERT_TRUE(client_hears(_metadata, &a, b.id, VECTORS));
	for (i = 0; i < nr; i++) {
		v = i % VECTORS;
		ASSERT_EQ(0, efd_write(a.ring[b.id][v], 1));
		ASSERT_EQ(1, efd_wait(b.own[v]));
		ASSERT_EQ(0, efd_write(b.ring[a.id][v], 1));
		ASSERT_EQ(1, efd_wait(a.own[v]));
	}
	for (i = 0; i < 2 * VECTORS; i++) {
		query = settled(_metadata, server->db, i);
		EXPECT_EQ(nr / VECTORS, query.rings);
		EXPECT_EQ(nr / VECTORS, query.deliveries);
	}
	/* The rings may coalesce, but each delivery arrives. */
	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, efd_write(a.ring[b.id][1], 1));
	query = settled(_metadata, server->db, b.id * VECTORS + 1);
	EXPECT_EQ(nr / VECTORS + nr, query.rings);
	ASSERT_TRUE(WAIT_FOR((sum += efd_read(b.own[1])) == query.deliveries - nr / VECTORS));
	client_close(&a);
	client_close(&b);
}

/*
 * Rings vector 0 of @to from the processor on which another vector was rung before. When
 * this returns, that ring has been delivered, if it is going to be.
 */
static void flush(struct __test_metadata *_metadata, const struct server *server,
		  struct client *from, struct client *to)
{
	ASSERT_EQ(0, efd_write(from->ring[to->id][0], 1));
	ASSERT_EQ(1, efd_wait(to->own[0]));
	settled(_metadata, server->db, to->id * VECTORS);
}

TEST_F(ivshmem, masked_vector_holds_one)
{
	struct server *server = &self->server;
	struct client a, b;
	uint32_t line;
	int i;

	client_join(_metadata, server, &a, 0);
	client_join(_metadata, server, &b, 1);
	ASSERT_TRUE(client_hears(_metadata, &a, b.id, VECTORS));
	line = b.id * VECTORS + 1;
	EXPECT_EQ(1, doorbell_mask(server->db, line));
	for (i = 0; i < 5; i++)
		ASSERT_EQ(0, efd_write(a.ring[b.id][1], 1));
	/* The other vector is not masked. */
	flush(_metadata, server, &a, &b);
	EXPECT_EQ(0, efd_count(b.own[1]));
	EXPECT_EQ(1, doorbell_pending(server->db, line));
	EXPECT_EQ(1, nr_found(_metadata, server, "\"masked\":true,\"pending\":true"));
	EXPECT_EQ(1, nr_found(_metadata, server, "\"rings\":5,\"deliveries\":0"));
	EXPECT_EQ(1, doorbell_unmask(server->db, line));
	ASSERT_EQ(1, efd_wait(b.own[1]));
	flush(_metadata, server, &a, &b);
	EXPECT_EQ(0, efd_count(b.own[1]));
	EXPECT_EQ(1, nr_found(_metadata, server, "\"rings\":5,\"deliveries\":1,\"coalesced\":4"));

	EXPECT_EQ(1, doorbell_mask(server->db, line));
	ASSERT_EQ(0, efd_write(a.ring[b.id][1], 1));
	EXPECT_EQ(1, doorbell_clear(server->db, line));
	EXPECT_EQ(0, doorbell_unmask(server->db, line));
	flush(_metadata, server, &a, &b);
	EXPECT_EQ(0, efd_count(b.own[1]));

	/* A counter that the peer has not consumed can be queried. */
	ASSERT_EQ(0, efd_write(a.ring[b.id][1], 1));
	ASSERT_TRUE(WAIT_FOR(efd_count(b.own[1]) == 1));
	EXPECT_EQ(1, nr_found(_metadata, server, "\"untaken\":1"));
	client_close(&a);
	client_close(&b);
}

TEST_F(ivshmem, vanish_at_each_step)
{
	const unsigned int total = 3 + 2 * VECTORS;
	struct server *server = &self->server;
	unsigned int step, nr;
	struct client a, b;
	int ret;

	client_join(_metadata, server, &a, 0);
	for (step = 0; step <= total; step++) {
		client_connect(_metadata, server, &b);
		for (nr = 0; nr < step; nr++) {
			ret = client_message(_metadata, &b, nr, true);
			ASSERT_EQ(1, ret);
		}
		/* Masked and pending, if the peer has connected that far. */
		if (step > 1) {
			EXPECT_EQ(1, doorbell_mask(server->db, b.id * VECTORS));
			EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(server->db, b.id * VECTORS));
		}
		client_close(&b);
		ASSERT_CLEAN(server, 1);
	}
	/* The peer that stayed has been sent all messages, and knows no other peer. */
	EXPECT_EQ(1, nr_found(_metadata, server, "\"setup\":\"complete\""));
	while (client_message(_metadata, &a, 3, false) == 1)
		;
	for (nr = 0; nr < MAX_IDS; nr++)
		EXPECT_EQ(0, a.nr_ring[nr]);
	client_close(&a);
	ASSERT_CLEAN(server, 0);
}

TEST_F(ivshmem, join_leave_and_join_again)
{
	struct server *server = &self->server;
	struct client a, b;
	int i;

	client_join(_metadata, server, &a, 0);
	for (i = 0; i < 300; i++) {
		client_join(_metadata, server, &b, 1);
		ASSERT_TRUE(client_hears(_metadata, &a, b.id, VECTORS));
		ASSERT_EQ(0, efd_write(a.ring[b.id][i % VECTORS], 1));
		ASSERT_EQ(1, efd_wait(b.own[i % VECTORS]));
		client_close(&b);
		ASSERT_TRUE(client_hears(_metadata, &a, b.id, 0));
	}
	ASSERT_CLEAN(server, 1);
	EXPECT_EQ(1, nr_found(_metadata, server, "\"came\":301,\"thrown_out\":0,\"refused\":0"));
	/* Peers that leave without reading. */
	for (i = 0; i < 300; i++) {
		client_connect(_metadata, server, &b);
		client_close(&b);
	}
	ASSERT_CLEAN(server, 1);
	client_close(&a);
	ASSERT_CLEAN(server, 0);
}

/* Joins, beside @other, again and again until the server gives @client the free @id. */
static void client_join_as(struct __test_metadata *_metadata, const struct server *server,
			   struct client *other, struct client *client, int64_t id)
{
	client_join(_metadata, server, client, 1);
	while (client->id != id) {
		ASSERT_TRUE(client_hears(_metadata, other, client->id, VECTORS));
		client_close(client);
		ASSERT_TRUE(client_hears(_metadata, other, client->id, 0));
		client_join(_metadata, server, client, 1);
	}
}

TEST_F(ivshmem, eventfds_of_a_former_peer_ring_nothing)
{
	struct server *server = &self->server;
	struct client a, b, c;
	uint32_t line;
	int64_t id;
	int old;

	client_join(_metadata, server, &a, 0);
	client_join(_metadata, server, &b, 1);
	ASSERT_TRUE(client_hears(_metadata, &a, b.id, VECTORS));
	id = b.id;
	line = id * VECTORS;
	old = dup(a.ring[id][0]);
	ASSERT_LE(0, old);
	client_close(&b);
	ASSERT_TRUE(client_hears(_metadata, &a, id, 0));
	ASSERT_CLEAN(server, 1);
	ASSERT_EQ(0, efd_write(old, 1));
	EXPECT_EQ(0, line_of(_metadata, server->db, line).rings);

	/* While no peer has the line, the operator masks and rings it. */
	EXPECT_EQ(1, doorbell_mask(server->db, line));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(server->db, line));
	client_join_as(_metadata, server, &a, &c, id);
	ASSERT_TRUE(client_hears(_metadata, &a, id, VECTORS));
	EXPECT_EQ(0, efd_count(c.own[0]));
	EXPECT_EQ(0, line_of(_metadata, server->db, line).state);
	/* A write to the old eventfd stays in its counter. */
	ASSERT_EQ(0, efd_write(old, 1));
	EXPECT_EQ(2, efd_count(old));
	ASSERT_EQ(0, efd_write(a.ring[id][0], 1));
	ASSERT_EQ(1, efd_wait(c.own[0]));
	/* The operator's ring, and this one. */
	EXPECT_EQ(2, settled(_metadata, server->db, line).rings);
	close(old);
	client_close(&a);
	client_close(&c);
}

/* Masks for other reasons than the vector's, and limits of deliveries, end with the peer. */
TEST_F(ivshmem, next_peer_has_fresh_lines)
{
	const uint32_t all = DOORBELL_MASK_VECTOR | DOORBELL_MASK_FUNCTION | DOORBELL_MASK_PAUSE;
	struct server *server = &self->server;
	struct client a, b, c;
	uint32_t line;
	int64_t id;

	client_join(_metadata, server, &a, 0);
	client_join(_metadata, server, &b, 1);
	ASSERT_TRUE(client_hears(_metadata, &a, b.id, VECTORS));
	id = b.id;
	line = id * VECTORS;
	EXPECT_EQ(1, doorbell_mask_for(server->db, line, DOORBELL_MASK_PAUSE));
	EXPECT_EQ(DOORBELL_RING_MASKED, doorbell_ring(server->db, line));
	EXPECT_EQ(0, doorbell_moderate(server->db, line + 1, DOORBELL_MAX_INTERVAL, 0));
	client_close(&b);
	ASSERT_TRUE(client_hears(_metadata, &a, id, 0));
	EXPECT_EQ(0, line_of(_metadata, server->db, line).state);
	EXPECT_EQ(0, line_of(_metadata, server->db, line + 1).state);
	ASSERT_CLEAN(server, 1);

	/* While no peer has the lines, an operator masks them again. */
	EXPECT_EQ(1, doorbell_mask_for(server->db, line, all));
	EXPECT_EQ(0, doorbell_moderate(server->db, line, DOORBELL_MAX_INTERVAL, 0));
	client_join_as(_metadata, server, &a, &c, id);
	EXPECT_EQ(0, line_of(_metadata, server->db, line).state);
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(server->db, line));
	ASSERT_EQ(1, efd_wait(c.own[0]));
	EXPECT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(server->db, line));
	ASSERT_EQ(1, efd_wait(c.own[0]));
	client_close(&a);
	client_close(&c);
}

TEST_F(ivshmem, peer_that_sends_is_disconnected)
{
	static char flood[65536];
	struct server *server = &self->server;
	struct client a, b;
	char byte = 'x';
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	union control control = {};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int pipes[2];

	client_join(_metadata, server, &a, 0);

	client_join(_metadata, server, &b, 1);
	ASSERT_EQ(1, send(b.sock, &byte, 1, MSG_NOSIGNAL));
	ASSERT_TRUE(client_ends(&b));
	client_close(&b);
	ASSERT_CLEAN(server, 1);

	/* As much as it can send, before it has read a message. */
	client_connect(_metadata, server, &b);
	while (send(b.sock, flood, sizeof(flood), MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
		;
	ASSERT_TRUE(client_ends(&b));
	client_close(&b);
	ASSERT_CLEAN(server, 1);

	/* A descriptor, which the server does not receive. */
	ASSERT_EQ(0, pipe2(pipes, O_CLOEXEC));
	client_join(_metadata, server, &b, 1);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &pipes[1], sizeof(int));
	ASSERT_EQ(1, sendmsg(b.sock, &msg, MSG_NOSIGNAL));
	close(pipes[1]);
	ASSERT_TRUE(client_ends(&b));
	ASSERT_EQ(POLLHUP, efd_await(pipes[0], POLLIN));
	close(pipes[0]);
	client_close(&b);
	ASSERT_CLEAN(server, 1);

	/* A connection that is half closed is closed. */
	client_join(_metadata, server, &b, 1);
	ASSERT_EQ(0, shutdown(b.sock, SHUT_WR));
	ASSERT_TRUE(client_ends(&b));
	client_close(&b);
	ASSERT_CLEAN(server, 1);
	EXPECT_EQ(1, nr_found(_metadata, server, "\"came\":5,\"thrown_out\":3,\"refused\":0"));

	/* Meanwhile the server has served others. */
	EXPECT_EQ(1, nr_found(_metadata, server, "\"setup\":\"complete\""));
	client_close(&a);
}

TEST_F(ivshmem, silent_peer_delays_no_other)
{
	struct server *server = &self->server;
	struct client a, b, c;

	client_join(_metadata, server, &a, 0);
	client_connect(_metadata, server, &b);
	ASSERT_TRUE(client_hears(_metadata, &a, 1, VECTORS));
	EXPECT_EQ(1, nr_found(_metadata, server, "\"setup\":\"unread\""));
	/* Others can join and ring meanwhile. */
	client_join(_metadata, server, &c, 2);
	ASSERT_EQ(0, efd_write(c.ring[a.id][0], 1));
	ASSERT_EQ(1, efd_wait(a.own[0]));
	EXPECT_EQ(1, nr_found(_metadata, server, "\"setup\":\"unread\""));
	EXPECT_EQ(1, nr_found(_metadata, server, "\"thrown_out\":0"));
	client_close(&b);
	ASSERT_TRUE(client_hears(_metadata, &a, 1, 0));
	ASSERT_CLEAN(server, 2);
	client_close(&a);
	client_close(&c);
}

TEST_F(ivshmem, more_than_the_maximum)
{
	struct client client[MAX_PEERS], more;
	struct server *server = &self->server;
	unsigned int i;

	for (i = 0; i < MAX_PEERS; i++)
		client_join(_metadata, server, &client[i], i);
	for (i = 0; i < 50; i++) {
		client_connect(_metadata, server, &more);
		ASSERT_EQ(0, client_message(_metadata, &more, 0, true));
		client_close(&more);
	}
	ASSERT_CLEAN(server, MAX_PEERS);
	EXPECT_EQ(1, nr_found(_metadata, server, "\"refused\":50"));
	/* There is room again. */
	client_close(&client[1]);
	ASSERT_CLEAN(server, MAX_PEERS - 1);
	client_join(_metadata, server, &client[1], MAX_PEERS - 1);
	EXPECT_EQ(1, client[1].id);
	for (i = 0; i < MAX_PEERS; i++)
		client_close(&client[i]);
	ASSERT_CLEAN(server, 0);
}

/* Gives the process a stderr that nothing reads. */
static void close_log(void)
{
	int pipes[2];

	if (!pipe(pipes)) {
		close(pipes[0]);
		dup2(pipes[1], STDERR_FILENO);
	}
}

TEST(server_survives_the_reader_of_its_log)
{
	struct client a, more;
	struct server server;

	prepare_server = close_log;
	start_server(_metadata, &server, VECTORS, 1, A_DAY);
	client_join(_metadata, &server, &a, 0);
	client_connect(_metadata, &server, &more);
	ASSERT_EQ(0, client_message(_metadata, &more, 0, true));
	client_close(&more);
	EXPECT_EQ(1, nr_found(_metadata, &server, "\"refused\":1"));
	client_close(&a);
	ASSERT_CLEAN(&server, 0);
	ASSERT_EQ(0, stop_server(&server, SIGTERM));
}

TEST_F(ivshmem, operators_only)
{
	struct server *server = &self->server;
	char text[4096];
	int i, db;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		db = -1;
		if (setuid(65534) || unix_connect(server->peers) < 0)
			_exit(1);
		_exit(query_server(server, &db, text, sizeof(text)) == -ENODATA && db < 0 ? 0 : 2);
	}
	ASSERT_EQ(0, wait_child(pid));
	/* Operators that connect and do not read the answer. */
	for (i = 0; i < 50; i++)
		close(unix_connect(server->control));
	EXPECT_EQ(1, nr_found(_metadata, server, "\"max_peers\":4"));
	ASSERT_CLEAN(server, 0);
}

TEST_F(ivshmem, end_of_the_server)
{
	struct server server;
	struct client a, b;

	start_server(_metadata, &server, 1, 2, A_DAY);
	client_join(_metadata, &server, &a, 0);
	client_join(_metadata, &server, &b, 1);
	ASSERT_TRUE(client_hears(_metadata, &a, b.id, 1));
	kill(server.pid, SIGTERM);
	/* The first peer to go gets no message; the other one hears that it is alone. */
	ASSERT_TRUE(client_ends(&a));
	ASSERT_TRUE(client_hears(_metadata, &b, a.id, 0));
	ASSERT_EQ(0, client_message(_metadata, &b, 3, true));
	ASSERT_TRUE(WAIT_FOR(access(server.peers, F_OK)));
	ASSERT_TRUE(WAIT_FOR(access(server.control, F_OK)));
	ASSERT_EQ(0, stop_server(&server, 0));
	client_close(&a);
	client_close(&b);
}

TEST_HARNESS_MAIN
