// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ivshmem server: named memory that outlives the server, and rings that its keeper
 * keeps.
 */
#include "ivshmem.h"

#define VECTORS		2
#define MAX_PEERS	4

/* Returns a name that no other run uses. */
static void name_object(char name[32], char path[64])
{
	snprintf(name, 32, "doorbell-test-%d", getpid());
	snprintf(path, 64, "/dev/shm/%s", name);
	unlink(path);
}

static off_t size_of(int fd)
{
	struct stat stat;

	return fstat(fd, &stat) ? -1 : stat.st_size;
}

TEST(size_of_named_memory_is_agreed_on)
{
	char name[32], path[64], text[1024], rm[80];
	const char *const more[] = { "-M", name, NULL };
	struct server server = {}, other = {};
	struct client a;
	char *shared;
	int fd;

	name_object(name, path);
	start_server_with(_metadata, &server, 1, 2, A_DAY, more);
	client_join(_metadata, &server, &a, 0);
	shared = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, a.shm, 0);
	ASSERT_NE(MAP_FAILED, shared);
	shared[65535] = 'x';

	/* Smaller or larger: refused, and the peer's memory stays as it is. */
	EXPECT_EQ(1, run_command(text, sizeof(text),
				 "timeout 60 doorbell ivshmem-server -S %s/other -M %s -l 32K 2>&1",
				 server.dir, name));
	EXPECT_EQ(65536, size_of(a.shm));
	snprintf(rm, sizeof(rm), "rm %s", path);
	EXPECT_NE(NULL, strstr(text, "has 65536 bytes"));
	EXPECT_NE(NULL, strstr(text, "-l 65536"));
	EXPECT_NE(NULL, strstr(text, rm)) {
		TH_LOG("%s", text);
	}
	EXPECT_EQ(1,
		  run_command(text, sizeof(text),
			      "timeout 60 doorbell ivshmem-server -S %s/other -M %s -l 128K 2>&1",
			      server.dir, name));
	ASSERT_EQ(65536, size_of(a.shm));
	EXPECT_EQ('x', shared[65535]);

	/* The same size: shared. */
	start_server_with(_metadata, &other, 1, 2, A_DAY, more);
	ASSERT_EQ(0, stop_server(&other, SIGTERM));
	EXPECT_EQ('x', shared[65535]);

	/* A server takes over the memory of one that was killed, if the size is the same. */
	client_close(&a);
	munmap(shared, 65536);
	ASSERT_EQ(SIGKILL, stop_server(&server, SIGKILL));
	server.dir[0] = '\0';
	start_server_with(_metadata, &server, 1, 2, A_DAY, more);
	client_join(_metadata, &server, &a, 0);
	ASSERT_EQ(1, pread(a.shm, text, 1, 65535));
	EXPECT_EQ('x', text[0]);
	client_close(&a);
	ASSERT_EQ(SIGKILL, stop_server(&server, SIGKILL));
	EXPECT_EQ(1,
		  run_command(text, sizeof(text),
			      "timeout 60 doorbell ivshmem-server -S /tmp/x.%s -M %s -l 32K 2>&1",
			      name, name));
	fd = open(path, O_RDONLY);
	EXPECT_EQ(65536, size_of(fd));
	close(fd);
	EXPECT_EQ(0, unlink(path));
}

static pid_t keeper_of(const struct server *server)
{
	char text[4096], *at;
	int db = -1;

	if (query_server(server, &db, text, sizeof(text)))
		return -1;
	close(db);
	at = strstr(text, "\"keeper\":");
	return at ? atoi(at + strlen("\"keeper\":")) : -1;
}

/* Returns true if each peer can ring each vector of the other. */
static bool ring_each_other(struct client *a, struct client *b)
{
	unsigned int v;

	for (v = 0; v < VECTORS; v++) {
		if (efd_write(a->ring[b->id][v], 1) || efd_wait(b->own[v]) != 1 ||
		    efd_write(b->ring[a->id][v], 1) || efd_wait(a->own[v]) != 1)
			return false;
	}
	return true;
}

