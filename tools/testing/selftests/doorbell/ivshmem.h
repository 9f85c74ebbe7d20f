/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A "doorbell ivshmem-server" under test, and clients that speak as much of its protocol as
 * a test needs.
 */
#ifndef _DOORBELL_TEST_IVSHMEM_H
#define _DOORBELL_TEST_IVSHMEM_H

#include <dirent.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "doorbell_test.h"

/* Seconds until the server disconnects a peer that does not read: practically never. */
#define A_DAY		"86400"

#define MAX_IDS		128
#define MAX_VECTORS	8

/* Exit status if the program is missing: the tools are built apart from the tests. */
#define NO_PROGRAM	127

struct server {
	pid_t pid;
	int db;
	unsigned int vectors, max_peers;
	int fds;		/* number of fds without peers */
	char dir[32], peers[64], control[64];
};

static inline int unix_connect(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int ret;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd < 0 ? -errno : fd;
}

/* A buffer for one descriptor. */
union control {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int))];
};

/*
 * Receives up to @len bytes and a descriptor, if one comes: *fd, otherwise -1. Returns
 * -EAGAIN if there is nothing; with @wait, if nothing comes before the timeout.
 */
static inline ssize_t receive(int sock, void *buf, size_t len, int *fd, bool wait)
{
	union control control;
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;
	ssize_t ret;

	*fd = -1;
	if (!(wait ? efd_await(sock, POLLIN) : efd_poll(sock, POLLIN, 0)))
		return -EAGAIN;
	ret = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (ret < 0)
		return -errno;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(cmsg), sizeof(*fd));
	return ret;
}

/* Queries the server: the fd of its context, and its peers as text. Returns -errno. */
static inline int query_server(const struct server *server, int *db, char *text, size_t size)
{
	int sock = unix_connect(server->control);
	int file = -1;
	ssize_t len;
	char byte;

	if (sock < 0)
		return sock;
	len = receive(sock, &byte, 1, db, true);
	if (len == 1 && *db >= 0)
		len = receive(sock, &byte, 1, &file, true);
	close(sock);
	if (len != 1 || file < 0)
		return len < 0 ? len : -ENODATA;
	len = pread(file, text, size - 1, 0);
	close(file);
	text[len < 0 ? 0 : len] = '\0';
	return len < 0 ? -EIO : 0;
}

/*
 * Returns how many times the server's answer contains @what. The server is one thread, so
 * it has finished all that it had begun before.
 */
static inline int nr_found(struct __test_metadata *_metadata, const struct server *server,
			   const char *what)
{
	static char text[1 << 20];
	const char *at = text;
	int db = -1, count = 0;

	ASSERT_EQ(0, query_server(server, &db, text, sizeof(text)));
	close(db);
	while ((at = strstr(at, what))) {
		count++;
		at++;
	}
	return count;
}

static inline int open_files(pid_t pid)
{
	char path[32];
	int count = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	if (!dir)
		return -1;
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 2;
}

static inline bool answers(struct server *server)
{
	char text[4096];

	return !query_server(server, &server->db, text, sizeof(text));
}

/* Changes the process of the server before it starts, if a test sets it. */
static void (*prepare_server)(void);

