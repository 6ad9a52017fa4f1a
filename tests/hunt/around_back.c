/* SPDX-License-Identifier: MIT */
/*
 * A range that was saved with holes, brought back: into good memory, into memory
 * of which another part is lost, from files and from streams; and nothing at all
 * of what is not right to the last bit.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#define PAGES	100
#define MOST	16
#define OTHER	9			/* seed of what the memory has before */
#define TRAILER(holes) (56 + 16 * (size_t)(holes))

static unsigned char *at, *to;
static size_t page, len, size;
static struct bez_hole hole[MOST];
static struct bez_holes holes;
static int fd;

static bez_region_t degrades(unsigned char *where, size_t pages)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t r;

	policy.actions[0] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(where, pages * page, &policy, &r), 0);
	return r;
}

/* @at with two holes (pages 5, 6 and 50) saved; @to has something else. */
static void begin(void)
{
	page = live_page();
	len = PAGES * page;
	size = len + TRAILER(2);
	at = live_pages(PAGES);
	to = live_pages(PAGES);
	live_fill(to, len, OTHER);
	see_install();
	see_start(0);
	degrades(at, PAGES);
	degrades(to, PAGES);
	CHECK_EQ(bez_lost_add(at + 5 * page, 2 * page), 0);
	CHECK_EQ(bez_lost_add(at + 50 * page, page), 0);
	fd = memfd_create("around", MFD_CLOEXEC);
	CHECK(fd >= 0);
	holes = (struct bez_holes){ hole, MOST, 0, 0 };
	CHECK_EQ(bez_write_around(fd, at, len, &holes), 0);
	CHECK_EQ(holes.count, 2);
	CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
}

static void is_hole(size_t i, uint64_t offset, uint64_t bytes)
{
	CHECKF(i < holes.count && hole[i].offset == offset &&
	       hole[i].len == bytes, "hole %zu of %zu: %llu, %llu", i,
	       holes.count, (unsigned long long)hole[i].offset,
	       (unsigned long long)hole[i].len);
}

/* Pages of @to that are not as in @at, those that are lost there and holes aside. */
static size_t wrong_pages(void)
{
	size_t i, k, wrong = 0;

	for (i = 0; i < PAGES; i++) {
		if (i == 5 || i == 6 || i == 50 ||
		    bez_lost_in(to + i * page, page))
			continue;
		for (k = i * page; k < (i + 1) * page; k++)
			if (to[k] != live_byte(k, 0))
				break;
		wrong += k < (i + 1) * page;
	}
	return wrong;
}

static size_t wrong_in_holes(void)
{
	size_t k, wrong = 0;

	for (k = 5 * page; k < 7 * page; k++)
		wrong += to[k] != live_byte(k, OTHER);
	for (k = 50 * page; k < 51 * page; k++)
		wrong += to[k] != live_byte(k, OTHER);
	return wrong;
}

/* ----------------------------------------------------------- into good memory */

static void told(void)
{
	begin();
	CHECK_EQ(bez_read_back(fd, to, len, 0, &holes), 0);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), (off_t)size);
	CHECK_EQ(holes.count, 2);
	CHECK_EQ(holes.bytes, 3 * page);
	is_hole(0, 5 * page, 2 * page);
	is_hole(1, 50 * page, page);
	CHECK_EQ(wrong_pages(), 0);
	CHECK_EQ(wrong_in_holes(), 0);
	CHECK_EQ(bez_lost_in(to, len), 0);
}

static void lost_again(void)
{
	begin();
	CHECK_EQ(bez_read_back(fd, to, len, BEZ_BACK_LOSE, &holes), 0);
	CHECK_EQ(holes.count, 2);
	is_hole(0, 5 * page, 2 * page);
	CHECK_EQ(wrong_pages(), 0);
	CHECK_EQ(bez_lost_in(to, 5 * page), 0);
	CHECK_EQ(bez_lost_in(to + 5 * page, 1), 1);
	CHECK_EQ(bez_lost_in(to + 6 * page, 1), 1);
	CHECK_EQ(bez_lost_in(to + 7 * page, 43 * page), 0);
	CHECK_EQ(bez_lost_in(to + 50 * page, 1), 1);
	CHECK_EQ(bez_lost_in(to + 51 * page, 49 * page), 0);
	/* and once more, where it came from */
	CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
	CHECK_EQ(bez_read_back(fd, at, len, BEZ_BACK_LOSE, &holes), 0);
	CHECK_EQ((uint32_t)bez_lost_generation(), 6);
}

