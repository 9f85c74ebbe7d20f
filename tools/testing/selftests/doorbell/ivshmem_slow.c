// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ivshmem server with peers that read late or never, and with many peers.
 */
#include <linux/capability.h>
#include <sys/resource.h>

#include "ivshmem.h"

#define VECTORS		2
#define MAX_PEERS	4

/* A server that disconnects slow peers, and a client that reads its set-up in time. */
FIXTURE(impatient) {
	struct server server;
	struct client a;
};

/*
 * Makes @client join beside @other, if that is connected. On a busy machine the server may
 * disconnect a client before it has read its set-up: then it joins again.
 */
static void join_in_time(struct __test_metadata *_metadata, const struct server *server,
			 struct client *client, struct client *other)
{
	unsigned int tries;

	for (tries = 0; tries < 100; tries++) {
		client_join(_metadata, server, client, !!other);
		if (other)
			ASSERT_TRUE(client_hears(_metadata, other, client->id, VECTORS));
		if (nr_found(_metadata, server, "\"setup\":\"complete\"") == 1 + !!other)
			return;
		client_close(client);
		if (other)
			ASSERT_TRUE(client_hears(_metadata, other, client->id, 0));
	}
	ASSERT_GT(100, tries);
}

FIXTURE_SETUP(impatient)
{
	start_server(_metadata, &self->server, VECTORS, MAX_PEERS, "1");
	join_in_time(_metadata, &self->server, &self->a, NULL);
}

FIXTURE_TEARDOWN(impatient)
{
	EXPECT_EQ(0, stop_server(&self->server, SIGTERM));
}

TEST_F(impatient, peer_that_never_reads_is_disconnected)
{
	struct server *server = &self->server;
	struct client *a = &self->a, b;
	int64_t id;

	client_connect(_metadata, server, &b);
	/* This peer does not even read its ID; another one hears of it. */
	ASSERT_EQ(1, client_message(_metadata, a, 3, true));
	for (id = 0; id < MAX_IDS && !a->nr_ring[id]; id++)
		;
	ASSERT_GT(MAX_IDS, id);
	ASSERT_TRUE(client_hears(_metadata, a, id, VECTORS));
	ASSERT_TRUE(client_hears(_metadata, a, id, 0));
	ASSERT_TRUE(client_ends(&b));
	client_close(&b);
	ASSERT_CLEAN(server, 1);
	EXPECT_EQ(0, nr_found(_metadata, server, "\"thrown_out\":0"));
	client_close(a);
}

TEST_F(impatient, peer_that_stops_reading_is_disconnected)
{
	struct server *server = &self->server;
	struct client *a = &self->a, b, c;
	unsigned int i, nr;
	int ret;

	join_in_time(_metadata, server, &b, a);
	/* More than the socket holds, while the others go on. */
	for (i = 0; a->nr_ring[b.id]; i++) {
		ASSERT_GT(1000, i);
		client_connect(_metadata, server, &c);
		for (nr = 0; c.nr_own < VECTORS; nr++) {
			ret = client_message(_metadata, &c, nr, true);
			ASSERT_EQ(1, ret);
		}
		ASSERT_TRUE(client_hears(_metadata, a, c.id, VECTORS));
		/* It need not hear of a peer that is gone, but must hear of one that stays. */
		if (nr_found(_metadata, server, "\"unsent\":0") != 3) {
			while (a->nr_ring[b.id] && a->nr_ring[c.id]) {
				ret = client_message(_metadata, a, 3, true);
				ASSERT_EQ(1, ret);
			}
		}
		client_close(&c);
		ASSERT_TRUE(client_hears(_metadata, a, c.id, 0));
	}
	ASSERT_TRUE(client_ends(&b));
	client_close(&b);
	ASSERT_CLEAN(server, 1);
	EXPECT_EQ(0, nr_found(_metadata, server, "\"thrown_out\":0"));
	client_close(a);
}

