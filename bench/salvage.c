/* SPDX-License-Identifier: MIT */
/*
 * How long does it take to read back what is good of a huge page of a file of which
 * one small page is bad? Nobody without privilege can make such a page, so both
 * sides read through a door (salvage_sys.c) that says of it what the kernel says
 * (6.6 and later): a short read up to it, then EIO. A program of its own, because
 * it has to be linked to the inside of the library.
 *
 *	salvage [quick]		prints ours, the reference, the ratio, low, high
 */
#define _GNU_SOURCE
#include "engine.h"
#include "salvage.h"

#include "core/core.h"
#include "source/source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE	((size_t)2 << 20)
#define BAD	(211 * (size_t)4096)
#define TIMES	16

static struct {
	struct bz_mm *mm;
	struct bz_walk *walk;
	struct bz_share share;
	struct bz_source sources[2];
	struct bz_hit hit;
	char *data, *mirror, *stage;
} s;

static int good(void)
{
	return memcmp(s.stage, s.data, HUGE) == 0;
}

/* What the bench compares is the way, not the first touch of its memory. */
static int ours(void *arg, double *samples, size_t n)
{
	const struct bz_extent x = { s.hit.start, HUGE };

	(void)arg;
	for (size_t i = 0; i < n; i++) {
		struct bz_content content = { .from = s.stage, .salvage = 1 };
		uint64_t from = bench_now();
		int why = bz_source_fill(s.mm, s.walk, &s.hit, x, from,
					 &content);

		samples[i] = bench_span(from, bench_now());
		if (why != BEZ_OUTCOME_NONE || content.from != s.stage)
			return -ENODATA;
		if (!good())
			return -EBADMSG;
		memset(s.stage, 0, HUGE);
	}
	return 0;
}

/* The best that one can write: as much at once as there is. */
static int bare(void *arg, double *samples, size_t n)
{
	(void)arg;
	for (size_t i = 0; i < n; i++) {
		uint64_t from = bench_now();
		size_t at = 0;

		while (at < HUGE) {
			long r = salvage_pread(s.share.fd, s.stage + at,
					       HUGE - at, at);

			if (r == -EIO) {
				memcpy(s.stage + at, s.mirror + at, 4096);
				at += 4096;
			} else if (r <= 0) {
				return -ENODATA;
			} else {
				at += (size_t)r;
			}
		}
		samples[i] = bench_span(from, bench_now());
		if (!good())
			return -EBADMSG;
		memset(s.stage, 0, HUGE);
	}
	return 0;
}

static char *map(int flags, int fd)
{
	char *at = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, flags, fd, 0);

	return at == MAP_FAILED ? NULL : at;
}

static int prepare(void)
{
	int fd = memfd_create("bench", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, HUGE) < 0)
		return -errno;
	s.data = map(MAP_SHARED, fd);
	s.mirror = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	s.stage = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (!s.data || !s.mirror || !s.stage)
		return -ENOMEM;
	for (size_t i = 0; i < HUGE; i++)
		s.data[i] = (char)(i * 7 + i / 4096 + 1);
	memcpy(s.mirror, s.data, HUGE);
	memset(s.stage, 0, HUGE);
	salvage_bad(fd, BAD);
	bz_core.page = 4096;
	bz_core.page_shift = 12;
	if (bz_mm_create(&s.mm) < 0)
		return -ENOMEM;
	s.walk = bz_walk_enter(s.mm, (uint32_t)bz_gettid(), NULL, 1000);
	s.share = (struct bz_share){ .fd = fd };
	s.sources[0].kind = BEZ_SOURCE_SALVAGE;
	s.sources[1].kind = BEZ_SOURCE_MIRROR;
	s.sources[1].mirror = (uint64_t)s.mirror;
	s.hit = (struct bz_hit){ .start = (uint64_t)s.data,
				 .end = (uint64_t)s.data + HUGE,
				 .sources = 2, .source = s.sources,
				 .share = &s.share };
	return s.walk ? 0 : -ENOMEM;
}

int main(int argc, char **argv)
{
	const struct bench_side sides[2] = {
		{ "bezoar", ours, NULL }, { "bare loop", bare, NULL },
	};
	struct bench_figures f;
	size_t side = 0;
	int err = prepare();

	(void)argv;
	if (err == 0)
		err = bench_calibrate();
	if (err == 0)
		err = bench_take_turns(sides, 2, argc > 1 ? 5 : 21, TIMES, &f,
				       &side);
	if (err < 0) {
		fprintf(stderr, "salvage: %s\n", strerror(-err));
		return 1;
	}
	printf("%.0f %.0f %.4f %.4f %.4f\n", f.median[0], f.median[1], f.ratio,
	       f.low, f.high);
	return 0;
}
