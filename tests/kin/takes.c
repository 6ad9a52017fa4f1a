/* SPDX-License-Identifier: MIT */
/* What is sent to bezoard is there, once, as that of who has sent it. */
#define _GNU_SOURCE
#include <bezoar/bezoar.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kin.h"

#define ROWS "SELECT count(*) FROM records"

static struct kin k;

/* Acknowledged is stored: it survives that the daemon dies right then. */
static void acknowledged(void)
{
	struct bez_record r = kin_record(7);
	struct stat st;
	char sql[400];
	int fd;

	kin_make(&k);
	kin_start(&k, NULL);
	CHECK_EQ(stat(k.store, &st), 0);
	CHECK_EQ(st.st_mode & 0777, 0640);
	CHECK_EQ(stat(k.socket, &st), 0);
	CHECK_EQ(st.st_mode & 0777, 0666);
	fd = kin_connect(&k);
	CHECK_EQ(kin_send(fd, &r, sizeof(r)), 0);
	CHECK(kin_acks(fd, 1) == r.digest);
	kin_kill(&k);
	kin_start(&k, NULL);
	snprintf(sql, sizeof(sql), ROWS " WHERE id = 7 AND pid = %d AND "
		 "own_pid = pid AND uid = %d AND CAST(comm AS TEXT) = 'kin' "
		 "AND CAST(region AS TEXT) = 'the table' AND outcome = %d AND "
		 "action = %d AND cause = %d AND length(raw) = 384", getpid(),
		 (int)getuid(), r.outcome, r.action, r.cause);
	CHECK_EQ(kin_ask(&k, sql), 1);
	CHECK_EQ(kin_ask(&k, ROWS), 1);
	/* whoever is not sure sends it again */
	fd = kin_connect(&k);
	CHECK_EQ(kin_send(fd, &r, sizeof(r)), 0);
	CHECK(kin_acks(fd, 1) == r.digest);
	CHECK_EQ(kin_ask(&k, ROWS), 1);
	CHECK_EQ(kin_count(&k, "taken"), 1);
	CHECK_EQ(kin_count(&k, "again"), 1);
	kin_end(&k);
}

/* A name that is no path leaves nothing behind, and is free at once. */
static void abstract(void)
{
	struct bez_record r = kin_record(7);
	int fd;

	kin_make(&k);
	snprintf(k.socket, sizeof(k.socket), "@bezoar-kin-%d", getpid());
	kin_start(&k, NULL);
	CHECK_EQ(access(k.socket, F_OK), -1);
	fd = kin_connect(&k);
	CHECK_EQ(kin_send(fd, &r, sizeof(r)), 0);
	CHECK(kin_acks(fd, 1) == r.digest);
	kin_kill(&k);
	kin_start(&k, NULL);
	CHECK_EQ(kin_count(&k, "taken"), 1);
	kin_end(&k);
}

/* A child sends by the connection that it has inherited. As itself: taken. As its
 * parent: kept apart. */