TEST(crowd)
{
	static struct client client[40], late;
	const struct rlimit files = { .rlim_cur = 65536, .rlim_max = 65536 };
	const unsigned int nr = 40, vectors = 8;
	struct server server;
	unsigned int i, j;
	bool heard;

	/* Each peer has the eventfds of all others. */
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	start_server(_metadata, &server, vectors, nr + 1, A_DAY);
	for (i = 0; i < nr; i++) {
		client_join(_metadata, &server, &client[i], i);
		ASSERT_EQ(i, client[i].id);
		for (j = 0; j < i; j++) {
			heard = client_hears(_metadata, &client[j], client[i].id, vectors);
			ASSERT_TRUE(heard);
		}
	}
	EXPECT_EQ(nr, nr_found(_metadata, &server, "\"setup\":\"complete\""));
	for (i = 0; i < nr; i++) {
		for (j = 0; j < nr; j++) {
			if (i != j)
				ASSERT_EQ(0, efd_write(client[i].ring[j][i % vectors], 1));
		}
	}
	for (j = 0; j < nr; j++) {
		uint64_t rings = 0;

		for (i = 0; i < vectors; i++)
			rings += settled(_metadata, server.db, j * vectors + i).rings;
		EXPECT_EQ(nr - 1, rings);
	}

	/* More than the socket of one slow peer holds. */
	client_connect(_metadata, &server, &late);
	ASSERT_TRUE(client_hears(_metadata, &client[0], nr, vectors));
	EXPECT_EQ(1, nr_found(_metadata, &server, "\"setup\":\"sending\""));
	for (i = 0; i < 3 + (nr + 1) * vectors; i++) {
		heard = client_message(_metadata, &late, i, true) == 1;
		ASSERT_TRUE(heard);
	}
	EXPECT_EQ(vectors, late.nr_own);
	for (i = 0; i < nr; i++)
		EXPECT_EQ(vectors, late.nr_ring[i]);
	EXPECT_EQ(nr + 1, nr_found(_metadata, &server, "\"setup\":\"complete\""));

	/* All leave at once. */
	for (i = 0; i < nr; i++)
		close(client[i].sock);
	ASSERT_CLEAN(&server, 1);
	client_close(&late);
	ASSERT_CLEAN(&server, 0);
	ASSERT_EQ(0, stop_server(&server, SIGINT));
}

#define HOARDERS	20
/* The open files that a server needs for HOARDERS + 4 peers of one vector. */
#define HOARD_FILES	(64 + 3 * (HOARDERS + 4))

/* Limits the descriptors in flight to what the server needs, and a part for its keeper. */
static void limit_descriptors(void)
{
	const struct rlimit files = {
		.rlim_cur = HOARD_FILES + 1024, .rlim_max = HOARD_FILES + 1024,
	};

	/* There is no limit with these. */
	prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN);
	prctl(PR_CAPBSET_DROP, CAP_SYS_RESOURCE);
	setrlimit(RLIMIT_NOFILE, &files);
}

/* Reads all that there is. Returns false if the server has disconnected the client. */
static bool keeps_up(struct __test_metadata *_metadata, struct client *client)
{
	int ret;

	do
		ret = client_message(_metadata, client, 3, false);
	while (ret == 1);
	return ret == -EAGAIN;
}

