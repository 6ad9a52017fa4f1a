/* SPDX-License-Identifier: MIT */
/*
 * The second room when the system says no: a registration that fails has not
 * begun, a removal that fails has not either, and the table finds what it did.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "region/region.h"
#include "unit.h"

static struct bz_mm *mm;
static char *at, *mirror;

static void *map(size_t pages)
{
	void *p = mmap(NULL, pages * unit_page(), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

#define MANY 20000

/* The first @count pages are regions of a page each, and the next is none. */
static void registered(const bez_region_t *id, uint32_t count)
{
	bez_region_t found;
	uint32_t i;

	CHECK_EQ(bz_region_total(), count);
	for (i = 0; i < count; i++) {
		CHECK_EQ(bez_region_at(at + i * unit_page(), &found), 0);
		CHECK_EQ(found, id[i]);
	}
	CHECK_EQ(bez_region_at(at + count * unit_page(), &found), -ENOENT);
}

/* A file and a mirror as sources, so that everything is asked for. */
static int add_with_all(uint32_t page, bez_region_t *ret_id)
{
	struct bez_source from[2], all = bez_source_first_of(from, 2);
	struct bez_policy p = BEZ_POLICY_INIT;

	from[0] = bez_source_file(0, 0);
	from[1] = bez_source_mirror(mirror);
	p.source = &all;
	return bez_region_add(at + page * unit_page(), unit_page(), &p, ret_id);
}

/* The first registration of all, with each of its calls failing in turn. */
static void adding_fails(void)
{
	static const int errors[] = { ENOMEM, EINVAL, EAGAIN, EIO };
	uint32_t n, refused = 0, did_without = 0;
	bez_region_t id = 0;
	size_t e;

	mm = unit_mm();
	at = map(2);
	mirror = map(1);
	CHECK_EQ(dup2(open("/dev/null", O_RDONLY), 0), 0);
	for (e = 0; e < COUNT_OF(errors); e++)
		for (n = 1;; n++) {
			int r;

			id = 77;
			double_reset();
			double_fail(n, errors[e]);
			double_watch();
			r = add_with_all(0, &id);
			double_rest();
			refused += r != 0;
			did_without += !r && double_lies();
			if (r) {
				CHECK(r == -ENOMEM || r == -EBADF);
				CHECK_EQ(id, 77);
				registered(NULL, 0);
				CHECK_EQ(add_with_all(0, &id), 0);
			}
			registered(&id, 1);
			CHECK_EQ(bez_region_remove(id), 0);
			bz_region_reset();
			if (!double_lies())
				break;
		}
	tap_diag("refused %u times, did without %u times", refused,
		 did_without);
	CHECK(refused > COUNT_OF(errors) && did_without);
}

/* No memory whenever the table wants to grow: what is in it stays in it. */
static void no_memory(void)
{
	struct double_rule none = { .nr = SYS_mmap, .err = ENOMEM };
	static bez_region_t id[MANY];
	uint32_t i, refused = 0;
	int r;

	mm = unit_mm();
	at = map(MANY + 1);
	double_rule(&none);
	for (i = 0; i < MANY; i++) {
		struct bez_policy p = BEZ_POLICY_INIT;

		double_watch();
		r = bez_region_add(at + i * unit_page(), unit_page(), &p,
				   &id[i]);
		double_rest();
		if (r) {
			refused++;
			CHECK_EQ(r, -ENOMEM);
			registered(id, i);
			CHECK_EQ(bez_region_add(at + i * unit_page(),
						unit_page(), &p, &id[i]), 0);
		}
	}
	registered(id, MANY);
	tap_diag("no memory %u times", refused);
	CHECK(refused > 4);
	while (i--) {
		double_watch();
		r = bez_region_remove(id[i]);
		double_rest();
		if (r) {
			CHECK_EQ(r, -ENOMEM);
			registered(id, i + 1);
			CHECK_EQ(bez_region_remove(id[i]), 0);
		}
	}
	registered(id, 0);
}

static const struct tap_case cases[] = {
	{ .name = "each call of bez_region_add fails", .run = adding_fails },
	{ .name = "no memory for the table", .run = no_memory },
};
TAP_MAIN(cases)
