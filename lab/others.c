/* SPDX-License-Identifier: MIT */
/*
 * Others who have the memory: a second mapping of it, another process, a child. What
 * they are told of the loss, and what they have of the repair.
 */
#define _GNU_SOURCE
#include "live.h"
#include "memory.h"
#include "poison.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* A hole in the file takes them out of all mappings before Linux 6.1. */
static int entries_stay(void)
{
	return linux_is(6, 1);
}

/* A second mapping of the file, with the lost page in it or made when that had
 * been lost: what it says before and after the first one's has been replaced. */
static void second_mapping(void)
{
	const int *late = tap_data();
	unsigned char *second, *at, want;
	struct memory m;

	begin(&m, &kinds[MEMFD]);
	want = fill_of(m.bad / PAGE);
	if (*late)
		lose(&m);
	second = mmap(NULL, m.len, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd, 0);
	CHECK(second != MAP_FAILED);
	at = second + m.bad + 123;
	if (!*late) {
		check_good(at, want);
		lose(&m);
	}
	check_told(&m, at);
	CHECK_EQ(replaced(), 0);
	CHECK_EQ(bez_recover(m.at + m.bad, 1), 0);
	CHECK_EQ(replaced(), 1);
	check_bytes(&m, m.len, 0, NULL);
	/* who had it has an entry still, and discards that for himself */
	if (!*late && entries_stay())
		check_told(&m, at);
	CHECK_EQ(madvise(second + m.bad, PAGE, MADV_DONTNEED), 0);
	check_good(at, want);
	m.at[m.bad + 123] = 0x77;
	check_good(at, 0x77);
	munmap(second, m.len);
	undo(&m);
}

/* A child of fork(2) met it: each of them has its own page, or the file's. */
static void child(void)
{
	const struct kind *kind = tap_data();
	unsigned char *at, want;
	struct memory m;
	int status;
	pid_t pid;

	begin(&m, kind);
	at = m.at + m.bad + 123;
	want = fill_of(m.bad / PAGE);
	lose(&m);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		tap_apart();
		if (!can_be_replaced(&m)) {
			check_told(&m, at);
			_exit(0);
		}
		check_good(at, want);
		CHECK_EQ(replaced(), 1);
		check_bytes(&m, m.len, 0, NULL);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(replaced(), 0);
	if (can_be_replaced(&m)) {
		check_good(at, want);
		/* of a file the child has done it for both */
		CHECK_EQ(replaced(), m.fd < 0);
		CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_ALREADY_GOOD), m.fd >= 0);
		check_bytes(&m, m.len, 0, NULL);
	} else {
		check_told(&m, at);
	}
	undo(&m);
}

/* A process that knows of no library, and has the file mapped. */
struct stranger {
	int ask[2], answer[2];
	pid_t pid;
};

enum { MAP, LOOK, DISCARD };

struct look {
	int told, code, bits;
	unsigned char value;
	ptrdiff_t where;
};

static void be_stranger(struct stranger *s, size_t touch)
{
	unsigned char *at = NULL;
	struct look look;
	char what[64];

	take_sigbus();
	while (read(s->ask[0], what, sizeof(what)) == sizeof(what)) {
		look = (struct look){ .told = 0 };
		if (what[0] == MAP) {
			int fd = open(what + 1, O_RDWR | O_CLOEXEC);

			at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE,
				  MAP_SHARED, fd, 0);
			CHECK(at != MAP_FAILED);
		}
		if (what[0] == DISCARD)
			CHECK_EQ(madvise(at, 4 * PAGE, MADV_DONTNEED), 0);
		look.told = peek(at + touch, &look.value) != 0;
		if (look.told) {
			look.code = sigbus.code;
			look.bits = sigbus.width_bits;
			look.where = sigbus.addr - at;
		}
		CHECK_EQ(write(s->answer[1], &look, sizeof(look)), sizeof(look));
	}
	_exit(0);
}

static struct look ask(struct stranger *s, int what, const char *path)
{
	struct look look;
	char text[64] = { (char)what };

	snprintf(text + 1, sizeof(text) - 1, "%s", path);
	CHECK_EQ(write(s->ask[1], text, sizeof(text)), sizeof(text));
	CHECK_EQ(read(s->answer[0], &look, sizeof(look)), sizeof(look));
	return look;
}

static void second_process(void)
{
	const size_t touch = 2 * PAGE + 123;
	struct stranger s;
	struct memory m;
	struct look look;
	char path[64];

	CHECK_EQ(pipe2(s.ask, O_CLOEXEC), 0);
	CHECK_EQ(pipe2(s.answer, O_CLOEXEC), 0);
	s.pid = fork();
	CHECK(s.pid >= 0);
	if (!s.pid) {
		close(s.ask[1]);
		be_stranger(&s, touch);
	}
	begin(&m, &kinds[MEMFD]);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), m.fd);
	look = ask(&s, MAP, path);
	CHECK(!look.told && look.value == fill_of(2));
	lose(&m);
	look = ask(&s, LOOK, "");
	CHECK(look.told);
	CHECK_EQ(look.code, BUS_MCEERR_AR);
	CHECK_EQ(look.where, touch);
	CHECK_EQ(look.bits, 12);
	check_good(m.at + touch, fill_of(2));
	CHECK_EQ(replaced(), 1);
	look = ask(&s, LOOK, "");
	CHECK_EQ(look.told, entries_stay());
	look = ask(&s, DISCARD, "");
	CHECK(!look.told && look.value == fill_of(2));
	close(s.ask[1]);
	CHECK_EQ(waitpid(s.pid, NULL, 0), s.pid);
	undo(&m);
}

static const int before, late = 1;

static const struct tap_case cases[] = {
	{ .name = "a second mapping", .run = second_mapping, .data = &before },
	{ .name = "a mapping made later", .run = second_mapping, .data = &late },
	{ .name = "a second process", .run = second_process },
	{ .name = "a child, anon", .run = child, .data = &kinds[ANON] },
	{ .name = "a child, memfd", .run = child, .data = &kinds[MEMFD] },
	{ .name = "a child, thp", .run = child, .data = &kinds[THP] },
	{ .name = "a child, hugetlb-private", .run = child,
	  .data = &kinds[HUGETLB] },
};
TAP_MAIN(cases)
