/* SPDX-License-Identifier: MIT */
/* The next of kin is told of a shutdown, however it wants to hear of it; and
 * where a shutdown is none. */
#define _GNU_SOURCE
#include <bezoar/record.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuse_eio.h"
#include "live.h"
#include "replace_see.h"

#define STATUS 71

static int ours, his;			/* ends of what he is told by */
static unsigned char *at;
static size_t page;

static void begin(uint32_t rate)
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;

	page = live_page();
	options.flags = BEZ_START_SHUTDOWN_EXIT | BEZ_START_NO_EARLY_KILL;
	options.shutdown_status = STATUS;
	options.kin_fd = his;
	if (rate) {
		options.record_fd = ours;
		options.record_rate = rate;
	}
	CHECK_EQ(bez_start(&options), 0);
	policy.actions[0] = BEZ_ACTION_SHUTDOWN;
	policy.name = "the \"heart\"\n";
	at = live_pages(1);
	CHECK_EQ(bez_region_add(at, page, &policy, &region), 0);
}

static void lose(void)
{
	live_poison(at);
	live_read(at + 7);
	_exit(1);
}

static void die(void)
{
	begin(0);
	lose();
}

static void expect_end(void (*child)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		/* one that does not end goes with us */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		tap_apart();
		child();
		_exit(2);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECKF(WIFEXITED(status) && WEXITSTATUS(status) == STATUS, "%x",
	       status);
}

static void expect_record(uint32_t outcome)
{
	struct bez_record r;

	CHECK_EQ(read(ours, &r, sizeof(r)), sizeof(r));
	CHECK_EQ(r.digest, bez_digest(&r, sizeof(r) - 8));
	CHECK_EQ(r.outcome, outcome);
	CHECK(!strcmp(r.name, "the \"heart\"\n"));
	CHECK(r.pid && r.start_ticks);
}

static void by_pipe(void)
{
	int ends[2];

	CHECK_EQ(pipe(ends), 0);
	ours = ends[0];
	his = ends[1];
	expect_end(die);
	expect_record(BEZ_OUTCOME_SHUTDOWN_BEGUN);
	expect_record(BEZ_OUTCOME_SHUTDOWN);
}

static void by_socket(void)
{
	int ends[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	ours = ends[0];
	his = ends[1];
	expect_end(die);
	expect_record(BEZ_OUTCOME_SHUTDOWN_BEGUN);
	expect_record(BEZ_OUTCOME_SHUTDOWN);
}

static void by_eventfd(void)
{
	uint64_t n = 0;

	his = eventfd(0, EFD_NONBLOCK);
	CHECK(his > 0);
	expect_end(die);
	CHECK_EQ(read(his, &n, sizeof(n)), sizeof(n));
	CHECK_EQ(n, 2);		/* it began, it came to its end */
}

/* A pipe that nobody empties keeps nobody. */
static void full_pipe(void)
{
	char bytes[4096] = "";
	int ends[2];

	CHECK_EQ(pipe(ends), 0);
	CHECK(fcntl(ends[1], F_SETPIPE_SZ, 4096) > 0);
	CHECK_EQ(write(ends[1], bytes, 4096), 4096);
	his = ends[1];
	expect_end(die);
}

static int disk;

static void lose_on_a_disk(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region;

	options.flags = BEZ_START_SHUTDOWN_EXIT | BEZ_START_NO_EARLY_KILL;
	options.shutdown_status = STATUS;
	options.kin_fd = his;
	if (tap_data())
		options.record_text_fd = disk;
	else
		options.record_fd = disk;
	CHECK_EQ(bez_start(&options), 0);
	policy.actions[0] = BEZ_ACTION_SHUTDOWN;
	policy.name = "the \"heart\"\n";
	at = live_pages(1);
	CHECK_EQ(bez_region_add(at, live_page(), &policy, &region), 0);
	lose();
}

/* He hears of it while the disk of the record hangs; and the end waits for the
 * record. */
static void a_disk_that_hangs(void)
{
	int ends[2], status;
	struct pollfd told;
	pid_t pid;

	disk = fuse_hang_open();
	CHECK_EQ(pipe(ends), 0);
	ours = ends[0];
	his = ends[1];
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		tap_apart();
		lose_on_a_disk();
	}
	close(his);
	told = (struct pollfd){ .fd = ours, .events = POLLIN };
	CHECKF(poll(&told, 1, 10000 * (int)tap_patience()) == 1,
	       "he was not told");
	expect_record(BEZ_OUTCOME_SHUTDOWN_BEGUN);
	CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
	fuse_gone();			/* and now a write fails */
	expect_record(BEZ_OUTCOME_SHUTDOWN);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECKF(WIFEXITED(status) && WEXITSTATUS(status) == STATUS, "%x",
	       status);
}

