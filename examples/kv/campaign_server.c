/* SPDX-License-Identifier: MIT */
/*
 * The child: the server, all of it but its main(), on sockets that it was born
 * with; and its first thread, which loses pages under it when it is told to, and
 * says which keys were there. The shard's lock is held while it looks and poisons,
 * so that its list is right; the threads that serve know nothing of this.
 */
#define _GNU_SOURCE
#include <bezoar/inject.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../random.h"
#include "campaign.h"
#include "serve.h"
#include "shard.h"

#define THREADS	2
#define TRIES	100000		/* to find a page with keys on it */

static uint64_t seed;
static uint32_t backend;
static size_t page;

/* ------------------------------------------------------------- the child */

struct aim {
	struct shard *s;
	enum loss how;
	void *at;			/* out: NULL: nothing here */
	struct report report;		/* the keys with a byte there */
};

static void list(struct aim *a)
{
	struct shard *s = a->s;
	size_t offset = (size_t)((char *)a->at - s->items);
	uint32_t slab = (uint32_t)(offset / SLAB_BYTES), i;
	uint32_t size = s->class[s->slab_class[slab]].size;

	a->report.keys = 0;
	offset %= SLAB_BYTES;
	for (i = (uint32_t)(offset / size);
	     i < s->class[s->slab_class[slab]].slots &&
	     (size_t)i * size < offset + page; i++) {
		slot_t n = slab * SLAB_SLOTS + 1 + i;
		const struct item *item = slot_item(s, n);

		if (slot_at(s, n)->state != SLOT_USED ||
		    i * (size_t)size + sizeof(*item) + slot_at(s, n)->size <=
		    offset)
			continue;
		if (a->report.keys == REPORT_MAX)
			abort();
		memcpy(a->report.key[a->report.keys], item->data,
		       item->key_len);
		a->report.key[a->report.keys++][item->key_len] = '\0';
	}
	if (!a->report.keys)
		a->at = NULL;
}

static void draw(struct aim *a)
{
	struct shard *s = a->s;

	a->at = NULL;
	if (!s->slabs_used)
		return;
	if (a->how == LOSS_INDEX) {
		size_t of_slots = (size_t)((char *)s->slot - (char *)s->index);

		/* as much of one as of the other */
		if (random_below(&seed, 2))
			a->at = (char *)s->index +
				random_below(&seed, of_slots / page) * page;
		else
			a->at = (char *)s->slot +
				random_below(&seed, s->slabs_used *
					     (SLAB_SLOTS * sizeof(*s->slot) /
					      page)) * page;
		return;
	}
	a->at = s->items + random_below(&seed, s->slabs_used *
					(SLAB_BYTES / page)) * page;
	if (bez_lost_in(a->at, page))
		a->at = NULL;
	else
		list(a);
}

static int lose(struct aim *a)
{
	bez_inject_t token;
	int r;

	if (a->how == LOSS_SAID)
		return bez_lost_add(a->at, page);
	do
		r = bez_inject(a->at, page, backend, BEZ_INJECT_NO_UNDO,
			       &token);
	while (r == -EBUSY);
	if (!r)
		bez_inject_forget(token);
	return r;
}

static int aim(struct aim *a)
{
	volatile int tries, r = -EALREADY;

	for (tries = 0; r == -EALREADY && tries < TRIES; tries++) {
		a->s = &shards[random_below(&seed, shard_count)];
		pthread_mutex_lock(&a->s->lock);
		BEZ_TRY {
			draw(a);
			r = a->at ? lose(a) : -EALREADY;
		} BEZ_CATCH(lost) {
			/* one that nobody has met yet */
			(void)lost;
			mend(a->s);
		}
		pthread_mutex_unlock(&a->s->lock);
	}
	return r;
}

static void control(FILE *asked, FILE *answer)
{
	static struct aim a;
	char line[64];
	size_t i;
	int r;

	while (fgets(line, sizeof(line), asked)) {
		a.how = (enum loss)atoi(line);
		a.report.keys = 0;
		r = aim(&a);
		for (i = 0; !r && a.how != LOSS_INDEX && i < a.report.keys; i++)
			fprintf(answer, "%s\n", a.report.key[i]);
		fprintf(answer, r ? "! %s\n" : ".\n", strerror(-r));
		fflush(answer);
	}
}

