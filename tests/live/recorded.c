/* SPDX-License-Identifier: MIT */
/* Each outcome leaves a record where the program wants it, and no repair waits
 * for that or fails of it. */
#define _GNU_SOURCE
#include <bezoar/record.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "live.h"

#define PAGES 8

static unsigned char *at, *copy;
static size_t page;
static int in, out;			/* where records come out, and go in */

enum to { TO_FILE, TO_PIPE, TO_STREAM, TO_DATAGRAM };

static const enum to to_file = TO_FILE, to_pipe = TO_PIPE,
		     to_stream = TO_STREAM, to_datagram = TO_DATAGRAM;

static void open_to(enum to to)
{
	int both[2];

	switch (to) {
	case TO_FILE:
		in = out = memfd_create("records", MFD_CLOEXEC);
		CHECK(in > 0);
		return;
	case TO_PIPE:
		CHECK_EQ(pipe(both), 0);
		break;
	default:
		CHECK_EQ(socketpair(AF_UNIX, to == TO_STREAM ? SOCK_STREAM :
				    SOCK_DGRAM, 0, both), 0);
		break;
	}
	in = both[0];
	out = both[1];
}

static int start(int text)
{
	struct bez_options options = BEZ_OPTIONS_INIT;

	/* a notice leaves records of its own */
	options.flags = BEZ_START_NO_EARLY_KILL;
	options.record_fd = out;
	options.record_text_fd = text;
	options.record_rate = UINT32_MAX;
	return bez_start(&options);
}

static bez_region_t prepare(enum to to)
{
	struct bez_source from;

	page = live_page();
	open_to(to);
	at = live_pages(PAGES);
	copy = live_pages(PAGES);
	from = bez_source_mirror(copy);
	CHECK_EQ(start(0), 0);
	return live_region(at, PAGES * page, &from, "the table");
}

static struct bez_record next_record(void)
{
	struct bez_record r;

	memset(&r, 0, sizeof(r));
	CHECK_EQ(read(in, &r, sizeof(r)), sizeof(r));
	CHECK(!memcmp(r.magic, BEZ_RECORD_MAGIC, sizeof(r.magic)));
	CHECK_EQ(r.version, BEZ_RECORD_VERSION);
	CHECK_EQ(r.bytes, sizeof(r));
	CHECK_EQ(r.digest, bez_digest(&r, sizeof(r) - sizeof(r.digest)));
	return r;
}

static struct bez_status status_now(void)
{
	struct bez_status s = { .size = sizeof(s) };