enum how { FORK, VFORK, CLONE, NAMESPACE };

static const enum how by_fork = FORK, by_vfork = VFORK, by_clone = CLONE,
		      by_namespace = NAMESPACE;

/* The service is who called bez_start(). */
static void child_dies(void)
{
	int status;
	enum how how = *(const enum how *)tap_data();
	pid_t pid;

	begin(0);
	live_poison(at);
	/* it has the number of its parent then, 1 */
	if (how == NAMESPACE)
		CHECK_EQ(unshare(CLONE_NEWPID), 0);
	pid = how == FORK || how == NAMESPACE ? fork() : how == VFORK ? vfork() : _Fork();
	if (!pid) {
		live_read(at + 7);
		_exit(1);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, STATUS << 8);
	CHECK_EQ(recv(ours, &status, sizeof(status), MSG_DONTWAIT), -1);
	live_read(at + 7);
	_exit(1);
}

static void listen_at(const char *name)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t len = strlen(name);

	memcpy(to.sun_path, name, len);
	if (name[0] == '@')
		to.sun_path[0] = '\0';
	ours = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	CHECK(ours >= 0);
	CHECK_EQ(bind(ours, (struct sockaddr *)&to,
		      (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				  len)), 0);
	CHECK_EQ(setenv("NOTIFY_SOCKET", name, 1), 0);
}

/* The records of a child's end, and then its parent's, tell the two apart; but
 * for the two that are called 1. */
static void expect_two_ends(int fd, enum how how)
{
	struct bez_record r[4];
	uint32_t bare = how == VFORK || how == CLONE ? BEZ_RECORD_BARE_CHILD :
						       0;

	CHECK_EQ(read(fd, r, sizeof(r)), sizeof(r));
	CHECK_EQ(r[0].pid, r[1].pid);
	CHECK_EQ(r[2].pid, r[3].pid);
	CHECKF((r[0].pid == r[2].pid) == (how == NAMESPACE), "%d and %d",
	       (int)r[0].pid, (int)r[2].pid);
	CHECK_EQ(r[0].flags & BEZ_RECORD_BARE_CHILD, bare);
	CHECK_EQ(r[1].flags & BEZ_RECORD_BARE_CHILD, bare);
	CHECK_EQ((r[2].flags | r[3].flags) & BEZ_RECORD_BARE_CHILD, 0);
}

/* A child that ends is not the end of the service. */
static void not_of_a_child(void)
{
	enum how how = *(const enum how *)tap_data();
	char name[64], text[512];
	int ends[2];

	snprintf(name, sizeof(name), "@bezoar-child-%d", (int)getpid());
	listen_at(name);
	CHECK_EQ(pipe2(ends, O_NONBLOCK), 0);
	his = ends[1];
	/* what we make from now on is as the first process of a container */
	if (how == NAMESPACE && unshare(CLONE_NEWPID))
		tap_skip("no pid namespaces here: %s", strerror(errno));
	expect_end(child_dies);
	/* but its parent's is */
	CHECK(recv(ours, text, sizeof(text), 0) > 0);
	CHECK(recv(ours, text, sizeof(text), 0) > 0);
	CHECK_EQ(recv(ours, text, sizeof(text), 0), -1);
	expect_two_ends(ends[0], how);
}

