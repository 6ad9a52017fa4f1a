/* SPDX-License-Identifier: MIT */
/* Fifth room: the record, byte by byte, and what becomes of it where it is
 * written to. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../live/live.h"
#include "record/prepare.h"
#include "record/record.h"
#include "unit.h"

static struct bz_mm *mm;

/* Everything in it is another number. */
static const struct bz_fault fault = {
	.taken_ns = 0x0102030405060708, .addr = 0x1112131415163718,
	.cause = BEZ_CAUSE_ADRERR, .si_code = 2, .ip = 0x2122232425262728,
};
static const struct bz_result result = {
	.outcome = BEZ_OUTCOME_DEFAULT, .why = BEZ_OUTCOME_SOURCE_DIGEST,
	.action = BEZ_ACTION_DEFAULT, .source = BEZ_SOURCE_FILE,
	.cause = BEZ_CAUSE_CUT, .frame = 0x3132333435,
};
static const struct bz_hit hit = {
	.id = 0x4142434445464748, .start = 0x1112131415160000,
	.name = "a name of thirty-one bytes here",
};

static void write_one(uint64_t seq)
{
	bz_record_write(mm, &mm->walk[0], &fault, 4096, &hit, &result, seq);
}

static void open_to(int fd, int text, uint32_t rate)
{
	struct bez_options o = BEZ_OPTIONS_INIT;

	mm = unit_mm();
	atomic_store(&mm->walk[0].owner, 0x51525354);
	mm->walk[0].depth = 3;
	o.record_fd = fd;
	o.record_text_fd = text;
	o.record_rate = rate;
	CHECK_EQ(bz_record_open(mm, &o), 0);
}

static int memory_file(void)
{
	int fd = memfd_create("records", MFD_CLOEXEC);

	CHECK(fd > 0);
	return fd;
}

static off_t length(int fd)
{
	struct stat st;

	CHECK_EQ(fstat(fd, &st), 0);
	return st.st_size;
}

/* -------------------------------------------------------------- the layout */

static uint64_t at(const unsigned char *r, size_t offset, size_t bytes)
{
	uint64_t n = 0;

	while (bytes--)
		n = n << 8 | r[offset + bytes];
	return n;
}

static void put(unsigned char *r, size_t offset, uint64_t n)
{
	size_t i;

	for (i = 0; i < 8; i++)
		r[offset + i] = (unsigned char)(n >> 8 * i);
}

/* GOLDEN is the file beside this one. */
static void golden_bytes(unsigned char *ret)
{
	FILE *f = fopen(GOLDEN, "r");
	unsigned int byte;
	size_t i;

	if (!f)
		tap_skip("%s is not there", GOLDEN);
	for (i = 0; i < BEZ_RECORD_BYTES; i++) {
		CHECK_EQ(fscanf(f, "%2x", &byte), 1);
		ret[i] = (unsigned char)byte;
	}
	CHECK_EQ(fscanf(f, "%2x", &byte), EOF);
	fclose(f);
}

static void golden(void)
{
	unsigned char r[BEZ_RECORD_BYTES + 1], want[BEZ_RECORD_BYTES];
	int fd = memory_file();
	size_t i;

	golden_bytes(want);
	open_to(fd, 0, 0);
	memset(bz_recorder.prepared.boot_id, 0x61, 16);
	bz_recorder.prepared.pid = 0x71727374;
	bz_recorder.prepared.start_ticks = 0x8182838485868788;
	bz_recorder.prepared.flags = BEZ_RECORD_CGROUP_CUT;
	memcpy(bz_recorder.prepared.comm, "comm of fifteen", 16);
	memset(bz_recorder.prepared.cgroup, 'g', 127);
	atomic_store(&mm->counts[0].faults, 0x9192939495969798);
	atomic_store(&mm->counts[1].outcomes[BEZ_OUTCOME_REPLACED], 0xa1);
	atomic_store(&mm->counts[2].outcomes[BEZ_OUTCOME_DEFAULT], 0xb1);
	atomic_store(&mm->counts[3].outcomes[BEZ_OUTCOME_FOREIGN], 0xc1);
	atomic_store(&mm->counted, 0xf);
	atomic_store(&mm->records_dropped, 0xd1);
	write_one(0xe1e2e3e4e5e6e7e8);
	CHECK_EQ(pread(fd, r, sizeof(r), 0), BEZ_RECORD_BYTES);
	CHECK_EQ(at(r, 376, 8), bez_digest(r, 376));
	/* three clocks cannot be foretold */
	CHECK(at(r, 24, 8) > 1700000000000000000u);
	CHECK(at(r, 32, 8) > 1000000u);
	put(r, 24, 0xf1f2f3f4f5f6f7f8);
	put(r, 32, 0x0a0b0c0d0e0f1a1b);
	put(r, 80, 0x1c1d1e1f2a2b2c2d);
	put(r, 376, bez_digest(r, 376));
	for (i = 0; i < sizeof(want); i++)
		CHECKF(r[i] == want[i], "byte %zu is %02x, not %02x", i, r[i],
		       want[i]);
}

