/* SPDX-License-Identifier: MIT */
/*
 * A range of which a part is lost, saved and brought back: to files, pipes and
 * sockets, with pages that are lost before, meanwhile and after.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#define PAGES	200			/* several chunks of the library's */
#define MOST	16
#define TRAILER(holes) (56 + 16 * (holes))

static unsigned char *at;
static size_t page, len;
static struct bez_hole hole[MOST];
static struct bez_holes holes;

static void begin(void)
{
	page = live_page();
	len = PAGES * page;
	at = live_pages(PAGES);
	see_install();
	see_start(0);
	holes = (struct bez_holes){ hole, MOST, 77, 77 };
}

static bez_region_t degrades(size_t first, size_t pages)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t r;

	policy.actions[0] = BEZ_ACTION_DEGRADE;
	CHECK_EQ(bez_region_add(at + first * page, pages * page, &policy, &r),
		 0);
	return r;
}

static int file(void)
{
	int fd = memfd_create("around", MFD_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

static void is_hole(size_t i, uint64_t offset, uint64_t bytes)
{
	CHECKF(i < holes.count && hole[i].offset == offset &&
	       hole[i].len == bytes, "hole %zu of %zu: %llu, %llu", i,
	       holes.count, (unsigned long long)hole[i].offset,
	       (unsigned long long)hole[i].len);
}

/* How many bytes of a saved range are not right: those of @holes are zeros. */
static size_t wrong_saved(const unsigned char *saved, size_t from, size_t bytes)
{
	size_t i, h = 0, wrong = 0;

	for (i = 0; i < bytes; i++) {
		while (h < holes.count && i >= hole[h].offset + hole[h].len)
			h++;
		wrong += saved[i] !=
			 (h < holes.count && i >= hole[h].offset ?
				  0 : live_byte(from + i, 0));
	}
	return wrong;
}

/* Page 3 lost and known, 7 and 8 in a region and not known, 20 in no region, 30
 * has a source. */
static void lose_some(void)
{
	static unsigned char *copy;
	struct bez_source from;

	copy = live_pages(PAGES);
	from = bez_source_mirror(copy + 30 * page);
	degrades(0, 10);
	live_region(at + 30 * page, page, &from, "has a source");
	live_poison(at + 3 * page);
	BEZ_TRY {
		live_read(at + 3 * page + 5);
		CHECK(0);
	} BEZ_CATCH(lost) {
		CHECK(lost->addr == at + 3 * page);
	}
	live_poison(at + 7 * page);
	live_poison(at + 8 * page);
	live_poison(at + 20 * page);
	live_poison(at + 30 * page);
}

static void are_some(void)
{
	CHECK_EQ(holes.count, 3);
	CHECK_EQ(holes.bytes, 4 * page);
	is_hole(0, 3 * page, page);
	is_hole(1, 7 * page, 2 * page);
	is_hole(2, 20 * page, page);
}

/* ------------------------------------------------------------------- files */

static void to_file(void)
{
	struct bez_event e;
	struct stat st;
	unsigned char *saved;
	int fd = file();
	size_t i;

	begin();
	lose_some();
	/* what the file had before is not what was lost */
	for (i = 0; i < PAGES; i++)
		CHECK_EQ(pwrite(fd, at + 40 * page, page, (off_t)(i * page)),
			 (ssize_t)page);
	CHECK_EQ(bez_write_around(fd, at, len, &holes), 0);
	are_some();
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), (off_t)len + TRAILER(3));
	CHECK_EQ(fstat(fd, &st), 0);
	CHECK_EQ(st.st_size, (off_t)len + TRAILER(3));
	/* 4 holes, and the trailer's page */
	CHECK_EQ(st.st_blocks * 512, (long long)((PAGES - 4 + 1) * page));
	saved = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(saved != MAP_FAILED);
	CHECK_EQ(wrong_saved(saved, 0, len), 0);
	/* it was in no inventory, and is now in the event */
	e = see_event(at + 20 * page);
	CHECK_EQ(e.outcome, BEZ_OUTCOME_COPY_SHORT);
	CHECK_EQ(see_event(at + 30 * page).outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(live_lost(at + 20 * page), 1);
	CHECK_EQ(bez_lost_in(at + 7 * page, 2 * page), 1);
}

/* Where a range begins and ends in the middle of what is lost. */
static void in_the_middle(void)
{
	unsigned char saved[8192];
	size_t from, bytes;
	int fd = file();

	begin();
	lose_some();
	from = 3 * page + page / 2;
	bytes = 4 * page;
	CHECK_EQ(pwrite(fd, "12345", 5, 0), 5);
	CHECK_EQ(lseek(fd, 5, SEEK_SET), 5);
	CHECK_EQ(bez_write_around(fd, at + from, bytes, &holes), 0);
	CHECK_EQ(holes.count, 2);
	is_hole(0, 0, page / 2);
	is_hole(1, 3 * page + page / 2, page / 2);
	CHECK_EQ(pread(fd, saved, 8192, 5), 8192);
	CHECK_EQ(wrong_saved(saved, from, 8192), 0);
	CHECK_EQ(pread(fd, saved, 5, 0), 5);
	CHECK(!memcmp(saved, "12345", 5));

	/* all of it, none of it, nothing */
	CHECK_EQ(bez_write_around(fd, at + 7 * page + 1, page, &holes), 0);
	CHECK_EQ(holes.count, 1);
	is_hole(0, 0, page);
	CHECK_EQ(bez_write_around(fd, at + page, page, &holes), 0);
	CHECK_EQ(holes.count, 0);
	CHECK_EQ(holes.bytes, 0);
	CHECK_EQ(bez_write_around(fd, at, 0, &holes), 0);
	CHECK_EQ(holes.count, 0);
}

/* With O_APPEND no byte can be left out. */
static void appended(void)
{
	unsigned char *saved;
	int fd = file(), r;

	begin();
	lose_some();
	r = fcntl(fd, F_SETFL, O_APPEND);
	CHECK_EQ(r, 0);
	CHECK_EQ(bez_write_around(fd, at, len, &holes), 0);
	are_some();
	saved = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK_EQ(wrong_saved(saved, 0, len), 0);
}

/* ----------------------------------------------------------------- streams */

static int ends[2];
static unsigned char *got;
static size_t got_bytes;

static void *drains(void *arg)
{
	size_t room = *(size_t *)arg;
	ssize_t n;

	while (got_bytes < room &&
	       (n = read(ends[0], got + got_bytes, room - got_bytes)) > 0)
		got_bytes += (size_t)n;
	return NULL;
}

static void anything(size_t bytes)
{
	got = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(got != MAP_FAILED);
	got_bytes = 0;
}

static void stream(void)
{
	size_t room;
	pthread_t t;

	begin();
	lose_some();
	room = len + TRAILER(3);
	anything(room);
	CHECK_EQ(pthread_create(&t, NULL, drains, &room), 0);
	CHECK_EQ(bez_write_around(ends[1], at, len, &holes), 0);
	CHECK_EQ(pthread_join(t, NULL), 0);
	are_some();
	CHECK_EQ(got_bytes, room);
	CHECK_EQ(wrong_saved(got, 0, len), 0);
}

static void to_pipe(void)
{
	CHECK_EQ(pipe(ends), 0);
	stream();
}

/* One that does not block, and is full most of the time. */
static void to_socket(void)
{
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	CHECK_EQ(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
	stream();
}

static void *saves(void *arg)
{
	bez_thread_attach();
	*(int *)arg = bez_write_around(ends[1], at, len, &holes);
	return NULL;
}

/* Pages that go while the writer stands in the first chunk: one that was written,
 * and one that was not. */
static void meanwhile(void)
{
	size_t room, one = 1;
	pthread_t t;
	int r = 1;

	CHECK_EQ(pipe(ends), 0);
	begin();
	degrades(100, 50);
	room = len + TRAILER(2);
	anything(room);
	CHECK_EQ(pthread_create(&t, NULL, saves, &r), 0);
	drains(&one);				/* it has begun */
	live_poison(at + page);
	live_poison(at + 120 * page);
	live_poison(at + 180 * page);
	drains(&room);
	CHECK_EQ(pthread_join(t, NULL), 0);
	CHECK_EQ(r, 0);
	CHECK_EQ(holes.count, 2);
	is_hole(0, 120 * page, page);
	is_hole(1, 180 * page, page);
	CHECK_EQ(got_bytes, room);
	CHECK_EQ(wrong_saved(got, 0, len), 0);
	CHECK_EQ(bez_lost_in(at + 120 * page, 1), 1);
}

/* -------------------------------------------------------------- other answers */

static int tried = 1;

static int saves_inside(void *dst, size_t n, uint64_t offset, void *arg)
{
	(void)arg;
	(void)offset;
	tried = bez_write_around(ends[1], dst, n, NULL);
	live_fill(dst, n, 0);
	return 0;
}

static void refused(void)
{
	struct bez_source from = bez_source_callback(saves_inside, NULL);
	struct bez_holes bad = { NULL, 3, 0, 0 };
	char byte = 'x';
	int fd = file();

	page = live_page();
	CHECK_EQ(bez_write_around(fd, &byte, 1, NULL), -ESRCH);
	CHECK_EQ(bez_read_back(fd, &byte, 1, 0, NULL), -ESRCH);
	begin();
	CHECK_EQ(bez_write_around(fd, &byte, 1, &bad), -EINVAL);
	CHECK_EQ(bez_read_back(fd, &byte, 1, 0, &bad), -EINVAL);
	CHECK_EQ(bez_write_around(fd, &byte, SIZE_MAX, NULL), -EINVAL);
	CHECK_EQ(bez_read_back(fd, &byte, SIZE_MAX, 0, NULL), -EINVAL);
	CHECK_EQ(bez_read_back(fd, &byte, 1, 2, NULL), -EINVAL);
	CHECK_EQ(bez_write_around(-1, &byte, 1, NULL), -EBADF);
	CHECK_EQ(pipe(ends), 0);
	live_region(at, page, &from, "inside");
	live_poison(at);
	CHECK_EQ(live_read(at), live_byte(0, 0));
	CHECK_EQ(tried, -EDEADLK);

	/* more holes than there is a place for */
	live_poison(at + 3 * page);
	live_poison(at + 5 * page);
	holes.room = 1;
	CHECK_EQ(bez_write_around(fd, at, len, &holes), 0);
	CHECK_EQ(holes.count, 2);
	CHECK_EQ(holes.bytes, 2 * page);
	is_hole(0, 3 * page, page);
	CHECK_EQ(hole[1].len, 0);
}

static const struct tap_case cases[] = {
	{ .name = "to a file", .run = to_file },
	{ .name = "in the middle of a loss", .run = in_the_middle },
	{ .name = "to a file that is appended to", .run = appended },
	{ .name = "to a pipe", .run = to_pipe },
	{ .name = "to a socket that does not block", .run = to_socket },
	{ .name = "lost meanwhile", .run = meanwhile },
	{ .name = "refused", .run = refused },
};
TAP_MAIN(cases)