static bool has_irqfds(struct __test_metadata *_metadata, const struct server *server,
		       unsigned int nr)
{
	struct doorbell_get_info info = info_of(_metadata, server->db);

	return info.nr_irqfds == nr && info.nr_triggers == nr;
}

TEST(kept_rings_survive_the_server)
{
	struct server server = {};
	struct client a, b, c;
	char path[80], text[1024];
	uint64_t rings;
	pid_t keeper;

	start_server_with(_metadata, &server, VECTORS, MAX_PEERS, A_DAY, keep);
	keeper = keeper_of(&server);
	ASSERT_LT(0, keeper);
	client_join(_metadata, &server, &a, 0);
	client_join(_metadata, &server, &b, 1);
	ASSERT_TRUE(client_hears(_metadata, &a, b.id, VECTORS));
	ASSERT_TRUE(ring_each_other(&a, &b));
	/* The keeper also knows that both have received everything. */
	ASSERT_TRUE(WAIT_FOR(nr_found(_metadata, &server, "\"setup\":\"complete\"") == 2));

	/* Without a server the peers can still ring each other. */
	EXPECT_EQ(SIGKILL, end_server(&server, SIGKILL));
	ASSERT_TRUE(ring_each_other(&a, &b));
	EXPECT_EQ(-EAGAIN, client_message(_metadata, &a, 3, false));
	EXPECT_EQ(-EAGAIN, client_message(_metadata, &b, 3, false));

	/* The next server has the same lines, and serves the peers as its own. */
	start_server_with(_metadata, &server, VECTORS, MAX_PEERS, A_DAY, keep);
	ASSERT_EQ(keeper, keeper_of(&server));
	EXPECT_EQ(2, nr_found(_metadata, &server, "\"setup\":\"complete\""));
	EXPECT_TRUE(has_irqfds(_metadata, &server, 2 * VECTORS));
	rings = line_of(_metadata, server.db, b.id * VECTORS).rings;
	EXPECT_EQ(2, rings);
	ASSERT_TRUE(ring_each_other(&a, &b));
	EXPECT_EQ(rings + 1, line_of(_metadata, server.db, b.id * VECTORS).rings);
	client_join(_metadata, &server, &c, 2);
	EXPECT_EQ(2, c.id);
	ASSERT_TRUE(client_hears(_metadata, &a, c.id, VECTORS));
	ASSERT_TRUE(client_hears(_metadata, &b, c.id, VECTORS));
	ASSERT_TRUE(ring_each_other(&a, &c));
	ASSERT_TRUE(ring_each_other(&c, &b));
	EXPECT_EQ(1, doorbell_mask(server.db, a.id * VECTORS));
	ASSERT_EQ(0, efd_write(c.ring[a.id][0], 1));
	EXPECT_EQ(0, efd_poll(a.own[0], POLLIN, 100));
	EXPECT_EQ(1, doorbell_unmask(server.db, a.id * VECTORS));
	ASSERT_EQ(1, efd_wait(a.own[0]));
	client_close(&b);
	ASSERT_TRUE(client_hears(_metadata, &a, b.id, 0));
	ASSERT_TRUE(client_hears(_metadata, &c, b.id, 0));
	ASSERT_TRUE(WAIT_FOR(has_irqfds(_metadata, &server, 2 * VECTORS)));

	/* A peer that is disconnected is gone, though the keeper had its connection. */
	client_join(_metadata, &server, &b, 2);
	ASSERT_TRUE(client_hears(_metadata, &a, b.id, VECTORS));
	ASSERT_TRUE(client_hears(_metadata, &c, b.id, VECTORS));
	ASSERT_EQ(1, send(b.sock, "x", 1, MSG_NOSIGNAL));
	ASSERT_TRUE(client_ends(&b));
	ASSERT_TRUE(client_hears(_metadata, &a, b.id, 0));
	ASSERT_TRUE(client_hears(_metadata, &c, b.id, 0));
	client_close(&b);

	/* The same after SIGTERM. A peer may leave before the next server starts. */
	EXPECT_EQ(0, end_server(&server, SIGTERM));
	ASSERT_TRUE(ring_each_other(&a, &c));
	client_close(&a);
	EXPECT_EQ(-EAGAIN, client_message(_metadata, &c, 3, false));
	EXPECT_EQ(1, run_command(text, sizeof(text),
				 "timeout 60 doorbell ivshmem-server --keep -S %s -n 1 2>&1",
				 server.peers));
	EXPECT_NE(NULL, strstr(text, "start with -n 2 --max-peers 4 -l 65536")) {
		TH_LOG("%s", text);
	}
	start_server_with(_metadata, &server, VECTORS, MAX_PEERS, A_DAY, keep);
	ASSERT_TRUE(client_hears(_metadata, &c, a.id, 0));
	ASSERT_TRUE(WAIT_FOR(has_irqfds(_metadata, &server, VECTORS)));

	/* The keeper ends with the last peer. */
	EXPECT_EQ(0, end_server(&server, SIGTERM));
	snprintf(path, sizeof(path), "%s.keeper", server.peers);
	EXPECT_EQ(0, access(path, F_OK));
	client_close(&c);
	ASSERT_TRUE(WAIT_FOR(access(path, F_OK)));
	EXPECT_EQ(0, rmdir(server.dir));
}