/* The header says where the fields are, and so does docs/record.md. */
static void layout(void)
{
	char line[512], name[32];
	unsigned int offset, bytes, fields = 0;
	size_t next = 0;
	FILE *f = fopen(RECORD_MD, "r");

	if (!f)
		tap_skip("%s is not there", RECORD_MD);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "| %u | %u | `%31[a-z_]` |", &offset, &bytes,
			   name) != 3)
			continue;
		CHECKF(offset == next, "%s is at %u, not %zu", name, offset,
		       next);
		next = offset + bytes;
		fields++;
#define FIELD(n)							\
		if (!strcmp(name, #n)) {				\
			CHECK_EQ(offset, offsetof(struct bez_record, n)); \
			CHECK_EQ(bytes,					\
				 sizeof(((struct bez_record *)0)->n));	\
			continue;					\
		}
		FIELD(magic) FIELD(version) FIELD(bytes) FIELD(flags)
		FIELD(id) FIELD(wall_ns) FIELD(boot_ns) FIELD(mono_ns)
		FIELD(boot_id) FIELD(pid) FIELD(tid) FIELD(start_ticks)
		FIELD(took_ns) FIELD(addr) FIELD(width) FIELD(ip)
		FIELD(region) FIELD(offset) FIELD(frame) FIELD(si_code)
		FIELD(cause) FIELD(outcome) FIELD(why) FIELD(action)
		FIELD(source) FIELD(depth) FIELD(faults) FIELD(replaced)
		FIELD(not_replaced) FIELD(foreign) FIELD(dropped) FIELD(comm)
		FIELD(name) FIELD(cgroup) FIELD(reserved) FIELD(digest)
#undef FIELD
		CHECKF(0, "the struct has no %s", name);
	}
	fclose(f);
	CHECK_EQ(next, sizeof(struct bez_record));
	CHECK_EQ(fields, 36);
}

/* Who we are, by other ways than the library's. */
static void who(void)
{
	struct bez_record r;
	char text[4096] = "", name[16] = "";
	unsigned long long start = 0;
	int fd = memory_file(), stat_fd;
	char *end;

	open_to(fd, 0, 0);
	write_one(1);
	CHECK_EQ(pread(fd, &r, sizeof(r), 0), sizeof(r));
	CHECK_EQ(r.pid, getpid());
	CHECK_EQ(prctl(PR_GET_NAME, name), 0);
	CHECKF(!strcmp(r.comm, name), "%s", r.comm);
	stat_fd = open("/proc/self/stat", O_RDONLY);
	CHECK(read(stat_fd, text, sizeof(text) - 1) > 0);
	end = strrchr(text, ')');
	CHECK(end);
	CHECK_EQ(sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u "
			"%*u %*u %*d %*d %*d %*d %*d %*d %llu", &start), 1);
	CHECK_EQ(r.start_ticks, start);
	CHECK(r.cgroup[0] == '/' || (r.flags & BEZ_RECORD_CGROUP_CUT));
	CHECK(r.boot_id[0] || r.boot_id[5] || r.boot_id[15]);
	/* as random(4) has it: version 4 */
	CHECK_EQ(r.boot_id[6] >> 4, 4);
}

/* A name with what stat(5) cuts by in it. */
static void strange_name(void)
{
	struct bez_record r;
	int fd = memory_file();

	CHECK_EQ(prctl(PR_SET_NAME, ") R 1 2\n\033["), 0);
	open_to(fd, 0, 0);
	write_one(1);
	CHECK_EQ(pread(fd, &r, sizeof(r), 0), sizeof(r));
	CHECKF(!strcmp(r.comm, ") R 1 2\n\033["), "%s", r.comm);
	CHECK(r.start_ticks > 100);
}

