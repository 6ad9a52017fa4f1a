/* SPDX-License-Identifier: MIT */
/*
 * kin_kill [--records N] [--kill-ms MS]: 64 clients send records, while the daemon
 * is killed again and again. What was acknowledged is there, once; and the numbers
 * add up.
 *
 * A client sends each record again, by a new connection, until it is acknowledged.
 * What it knows is in memory that all share: it may be asked at any moment.
 */
#define _GNU_SOURCE
#include <bezoar/bezoar.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kin.h"

#define CLIENTS		64
#define WINDOW		32		/* of each, not acknowledged yet */

static unsigned long each = 400, kill_ms = 100;
static struct kin k;

struct client {
	/* each written by that client alone */
	pid_t pid;
	_Atomic unsigned long acked;	/* so many are, in their order */
	unsigned long sent;		/* also those that were sent again */
};
static struct client *clients;

static void moment(void)
{
	static const struct timespec ms = { 0, 1000000 };

	nanosleep(&ms, NULL);
}

/* Send those from @next on, and move @next on by what is acknowledged, until the
 * connection breaks. */
static void by_one_connection(struct client *me, int fd,
			      const struct bez_record *window, unsigned long at)
{
	uint64_t digests[512];
	unsigned long sent = at, acked = at;
	ssize_t n, i;

	while (acked < each) {
		while (sent < each && sent < acked + WINDOW &&
		       send(fd, &window[sent], sizeof(*window), MSG_NOSIGNAL) ==
		       sizeof(*window)) {
			sent++;
			me->sent++;
		}
		n = recv(fd, digests, sizeof(digests), 0);
		if (n <= 0)
			return;
		for (i = 0; i < n / 8; i++, acked++)
			CHECK(digests[i] == window[acked].digest);
		atomic_store(&me->acked, acked);
	}
}

static void client(struct client *me)
{
	struct bez_record *all = calloc(each, sizeof(*all));
	unsigned long i;
	int fd;

	/* a case that fails leaves nobody behind */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	CHECK(all);
	for (i = 0; i < each; i++)
		all[i] = kin_record(i + 1);
	while (me->acked < each) {
		fd = kin_connect(&k);
		if (fd < 0) {
			moment();
			continue;
		}
		by_one_connection(me, fd, all, me->acked);
		close(fd);
	}
	_exit(0);
}

static unsigned long acked(void)
{
	unsigned long n = 0;
	int i;

	for (i = 0; i < CLIENTS; i++)
		n += atomic_load(&clients[i].acked);
	return n;
}

/* What was acknowledged by now is there, and nothing twice. */
static void compare(const unsigned long *least)
{
	char sql[160];
	int i;

	for (i = 0; i < CLIENTS; i++) {
		if (!least[i])
			continue;
		snprintf(sql, sizeof(sql), "SELECT count(DISTINCT id) FROM "
			 "records WHERE pid = %d AND id <= %lu",
			 clients[i].pid, least[i]);
		CHECK_EQ(kin_ask(&k, sql), least[i]);
	}
	CHECK_EQ(kin_ask(&k, "SELECT count(*) FROM records"),
		 kin_ask(&k, "SELECT count(*) FROM (SELECT DISTINCT pid, id "
			     "FROM records)"));
	/* counts are of the same transactions as the rows */
	CHECK_EQ(kin_ask(&k, "SELECT count(*) FROM records"),
		 kin_count(&k, "taken"));
}

static void killed(void)
{
	unsigned long least[CLIENTS], sent = 0, kills = 0, i;
	struct timespec pause = { (time_t)(kill_ms / 1000),
				  (long)(kill_ms % 1000 * 1000000) };
	struct timespec t;
	int status;

	kin_make(&k);
	clients = mmap(NULL, CLIENTS * sizeof(*clients),
		       PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		       0);
	CHECK(clients != MAP_FAILED);
	kin_start(&k, "--rate", "1000000", "--max-size", "0", "--delay", "1",
		  NULL);
	for (i = 0; i < CLIENTS; i++) {
		clients[i].pid = fork();
		if (!clients[i].pid) {
			tap_apart();
			clients[i].pid = getpid();
			client(&clients[i]);
		}
	}
	while (acked() < CLIENTS * each) {
		/* at another moment of the daemon's each time; it ends by the
		 * kill, whenever that comes */
		t = pause;
		t.tv_nsec = t.tv_nsec * (long)(kills % 7 + 1) / 7;
		nanosleep(&t, NULL);
		kin_kill(&k);
		kills++;
		if (waitpid(-1, &status, WNOHANG) > 0)
			CHECK_EQ(status, 0);
		for (i = 0; i < CLIENTS; i++)
			least[i] = atomic_load(&clients[i].acked);
		if (kills % 10 == 1)
			compare(least);
		kin_start(&k, "--rate", "1000000", "--max-size", "0",
			  "--delay", "1", NULL);
	}
	for (i = 0; i < CLIENTS; i++) {
		/* some are reaped by now */
		if (waitpid(clients[i].pid, &status, 0) == clients[i].pid)
			CHECK_EQ(status, 0);
		least[i] = each;
		sent += clients[i].sent;
	}
	kin_stop(&k);
	compare(least);
	CHECK_EQ(kin_ask(&k, "SELECT count(*) FROM records"), CLIENTS * each);
	/* what was sent was taken, had been taken, or died in a socket */
	CHECK_EQ(kin_count(&k, "taken"), CLIENTS * each);
	CHECK(kin_count(&k, "taken") + kin_count(&k, "again") <= (long)sent);
	CHECK_EQ(kin_count(&k, "forged") + kin_count(&k, "damaged") +
		 kin_count(&k, "flood") + kin_count(&k, "no room") +
		 kin_count(&k, "acknowledgements dropped"), 0);
	CHECKF(kills > 2, "it was killed %lu times only", kills);
	CHECK_EQ(kin_ask(&k, "SELECT count(*) FROM "
			     "pragma_integrity_check() WHERE "
			     "integrity_check <> 'ok'"), 0);
	tap_diag("%lu records, sent %lu times, %lld of them again; killed %lu "
		 "times", CLIENTS * each, sent, kin_count(&k, "again"), kills);
	kin_end(&k);
}

int main(int argc, char **argv)
{
	static struct tap_case cases[] = {
		{ .name = "killed at any moment: what was acknowledged is there once",
		  .run = killed, .timeout_s = 120 },
	};
	int i;

	for (i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--records"))
			each = (strtoul(argv[i + 1], NULL, 10) + CLIENTS - 1) /
			       CLIENTS;
		else if (!strcmp(argv[i], "--kill-ms"))
			kill_ms = strtoul(argv[i + 1], NULL, 10);
		else
			break;
		cases[0].timeout_s = 3600;
	}
	argv[i - 1] = argv[0];
	return tap_main(cases, 1, argc - i + 1, argv + i - 1);
}