/* Peers that read nothing, and do not close their connections when they are disconnected. */
static void hoard(struct __test_metadata *_metadata, bool kept)
{
	const char *const none[] = { NULL };
	struct server server = {};
	int socks[HOARDERS], i;
	struct client a, b;
	char path[80];

	prepare_server = limit_descriptors;
	start_server_with(_metadata, &server, 1, HOARDERS + 4, "2", kept ? keep : none);
	client_join(_metadata, &server, &a, 0);
	for (i = 0; i < HOARDERS; i++) {
		socks[i] = unix_connect(server.peers);
		ASSERT_LE(0, socks[i]);
	}
	/* The server answers meanwhile, and disconnects these and no other. */
	ASSERT_TRUE(WAIT_FOR(keeps_up(_metadata, &a) &&
			     nr_found(_metadata, &server, "\"thrown_out\":20")));
	ASSERT_TRUE(keeps_up(_metadata, &a));
	EXPECT_EQ(1, nr_found(_metadata, &server, "\"id\":"));
	EXPECT_EQ(1, nr_found(_metadata, &server, "\"refused\":0"));
	EXPECT_EQ(kept ? 0 : 1, nr_found(_metadata, &server, "\"keeper\":null"));
	if (kept) {
		/* The peer reaches the next server, though the limit is still used up. */
		EXPECT_EQ(SIGKILL, end_server(&server, SIGKILL));
		start_server_with(_metadata, &server, 1, HOARDERS + 4, "2", keep);
		EXPECT_EQ(1, nr_found(_metadata, &server, "\"id\":0,"));
		ASSERT_TRUE(keeps_up(_metadata, &a));
	}
	for (i = 0; i < HOARDERS; i++)
		close(socks[i]);
	client_join(_metadata, &server, &b, 1);
	ASSERT_EQ(0, efd_write(b.ring[a.id][0], 1));
	ASSERT_EQ(1, efd_wait(a.own[0]));
	client_close(&b);
	if (kept) {
		EXPECT_EQ(0, end_server(&server, SIGTERM));
		client_close(&a);
		/* The keeper ends with the last peer. */
		snprintf(path, sizeof(path), "%s.keeper", server.peers);
		ASSERT_TRUE(WAIT_FOR(access(path, F_OK)));
		EXPECT_EQ(0, rmdir(server.dir));
		return;
	}
	ASSERT_TRUE(client_hears(_metadata, &a, b.id, 1));
	client_close(&a);
	ASSERT_EQ(0, stop_server(&server, SIGTERM));
}

TEST(peers_that_hoard_descriptors_stop_no_other)
{
	hoard(_metadata, false);
}

TEST(peers_that_hoard_descriptors_break_no_keeper)
{
	hoard(_metadata, true);
}

/* Peers that read a message now and then. */
struct dribble {
	int socks[HOARDERS];
	atomic_bool stop;
	pthread_t thread;
};

static void *dribble(void *arg)
{
	struct dribble *all = arg;
	int64_t number;
	int i, fd;

	while (!atomic_load(&all->stop)) {
		for (i = 0; i < HOARDERS; i++) {
			receive(all->socks[i], &number, sizeof(number), &fd, false);
			if (fd >= 0)
				close(fd);
		}
		usleep(300000);
	}
	return NULL;
}

/* Each of them reads in time, but together they keep the limit used up. */
TEST(the_slowest_peer_leaves_for_the_others)
{
	struct dribble slow = {};
	struct server server;
	struct client a;
	bool thrown_out;
	int i;

	prepare_server = limit_descriptors;
	start_server(_metadata, &server, 1, HOARDERS + 4, "2");
	client_join(_metadata, &server, &a, 0);
	for (i = 0; i < HOARDERS; i++) {
		slow.socks[i] = unix_connect(server.peers);
		ASSERT_LE(0, slow.socks[i]);
	}
	ASSERT_EQ(0, pthread_create(&slow.thread, NULL, dribble, &slow));
	thrown_out = WAIT_FOR(keeps_up(_metadata, &a) &&
			      !nr_found(_metadata, &server, "\"thrown_out\":0"));
	atomic_store(&slow.stop, true);
	EXPECT_EQ(0, pthread_join(slow.thread, NULL));
	ASSERT_TRUE(thrown_out);
	for (i = 0; i < HOARDERS; i++)
		close(slow.socks[i]);
	/* The last messages say that all of them have left. */
	ASSERT_CLEAN(&server, 1);
	ASSERT_TRUE(keeps_up(_metadata, &a));
	client_close(&a);
	ASSERT_EQ(0, stop_server(&server, SIGTERM));
}

TEST_HARNESS_MAIN