/* A child of a bare clone has nobody who finds out for it. */
static void bare_child(void)
{
	struct bez_record r;
	int fd = memory_file(), status;
	pid_t pid;

	open_to(fd, 0, 0);
	CHECK_EQ(madvise(mm, sizeof(*mm) & -unit_page(), MADV_WIPEONFORK), 0);
	pid = _Fork();
	if (!pid) {
		write_one(1);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(pread(fd, &r, sizeof(r), 0), sizeof(r));
	CHECK_EQ(r.pid, pid);
	CHECK_EQ(r.start_ticks, 0);
	CHECK(r.flags & BEZ_RECORD_BARE_CHILD);
}

/* ---------------------------------------------------------------- the sinks */

static void sinks(void)
{
	int pipes[2], pair[2], fd;
	struct bz_sink sink;
	char name[] = "/tmp/bezoar-sink-XXXXXX";

	CHECK_EQ(bz_sink_open(0, &sink), 0);
	CHECK_EQ(sink.kind, BZ_SINK_NONE);
	CHECK_EQ(bz_sink_open(-1, &sink), -EBADF);
	CHECK_EQ(bz_sink_open(999, &sink), -EBADF);
	CHECK_EQ(pipe(pipes), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	fd = mkstemp(name);
	CHECK(fd >= 0);
	CHECK_EQ(bz_sink_open(pipes[0], &sink), -EBADF);	/* to read from */
	CHECK_EQ(bz_sink_open(open(name, O_RDONLY), &sink), -EBADF);
	CHECK_EQ(bz_sink_open(open(name, O_PATH), &sink), -EBADF);
	CHECK_EQ(bz_sink_open(open("/tmp", O_RDONLY), &sink), -EBADF);
	unlink(name);

	CHECK_EQ(bz_sink_open(fd, &sink), 0);
	CHECK_EQ(sink.kind, BZ_SINK_FILE);
	CHECK(fcntl(sink.fd, F_GETFD) & FD_CLOEXEC);
	CHECK(sink.fd >= 1000 || fcntl(1000, F_GETFD) < 0);
	bz_sink_close(&sink);
	CHECK_EQ(bz_sink_open(pair[0], &sink), 0);
	CHECK_EQ(sink.kind, BZ_SINK_SOCKET);
	CHECK(!(fcntl(sink.fd, F_GETFL) & O_NONBLOCK));
	/* that of the program has no mark of ours */
	CHECK_EQ(fcntl(pair[0], F_GETSIG), 0);
	bz_sink_close(&sink);
	CHECK_EQ(bz_sink_open(pipes[1], &sink), 0);
	CHECK_EQ(sink.kind, BZ_SINK_PIPE);
	/* ours does not wait, and the program's still does */
	CHECK(fcntl(sink.fd, F_GETFL) & O_NONBLOCK);
	CHECK_EQ(fcntl(pipes[1], F_GETSIG), 0);
	CHECK(!(fcntl(pipes[1], F_GETFL) & O_NONBLOCK));
	bz_sink_close(&sink);
	CHECK_EQ(fcntl(sink.fd, F_GETFD), -1);
}

/* All signals are blocked, as in the handler. */
static void block_all(void)
{
	sigset_t all;

	sigfillset(&all);
	CHECK_EQ(sigprocmask(SIG_BLOCK, &all, NULL), 0);
}

static int pending(int sig)
{
	sigset_t set;

	CHECK_EQ(sigpending(&set), 0);
	return sigismember(&set, sig);
}

/* A pipe that is full, one that nobody reads: counted, and no signal is left. */
static void pipe_end(void)
{
	struct bez_record r;
	char page[4096] = "";
	int pipes[2];

	CHECK_EQ(pipe(pipes), 0);
	CHECK(fcntl(pipes[1], F_SETPIPE_SZ, 4096) > 0);
	open_to(pipes[1], 0, UINT32_MAX);
	block_all();
	write_one(1);
	CHECK_EQ(mm->records, 1);
	CHECK_EQ(write(pipes[1], page, 4096 - sizeof(r)), 4096 - sizeof(r));
	write_one(2);				/* returns at once */
	CHECK_EQ(mm->records, 1);
	CHECK_EQ(mm->records_dropped, 1);
	CHECK_EQ(read(pipes[0], &r, sizeof(r)), sizeof(r));
	CHECK_EQ(read(pipes[0], page, 4096), 4096 - sizeof(r));
	write_one(3);
	CHECK_EQ(mm->records, 2);
	CHECK_EQ(read(pipes[0], &r, sizeof(r)), sizeof(r));
	CHECK_EQ(r.id, 3);
	CHECK_EQ(r.dropped, 1);
}

static void no_reader(void)
{
	int pipes[2];

	CHECK_EQ(pipe(pipes), 0);
	open_to(pipes[1], 0, UINT32_MAX);
	block_all();
	close(pipes[0]);
	write_one(1);
	CHECK_EQ(mm->records_dropped, 1);
	CHECK(!pending(SIGPIPE));
}

/* A file at its limit. */
static void file_limit(void)
{
	struct rlimit limit = { 1000, 1000 };
	int fd = memory_file();

	open_to(fd, 0, UINT32_MAX);
	block_all();
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
	write_one(1);
	write_one(2);
	CHECK_EQ(mm->records, 2);
	write_one(3);				/* a part of it */
	write_one(4);				/* nothing */
	CHECK_EQ(mm->records, 2);
	CHECK_EQ(mm->records_dropped, 2);
	CHECK(!pending(SIGXFSZ));
	CHECK_EQ(length(fd), 1000);
}

static void socket_full(void)
{
	int pair[2], i;
	char bytes[1024];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	open_to(pair[0], 0, UINT32_MAX);
	block_all();
	for (i = 0; i < 100000 && !mm->records_dropped; i++)
		write_one((uint64_t)i);
	CHECK(mm->records_dropped);
	CHECK(mm->records >= 1);
	/* each a datagram of its own */
	CHECK_EQ(recv(pair[1], bytes, sizeof(bytes), 0), BEZ_RECORD_BYTES);
	close(pair[1]);
	write_one(0);
	CHECK(!pending(SIGPIPE));
}

/* What may be written to and not be opened anew: then it is the program's own
 * description, which does not append. */
static void not_again(void)
{
	static const struct double_rule rule = { .nr = SYS_openat, .nth = 1,
						 .err = EACCES };

	double_rule(&rule);
	double_watch();
}

/* The program has closed all, and opened something else under the number. */
static void not_ours(void)
{
	int fd = memory_file(), other = memory_file(), high;

	if (tap_data())
		not_again();
	open_to(fd, 0, UINT32_MAX);
	high = bz_recorder.sink.fd;
	CHECK_EQ(bz_recorder.sink.marked, !tap_data());
	write_one(1);
	CHECK_EQ(dup2(other, high), high);
	write_one(2);
	CHECK_EQ(length(other), 0);
	CHECK_EQ(mm->records_dropped, 1);
	CHECK_EQ(length(fd), BEZ_RECORD_BYTES);
	bz_record_close();
	/* nor is it ours to close */
	CHECK(fcntl(high, F_GETFD) >= 0);
}

/* ----------------------------------------------------------------- the rate */

static void rate(void)
{
	int fd = memory_file();
	struct bez_record r;
	uint32_t i;

	open_to(fd, 0, 10);
	double_watch();
	double_stop_clock();
	for (i = 0; i < 25; i++)
		write_one(i + 1);
	CHECK_EQ(mm->records, 10);
	CHECK_EQ(mm->records_dropped, 15);
	double_clock(1000000000);
	write_one(26);
	CHECK_EQ(mm->records, 11);
	CHECK_EQ(pread(fd, &r, sizeof(r), 10 * BEZ_RECORD_BYTES), sizeof(r));
	CHECK_EQ(r.id, 26);
	CHECK_EQ(r.dropped, 15);
}

#define WRITERS	4
#define EACH	4000
#define LIMIT	8000

static void *writer(void *arg)
{
	uint64_t i;

	for (i = 0; i < EACH; i++)
		bz_record_write(mm, &mm->walk[(uintptr_t)arg], &fault, 4096,
				&hit, &result, i);
	return NULL;
}

/* Four threads: never more than the limit, each whole, none lost. */
static void race(void)
{
	pthread_t t[WRITERS];
	struct bez_record r;
	uintptr_t i;
	off_t end;
	int fd = memory_file();

	if (tap_data())
		not_again();
	open_to(fd, 0, LIMIT);
	CHECK_EQ(bz_recorder.sink.marked, !tap_data());
	double_rest();
	double_stop_clock();
	for (i = 0; i < WRITERS; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, writer, (void *)i), 0);
	for (i = 0; i < WRITERS; i++)
		pthread_join(t[i], NULL);
	end = length(fd);
	CHECK_EQ(end, LIMIT * BEZ_RECORD_BYTES);
	CHECK_EQ(mm->records, LIMIT);
	CHECK_EQ(mm->records_dropped, WRITERS * EACH - LIMIT);
	while ((end -= BEZ_RECORD_BYTES) >= 0) {
		CHECK_EQ(pread(fd, &r, sizeof(r), end), sizeof(r));
		CHECK_EQ(r.digest, bez_digest(&r, 376));
	}
}

/* ----------------------------------------------------------------- the text */

static void line(void)
{
	static const struct bz_hit odd = {
		.id = 1, .start = 0x1112131415160000,
		.name = "a\nb\"\033[2J\377 0123456789012345678",
	};
	char text[512] = "", *end;
	int fd = memory_file();

	open_to(0, fd, 0);
	bz_record_write(mm, &mm->walk[0], &fault, 4096, &odd, &result, 1);
	CHECK(pread(fd, text, sizeof(text) - 1, 0) > 0);
	end = strrchr(text, ',');
	CHECK(end);
	*end = '\0';
	CHECKF(!strcmp(text, "bezoar: default (source does not match): 4096 "
		       "bytes at 0x1112131415163718, "
		       "\"a?b??[2J? 0123456789012345678\" + 0x3718, file was "
		       "truncated, thread 1364349780"), "%s", text);
	/* the line's end is the only one, and no record is counted */
	CHECK_EQ(strchr(end + 1, '\n') - text, length(fd) - 1);
	CHECK_EQ(mm->records, 0);
}

static void both(void)
{
	int fd = memory_file(), text = memory_file();

	open_to(fd, text, 2);
	write_one(1);
	write_one(2);
	write_one(3);
	CHECK(length(fd) == 2 * BEZ_RECORD_BYTES || length(fd) ==
	      3 * BEZ_RECORD_BYTES);		/* a second may begin between */
	CHECK(length(text) > 100);
}

static void nowhere(void)
{
	open_to(0, 0, 0);
	double_watch();
	write_one(1);
	CHECK_EQ(double_traced(), 0);
	CHECK_EQ(mm->records + mm->records_dropped, 0);
}

/* -------------------------------------------------------------- when it is */

static uint32_t writes, claims;

static void look(long nr, const long arg[6])
{
	uint32_t i, d;

	(void)arg;
	if (nr != SYS_write)
		return;
	writes++;
	for (i = 0; i < BZ_WALKS; i++)
		for (d = 0; d < BZ_DEPTH; d++)
			claims += mm->walk[i].claim[d] != 0;
}

/* Whoever waits for the page has it before the record is written. */
static void nobody_waits(void)
{
	struct bez_options o = BEZ_OPTIONS_INIT;
	size_t page = unit_page();
	unsigned char *lost, *copy;
	struct bez_source from;

	unit_need_poison();
	lost = live_pages(1);
	copy = live_pages(1);
	from = bez_source_mirror(copy);
	o.flags = BEZ_START_NO_WORKER;
	o.record_fd = memory_file();
	CHECK_EQ(bez_start(&o), 0);
	mm = atomic_load(&bz_core.mm);
	live_region(lost, page, &from, "");
	live_poison(lost);
	double_before(look);
	double_watch();
	CHECK_EQ(bez_recover(lost, page), 0);
	double_rest();
	CHECK_EQ(writes, 1);
	CHECK_EQ(claims, 0);
	CHECK_EQ(length(o.record_fd), BEZ_RECORD_BYTES);
}

static const struct tap_case cases[] = {
	{ .name = "golden bytes", .run = golden },
	{ .name = "docs/record.md has the layout", .run = layout },
	{ .name = "who it is", .run = who },
	{ .name = "a name that looks like numbers", .run = strange_name },
	{ .name = "a child of a bare clone", .run = bare_child },
	{ .name = "what can be written to", .run = sinks },
	{ .name = "a full pipe is not waited for", .run = pipe_end },
	{ .name = "a pipe that nobody reads", .run = no_reader },
	{ .name = "a file at its limit", .run = file_limit },
	{ .name = "a full socket", .run = socket_full },
	{ .name = "a number that stands for another file", .run = not_ours },
	{ .name = "a number that stands for another file, the program's own",
	  .run = not_ours, .data = "" },
	{ .name = "no more than the rate", .run = rate },
	{ .name = "threads", .run = race },
	{ .name = "threads, the program's own file", .run = race, .data = "" },
	{ .name = "the line", .run = line },
	{ .name = "both", .run = both },
	{ .name = "nobody waits for it", .run = nobody_waits },
	{ .name = "no system call where nothing is wanted", .run = nowhere },
};
TAP_MAIN(cases)