/* Holes that are not of whole pages there. */
static void not_whole(void)
{
	begin();
	CHECK_EQ(bez_read_back(fd, to + 8, len - 8, 0, &holes), -EBADMSG);
	to = live_pages(PAGES + 1) + 8;
	live_fill(to, len, OTHER);
	degrades(to - 8, PAGES + 1);
	CHECK_EQ(bez_read_back(fd, to, len, BEZ_BACK_LOSE, &holes), -EINVAL);
	CHECK_EQ(live_wrong(to, len, OTHER), 0);
	CHECK_EQ(bez_read_back(fd, to, len, 0, &holes), 0);
	CHECK_EQ(wrong_pages(), 0);
	CHECK_EQ(wrong_in_holes(), 0);
}

/* ----------------------------------------------- where another part is lost */

/* What the file has is good again; what it has not, or has not as a whole, is not;
 * nor what nobody can open. */
static void mended(void)
{
	begin();
	CHECK_EQ(bez_lost_add(to + 2 * page, page), 0);
	CHECK_EQ(bez_lost_add(to + 6 * page, 2 * page), 0);
	live_poison(to + 80 * page);
	CHECK_EQ(bez_read_back(fd, to, len, 0, &holes), 0);
	CHECK_EQ(wrong_pages(), 0);
	CHECK_EQ(bez_lost_in(to, 6 * page), 0);
	CHECK_EQ(bez_lost_in(to + 6 * page, 1), 1);
	CHECK_EQ(bez_lost_in(to + 7 * page, 73 * page), 0);
	/* it was met only when it was to be written */
	CHECK_EQ(bez_lost_in(to + 80 * page, 1), 1);
	CHECK_EQ(holes.count, 3);
	is_hole(0, 5 * page, 2 * page);
	is_hole(1, 50 * page, page);
	is_hole(2, 80 * page, page);
	/* then it is known, and opened */
	CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
	CHECK_EQ(bez_read_back(fd, to, len, 0, &holes), 0);
	CHECK_EQ(holes.count, 2);
	CHECK_EQ(bez_lost_in(to + 80 * page, 1), 0);
	CHECK_EQ(wrong_pages(), 0);
}

/* It is another file all at once, in the middle of it. */
static int cuts(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	(void)arg;
	(void)offset;
	memset(dst, 1, bytes);
	return ftruncate(fd, (off_t)page);
}

/* What had been opened for its bytes is lost again, and no zeros. */
static void cut_meanwhile(void)
{
	struct bez_source source = bez_source_callback(cuts, NULL);
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t r;

	begin();
	CHECK_EQ(bez_region_at(to, &r), 0);
	CHECK_EQ(bez_region_remove(r), 0);
	policy.source = &source;
	policy.actions[0] = BEZ_ACTION_REPLACE;
	policy.actions[1] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(to, len, &policy, &r), 0);
	CHECK_EQ(bez_lost_add(to + 2 * page, page), 0);
	CHECK_EQ(bez_lost_add(to + 90 * page, page), 0);
	live_poison(to + 20 * page);
	CHECK_EQ(bez_read_back(fd, to, len, 0, &holes), -ESTALE);
	CHECK_EQ(bez_lost_in(to + 2 * page, 1), 1);
	CHECK_EQ(bez_lost_in(to + 90 * page, 1), 1);
}

/* ------------------------------------------------------------------ streams */

static int ends[2];

struct feed { const unsigned char *from; size_t bytes; };

static void *feeds(void *arg)
{
	struct feed *f = arg;
	ssize_t n;

	while (f->bytes && (n = write(ends[1], f->from, f->bytes)) > 0) {
		f->from += n;
		f->bytes -= (size_t)n;
	}
	close(ends[1]);
	return NULL;
}