static void child(void)
{
	struct bez_record r = kin_record(1), parents = r;
	int fd, status;
	pid_t pid;

	kin_make(&k);
	kin_start(&k, NULL);
	fd = kin_connect(&k);
	pid = fork();
	if (!pid) {
		tap_apart();
		r = kin_record(1);
		kin_send(fd, &parents, sizeof(parents));
		kin_send(fd, &r, sizeof(r));
		/* it can be asked who it is until then */
		kin_acks(fd, 1);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(kin_count(&k, "forged"), 1);
	CHECK_EQ(kin_ask(&k, "SELECT pid FROM records"), pid);
	CHECK_EQ(kin_ask(&k, "SELECT pid FROM apart WHERE why = 'forged'"),
		 pid);
	/* whose it is may still send it */
	CHECK_EQ(kin_send(fd, &parents, sizeof(parents)), 0);
	CHECK(kin_acks(fd, 1) == parents.digest);
	CHECK_EQ(kin_ask(&k, ROWS), 2);
	kin_end(&k);
}

/* By a child that is gone before anybody looks who that was: of a number that it may
 * have had in a namespace of its own, or not. */
static void gone_child(void)
{
	struct bez_record r = kin_record(1);
	int fd, status;
	pid_t pid;

	kin_make(&k);
	kin_start(&k, NULL);
	fd = kin_connect(&k);
	CHECK_EQ(kin_send(fd, &r, sizeof(r)), 0);
	kin_acks(fd, 1);
	CHECK_EQ(kill(k.pid, SIGSTOP), 0);
	r = kin_record(2);
	pid = fork();
	if (!pid) {
		tap_apart();
		kin_send(fd, &r, sizeof(r));
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(kill(k.pid, SIGCONT), 0);
	kin_wait(&k, "SELECT pid FROM apart WHERE why = 'unverified'", pid);
	CHECK_EQ(kin_count(&k, "unverified"), 1);
	CHECK_EQ(kin_count(&k, "forged"), 0);
	CHECK_EQ(kin_ask(&k, ROWS), 1);
	/* that was no answer to it: whose it is may still send it, and is told */
	CHECK_EQ(kin_send(fd, &r, sizeof(r)), 0);
	CHECK(kin_acks(fd, 1) == r.digest);
	CHECK_EQ(kin_ask(&k, ROWS), 2);
	kin_end(&k);
}

/* In a pid namespace of its own a process sees another number: that is true, and
 * what it is here is noted besides. */
static void namespace(void)
{
	int fd, status, from[2];
	struct bez_record r;
	pid_t pid, inner;

	kin_make(&k);
	kin_start(&k, NULL);
	CHECK_EQ(pipe(from), 0);
	pid = fork();
	if (!pid) {
		tap_apart();
		if (unshare(CLONE_NEWPID) &&
		    unshare(CLONE_NEWUSER | CLONE_NEWPID))
			_exit(77);
		inner = fork();
		if (inner) {
			CHECK_EQ(write(from[1], &inner, sizeof(inner)),
				 sizeof(inner));
			waitpid(inner, &status, 0);
			_exit(status ? 1 : 0);
		}
		CHECK_EQ(getpid(), 1);
		fd = kin_connect(&k);
		r = kin_record(5);
		CHECK_EQ(kin_send(fd, &r, sizeof(r)), 0);
		kin_acks(fd, 1);
		/* another number is no more its own than anybody's */
		r.pid = 2;
		kin_close_record(&r);
		CHECK_EQ(kin_send(fd, &r, sizeof(r)), 0);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	if (status == 77 << 8)
		tap_skip("a pid namespace may not be made here: run as root");
	CHECK_EQ(status, 0);
	CHECK_EQ(read(from[0], &inner, sizeof(inner)), sizeof(inner));
	CHECK_EQ(kin_ask(&k, "SELECT own_pid FROM records"), 1);
	CHECK_EQ(kin_ask(&k, "SELECT pid FROM records"), inner);
	kin_wait(&k, "SELECT count(*) FROM apart", 1);
	kin_end(&k);
}

struct bad {
	const char *count;
	size_t bytes;
	size_t changed;			/* a byte of it; 0: none */
	int answered;
};

static const struct bad is_short = { "short", 383, 0, 0 },
	is_empty = { "short", 0, 0, 0 },
	is_long = { "long", 385, 0, 0 },
	is_longer = { "long", 4000, 0, 0 },
	is_damaged = { "damaged", 384, 200, 0 },
	is_magicless = { "damaged", 384, 3, 0 };

/* One that is no record is counted, and the next of the same client is taken. */
static void bad(void)
{
	const struct bad *b = tap_data();
	struct bez_record r = kin_record(1);
	unsigned char bytes[4000] = { 0 };
	int fd;

	kin_make(&k);
	kin_start(&k, NULL);
	fd = kin_connect(&k);
	memcpy(bytes, &r, sizeof(r));
	if (b->changed)
		bytes[b->changed] ^= 1;
	CHECK_EQ(kin_send(fd, bytes, b->bytes), 0);
	r = kin_record(2);
	CHECK_EQ(kin_send(fd, &r, sizeof(r)), 0);
	CHECK(kin_acks(fd, 1) == r.digest);
	CHECK_EQ(kin_count(&k, b->count), 1);
	CHECK_EQ(kin_count(&k, "taken"), 1);
	CHECK_EQ(kin_ask(&k, ROWS), 1);
	kin_end(&k);
}

/* A version that is not known here is kept as it came, and acknowledged. */
struct version {
	uint16_t version, bytes;
};
static const struct version is_newer = { 2, 400 }, is_older = { 0, 200 },
	is_as_long = { 0, BEZ_RECORD_BYTES };

static void another_version(void)
{
	const struct version *v = tap_data();
	unsigned char bytes[BEZ_RECORD_MOST] = { 0 };
	struct bez_record r = kin_record(1);
	uint16_t len = v->bytes;
	uint64_t digest;
	int fd;

	memcpy(bytes, &r, sizeof(r));
	memcpy(bytes + 8, &v->version, 2);
	memcpy(bytes + 10, &len, 2);
	digest = bez_digest(bytes, len - 8);
	memcpy(bytes + len - 8, &digest, 8);
	kin_make(&k);
	kin_start(&k, NULL);
	fd = kin_connect(&k);
	CHECK_EQ(kin_send(fd, bytes, len), 0);
	CHECK(kin_acks(fd, 1) == digest);
	CHECK_EQ(kin_ask(&k, ROWS), 0);
	CHECK_EQ(kin_ask(&k, "SELECT length(raw) FROM apart WHERE "
			 "why = 'version'"), len);
	CHECK_EQ(kin_count(&k, "other version"), 1);
	kin_end(&k);
}

/* Over the limit of one client: dropped, counted, and no other suffers. */
static void flood(void)
{
	int loud, quiet, i, sent = 0;
	struct bez_record r;

	kin_make(&k);
	kin_start(&k, "--rate", "50", NULL);
	loud = kin_connect(&k);
	quiet = kin_connect(&k);
	for (i = 1; i <= 2000; i++) {
		r = kin_record((uint64_t)i);
		sent += !kin_send(loud, &r, sizeof(r));
	}
	r = kin_record(100000);
	CHECK_EQ(kin_send(quiet, &r, sizeof(r)), 0);
	CHECK(kin_acks(quiet, 1) == r.digest);
	/* what was sent is one of the two, to the last packet */
	kin_wait(&k, "SELECT sum(n) FROM counts WHERE name IN ('taken', "
		 "'flood')", sent + 1);
	kin_stop(&k);
	CHECK(kin_count(&k, "flood") > 0);
	CHECK(kin_count(&k, "taken") > 1);
	CHECK_EQ(kin_count(&k, "taken") + kin_count(&k, "flood"), sent + 1);
	CHECK_EQ(kin_ask(&k, ROWS), kin_count(&k, "taken"));
	kin_end(&k);
}

/* Many send at once and read nothing, and end: all that was sent is there. */
static void deaf(void)
{
	enum { CHILDREN = 8, EACH = 100 };
	pid_t pid[CHILDREN];
	int i, j, fd, status;

	kin_make(&k);
	kin_start(&k, "--delay", "1", NULL);
	for (i = 0; i < CHILDREN; i++) {
		pid[i] = fork();
		if (pid[i])
			continue;
		tap_apart();
		fd = kin_connect(&k);
		for (j = 1; j <= EACH; j++) {
			struct bez_record r = kin_record((uint64_t)j);

			CHECK_EQ(send(fd, &r, sizeof(r), MSG_NOSIGNAL),
				 sizeof(r));
		}
		_exit(0);
	}
	for (i = 0; i < CHILDREN; i++) {
		CHECK_EQ(waitpid(pid[i], &status, 0), pid[i]);
		CHECK_EQ(status, 0);
	}
	kin_wait(&k, ROWS, CHILDREN * EACH);
	kin_end(&k);
}

/* An answer that was not read makes an error of the kernel's, in front of what was
 * sent besides. */
static void unread_end(void)
{
	struct pollfd answer = { .events = POLLIN };
	struct bez_record r;
	uint64_t i;

	kin_make(&k);
	kin_start(&k, "--delay", "0", NULL);
	answer.fd = kin_connect(&k);
	for (i = 1; i <= 6; i++) {
		r = kin_record(i);
		CHECK_EQ(kin_send(answer.fd, &r, sizeof(r)), 0);
		if (i > 1)
			continue;
		CHECK_EQ(poll(&answer, 1, -1), 1);
		CHECK_EQ(kill(k.pid, SIGSTOP), 0);
	}
	close(answer.fd);
	CHECK_EQ(kill(k.pid, SIGCONT), 0);
	/* who comes later is served later */
	answer.fd = kin_connect(&k);
	r = kin_record(7);
	CHECK_EQ(kin_send(answer.fd, &r, sizeof(r)), 0);
	kin_acks(answer.fd, 1);
	kin_stop(&k);
	CHECK_EQ(kin_ask(&k, ROWS), 7);
	kin_end(&k);
}

/* Nobody who waits for answers waits for one who does not read them. */
static void unread(void)
{
	int deaf_one, other, i;
	struct bez_record r;

	kin_make(&k);
	kin_start(&k, "--delay", "0", NULL);
	deaf_one = kin_connect(&k);
	other = kin_connect(&k);
	for (i = 1; !kin_count(&k, "acknowledgements dropped"); i++) {
		r = kin_record((uint64_t)i);
		CHECK_EQ(send(deaf_one, &r, sizeof(r), 0), sizeof(r));
		r.id = (uint64_t)i << 32;
		kin_close_record(&r);
		CHECK_EQ(kin_send(other, &r, sizeof(r)), 0);
		CHECK(kin_acks(other, 1) == r.digest);
	}
	kin_wait(&k, ROWS, 2 * (i - 1));
	kin_end(&k);
}

/* Where there are too many, one goes that has sent nothing for the longest time. */
static void crowd(void)
{
	int fd[5], i;
	struct bez_record r;
	char byte;

	kin_make(&k);
	kin_start(&k, "--clients", "4", NULL);
	for (i = 0; i < 4; i++) {
		fd[i] = kin_connect(&k);
		r = kin_record((uint64_t)i + 1);
		/* the last one to come has to be in before it counts */
		CHECK_EQ(kin_send(fd[i], &r, sizeof(r)), 0);
		kin_acks(fd[i], 1);
	}
	r = kin_record(9);
	CHECK_EQ(kin_send(fd[0], &r, sizeof(r)), 0);
	kin_acks(fd[0], 1);
	fd[4] = kin_connect(&k);
	r = kin_record(10);
	CHECK_EQ(kin_send(fd[4], &r, sizeof(r)), 0);
	kin_acks(fd[4], 1);
	CHECK_EQ(recv(fd[1], &byte, 1, 0), 0);
	for (i = 0; i < 5; i++) {
		if (i == 1)
			continue;
		r = kin_record((uint64_t)i + 20);
		CHECK_EQ(kin_send(fd[i], &r, sizeof(r)), 0);
		kin_acks(fd[i], 1);
	}
	CHECK(kin_count(&k, "connections closed") >= 1);
	kin_end(&k);
}

static void put(int fd, uint64_t id)
{
	struct bez_record r = kin_record(id);

	CHECK_EQ(kin_send(fd, &r, sizeof(r)), 0);
	kin_acks(fd, 1);
}

/* There are fewer descriptors than that takes, and can be no more. */
static void few_descriptors(void)
{
	enum { MOST = 120, MANY = 100 };
	const struct rlimit few = { MOST, MOST };
	int i;

	kin_make(&k);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
	kin_start(&k, NULL);
	for (i = 0; i < MANY; i++)
		put(kin_connect(&k), (uint64_t)i + 1);
	CHECK_EQ(kin_ask(&k, ROWS), MANY);
	kin_wait(&k, "SELECT n > 50 FROM counts WHERE name = 'connections closed'", 1);
	kin_end(&k);
}

/* Who is closed for another has sent something that nobody has read yet. */
static void crowd_unread(void)
{
	struct bez_record r;
	int fd[4], i, status;

	kin_make(&k);
	kin_start(&k, "--clients", "4", NULL);
	for (i = 0; i < 4; i++)
		put(fd[i] = kin_connect(&k), (uint64_t)i + 1);
	CHECK_EQ(kill(k.pid, SIGSTOP), 0);
	CHECK_EQ(waitpid(k.pid, &status, WUNTRACED), k.pid);
	/* in this order it hears of it, too */
	CHECK(kin_connect(&k) >= 0);
	r = kin_record(9);
	CHECK_EQ(kin_send(fd[0], &r, sizeof(r)), 0);
	CHECK_EQ(kill(k.pid, SIGCONT), 0);
	kin_wait(&k, ROWS, 5);
	kin_wait(&k, "SELECT n FROM counts WHERE name = 'connections closed'", 1);
	kin_end(&k);
}

/* Another user, who is connected. */
struct other {
	pid_t pid;
	int go, done;
};

static struct other connected(uid_t uid)
{
	int go[2], done[2], fd, i = 0;
	struct other o;
	char c;

	CHECK_EQ(pipe(go), 0);
	CHECK_EQ(pipe(done), 0);
	o = (struct other){ fork(), go[1], done[0] };
	if (!o.pid) {
		close(go[1]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		tap_apart();
		CHECK_EQ(setuid(uid), 0);
		fd = kin_connect(&k);
		while (read(go[0], &c, 1) == 1) {
			put(fd, (uint64_t)++i);
			CHECK_EQ(write(done[1], &c, 1), 1);
		}
		_exit(0);
	}
	close(go[0]);
	close(done[1]);
	return o;
}

/* It sends one, and has an answer. 0: it has none, as it is not connected any more. */
static int sends(const struct other *o)
{
	char c = 0;

	CHECK_EQ(write(o->go, &c, 1), 1);
	return read(o->done, &c, 1) == 1;
}

static void begin_crowd(const char *clients)
{
	if (getuid())
		tap_skip("several users are wanted: run as root");
	kin_make(&k);
	CHECK_EQ(chmod(k.folder, 0755), 0);
	kin_start(&k, "--clients", clients, NULL);
}

/* Whoever takes all of them loses his own, and closes none of another's, however long that
 * has been silent. */
static void crowd_of_one(void)
{
	struct other quiet;
	int i;

	begin_crowd("4");
	quiet = connected(65534);
	CHECK(sends(&quiet));
	for (i = 0; i < 8; i++)
		put(kin_connect(&k), (uint64_t)i + 1);
	CHECK(sends(&quiet));
	CHECK_EQ(kin_ask(&k, ROWS " WHERE uid = 65534"), 2);
	kin_wait(&k, "SELECT n >= 5 FROM counts WHERE name = "
		 "'connections closed'", 1);
	kin_end(&k);
}

/* Where all have as many it is who has been silent for the longest time, whichever of them
 * that is. */
static void crowd_of_all(void)
{
	enum { ALL = 3 };
	struct other all[ALL], last;
	int silent, i;

	for (silent = 0; silent < ALL; silent++) {
		begin_crowd("3");
		for (i = 0; i < ALL; i++) {
			all[i] = connected(65534 - (uid_t)i);
			CHECK(sends(&all[i]));
		}
		for (i = 0; i < ALL; i++)
			CHECK(i == silent || sends(&all[i]));
		last = connected(65534 - ALL);
		CHECK(sends(&last));
		for (i = 0; i < ALL; i++)
			CHECK_EQ(sends(&all[i]), i != silent);
		kin_end(&k);
	}
}

static const struct tap_case cases[] = {
	{ .name = "what is acknowledged survives, and is there once",
	  .run = acknowledged },
	{ .name = "an abstract name", .run = abstract },
	{ .name = "a child is told from its parent", .run = child },
	{ .name = "a child that is gone", .run = gone_child },
	{ .name = "a pid of another namespace", .run = namespace },
	{ .name = "a short packet", .run = bad, .data = &is_short },
	{ .name = "an empty packet", .run = bad, .data = &is_empty },
	{ .name = "a long packet", .run = bad, .data = &is_long },
	{ .name = "a much longer packet", .run = bad, .data = &is_longer },
	{ .name = "a wrong digest", .run = bad, .data = &is_damaged },
	{ .name = "no magic", .run = bad, .data = &is_magicless },
	{ .name = "a newer version is kept raw", .run = another_version,
	  .data = &is_newer },
	{ .name = "an older version is, too", .run = another_version,
	  .data = &is_older },
	{ .name = "an older one that is as long", .run = another_version,
	  .data = &is_as_long },
	{ .name = "a flood", .run = flood },
	{ .name = "who ends without reading answers loses nothing",
	  .run = deaf },
	{ .name = "nor where an answer was there", .run = unread_end },
	{ .name = "who reads no answers delays nobody", .run = unread },
	{ .name = "too many connections", .run = crowd },
	{ .name = "too many connections for the descriptors",
	  .run = few_descriptors },
	{ .name = "too many connections, and one is not read",
	  .run = crowd_unread },
	{ .name = "too many connections of one user", .run = crowd_of_one },
	{ .name = "too many connections, one of each user",
	  .run = crowd_of_all },
};
TAP_MAIN(cases)