/* Starts a server with the usual options and @more, which end with NULL. */
static inline void start_server_with(struct __test_metadata *_metadata, struct server *server,
				     unsigned int vectors, unsigned int max_peers,
				     const char *patience, const char *const more[])
{
	char nr_vectors[16], nr_peers[16], stat[32];
	bool answered, ended = false;
	const char *argv[32] = {
		"doorbell", "ivshmem-server", "-S", server->peers, "--control", server->control,
		"-n", nr_vectors, "--max-peers", nr_peers, "-l", "64K", "--timeout", patience,
	};
	int status = 0, argc = 14;

	while (*more)
		argv[argc++] = *more++;
	/* A server that is started again has its directory already. */
	if (!server->dir[0]) {
		snprintf(server->dir, sizeof(server->dir), "/tmp/ivshmem.XXXXXX");
		ASSERT_NE(NULL, mkdtemp(server->dir));
		/* The server decides which users may connect. */
		ASSERT_EQ(0, chmod(server->dir, 0755));
	}
	snprintf(server->peers, sizeof(server->peers), "%s/peers", server->dir);
	snprintf(server->control, sizeof(server->control), "%s/control", server->dir);
	snprintf(nr_vectors, sizeof(nr_vectors), "%u", vectors);
	snprintf(nr_peers, sizeof(nr_peers), "%u", max_peers);
	server->vectors = vectors;
	server->max_peers = max_peers;
	server->pid = fork();
	ASSERT_LE(0, server->pid);
	if (!server->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* A shell may have made this process ignore it. */
		signal(SIGINT, SIG_DFL);
		umask(0);
		dup2(STDERR_FILENO, STDOUT_FILENO);
		if (prepare_server)
			prepare_server();
		execvp("doorbell", (char *const *)argv);
		_exit(NO_PROGRAM);
	}
	ASSERT_TRUE(WAIT_FOR((answered = answers(server)) ||
			     (ended = waitpid(server->pid, &status, WNOHANG) == server->pid)));
	if (!answered) {
		rmdir(server->dir);
		if (WIFEXITED(status) && WEXITSTATUS(status) == NO_PROGRAM)
			SKIP(exit(KSFT_SKIP), "no doorbell command in the PATH");
		ASSERT_FALSE(ended) TH_LOG("the server ended: %#x", status);
	}
	/* If it sleeps, it has closed the fds that it had while it answered. */
	snprintf(stat, sizeof(stat), "/proc/%d/stat", server->pid);
	ASSERT_TRUE(WAIT_FOR(stat_sleeps(stat)));
	server->fds = open_files(server->pid);
}

static inline void start_server(struct __test_metadata *_metadata, struct server *server,
				unsigned int vectors, unsigned int max_peers, const char *patience)
{
	const char *const none[] = { NULL };

	server->dir[0] = '\0';
	start_server_with(_metadata, server, vectors, max_peers, patience, none);
}

/* Runs a command that ends by itself. Returns its exit status, and its output in @text. */
static inline int run_command(char *text, size_t size, const char *format, ...)
{
	char command[512];
	va_list args;
	size_t len;
	FILE *pipe;
	int status;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	pipe = popen(command, "r");
	if (!pipe)
		return -1;
	len = fread(text, 1, size - 1, pipe);
	text[len] = '\0';
	status = pclose(pipe);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Stops the server. Returns its wait status. */
static inline int stop_server(struct server *server, int signal)
{
	int status;

	kill(server->pid, signal);
	status = wait_child(server->pid);
	close(server->db);
	unlink(server->peers);
	unlink(server->control);
	rmdir(server->dir);
	return status;
}

static const char *const keep[] = { "--keep", NULL };

/*
 * Stops the server but leaves its sockets, and its context to the keeper. Returns its exit
 * status or signal.
 */
static inline int end_server(struct server *server, int signal)
{
	int status = -1;

	close(server->db);
	server->db = -1;
	kill(server->pid, signal);
	waitpid(server->pid, &status, 0);
	return status;
}

static inline unsigned int lines_in_use(struct __test_metadata *_metadata,
					const struct server *server)
{
	uint32_t line, count = 0;

	for (line = 0; line < server->vectors * server->max_peers; line++)
		count += !!line_of(_metadata, server->db, line).state;
	return count;
}

/* Returns true if only the resources of @peers peers are left and all free lines are as new. */
static inline bool is_clean(struct __test_metadata *_metadata, const struct server *server,
			    unsigned int peers)
{
	struct doorbell_get_info info = info_of(_metadata, server->db);
	unsigned int lines = peers * server->vectors;

	return info.nr_irqfds == lines && info.nr_triggers == lines &&
	       open_files(server->pid) == server->fds + (int)(peers + 2 * lines) &&
	       !lines_in_use(_metadata, server);
}

/* Waits for the server: it may still be accepting peers that have left already. */
#define ASSERT_CLEAN(of, peers) do {					\
	const struct server *__server = of;				\
									\
	ASSERT_TRUE(WAIT_FOR(is_clean(_metadata, __server, peers))) {	\
		struct doorbell_get_info __info = info_of(_metadata, __server->db); \
									\
		TH_LOG("%u irqfds, %u triggers, %d files, %d without peers, %u lines in use", \
		       __info.nr_irqfds, __info.nr_triggers,		\
		       open_files(__server->pid), __server->fds,	\
		       lines_in_use(_metadata, __server));		\
	}								\
} while (0)

