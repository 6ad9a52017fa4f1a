/* SPDX-License-Identifier: MIT */
/*
 * How many records a second does bezoard store, of 64 clients, against SQLite alone:
 * the same rows in batches of the same size, on the same disk, each commit flushed.
 * The daemon has to receive, check and acknowledge them besides, and shares the
 * processors with who sends.
 */
#define _GNU_SOURCE
#include "questions.h"

#include <bezoar/bezoar.h>
#include <bezoar/record.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "batch.h"
#include "store.h"

#define CLIENTS	64
#define BURST	8		/* of one client, before another's turn */

struct kin {
	char folder[64], socket[96], store[96], alone[96], said[96];
	pid_t daemon;
	int fd[CLIENTS];
	struct store sqlite;
	uint64_t next;		/* number of a record: no two are alike */
	size_t records;		/* a round */
};

/* The store's, which is linked to this program as well. */
void say(const char *fmt, ...)
{
	(void)fmt;
}

const char *const count_names[COUNTS] = { [COUNT_TAKEN] = "taken",
	[COUNT_AGAIN] = "again" };

static void make(struct kin *k, struct bez_record *r)
{
	memset(r, 0, sizeof(*r));
	memcpy(r->magic, BEZ_RECORD_MAGIC, sizeof(r->magic));
	r->version = BEZ_RECORD_VERSION;
	r->bytes = sizeof(*r);
	r->id = ++k->next;
	r->wall_ns = bench_now();
	r->pid = r->tid = getpid();
	r->outcome = BEZ_OUTCOME_REPLACED;
	strcpy(r->comm, "bench");
	strcpy(r->name, "the table");
	strcpy(r->cgroup, "/system.slice/bench.service");
	r->digest = bez_digest(r, sizeof(*r) - sizeof(r->digest));
}

/* One burst by each client, as far as the kernel takes it. */
static size_t send_all(struct kin *k, size_t *from, size_t most)
{
	size_t sent = 0;

	for (size_t i = 0; i < CLIENTS; i++) {
		for (size_t j = 0; j < BURST && sent < most; j++) {
			struct bez_record r;

			make(k, &r);
			if (send(k->fd[i], &r, sizeof(r), MSG_DONTWAIT) < 0) {
				k->next--;
				break;
			}
			sent++;
		}
	}
	*from += sent;
	return sent;
}

/* What has come back. */
static size_t acknowledged(struct kin *k, int wait)
{
	struct pollfd all[CLIENTS];
	uint64_t digests[512];
	size_t got = 0;
	ssize_t n;

	for (size_t i = 0; i < CLIENTS; i++)
		all[i] = (struct pollfd){ .fd = k->fd[i], .events = POLLIN };
	if (poll(all, CLIENTS, wait) <= 0)
		return 0;
	for (size_t i = 0; i < CLIENTS; i++)
		while (all[i].revents &&
		       (n = recv(k->fd[i], digests, sizeof(digests),
				 MSG_DONTWAIT)) > 0)
			got += (size_t)n / sizeof(digests[0]);
	return got;
}

/* All are sent, and all are acknowledged: that is, on the disk. */
static int by_daemon(void *arg, double *samples, size_t n)
{
	struct kin *k = arg;
	size_t sent = 0, acks = 0;
	uint64_t from = bench_now();

	(void)n;
	while (acks < k->records) {
		size_t now = sent < k->records ?
			     send_all(k, &sent, k->records - sent) : 0;
		size_t back = acknowledged(k, now ? 0 : 20000);

		acks += back;
		if (!now && !back)
			return -ETIMEDOUT;
	}
	*samples = (double)k->records * 1e9 / bench_span(from, bench_now());
	return 0;
}

static int alone(void *arg, double *samples, size_t n)
{
	static struct item items[BATCH_MOST];
	struct kin *k = arg;
	uint64_t from = bench_now();

	(void)n;
	for (size_t done = 0; done < k->records; done += BATCH_MOST) {
		for (size_t i = 0; i < BATCH_MOST; i++) {
			struct bez_record r;

			make(k, &r);
			items[i] = (struct item){ .kind = ITEM_RECORD,
				.pid = r.pid, .client = CLIENT_NONE,
				.bytes = sizeof(r) };
			memcpy(items[i].raw, &r, sizeof(r));
		}
		if (store_put(&k->sqlite, items, BATCH_MOST) != STORE_OK)
			return -EIO;
	}
	*samples = (double)k->records * 1e9 / bench_span(from, bench_now());
	return 0;
}

static int connect_all(struct kin *k)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	uint64_t until = bench_now() + 10000000000u;

	memcpy(to.sun_path, k->socket, sizeof(k->socket));
	for (size_t i = 0; i < CLIENTS; i++) {
		k->fd[i] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		if (k->fd[i] < 0)
			return -errno;
		while (connect(k->fd[i], (struct sockaddr *)&to, sizeof(to))) {
			if (bench_now() > until)
				return -errno;
			usleep(1000);
		}
	}
	return 0;
}

static int begin(struct kin *k)
{
	/* where a disk is: not in memory */
	strcpy(k->folder, "/var/tmp/bezoar-bench-XXXXXX");
	if (!mkdtemp(k->folder))
		return -errno;
	snprintf(k->socket, sizeof(k->socket), "%s/socket", k->folder);
	snprintf(k->store, sizeof(k->store), "%s/kin.db", k->folder);
	snprintf(k->alone, sizeof(k->alone), "%s/alone.db", k->folder);
	snprintf(k->said, sizeof(k->said), "%s/said", k->folder);
	k->sqlite.lock = -1;
	if (store_open(&k->sqlite, k->alone))
		return -EIO;
	k->daemon = fork();
	if (k->daemon < 0)
		return -errno;
	if (!k->daemon) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* what it has taken and kept is measured, and not to be read here */
		dup2(open(k->said, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), 2);
		execl(BENCH_KIN, BENCH_KIN, "--socket", k->socket, "--store",
		      k->store, "--rate", "1000000000", "--max-size", "0",
		      (char *)NULL);
		_exit(1);
	}
	return connect_all(k);
}

static void end(struct kin *k)
{
	char line[96];

	if (k->daemon > 0) {
		kill(k->daemon, SIGTERM);
		waitpid(k->daemon, NULL, 0);
	}
	store_close(&k->sqlite);
	snprintf(line, sizeof(line), "rm -rf %s", k->folder);
	if (system(line))
		perror(line);
}

static void run(bool quick, struct bench_result *result)
{
	static struct kin k;
	const struct bench_side sides[2] = {
		{ "bezoard, 64 clients", by_daemon, &k },
		{ "SQLite alone", alone, &k },
	};
	struct bench_figures figures;
	int err;

	k.records = (quick ? 8 : 32) * BATCH_MOST;
	err = bench_unpin();
	if (err == 0)
		err = begin(&k);
	if (err < 0) {
		bench_cannot(result, "starting bezoard", err);
	} else {
		bench_say(result, "%zu records a round in batches of %d, WAL, "
			  "synchronous=FULL, %u processors. ", k.records,
			  BATCH_MOST, bench_cpus());
		bench_compare(sides, 2, quick ? 5 : 15, 1, &figures, result);
	}
	end(&k);
}

const struct bench_question bench_kin_rate = {
	"kin_rate", "records/s", 0.7, true, run };
