/* SPDX-License-Identifier: MIT */
/* Third room: every kind of source, in order, checked, and what becomes of
 * those that fail or are themselves lost. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "source/digest.h"
#include "source/source.h"
#include "unit.h"

#define PAGES	4
#define X	2		/* the page that is asked for */

static struct bz_mm *mm;
static struct bz_walk *w;
static unsigned char *mirror, *stage;
static uint16_t kind;
static uint8_t may_stay;	/* in a mirror */
static const unsigned char *stays;
static uint64_t digests[PAGES];

static unsigned char *map(size_t pages)
{
	void *p = mmap(NULL, pages * unit_page(), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

/* Memory that cannot be read, by anybody: a file without a byte. */
static void *unreadable(size_t pages)
{
	int fd = memfd_create("nothing", MFD_CLOEXEC);
	void *p = mmap(NULL, pages * unit_page(), PROT_READ, MAP_SHARED, fd,
		       0);

	CHECK(p != MAP_FAILED);
	close(fd);
	return p;
}

/* The real handler, for sources that are lost. */
static void begin(void)
{
	struct bez_options options = BEZ_OPTIONS_INIT;
	size_t i;

	options.flags = BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL |
			BEZ_START_NO_UFFD;
	CHECK_EQ(bez_start(&options), 0);
	mm = atomic_load(&bz_core.mm);
	w = unit_enter(mm);
	mirror = map(PAGES);
	for (i = 0; i < PAGES * unit_page(); i++)
		mirror[i] = (unsigned char)(i * 7 + i / unit_page() + 1);
	for (i = 0; i < PAGES; i++)
		digests[i] = bz_digest(mirror + i * unit_page(), unit_page());
	stage = map(3);
	memset(stage, 0xa5, 3 * unit_page());
}

static enum bez_outcome ask(const struct bz_source *from, uint8_t n,
			    const uint64_t *check)
{
	const uint64_t start = 0x7f0000000000;
	struct bz_extent x = { start + X * unit_page(), unit_page() };
	struct bz_hit hit = {
		.id = 1, .start = start, .end = start + PAGES * unit_page(),
		.sources = n, .source = from, .digests = check,
	};
	struct bz_content content = { .from = stage + unit_page(),
				      .in_place = may_stay };
	enum bez_outcome r = bz_source_fill(mm, w, &hit, x, bz_now_ns(),
					    &content);
	size_t i;

	kind = content.kind;
	stays = content.in_place ? content.from : NULL;
	/* no worker here */
	CHECK(stays || content.from == stage + unit_page());

	/* nothing beside the stage */
	for (i = 0; i < unit_page(); i++)
		CHECK(stage[i] == 0xa5 && stage[2 * unit_page() + i] == 0xa5);
	CHECK(!w->guard && w->depth == 1);
	return r;
}

static int is_page_x(void)
{
	return !memcmp(stage + unit_page(), mirror + X * unit_page(),
		       unit_page());
}

static struct bz_source of_mirror(const void *addr)
{
	return (struct bz_source){ .kind = BEZ_SOURCE_MIRROR,
				   .mirror = (uint64_t)addr };
}

static struct bz_source of_fd(int fd, uint64_t offset, uint8_t flags)
{
	struct bz_source s = { .kind = BEZ_SOURCE_FILE, .flags = flags,
			       .fd = fd, .offset = offset };
	struct bz_file_id id = { 0, 0 };

	CHECK_EQ(bz_file_id(fd, &id), 0);
	s.file_dev = id.dev;
	s.file_ino = id.ino;
	return s;
}

/* --------------------------------------------------------- the simple ones */

static void simple(void)
{
	struct bz_source s;
	size_t i;

	begin();
	CHECK_EQ(ask(NULL, 0, NULL), BEZ_OUTCOME_SOURCE_NONE);
	CHECK_EQ(kind, BEZ_SOURCE_NONE);
	s = of_mirror(mirror);
	CHECK_EQ(ask(&s, 1, NULL), BEZ_OUTCOME_NONE);
	CHECK_EQ(kind, BEZ_SOURCE_MIRROR);
	CHECK(is_page_x());
	s = (struct bz_source){ .kind = BEZ_SOURCE_ZERO };
	CHECK_EQ(ask(&s, 1, NULL), BEZ_OUTCOME_NONE);
	CHECK_EQ(kind, BEZ_SOURCE_ZERO);
	for (i = 0; i < unit_page(); i++)
		CHECK_EQ(stage[unit_page() + i], 0);
}

/* -------------------------------------------------------------------- file */

static int file_with(size_t bytes)
{
	int fd = memfd_create("source", MFD_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, 100), 0);
	CHECK_EQ(pwrite(fd, mirror, bytes, 100), bytes);
	return fd;
}

static void file(void)
{
	size_t page = unit_page(), i;
	struct bz_source s;
	int fd;

	begin();
	fd = file_with(PAGES * page);
	s = of_fd(fd, 100, 0);
	CHECK_EQ(ask(&s, 1, NULL), BEZ_OUTCOME_NONE);
	CHECK_EQ(kind, BEZ_SOURCE_FILE);
	CHECK(is_page_x());
	/* the end in the middle of the page: short, unless zeros are right */
	CHECK_EQ(ftruncate(fd, (off_t)(100 + X * page + 17)), 0);
	CHECK_EQ(ask(&s, 1, NULL), BEZ_OUTCOME_SOURCE_FAILED);
	s.flags = BEZ_SOURCE_EOF_ZERO;
	CHECK_EQ(ask(&s, 1, NULL), BEZ_OUTCOME_NONE);
	for (i = 0; i < page; i++)
		CHECK_EQ(stage[page + i],
			 i < 17 ? mirror[X * page + i] : 0);
	/* the number is another file's now, or nobody's */
	CHECK_EQ(dup2(file_with(PAGES * page), fd), fd);
	CHECK_EQ(ask(&s, 1, NULL), BEZ_OUTCOME_SOURCE_FAILED);
	close(fd);
	CHECK_EQ(ask(&s, 1, NULL), BEZ_OUTCOME_SOURCE_FAILED);
}

static int swapped_fd;

static void swap_file(long nr, const long arg[6])
{
	if (nr == SYS_pread64)
		dup2(swapped_fd, (int)arg[0]);
}

/* Short reads go on, interrupted ones too; every error fails; the file that
 * is another one in the middle of it as well. */
static void file_reads(void)
{
	static const int errors[] = { EIO, EAGAIN, EBADF, EISDIR, ENOMEM };
	struct double_rule rule = { .nr = SYS_pread64, .nth = 1, .err = EINTR };
	struct bz_source s;
	uint32_t n, calls;
	size_t e;

	begin();
	s = of_fd(file_with(PAGES * unit_page()), 100, BEZ_SOURCE_EOF_ZERO);
	double_rule(&rule);
	double_watch();
	CHECK_EQ(ask(&s, 1, NULL), BEZ_OUTCOME_NONE);
	CHECK_EQ(double_lies(), 1);
	calls = double_calls() - 1;	/* and one that was interrupted */
	double_reset();
	CHECK(is_page_x());
	CHECK_EQ(calls, 2);		/* read, and of which file */
	for (e = 0; e < COUNT_OF(errors); e++)
		for (n = 1; n <= calls; n++) {
			double_fail(n, errors[e]);
			double_watch();
			CHECK_EQ(ask(&s, 1, NULL), BEZ_OUTCOME_SOURCE_FAILED);
			CHECK_EQ(double_lies(), 1);
			double_reset();
		}
	swapped_fd = file_with(PAGES * unit_page());
	double_before(swap_file);
	double_watch();
	CHECK_EQ(ask(&s, 1, NULL), BEZ_OUTCOME_SOURCE_FAILED);
	double_reset();
}

/* --------------------------------------------------------------- callbacks */

static int said;
static uint64_t asked_offset;
static size_t asked_len;

static int callback(void *dst, size_t len, uint64_t offset, void *arg)
{
	asked_offset = offset;
	asked_len = len;
	memcpy(dst, (unsigned char *)arg + offset, len);
	return said;
}

static void callbacks(void)
{
	static const int answers[] = { -EIO, -EBADMSG, -ETIMEDOUT, -EBUSY, 1, 2,
				       -1, INT32_MIN };
	struct bz_source s = { .kind = BEZ_SOURCE_CALLBACK, .fill = callback };
	size_t i;

	begin();
	s.arg = mirror;
	CHECK_EQ(ask(&s, 1, NULL), BEZ_OUTCOME_NONE);
	CHECK_EQ(kind, BEZ_SOURCE_CALLBACK);
	CHECK(is_page_x());
	CHECK_EQ(asked_offset, X * unit_page());
	CHECK_EQ(asked_len, unit_page());
	/* its numbers are not ours */
	for (i = 0; i < COUNT_OF(answers); i++) {
		said = answers[i];
		CHECK_EQ(ask(&s, 1, NULL), BEZ_OUTCOME_SOURCE_FAILED);
	}
	/* no worker */
	s.kind = BEZ_SOURCE_DEFERRED;
	CHECK_EQ(ask(&s, 1, NULL), BEZ_OUTCOME_SOURCE_WORKER);
	CHECK_EQ(kind, BEZ_SOURCE_DEFERRED);
}

/* -------------------------------------------------- digests, order, losses */

static void checked(void)
{
	struct bz_source s;

	begin();
	s = of_mirror(mirror);
	CHECK_EQ(ask(&s, 1, digests), BEZ_OUTCOME_NONE);
	mirror[X * unit_page() + unit_page() - 1] ^= 1;
	CHECK_EQ(ask(&s, 1, digests), BEZ_OUTCOME_SOURCE_DIGEST);
	mirror[X * unit_page() + unit_page() - 1] ^= 1;
	/* a neighbour's digest is none of its business */
	digests[X - 1]++;
	digests[X + 1]++;
	CHECK_EQ(ask(&s, 1, digests), BEZ_OUTCOME_NONE);
	digests[X]++;
	CHECK_EQ(ask(&s, 1, digests), BEZ_OUTCOME_SOURCE_DIGEST);
}

static void lost(void)
{
	struct bz_source s;
	int i;

	begin();
	s = of_mirror(unreadable(PAGES));
	for (i = 0; i < 100; i++)
		CHECK_EQ(ask(&s, 1, NULL), BEZ_OUTCOME_SOURCE_LOST);
	/* the callback's own data */
	s = (struct bz_source){ .kind = BEZ_SOURCE_CALLBACK, .fill = callback };
	s.arg = unreadable(PAGES);
	CHECK_EQ(ask(&s, 1, NULL), BEZ_OUTCOME_SOURCE_LOST);
	/* the table of digests */
	s = of_mirror(mirror);
	CHECK_EQ(ask(&s, 1, unreadable(1)), BEZ_OUTCOME_SOURCE_LOST);
	CHECK_EQ(ask(&s, 1, digests), BEZ_OUTCOME_NONE);
	CHECK(is_page_x());
}

/* The first that delivers; else what the last one had to say. */
static void in_order(void)
{
	unsigned char *wrong;
	struct bz_source s[4];

	begin();
	wrong = map(PAGES);
	said = -EIO;
	s[0] = of_mirror(unreadable(PAGES));
	s[1] = (struct bz_source){ .kind = BEZ_SOURCE_CALLBACK,
				   .fill = callback, .arg = mirror };
	s[2] = of_mirror(wrong);
	s[3] = of_mirror(mirror);
	CHECK_EQ(ask(s, 1, digests), BEZ_OUTCOME_SOURCE_LOST);
	CHECK_EQ(ask(s, 2, digests), BEZ_OUTCOME_SOURCE_FAILED);
	CHECK_EQ(kind, BEZ_SOURCE_CALLBACK);
	CHECK_EQ(ask(s, 3, digests), BEZ_OUTCOME_SOURCE_DIGEST);
	CHECK_EQ(kind, BEZ_SOURCE_MIRROR);
	CHECK_EQ(ask(s, 4, digests), BEZ_OUTCOME_NONE);
	CHECK(is_page_x());
	/* without digests the first that says yes is believed */
	CHECK_EQ(ask(s, 4, NULL), BEZ_OUTCOME_NONE);
	CHECK(!is_page_x());
	said = 0;
	CHECK_EQ(ask(s, 4, NULL), BEZ_OUTCOME_NONE);
	CHECK_EQ(kind, BEZ_SOURCE_CALLBACK);
}

/*
 * What need not be checked may stay where it is; that it can be read there is
 * found out all the same, at both ends of what may lie across two pages.
 */
static void in_place(void)
{
	struct bz_source s[2];
	unsigned char *half;

	begin();
	s[0] = of_mirror(mirror);
	may_stay = 1;
	CHECK_EQ(ask(s, 1, NULL), BEZ_OUTCOME_NONE);
	CHECK(stays == mirror + X * unit_page());
	CHECK_EQ(stage[unit_page()], 0xa5);
	CHECK_EQ(ask(s, 1, digests), BEZ_OUTCOME_NONE);
	CHECK(!stays && is_page_x());
	s[0] = of_mirror(unreadable(PAGES));
	CHECK_EQ(ask(s, 1, NULL), BEZ_OUTCOME_SOURCE_LOST);
	CHECK(!stays);
	s[1] = of_mirror(mirror + 100 - unit_page());
	CHECK_EQ(ask(s, 2, NULL), BEZ_OUTCOME_NONE);
	CHECK(stays == mirror + (X - 1) * unit_page() + 100);
	s[1] = (struct bz_source){ .kind = BEZ_SOURCE_ZERO };
	CHECK_EQ(ask(s, 2, NULL), BEZ_OUTCOME_NONE);
	CHECK(!stays);
	/* what one that failed has left behind */
	said = -EIO;
	s[0] = (struct bz_source){ .kind = BEZ_SOURCE_CALLBACK,
				   .fill = callback, .arg = mirror };
	s[1] = of_mirror(mirror);
	memset(stage + unit_page(), 0xa5, unit_page());
	CHECK_EQ(ask(s, 2, NULL), BEZ_OUTCOME_NONE);
	CHECK(stays != NULL);
	CHECK_EQ(stage[unit_page()], 0);
	half = map(2);
	CHECK(mmap(half + unit_page(), unit_page(), PROT_READ,
		   MAP_SHARED | MAP_FIXED, memfd_create("nothing", MFD_CLOEXEC),
		   0) != MAP_FAILED);
	s[0] = of_mirror(half + 1 - X * unit_page());
	CHECK_EQ(ask(s, 1, NULL), BEZ_OUTCOME_SOURCE_LOST);
	may_stay = 0;
	s[0] = of_mirror(mirror);
	CHECK_EQ(ask(s, 1, NULL), BEZ_OUTCOME_NONE);
	CHECK(!stays && is_page_x());
}

static const struct tap_case cases[] = {
	{ .name = "none, zeros, a mirror", .run = simple },
	{ .name = "a file", .run = file },
	{ .name = "a file that is hard to read", .run = file_reads },
	{ .name = "callbacks", .run = callbacks },
	{ .name = "digests", .run = checked },
	{ .name = "sources that are lost", .run = lost },
	{ .name = "the first that delivers", .run = in_order },
	{ .name = "used from where it lies", .run = in_place },
};
TAP_MAIN(cases)
