/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "kin.h"

#include <bezoar/bezoar.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORDS 32

void kin_make(struct kin *k)
{
	memset(k, 0, sizeof(*k));
	strcpy(k->folder, "/tmp/bezoar-kin-XXXXXX");
	CHECK(mkdtemp(k->folder));
	snprintf(k->socket, sizeof(k->socket), "%s/socket", k->folder);
	snprintf(k->store, sizeof(k->store), "%s/records.db", k->folder);
	snprintf(k->said, sizeof(k->said), "%s/said", k->folder);
}

static void run(struct kin *k, char **words)
{
	pid_t parent = getpid();
	int fd;

	k->pid = fork();
	CHECK(k->pid >= 0);
	if (k->pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(98);
	fd = open(k->said, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (fd >= 0)
		dup2(fd, 2);
	execv(words[0], words);
	_exit(98);
}

static void start(struct kin *k, va_list more)
{
	char *words[WORDS] = { (char *)BEZOARD, (char *)"--socket", k->socket,
			       (char *)"--store", k->store,
			       (char *)"--no-kmsg" };
	int n = 6;

	while (n < WORDS - 1 && (words[n] = va_arg(more, char *)))
		n++;
	run(k, words);
}

static void moment(void)
{
	static const struct timespec ms = { 0, 2000000 };

	nanosleep(&ms, NULL);
}

void kin_start(struct kin *k, ...)
{
	int fd, status;
	va_list more;

	va_start(more, k);
	start(k, more);
	va_end(more);
	while ((fd = kin_connect(k)) < 0) {
		CHECKF(!waitpid(k->pid, &status, WNOHANG),
		       "the daemon has ended with %#x", status);
		moment();
	}
	close(fd);
}

void kin_refuses(struct kin *k, int want, ...)
{
	va_list more;
	int status;

	va_start(more, want);
	start(k, more);
	va_end(more);
	CHECK_EQ(waitpid(k->pid, &status, 0), k->pid);
	CHECKF(WIFEXITED(status) && WEXITSTATUS(status) == want,
	       "it has ended with %#x", status);
	k->pid = 0;
}

void kin_stop(struct kin *k)
{
	int status;

	CHECK_EQ(kill(k->pid, SIGTERM), 0);
	CHECK_EQ(waitpid(k->pid, &status, 0), k->pid);
	k->pid = 0;
	CHECKF(WIFEXITED(status) && !WEXITSTATUS(status),
	       "it has ended with %#x", status);
}

void kin_kill(struct kin *k)
{
	kill(k->pid, SIGKILL);
	waitpid(k->pid, NULL, 0);
	k->pid = 0;
}

void kin_end(struct kin *k)
{
	char line[96];

	if (k->pid)
		kin_stop(k);
	snprintf(line, sizeof(line), "rm -rf %s", k->folder);
	CHECK_EQ(system(line), 0);
}

/* proc(5), syscall. */
int kin_waits_in(pid_t pid, long nr)
{
	char name[64];
	long is = -1;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/syscall", pid);
	f = fopen(name, "r");
	if (!f)
		tap_skip("no %s here", name);
	if (fscanf(f, "%ld", &is) != 1)
		is = -1;		/* it runs */
	fclose(f);
	return is == nr;
}

int kin_has_said(const struct kin *k, const char *words)
{
	char text[65536];
	int fd = open(k->said, O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return strstr(text, words) != NULL;
}

void kin_will_say(const struct kin *k, const char *words)
{
	while (!kin_has_said(k, words))
		moment();
	CHECK(kin_has_said(k, words));
}

int kin_connect(const struct kin *k)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(to);

	CHECK(fd >= 0);
	strcpy(to.sun_path, k->socket);
	if (*k->socket == '@') {
		to.sun_path[0] = '\0';
		len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				  strlen(k->socket));
	}
	if (!connect(fd, (struct sockaddr *)&to, len))
		return fd;
	close(fd);
	return -1;
}

void kin_close_record(struct bez_record *r)
{
	r->digest = bez_digest(r, sizeof(*r) - sizeof(r->digest));
}

struct bez_record kin_record(uint64_t id)
{
	struct bez_record r;
	struct timespec now;

	memset(&r, 0, sizeof(r));
	clock_gettime(CLOCK_REALTIME, &now);
	memcpy(r.magic, BEZ_RECORD_MAGIC, sizeof(r.magic));
	r.version = BEZ_RECORD_VERSION;
	r.bytes = sizeof(r);
	r.id = id;
	r.wall_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	r.pid = r.tid = getpid();
	r.addr = 0x1000 * id;
	r.width = 4096;
	r.region = 1;
	r.outcome = BEZ_OUTCOME_REPLACED;
	r.action = BEZ_ACTION_REPLACE;
	r.cause = BEZ_CAUSE_POISON_AR;
	strcpy(r.comm, "kin");
	strcpy(r.name, "the table");
	kin_close_record(&r);
	return r;
}

int kin_send(int fd, const void *bytes, size_t len)
{
	ssize_t n = send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == ENOBUFS))
		return -1;
	CHECKF(n == (ssize_t)len, "sending %zu bytes: %s", len,
	       n < 0 ? strerror(errno) : "some");
	return 0;
}