/* As of a server that has been up for long: what it can use it has used, and what
 * it has more of later it has lost. */
static void use_all(void)
{
	unsigned int i;

	for (i = 0; i < shard_count; i++) {
		memset(shards[i].items, 0, shards[i].items_len);
		memset(shards[i].index, 0, shards[i].index_len);
	}
}

/* Clients from outside. */
static void *take_connections(void *arg)
{
	const int listening = *(int *)arg;
	int fd;

	while ((fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		serve_add(fd);
	return NULL;
}

static void child(struct server *s, int control_fd, size_t mib)
{
	pthread_t taker;
	FILE *asked = fdopen(control_fd, "r");
	FILE *answer = fdopen(fcntl(control_fd, F_DUPFD_CLOEXEC, 0),
			      "w");
	int i, r = bez_start(NULL);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!r)
		r = store_open(mib << 20);
	if (!r)
		use_all();
	if (!r)
		r = serve_start(THREADS);
	for (i = 0; !r && i < 1 + HAMMERS; i++)
		r = serve_add(s->fd[i]);
	if (!r)
		r = -pthread_create(&taker, NULL, take_connections,
				    &s->listening);
	if (r || !asked || !answer) {
		fprintf(stderr, "kv-campaign: the server cannot start: %s\n",
			strerror(-r));
		_exit(1);
	}
	control(asked, answer);
	serve_stop();
	_exit(0);
}

/* ------------------------------------------------------------ the parent */

/* A free port of this machine alone. */
static int listen_anywhere(struct server *s)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	socklen_t len = sizeof(to);

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	s->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->listening < 0 ||
	    bind(s->listening, (void *)&to, sizeof(to)) ||
	    listen(s->listening, 64) ||
	    getsockname(s->listening, (void *)&to, &len))
		return -1;
	s->port = ntohs(to.sin_port);
	return 0;
}

int server_start(struct server *s, size_t mib, uint64_t from, bool real,
		 bool open)
{
	int pair[2 + HAMMERS][2], i;

	s->listening = -1;
	if (open && listen_anywhere(s))
		return perror("kv-campaign: no port of 127.0.0.1"), -1;

	seed = from;
	page = (size_t)sysconf(_SC_PAGESIZE);
	backend = real ? BEZ_INJECT_MADV : BEZ_INJECT_UFFD;
	for (i = 0; i < 2 + HAMMERS; i++)
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair[i]))
			return perror("kv-campaign: socketpair"), -1;
	fflush(NULL);
	s->pid = fork();
	if (s->pid < 0)
		return perror("kv-campaign: fork"), -1;
	for (i = 0; i < 2 + HAMMERS; i++)
		close(pair[i][s->pid != 0]);
	for (i = 0; i < 1 + HAMMERS; i++)
		s->fd[i] = pair[1 + i][s->pid == 0];
	if (!s->pid)
		child(s, pair[0][1], mib);
	if (open)
		close(s->listening);
	s->answers = fdopen(pair[0][0], "r");
	s->ask = fdopen(fcntl(pair[0][0], F_DUPFD_CLOEXEC, 0), "w");
	return s->answers && s->ask ? 0 : -1;
}

int server_lose(struct server *s, enum loss how, struct report *ret_report)
{
	char line[300];

	ret_report->keys = 0;
	fprintf(s->ask, "%d\n", how);
	fflush(s->ask);
	while (fgets(line, sizeof(line), s->answers)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strcmp(line, "."))
			return 0;
		if (*line == '!') {
			fprintf(stderr, "kv-campaign: no page was lost: %s\n",
				line + 2);
			return -1;
		}
		strcpy(ret_report->key[ret_report->keys++], line);
	}
	fprintf(stderr, "kv-campaign: the server does not answer\n");
	return -1;
}

bool server_stop(struct server *s)
{
	int status, i;

	fclose(s->ask);
	fclose(s->answers);
	for (i = 0; i < 1 + HAMMERS; i++)
		close(s->fd[i]);
	if (waitpid(s->pid, &status, 0) != s->pid)
		return false;
	if (WIFSIGNALED(status))
		fprintf(stderr, "kv-campaign: the server died of signal %d\n",
			WTERMSIG(status));
	return WIFEXITED(status) && !WEXITSTATUS(status);
}