/* $NOTIFY_SOCKET: @name, at an abstract address if it begins with @. */
static void by_notify(void)
{
	char name[100], text[512], want[64];
	int i;

	snprintf(name, sizeof(name), "%s-%d", (const char *)tap_data(),
		 (int)getpid());
	listen_at(name);
	his = 0;
	expect_end(die);
	if (name[0] != '@')
		unlink(name);
	for (i = 0; i < 2; i++) {
		memset(text, 0, sizeof(text));
		CHECK(recv(ours, text, sizeof(text) - 1, 0) > 0);
		CHECKF(!strncmp(text, "STOPPING=1\nERRNO=133\n"
				"STATUS=lost memory at 0x", 45), "%s", text);
		snprintf(want, sizeof(want), ", region \"the ?heart??\": %s\n",
			 bez_outcome_name(i ? BEZ_OUTCOME_SHUTDOWN :
					      BEZ_OUTCOME_SHUTDOWN_BEGUN));
		CHECKF(strstr(text, want) &&
		       strlen(strstr(text, want)) == strlen(want), "%s", text);
	}
	CHECK_EQ(recv(ours, text, sizeof(text), 0), -1);
}

/* Nobody listens, or it is no address at all: the end comes all the same. */
static void nobody_listens(void)
{
	static const char *const names[] = {
		"/nowhere/at/all", "@bezoar-nobody", "vsock:2:1", "", "/", "x",
	};
	char long_name[300];
	size_t i;

	his = 0;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		CHECK_EQ(setenv("NOTIFY_SOCKET", names[i], 1), 0);
		expect_end(die);
	}
	/* longer than any address */
	memset(long_name, 'x', sizeof(long_name));
	long_name[0] = '/';
	long_name[299] = '\0';
	CHECK_EQ(setenv("NOTIFY_SOCKET", long_name, 1), 0);
	expect_end(die);
}

static void rare(void)
{
	struct bez_source from;
	unsigned char *other = live_pages(1), *copy = live_pages(1);

	begin(1);
	from = bez_source_mirror(copy);
	live_region(other, page, &from, "");
	live_poison(other);
	live_read(other);		/* this second's record */
	lose();
}

/* The last records are of more worth than any rate. */
static void beyond_the_rate(void)
{
	int i;

	his = 0;
	for (i = 0; i < 3; i++) {
		struct bez_record r;

		ours = memfd_create("records", 0);
		expect_end(rare);
		lseek(ours, sizeof(r), SEEK_SET);
		expect_record(BEZ_OUTCOME_SHUTDOWN_BEGUN);
		expect_record(BEZ_OUTCOME_SHUTDOWN);
		close(ours);
	}
}

/* ---------------------------------------------------------- what is refused */

static void bad_options(void)
{
	struct bez_options o = BEZ_OPTIONS_INIT;

	o.kin_fd = -1;
	CHECK_EQ(bez_start(&o), -EBADF);
	o.kin_fd = epoll_create1(0);
	CHECK(o.kin_fd > 0);
	CHECK_EQ(bez_start(&o), -EINVAL);
	o.kin_fd = 0;
	o.record_fd = eventfd(0, 0);	/* a record is no number */
	CHECK_EQ(bez_start(&o), -EINVAL);
	o.record_fd = 0;
	o.shutdown_status = 256;
	CHECK_EQ(bez_start(&o), -EINVAL);
	o.shutdown_status = 255;
	CHECK_EQ(bez_start(&o), 0);
	CHECK_EQ(bez_stop(), 0);
}

static void nothing(const struct bez_event *loss, void *arg)
{
	(void)loss;
	(void)arg;
}

static volatile int in_handler = 1;

