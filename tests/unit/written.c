/* SPDX-License-Identifier: MIT */
/* Fifth room: the record, byte by byte. */
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../live/live.h"
#include "writing.h"

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
		if (atomic_load(&mm->recording))
			_exit(7);
		write_one(1);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 7)
		tap_skip("a child's memory is not wiped here: qemu-user?");
	CHECK_EQ(status, 0);
	CHECK_EQ(pread(fd, &r, sizeof(r), 0), sizeof(r));
	CHECK_EQ(r.pid, pid);
	CHECK_EQ(r.start_ticks, 0);
	CHECK(r.flags & BEZ_RECORD_BARE_CHILD);
}

/* What $NOTIFY_SOCKET may be: a path, or a name that is in no file system. */
static void notified(void)
{
	static const char *const none[] = {
		"", "/", "@", "x", "run/notify", "vsock:2:1",
	};
	const struct sockaddr_un *to = &bz_recorder.notify;
	const size_t room = sizeof(to->sun_path);
	char name[300];
	size_t i;

	for (i = 0; i < COUNT_OF(none); i++) {
		CHECK_EQ(setenv("NOTIFY_SOCKET", none[i], 1), 0);
		open_to(0, 0, 0);
		CHECKF(!bz_recorder.notify_bytes, "%s", none[i]);
	}
	memset(name, 'n', sizeof(name));
	for (i = 2; i < sizeof(name); i++) {
		name[0] = i % 2 ? '/' : '@';
		name[i] = '\0';
		CHECK_EQ(setenv("NOTIFY_SOCKET", name, 1), 0);
		name[i] = 'n';
		open_to(0, 0, 0);
		if (i > room - 1) {
			CHECKF(!bz_recorder.notify_bytes, "%zu bytes", i);
			continue;
		}
		CHECK_EQ(bz_recorder.notify_bytes,
			 offsetof(struct sockaddr_un, sun_path) + i);
		CHECK_EQ(to->sun_path[0], i % 2 ? '/' : '\0');
		CHECK(!memcmp(to->sun_path + 1, name + 1, i - 1));
	}
	CHECK_EQ(unsetenv("NOTIFY_SOCKET"), 0);
	open_to(0, 0, 0);
	CHECK_EQ(bz_recorder.notify_bytes, 0);
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

/* Threads that wait for a shutdown, which may be many; not the shutdown's own. */
static void rate_of_waits(void)
{
	struct bz_result waits = { .outcome = BEZ_OUTCOME_SHUTDOWN_WAITS,
				   .action = BEZ_ACTION_SHUTDOWN };
	static const uint16_t own[] = {
		BEZ_OUTCOME_SHUTDOWN_BEGUN, BEZ_OUTCOME_SHUTDOWN,
		BEZ_OUTCOME_SHUTDOWN_LATE, BEZ_OUTCOME_SHUTDOWN_HURT,
		BEZ_OUTCOME_SHUTDOWN_BARE,
	};
	uint32_t i;

	open_to(memory_file(), 0, 3);
	double_watch();
	double_stop_clock();
	for (i = 0; i < 10; i++)
		bz_record_write(mm, &mm->walk[0], &fault, 4096, &hit, &waits,
				i);
	CHECK_EQ(mm->records, 3);
	CHECK_EQ(mm->records_dropped, 7);
	for (i = 0; i < COUNT_OF(own); i++) {
		waits.outcome = own[i];
		bz_record_write(mm, &mm->walk[0], &fault, 4096, &hit, &waits,
				i);
	}
	CHECK_EQ(mm->records, 3 + COUNT_OF(own));
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
	{ .name = "the service manager's address", .run = notified },
	{ .name = "no more than the rate", .run = rate },
	{ .name = "no more than the rate of those that wait",
	  .run = rate_of_waits },
	{ .name = "the line", .run = line },
	{ .name = "both", .run = both },
	{ .name = "nobody waits for it", .run = nobody_waits },
	{ .name = "no system call where nothing is wanted", .run = nowhere },
};
TAP_MAIN(cases)