static int from_stream(const unsigned char *saved, size_t bytes)
{
	struct feed feed = { saved, bytes };
	pthread_t t;
	int r;

	CHECK_EQ(pipe(ends), 0);
	CHECK_EQ(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
	CHECK_EQ(pthread_create(&t, NULL, feeds, &feed), 0);
	r = bez_read_back(ends[0], to, len, 0, &holes);
	close(ends[0]);
	CHECK_EQ(pthread_join(t, NULL), 0);
	return r;
}

static unsigned char *saved_bytes(void)
{
	unsigned char *saved = malloc(size + 1);

	CHECK(saved);
	CHECK_EQ(pread(fd, saved, size, 0), (ssize_t)size);
	return saved;
}

static void piped(void)
{
	begin();
	signal(SIGPIPE, SIG_IGN);
	CHECK_EQ(from_stream(saved_bytes(), size), 0);
	CHECK_EQ(holes.count, 2);
	CHECK_EQ(wrong_pages(), 0);
	CHECK_EQ(wrong_in_holes(), 0);
}

/* ---------------------------------------------------------------- bad input */

static void unchanged(int r, const char *what, size_t where)
{
	CHECKF(r == -EBADMSG || r == -EOPNOTSUPP, "%s %zu: %d", what, where, r);
	CHECKF(to[0] == live_byte(0, OTHER) &&
	       to[len - 1] == live_byte(len - 1, OTHER), "%s %zu", what, where);
}

/* Another bit in each byte of the trailer and in bytes of each page; cut off. */
static void damaged(void)
{
	unsigned char *saved, byte;
	size_t i;

	begin();
	saved = saved_bytes();
	for (i = 5; i < size; i += i < len ? 3001 : 1) {
		/* zeros that nobody looks at */
		if ((i >= 5 * page && i < 7 * page) ||
		    (i >= 50 * page && i < 51 * page))
			continue;
		byte = saved[i] ^ (unsigned char)(1 << i % 8);
		CHECK_EQ(pwrite(fd, &byte, 1, (off_t)i), 1);
		unchanged(bez_read_back(fd, to, len, BEZ_BACK_LOSE, &holes),
			  "byte", i);
		CHECK_EQ(pwrite(fd, saved + i, 1, (off_t)i), 1);
	}
	for (i = size; i-- > len - 3;) {
		CHECK_EQ(ftruncate(fd, (off_t)i), 0);
		unchanged(bez_read_back(fd, to, len, 0, &holes), "cut", i);
	}
	CHECK_EQ(live_wrong(to, len, OTHER), 0);
	CHECK_EQ(bez_lost_in(to, len), 0);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 0);
	/* of another length */
	CHECK_EQ(pwrite(fd, saved, size, 0), (ssize_t)size);
	CHECK_EQ(bez_read_back(fd, to, len - page, 0, &holes), -EBADMSG);
	CHECK_EQ(bez_read_back(fd, to, 0, 0, &holes), -EBADMSG);
	CHECK_EQ(bez_read_back(fd, to, len, 0, &holes), 0);
	CHECK_EQ(wrong_pages(), 0);
}

static void damaged_stream(void)
{
	unsigned char *saved;
	size_t i;

	begin();
	signal(SIGPIPE, SIG_IGN);
	saved = saved_bytes();
	for (i = len; i < size; i += 5) {
		saved[i] ^= 4;
		unchanged(from_stream(saved, size), "byte", i);
		saved[i] ^= 4;
		unchanged(from_stream(saved, i), "cut", i);
	}
	saved[77] ^= 4;
	unchanged(from_stream(saved, size), "byte", 77);
	unchanged(from_stream(saved, 0), "cut", 0);
	CHECK_EQ(live_wrong(to, len, OTHER), 0);
}

static const struct tap_case cases[] = {
	{ .name = "holes are told, and not touched", .run = told },
	{ .name = "holes are lost again", .run = lost_again },
	{ .name = "holes that are not of whole pages", .run = not_whole },
	{ .name = "another part is lost there", .run = mended },
	{ .name = "cut meanwhile", .run = cut_meanwhile },
	{ .name = "from a pipe", .run = piped },
	{ .name = "damaged, cut off, of another length", .run = damaged },
	{ .name = "the same from a pipe", .run = damaged_stream },
};
TAP_MAIN(cases)