static int fill(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)offset;
	(void)arg;
	in_handler = bez_shutdown_hook(nothing, NULL);
	memset(dst, 1, len);
	return 0;
}

static void hooks(void)
{
	struct bez_source from = bez_source_callback(fill, NULL);
	int i;

	page = live_page();
	see_install();			/* says why, if it is not replaced */
	CHECK_EQ(bez_shutdown_hook(nothing, NULL), -ESRCH);
	live_start(0);
	CHECK_EQ(bez_shutdown_hook(NULL, NULL), -EINVAL);
	for (i = 0; i < BEZ_HOOKS_MAX; i++)
		CHECK_EQ(bez_shutdown_hook(nothing, NULL), 0);
	CHECK_EQ(bez_shutdown_hook(nothing, NULL), -ENOSPC);
	CHECK_EQ(bez_stop(), 0);
	/* an early notice would have it mended before it is met, and lost again */
	live_start(BEZ_START_NO_EARLY_KILL);
	CHECK_EQ(bez_shutdown_hook(nothing, NULL), 0);	/* begins anew */
	at = live_pages(1);
	live_region(at, page, &from, "");
	live_poison(at);
	live_read(at);
	CHECK_EQ(in_handler, -EDEADLK);
}

/* The mirror's loss would be the end, but the second source has the page. */
static void in_a_source(void)
{
	struct bez_source list[2], from;
	struct bez_policy policy = BEZ_POLICY_INIT;
	unsigned char *mirror;
	struct bez_event e;
	bez_region_t region;
	uint64_t seq = 0;

	his = 0;
	begin(0);
	mirror = live_pages(1);
	list[0] = bez_source_mirror(mirror);
	list[1] = bez_source_mirror(live_pages(1));
	from = bez_source_first_of(list, 2);
	policy.actions[0] = BEZ_ACTION_SHUTDOWN;
	CHECK_EQ(bez_region_add(mirror, page, &policy, &region), 0);
	at = live_pages(1);
	live_region(at, page, &from, "");
	live_poison(mirror);
	live_poison(at);
	CHECK_EQ(live_wrong(at, page, 0), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_SHUTDOWN_INSIDE), 1);
	CHECK_EQ(bez_events(&seq, &e, 1), 1);
	CHECK_EQ(e.outcome, BEZ_OUTCOME_DEFAULT);
	CHECK_EQ(e.why, BEZ_OUTCOME_SHUTDOWN_INSIDE);
}

static const struct tap_case cases[] = {
	{ .name = "by a pipe", .run = by_pipe },
	{ .name = "by a socket", .run = by_socket },
	{ .name = "by an eventfd", .run = by_eventfd },
	{ .name = "a full pipe", .run = full_pipe },
	{ .name = "a disk that hangs", .run = a_disk_that_hangs },
	{ .name = "a disk that hangs, for the text", .run = a_disk_that_hangs,
	  .data = "" },
	{ .name = "by $NOTIFY_SOCKET", .run = by_notify,
	  .data = "/tmp/bezoar-notify" },
	{ .name = "by $NOTIFY_SOCKET, abstract", .run = by_notify,
	  .data = "@bezoar-notify" },
	{ .name = "not by a child of fork", .run = not_of_a_child,
	  .data = &by_fork },
	{ .name = "not by a child of vfork", .run = not_of_a_child,
	  .data = &by_vfork },
	{ .name = "not by a child of a bare clone", .run = not_of_a_child,
	  .data = &by_clone },
	{ .name = "not by a child that is called 1, too", .run = not_of_a_child,
	  .data = &by_namespace },
	{ .name = "nobody listens", .run = nobody_listens },
	{ .name = "beyond the rate", .run = beyond_the_rate },
	{ .name = "bad options", .run = bad_options },
	{ .name = "hooks that are refused", .run = hooks },
	{ .name = "a loss in a source is that source's", .run = in_a_source },
};
TAP_MAIN(cases)