TEST(server_goes_on_without_its_keeper)
{
	struct server server = {};
	struct client a, b;
	char path[80];
	pid_t keeper;

	start_server_with(_metadata, &server, VECTORS, MAX_PEERS, A_DAY, keep);
	client_join(_metadata, &server, &a, 0);
	keeper = keeper_of(&server);
	ASSERT_LT(0, keeper);
	ASSERT_EQ(0, kill(keeper, SIGKILL));
	ASSERT_TRUE(WAIT_FOR(nr_found(_metadata, &server, "\"keeper\":null") == 1));
	client_join(_metadata, &server, &b, 1);
	ASSERT_TRUE(client_hears(_metadata, &a, b.id, VECTORS));
	ASSERT_TRUE(ring_each_other(&a, &b));
	/* Without its socket the keeper ends with the server. */
	snprintf(path, sizeof(path), "%s.keeper", server.peers);
	EXPECT_EQ(0, unlink(path));
	kill(server.pid, SIGTERM);
	ASSERT_TRUE(client_ends(&a));
	ASSERT_TRUE(client_ends(&b));
	ASSERT_EQ(0, stop_server(&server, 0));
	client_close(&a);
	client_close(&b);
}

TEST(kept_lines_are_freed_wherever_the_server_is_killed)
{
	const int nr = 20;
	struct server server = {};
	struct client stays;
	int socks[MAX_PEERS], i, j;
	unsigned int seed = 1;

	start_server_with(_metadata, &server, VECTORS, MAX_PEERS, A_DAY, keep);
	client_join(_metadata, &server, &stays, 0);
	for (i = 0; i < nr; i++) {
		for (j = 0; j < MAX_PEERS; j++)
			socks[j] = unix_connect(server.peers);
		usleep(rand_r(&seed) % 3000);
		for (j = 0; j < MAX_PEERS / 2; j++)
			close(socks[j]);
		usleep(rand_r(&seed) % 3000);
		EXPECT_EQ(SIGKILL, end_server(&server, SIGKILL));
		for (; j < MAX_PEERS; j++)
			close(socks[j]);
		start_server_with(_metadata, &server, VECTORS, MAX_PEERS, A_DAY, keep);
		ASSERT_TRUE(WAIT_FOR(has_irqfds(_metadata, &server, VECTORS)));
		EXPECT_EQ(0, lines_in_use(_metadata, &server));
		/* The peer still has its own vectors. */
		ASSERT_EQ(DOORBELL_RING_DELIVERED, doorbell_ring(server.db, stays.id * VECTORS));
		ASSERT_EQ(1, efd_wait(stays.own[0]));
	}
	client_close(&stays);
	ASSERT_TRUE(WAIT_FOR(has_irqfds(_metadata, &server, 0)));
	ASSERT_EQ(0, stop_server(&server, SIGTERM));
}

TEST_HARNESS_MAIN
