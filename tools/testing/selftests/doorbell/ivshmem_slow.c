// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ivshmem server with peers that read late or never, and with many peers.
 */
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
	EXPECT_EQ(0, stop_server(&server, SIGINT));
}

TEST_HARNESS_MAIN