	CHECK_EQ(bez_status(&s), 0);
	return s;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	CHECK_EQ(clock_gettime(clock, &ts), 0);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Of a record and the event of the same number. */
static void same_as_event(const struct bez_record *r)
{
	struct bez_event e;
	uint64_t seq = r->id - 1;

	CHECK_EQ(bez_events(&seq, &e, 1), 1);
	CHECK_EQ(e.seq, r->id);
	CHECK_EQ(e.time_ns, r->mono_ns);
	CHECK_EQ(e.addr, r->addr);
	CHECK_EQ(e.width, r->width);
	CHECK_EQ(e.region, r->region);
	CHECK_EQ(e.tid, r->tid);
	CHECK_EQ(e.si_code, r->si_code);
	CHECK_EQ(e.cause, r->cause);
	CHECK_EQ(e.outcome, r->outcome);
	CHECK_EQ(e.action, r->action);
	CHECK_EQ(e.source, r->source);
	CHECK_EQ(e.why, r->why);
	CHECK_EQ(e.depth, r->depth);
	CHECK(e.took_ns <= r->took_ns);
	CHECK(!memcmp(e.name, r->name, sizeof(e.name)));
}

/* On every kind of descriptor: what a replacement leaves. */
static void replaced(void)
{
	uint64_t mono, wall, boot;
	struct bez_record r;
	bez_region_t region = prepare(*(const enum to *)tap_data());
	size_t i;

	mono = clock_ns(CLOCK_MONOTONIC);
	wall = clock_ns(CLOCK_REALTIME);
	boot = clock_ns(CLOCK_BOOTTIME);
	for (i = 0; i < PAGES; i++) {
		live_poison(at + i * page);
		CHECK_EQ(live_read(at + i * page + 5),
			 live_byte(i * page + 5, 0));
	}
	CHECK_EQ(status_now().records, PAGES);
	CHECK_EQ(status_now().records_dropped, 0);
	lseek(in, 0, SEEK_SET);
	for (i = 0; i < PAGES; i++) {
		r = next_record();
		same_as_event(&r);
		CHECK_EQ(r.outcome, BEZ_OUTCOME_REPLACED);
		CHECK_EQ(r.action, BEZ_ACTION_REPLACE);
		CHECK_EQ(r.source, BEZ_SOURCE_MIRROR);
		CHECK_EQ(r.region, region);
		CHECK_EQ(r.addr & -page, (uint64_t)(at + i * page));
		CHECK_EQ(r.offset, r.addr - (uint64_t)at);
		CHECK_EQ(r.width, page);
		CHECK_EQ(r.si_code, live_code());
		CHECK(!strcmp(r.name, "the table"));
		CHECK_EQ(r.pid, getpid());
		CHECK_EQ(r.replaced, i + 1);
		CHECK_EQ(r.faults, i + 1);
		CHECK(r.mono_ns > mono && r.wall_ns > wall && r.boot_ns > boot);
		CHECK(r.took_ns && r.took_ns < 60000000000u);
		CHECK(r.ip);
		CHECKF(!(r.flags & BEZ_RECORD_HAS_FRAME) == !r.frame,
		       "frame %llx", (unsigned long long)r.frame);
		/* a marker has none; the tests of real poison are root's */
		CHECK_EQ(r.frame != 0, live_is_real());
	}
}

/* ------------------------------------------------------- the other outcomes */

static uint64_t his_ip, his_addr;

static void former(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
#if defined(__x86_64__)
	his_ip = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
#else
	his_ip = uc->uc_mcontext.pc;
#endif
	his_addr = (uint64_t)info->si_addr;
	CHECK(mmap((void *)(his_addr & -page), page, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
	      MAP_FAILED);
}

/* A loss in no region, one in a region without a source, a signal that was sent. */
static void others(void)
{
	struct sigaction action = { .sa_sigaction = former,
				    .sa_flags = SA_SIGINFO };
	struct bez_record r;
	unsigned char *stray;

	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
	prepare(TO_FILE);
	stray = live_pages(1);
	live_region(live_pages(1), page, NULL, "poor");
	live_poison(stray);
	live_read(stray + 9);
	lseek(in, 0, SEEK_SET);
	do
		r = next_record();
	while (r.outcome == BEZ_OUTCOME_ASKED_AGAIN);
	same_as_event(&r);
	CHECK_EQ(r.outcome, BEZ_OUTCOME_FOREIGN);
	CHECK_EQ(r.addr, his_addr);
	CHECK_EQ(r.ip, his_ip);
	CHECK_EQ(r.region, 0);
	CHECK_EQ(r.name[0], 0);
	CHECK_EQ(r.foreign, 1);
}

static void no_source(void)
{
	struct sigaction action = { .sa_sigaction = former,
				    .sa_flags = SA_SIGINFO };
	struct bez_record r;
	unsigned char *poor;

	CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
	prepare(TO_FILE);
	poor = live_pages(1);
	live_region(poor, page, NULL, "poor");
	live_poison(poor);
	live_read(poor);
	lseek(in, 0, SEEK_SET);
	r = next_record();
	same_as_event(&r);
	CHECK_EQ(r.outcome, BEZ_OUTCOME_DEFAULT);
	CHECK_EQ(r.why, BEZ_OUTCOME_SOURCE_NONE);
	CHECK_EQ(r.not_replaced, 1);
	CHECK(!strcmp(r.name, "poor"));
}

/* Not a fault at all: bez_recover(). */
static void recovered(void)
{
	struct bez_record r;

	prepare(TO_FILE);
	live_poison(at);
	CHECK_EQ(bez_recover(at, page), 0);
	lseek(in, 0, SEEK_SET);
	r = next_record();
	same_as_event(&r);
	CHECK_EQ(r.cause, BEZ_CAUSE_RECOVER);
	CHECK_EQ(r.outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(r.ip, 0);
}

/* Of the next record. */
static void expect(uint32_t outcome, uint32_t cause, size_t lost)
{
	struct bez_record r = next_record();

	same_as_event(&r);
	CHECKF(r.outcome == outcome, "%s, not %s",
	       bez_outcome_name((enum bez_outcome)r.outcome),
	       bez_outcome_name((enum bez_outcome)outcome));
	CHECK_EQ(r.cause, cause);
	CHECK_EQ(r.addr & -page, (uint64_t)(at + lost * page));
	CHECK_EQ(r.width, page);
	CHECK(!strcmp(r.name, "left"));
	CHECK_EQ(r.why, cause == BEZ_CAUSE_SAID ? BEZ_OUTCOME_NONE :
						  BEZ_OUTCOME_SOURCE_NONE);
	CHECK_EQ(r.action, BEZ_ACTION_DEGRADE);
	/* also where the event saved itself the clock */
	CHECK(r.took_ns != 0 && r.took_ns < 60000000000u);
	CHECK(r.wall_ns && r.boot_ns && r.mono_ns);
}

/* What is left: by a jump, the first time and again; by a copy; by what a system
 * call met; because its owner says so. Each event has a record. */
static void left(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	volatile int caught = 0;
	unsigned char to[8];
	struct bez_event e;
	bez_region_t region;
	uint64_t seq = 0;
	uint32_t cause;
	int i;

	prepare(TO_FILE);
	at = live_pages(PAGES);
	policy.name = "left";
	policy.actions[0] = BEZ_ACTION_REPLACE;
	policy.actions[1] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(at, PAGES * page, &policy, &region), 0);
	for (i = 0; i < 3; i++)
		live_poison(at + (size_t)i * page);
	for (i = 0; i < 2; i++)
		BEZ_TRY {
			live_read(at + 5);
		} BEZ_CATCH(lost) {
			caught += lost->addr == at;
		}
	CHECK_EQ(caught, 2);
	CHECK_EQ(bez_copy(to, at + page, sizeof(to)), sizeof(to));
	CHECK_EQ(bez_recover(at + 2 * page, page), -EFAULT);
	CHECK_EQ(bez_lost_add(at + 3 * page, page), 0);
	lseek(in, 0, SEEK_SET);
	cause = live_is_real() ? BEZ_CAUSE_POISON_AR : BEZ_CAUSE_ADRERR;
	expect(BEZ_OUTCOME_UNWOUND, cause, 0);
	expect(BEZ_OUTCOME_UNWOUND, cause, 0);
	expect(BEZ_OUTCOME_COPY_SHORT, cause, 1);
	expect(BEZ_OUTCOME_DEGRADED, BEZ_CAUSE_RECOVER, 2);
	expect(BEZ_OUTCOME_DEGRADED, BEZ_CAUSE_SAID, 3);
	while (bez_events(&seq, &e, 1) == 1)
		continue;
	CHECK_EQ(status_now().records, seq);
	CHECK_EQ(lseek(in, 0, SEEK_END), (off_t)(seq * sizeof(struct bez_record)));
}

/* The last one before the process dies. */
static void dies(void)
{
	struct bez_record r;
	int status;
	pid_t pid;

	open_to(TO_FILE);
	page = live_page();
	pid = fork();
	if (!pid) {
		unsigned char *poor = live_pages(1);

		tap_apart();
		CHECK_EQ(start(0), 0);
		live_region(poor, page, NULL, "poor");
		live_poison(poor);
		live_read(poor);
		_exit(1);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	lseek(in, 0, SEEK_SET);
	r = next_record();
	CHECK_EQ(r.outcome, BEZ_OUTCOME_DEFAULT);
	CHECK_EQ(r.pid, pid);
}

static void child_of_fork(void)
{
	struct bez_record ours, his;
	int status;
	pid_t pid;

	prepare(TO_FILE);
	live_poison(at);
	live_read(at);
	/* a start in another tick of the clock (field 22: 100 a second) */
	while (clock_ns(CLOCK_BOOTTIME) / 10000000 ==
	       clock_ns(CLOCK_BOOTTIME) / 10000000)
		continue;
	pid = fork();
	if (!pid) {
		tap_apart();
		live_poison(at + page);
		CHECK_EQ(live_read(at + page), live_byte(page, 0));
		CHECK_EQ(status_now().records, 1);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	lseek(in, 0, SEEK_SET);
	ours = next_record();
	his = next_record();
	CHECK_EQ(ours.pid, getpid());
	CHECK_EQ(his.pid, pid);
	CHECK_EQ(his.tid, pid);
	CHECK_EQ(his.flags & BEZ_RECORD_BARE_CHILD, 0);
	CHECK_EQ(his.id, 1);
	CHECKF(his.start_ticks > ours.start_ticks, "%llu, %llu",
	       (unsigned long long)his.start_ticks,
	       (unsigned long long)ours.start_ticks);
	CHECK_EQ(his.frame != 0, live_is_real());
}

/* ---------------------------------------------------- it is in nobody's way */

static void lose_all(void)
{
	size_t i;

	for (i = 0; i < PAGES; i++) {
		live_poison(at + i * page);
		CHECK_EQ(live_read(at + i * page), live_byte(i * page, 0));
	}
	CHECK_EQ(live_wrong(at, PAGES * page, 0), 0);
}

/* The program's own end of the pipe would wait for ever. */
static void full_pipe(void)
{
	prepare(TO_PIPE);
	CHECK(fcntl(out, F_SETPIPE_SZ, 4096) > 0);
	CHECK_EQ(write(out, copy, 4096), 4096);
	lose_all();
	CHECK_EQ(status_now().replaced, PAGES);
	CHECK_EQ(status_now().records, 0);
	CHECK_EQ(status_now().records_dropped, PAGES);
	CHECK(!(fcntl(out, F_GETFL) & O_NONBLOCK));
}

/* SIGPIPE is deadly, and nobody wrote but us. */
static void no_reader(void)
{
	CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
	prepare(*(const enum to *)tap_data());
	close(in);
	lose_all();
	CHECK_EQ(status_now().replaced, PAGES);
	CHECK_EQ(status_now().records_dropped, PAGES);
}

static void closed_by_program(void)
{
	int other, i;
	struct stat st;

	prepare(TO_FILE);
	other = memfd_create("other", 0);
	CHECK(other >= 0);
	for (i = 0; i < PAGES; i++)
		live_poison(at + (size_t)i * page);
	for (i = 3; i < 1010; i++)	/* it may need one more itself */
		if (i != other)
			dup2(other, i);
	CHECK_EQ(live_wrong(at, PAGES * page, 0), 0);
	CHECK_EQ(fstat(other, &st), 0);
	CHECK_EQ(st.st_size, 0);
	CHECK_EQ(status_now().records_dropped, PAGES);
}

static size_t open_fds(void)
{
	size_t n = 0;
	int fd;

	for (fd = 0; fd < 4096; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* What start took over, stop gives back; a start that fails takes nothing. */
static void start_and_stop(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	size_t before;
	int closed;

	open_to(TO_PIPE);
	closed = dup(out);
	close(closed);
	before = open_fds();
	CHECK_EQ(start(out), 0);
	CHECK(open_fds() >= before + 2);
	CHECK_EQ(bez_stop(), 0);
	CHECK_EQ(open_fds(), before);
	CHECK_EQ(start(closed), -EBADF);
	CHECK_EQ(start(in), -EBADF);
	options.record_fd = -1;
	CHECK_EQ(bez_start(&options), -EBADF);
	CHECK_EQ(open_fds(), before);
	CHECK_EQ(status_now().started, 0);
	options.record_fd = 0;
	CHECK_EQ(bez_start(&options), 0);
	CHECK_EQ(bez_stop(), 0);
}

/* An older header's options have no such fields. */
static void old_options(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;

	options.size = offsetof(struct bez_options, record_fd);
	options.record_fd = 4000;
	CHECK_EQ(bez_start(&options), 0);
	CHECK_EQ(bez_stop(), 0);
}

static void line(void)
{
	struct bez_source from;
	char text[512] = "";
	int pipes[2];

	page = live_page();
	CHECK_EQ(pipe(pipes), 0);
	CHECK_EQ(start(pipes[1]), 0);
	at = live_pages(1);
	copy = live_pages(1);
	from = bez_source_mirror(copy);
	live_region(at, page, &from, "a \"name\"\n");
	live_poison(at);
	live_read(at + 16);
	CHECK(read(pipes[0], text, sizeof(text) - 1) > 0);
	CHECKF(strstr(text, "bezoar: replaced: "), "%s", text);
	CHECKF(strstr(text, ", \"a ?name??\" + 0x"), "%s", text);
	CHECK_EQ(strchr(text, '\n') - text + 1, strlen(text));
}

/* A process in the background, whose terminal stops those that write. */
static void in_the_background(int slave)
{
	struct bez_source from;

	CHECK_EQ(setpgid(0, 0), 0);
	CHECK(tcgetpgrp(slave) != getpgrp());
	at = live_pages(1);
	copy = live_pages(1);
	from = bez_source_mirror(copy);
	CHECK_EQ(start(slave), 0);
	live_region(at, page, &from, "table");
	live_poison(at);
	CHECK_EQ(live_wrong(at, page, 0), 0);
	CHECK_EQ(status_now().replaced, 1);
}

static void background(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave, status;
	struct termios t;
	char text[512] = "";
	pid_t pid;

	page = live_page();
	if (master < 0 || grantpt(master) || unlockpt(master))
		tap_skip("no pseudo-terminals here: %s", strerror(errno));
	CHECK(setsid() > 0);
	slave = open(ptsname(master), O_RDWR);
	CHECK(slave > 0);
	CHECK_EQ(tcgetpgrp(slave), getpgrp());
	CHECK_EQ(tcgetattr(slave, &t), 0);
	t.c_lflag |= TOSTOP;
	CHECK_EQ(tcsetattr(slave, TCSANOW, &t), 0);
	pid = fork();
	if (!pid) {
		tap_apart();
		in_the_background(slave);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	CHECKF(status == 0, "%x", status);
	CHECK(read(master, text, sizeof(text) - 1) > 0);
	CHECKF(strstr(text, "bezoar: replaced: "), "%s", text);
}

static const struct tap_case cases[] = {
	{ .name = "replaced, file", .run = replaced, .data = &to_file },
	{ .name = "replaced, pipe", .run = replaced, .data = &to_pipe },
	{ .name = "replaced, stream", .run = replaced, .data = &to_stream },
	{ .name = "replaced, datagram", .run = replaced, .data = &to_datagram },
	{ .name = "in no region", .run = others },
	{ .name = "no source", .run = no_source },
	{ .name = "bez_recover()", .run = recovered },
	{ .name = "what is left, each time", .run = left },
	{ .name = "the last one", .run = dies },
	{ .name = "a child of fork", .run = child_of_fork },
	{ .name = "a full pipe", .run = full_pipe },
	{ .name = "no reader, pipe", .run = no_reader, .data = &to_pipe },
	{ .name = "no reader, stream", .run = no_reader, .data = &to_stream },
	{ .name = "no reader, datagram", .run = no_reader,
	  .data = &to_datagram },
	{ .name = "closed by the program", .run = closed_by_program },
	{ .name = "start and stop", .run = start_and_stop },
	{ .name = "options of an older header", .run = old_options },
	{ .name = "a line of text", .run = line },
	{ .name = "a line of text, in the background", .run = background },
};
TAP_MAIN(cases)