/* A client, and the messages that it has received. */
struct client {
	int sock;
	int64_t id;
	int shm;
	unsigned int nr_own;
	int own[MAX_VECTORS];
	unsigned int nr_ring[MAX_IDS];
	int ring[MAX_IDS][MAX_VECTORS];
};

static inline void client_connect(struct __test_metadata *_metadata, const struct server *server,
				  struct client *client)
{
	memset(client, 0, sizeof(*client));
	client->id = -1;
	client->shm = -1;
	client->sock = unix_connect(server->peers);
	ASSERT_LE(0, client->sock);
}

static inline void client_forget(struct client *client, int64_t id)
{
	while (client->nr_ring[id])
		close(client->ring[id][--client->nr_ring[id]]);
}

static inline void client_close(struct client *client)
{
	int id;

	for (id = 0; id < MAX_IDS; id++)
		client_forget(client, id);
	while (client->nr_own)
		close(client->own[--client->nr_own]);
	if (client->shm >= 0)
		close(client->shm);
	close(client->sock);
}

/*
 * Receives a message. Returns 1; 0 at the end; -EAGAIN if there is none, or with @wait, if
 * none comes.
 */
static inline int client_message(struct __test_metadata *_metadata, struct client *client,
				 unsigned int nr, bool wait)
{
	int64_t number;
	int fd;
	ssize_t len = receive(client->sock, &number, sizeof(number), &fd, wait);

	if (len <= 0)
		return len == -ECONNRESET ? 0 : len;
	ASSERT_EQ(8, len);
	switch (nr) {
	case 0:
		EXPECT_EQ(0, number);
		EXPECT_EQ(-1, fd);
		return 1;
	case 1:
		EXPECT_EQ(-1, fd);
		ASSERT_LE(0, number);
		ASSERT_GT(MAX_IDS, number);
		client->id = number;
		return 1;
	case 2:
		EXPECT_EQ(-1, number);
		EXPECT_LE(0, fd);
		client->shm = fd;
		return 1;
	}
	ASSERT_LE(0, number);
	ASSERT_GT(MAX_IDS, number);
	if (number == client->id) {
		ASSERT_LE(0, fd);
		ASSERT_GT(MAX_VECTORS, client->nr_own);
		client->own[client->nr_own++] = fd;
	} else if (fd >= 0) {
		ASSERT_GT(MAX_VECTORS, client->nr_ring[number]);
		client->ring[number][client->nr_ring[number]++] = fd;
	} else {
		/* Only a peer that has joined can leave. */
		EXPECT_LT(0, client->nr_ring[number]);
		client_forget(client, number);
	}
	return 1;
}

/* Connects and reads the set-up, while @others other peers are connected and stay. */
static inline void client_join(struct __test_metadata *_metadata, const struct server *server,
			       struct client *client, unsigned int others)
{
	unsigned int nr, total = 3 + (others + 1) * server->vectors;

	client_connect(_metadata, server, client);
	for (nr = 0; nr < total; nr++) {
		ASSERT_EQ(1, client_message(_metadata, client, nr, true));
		/* The own vectors come last. */
		if (nr < total - server->vectors)
			ASSERT_EQ(0, client->nr_own);
	}
	ASSERT_EQ(server->vectors, client->nr_own);
}

/* Reads messages until the client knows all vectors of @id, or none. */
static inline bool client_hears(struct __test_metadata *_metadata, struct client *client,
				int64_t id, unsigned int vectors)
{
	while (client->nr_ring[id] != vectors)
		if (client_message(_metadata, client, 3, true) != 1)
			return false;
	return true;
}

/* Reads until the server disconnects the client. Returns false at the timeout. */
static inline bool client_ends(struct client *client)
{
	char buf[64];
	ssize_t len;
	int fd;

	do {
		len = receive(client->sock, buf, sizeof(buf), &fd, true);
		if (fd >= 0)
			close(fd);
	} while (len > 0);
	return len != -EAGAIN;
}

#endif /* _DOORBELL_TEST_IVSHMEM_H */