void kin_send_last_word(int fd, int behind)
{
	struct bez_record r = kin_record(1);

	r.version = 2;
	kin_close_record(&r);
	while (behind--)
		CHECK_EQ(kin_send(fd, &r, sizeof(r)), 0);
	r = kin_record(2);
	r.action = BEZ_ACTION_DEFAULT;
	r.outcome = BEZ_OUTCOME_DEFAULT;
	kin_close_record(&r);
	CHECK_EQ(kin_send(fd, &r, sizeof(r)), 0);
}

uint64_t kin_acks(int fd, size_t count)
{
	uint64_t digests[512] = { 0 }, last = 0;
	size_t got = 0;
	ssize_t n;

	while (got < count) {
		n = recv(fd, digests, sizeof(digests), 0);
		CHECKF(n > 0 && n % 8 == 0, "an answer of %zd bytes", n);
		got += (size_t)n / 8;
		last = digests[n / 8 - 1];
	}
	CHECK_EQ(got, count);
	return last;
}

static sqlite3 *open_store(const struct kin *k, int flags)
{
	sqlite3 *db = NULL;
	int r = sqlite3_open_v2(k->store, &db, flags, NULL);

	CHECKF(r == SQLITE_OK, "%s: %s", k->store, sqlite3_errmsg(db));
	sqlite3_busy_timeout(db, 10000);
	return db;
}

long long kin_ask(const struct kin *k, const char *sql)
{
	sqlite3 *db = open_store(k, SQLITE_OPEN_READONLY);
	sqlite3_stmt *s = NULL;
	long long n = -1;
	int r = sqlite3_prepare_v2(db, sql, -1, &s, NULL);

	CHECKF(r == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
	r = sqlite3_step(s);
	CHECKF(r == SQLITE_ROW || r == SQLITE_DONE, "%s: %s", sql,
	       sqlite3_errmsg(db));
	if (r == SQLITE_ROW)
		n = sqlite3_column_int64(s, 0);
	sqlite3_finalize(s);
	sqlite3_close(db);
	return n;
}

void kin_ask_text(const struct kin *k, const char *sql, char ret[512])
{
	sqlite3 *db = open_store(k, SQLITE_OPEN_READONLY);
	sqlite3_stmt *s = NULL;
	int r = sqlite3_prepare_v2(db, sql, -1, &s, NULL);

	CHECKF(r == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
	ret[0] = '\0';
	if (sqlite3_step(s) == SQLITE_ROW && sqlite3_column_text(s, 0))
		snprintf(ret, 512, "%s",
			 (const char *)sqlite3_column_text(s, 0));
	sqlite3_finalize(s);
	sqlite3_close(db);
}

long long kin_count(const struct kin *k, const char *name)
{
	char sql[128];
	long long n;

	snprintf(sql, sizeof(sql), "SELECT n FROM counts WHERE name = '%s'",
		 name);
	n = kin_ask(k, sql);
	return n < 0 ? 0 : n;
}

void kin_change(const struct kin *k, const char *sql)
{
	sqlite3 *db = open_store(k, SQLITE_OPEN_READWRITE |
				    SQLITE_OPEN_CREATE);

	CHECKF(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s: %s",
	       sql, sqlite3_errmsg(db));
	sqlite3_close(db);
}

void kin_wait(const struct kin *k, const char *sql, long long n)
{
	while (kin_ask(k, sql) != n)
		moment();
	CHECK_EQ(kin_ask(k, sql), n);
}
